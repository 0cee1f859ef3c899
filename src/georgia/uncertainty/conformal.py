"""Conformal prediction sets: classes that hold the true one at a chosen error rate, class by class.

A class belongs to the set of an image if its probability reaches the limit of the class. The limits are
fitted on the validation groups: of new images of *each* class, the set misses the true class in at most
the error rate, however accurate the net is, as long as new groups are like the validation groups. Few
groups give low limits and large sets.

Source: Mondrian conformal prediction, Vovk et al. 2005, doi 10.1007/b106715, and for images in groups Lee,
Barber and Willett 2023, arXiv 2306.06342 (each group has weight 1, and one more stands for the new one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import reading
from georgia.labels import Labels
from georgia.metrics.intervals import FloatArray, group_codes, group_weights

ERROR_RATES = (0.01, 0.05, 0.10)
DEFAULT_ERROR_RATE = 0.05


@dataclass(frozen=True)
class ConformalLimits:
    """For each error rate and class, the lowest probability with which the class is in the set.

    ``error_rate`` is the default of `sets`; ``n_groups`` counts the validation groups of each class.
    """

    limits: dict[float, dict[str, float]]
    n_groups: dict[str, int]
    error_rate: float = DEFAULT_ERROR_RATE

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
        return {"error_rate": self.error_rate, "limits": limits, "n_groups": dict(self.n_groups)}

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
            rate = float(values["error_rate"])
            outside = [limit for row in limits.values() for limit in row.values() if not 0 <= limit <= 1]
            if outside or rate not in limits:
                raise ValueError(f"limit {outside[0]}" if outside else f"no limits for error rate {rate}")
            return cls(limits, counts, rate)


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
    n_groups = {}
    for position, name in enumerate(labels.names):
        own = true == position
        n_groups[name] = len(np.unique(codes[own]))
        for rate in error_rates:
            limits[rate][name] = _find_limit(table[own, position], codes[own], rate)
    return ConformalLimits(limits, n_groups)


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
