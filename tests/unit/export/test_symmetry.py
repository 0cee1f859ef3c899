"""Predictions of an exported file do not depend on how an image is rotated by 90° or mirrored."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from tests.helpers.subsample import every

from georgia.errors import InputError
from georgia.export.onnx_file import export_onnx
from georgia.export.parity import check_parity
from georgia.images.preprocess import PreprocessSpec
from georgia.images.symmetry import SYMMETRIES, Symmetry, SymmetryMode
from georgia.labels import Labels
from georgia.model.engines import BATCH_SIZE, OnnxRuntimeEngine, OpenVinoEngine, open_engine
from georgia.model.load import load_bundle

keras = pytest.importorskip("keras")
layers = keras.layers
SIZE = 48
LABELS = Labels(("a", "b", "c"))
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((60, 44), (30, 100), (48, 48))]
ENGINES = ("onnxruntime", "openvino")
# The further ones as slow tests: what they decide lies before what the symmetry does.
CASES = every(4, ["fit", "stretch", "scale", "BGR"])
INPUTS: dict[str, dict[str, Any]] = {
    "stretch": {},
    "fit": {"keeps_aspect": True},
    "scale": {"window_px": 70.0},
    "BGR": {"color_order": "BGR", "mean": (103.0, 116.0, 123.0), "scale": (58.0, 57.0, 56.0)},
}


@pytest.fixture(scope="module")
def net() -> Any:
    image = keras.Input((SIZE, SIZE, 3))
    fine = layers.Conv2D(6, 3, 4, padding="same", activation="relu", name="fine")(image)
    coarse = layers.Conv2D(7, 3, 3, padding="same", activation="relu", name="coarse")(fine)
    pooled = layers.Concatenate()([layers.GlobalAveragePooling2D()(each) for each in (fine, coarse)])
    hidden = layers.Dense(6, activation="relu")(pooled)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(hidden))
    rng = np.random.default_rng(5)
    for variable in model.variables:
        variable.assign(rng.uniform(-0.3, 0.6, variable.shape).astype(np.float32))
    return model


def _export(net: Any, folder: Path, mode: str, **values: Any) -> tuple[Path, PreprocessSpec]:
    spec = PreprocessSpec(SIZE, symmetry=mode, **values)  # type: ignore[arg-type]
    file = folder / "model.onnx"
    export_onnx(net, spec, LABELS, file, {"name": "n"}, measured_layers=["fine", "coarse"])
    return file, spec


def _run(engine: Any, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(engine.run([engine.prepare(image) for image in images]))


@pytest.mark.parametrize("mode", ["average", "canonical"])
@pytest.mark.parametrize("geometry", CASES)
def test_outputs_are_equal_in_eight_views(geometry: str, mode: str, net: Any, tmp_path: Path) -> None:
    file, spec = _export(net, tmp_path, mode, **INPUTS[geometry])
    for name in ENGINES:
        engine = open_engine(file, spec, name)
        plain = _run(engine, IMAGES)
        for symmetry in SYMMETRIES:
            rotated = _run(engine, [symmetry.apply(image) for image in IMAGES])
            for output in ("probabilities", "logits", "features", "picture_features"):
                np.testing.assert_allclose(rotated[output], plain[output], rtol=1e-5, atol=1e-5)
            maps = [symmetry.apply(np.moveaxis(one, 0, 2)) for one in plain["cam"]]
            np.testing.assert_allclose(np.moveaxis(rotated["cam"], 1, 3), maps, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", get_args(SymmetryMode))
@pytest.mark.parametrize("geometry", CASES)
def test_file_agrees_with_keras_for_each_symmetry(geometry: str, mode: str, net: Any, tmp_path: Path) -> None:
    file, spec = _export(net, tmp_path, mode, **INPUTS[geometry])
    parity = check_parity(net, spec, file, IMAGES, tolerance=1e-5)
    assert parity.lost_map is None
    assert max(parity.outputs.values()) <= 1e-5
    assert load_bundle(file).preprocess == spec


def test_plain_net_tells_views_apart(net: Any, tmp_path: Path) -> None:
    file, _ = _export(net, tmp_path, "none")
    views = [symmetry.apply(IMAGES[0]) for symmetry in SYMMETRIES]
    assert np.ptp(_run(OnnxRuntimeEngine(file), views)["logits"], axis=0).max() > 0.01


def test_average_is_that_of_single_views(net: Any, tmp_path: Path) -> None:
    for folder in ("plain", "whole"):
        (tmp_path / folder).mkdir()
    plain, _ = _export(net, tmp_path / "plain", "none")
    whole, _ = _export(net, tmp_path / "whole", "average")
    views = _run(OnnxRuntimeEngine(plain), [symmetry.apply(IMAGES[0]) for symmetry in SYMMETRIES])
    found = _run(OnnxRuntimeEngine(whole), IMAGES[:1])
    for output in ("logits", "features", "picture_features"):
        np.testing.assert_allclose(found[output][0], views[output].mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_views_keep_order_of_many_images(name: str, net: Any, tmp_path: Path) -> None:
    file, spec = _export(net, tmp_path, "average")
    engine = open_engine(file, spec, name)
    many = [IMAGES[number % 3] for number in range(BATCH_SIZE + 5)]
    whole = _run(engine, many)["logits"]
    np.testing.assert_allclose(whole, _run(engine, IMAGES)["logits"][np.arange(len(many)) % 3], atol=1e-5)
    prepared = [engine.prepare(image) for image in many]
    batches = [("first", prepared[:7]), ("none", []), ("second", prepared[7:])]
    streamed = list(engine.stream(batches))
    assert [token for token, _ in streamed] == ["first", "none", "second"]
    parts = [outputs["logits"] for token, outputs in streamed if token != "none"]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


@pytest.mark.parametrize("mode", ["average", "canonical"])
def test_rounded_body_keeps_views(mode: str, net: Any, tmp_path: Path) -> None:
    file, spec = _export(net, tmp_path, mode)
    engine = OpenVinoEngine(file, spec, precision="bfloat16", is_emulated=True)
    full = _run(OpenVinoEngine(file, spec), IMAGES)
    low = _run(engine, IMAGES)
    for output in ("logits", "cam"):
        np.testing.assert_allclose(low[output], full[output], atol=0.02 * np.abs(full[output]).max())


def test_wrong_symmetry_is_named() -> None:
    with pytest.raises(InputError, match="symmetry must be 'none', 'average' or 'canonical'; got sideways"):
        PreprocessSpec.from_dict({**PreprocessSpec().to_dict(), "symmetry": "sideways"})


@pytest.mark.parametrize("mode", get_args(SymmetryMode))
def test_symmetry_survives_plain_form(mode: SymmetryMode) -> None:
    spec = PreprocessSpec(64, symmetry=mode, keeps_aspect=True)
    assert PreprocessSpec.from_dict(spec.to_dict()) == spec
    assert ("symmetry" in spec.to_dict()) == (mode != "none")


def test_canonical_orientation_is_one_for_all_views() -> None:
    spec = PreprocessSpec(20, symmetry="canonical")
    images = RNG.integers(0, 256, (5, 20, 20, 3), dtype=np.uint8)
    oriented = spec.orient(images)
    for symmetry in SYMMETRIES:
        views = np.stack([symmetry.apply(image) for image in images])
        np.testing.assert_array_equal(spec.orient(views), oriented)
    np.testing.assert_array_equal(PreprocessSpec(20).orient(images), images)


def test_canonical_light_is_right_and_below() -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    image[1, 3] = 200
    spec = PreprocessSpec(9, symmetry="canonical")
    assert spec.orient(image[None])[0, 5, 7].tolist() == [200, 200, 200]
    right = Symmetry.FLIP_LEFT_RIGHT.apply(image)
    assert spec.orient(right[None])[0, 5, 7, 0] == 200
