"""Laws of the one definition of network input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from georgia.errors import InputError
from georgia.preprocess import CAFFE, EFFICIENTNET_LITE, TORCHVISION, PreprocessSpec, resize_weights


@pytest.mark.parametrize("n_in", [1, 2, 40, 151, 224, 225, 1112])
def test_rows_of_the_resize_sum_to_one(n_in: int) -> None:
    weights = resize_weights(n_in, 224)
    assert weights.shape == (224, n_in)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


def test_resize_to_the_same_size_is_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(CAFFE.resize(image), image.astype(np.float32))


@pytest.mark.parametrize("shape", [(151, 151), (380, 501), (1000, 1112), (40, 300), (1, 7)])
def test_resize_is_pillows_bilinear_but_for_rounding(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(EFFICIENTNET_LITE.resize(image) - expected).max() <= 1.0


@pytest.mark.parametrize("shape", [(151, 151), (380, 501), (40, 300), (300, 40), (224, 225), (1, 7)])
@pytest.mark.parametrize("is_grey", [False, True])
def test_resize_is_the_filter_that_the_graph_writes(shape: tuple[int, int], is_grey: bool) -> None:
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if is_grey:
        image[:] = image[..., :1]
    rows = np.einsum("oi,iwc->owc", resize_weights(shape[0], 224).astype(np.float64), image)
    expected = np.einsum("oi,hic->hoc", resize_weights(shape[1], 224).astype(np.float64), rows)
    np.testing.assert_allclose(CAFFE.resize(image), expected, atol=1e-3)


@pytest.mark.parametrize("spec", [CAFFE, TORCHVISION, EFFICIENTNET_LITE])
def test_planes_are_the_normalised_pixels_channels_first(spec: PreprocessSpec) -> None:
    images = np.random.default_rng(4).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = spec.normalize(images.astype(np.float32)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(spec.planes(images), expected, rtol=1e-6, atol=1e-6)


def test_mirrored_picture_gives_mirrored_input() -> None:
    image = np.random.default_rng(2).integers(0, 256, (90, 133, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        TORCHVISION.apply(image[:, ::-1]), TORCHVISION.apply(image)[:, ::-1], rtol=1e-4, atol=1e-4
    )


def test_constant_picture_stays_constant() -> None:
    image = np.full((37, 411, 3), 127, np.uint8)
    np.testing.assert_allclose(EFFICIENTNET_LITE.apply(image), 0.0, atol=1e-5)


def test_caffe_swaps_colours_and_takes_the_mean_off() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    pixel = CAFFE.apply(image)[0, 0]
    np.testing.assert_allclose(pixel, [-103.939, -116.779, 200 - 123.68], rtol=1e-5)


@pytest.mark.parametrize("spec", [CAFFE, TORCHVISION, EFFICIENTNET_LITE])
def test_plain_form_and_back_is_identity(spec: PreprocessSpec) -> None:
    assert PreprocessSpec.from_dict(spec.to_dict()) == spec


def test_a_grey_array_is_refused() -> None:
    with pytest.raises(InputError, match=r"an image \(H, W, 3\) is needed; got shape \(8, 8\)"):
        CAFFE.apply(np.zeros((8, 8), np.uint8))


def test_another_resize_is_refused() -> None:
    with pytest.raises(InputError, match="its resize must be 'triangle'"):
        PreprocessSpec.from_dict({**CAFFE.to_dict(), "resize": "bicubic"})


def test_missing_values_are_named() -> None:
    with pytest.raises(InputError, match="mean"):
        PreprocessSpec.from_dict({"size_px": 224, "color_order": "RGB", "scale": [1, 1, 1]})
