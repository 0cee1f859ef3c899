"""From the outputs of a net to a decision: calibrated probability, rejection as unknown, prediction set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import reading
from georgia.labels import UNKNOWN, Decision, Labels
from georgia.uncertainty.calibration import Calibration
from georgia.uncertainty.conformal import ConformalLimits
from georgia.uncertainty.ood import THRESHOLD, OodDetector


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What was fitted on the validation groups; None where nothing was fitted."""

    calibration: Calibration | None = None
    unknown: OodDetector | None = None
    conformal: ConformalLimits | None = None

    @property
    def temperature(self) -> float:
        """The divisor of the logits; 1 where none was fitted."""
        return self.calibration.temperature if self.calibration else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that ``bundle.json`` and the ONNX metadata hold."""
        return {name: fitted.to_dict() for name, fitted in vars(self).items() if fitted is not None}

    @classmethod
    def load(cls, folder: Path, labels: Labels, details: Mapping[str, Any]) -> Uncertainty:
        """Read a run folder: its ``bundle.json`` (as ``details``) and ``reference.npz``.

        Raises:
            InputError: one of them is damaged.
        """
        calibration, conformal = details.get("calibration"), details.get("conformal")
        return cls(
            Calibration.from_dict(calibration) if calibration else None,
            OodDetector.load(folder) if details.get("unknown") else None,
            ConformalLimits.from_dict(conformal, labels) if conformal else None,
        )


# Softmax in float32 may pass 1 by some rounding errors.
_ROUNDING = 1e-4
NOTHING_FITTED = Uncertainty()


@dataclass(frozen=True)
class DecisionThresholds:
    """Thresholds that turn outputs of the graph into a decision.

    An image is rejected if its unknown score is above ``threshold``; ``conformal`` gives its prediction set.
    """

    labels: Labels
    threshold: float | None = None
    conformal: ConformalLimits | None = None

    @classmethod
    def from_details(cls, labels: Labels, details: Mapping[str, Any]) -> DecisionThresholds:
        """Read them from ``bundle.json`` or the ONNX metadata; a model without them rejects nothing.

        Raises:
            InputError: they are damaged.
        """
        unknown, conformal = details.get("unknown"), details.get("conformal")
        threshold = _read_threshold(unknown) if isinstance(unknown, Mapping) else None
        limits = ConformalLimits.from_dict(conformal, labels) if isinstance(conformal, Mapping) else None
        return cls(labels, threshold, limits)

    def decide(self, outputs: Mapping[str, npt.NDArray[np.floating]]) -> list[Decision]:
        """Return a decision for each row of the outputs: rejected, or the most probable class and its set.

        Raises:
            InputError: a probability is outside of [0, 1], or the unknown score is missing or no number: the
                net is not the one that the thresholds were fitted on.
        """
        probabilities = outputs["probabilities"]
        self._check(outputs)
        decisions = self.labels.decode(probabilities)
        sets: Sequence[tuple[str, ...]] = [()] * len(decisions)
        if self.conformal is not None:
            sets = self.conformal.sets(probabilities, self.labels)
        decisions = [replace(decision, set=names) for decision, names in zip(decisions, sets, strict=True)]
        if self.threshold is None:
            return decisions
        scores = [float(score) for score in outputs["unknown_score"]]
        return [
            _reject(decision, score) if score > self.threshold else replace(decision, unknown_score=score)
            for decision, score in zip(decisions, scores, strict=True)
        ]

    def _check(self, outputs: Mapping[str, npt.NDArray[np.floating]]) -> None:
        needs, got = "probabilities from 0 to 1 are needed", ""
        probabilities = np.asarray(outputs["probabilities"])
        is_outside = ~((probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING))
        if is_outside.any():
            got = f"{float(probabilities[is_outside][0]):.6g}"
        elif self.threshold is not None:
            scores = outputs.get("unknown_score")
            needs = "the unknown score that the threshold is for is needed"
            got = "none" if scores is None else "one that is no number" if np.isnan(scores).any() else ""
        if got:
            raise InputError(
                "Cannot use the model's outputs",
                needs=needs,
                got=got,
                hint="The net does not fit its description: export or train it again.",
            )


def _read_threshold(values: Mapping[str, Any]) -> float:
    with reading("Cannot read the model's unknown threshold", "a number above 0 is needed"):
        threshold = float(values.get("threshold", THRESHOLD))
        if not 0 < threshold < np.inf:
            raise ValueError(threshold)
        return threshold


def _reject(decision: Decision, score: float) -> Decision:
    """Return the decision for a rejected image: no class and an empty set; class probabilities stay."""
    return replace(decision, label=UNKNOWN, probability=0.0, unknown_score=score, set=())
