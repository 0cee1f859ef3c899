"""One image has one prediction, whatever engine, batch or file count; what bfloat16 changes is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from georgia.evaluate.serving import measure_acceptance, try_bfloat16
from georgia.export.parity import PARITY_TOLERANCE
from georgia.labels import Labels
from georgia.model.engines import (
    FLOAT32_TOLERANCE,
    OpenVinoEngine,
    Outputs,
    list_capabilities,
    round_as_bfloat16,
)
from georgia.model.load import load_bundled_model
from georgia.predict.precision import BFLOAT16_TOLERANCE, Bands, PrecisionTrial, compare_precisions
from georgia.predict.predictions import Predictions
from georgia.predict.predictor import FEW, PredictConfig, Predictor, for_few
from georgia.records import Record
from georgia.synthetic import render_crop
from georgia.uncertainty.decision import DecisionThresholds

BUNDLE = load_bundled_model()
LABELS = Labels(("CEX", "PG"))
ENGINE = OpenVinoEngine(BUNDLE.model_path, BUNDLE.preprocess)
N_CROPS = 80


def blend_to_border(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], column: str
) -> list[Image.Image]:
    """Return blends of two images around the place where they cross a threshold, found by bisection."""
    height, width = (min(sizes) for sizes in zip(first.shape[:2], second.shape[:2], strict=True))
    a, b = (image[:height, :width].astype(np.float64) for image in (first, second))

    def mix(weight: float) -> npt.NDArray[np.uint8]:
        return np.rint(a * (1 - weight) + b * weight).astype(np.uint8)

    def is_beyond(weight: float) -> bool:
        outputs = ENGINE.run([ENGINE.prepare(mix(weight))])
        if column == "unknown":
            return bool(outputs["unknown_score"][0] > 1)
        return bool(outputs["probabilities"][0].argmax())

    low, high, start = 0.0, 1.0, is_beyond(0.0)
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if is_beyond(middle) is start else (low, middle)
    return [Image.fromarray(mix(weight)) for weight in (low, high)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of 80 synthetic crops, and of blends that lie at a threshold."""
    folder = tmp_path_factory.mktemp("crops")
    crops = [render_crop(name, seed).image for seed in range(N_CROPS // 2) for name in ("CEX", "PG")]
    black = np.zeros((400, 400, 3), np.uint8)
    images = [Image.fromarray(crop) for crop in crops]
    for index in range(0, 12, 2):
        images += blend_to_border(crops[index], black, "unknown")
        images += blend_to_border(crops[index], crops[index + 1], "class")
    found = []
    for number, image in enumerate(images):
        found.append(folder / f"{number}.png")
        image.save(found[-1])
    return found


@pytest.fixture(scope="module")
def reference(paths: list[Path]) -> Predictions:
    return Predictor(BUNDLE, PredictConfig("openvino", precision="float32")).predict(paths)


def scores_of(predictions: Predictions) -> npt.NDArray[np.float64]:
    return np.array([item.unknown_score for item in predictions.items], np.float64)


def check_agreement(reference: Predictions, other: Predictions, part: slice = slice(None)) -> None:
    """Check probabilities and scores within the tolerance, and labels where the margin is larger."""
    first, p_first, s_first = (
        reference.items[part],
        reference.probability_array()[part],
        scores_of(reference)[part],
    )
    assert np.abs(p_first - other.probability_array()).max() <= FLOAT32_TOLERANCE
    assert np.abs(s_first - scores_of(other)).max() <= FLOAT32_TOLERANCE
    ordered = np.sort(p_first, axis=1)
    is_clear = ordered[:, -1] - ordered[:, -2] > 2 * FLOAT32_TOLERANCE
    is_clear = ((s_first > 1) | is_clear) & (np.abs(s_first - 1) > FLOAT32_TOLERANCE)
    assert is_clear.sum() > len(first) // 2
    for item, same, clear in zip(first, other.items, is_clear, strict=True):
        assert not clear or item.label == same.label


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "batch_size"), [("openvino", 1), ("openvino", 7), ("onnxruntime", 16)])
def test_engine_and_batch_keep_predictions(
    reference: Predictions, paths: list[Path], engine: str, batch_size: int
) -> None:
    config = PredictConfig(engine, batch_size, precision="float32")
    check_agreement(reference, Predictor(BUNDLE, config).predict(paths))


