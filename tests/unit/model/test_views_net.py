"""Views run a few at a time add up to what the exported graph gives for all eight at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13

from georgia.errors import InputError
from georgia.images.preprocess import PreprocessSpec
from georgia.images.symmetry import SYMMETRIES
from georgia.labels import Labels
from georgia.model.engines import OpenVinoEngine
from georgia.model.few_views import split_views
from georgia.model.load import load_bundled_model
from georgia.model.views_net import STEPS, ViewsNet, make_view
from georgia.synthetic import render_crop

BUNDLE = load_bundled_model()
NET = ViewsNet(BUNDLE.model_path, BUNDLE.preprocess)
IMAGES = [NET.prepare(render_crop(name, seed).image) for seed in (3, 4) for name in ("CEX", "PG")][:3]


def test_steps_take_each_view_once() -> None:
    assert sorted(number for numbers in STEPS for number in numbers) == list(range(len(SYMMETRIES)))


@pytest.mark.parametrize("number", range(len(SYMMETRIES)))
def test_view_is_the_symmetry_of_the_image(number: int) -> None:
    image = np.arange(3 * 4 * 4, dtype=np.float32).reshape(3, 4, 4)
    expected = SYMMETRIES[number].apply(np.moveaxis(image, 0, 2))
    np.testing.assert_array_equal(np.moveaxis(make_view(image, number), 0, 2), expected)


def test_last_step_is_the_exported_net_and_second_its_rotations() -> None:
    steps = NET.run_steps(IMAGES)
    for outputs, precision in ((steps[1], "rotations"), (steps[2], "float32")):
        engine = OpenVinoEngine(BUNDLE.model_path, BUNDLE.preprocess, precision=precision)
        expected = engine.run(IMAGES)
        assert outputs.keys() == expected.keys() - {"cam"}
        for name, values in outputs.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)
    assert np.abs(steps[0]["unknown_score"] - steps[2]["unknown_score"]).max() > 1e-3


def test_images_do_not_depend_on_their_neighbours() -> None:
    together, alone = NET.run_steps(IMAGES)[0], NET.run_steps(IMAGES[2:])[0]
    for name, values in alone.items():
        np.testing.assert_array_equal(values, together[name][2:])


def test_images_that_stop_leave_the_others_as_they_are() -> None:
    first = NET.add_views(NET.start(IMAGES), IMAGES, STEPS[0])
    kept = first.keep(np.array([False, True, False]))
    outputs = NET.finish(NET.add_views(kept, IMAGES[1:2], STEPS[1]))
    np.testing.assert_allclose(outputs["logits"], NET.run_steps(IMAGES)[1]["logits"][1:2], rtol=1e-6)


@pytest.mark.parametrize("size_px", [pytest.param(48, marks=pytest.mark.slow), 45])
def test_light_of_one_view_stands_for_all(size_px: int, tmp_path: Path) -> None:
    """Halves of 45 px leave a line out on one side: there each view is measured."""
    keras = pytest.importorskip("keras")
    from georgia.export.onnx_file import export_onnx

    image = keras.Input((size_px, size_px, 3))
    maps = keras.layers.Conv2D(5, 3, 4, padding="same", activation="relu", name="maps")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    net = keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))
    spec, file = PreprocessSpec(size_px, symmetry="average"), tmp_path / "model.onnx"
    export_onnx(net, spec, Labels(("a", "b")), file, {"name": "n"}, measured_layers=["maps"])
    views, engine = ViewsNet(file, spec), OpenVinoEngine(file, spec)
    rng = np.random.default_rng(size_px)
    images = [engine.prepare(rng.integers(0, 256, (50, 70, 3), np.uint8)) for _ in range(3)]
    assert (views.start(images).light is not None) == (size_px == 48)
    expected, found = engine.run(images), views.run_steps(images)[-1]
    assert "picture_features" in found
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-5)


def test_net_of_one_view_cannot_be_split() -> None:
    image = opset13.parameter([-1, 3, 8, 8], np.float32)
    net: Any = openvino.Model([opset13.relu(image)], [image], "one view")
    with pytest.raises(InputError, match="Cannot run single views: a net that averages eight"):
        split_views(net, [0])
