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


@pytest.mark.parametrize("wrong", [106.1, -0.01, np.nan, np.inf])
def test_probability_outside_range_is_rejected(wrong: float) -> None:
    probabilities = np.array([[0.9, 0.1], [wrong, 0.5]], np.float32)
    for thresholds in (DecisionThresholds(LABELS), DecisionThresholds(LABELS, 1.0, CONFORMAL)):
        with pytest.raises(
            InputError, match=r"probabilities from 0 to 1 are needed; got (106.1|-0.01|nan|inf)"
        ):
            thresholds.decide({"probabilities": probabilities, "unknown_score": np.ones(2, np.float32)})
    rounded = np.array([[1 + 2e-7, -1e-8]], np.float32)
    assert DecisionThresholds(LABELS).decide({"probabilities": rounded})[0].label == "CEX"


def test_threshold_without_score_is_rejected() -> None:
    thresholds = DecisionThresholds(LABELS, 1.0)
    with pytest.raises(InputError, match="the unknown score that the threshold is for is needed; got none"):
        thresholds.decide({"probabilities": OUTPUTS["probabilities"]})
    with pytest.raises(InputError, match="got one that is no number"):
        thresholds.decide({**OUTPUTS, "unknown_score": np.array([0.1, np.nan, 2], np.float32)})
    assert thresholds.decide({**OUTPUTS, "unknown_score": np.full(3, np.inf)})[0].label == "unknown"


@pytest.mark.parametrize("threshold", ["high", float("nan"), float("inf"), 0, -1, None, [1]])
def test_unusable_threshold_is_rejected(threshold: object) -> None:
    with pytest.raises(InputError, match="Cannot read the model's unknown threshold: a number above 0"):
        DecisionThresholds.from_details(LABELS, {"unknown": {"threshold": threshold}})


@pytest.mark.parametrize("limit", [float("nan"), 1.5, "high"])
def test_unusable_conformal_limit_is_rejected(limit: object) -> None:
    values = {"error_rate": 0.05, "limits": {"0.05": {"CEX": limit, "PG": 0.5}}}
    with pytest.raises(InputError, match="Cannot read the model's conformal limits"):
        DecisionThresholds.from_details(LABELS, {"conformal": {**values, "n_groups": {"CEX": 1, "PG": 1}}})


def test_bundled_model_is_complete_and_small() -> None:
    bundle = load_bundled_model()
    folder = bundle.model_path.parent
    fitted = Uncertainty.load(folder, bundle.labels, bundle.metadata)
    assert fitted.calibration is not None
    assert fitted.unknown is not None
    assert fitted.conformal == bundle.thresholds.conformal
    assert bundle.thresholds.threshold == 1.0
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6


@pytest.mark.slow
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