@pytest.mark.slow
def test_few_and_many_files_agree(
    reference: Predictions, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEORGIA_PRECISION", raising=False)
    for count in (1, FEW, FEW + 1):
        chosen = paths[-count:]
        predictor = Predictor(BUNDLE, for_few(PredictConfig(), chosen))
        assert predictor.engine.precision == "float32"
        check_agreement(reference, predictor.predict(chosen), slice(-count, None)) if count > 1 else None


@pytest.mark.slow
def test_blends_lie_at_the_thresholds(reference: Predictions) -> None:
    borders = reference.items[N_CROPS:]
    scores = np.abs(np.array([item.unknown_score for item in borders], np.float64) - 1)
    margins = [max(item.probabilities.values()) - 0.5 for item in borders]
    assert (scores < 0.05).sum() >= 6
    assert (np.array(margins) < 0.2).sum() >= 4
    assert {item.label for item in borders} == {"CEX", "PG", "unknown"}


def test_tolerance_is_one_number() -> None:
    assert PARITY_TOLERANCE == FLOAT32_TOLERANCE


def test_emulation_rounds_to_eight_bits() -> None:
    import openvino
    from openvino import opset13

    image = opset13.parameter([1, 1, 4, 4], np.float32)
    kernel = opset13.constant(np.full((1, 1, 1, 1), 1.0, np.float32))
    ends = [1, 1], [0, 0], [0, 0], [1, 1]
    net = openvino.Model([opset13.convolution(image, kernel, *ends)], [image], "one")
    values = np.random.default_rng(0).normal(0, 30, (1, 1, 4, 4)).astype(np.float32)
    compiled = openvino.Core().compile_model(
        round_as_bfloat16(net), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    bits = values.view(np.uint32).astype(np.uint64)
    nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(compiled(values)[0], nearest)
    assert (nearest != values).all()


@pytest.mark.slow
def test_emulated_bfloat16_differs_as_real_one(synthetic_crops: Path) -> None:
    records = [Record(path, path.parent.name) for path in sorted(synthetic_crops.glob("*/*.png"))[::2]]
    emulated = try_bfloat16(BUNDLE, records, is_emulated=True)
    assert (emulated.n, emulated.is_emulated) == (40, True)
    assert 1e-4 < emulated.largest_difference < 0.6
    assert 1e-4 < emulated.largest_score_difference < 0.6
    assert emulated.n_changed <= 2
    if "BF16" in list_capabilities():
        real = try_bfloat16(BUNDLE, records, is_emulated=False)
        assert 0.1 < emulated.largest_score_difference / real.largest_score_difference < 10


def make_outputs(probabilities: list[float], scores: list[float]) -> dict[str, npt.NDArray[np.float32]]:
    pg = np.array(probabilities, np.float32)
    return {"probabilities": np.stack([1 - pg, pg], axis=1), "unknown_score": np.array(scores, np.float32)}


@pytest.mark.parametrize(
    ("low", "n_changed", "n_near"),
    [
        (([0.1, 0.51, 0.9], [0.5, 0.5, 1.2]), 0, 0),
        (([0.11, 0.49, 0.9], [0.5, 0.5, 1.1]), 0, 1),
        (([0.1, 0.51, 0.9], [0.5, 0.5, 0.9]), 1, 0),
        (([0.1, 0.51, 0.9], [1.1, 0.5, 1.2]), 1, 0),
        (([0.6, 0.51, 0.9], [0.5, 0.5, 1.2]), 1, 0),
    ],
)
def test_trial_counts_changed_predictions(
    low: tuple[list[float], list[float]], n_changed: int, n_near: int
) -> None:
    thresholds = DecisionThresholds(LABELS, 1.0)
    full = make_outputs([0.1, 0.51, 0.9], [0.5, 0.5, 1.2])
    trial = compare_precisions(full, make_outputs(*low), thresholds)
    assert (trial.n, trial.n_changed, trial.n_changed_near) == (3, n_changed, n_near)
    # What changed lies within the bands that the trial itself found: float32 puts it right.
    assert (trial.n_changed_kept, trial.largest_kept <= BFLOAT16_TOLERANCE) == (0, True)
    metadata = {"precision": {"bfloat16": trial.to_json_dict()}}
    assert PrecisionTrial.from_metadata(metadata) == trial


def draw_outputs(n: int, odds_noise: float, score_noise: float, seed: int) -> tuple[Outputs, Outputs]:
    """Return outputs of a good classifier, and the same with bounded noise, as of another precision."""
    rng = np.random.default_rng(seed)
    odds, scores = rng.normal(0, 12, n), rng.uniform(0.2, 1.1, n)
    moved = odds + rng.uniform(-odds_noise, odds_noise, n), scores + rng.uniform(-1, 1, n) * score_noise
    full, low = (
        make_outputs((1 / (1 + np.exp(-z))).tolist(), s.tolist()) for z, s in ((odds, scores), moved)
    )
    return full, low


@pytest.mark.slow
def test_bands_find_all_that_may_change() -> None:
    thresholds = BUNDLE.thresholds
    assert thresholds.conformal is not None
    trial = compare_precisions(*draw_outputs(400, 0.5, 0.05, seed=1), thresholds)
    assert trial.n_changed + trial.n_changed_near > 0
    assert (trial.is_shown, trial.reason, trial.n_changed_kept) == (True, "", 0)
    full, low = draw_outputs(20_000, 0.5, 0.05, seed=2)
    is_near = trial.bands.find_near(low, thresholds)
    changed = np.array([a != b for a, b in zip(decide(full), decide(low), strict=True)])
    assert changed.sum() > 100
    assert not (changed & ~is_near).any()
    differences = np.abs(full["probabilities"] - low["probabilities"]).max(axis=1)
    assert differences.max() > 0.1
    assert differences[~is_near].max() < BFLOAT16_TOLERANCE
    assert 0.1 < is_near.mean() < 0.5


def decide(outputs: Outputs) -> list[tuple[str, tuple[str, ...]]]:
    return [(decision.label, decision.set) for decision in BUNDLE.thresholds.decide(outputs)]


def test_rising_score_has_a_wide_band_above() -> None:
    full = make_outputs([0.001] * 60, np.linspace(0.2, 0.9, 60).tolist())
    low = {**full, "unknown_score": full["unknown_score"] + np.linspace(-0.02, 0.2, 60, dtype=np.float32)}
    trial = compare_precisions(full, low, DecisionThresholds(LABELS, 1.0))
    assert (trial.band_above, trial.band_below) == pytest.approx((0.3, 0.15), rel=1e-3)
    near = trial.bands.find_near(
        make_outputs([0.001] * 4, [0.84, 0.86, 1.29, 1.31]), DecisionThresholds(LABELS, 1.0)
    )
    assert near.tolist() == [False, True, True, False]


def test_undefined_outputs_are_computed_again() -> None:
    low = make_outputs([0.001, np.nan, 0.001], [0.5, 0.5, np.nan])
    assert Bands().find_near(low, DecisionThresholds(LABELS, 1.0)).tolist() == [False, True, True]


SHOWN = PrecisionTrial(64, 0.3, 0.1, 0, 2, False, 1.0, 0.1, 0.1, 0.2, 0, 0.01)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"n": 49}, "49 validation images do not show it; 50 are needed"),
        ({"n_changed_kept": 1}, "on 64 validation images it changed 1 label far from any threshold"),
        ({"largest_kept": 0.021}, "changed 0 labels far .* probabilities by up to 0.021"),
        ({"is_emulated": True, "largest_kept": 0.011}, "probabilities by up to 0.011"),
        ({"is_emulated": True}, ""),
        ({"rejudged": 0.6}, "float32 had to compute 60% again, so that nothing is gained"),
    ],
)
def test_trial_gives_its_reason(changes: dict[str, Any], reason: str) -> None:
    trial = replace(SHOWN, **changes)
    assert re.search(reason, trial.reason) if reason else not trial.reason
    assert trial.is_shown is not bool(reason)


