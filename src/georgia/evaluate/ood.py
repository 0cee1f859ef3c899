"""Evaluation on out-of-distribution (OOD) images: how many a model rejects that show none of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.files import write_json
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import FloatArray, Interval, wilson_interval
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictor import PredictConfig, predict_files
from georgia.progress import QUIET, Progress
from georgia.records import Failure

OOD_FILE = "ood.json"
# JSON keys of version 0.1, where the field has another name.
_JSON_KEYS = {"n_rejected": "n_refused", "rejection_rate": "refused", "rejected_ci95": "refused_ci95"}


@dataclass(frozen=True)
class Accepted:
    """One OOD image that was accepted: its label, the probability of the label and its unknown score."""

    file: Path
    label: str
    probability: float
    unknown_score: float


@dataclass(frozen=True)
class OodEvaluation:
    """Predictions for ``n`` images that show none of the model's classes.

    ``rejection_rate`` is the fraction in [0, 1] of rejected images, with its 95 % confidence interval
    (Wilson). ``auroc`` is the probability that an OOD image has a higher unknown score than a known one.
    ``accepted_at_95`` is the fraction that would be accepted at a threshold that accepts 95 % of the known
    images. ``accepted`` holds the accepted images, the lowest unknown score first.
    """

    n: int
    n_rejected: int
    rejection_rate: float
    rejected_ci95: Interval
    auroc: float
    accepted_at_95: float
    n_known: int
    accepted: tuple[Accepted, ...]
    failed: tuple[Failure, ...] = ()

    def describe(self) -> str:
        """Return one sentence with the rejection rate and its interval."""
        low, high = self.rejected_ci95
        return (
            f"{self.n_rejected:,} of {self.n:,} out-of-distribution images rejected: "
            f"{self.rejection_rate:.1%} (95 % confidence interval {low:.1%} to {high:.1%}); "
            f"AUROC {self.auroc:.4f} against {self.n_known:,} known images"
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **{_JSON_KEYS.get(name, name): value for name, value in vars(self).items()},
            "refused_ci95": list(self.rejected_ci95),
            "accepted": [{**vars(image), "file": str(image.file)} for image in self.accepted],
            "failed": [failure.to_json_dict() for failure in self.failed],
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``ood.json`` and return its path."""
        folder = Path(folder)
        write_json(folder / OOD_FILE, self.to_json_dict())
        return folder / OOD_FILE


def check_has_ood_detector(bundle: Bundle) -> None:
    """Reject a model without an unknown score.

    Raises:
        InputError: it has none.
    """
    if bundle.thresholds.threshold is None:
        raise InputError(
            "Cannot measure rejection",
            needs="a model with an unknown score is needed, as georgia train makes them",
            got=f"{bundle.name}, without one",
        )


def evaluate_ood(
    bundle: Bundle,
    paths: Sequence[Path],
    known: Sequence[Prediction],
    progress: Progress = QUIET,
    config: PredictConfig | None = None,
) -> OodEvaluation:
    """Predict images that show none of the classes, and compare their unknown scores with ``known`` ones.

    Raises:
        InputError: the model has no unknown score, or no image on one side can be read.
    """
    from sklearn.metrics import roc_auc_score

    check_has_ood_detector(bundle)
    predictions = predict_files(bundle, list(paths), config or PredictConfig(), progress)
    scores, known_scores = _unknown_scores(predictions.items), _unknown_scores(known)
    if not scores.size or not known_scores.size:
        raise InputError(
            "Cannot measure rejection",
            needs="a readable out-of-distribution image and a readable image of the classes are needed",
            got=f"{scores.size} and {known_scores.size} images",
        )
    is_ood = np.r_[np.zeros(len(known_scores)), np.ones(len(scores))]
    n_rejected = sum(item.label == UNKNOWN for item in predictions.items)
    accepted = [
        Accepted(item.file, item.label, item.probability, item.unknown_score or 0.0)
        for item in predictions.items
        if item.label != UNKNOWN
    ]
    return OodEvaluation(
        n=len(scores),
        n_rejected=n_rejected,
        rejection_rate=n_rejected / len(scores),
        rejected_ci95=wilson_interval(n_rejected / len(scores), len(scores)),
        auroc=float(roc_auc_score(is_ood, np.r_[known_scores, scores])),
        accepted_at_95=float((scores <= np.quantile(known_scores, 0.95)).mean()),
        n_known=len(known_scores),
        accepted=tuple(sorted(accepted, key=lambda image: (image.unknown_score, str(image.file)))),
        failed=predictions.failed,
    )


def _unknown_scores(items: Sequence[Prediction]) -> FloatArray:
    return np.array([item.unknown_score for item in items if item.unknown_score is not None], np.float64)
