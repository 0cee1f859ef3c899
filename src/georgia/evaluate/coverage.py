"""How often prediction sets hold the true class, beside the error rate that the model states.

Coverage is counted on accepted images, as that is where sets are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.evaluate.score import Evaluation
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import (
    Interval,
    effective_count,
    exact_interval,
    group_codes,
    wilson_interval,
)
from georgia.text import count_noun
from georgia.uncertainty.conformal import ConformalLimits, count_needed

_Flags = npt.NDArray[np.bool_]
# A two-sided test at 5 %, of which only the side of too few counts.
_ALPHA = 0.025
# A coverage so far below the stated one matters, whatever explains it.
_MATERIAL = 0.01


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``n`` images, with a 95 % confidence interval over groups.

    ``n_effective`` is the number of independent trials that ``n`` images in groups are worth.
    """

    name: str
    count: int
    n: int
    interval: Interval
    n_effective: float = 0.0

    @property
    def value(self) -> float:
        """The proportion in [0, 1]."""
        return self.count / self.n if self.n else 0.0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the counts and the interval as plain values."""
        return {"n": self.n, "n_holding": self.count, "fraction": self.value, "ci95": list(self.interval)}


@dataclass(frozen=True)
class Shortfall:
    """A proportion of sets that hold the true class too seldom; ``interval`` is exact.

    ``is_chance`` tells that the images need not differ from those of the fit: it had few groups.
    """

    proportion: Proportion
    interval: Interval
    is_chance: bool = False


@dataclass(frozen=True)
class Coverage:
    """Conformal sets at one error rate: how often they hold the true class, and their size.

    ``n_groups`` counts the groups of each class that the limits were fitted on.
    """

    error_rate: float
    overall: Proportion
    by_class: tuple[Proportion, ...]
    mean_size: float
    n_single: int
    n_empty: int
    n_groups: Mapping[str, int]

    def find_shortfall(self) -> Shortfall | None:
        """Return the coverage of all classes if it is below what is stated, with 95 % confidence.

        One that the chance of the fit explains counts from a point below on.
        """
        found = self._test(self.overall, [row.name for row in self.by_class], 1)
        stated = 1 - self.error_rate
        return None if found and found.is_chance and found.interval[1] >= stated - _MATERIAL else found

    def find_class_shortfalls(self) -> tuple[Shortfall, ...]:
        """Return the same of single classes, tested together (Bonferroni), beyond the chance of the fit."""
        found = (self._test(row, [row.name], len(self.by_class)) for row in self.by_class)
        return tuple(shortfall for shortfall in found if shortfall and not shortfall.is_chance)

    def _test(self, proportion: Proportion, names: Sequence[str], n_tests: int) -> Shortfall | None:
        interval = exact_interval(proportion.value, proportion.n_effective, 1 - 2 * _ALPHA / n_tests)
        if interval[1] >= 1 - self.error_rate:
            return None
        is_chance = self._chance(proportion, names) >= _ALPHA / n_tests
        return Shortfall(proportion, interval, is_chance)

    def _chance(self, proportion: Proportion, names: Sequence[str]) -> float:
        """Return the probability of so many misses where images and groups of the fit are exchangeable.

        Limits of n groups miss a new image with a probability that itself varies, as a beta distribution of
        n + 1 trials does; so the misses of many images are beta-binomial, and their binomial interval alone
        would often call a sound fit wrong. Classes are joined by the first two moments.
        Source: Vovk 2012, "Conditional validity of inductive conformal predictors", arXiv 1209.2673.
        """
        from scipy.stats import betabinom

        counts = {row.name: row.n for row in self.by_class}
        total, mean, variance = sum(counts[name] for name in names), 0.0, 0.0
        for name in names:
            n = self.n_groups[name]
            below = int(self.error_rate * (n + 1) + 1e-9)
            weight = counts[name] / total
            mean += weight * self.error_rate
            variance += (weight / (n + 1)) ** 2 * below * (n + 1 - below) / (n + 2)
        trials = int(proportion.n_effective)
        misses = int((1 - proportion.value) * trials)
        spread = max(mean * (1 - mean) / max(variance, 1e-12) - 1, 1e-6)
        return float(betabinom.sf(misses - 1, trials, mean * spread, (1 - mean) * spread))

    def describe(self) -> str:
        """Return how many sets hold the true class, of how many stated, and how large they are."""
        whole, (low, high) = self.overall, self.overall.interval
        needed = count_needed(self.error_rate)
        n_always = sum(n < needed for n in self.n_groups.values())
        more = ""
        if self.n_empty:
            more = f" {self.n_empty:,} of them hold none: no class is as likely as it must be."
        if n_always:
            more += (
                f" In every set {'is' if n_always == 1 else 'are'} {n_always} of "
                f"{count_noun(len(self.n_groups), 'class')}: the fit had fewer than {needed} groups of each."
            )
        return (
            f"Prediction sets, stated to hold the true class of {100 * (1 - self.error_rate):g} % of images: "
            f"they hold that of {whole.count:,} of {whole.n:,} accepted images, {_percent(whole.value)} "
            f"({_percent(low)} to {_percent(high)}); mean size {self.mean_size:.2f} classes.{more}"
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``--json`` holds of this error rate under "sets"."""
        return {
            "error_rate": self.error_rate,
            **self.overall.to_json_dict(),
            "is_short": self.find_shortfall() is not None,
            "mean_size": self.mean_size,
            "n_single": self.n_single,
            "n_empty": self.n_empty,
            "per_class": {row.name: row.to_json_dict() for row in self.by_class},
            "n_groups_fitted": dict(self.n_groups),
        }


