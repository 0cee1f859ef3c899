"""bfloat16 serves where it is shown, float32 elsewhere and near a threshold, and one line says which."""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import OpenVinoEngine, Outputs, find_int8_units, list_capabilities
from georgia.model.load import load_bundled_model
from georgia.predict.precision import Bands, PrecisionTrial, PrecisionWarning
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.predict.rejudge import UNPROVEN_VARIABLE, RejudgingEngine, open_served_engine
from georgia.synthetic import render_crop
from georgia.uncertainty.decision import DecisionThresholds

BUNDLE = load_bundled_model()
SHOWN = PrecisionTrial(400, 0.3, 0.2, 0, 2, False, 1.5, 0.3, 0.15, 0.3, 0, 0.01)
HAS_BFLOAT16 = "BF16" in list_capabilities()


def with_trial(trial: PrecisionTrial | None) -> Bundle:
    precision = {} if trial is None else {"served": "float32", "bfloat16": trial.to_json_dict()}
    return replace(BUNDLE, metadata={**BUNDLE.metadata, "precision": precision})


@pytest.fixture(autouse=True)
def free_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEORGIA_PRECISION", UNPROVEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (None, "it was not tried on this model's validation images"),
        (replace(SHOWN, n=3), "3 validation images do not show it; 50 are needed"),
        (replace(SHOWN, n_changed_kept=2), "on 400 validation images it changed 2 labels far from any"),
    ],
)
@pytest.mark.parametrize("by_name", [True, False])
def test_unshown_bfloat16_is_float32_and_said(
    trial: PrecisionTrial | None, reason: str, by_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_name:
        monkeypatch.setenv("GEORGIA_PRECISION", "bfloat16")
    with pytest.warns(PrecisionWarning, match=f"^bfloat16 is not used for model .*, float32 is: {reason}"):
        engine = open_served_engine(with_trial(trial), "openvino", 0, "bfloat16" if by_name else "auto")
    assert (engine.name, engine.precision) == ("openvino", "float32")


def test_shown_bfloat16_is_not_chosen_unasked() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for asked in ("auto", "float32"):
            assert open_served_engine(with_trial(SHOWN), "openvino", 0, asked).precision == "float32"


@pytest.mark.skipif(not HAS_BFLOAT16, reason="needs a processor that computes in bfloat16")
def test_shown_bfloat16_serves_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            Predictor(with_trial(SHOWN), PredictConfig(precision="bfloat16")).engine.precision == "bfloat16"
        )
        monkeypatch.setenv("GEORGIA_PRECISION", "bfloat16")
        assert open_served_engine(with_trial(SHOWN)).precision == "bfloat16"


def test_engine_without_bfloat16_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="Cannot use bfloat16: OpenVINO is needed"):
        open_served_engine(with_trial(SHOWN), "onnxruntime", 0, "bfloat16")
    monkeypatch.setenv("GEORGIA_PRECISION", "bfloat16")
    with pytest.warns(PrecisionWarning, match=r"GEORGIA_PRECISION\) is not used, float32 is: ONNX Runtime"):
        assert open_served_engine(with_trial(SHOWN), "onnxruntime").precision == "float32"


