"""What the test images say about a model's own claims: rejections and conformal sets, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.evaluate.coverage import Coverage, Proportion, count_by_class, measure_coverage, read_limits
from georgia.evaluate.score import Evaluation
from georgia.labels import UNKNOWN
from georgia.uncertainty.calibration import Calibration


@dataclass(frozen=True)
class Trust:
    """Rejected known images by class, coverage by error rate, calibration; empty where not fitted.

    ``promise`` says for what images the error rates hold.
    """

    rejected: tuple[Proportion, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    calibration: Calibration | None = None
    promise: str = ""


def measure_trust(evaluation: Evaluation, metadata: Mapping[str, Any], is_own: bool = True) -> Trust:
    """Return what an evaluation says of the thresholds that a model's ``bundle.json`` holds.

    Coverage is counted on the images that were not rejected, as that is where sets are given. Without
    ``is_own`` the predictions are those of other models, which say nothing of its thresholds.
    """
    limits = read_limits(metadata, evaluation)
    promise = limits.describe_promise() if limits else ""
    if not is_own:
        return Trust(calibration=read_calibration(metadata), promise=promise)
    rejected: tuple[Proportion, ...] = ()
    if isinstance(metadata.get("unknown"), Mapping):
        is_rejected = np.array([item.label == UNKNOWN for item in evaluation.predictions.items])
        rejected = count_by_class(evaluation, is_rejected, np.ones(len(is_rejected), bool))
    return Trust(rejected, measure_coverage(evaluation, limits), read_calibration(metadata), promise)


def read_calibration(metadata: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration that ``bundle.json`` holds; None if there is none or it cannot be read."""
    values = metadata.get("calibration")
    try:
        return Calibration.from_dict(values) if isinstance(values, Mapping) else None
    except InputError:
        return None
