"""How well each measured property predicts the class, with the rule that does so in plain text.

A rule is the single question that separates a class best, such as "width = 151 px: CEX, else PG".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.audit.measurements import KINDS, PROPERTIES, Kind, Property
from georgia.audit.predictability import (
    Floats,
    Ints,
    ProbeData,
    assess_columns,
    assess_together,
    cut_bins,
    find_common,
    make_probe_data,
)
from georgia.audit.settings import AuditConfig

# A class with fewer groups than a permutation test needs must still have so many for an exact rule.
_MIN_GROUPS_OF_EXACT_RULE = 3
# All properties of a kind together are reported if they gain so much over the best of them.
MIN_GAIN_TOGETHER = 0.1
# Thresholds are tried at so many quantiles.
_N_THRESHOLDS = 64


@dataclass(frozen=True)
class Rule:
    """``text`` is the question with both outcomes, ``score`` its balanced accuracy (0–1), class against rest.

    ``value`` and ``sign`` ("=", "≤" or ">") are the question, ``class_name`` the class where it is true.
    """

    text: str
    score: float
    sign: str
    value: Any
    class_name: str


@dataclass(frozen=True)
class PropertyResult:
    """How well one property predicts the class; ``p`` is None where no test is possible.

    ``normalized_accuracy`` is the balanced accuracy counted from 0, guessing, to 1, always correct.
    """

    entry: Property
    balanced_accuracy: float
    normalized_accuracy: float
    p: float | None
    rule: Rule


@dataclass(frozen=True, eq=False)
class ClassPredictability:
    """Every property alone, and each kind of property together as (balanced accuracy, p-value)."""

    alone: tuple[PropertyResult, ...]
    together: dict[Kind, tuple[float, float]]
    chance: float
    n_groups: int

    def normalize(self, balanced_accuracy: float) -> float:
        """Return the normalised balanced accuracy: 0 for guessing, 1 for always correct."""
        return (balanced_accuracy - self.chance) / (1 - self.chance)

    def describe(self, balanced_accuracy: float, p: float | None) -> dict[str, float | None]:
        """Return one result under the keys of ``audit.json``."""
        return {
            "balanced_accuracy": round(balanced_accuracy, 4),
            "chance": round(self.chance, 4),
            "skill": round(self.normalize(balanced_accuracy), 4),
            "p": None if p is None else round(p, 4),
        }

    def to_rows(self) -> tuple[dict[str, Any], ...]:
        """Return the properties under the keys of ``audit.json``, the most predictive first."""
        rows = [
            {
                "property": result.entry.name,
                "kind": result.entry.kind,
                **self.describe(result.balanced_accuracy, result.p),
            }
            for result in self.alone
        ]
        return tuple(sorted(rows, key=lambda row: -float(str(row["skill"]))))


def measure_predictability(
    columns: Mapping[str, npt.NDArray[Any]],
    labels: Ints,
    groups: Ints,
    classes: Sequence[str],
    config: AuditConfig,
) -> ClassPredictability | None:
    """Return how well all properties predict the class; None if fewer than two classes have images."""
    n_present = len(np.unique(labels))
    if n_present < 2:
        return None
    chance = 1 / n_present
    varied = [entry for entry in PROPERTIES if len(np.unique(columns[entry.name])) > 1]
    probe = make_probe_data(labels, groups, len(classes), config.seed)
    accuracies, p_values = np.full(len(varied), chance), np.ones(len(varied))
    if probe is not None and varied:
        bins = [cut_bins(columns[entry.name], probe.groups, entry.has_exact_values) for entry in varied]
        accuracies, p_values = assess_columns(bins, probe, config.n_permutations, config.seed)
    alone = []
    for entry, accuracy, p in zip(varied, accuracies.tolist(), p_values.tolist(), strict=True):
        values = columns[entry.name]
        rule = find_rule(entry, values, labels, classes)
        exact = None
        if p > config.alpha and entry.has_exact_values and len(classes) == 2:
            exact = find_exact_rule(values, labels, groups, _MIN_GROUPS_OF_EXACT_RULE)
        if exact is None:
            result = PropertyResult(entry, accuracy, (accuracy - chance) / (1 - chance), p, rule)
        else:
            result = PropertyResult(entry, 1.0, 1.0, None, rule)
        alone.append(result)
    together: dict[Kind, tuple[float, float]] = {}
    for kind in KINDS:
        own = [result for result in alone if result.entry.kind == kind]
        if probe is not None and len(own) > 1:
            together[kind] = _assess_kind(columns, own, probe, config)
    return ClassPredictability(tuple(alone), together, chance, len(np.unique(groups)))


def _assess_kind(
    columns: Mapping[str, npt.NDArray[Any]],
    results: Sequence[PropertyResult],
    probe: ProbeData,
    config: AuditConfig,
) -> tuple[float, float]:
    best = max(result.balanced_accuracy for result in results)
    needed = best + MIN_GAIN_TOGETHER * (1 - probe.chance)
    matrix = np.column_stack([_to_numbers(columns[result.entry.name]) for result in results])
    return assess_together(matrix, probe, config.n_permutations, config.seed, needed)


def _to_numbers(values: npt.NDArray[Any]) -> Floats:
    if values.dtype.kind == "O":
        return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.float64)
    return np.asarray(values, np.float64)


def find_rule(entry: Property, values: npt.NDArray[Any], labels: Ints, classes: Sequence[str]) -> Rule:
    """Return the best single question about a column (N,); equality is preferred at the same score."""
    present = [index for index in range(len(classes)) if (labels == index).any()]
    questions: list[tuple[str, Any, npt.NDArray[np.bool_]]] = [
        ("=", value, values == value) for value in find_common(values)
    ]
    if not entry.is_text:
        numbers = values.astype(np.float64)
        cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, _N_THRESHOLDS + 1)[:-1], method="lower"))
        for cut in cuts[cuts < numbers.max()]:
            middle = float((cut + numbers[numbers > cut].min()) / 2)
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
    text = f"{entry.label} {sign} {format_value(entry, value)}: {classes[index]}, else {otherwise}"
    return Rule(text, score, sign, value, classes[index])


def format_value(entry: Property, value: Any) -> str:
    """Return a value with its unit.

    >>> format_value(PROPERTIES[0], 151.0), format_value(PROPERTIES[8], 0.53125)
    ('151 px', '0.531')
    """
    if entry.is_text:
        return str(value)
    return f"{float(value):.{4 if entry.is_exact else 3}g} {entry.unit}".strip()


def find_exact_rule(
    values: npt.NDArray[Any], labels: Ints, groups: Ints, min_groups: int
) -> tuple[Any, int] | None:
    """Return (value, class position) if all files of a class have one value that no other file has.

    That class needs ``min_groups`` groups, and the others two together. For sets that are too small for a
    test against chance: independent crystals do not get one exact size by accident.
    """
    for index in np.unique(labels):
        own = labels == index
        value = values[own][0]
        has_groups = len(np.unique(groups[own])) >= min_groups and len(np.unique(groups[~own])) >= 2
        if has_groups and (values[own] == value).all() and not (values[~own] == value).any():
            return value, int(index)
    return None
