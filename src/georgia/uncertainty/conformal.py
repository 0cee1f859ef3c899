"""Conformal prediction sets: classes that hold the true one at a chosen error rate, class by class.

A class belongs to the set of an image if its probability reaches the limit of the class. The limits are
fitted on the validation groups: of images of *each* class in new groups, the set misses the true class in at
most the error rate on average, however accurate the net is, as long as new groups are like the validation
groups and the net has not learned either. Where nothing names the groups, each image is one, and nothing is
promised for another batch, probe or person. Few groups give low limits and large sets: n of them can promise
no error rate below 1 / (n + 1), and their class is in every set then.

Source: Mondrian conformal prediction, Vovk et al. 2005, doi 10.1007/b106715, and for images in groups Lee,
Barber and Willett 2023, arXiv 2306.06342 (each group has weight 1, and one more stands for the new one); that
n groups leave 1 / (n + 1) also Dunn, Wasserman and Ramdas 2022, doi 10.1080/01621459.2022.2060112.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import reading
from georgia.labels import Labels
from georgia.metrics.intervals import FloatArray, group_codes, group_weights
from georgia.text import count_noun

ERROR_RATES = (0.01, 0.05, 0.10)
DEFAULT_ERROR_RATE = 0.05
# Above so many groups an image, hardly an image has another one in its group: nothing named the groups.
_MOSTLY_SINGLE = 0.9
_MOST_NAMED = 5


@dataclass(frozen=True)
class ConformalLimits:
    """For each error rate and class, the lowest probability with which the class is in the set.

    ``error_rate`` is the default of `sets`; ``n_groups`` and ``n_images`` count what the limits of each class
    rest on. Models of version 0.1 do not hold ``n_images``.
    """

    limits: dict[float, dict[str, float]]
    n_groups: dict[str, int]
    error_rate: float = DEFAULT_ERROR_RATE
    n_images: dict[str, int] = field(default_factory=dict)

    def too_few(self, error_rate: float) -> dict[str, int]:
        """Return the classes with too few groups to promise an error rate, with their numbers of groups.

        Each of them is in every set.
        """
        needed = count_needed(error_rate)
        return {name: n for name, n in self.n_groups.items() if n < needed}

    def describe_promise(self) -> str:
        """Return for what images the sets are promised to hold the true class, and what that rests on."""
        n_groups, n_images = sum(self.n_groups.values()), sum(self.n_images.values())
        low, high = min(self.n_groups.values()), max(self.n_groups.values())
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        of = f"{count_noun(n_images, 'image')} in " if n_images else ""
        text = (
            "The error rates of the sets hold, on average, for images of new groups that are like those of "
            f"the fit: same apparatus, material and conditions. They rest on {of}{each} groups of each class."
        )
        if n_images and n_groups > _MOSTLY_SINGLE * n_images:
            text += (
                " Almost every image is a group of its own here: nothing is promised for another batch, "
                "probe or person. Name the groups in training (--group-regex, --time-gap) if there are any."
            )
        return " ".join([text, *self.describe_too_few(self.limits)])

    def describe_too_few(self, error_rates: Iterable[float]) -> Iterator[str]:
        """Yield a sentence for each set of classes with too few groups for one error rate or several."""
        rates: dict[tuple[str, ...], list[float]] = {}
        for error_rate in sorted(error_rates):
            if few := tuple(self.too_few(error_rate)):
                rates.setdefault(few, []).append(error_rate)
        for few, of_them in rates.items():
            needs = ", ".join(f"{100 * rate:g} % ({count_needed(rate)} groups needed)" for rate in of_them)
            named = ", ".join(f"{name} ({self.n_groups[name]:,})" for name in few[:_MOST_NAMED])
            more = f" and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
            yield f"Too few groups to promise {needs}: in every set at that rate there are {named}{more}."

    def sets(
        self, probabilities: npt.NDArray[np.floating], labels: Labels, error_rate: float | None = None
    ) -> list[tuple[str, ...]]:
        """Return the set of class names of each row of probabilities (N, C), in label order.

        Raises:
            InputError: there are no limits for that error rate.
        """
        rate = self.error_rate if error_rate is None else error_rate
        if rate not in self.limits:
            raise InputError(
                "Unknown error rate",
                needs="it must be one of " + ", ".join(f"{known:g}" for known in self.limits),
                got=rate,
            )
        least = np.array([self.limits[rate][name] for name in labels.names])
        # Probabilities leave the graph as float32: rounding must not exclude the image that set the limit.
        reached = np.asarray(probabilities, np.float64) >= least - 1e-6
        return [
            tuple(name for name, is_in in zip(labels.names, row, strict=True) if is_in) for row in reached
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that ``bundle.json`` and the ONNX metadata hold."""
        limits = {f"{rate:g}": dict(by_class) for rate, by_class in self.limits.items()}
        counts = {"n_images": dict(self.n_images)} if self.n_images else {}
        return {"error_rate": self.error_rate, "limits": limits, "n_groups": dict(self.n_groups), **counts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], labels: Labels) -> ConformalLimits:
        """Read the JSON form.

        Raises:
            InputError: a value is missing or wrong, or a class has no limit.
        """
        needs = "limits from 0 to 1 for every class, n_groups and error_rate are needed"
        with reading("Cannot read the model's conformal limits", needs):
            limits = {
                float(rate): {name: float(by_class[name]) for name in labels.names}
                for rate, by_class in values["limits"].items()
            }
            counts = {name: int(values["n_groups"][name]) for name in labels.names}
            images = {name: int(n) for name, n in values.get("n_images", {}).items()}
            rate = float(values["error_rate"])
            outside = [limit for row in limits.values() for limit in row.values() if not 0 <= limit <= 1]
            if outside or rate not in limits:
                raise ValueError(f"limit {outside[0]}" if outside else f"no limits for error rate {rate}")
            return cls(limits, counts, rate, images)


