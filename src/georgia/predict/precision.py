"""What bfloat16 changes: shown for a model on its validation images, or said before it is used."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import Outputs
from georgia.text import count_noun
from georgia.uncertainty.decision import DecisionThresholds

# What bfloat16 may change in a probability and in the unknown score: twice as much separates two
# probabilities, and as much the score from its threshold, before a label or a rejection counts as changed.
BFLOAT16_TOLERANCE = 0.02


class PrecisionWarning(UserWarning):
    """Predictions are made in a precision that was not shown to keep them."""


@dataclass(frozen=True)
class PrecisionTrial:
    """bfloat16 against float32 on ``n`` images: largest |Δ probability| and |Δ unknown score|.

    ``n_changed`` counts other labels and rejections where float32 is clear, farther from a border than the
    tolerance; ``n_changed_near`` counts those nearer to it. ``is_emulated``: rounded like bfloat16 on a
    processor without it.
    """

    n: int
    largest_difference: float
    largest_score_difference: float
    n_changed: int
    n_changed_near: int
    is_emulated: bool = False

    @property
    def is_shown(self) -> bool:
        """Whether bfloat16 keeps what float32 predicts, within the tolerance; half of it where emulated.

        Emulated rounding leaves out that of additions: a real processor differs by up to twice as much.
        """
        limit = BFLOAT16_TOLERANCE / (2 if self.is_emulated else 1)
        return bool(self.n) and not self.n_changed and self.largest_difference <= limit

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object under "bfloat16" in ``bundle.json``'s "precision"."""
        return {**vars(self), "is_shown": self.is_shown}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> PrecisionTrial | None:
        """Read it from the content of ``bundle.json``; None if there is none or it cannot be read."""
        try:
            values = dict(metadata["precision"]["bfloat16"])
            values.pop("is_shown", None)
            return cls(**values)
        except (KeyError, TypeError, ValueError):
            return None


def compare_precisions(
    full: Outputs, low: Outputs, thresholds: DecisionThresholds, is_emulated: bool = False
) -> PrecisionTrial:
    """Return how far outputs in bfloat16 (``low``) lie from those in float32 (``full``), image by image."""
    p_full, p_low = (np.asarray(outputs["probabilities"], np.float64) for outputs in (full, low))
    if not len(p_full):
        return PrecisionTrial(0, 0.0, 0.0, 0, 0, is_emulated)
    names_full, names_low = (
        [decision.label for decision in thresholds.decide(outputs)] for outputs in (full, low)
    )
    is_clear = _is_clear(p_full, thresholds.labels)
    score_difference = 0.0
    if thresholds.threshold is not None:
        s_full, s_low = (np.asarray(outputs["unknown_score"], np.float64) for outputs in (full, low))
        margin = s_full - thresholds.threshold
        # A rejected image has no class: only its distance from the threshold counts.
        is_clear = np.where(margin > 0, True, is_clear) & (np.abs(margin) > BFLOAT16_TOLERANCE)
        score_difference = float(np.abs(s_full - s_low).max())
    is_changed = np.array([a != b for a, b in zip(names_full, names_low, strict=True)])
    difference = float(np.abs(p_full - p_low).max())
    n_changed, n_near = int((is_changed & is_clear).sum()), int((is_changed & ~is_clear).sum())
    return PrecisionTrial(len(p_full), difference, score_difference, n_changed, n_near, is_emulated)


def _is_clear(probabilities: npt.NDArray[np.float64], labels: Labels) -> npt.NDArray[np.bool_]:
    if len(labels) < 2:
        return np.ones(len(probabilities), bool)
    ordered = np.sort(probabilities, axis=1)
    clear: npt.NDArray[np.bool_] = ordered[:, -1] - ordered[:, -2] > 2 * BFLOAT16_TOLERANCE
    return clear


def warn_of_precision(bundle: Bundle, precision: str) -> None:
    """Warn, in one line, where a model runs in bfloat16 and that was not shown to keep its predictions."""
    if precision != "bfloat16":
        return
    trial = PrecisionTrial.from_metadata(bundle.metadata)
    if trial is not None and trial.is_shown:
        return
    known = "it was not tried on this model's validation images"
    if trial is not None:
        n_changed = trial.n_changed + trial.n_changed_near
        known = (
            f"on {count_noun(trial.n, 'validation image')} it changed {count_noun(n_changed, 'label')} and "
            f"probabilities by up to {trial.largest_difference:.2f}"
        )
    warnings.warn(
        f"bfloat16 is not shown to keep the predictions of model {bundle.name!r}: {known}. Probabilities, "
        "unknown scores and sets may differ from float32, and images near a threshold may get another label "
        "or be rejected. Leave the precision out for float32.",
        PrecisionWarning,
        stacklevel=1,
    )
