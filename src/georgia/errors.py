"""Every error that Georgia raises on purpose.

    GeorgiaError                    exit 1 unless a subclass says otherwise
    ├── InputError (ValueError)     exit 2: what the user gave cannot be used
    │   ├── UnreadableImageError (OSError)   one picture file cannot be read
    │   ├── UnwritableFileError (OSError)    a file cannot be made where it was asked for
    │   └── MissingDependencyError (ImportError)   an optional package is needed
    ├── GateError                   exit 4: a check said no
    └── ParityError (RuntimeError)  the exported file answers differently from the trained net

A message says what and where, the rule, what we got, and what to do:
``Cannot read 'run3/a.tif': one page is needed; got 3. Split the stack.``
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GeorgiaError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(GeorgiaError, ValueError):
    """The user's input cannot be used; the message says what to do."""

    exit_code = 2


class UnreadableImageError(InputError, OSError):
    """One picture file cannot be turned into pixels; the message holds the reason only."""


class UnwritableFileError(InputError, OSError):
    """A file cannot be made where it was asked for."""


class MissingDependencyError(InputError, ImportError):
    """An optional package is needed for what was asked."""


class GateError(GeorgiaError):
    """A check stopped the run; nothing is wrong with the program or the call."""

    exit_code = 4


class ParityError(GeorgiaError, RuntimeError):
    """The exported file does not give the trained net's answers, so it is not shipped."""


def describe_fault(what: str, rule: str, got: object, do: str = "") -> str:
    """Put a message into the one order used everywhere.

    >>> describe_fault("Cannot read 'a.tif'", "one page is needed", "3", "Split the stack.")
    "Cannot read 'a.tif': one page is needed; got 3. Split the stack."
    """
    return f"{what}: {rule}; got {got}. {do}".strip()


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest choice, or an empty string.

    >>> suggest("fsat", ["fast", "georgia"])
    " Did you mean 'fast'?"
    """
    near = difflib.get_close_matches(word, list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
