"""A shortcut in words: the one question that tells a class best, such as "width = 151 px: CEX, else PG"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.audit.measurements import Property
from georgia.audit.predictability import Ints, find_common

# Thresholds are tried at so many quantiles.
_N_THRESHOLDS = 64


@dataclass(frozen=True)
class Rule:
    """``words`` is the question with its answers, ``score`` its balanced accuracy (0–1), class against rest.

    ``value`` and ``sign`` ("=", "≤" or ">") are the question, ``class_name`` the answer where it is true.
    """

    words: str
    score: float
    sign: str
    value: Any
    class_name: str


def find_rule(entry: Property, values: npt.NDArray[Any], labels: Ints, classes: Sequence[str]) -> Rule:
    """Return the best single question on a column (N,); equality is preferred where it does as well."""
    present = [index for index in range(len(classes)) if (labels == index).any()]
    questions: list[tuple[str, Any, npt.NDArray[np.bool_]]] = [
        ("=", value, values == value) for value in find_common(values)
    ]
    if not entry.is_word:
        numbers = values.astype(np.float64)
        cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, _N_THRESHOLDS + 1)[:-1], method="lower"))
        for cut in cuts[cuts < numbers.max()]:
            above = numbers[numbers > cut].min()
            middle = float((cut + above) / 2)
            questions += [("≤", middle, numbers <= cut), (">", middle, numbers > cut)]
    best: tuple[float, str, Any, int] = (-1.0, "=", values[0], present[0])
    for sign, value, is_true in questions:
        for index in present:
            own = labels == index
            score = (is_true[own].mean() + (~is_true[~own]).mean()) / 2
            if score > best[0] + 1e-9:
                best = (float(score), sign, value, index)
    score, sign, value, index = best
    others = [classes[other] for other in present if other != index]
    otherwise = others[0] if len(others) == 1 else "another class"
    words = f"{entry.words} {sign} {format_value(entry, value)}: {classes[index]}, else {otherwise}"
    return Rule(words, score, sign, value, classes[index])


def format_value(entry: Property, value: Any) -> str:
    """Return a value with its unit.

    >>> from georgia.audit.measurements import PROPERTIES
    >>> format_value(PROPERTIES[0], 151.0), format_value(PROPERTIES[8], 0.53125)
    ('151 px', '0.531')
    """
    if entry.is_word:
        return str(value)
    return (
        f"{float(value):.4g} {entry.unit}".strip()
        if entry.is_exact
        else f"{float(value):.3g} {entry.unit}".strip()
    )


def find_exact_rule(
    values: npt.NDArray[Any], labels: Ints, groups: Ints, n_groups_needed: int
) -> tuple[Any, int] | None:
    """Return (value, class position) if all files of a class share one value that no other file has.

    That class needs ``n_groups_needed`` groups, and the others two together. For sets that are too small
    for a test against chance: independent crystals do not come out at one exact size by accident.
    """
    for index in np.unique(labels):
        own = labels == index
        value = values[own][0]
        enough = len(np.unique(groups[own])) >= n_groups_needed and len(np.unique(groups[~own])) >= 2
        if enough and (values[own] == value).all() and not (values[~own] == value).any():
            return value, int(index)
    return None
