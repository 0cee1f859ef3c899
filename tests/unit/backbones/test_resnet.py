"""Converted ResNets compute what the published architecture computes, or are rejected with a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from georgia.backbones import build_backbone, find_backbone
from georgia.errors import InputError
from georgia.images.preprocess import TORCHVISION

# Keras' own code, under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
Array = npt.NDArray[np.float64]
State = dict[str, npt.NDArray[Any]]
SIZE_PX = 64
DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
BOTTLENECK = ("resnet50", "resnet101")


def make_state(name: str, seed: int = 3) -> State:
    """Return a state dict as torchvision names it, with numbers like a trained net's."""
    rng, state = np.random.default_rng(seed), {}

    def conv(prefix: str, n_out: int, n_in: int, kernel: int) -> None:
        scale = (2 / (n_in * kernel * kernel)) ** 0.5
        state[f"{prefix}.weight"] = rng.normal(0, scale, (n_out, n_in, kernel, kernel)).astype(np.float32)

    def norm(prefix: str, n: int) -> None:
        state[f"{prefix}.weight"] = rng.uniform(0.3, 1.0, n).astype(np.float32)
        state[f"{prefix}.bias"] = rng.normal(0, 0.1, n).astype(np.float32)
        state[f"{prefix}.running_mean"] = rng.normal(0, 0.2, n).astype(np.float32)
        state[f"{prefix}.running_var"] = rng.uniform(0.5, 2.0, n).astype(np.float32)
        state[f"{prefix}.num_batches_tracked"] = np.array(10, np.int64)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    n_in, growth = 64, 4 if name in BOTTLENECK else 1
    for stage, depth in enumerate(DEPTHS[name]):
        width = 64 * 2**stage
        for index in range(depth):
            prefix, n_out = f"layer{stage + 1}.{index}", width * growth
            shapes = [(width, n_in, 1), (width, width, 3), (n_out, width, 1)]
            if growth == 1:
                shapes = [(width, n_in, 3), (width, width, 3)]
            for number, (out, into, kernel) in enumerate(shapes, start=1):
                conv(f"{prefix}.conv{number}", out, into, kernel)
                norm(f"{prefix}.bn{number}", out)
            if index == 0 and (stage > 0 or growth > 1):
                conv(f"{prefix}.downsample.0", n_out, n_in, 1)
                norm(f"{prefix}.downsample.1", n_out)
            n_in = n_out
    state["fc.weight"] = rng.normal(0, 0.05, (1000, n_in)).astype(np.float32)
    state["fc.bias"] = rng.normal(0, 0.05, 1000).astype(np.float32)
    return state


def windows(x: Array, kernel: int, stride: int, padding: int, fill: float) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    return views[:, :, ::stride, ::stride]


