"""Temperature scaling: one number that calibrates the probabilities of a net.

``probabilities = softmax(logits / temperature)``. The temperature is fitted on the validation groups, each
group with the same weight, and never changes the predicted class.
Source: Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import reading
from georgia.metrics.intervals import FloatArray, group_codes, group_weights
from georgia.metrics.reliability import Reliability, measure_reliability

# A temperature beyond these means that the data do not determine it; the fit stops there.
LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """The temperature, with the reliability of the validation images before and after it."""

    temperature: float
    n: int
    n_groups: int
    before: Reliability
    after: Reliability

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that ``bundle.json`` and the ONNX metadata hold."""
        return {
            "temperature": self.temperature,
            "n": self.n,
            "n_groups": self.n_groups,
            "ece_before": self.before.error,
            "ece_after": self.after.error,
            "reliability_before": self.before.to_json_dict(),
            "reliability_after": self.after.to_json_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read the JSON form.

        Raises:
            InputError: a value is missing or wrong.
        """
        needs = "temperature, n, n_groups and two reliability diagrams are needed"
        with reading("Cannot read the model's calibration", needs):
            temperature = float(values["temperature"])
            if not 0 < temperature < np.inf:
                raise ValueError(f"temperature {temperature}")
            return cls(
                temperature=temperature,
                n=int(values["n"]),
                n_groups=int(values["n_groups"]),
                before=Reliability.from_json_dict(values["reliability_before"]),
                after=Reliability.from_json_dict(values["reliability_after"]),
            )


def fit_temperature(
    logits: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
    groups: Sequence[str] | None = None,
) -> Calibration:
    """Return the temperature with the lowest log loss on logits (N, C) and true class indices (N,).

    Each group has weight 1. The targets are smoothed as in Platt scaling, to (n + 1) / (n + 2) for a class
    of n groups, so that a validation split without an error does not call for unlimited confidence. If the
    smoothed targets ask for less confidence, the unsmoothed ones for more, and the mean confidence of the
    net does not exceed that of the smoothed targets, the temperature is 1: few groups without an error do
    not lower the confidence.
    Source: Platt 1999, "Probabilistic outputs for support vector machines", in Advances in Large Margin
    Classifiers, MIT Press.

    >>> confident = np.array([[8.0, 0.0]] * 10)
    >>> fit_temperature(confident, np.array([0] * 7 + [1] * 3)).temperature > 5
    True

    Raises:
        InputError: no image, or lengths that differ.
    """
    table, true = np.asarray(logits, np.float64), np.asarray(truth)
    if table.ndim != 2 or true.shape != table.shape[:1] or not true.size:
        raise InputError(
            "Cannot calibrate",
            needs="logits (N, C) and truth (N,) of one image or more are needed",
            got=f"{table.shape} and {true.shape}",
        )
    from scipy.optimize import minimize_scalar

    codes = group_codes(groups, len(true))
    weights = group_weights(codes)

    def find_best(targets: FloatArray) -> float:
        def loss(log_temperature: float) -> float:
            scaled = table / np.exp(log_temperature)
            logs = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
            return float(-(weights * (targets * logs).sum(axis=1)).sum())

        best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
        return float(np.exp(best.x))

    targets, plain = _smooth_targets(true, weights, table.shape[1]), np.eye(table.shape[1])[true]
    temperature = find_best(targets)
    if temperature > 1 and find_best(plain) < 1:
        confidence = np.average(softmax(table).max(axis=1), weights=weights)
        if confidence <= np.average(targets.max(axis=1), weights=weights):
            temperature = 1.0
    return Calibration(
        temperature,
        len(true),
        int(codes.max()) + 1,
        measure_reliability(softmax(table), true),
        measure_reliability(softmax(table, temperature), true),
    )


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> FloatArray:
    """Return probabilities (N, C), float64: the softmax of logits over the temperature.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    result: FloatArray = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
    return result


def _smooth_targets(true: npt.NDArray[np.integer], weights: FloatArray, n_classes: int) -> FloatArray:
    counts = np.bincount(true, weights=weights, minlength=n_classes)
    smoothed = ((counts + 1) / (counts + 2))[true]
    targets = np.repeat(((1 - smoothed) / max(1, n_classes - 1))[:, np.newaxis], n_classes, axis=1)
    targets[np.arange(len(true)), true] = smoothed
    return targets
