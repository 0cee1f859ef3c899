"""All checks of the audit.

To add one: a subclass of ``Check`` in the module of its subject, an entry in CHECKS, its bad and good example
in ``tests/helpers/audit_examples.py``, and a row in ``docs/audit.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

from georgia.audit.check import Check
from georgia.audit.checks.class_balance import Imbalance, TooFewGroups
from georgia.audit.checks.duplicates import Conflict, DuplicatesFound, Leak, NearConflict, SameScene
from georgia.audit.checks.features import LabelSuspect, Outlier
from georgia.audit.checks.image_quality import (
    Blank,
    Blurred,
    Colored,
    Dark,
    OddSize,
    Overexposed,
    Tiny,
    Unreadable,
)
from georgia.audit.checks.shortcuts import FileShortcut, ImageShortcut
from georgia.errors import InputError, suggest

# Findings of one severity are reported in this order.
CHECKS: tuple[Check, ...] = (
    Conflict(),
    Leak(),
    FileShortcut(),
    TooFewGroups(),
    DuplicatesFound(),
    SameScene(),
    NearConflict(),
    ImageShortcut(),
    Imbalance(),
    Unreadable(),
    Blank(),
    Dark(),
    Overexposed(),
    Blurred(),
    Tiny(),
    OddSize(),
    Colored(),
    LabelSuspect(),
    Outlier(),
)


def validate_check_names(names: Iterable[str]) -> None:
    """Reject names that belong to no check.

    Raises:
        InputError: some do not; all of them in one message.
    """
    known = [check.name for check in CHECKS]
    unknown = [f"{name!r}.{suggest(name, known)}".rstrip(".") for name in names if name not in known]
    if unknown:
        raise InputError(
            "Cannot allow a check", needs=f"it must be one of {', '.join(known)}", got=" and ".join(unknown)
        )
