"""Numbers with their nouns, and many faults in one line."""

from __future__ import annotations

from collections.abc import Sequence

# More faults than these are counted, not listed.
_N_FAULTS_SHOWN = 5


def count_noun(number: int, noun: str) -> str:
    """Return a count with its noun, singular or plural.

    >>> count_noun(1, "error"), count_noun(1200, "image"), count_noun(2, "batch"), count_noun(2, "epoch")
    ('1 error', '1,200 images', '2 batches', '2 epochs')
    """
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x", "sh", "tch", "rch")) else "s"
    return f"{number:,} {noun}{ending}"


def describe_many(faults: Sequence[str]) -> str:
    """Return the first faults in one line, with the number of the others.

    >>> describe_many(["a", "b"])
    'a · b'
    """
    shown = " · ".join(faults[:_N_FAULTS_SHOWN])
    n_more = len(faults) - _N_FAULTS_SHOWN
    return f"{shown} · and {n_more} more" if n_more > 0 else shown