def test_emulated_trial_doubles_its_bands() -> None:
    full, low = draw_outputs(100, 0.5, 0.05, seed=1)
    real, emulated = (compare_precisions(full, low, BUNDLE.thresholds, flag) for flag in (False, True))
    assert emulated.odds_band == pytest.approx(2 * real.odds_band)
    assert emulated.band_above == pytest.approx(2 * real.band_above)
    assert emulated.band_below == pytest.approx(2 * real.band_below)


def draw_moved(n: int, bend: float, floor: float, seed: int) -> tuple[Outputs, Outputs]:
    """Return outputs of two classes whose log-odds move by up to ``bend`` of their square, and ``floor``."""
    rng = np.random.default_rng(seed)
    odds = rng.uniform(0.5, 8, n)
    moved = odds + rng.uniform(-1, 1, n) * (bend * odds**2 + floor)
    full, low = (
        {"probabilities": np.stack([1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))], axis=1).astype(np.float32)}
        for z in (odds, moved)
    )
    return full, low


PLAIN = DecisionThresholds(LABELS)


def test_odds_that_move_with_their_size_leave_uncertain_images_uncomputed() -> None:
    """As 8-bit integers do: the odds of certain images move most, where it matters to no probability."""
    full, low = draw_moved(400, 0.02, 0.0, seed=1)
    trial = compare_precisions(full, low, PLAIN)
    one_band = Bands(trial.odds_band)
    assert trial.margin < 0.95 < one_band.find_margin()
    again = [bands.find_near(low, PLAIN).mean() for bands in (trial.bands, one_band)]
    assert again[0] < 0.8 * again[1]
    for seed in range(2, 12):
        full, low = draw_moved(400, 0.02, 0.0, seed)
        is_kept = ~trial.bands.find_near(low, PLAIN)
        difference = np.abs(full["probabilities"] - low["probabilities"])[is_kept].max()
        assert difference <= BFLOAT16_TOLERANCE
        labels = [outputs["probabilities"][is_kept].argmax(axis=1) for outputs in (full, low)]
        np.testing.assert_array_equal(*labels)


