"""The class map in the graph splits each logit over the image exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.helpers.subsample import every

from georgia.export.graph.class_map import spread_matrix
from georgia.export.onnx_file import export_onnx
from georgia.export.parity import check_parity
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.engines import OnnxRuntimeEngine

keras = pytest.importorskip("keras")
layers = keras.layers
SIZE = 48
SPEC = PreprocessSpec(SIZE)
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (60, 44, 3), dtype=np.uint8) for _ in range(3)]


def _norm(x: Any) -> Any:
    return layers.BatchNormalization(epsilon=1e-3)(x)


HEADS: dict[str, Callable[[Any], Any]] = {
    "one dense": lambda x: x,
    "study": lambda x: layers.Dense(5, activation="relu")(
        layers.Dropout(0.4)(_norm(layers.Dense(9, activation="relu")(x)))
    ),
    "standardised, relu6": lambda x: layers.ReLU(6.0)(layers.Dense(8)(_norm(x))),
    "square": lambda x: layers.Dense(6, activation="relu")(layers.Dense(6, activation="relu")(x)),
    "two ways": lambda x: layers.Add()([layers.Dense(4)(x), layers.Dense(4, activation="relu")(x)]),
}


def _net(head: Callable[[Any], Any], units: int, activation: str, levels: bool) -> Any:
    image = keras.Input((SIZE, SIZE, 3))
    fine = layers.Conv2D(6, 3, 4, padding="same", activation="relu", name="fine")(image)
    coarse = layers.Conv2D(7, 3, 3, padding="same", activation="relu", name="coarse")(fine)
    pooled = layers.GlobalAveragePooling2D(name="pooled_coarse")(coarse)
    if levels:
        pooled = layers.Concatenate(name="pooled")([layers.GlobalAveragePooling2D()(fine), pooled])
    model = keras.Model(image, layers.Dense(units, activation=activation)(head(pooled)))
    rng = np.random.default_rng(5)
    for variable in model.variables:
        if "seed" not in variable.path:
            low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.3
            variable.assign(rng.uniform(low, low + 0.6, variable.shape).astype(np.float32))
    return model


def _slope(model: Any, pooled: str, batch: np.ndarray) -> np.ndarray:
    """Return J·p (N, C): how the last layer's sums grow with the pooled features, by differences in Keras."""
    features = keras.Model(model.input, model.get_layer(pooled).output).predict(batch, verbose=0)
    last = model.layers[-1]
    inside = keras.Model(model.get_layer(pooled).output, layers.Activation("linear")(last.input))
    step = 2.0**-9
    ends = [inside.predict(features * (1 + sign * step), verbose=0).astype(float) for sign in (1, -1)]
    return (ends[0] - ends[1]) @ np.asarray(last.kernel, float) / (2 * step)


@pytest.mark.parametrize("levels", [False, True], ids=["last map", "levels"])
@pytest.mark.parametrize("head", every(2, HEADS))
def test_class_map_mean_is_logit_without_biases(head: str, levels: bool, tmp_path: Path) -> None:
    model = _net(HEADS[head], 3, "softmax", levels)
    export_onnx(model, SPEC, Labels(("a", "b", "c")), tmp_path / "model.onnx", {})
    outputs = OnnxRuntimeEngine(tmp_path / "model.onnx").run(IMAGES)
    assert outputs["cam"].shape == ((3, 3, 12, 12) if levels else (3, 3, 4, 4))
    batch = np.stack([SPEC.apply(image) for image in IMAGES])
    means = outputs["cam"].mean(axis=(2, 3))
    scale = np.abs(outputs["logits"]).max()
    slope = _slope(model, "pooled" if levels else "pooled_coarse", batch)
    np.testing.assert_allclose(means, slope, atol=1e-3 * scale)
    if head == "one dense":
        bias = np.asarray(model.layers[-1].bias)
        np.testing.assert_allclose(outputs["logits"] - means, np.tile(bias, (3, 1)), atol=1e-5 * scale)


def test_class_map_cell_is_features_times_weights(tmp_path: Path) -> None:
    model = _net(HEADS["one dense"], 2, "softmax", False)
    export_onnx(model, SPEC, Labels(("a", "b")), tmp_path / "model.onnx", {})
    outputs = OnnxRuntimeEngine(tmp_path / "model.onnx").run(IMAGES)
    cells = keras.Model(model.input, model.get_layer("coarse").output)
    maps = cells.predict(np.stack([SPEC.apply(image) for image in IMAGES]), verbose=0)
    expected = np.einsum("nhwk,kc->nchw", maps, np.asarray(model.layers[-1].kernel))
    np.testing.assert_allclose(outputs["cam"], expected, rtol=1e-3, atol=1e-3)


def test_bias_remainder_is_constant_within_relu_region(tmp_path: Path) -> None:
    model = _net(HEADS["study"], 2, "softmax", True)
    export_onnx(model, SPEC, Labels(("a", "b")), tmp_path / "model.onnx", {})
    grey = np.full((40, 40, 3), 120, np.uint8)
    near = [grey, grey + np.uint8(1)]
    outputs = OnnxRuntimeEngine(tmp_path / "model.onnx").run(near)
    rest = outputs["logits"] - outputs["cam"].mean(axis=(2, 3))
    np.testing.assert_allclose(rest[0], rest[1], rtol=1e-4)
    assert np.abs(outputs["logits"][0] - outputs["logits"][1]).max() > 1e-4


def test_sigmoid_net_has_map_per_class(tmp_path: Path) -> None:
    model = _net(HEADS["study"], 1, "sigmoid", True)
    export_onnx(model, SPEC, Labels(("a", "b")), tmp_path / "model.onnx", {})
    outputs = OnnxRuntimeEngine(tmp_path / "model.onnx").run(IMAGES)
    np.testing.assert_allclose(outputs["cam"][:, 0], -outputs["cam"][:, 1], atol=1e-5)
    assert np.abs(outputs["cam"]).max() > 0


@pytest.mark.parametrize("head", every(2, HEADS, start=1))
@pytest.mark.parametrize("weights_dtype", ["float32", "float16"])
def test_engines_agree_on_class_map(head: str, weights_dtype: str, tmp_path: Path) -> None:
    model = _net(HEADS[head], 2, "softmax", True)
    export_onnx(model, SPEC, Labels(("a", "b")), tmp_path / "model.onnx", {}, weights_dtype)
    tolerance = 1e-4 if weights_dtype == "float32" else 0.05
    parity = check_parity(model, SPEC, tmp_path / "model.onnx", IMAGES, tolerance=tolerance)
    assert max(parity.outputs.values()) <= 1e-4
    assert set(parity.outputs) == {"logits", "cam", "features"}


def test_nonlinear_head_has_no_class_map(tmp_path: Path) -> None:
    model = _net(lambda x: layers.Dense(4, activation="tanh")(x), 2, "softmax", True)
    export_onnx(model, SPEC, Labels(("a", "b")), tmp_path / "model.onnx", {})
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [output.name for output in session.get_outputs()] == ["probabilities", "logits", "features"]


@pytest.mark.parametrize(("n_in", "n_out"), [(7, 28), (9, 33), (5, 5), (3, 14)])
def test_spread_matrix_keeps_mean_on_finer_grid(n_in: int, n_out: int) -> None:
    weights = spread_matrix(n_in, n_out)
    cells = RNG.normal(size=n_in)
    np.testing.assert_allclose((weights @ cells).mean(), cells.mean(), atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights >= 0).all()