def read_limits(metadata: Mapping[str, Any], evaluation: Evaluation) -> ConformalLimits | None:
    """Return the limits that ``bundle.json`` holds; None if there are none or they cannot be read."""
    values = metadata.get("conformal")
    try:
        labels = evaluation.labels
        return ConformalLimits.from_dict(values, labels) if isinstance(values, Mapping) else None
    except InputError:
        return None


def measure_coverage(
    evaluation: Evaluation, limits: ConformalLimits | None, error_rates: Sequence[float] | None = None
) -> tuple[Coverage, ...]:
    """Return the coverage at each error rate, the lowest first; empty without limits or accepted images."""
    items = evaluation.predictions.items
    is_accepted = np.array([item.label != UNKNOWN for item in items])
    if limits is None or not is_accepted.any():
        return ()
    found = []
    for rate in sorted(error_rates or limits.limits):
        sets = limits.sets(evaluation.predictions.probability_array(), evaluation.labels, rate)
        holds = np.array([true in names for true, names in zip(evaluation.truth, sets, strict=True)])
        sizes = np.array([len(names) for names in sets])[is_accepted]
        coverage = Coverage(
            rate,
            count_proportion("all classes", evaluation.groups, holds, is_accepted),
            count_by_class(evaluation, holds, is_accepted),
            float(sizes.mean()),
            int((sizes == 1).sum()),
            int((sizes == 0).sum()),
            limits.n_groups,
        )
        found.append(coverage)
    return tuple(found)


def measure_stated(evaluation: Evaluation, metadata: Mapping[str, Any]) -> Coverage | None:
    """Return the coverage at the error rate of the sets that predictions hold; None without sets."""
    limits = read_limits(metadata, evaluation)
    found = measure_coverage(evaluation, limits, [limits.error_rate]) if limits else ()
    return found[0] if found else None


def count_by_class(evaluation: Evaluation, is_so: _Flags, among: _Flags) -> tuple[Proportion, ...]:
    """Return the proportion of each class that has an image among those that count."""
    truth = np.array(evaluation.truth)
    proportions = [
        count_proportion(name, evaluation.groups, is_so, among & (truth == name))
        for name in evaluation.labels.names
    ]
    return tuple(proportion for proportion in proportions if proportion.n)


def count_proportion(name: str, groups: Sequence[str], is_so: _Flags, among: _Flags) -> Proportion:
    """Return the proportion of images that are so, among those that count."""
    n, count = int(among.sum()), int((is_so & among).sum())
    sizes = np.bincount(group_codes(groups, len(among))[among]) if n else np.zeros(1, np.int64)
    n_effective = effective_count(sizes)
    interval = wilson_interval(count / n if n else 0.0, n_effective)
    return Proportion(name, count, n, interval, n_effective)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