def test_odds_that_all_move_alike_keep_the_margin_of_one_band() -> None:
    trial = compare_precisions(*draw_moved(400, 0.0, 0.3, seed=1), PLAIN)
    assert trial.bands.find_margin() == pytest.approx(Bands(trial.odds_band).find_margin(), abs=0.05)


def test_few_images_and_older_bundles_have_one_band() -> None:
    few = compare_precisions(*draw_moved(99, 0.02, 0.0, seed=1), PLAIN)
    assert few.margin == 1.0
    older = few.to_json_dict()
    del older["margin"]
    assert PrecisionTrial.from_metadata({"precision": {"bfloat16": older}}) == few


@pytest.mark.parametrize("spoil", [{"odds_band": float("nan")}, {"n": "many"}, {"odds_band": None}])
def test_damaged_trial_shows_nothing(spoil: dict[str, Any]) -> None:
    assert (
        PrecisionTrial.from_metadata({"precision": {"bfloat16": {**SHOWN.to_json_dict(), **spoil}}}) is None
    )


@pytest.mark.slow
def test_acceptance_is_measured_on_the_file(synthetic_crops: Path, tmp_path: Path) -> None:
    paths = sorted(synthetic_crops.glob("*/*.png"))[::4]
    (tmp_path / "broken.png").write_bytes(b"no image")
    records = [Record(path, path.parent.name) for path in [*paths, tmp_path / "broken.png"]]
    found = measure_acceptance(BUNDLE, records)
    assert found is not None
    assert (found.n, found.n_groups, found.stated) == (20, 20, 0.99)
    assert found.fraction > 0.8
    # A threshold that was fitted in another precision, say, rejects all: the file shows it.
    strict = {**BUNDLE.metadata, "unknown": {"threshold": 1e-3, "true_acceptance": 0.99}}
    nothing = measure_acceptance(replace(BUNDLE, metadata=strict), records)
    assert nothing is not None
    assert (nothing.fraction, nothing.is_far_off) == (0.0, True)
    free = {key: value for key, value in BUNDLE.metadata.items() if key != "unknown"}
    assert measure_acceptance(replace(BUNDLE, metadata=free), records) is None


def test_acceptance_weighs_groups(synthetic_crops: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    records = [
        Record(path, "CEX", f"g{at}") for at, path in enumerate(sorted(synthetic_crops.glob("CEX/*"))[:3])
    ]
    for number in range(6):  # one group of six rejected images
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        records.append(Record(tmp_path / f"{number}.png", "CEX", "noise"))
    found = measure_acceptance(BUNDLE, records)
    assert found is not None
    assert (found.fraction, found.n, found.n_groups) == (pytest.approx(0.75), 9, 4)