def conv_norm(state: State, x: Array, conv: str, norm: str, stride: int) -> Array:
    kernel = state[f"{conv}.weight"].astype(np.float64)
    side = kernel.shape[2]
    y = np.tensordot(windows(x, side, stride, side // 2, 0.0), kernel, axes=([1, 4, 5], [1, 2, 3]))
    gamma, beta, mean, var = (
        state[f"{norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return ((y - mean) / np.sqrt(var + 1e-5) * gamma + beta).transpose(0, 3, 1, 2)


def compute_reference(state: State, name: str, x: Array) -> Array:
    """Return the feature map (N, C, h, w) of a torchvision ResNet, in float64."""
    x = np.maximum(conv_norm(state, x, "conv1", "bn1", 2), 0)
    x = windows(x, 3, 2, 1, -np.inf).max(axis=(4, 5))
    for stage, depth in enumerate(DEPTHS[name], start=1):
        for index in range(depth):
            prefix = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            strides = (1, stride, 1) if name in BOTTLENECK else (stride, 1)
            y = x
            for number, step in enumerate(strides, start=1):
                y = conv_norm(state, y, f"{prefix}.conv{number}", f"{prefix}.bn{number}", step)
                y = np.maximum(y, 0) if number < len(strides) else y
            if f"{prefix}.downsample.0.weight" in state:
                x = conv_norm(state, x, f"{prefix}.downsample.0", f"{prefix}.downsample.1", stride)
            x = np.maximum(x + y, 0)
    return x


@pytest.mark.parametrize(
    ("name", "format_name"),
    [("resnet18", "legacy"), pytest.param("resnet50", "zip", marks=pytest.mark.slow)],
)
def test_converted_resnet_matches_reference_forward_pass(
    torch_writer: Any, tmp_path: Path, name: str, format_name: str
) -> None:
    state = make_state(name)
    write = torch_writer.write_zip if format_name == "zip" else torch_writer.write_legacy
    path = write(tmp_path / "w.pth", state, under="state_dict")
    backbone = build_backbone(name, path, SIZE_PX)
    x = np.random.default_rng(1).normal(size=(1, 3, SIZE_PX, SIZE_PX))
    expected = compute_reference(state, name, x).transpose(0, 2, 3, 1)
    got = np.asarray(backbone.model(x.transpose(0, 2, 3, 1).astype(np.float32), training=False))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
    assert backbone.preprocess.mean == TORCHVISION.mean
    assert backbone.source == "file w.pth"


@pytest.mark.slow
def test_top_is_read_only_on_request(torch_writer: Any, tmp_path: Path) -> None:
    state = make_state("resnet18")
    path = torch_writer.write_zip(tmp_path / "w.pth", state)
    whole = build_backbone("resnet18", path, SIZE_PX, include_top=True).model
    np.testing.assert_array_equal(np.asarray(whole.get_layer("predictions").kernel), state["fc.weight"].T)
    bare = {key: value for key, value in state.items() if not key.startswith("fc.")}
    path = torch_writer.write_zip(tmp_path / "bare.pth", bare)
    build_backbone("resnet18", path, SIZE_PX)
    with pytest.raises(InputError, match=r"fc\.weight is missing; fc\.bias is missing"):
        build_backbone("resnet18", path, SIZE_PX, include_top=True)


def check_rejected(
    torch_writer: Any, folder: Path, state: Mapping[str, Any], match: str, name: str = "resnet18"
) -> None:
    path = torch_writer.write_zip(folder / "w.pth", state)
    with pytest.raises(InputError, match=match) as caught:
        build_backbone(name, path, SIZE_PX)
    assert "\n" not in str(caught.value)


def test_all_weight_faults_reported_at_once(torch_writer: Any, tmp_path: Path) -> None:
    state = make_state("resnet18")
    del state["layer2.0.conv1.weight"]
    state["bn1.bias"] = np.zeros(63, np.float32)
    state["layer5.0.conv1.weight"] = np.zeros(1, np.float32)
    match = (
        "bn1.bias is 63 instead of 64; layer2.0.conv1.weight is missing; layer5.0.conv1.weight is left over"
    )
    check_rejected(torch_writer, tmp_path, state, re.escape(match))


@pytest.mark.slow
def test_weights_of_other_net_are_rejected(torch_writer: Any, tmp_path: Path) -> None:
    check_rejected(
        torch_writer, tmp_path, make_state("resnet34"), r"layer1\.2\.\S+ is left over.*and \d+ more"
    )
    check_rejected(torch_writer, tmp_path, make_state("resnet18"), "is missing", name="resnet34")


def test_random_start_weights_are_rejected(torch_writer: Any, tmp_path: Path) -> None:
    state = make_state("resnet18")
    for key in state:
        if key.endswith("running_mean"):
            state[key] = np.zeros_like(state[key])
        if key.endswith("running_var"):
            state[key] = np.ones_like(state[key])
    check_rejected(torch_writer, tmp_path, state, "that is random start weights")


@pytest.mark.parametrize(
    ("value", "match"),
    [(np.nan, "finite numbers"), pytest.param(-1.0, "cannot be negative", marks=pytest.mark.slow)],
)
def test_impossible_norm_statistics_are_rejected(
    torch_writer: Any, tmp_path: Path, value: float, match: str
) -> None:
    state = make_state("resnet18")
    state["layer1.0.bn1.running_var"][5] = value
    check_rejected(torch_writer, tmp_path, state, match)


SAVED = [
    pytest.param(name, file_name, marks=pytest.mark.slow)
    for name, file_name in (("resnet18", "w.weights.h5"), ("resnet18", "w.keras"), ("resnet50", "w.h5"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file_name"), [("resnet18", "w.h5"), *SAVED])
def test_saved_keras_model_restores_backbone(tmp_path: Path, name: str, file_name: str) -> None:
    import keras

    net = build_backbone(name, "none", SIZE_PX, seed=2).model
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 0.1)
            layer.moving_variance.assign(layer.moving_variance * 1.1)
    x = np.random.default_rng(1).normal(size=(1, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
    expected = np.asarray(net(x, training=False))
    outputs = keras.layers.Dense(1, name="head_output")(keras.layers.GlobalAveragePooling2D()(net.output))
    whole = keras.Model(net.input, outputs)
    path = tmp_path / file_name
    whole.save_weights(path) if "weights" in file_name else whole.save(path)
    backbone = build_backbone(name, path, SIZE_PX)
    np.testing.assert_array_equal(np.asarray(backbone.model(x, training=False)), expected)
    assert backbone.preprocess.mean == find_backbone(name).preprocess.mean
    deeper = {"resnet18": "resnet34", "resnet50": "resnet101"}[name]
    with pytest.raises(InputError, match=r"conv\d_block\d_1_conv/kernel is missing"):
        build_backbone(deeper, path, SIZE_PX)


def test_frozen_norm_stays_in_inference_mode() -> None:
    import keras

    from georgia.backbones import set_trainable_fraction

    net = build_backbone("resnet18", "none", SIZE_PX).model
    set_trainable_fraction(net, 0.0)
    x = np.random.default_rng(1).normal(size=(2, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(net(x, training=True)), np.asarray(net(x, training=False)))
    learning = set_trainable_fraction(net, 1.0, train_norms=False)
    norms = [layer.name for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert set(learning) == {layer.name for layer in net.layers} - set(norms)
    np.testing.assert_array_equal(np.asarray(net(x, training=True)), np.asarray(net(x, training=False)))


def test_fraction_outside_0_to_1_is_rejected() -> None:
    from georgia.backbones import set_trainable_fraction

    net = build_backbone("resnet18", "none", 32).model
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="a fraction from 0 to 1"):
            set_trainable_fraction(net, fraction)
