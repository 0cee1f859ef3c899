"""One number, the temperature, that makes a net's sureness mean what it says.

``probabilities = softmax(logits / temperature)``. It is fitted on validation groups only, each group counting
once, and it never changes which class comes first. Source: Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.metrics.classification import Reliability, measure_reliability
from georgia.metrics.intervals import group_codes

FloatArray = npt.NDArray[np.float64]
# Temperatures beyond these come from data that cannot tell; the fit stops there.
LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """The temperature and what it did on the images it was fitted on: reliability before and after."""

    temperature: float
    n: int
    n_groups: int
    before: Reliability
    after: Reliability

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that ``bundle.json`` and the ONNX metadata hold; the diagram's bins too."""
        return {
            "temperature": self.temperature,
            "n": self.n,
            "n_groups": self.n_groups,
            "ece_before": self.before.error,
            "ece_after": self.after.error,
            "reliability_before": reliability_to_dict(self.before),
            "reliability_after": reliability_to_dict(self.after),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read the plain form.

        Raises:
            InputError: a value is missing or wrong.
        """
        try:
            before, after = (
                reliability_from_dict(values[f"reliability_{word}"]) for word in ("before", "after")
            )
            return cls(float(values["temperature"]), int(values["n"]), int(values["n_groups"]), before, after)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "Cannot read the model's calibration",
                needs="temperature, n, n_groups and two reliability diagrams are needed",
                got=error,
            ) from error


def fit_temperature(
    logits: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
    groups: Sequence[str] | None = None,
) -> Calibration:
    """Return the temperature of the least log loss on logits (N, C) and true positions (N,).

    Each group weighs 1. The targets are softened as Platt's are, to (n + 1) / (n + 2) for a class of n
    groups, so that a validation part without a mistake does not call for endless sureness. Where they
    ask for less sureness and the true ones for more, and the net is on average no surer than they are, the
    temperature is 1: few groups without a mistake take nothing away.
    Source: Platt 1999, "Probabilistic outputs for support vector machines", in Advances in Large Margin
    Classifiers, MIT Press.

    >>> sure = np.array([[8.0, 0.0]] * 10)
    >>> fit_temperature(sure, np.array([0] * 7 + [1] * 3)).temperature > 5
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

    targets, plain = _soften_targets(true, weights, table.shape[1]), np.eye(table.shape[1])[true]
    temperature = find_best(targets)
    if temperature > 1 and find_best(plain) < 1:
        sureness = np.average(soften(table).max(axis=1), weights=weights)
        if sureness <= np.average(targets.max(axis=1), weights=weights):
            temperature = 1.0
    return Calibration(
        temperature,
        len(true),
        int(codes.max()) + 1,
        measure_reliability(soften(table), true),
        measure_reliability(soften(table, temperature), true),
    )


def soften(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> FloatArray:
    """Return probabilities (N, C), float64: the softmax of logits over the temperature.

    >>> soften(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    result: FloatArray = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
    return result


def group_weights(codes: npt.NDArray[np.integer]) -> FloatArray:
    """Return weights (N,) that let each group count 1 in all, from group numbers (N,).

    >>> group_weights(np.array([0, 0, 1])).tolist()
    [0.5, 0.5, 1.0]
    """
    result: FloatArray = 1.0 / np.bincount(codes)[codes]
    return result


def reliability_to_dict(reliability: Reliability) -> dict[str, Any]:
    """Return the plain form; empty bins hold None."""

    def plain(values: FloatArray) -> list[float | None]:
        return [None if np.isnan(value) else float(value) for value in values]

    return {
        "edges": reliability.edges.tolist(),
        "n": reliability.n.tolist(),
        "mean_probability": plain(reliability.mean_probability),
        "share_right": plain(reliability.share_right),
    }


def reliability_from_dict(values: Mapping[str, Any]) -> Reliability:
    """Read the plain form; None becomes NaN."""
    return Reliability(
        np.array(values["edges"], np.float64),
        np.array(values["n"], np.int64),
        np.array(values["mean_probability"], np.float64),
        np.array(values["share_right"], np.float64),
    )


def _soften_targets(true: npt.NDArray[np.integer], weights: FloatArray, n_classes: int) -> FloatArray:
    counts = np.bincount(true, weights=weights, minlength=n_classes)
    right = ((counts + 1) / (counts + 2))[true]
    targets = np.repeat(((1 - right) / max(1, n_classes - 1))[:, np.newaxis], n_classes, axis=1)
    targets[np.arange(len(true)), true] = right
    return targets