def count_needed(error_rate: float) -> int:
    """Return the lowest number of groups of a class with which an error rate can be promised.

    >>> count_needed(0.05), count_needed(0.01)
    (19, 99)
    """
    return math.ceil(1 / error_rate - 1 - 1e-9)


def fit_conformal(
    probabilities: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
    labels: Labels,
    groups: Sequence[str] | None = None,
    error_rates: Sequence[float] = ERROR_RATES,
) -> ConformalLimits:
    """Return the limits, fitted on probabilities (N, C) and true class indices (N,) of validation images.

    >>> rows = np.array([[1 - p, p] for p in np.linspace(0.01, 0.99, 99)])
    >>> fit_conformal(rows, np.ones(99, int), Labels(("CEX", "PG"))).limits[0.05]["PG"]
    0.05

    Raises:
        InputError: lengths differ, or an error rate is not between 0 and 1.
    """
    table, true = np.asarray(probabilities, np.float64), np.asarray(truth)
    if table.ndim != 2 or table.shape[1] != len(labels) or true.shape != table.shape[:1]:
        raise InputError(
            "Cannot fit conformal sets",
            needs=f"probabilities (N, {len(labels)}) and truth (N,) are needed",
            got=f"{table.shape} and {true.shape}",
        )
    if not all(0 < rate < 1 for rate in error_rates):
        raise InputError(
            "Cannot fit conformal sets", needs="error rates lie between 0 and 1", got=list(error_rates)
        )
    codes = group_codes(groups, len(true))
    limits: dict[float, dict[str, float]] = {rate: {} for rate in error_rates}
    n_groups, n_images = {}, {}
    for position, name in enumerate(labels.names):
        own = true == position
        n_groups[name], n_images[name] = len(np.unique(codes[own])), int(own.sum())
        for rate in error_rates:
            limits[rate][name] = _find_limit(table[own, position], codes[own], rate)
    return ConformalLimits(limits, n_groups, n_images=n_images)


def _find_limit(values: FloatArray, codes: npt.NDArray[np.integer], rate: float) -> float:
    """Return the largest value that excludes no more than the error rate, a new group included."""
    if not len(values):
        return 0.0
    n_groups = len(np.unique(codes))
    order = np.argsort(values, kind="stable")
    weights = group_weights(np.unique(codes, return_inverse=True)[1])[order] / (n_groups + 1)
    excluded = np.cumsum(weights) - weights + 1 / (n_groups + 1)
    allowed = np.flatnonzero(excluded <= rate + 1e-12)
    return float(values[order][allowed[-1]]) if len(allowed) else 0.0