@pytest.mark.slow
@pytest.mark.parametrize(("value", "capabilities"), [("1", ("FP32",)), ("emulated", ("FP32", "BF16"))])
def test_unproven_variable_forces_and_emulates(
    value: str, capabilities: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(UNPROVEN_VARIABLE, value)
    monkeypatch.setattr("georgia.predict.rejudge.list_capabilities", lambda: capabilities)
    with pytest.warns(PrecisionWarning, match="not shown to keep .* not tried .* GEORGIA_UNPROVEN_BFLOAT16"):
        engine = open_served_engine(with_trial(None), "openvino", 0, "bfloat16")
    assert (type(engine), engine.precision) == (RejudgingEngine, "bfloat16")
    assert open_served_engine(with_trial(None), "openvino").precision == "float32"


@pytest.mark.parametrize("module", ["georgia.explain", "georgia.cluster"])
def test_maps_and_clusters_are_float32_anyway(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one precision beside rows of another would be compared there."""
    found = importlib.import_module(module)
    asked: list[PredictConfig] = []

    def note(bundle: Bundle, config: PredictConfig) -> None:
        asked.append(config)
        raise InputError("Cannot go on", needs="a net is needed", got="none")

    monkeypatch.setattr(found, "Predictor", note)
    run = found.explain_files if module == "georgia.explain" else found.cluster_files
    with pytest.raises(InputError, match="Cannot go on"):
        run(BUNDLE, [])
    assert [config.precision for config in asked] == ["float32"]


@pytest.fixture
def int8_bundle(tmp_path: Path) -> Bundle:
    """A model for which int8 is shown; its 8-bit file holds the float32 net, so that it cannot differ."""
    model = tmp_path / "model.onnx"
    shutil.copyfile(BUNDLE.model_path, model)
    shutil.copyfile(BUNDLE.model_path, tmp_path / "model_int8.onnx")
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    tried = {"file": "model_int8.onnx", "sha256": sha256, "units": find_int8_units()}
    precision = {"served": "float32", "int8": {**SHOWN.to_json_dict(), **tried}}
    return replace(BUNDLE, model_path=model, metadata={**BUNDLE.metadata, "precision": precision})


def change_int8(bundle: Bundle, **changes: Any) -> Bundle:
    precision = bundle.metadata["precision"]
    return replace(
        bundle,
        metadata={
            **bundle.metadata,
            "precision": {**precision, "int8": {**precision["int8"], **changes}},
        },
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 3}, "3 validation images do not show it; 50 are needed"),
        ({"rejudged": 1.0}, "on 400 validation images float32 had to compute 100% again"),
        ({"units": "amx_int8 of elsewhere"}, "it was tried on another processor (amx_int8 of elsewhere)"),
        ({"file": "../gone.onnx"}, "its file 'gone.onnx' is not beside the model"),
        ({"sha256": "0" * 64}, "its file 'model_int8.onnx' is not the one that was tried"),
        (
            {"odds_band": "wide"},
            "it was not tried on this model's validation images (--set int8=yes tries it)",
        ),
    ],
)
def test_unshown_int8_is_float32_and_said(int8_bundle: Bundle, changes: dict[str, Any], reason: str) -> None:
    bundle = change_int8(int8_bundle, **changes)
    with pytest.warns(PrecisionWarning, match=f"^int8 is not used for .*, float32 is: {re.escape(reason)}"):
        engine = open_served_engine(bundle, "openvino", 0, "int8")
    assert engine.precision == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "rotations", "views"])
def test_shown_precision_serves_any_number_of_files(
    precision: str, int8_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = int8_bundle if precision == "int8" else BUNDLE
    paths = []
    for number in range(17):
        paths.append(tmp_path / f"{number}.png")
        PillowImage.fromarray(render_crop(("CEX", "PG")[number % 2], 500 + number).image).save(paths[-1])
    full, low = (Predictor(bundle, PredictConfig("openvino", precision=p)) for p in ("float32", precision))
    assert (low.engine.precision, low.predict(paths[:1]).precision) == (precision, precision)
    expected, together = full.predict(paths).items, low.predict(paths).items
    alone = [low.predict([path]).items[0] for path in paths[:3]]
    for a, b, c in zip(expected, together, [*alone, *together[3:]], strict=True):
        assert (a.label, a.set) == (b.label, b.set) == (c.label, c.set)
        assert a.probability == pytest.approx(b.probability, abs=0.02)
        assert b.probability == pytest.approx(c.probability, abs=0.001)


def test_rotations_need_a_net_that_averages_views() -> None:
    single = replace(BUNDLE, preprocess=replace(BUNDLE.preprocess, symmetry="none"))
    for bundle, reason in ((single, "it does not average eight"), (with_trial(None), "it was not tried on")):
        with pytest.warns(PrecisionWarning, match=f"^rotations is not used .* on all its views is: {reason}"):
            assert open_served_engine(bundle, "openvino", 0, "rotations").precision == "float32"


@pytest.mark.parametrize(("low_s", "precision"), [(0.5, "int8"), (0.8, "float32")])
def test_fastest_counts_what_is_computed_again(
    low_s: float, precision: str, int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 30 % computed again, int8 has to take less than 70 % of float32's time."""
    times = {"float32": 1.0, "int8": low_s}
    monkeypatch.setattr("georgia.predict.rejudge._time_images", lambda engine, _: times[engine.precision])
    assert open_served_engine(int8_bundle, "openvino", 0, "fastest").precision == precision


def test_nothing_shown_is_float32_for_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEORGIA_PRECISION", "fastest")
    with pytest.warns(
        PrecisionWarning, match="float32 is the fastest .* bfloat16: it was not .* int8: it was"
    ):
        assert open_served_engine(with_trial(None), "openvino").precision == "float32"


class Numbers:
    """An engine whose prepared images are the outputs: (probability of the first class, unknown score)."""

    name, precision, device = "openvino", "bfloat16", "CPU"

    def __init__(self, shift: float) -> None:
        self.shift, self.n_images = shift, 0

    def prepare(self, image: Any) -> Any:
        return image

    def run(self, prepared: Sequence[Any]) -> Outputs:
        self.n_images += len(prepared)
        values = np.array(prepared, np.float32) + np.float32(self.shift)
        p = np.clip(values[:, 0], 0, 1)
        return {"probabilities": np.stack([p, 1 - p], axis=1), "unknown_score": values[:, 1]}

    def stream(self, batches: Iterable[tuple[Any, Sequence[Any]]]) -> Iterator[tuple[Any, Outputs]]:
        for token, prepared in batches:
            yield token, self.run(prepared) if prepared else {}


def test_only_what_is_near_is_computed_again() -> None:
    low, full = Numbers(0.01), Numbers(0.0)
    engine = RejudgingEngine(low, full, Bands(0.1, 0.05, 0.05), DecisionThresholds(Labels(("A", "B")), 1.0))
    images = [(0.995, 0.5), (0.6, 0.5), (0.995, 0.96), (0.995, 2.0)]
    outputs = engine.run(images)  # type: ignore[arg-type]
    # The margin for odds that move by 0.1 is 0.775.
    assert outputs["probabilities"][:, 0].tolist() == pytest.approx([1.0, 0.6, 0.995, 1.0])
    assert outputs["unknown_score"].tolist() == pytest.approx([0.51, 0.5, 0.96, 2.01])
    assert (full.n_images, engine.n_images, engine.n_rejudged) == (2, 4, 2)
    batches = [("a", images[:2]), ("none", []), ("b", images[2:])]
    streamed = list(engine.stream(batches))  # type: ignore[arg-type]
    assert [token for token, _ in streamed] == ["a", "none", "b"]
    joined = np.concatenate([rows["unknown_score"] for _, rows in streamed if rows])
    np.testing.assert_array_equal(joined, outputs["unknown_score"])


@pytest.mark.slow
def test_bfloat16_gives_labels_of_float32(tmp_path: Path) -> None:
    low = OpenVinoEngine(
        BUNDLE.model_path, BUNDLE.preprocess, precision="bfloat16", is_emulated=not HAS_BFLOAT16
    )
    full = OpenVinoEngine(BUNDLE.model_path, BUNDLE.preprocess)
    engine = RejudgingEngine(low, full, SHOWN.bands, BUNDLE.thresholds)
    crops = [render_crop(name, seed).image for seed in range(700, 750) for name in ("CEX", "PG")]
    # Blends with black lie near the threshold of the unknown score.
    crops += [(crop * factor).astype(np.uint8) for crop in crops[:12] for factor in (0.2, 0.4, 0.6)]
    prepared = [engine.prepare(crop) for crop in crops]
    exact, served = full.run(prepared), engine.run(prepared)
    decisions = [BUNDLE.thresholds.decide(outputs) for outputs in (exact, served)]
    assert [(d.label, d.set) for d in decisions[0]] == [(d.label, d.set) for d in decisions[1]]
    assert np.abs(exact["probabilities"] - served["probabilities"]).max() <= 0.02
    stated = SHOWN.to_json_dict()["tolerance"]
    assert stated["probability"] == 0.02
    assert np.abs(exact["unknown_score"] - served["unknown_score"]).max() <= stated["unknown_score"]
    assert 0.1 < engine.n_rejudged / engine.n_images < 0.6
