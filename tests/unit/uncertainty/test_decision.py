"""Outputs become decisions: rejection, sets, and models without thresholds."""

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


def test_score_above_threshold_is_rejected() -> None:
    first, second, third = DecisionThresholds(LABELS, 1.0, CONFORMAL).decide(OUTPUTS)
    assert (first.label, first.set, first.unknown_score) == ("CEX", ("CEX",), 0.5)
    assert (second.label, second.set) == ("CEX", ("CEX", "PG"))
    assert (third.label, third.probability, third.set) == ("unknown", 0.0, ())
    assert third.probabilities == pytest.approx({"CEX": 0.3, "PG": 0.7})
    assert third.unknown_score == pytest.approx(1.01)


def test_model_without_thresholds_rejects_nothing() -> None:
    loaded = DecisionThresholds.from_details(LABELS, {"name": "foreign"})
    decisions = loaded.decide({"probabilities": OUTPUTS["probabilities"]})
    assert [item.label for item in decisions] == ["CEX", "CEX", "PG"]
    assert {(item.unknown_score, item.set) for item in decisions} == {(None, ())}
    assert Uncertainty().to_dict() == {}
    assert Uncertainty.load(Path("nowhere"), LABELS, {}).temperature == 1.0


def test_damaged_thresholds_are_rejected() -> None:
    with pytest.raises(InputError, match="Cannot read the model's conformal limits"):
        DecisionThresholds.from_details(LABELS, {"conformal": {"error_rate": 0.05}})


def test_bundled_model_is_complete_and_small() -> None:
    bundle = load_bundled_model()
    folder = bundle.model_path.parent
    fitted = Uncertainty.load(folder, bundle.labels, bundle.metadata)
    assert fitted.calibration is not None
    assert fitted.unknown is not None
    assert fitted.conformal == bundle.thresholds.conformal
    assert bundle.thresholds.threshold == 1.0
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6


def test_bundled_model_rejects_cat_but_not_crystals(synthetic_crops: Path) -> None:
    skimage = pytest.importorskip("skimage")
    cat = Path(skimage.__file__).parent / "data" / "chelsea.png"
    crops = sorted(synthetic_crops.glob("*/*.png"))[::8]
    decisions = predict_files(load_bundled_model(), [cat, *crops]).items
    assert decisions[0].label == "unknown"
    assert sum(item.label == file.parent.name for item, file in zip(decisions[1:], crops, strict=True)) >= 9


def test_bundled_model_classifies_real_crops(shared_data: Path) -> None:
    files = sorted((shared_data / "crystals").glob("*/*"))
    decisions = predict_files(load_bundled_model(), files).items
    assert [item.label for item in decisions] == [file.parent.name for file in files]
