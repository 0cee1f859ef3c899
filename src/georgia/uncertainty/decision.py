"""What lets a net's answers be trusted: its temperature, what it refuses, its conformal limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.labels import UNKNOWN, Decision, Labels
from georgia.uncertainty.calibration import Calibration
from georgia.uncertainty.conformal import ConformalLimits
from georgia.uncertainty.ood import THRESHOLD, OodDetector


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What was fitted on validation groups; None is what was not."""

    calibration: Calibration | None = None
    unknown: OodDetector | None = None
    conformal: ConformalLimits | None = None

    @property
    def temperature(self) -> float:
        """What logits are divided by; 1 where nothing was fitted."""
        return self.calibration.temperature if self.calibration else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that stands in ``bundle.json`` and in the ONNX metadata."""
        parts = {"calibration": self.calibration, "unknown": self.unknown, "conformal": self.conformal}
        return {word: part.to_dict() for word, part in parts.items() if part is not None}

    @classmethod
    def load(cls, folder: Path, labels: Labels, details: Mapping[str, Any]) -> Uncertainty:
        """Read what a run folder holds: its ``bundle.json`` (as ``details``) and ``reference.npz``.

        Raises:
            InputError: a part is damaged.
        """
        calibration, conformal = details.get("calibration"), details.get("conformal")
        return cls(
            Calibration.from_dict(calibration) if calibration else None,
            OodDetector.load(folder) if details.get("unknown") else None,
            ConformalLimits.from_dict(conformal, labels) if conformal else None,
        )


NO_ASSURANCE = Uncertainty()


@dataclass(frozen=True)
class Limits:
    """What turns the graph's outputs into an answer: when to refuse, and which classes go into the set."""

    labels: Labels
    threshold: float | None = None
    conformal: ConformalLimits | None = None

    @classmethod
    def from_details(cls, labels: Labels, details: Mapping[str, Any]) -> Limits:
        """Read them from ``bundle.json`` or the metadata; models without them refuse nothing.

        Raises:
            InputError: they are there and damaged.
        """
        unknown, conformal = details.get("unknown"), details.get("conformal")
        threshold = float(unknown.get("threshold", THRESHOLD)) if isinstance(unknown, Mapping) else None
        limits = ConformalLimits.from_dict(conformal, labels) if isinstance(conformal, Mapping) else None
        return cls(labels, threshold, limits)

    def decide(self, outputs: Mapping[str, npt.NDArray[np.floating]]) -> list[Decision]:
        """Return the answer to each row of a graph's outputs: refused, or the likeliest class and its set."""
        probabilities = outputs["probabilities"]
        decisions = self.labels.decode(probabilities)
        sets: Sequence[tuple[str, ...]] = [()] * len(decisions)
        if self.conformal is not None:
            sets = self.conformal.sets(probabilities, self.labels)
        decisions = [replace(one, set=names) for one, names in zip(decisions, sets, strict=True)]
        if self.threshold is None or "unknown_score" not in outputs:
            return decisions
        scores = [float(score) for score in outputs["unknown_score"]]
        return [
            _refuse(one, score) if score > self.threshold else replace(one, unknown_score=score)
            for one, score in zip(decisions, scores, strict=True)
        ]


def _refuse(decision: Decision, score: float) -> Decision:
    """Return the refusal: no class, so no probability of one and an empty set; the classes' numbers stay."""
    return replace(decision, label=UNKNOWN, probability=0.0, unknown_score=score, set=())
