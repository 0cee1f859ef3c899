"""How many images of something else a model refuses, measured on images that show none of its classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.files import write_text
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import FloatArray, Interval, wilson_interval
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictor import PredictConfig, predict_files
from georgia.progress import QUIET, Progress
from georgia.records import Failure

OOD_FILE = "strangers.json"


@dataclass(frozen=True)
class Accepted:
    """One image of something else that got a class name: its name, probability and unknown score."""

    file: Path
    label: str
    probability: float
    unknown_score: float


@dataclass(frozen=True)
class OodEvaluation:
    """What a model said to ``n`` images that show none of its classes.

    ``refused`` is the share in [0, 1] that it refused, with its 95 % interval (Wilson). ``auroc`` is the
    probability that such an image has a higher unknown score than a known one, and ``accepted_at_95``
    the share that a limit would let through that accepts 95 % of the known ones. ``accepted`` holds those
    that were let through, the least strange first.
    """

    n: int
    n_refused: int
    refused: float
    rejected_ci95: Interval
    auroc: float
    accepted_at_95: float
    n_known: int
    accepted: tuple[Accepted, ...]
    failed: tuple[Failure, ...] = ()

    def describe(self) -> str:
        """Return one sentence on what was refused, with its interval."""
        low, high = self.rejected_ci95
        return (
            f"{self.n_refused:,} of {self.n:,} images of something else refused: {self.refused:.1%} "
            f"({low:.1%} to {high:.1%}); AUROC {self.auroc:.4f} against {self.n_known:,} known images"
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        plain = {**asdict(self), "refused_ci95": list(self.rejected_ci95)}
        plain["accepted"] = [{**vars(one), "file": str(one.file)} for one in self.accepted]
        plain["failed"] = [one.to_json_dict() for one in self.failed]
        return plain

    def save(self, folder: Path) -> Path:
        """Write ``strangers.json`` and return its path."""
        text = json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(folder / OOD_FILE, text)
        return folder / OOD_FILE


def check_has_ood_detector(bundle: Bundle) -> None:
    """Refuse a model that has no unknown score.

    Raises:
        InputError: it has none.
    """
    if bundle.thresholds.threshold is None:
        raise InputError(
            "Cannot measure refusal",
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
    """Ask a model about images that show none of its classes, and compare them with ``known`` ones.

    Raises:
        InputError: the model refuses nothing, or no image on one side can be read.
    """
    from sklearn.metrics import roc_auc_score

    check_has_ood_detector(bundle)
    answers = predict_files(bundle, list(paths), config or PredictConfig(), progress)
    strange, usual = _scores(answers.items), _scores(known)
    if not strange.size or not usual.size:
        raise InputError(
            "Cannot measure refusal",
            needs="a readable image or more of something else, and of the classes, is needed",
            got=f"{strange.size} and {usual.size} images",
        )
    is_strange = np.r_[np.zeros(len(usual)), np.ones(len(strange))]
    n_refused = sum(item.label == UNKNOWN for item in answers.items)
    accepted = [
        Accepted(item.file, item.label, item.probability, item.unknown_score or 0.0)
        for item in answers.items
        if item.label != UNKNOWN
    ]
    return OodEvaluation(
        n=len(strange),
        n_refused=n_refused,
        refused=n_refused / len(strange),
        rejected_ci95=wilson_interval(n_refused / len(strange), len(strange)),
        auroc=float(roc_auc_score(is_strange, np.r_[usual, strange])),
        accepted_at_95=float((strange <= np.quantile(usual, 0.95)).mean()),
        n_known=len(usual),
        accepted=tuple(sorted(accepted, key=lambda one: (one.unknown_score, str(one.file)))),
        failed=answers.failed,
    )


def _scores(items: Sequence[Prediction]) -> FloatArray:
    return np.array([item.unknown_score for item in items if item.unknown_score is not None], np.float64)
