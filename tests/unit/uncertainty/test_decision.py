"""Outputs become answers: refusal, sets, and models that hold no limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.model.load import load_bundled_model
from georgia.predict.predictor import predict_files
from georgia.uncertainty.conformal import ConformalLimits
from georgia.uncertainty.decision import DecisionThresholds, Uncertainty

LABELS = Labels(("CEX", "PG"))
CONFORMAL = ConformalLimits({0.05: {"CEX": 0.7, "PG": 0.2}}, {"CEX": 40, "PG": 40})
OUTPUTS = {
    "probabilities": np.array([[0.9, 0.1], [0.75, 0.25], [0.3, 0.7]], np.float32),
    "unknown_score": np.array([0.5, 1.0, 1.01], np.float32),
}


def test_above_the_threshold_is_unknown_and_no_class_is_claimed() -> None:
    first, second, third = DecisionThresholds(LABELS, 1.0, CONFORMAL).decide(OUTPUTS)
    assert (first.label, first.set, first.unknown_score) == ("CEX", ("CEX",), 0.5)
    assert (second.label, second.set) == ("CEX", ("CEX", "PG"))
    assert (third.label, third.probability, third.set) == ("unknown", 0.0, ())
    assert third.probabilities == pytest.approx({"CEX": 0.3, "PG": 0.7})
    assert third.unknown_score == pytest.approx(1.01)


def test_a_model_without_limits_names_everything() -> None:
    limits = DecisionThresholds.from_details(LABELS, {"name": "foreign"})
    answers = limits.decide({"probabilities": OUTPUTS["probabilities"]})
    assert [answer.label for answer in answers] == ["CEX", "CEX", "PG"]
    assert {(answer.unknown_score, answer.set) for answer in answers} == {(None, ())}
    assert Uncertainty().to_dict() == {}
    assert Uncertainty.load(Path("nowhere"), LABELS, {}).temperature == 1.0


def test_damaged_limits_are_refused() -> None:
    with pytest.raises(InputError, match="Cannot read the model's conformal limits"):
        DecisionThresholds.from_details(LABELS, {"conformal": {"error_rate": 0.05}})


def test_the_bundled_model_brings_all_three_and_is_small() -> None:
    bundle = load_bundled_model()
    folder = bundle.model_path.parent
    assurance = Uncertainty.load(folder, bundle.labels, bundle.metadata)
    assert assurance.calibration is not None
    assert assurance.unknown is not None
    assert assurance.conformal == bundle.thresholds.conformal
    assert bundle.thresholds.threshold == 1.0
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6


def test_the_bundled_model_refuses_a_cat_and_names_a_drawn_crystal(synthetic_crops: Path) -> None:
    skimage = pytest.importorskip("skimage")
    cat = Path(skimage.__file__).parent / "data" / "chelsea.png"
    crops = sorted(synthetic_crops.glob("*/*.png"))[::8]
    answers = predict_files(load_bundled_model(), [cat, *crops]).items
    assert answers[0].label == "unknown"
    assert sum(answer.label == file.parent.name for answer, file in zip(answers[1:], crops, strict=True)) >= 9


def test_the_bundled_model_names_the_real_crops(shared_data: Path) -> None:
    files = sorted((shared_data / "crystals").glob("*/*"))
    answers = predict_files(load_bundled_model(), files).items
    assert [answer.label for answer in answers] == [file.parent.name for file in files]
