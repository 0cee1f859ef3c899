"""Laws of the one definition of network input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.images.preprocess import (
    CAFFE,
    EFFICIENTNET_LITE,
    TORCHVISION,
    PreprocessSpec,
    border_level,
    is_grey,
    padding_px,
    resize_weights,
)
from georgia.images.symmetry import SYMMETRIES


@pytest.mark.parametrize("n_in", [1, 2, 40, 151, 224, 225, 1112])
def test_resize_weights_sum_to_one(n_in: int) -> None:
    weights = resize_weights(n_in, 224)
    assert weights.shape == (224, n_in)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


def test_resize_to_same_size_is_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(CAFFE.resize(image), image.astype(np.float32))


@pytest.mark.parametrize("shape", [(151, 151), (380, 501), (1000, 1112), (40, 300), (1, 7)])
def test_resize_equals_pillow_bilinear(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(EFFICIENTNET_LITE.resize(image) - expected).max() <= 1.0


@pytest.mark.parametrize("shape", [(151, 151), (380, 501), (40, 300), (300, 40), (224, 225), (1, 7)])
@pytest.mark.parametrize("is_grey", [False, True])
def test_resize_equals_graph_filter(shape: tuple[int, int], is_grey: bool) -> None:
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if is_grey:
        image[:] = image[..., :1]
    rows = np.einsum("oi,iwc->owc", resize_weights(shape[0], 224).astype(np.float64), image)
    expected = np.einsum("oi,hic->hoc", resize_weights(shape[1], 224).astype(np.float64), rows)
    np.testing.assert_allclose(CAFFE.resize(image), expected, atol=1e-3)


@pytest.mark.parametrize("spec", [CAFFE, TORCHVISION, EFFICIENTNET_LITE])
def test_planes_equal_normalised_pixels(spec: PreprocessSpec) -> None:
    images = np.random.default_rng(4).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = spec.normalize(images.astype(np.float32)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(spec.planes(images), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(162, 150), (90, 300), (60, 50)])
@pytest.mark.parametrize(
    "spec", [CAFFE, PreprocessSpec(96, window_px=150.0), PreprocessSpec(96, keeps_aspect=True)]
)
def test_network_input_of_grey_image_is_exact(spec: PreprocessSpec, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    grey = np.repeat(image[..., 1:2], 3, axis=2)
    for pixels in (image, grey):
        np.testing.assert_array_equal(spec.network_input(pixels), spec.planes(spec.resize(pixels)))
    almost = grey.copy()
    almost[-1, -1, 0] ^= 1
    assert is_grey(grey)
    assert not is_grey(almost)


def test_apply_mirrored_image_gives_mirrored_input() -> None:
    image = np.random.default_rng(2).integers(0, 256, (90, 133, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        TORCHVISION.apply(image[:, ::-1]), TORCHVISION.apply(image)[:, ::-1], rtol=1e-4, atol=1e-4
    )


def test_apply_keeps_constant_image() -> None:
    image = np.full((37, 411, 3), 127, np.uint8)
    np.testing.assert_allclose(EFFICIENTNET_LITE.apply(image), 0.0, atol=1e-5)


def test_caffe_swaps_colours_subtracts_mean() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    pixel = CAFFE.apply(image)[0, 0]
    np.testing.assert_allclose(pixel, [-103.939, -116.779, 200 - 123.68], rtol=1e-5)


@pytest.mark.parametrize("spec", [CAFFE, TORCHVISION, EFFICIENTNET_LITE])
def test_spec_survives_plain_form(spec: PreprocessSpec) -> None:
    assert PreprocessSpec.from_dict(spec.to_dict()) == spec


def test_apply_rejects_grey_array() -> None:
    with pytest.raises(InputError, match=r"an image \(H, W, 3\) is needed; got shape \(8, 8\)"):
        CAFFE.apply(np.zeros((8, 8), np.uint8))


def test_from_dict_rejects_other_resize() -> None:
    with pytest.raises(InputError, match="its resize must be 'triangle'"):
        PreprocessSpec.from_dict({**CAFFE.to_dict(), "resize": "bicubic"})


def test_from_dict_names_missing_values() -> None:
    with pytest.raises(InputError, match="mean"):
        PreprocessSpec.from_dict({"size_px": 224, "color_order": "RGB", "scale": [1, 1, 1]})


# The window: all images at one scale


def test_window_of_image_size_is_resize() -> None:
    from georgia.images.preprocess import window_weights

    assert np.allclose(window_weights(50, 64, 50.0), resize_weights(50, 64), atol=1e-6)
    assert np.allclose(window_weights(90, 32, 90.0), resize_weights(90, 32), atol=1e-6)


@pytest.mark.parametrize("window_px", [40.0, 61.0, 128.0])
def test_window_hides_image_size(window_px: float) -> None:
    scene = np.random.default_rng(3).integers(0, 256, (200, 220, 3), dtype=np.uint8)
    cut = scene[30:170, 40:180]
    spec = PreprocessSpec(64, window_px=window_px)
    assert np.allclose(spec.resize(scene), spec.resize(cut), atol=1e-3)


def test_window_mirrors_small_images() -> None:
    image = np.random.default_rng(4).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    mirrored = np.pad(image, ((20, 20), (25, 25), (0, 0)), mode="symmetric")
    shown = PreprocessSpec(80, window_px=80.0).resize(image)
    # The middle of both is the same scene; filters that reach over the edge differ by their weights only.
    assert np.abs(shown - mirrored).mean() < 1e-3


def test_window_survives_plain_form() -> None:
    spec = PreprocessSpec(64, window_px=48.5)
    assert PreprocessSpec.from_dict(spec.to_dict()) == spec
    assert PreprocessSpec(64).to_dict()["resize"] != spec.to_dict()["resize"]


SHAPES = [(40, 30), (64, 64), (151, 190), (20, 300), (1, 7), (700, 3), (47, 48)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "spec",
    [
        PreprocessSpec(48, window_px=70.0),
        PreprocessSpec(48, window_px=70.0, symmetry="canonical"),
        PreprocessSpec(48, keeps_aspect=True),
        PreprocessSpec(33, "BGR", (103.9, 116.8, 123.7), (58.0, 57.0, 56.0), keeps_aspect=True),
    ],
    ids=["window", "window, mirrored on", "fit", "fit, odd, BGR"],
)
def test_input_in_graph_equals_training(spec: PreprocessSpec, shape: tuple[int, int]) -> None:
    import onnxruntime
    from onnx import TensorProto

    from georgia.export.graph.builder import GraphBuilder
    from georgia.export.graph.preprocessing import add_preprocessing

    graph = GraphBuilder()
    output, size = add_preprocessing(graph, "image", spec), spec.size_px
    inputs = {"image": (TensorProto.UINT8, ["N", "H", "W", 3])}
    proto = graph.finish(inputs, {output: ["N", 3, size, size]}, {})
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    result = session.run(None, {"image": image[None]})[0][0]
    assert np.allclose(result.transpose(1, 2, 0), spec.apply(image), atol=1e-4)


# Whole images with their aspect


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", [{"keeps_aspect": True}, {"window_px": 70.0, "symmetry": "average"}])
def test_symmetries_commute_with_resize(values: dict[str, Any], shape: tuple[int, int], size: int) -> None:
    image = np.random.default_rng(6).integers(0, 256, (*shape, 3), dtype=np.uint8)
    spec = PreprocessSpec(size, **values)
    for symmetry in SYMMETRIES:
        expected = symmetry.apply(spec.resize(image))
        np.testing.assert_allclose(spec.resize(symmetry.apply(image)), expected, atol=1e-3)


def test_fit_pads_with_mean_of_border() -> None:
    image = np.full((20, 40, 3), 50, np.uint8)
    image[5:15, 10:30] = 200
    shown = PreprocessSpec(80, keeps_aspect=True).resize(image)
    assert np.allclose(shown[:20], 50)
    assert np.allclose(shown[60:], 50)
    assert shown[40, 40, 0] == 200
    # Twice as large in both directions: no stretch.
    assert (shown[:, :, 0] > 125).sum() == pytest.approx(4 * 200, rel=0.02)


def test_fit_leaves_square_images_alone() -> None:
    image = np.random.default_rng(7).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        PreprocessSpec(32, keeps_aspect=True).resize(image), PreprocessSpec(32).resize(image)
    )


def test_border_level_is_mean_of_edges() -> None:
    image = np.zeros((3, 4, 3), np.uint8)
    image[0] = 140
    # A corner belongs to two edges: 4 + 2 of 14 pixels.
    np.testing.assert_allclose(border_level(image), 140 * 6 / 14)


@pytest.mark.parametrize("size", [32, 33])
def test_padding_leaves_something_of_each_side(size: int) -> None:
    for side in (1, 2, 17, 99, 100):
        assert 0 <= padding_px(side, 100, size) <= (size - 1) // 2
    assert padding_px(1, 10**6, size) == (size - 1) // 2
