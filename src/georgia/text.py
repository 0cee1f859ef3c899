"""Numbers with their nouns."""

from __future__ import annotations


def count_noun(number: int, noun: str) -> str:
    """Return a count with its noun in the right number.

    >>> count_noun(1, "mistake"), count_noun(1200, "image"), count_noun(2, "class")
    ('1 mistake', '1,200 images', '2 classes')
    """
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x", "ch")) else "s"
    return f"{number:,} {noun}{ending}"
