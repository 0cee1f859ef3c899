"""Every error that Georgia raises on purpose.

    GeorgiaError                    exit 1 unless a subclass says otherwise
    ├── InputError (ValueError)     exit 2: what the user gave cannot be used
    │   ├── UnreadableImageError (OSError)   one image file cannot be read
    │   ├── UnwritableFileError (OSError)    a file cannot be made where it was asked for
    │   └── MissingDependencyError (ImportError)   an optional package is needed
    ├── GateError                   exit 4: a quality gate failed
    └── ParityError (RuntimeError)  the exported file predicts differently from the trained net

An error formats itself: what and where, the rule, what we got, and what to do.

>>> print(InputError("Cannot read 'a.tif'", needs="one page is needed", got=3, hint="Split the stack."))
Cannot read 'a.tif': one page is needed; got 3. Split the stack.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# What stands between a user's name and the host of an address, and a password among its parameters. The
# password may hold "/" or "@" that should have been encoded; a port and a path behind it are none.
_CREDENTIALS = re.compile(
    r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)(?!\d{1,5}(?:[/?#]|$))[^\s'\"]+(?=@)", re.IGNORECASE
)
_PARAMETERS = re.compile(
    r"([?&](?:password|passwd|pwd|secret|token|key)=)[^&\s'\"#]*[^&\s'\"#;.,:)]", re.IGNORECASE
)


class GeorgiaError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns.

    ``what`` alone is the whole message: several faults that are reported at once, say.
    """

    exit_code = 1

    def __init__(self, what: str, *, needs: str = "", got: object = "", hint: str = "") -> None:
        super().__init__(mask_credentials(format_message(what, needs, got, hint) if needs else what))


class InputError(GeorgiaError, ValueError):
    """The user's input cannot be used; the message says what to do."""

    exit_code = 2


class UnreadableImageError(InputError, OSError):
    """One image file cannot be converted to pixels; the message holds the reason only."""


class UnwritableFileError(InputError, OSError):
    """A file cannot be made where it was asked for."""


class MissingDependencyError(InputError, ImportError):
    """An optional package is needed for what was asked."""


class GateError(GeorgiaError):
    """A check stopped the run; nothing is wrong with the program or the call."""

    exit_code = 4


class ParityError(GeorgiaError, RuntimeError):
    """The exported file does not predict what the trained net does, so it is not shipped."""


def format_message(what: str, needs: str, got: object, hint: str = "") -> str:
    """Put one fault into the order used everywhere.

    >>> format_message("port", "0 to 65535 is needed", 80000)
    'port: 0 to 65535 is needed; got 80000.'
    """
    return f"{what}: {needs}; got {str(got).removesuffix('.')}. {hint}".strip()


def mask_credentials(text: str) -> str:
    """Return a text in which the passwords of addresses are hidden.

    >>> mask_credentials("postgresql://plant:secret@db/plant")
    'postgresql://plant:***@db/plant'
    """
    return _PARAMETERS.sub(r"\1***", _CREDENTIALS.sub(r"\1***", text))


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest choice, or an empty string.

    >>> suggest("fsat", ["fast", "georgia"])
    " Did you mean 'fast'?"
    """
    near = difflib.get_close_matches(word, list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
