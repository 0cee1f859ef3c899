"""Evaluation on out-of-distribution images: rates, ranks and what is accepted, from known scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.evaluate import ood
from georgia.evaluate.ood import check_has_ood_detector, evaluate_ood
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.intervals import wilson_interval
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Failure

LABELS = Labels(("CEX", "PG"))
FAILED = (Failure(Path("broken.png"), "the file is truncated"),)


def predict(name: str, score: float | None) -> Prediction:
    is_rejected = score is not None and score > 1
    label, probability = (UNKNOWN, 0.0) if is_rejected else ("PG", 0.9)
    return Prediction(Path(name), label, probability, {"CEX": 0.1, "PG": 0.9}, score)


def make_bundle(**metadata: object) -> Bundle:
    return Bundle(Path("model.onnx"), LABELS, PreprocessSpec(), metadata)


def evaluate(
    monkeypatch: pytest.MonkeyPatch, scores: list[float | None], known: list[float | None]
) -> ood.OodEvaluation:
    """Evaluate images with these unknown scores against known images with those."""
    items = tuple(predict(f"ood {at}.png", score) for at, score in enumerate(scores))
    predictions = Predictions(LABELS, items, FAILED, "fake")
    monkeypatch.setattr(ood, "predict_files", lambda *_: predictions)
    bundle = make_bundle(unknown={"threshold": 1.0})
    return evaluate_ood(bundle, [], [predict(f"{at}.png", score) for at, score in enumerate(known)])


def test_rejection_rate_has_wilson_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate(monkeypatch, [2.0, 3.0, 1.5, 0.5], [0.1] * 10)
    assert (result.n, result.n_rejected, result.n_known) == (4, 3, 10)
    assert result.rejection_rate == 0.75
    assert result.rejected_ci95 == wilson_interval(0.75, 4)
    assert result.failed == FAILED
    assert "3 of 4 out-of-distribution images rejected: 75.0%" in result.describe()


def test_auroc_counts_pairs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, known = [0.2, 0.9, 4.0], [0.1, 0.5, 0.9, 0.3]
    pairs = [(score > other) + 0.5 * (score == other) for score in scores for other in known]
    assert evaluate(monkeypatch, scores, known).auroc == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(("scores", "expected"), [([5.0, 6.0], 0.0), ([0.0, 0.01], 1.0), ([0.0, 6.0], 0.5)])
def test_accepted_fraction_uses_known_quantile(
    monkeypatch: pytest.MonkeyPatch, scores: list[float | None], expected: float
) -> None:
    known: list[float | None] = [0.02 * at for at in range(1, 21)]
    assert evaluate(monkeypatch, scores, known).accepted_at_95 == expected


def test_accepted_images_come_lowest_score_first(monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate(monkeypatch, [0.8, 2.0, 0.3, 0.8], [0.1])
    assert [(str(image.file), image.unknown_score) for image in result.accepted] == [
        ("ood 2.png", 0.3),
        ("ood 0.png", 0.8),
        ("ood 3.png", 0.8),
    ]


def test_saved_evaluation_has_public_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = evaluate(monkeypatch, [0.8, 2.0], [0.1])
    document = json.loads(result.save(tmp_path).read_text(encoding="utf-8"))
    assert document == result.to_json_dict()
    assert list(document) == [
        *("n", "n_refused", "refused", "refused_ci95", "auroc", "accepted_at_95"),
        *("n_known", "accepted", "failed"),
    ]
    accepted = {"file": "ood 0.png", "label": "PG", "probability": 0.9, "unknown_score": 0.8}
    assert document["accepted"] == [accepted]
    assert document["failed"] == [FAILED[0].to_json_dict()]


def test_model_without_detector_is_rejected() -> None:
    check_has_ood_detector(make_bundle(unknown={"threshold": 1.0}))
    with pytest.raises(InputError, match="a model with an unknown score is needed"):
        evaluate_ood(make_bundle(), [], [])


@pytest.mark.parametrize(("scores", "known"), [([], [0.1]), ([2.0], []), ([2.0], [None])])
def test_evaluation_needs_images_on_both_sides(
    monkeypatch: pytest.MonkeyPatch, scores: list[float | None], known: list[float | None]
) -> None:
    with pytest.raises(InputError, match="Cannot measure rejection: a readable out-of-distribution image"):
        evaluate(monkeypatch, scores, known)
