"""What the test images say about a model's own claims: rejections and conformal sets, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.evaluate.score import Evaluation
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import Interval, effective_count, group_codes, wilson_interval
from georgia.uncertainty.calibration import Calibration
from georgia.uncertainty.conformal import ConformalLimits


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``n`` images, with a 95 % confidence interval over groups."""

    name: str
    count: int
    n: int
    interval: Interval

    @property
    def value(self) -> float:
        """The proportion in [0, 1]."""
        return self.count / self.n if self.n else 0.0


@dataclass(frozen=True)
class Coverage:
    """Conformal sets at one error rate: how often they hold the true class, and their size."""

    error_rate: float
    overall: Proportion
    by_class: tuple[Proportion, ...]
    mean_size: float
    n_single: int


@dataclass(frozen=True)
class Trust:
    """Rejected known images by class, coverage by error rate, calibration; empty where not fitted."""

    rejected: tuple[Proportion, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    calibration: Calibration | None = None


def measure_trust(evaluation: Evaluation, metadata: Mapping[str, Any], is_own: bool = True) -> Trust:
    """Return what an evaluation says of the thresholds that a model's ``bundle.json`` holds.

    Coverage is counted on the images that were not rejected, as that is where sets are given. Without
    ``is_own`` the predictions are those of other models, which say nothing of its thresholds.
    """
    if not is_own:
        return Trust(calibration=read_calibration(metadata))
    rejected: tuple[Proportion, ...] = ()
    if isinstance(metadata.get("unknown"), Mapping):
        is_rejected = np.array([item.label == UNKNOWN for item in evaluation.predictions.items])
        rejected = _by_class(evaluation, is_rejected, np.ones(len(is_rejected), bool))
    return Trust(rejected, _measure_coverage(evaluation, metadata), read_calibration(metadata))


def read_calibration(metadata: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration that ``bundle.json`` holds; None if there is none or it cannot be read."""
    values = metadata.get("calibration")
    try:
        return Calibration.from_dict(values) if isinstance(values, Mapping) else None
    except InputError:
        return None


def _measure_coverage(evaluation: Evaluation, metadata: Mapping[str, Any]) -> tuple[Coverage, ...]:
    values, labels = metadata.get("conformal"), evaluation.labels
    items = evaluation.predictions.items
    is_accepted = np.array([item.label != UNKNOWN for item in items])
    if not isinstance(values, Mapping) or not is_accepted.any():
        return ()
    limits = ConformalLimits.from_dict(values, labels)
    found = []
    for rate in sorted(limits.limits):
        sets = limits.sets(evaluation.predictions.probability_array(), labels, rate)
        holds = np.array([true in names for true, names in zip(evaluation.truth, sets, strict=True)])
        sizes = np.array([len(names) for names in sets])[is_accepted]
        overall = _count("all classes", evaluation.groups, holds, is_accepted)
        by_class = _by_class(evaluation, holds, is_accepted)
        found.append(Coverage(rate, overall, by_class, float(sizes.mean()), int((sizes == 1).sum())))
    return tuple(found)


def _by_class(evaluation: Evaluation, is_so: Any, among: Any) -> tuple[Proportion, ...]:
    truth = np.array(evaluation.truth)
    proportions = [
        _count(name, evaluation.groups, is_so, among & (truth == name)) for name in evaluation.labels.names
    ]
    return tuple(proportion for proportion in proportions if proportion.n)


def _count(name: str, groups: Sequence[str], is_so: Any, among: Any) -> Proportion:
    n, count = int(among.sum()), int((is_so & among).sum())
    sizes = np.bincount(group_codes(groups, len(among))[among]) if n else np.zeros(1, np.int64)
    return Proportion(name, count, n, wilson_interval(count / n if n else 0.0, effective_count(sizes)))
