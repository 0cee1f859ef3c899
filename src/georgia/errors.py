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
from urllib.parse import unquote

# What stands between a user's name and the host of an address, and a password among its parameters. The
# password may hold "/" or "@" that should have been encoded; a port and a path behind it are none.
_CREDENTIALS = re.compile(
    r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)(?!\d{1,5}(?:[/?#]|$))[^\s'\"]+(?=@)", re.IGNORECASE
)
_PARAMETERS = re.compile(
    r"([?&](?:password|passwd|pwd|secret|token|key)=)[^&\s'\"#]*[^&\s'\"#;.,:)]", re.IGNORECASE
)

# Passwords that were used in this process and whose end no pattern finds, and pieces of them.
_secrets: set[str] = set()
_pieces: set[str] = set()


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
    """A check stopped the run; nothing is wrong with the program or the call.

    ``result`` is what was finished all the same, such as a training run whose model cannot be used.
    """

    exit_code = 4

    def __init__(
        self, what: str, *, needs: str = "", got: object = "", hint: str = "", result: object = None
    ) -> None:
        super().__init__(what, needs=needs, got=got, hint=hint)
        self.result = result


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
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _PARAMETERS.sub(r"\1***", _CREDENTIALS.sub(r"\1***", text))
    for piece in sorted(_pieces, key=len, reverse=True):
        text = text.replace(piece, "***")
    return text


def remember_password(address: str) -> None:
    """Have the password of an address hidden from now on wherever ``mask_credentials`` is asked.

    Its form tells where a plain password ends. One with blanks, quotes, "@" or "/", which should have been
    encoded, must be known; a database's own message may hold what stands behind its "@".
    """
    found = [match[1] for match in re.finditer(r"[?&](?:password|passwd|pwd)=([^&#]*)", address)]
    user, at, _ = address.partition("://")[2].rpartition("@")
    found += [user.partition(":")[2]] if at else []
    for secret in {text for raw in found for text in (raw, unquote(raw))}:
        if re.search(r"[\s@/'\"]", secret) and len(secret) > 3:
            escaped = secret.replace("\\", "\\\\")
            quoted = (escaped.replace("'", "\\'"), escaped.replace('"', '\\"'))
            _secrets.update((secret, " ".join(secret.split()), *quoted))
            _pieces.update(piece for piece in re.split("[@/]", secret)[1:] if len(piece) > 3)


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest choice in any case, or an empty string.

    >>> suggest("fsat", ["fast", "georgia"]), suggest("cex", ["CEX", "PG"])
    (" Did you mean 'fast'?", " Did you mean 'CEX'?")
    """
    by_folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), list(by_folded), n=1)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""
