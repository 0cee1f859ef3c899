"""Exported files give the outputs of the net they come from, for each kind of layer and as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.helpers.subsample import every

from georgia.errors import InputError, ParityError
from georgia.export.hdf5 import save_hdf5
from georgia.export.onnx_file import METADATA_KEY, export_onnx
from georgia.export.parity import check_parity
from georgia.images.preprocess import CAFFE, EFFICIENTNET_LITE, PreprocessSpec
from georgia.labels import Labels, outputs_to_probabilities
from georgia.model.engines import OnnxRuntimeEngine, OpenVinoEngine, open_engine
from georgia.model.load import load_bundle, load_bundled_model
from georgia.uncertainty.calibration import fit_temperature, softmax
from georgia.uncertainty.conformal import fit_conformal
from georgia.uncertainty.decision import Uncertainty
from georgia.uncertainty.fit_ood import Measured, fit_ood_detector
from georgia.uncertainty.ood import LIGHT, N_LIGHT, count_scales

keras = pytest.importorskip("keras")
layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 256, shape, dtype=np.uint8)
    for shape in ((151, 151, 3), (60, 33, 3), (33, 60, 3), (200, 130, 3))
]
LABELS = Labels(("CEX", "PG"))
SPEC = PreprocessSpec(33, "BGR", (103.939, 116.779, 123.68), (58.0, 57.0, 56.0))


def _fill(model: Any) -> Any:
    """Set all weights to random numbers, running statistics too, so that no zero hides a fault."""
    rng = np.random.default_rng(5)
    for variable in model.variables:
        if "seed" in variable.path:
            continue
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.3
        variable.assign(rng.uniform(low, low + 0.6, variable.shape).astype(np.float32))
    return model


def _net(middle: Callable[[Any], Any], units: int = 2, activation: str = "softmax", size: int = 33) -> Any:
    x = image = keras.Input((size, size, 3))
    x = middle(x)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    return _fill(keras.Model(image, layers.Dense(units, activation=activation)(x)))


MIDDLES: dict[str, Callable[[Any], Any]] = {
    "conv same stride 2": lambda x: layers.Conv2D(5, 3, 2, padding="same", activation="relu")(x),
    "conv valid dilated, groups": lambda x: layers.Conv2D(6, 3, dilation_rate=2, groups=3, use_bias=False)(x),
    "depthwise same 5": lambda x: layers.DepthwiseConv2D(5, 2, padding="same", depth_multiplier=2)(x),
    "batch norm, relu6": lambda x: layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3)(x)),
    "norm without scale": lambda x: layers.BatchNormalization(scale=False, center=False)(x),
    "padding, max pool": lambda x: layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((1, 2), (0, 1)))(x)),
    "max pool same": lambda x: layers.MaxPooling2D(3, 2, padding="same")(x),
    "average pool same": lambda x: layers.AveragePooling2D(2, 2, padding="same")(x),
    "add, multiply": lambda x: layers.Multiply()([layers.Add()([x, x, x]), layers.Activation("sigmoid")(x)]),
    "concatenate": lambda x: layers.Concatenate()([x, layers.Conv2D(2, 1)(x)]),
    "flatten": lambda x: layers.Dense(7, activation="silu")(layers.Flatten()(x)),
    "global max": lambda x: layers.Dense(4, activation="tanh")(layers.GlobalMaxPooling2D()(x)),
    "dropout, rescaling": lambda x: layers.Dropout(0.5)(layers.Rescaling(0.5, 0.1)(x)),
    "nested": lambda x: keras.Sequential([keras.Input((33, 33, 3)), layers.Conv2D(4, 3), layers.ReLU()])(x),
}


@pytest.mark.parametrize("name", every(2, MIDDLES))
def test_exported_layer_matches_keras_in_both_engines(name: str, tmp_path: Path) -> None:
    model = _net(MIDDLES[name])
    file = tmp_path / "model.onnx"
    export_onnx(model, SPEC, LABELS, file, {})
    parity = check_parity(model, SPEC, file, IMAGES, tolerance=2e-5)
    assert set(parity.differences) == {"onnxruntime", "openvino"}


@pytest.mark.parametrize("size", every(2, [32, 33, 64, 47]))
def test_same_padding_matches_tensorflow_at_all_sizes(size: int, tmp_path: Path) -> None:
    model = _net(
        lambda x: layers.Conv2D(3, 3, 2, padding="same")(layers.Conv2D(3, 5, 2, padding="same")(x)), size=size
    )
    spec = PreprocessSpec(size)
    export_onnx(model, spec, LABELS, tmp_path / "model.onnx", {})
    check_parity(model, spec, tmp_path / "model.onnx", IMAGES, tolerance=2e-5)


def test_sigmoid_becomes_two_probabilities(tmp_path: Path) -> None:
    model = _net(lambda x: layers.Conv2D(4, 3)(x), units=1, activation="sigmoid")
    export_onnx(model, SPEC, LABELS, tmp_path / "model.onnx", {})
    engine = OnnxRuntimeEngine(tmp_path / "model.onnx")
    outputs = engine.run(IMAGES)
    expected = outputs_to_probabilities(model.predict(np.stack([SPEC.apply(i) for i in IMAGES]), verbose=0))
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    assert outputs["logits"].shape == (4, 2)
    assert outputs["features"].shape == (4, 4)


@pytest.mark.parametrize("engine_name", ["onnxruntime", "openvino"])
def test_batch_equals_single_images_in_any_order(engine_name: str, tmp_path: Path) -> None:
    export_onnx(_net(lambda x: layers.Conv2D(4, 3)(x)), SPEC, LABELS, tmp_path / "model.onnx", {})
    engine = open_engine(tmp_path / "model.onnx", SPEC, engine_name)
    assert engine.name == engine_name
    many = [IMAGES[i % 4] for i in range(21)]
    whole = engine.run([engine.prepare(image) for image in many])["probabilities"]
    single = [engine.run([engine.prepare(image)])["probabilities"][0] for image in many]
    np.testing.assert_allclose(whole, single, atol=1e-6)
    backwards = engine.run([engine.prepare(image) for image in many[::-1]])["probabilities"][::-1]
    np.testing.assert_allclose(backwards, whole, atol=1e-6)


def test_onnx_metadata_holds_classes_and_preprocessing(tmp_path: Path) -> None:
    export_onnx(_net(lambda x: x), SPEC, LABELS, tmp_path / "model.onnx", {"name": "Ümlaut"})
    meta = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_modelmeta().custom_metadata_map
    details = json.loads(meta[METADATA_KEY])
    assert details["classes"] == ["CEX", "PG"]
    assert PreprocessSpec.from_dict(details["preprocess"]) == SPEC
    assert details["name"] == "Ümlaut"
    assert meta["classes"] == "CEX,PG"


def _find_vectors_for_scalars(model: Any) -> list[str]:
    """Return the inputs that the ONNX specification wants as scalars and that are none."""
    import onnx

    known = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in known.graph.value_info}
    ranks |= {weight.name: len(weight.dims) for weight in model.graph.initializer}
    wanted = {"Range": slice(0, 3), "Clip": slice(1, 3)}
    scalars = [name for node in model.graph.node for name in node.input[wanted.get(node.op_type, slice(0))]]
    return [name for name in scalars if ranks[name] != 0]


@pytest.mark.parametrize("window_px", [0.0, 50.0])
def test_graph_follows_the_specification(window_px: float, tmp_path: Path) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    spec = PreprocessSpec(33, "BGR", SPEC.mean, SPEC.scale, window_px)
    model = _net(lambda x: layers.ReLU(6.0, name="last")(layers.Conv2D(4, 3)(x)))
    export_onnx(model, spec, LABELS, tmp_path / "model.onnx", {}, measured_layers=["last"])
    written = onnx.load(str(tmp_path / "model.onnx"))
    onnx.checker.check_model(written, full_check=True)
    assert {"Range", "Clip"} <= {node.op_type for node in written.graph.node}
    assert not _find_vectors_for_scalars(written)
    ours = OnnxRuntimeEngine(tmp_path / "model.onnx").run(IMAGES[:1])
    reference = ReferenceEvaluator(written).run(list(ours), {"image": IMAGES[0][np.newaxis]})
    for name, values in zip(ours, reference, strict=True):
        np.testing.assert_allclose(values, ours[name], rtol=1e-3, atol=1e-3)


def test_bundled_file_follows_the_specification() -> None:
    import onnx

    written = onnx.load(str(load_bundled_model().model_path))
    onnx.checker.check_model(written, full_check=True)
    assert not _find_vectors_for_scalars(written)


def test_float16_weights_change_little(tmp_path: Path) -> None:
    model = _net(lambda x: layers.Conv2D(64, 5)(x))
    export_onnx(model, SPEC, LABELS, tmp_path / "full.onnx", {})
    export_onnx(model, SPEC, LABELS, tmp_path / "half.onnx", {}, weights_dtype="float16")
    assert (tmp_path / "half.onnx").stat().st_size < 0.8 * (tmp_path / "full.onnx").stat().st_size
    check_parity(model, SPEC, tmp_path / "half.onnx", IMAGES, tolerance=5e-3)


@pytest.mark.parametrize(("n_jumps", "keeps"), [(1, True), (4, False)])
def test_parity_judges_class_map_on_most_images(
    n_jumps: int, keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _net(lambda x: layers.Conv2D(4, 3)(x))
    file = tmp_path / "model.onnx"
    export_onnx(model, SPEC, LABELS, file, {})
    whole = OnnxRuntimeEngine(file).run(IMAGES)
    true_run = OpenVinoEngine.run

    def run(engine: OpenVinoEngine, *arguments: Any) -> dict[str, np.ndarray]:
        outputs = true_run(engine, *arguments)
        outputs["cam"][:n_jumps] += 0.1
        return outputs

    monkeypatch.setattr(OpenVinoEngine, "run", run)
    parity = check_parity(model, SPEC, file, IMAGES)
    assert ("cam" in parity.outputs, parity.lost_map is None) == (keeps, keeps)
    assert ("without a class map" in parity.notice) is not keeps
    shipped = OnnxRuntimeEngine(file).run(IMAGES)
    assert set(whole) - set(shipped) == (set() if keeps else {"cam"})
    for name, values in shipped.items():
        np.testing.assert_array_equal(values, whole[name])
    assert load_bundle(file).labels == LABELS


def test_parity_rejects_file_with_other_probabilities(tmp_path: Path) -> None:
    model = _net(lambda x: layers.Conv2D(4, 3)(x))
    export_onnx(model, SPEC, LABELS, tmp_path / "model.onnx", {})
    model.layers[-1].bias.assign(np.array([3.0, -3.0], np.float32))
    with pytest.raises(ParityError, match=r"Cannot ship 'model.onnx': probabilities must agree with Keras"):
        check_parity(model, SPEC, tmp_path / "model.onnx", IMAGES)


def test_frozen_backbone_exports_like_any_net(tmp_path: Path) -> None:
    whole = _net(lambda x: layers.Conv2D(4, 3, name="second")(layers.Conv2D(3, 3, name="first")(x)))
    from georgia.train.frozen import FrozenBackbone
    from georgia.train.network import split_frozen

    whole.get_layer("first").trainable = False
    frozen, head = split_frozen(whole)
    spec = PreprocessSpec(33)
    images = RNG.integers(0, 256, (5, 33, 33, 3), dtype=np.uint8)
    features = FrozenBackbone(frozen, spec)(images)
    expected = whole.predict(spec.normalize(images.astype(np.float32)), verbose=0)
    np.testing.assert_allclose(head.predict(features, verbose=0), expected, atol=1e-5)


def test_hdf5_opens_with_plain_keras(tmp_path: Path) -> None:
    model = _net(lambda x: layers.Dropout(0.4)(layers.BatchNormalization()(x)))
    save_hdf5(model, tmp_path / "weights.h5")
    again = keras.models.load_model(tmp_path / "weights.h5", compile=False)
    batch = RNG.normal(size=(3, 33, 33, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(batch, verbose=0), model.predict(batch, verbose=0))


def test_export_names_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its layers must be among .*; got GaussianNoise"):
        export_onnx(_net(lambda x: layers.GaussianNoise(0.1)(x)), SPEC, LABELS, tmp_path / "a.onnx", {})
    with pytest.raises(InputError, match="one sigmoid output means two classes; got 3 class names"):
        net = _net(lambda x: x, units=1, activation="sigmoid")
        export_onnx(net, SPEC, Labels(("a", "b", "c")), tmp_path / "a.onnx", {})
    with pytest.raises(InputError, match="last layer must be a softmax over the classes or one sigmoid"):
        export_onnx(_net(lambda x: x, activation="relu"), SPEC, LABELS, tmp_path / "a.onnx", {})
    assert not list(tmp_path.iterdir())


def test_engines_agree_on_large_and_tiny_images(tmp_path: Path) -> None:
    # 7 × 7 cells are pooled, as in the real nets. ONNX Runtime adds a map's cells one after the other in
    # float32: 12,000 equal ones (of the flat image) have a mean that is wrong by 2e-4 of itself.
    model = _net(lambda x: layers.Conv2D(4, 32, 32)(x), size=224)
    for spec in (CAFFE, EFFICIENTNET_LITE):
        export_onnx(model, spec, LABELS, tmp_path / "model.onnx", {})
        frames = [RNG.integers(0, 256, s, dtype=np.uint8) for s in ((1000, 1112, 3), (1, 1, 3), (3, 700, 3))]
        check_parity(model, spec, tmp_path / "model.onnx", frames, tolerance=1e-4)


def _fit_uncertainty(model: Any, folder: Path) -> Uncertainty:
    """Fit everything on a net's outputs for random images, with measured layers."""
    export_onnx(model, SPEC, LABELS, folder / "measured.onnx", {}, measured_layers=["last"])
    images = [RNG.integers(0, 60 + 9 * i, (40, 40, 3), dtype=np.uint8) for i in range(20)]
    engine = OnnxRuntimeEngine(folder / "measured.onnx")
    outputs = engine.run(images)
    truth = np.arange(20) % 2
    calibration = fit_temperature(outputs["logits"], truth)
    measured = Measured(outputs["picture_features"], None, truth)
    material = engine.run([RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(8)])[
        "picture_features"
    ]
    widths = {LIGHT: N_LIGHT + count_scales(SPEC.size_px), "last": 4}
    unknown = fit_ood_detector(measured, measured, widths, material=material)
    conformal = fit_conformal(outputs["probabilities"], truth, LABELS)
    return Uncertainty(calibration, unknown, conformal)


def test_export_holds_temperature_unknown_score_and_thresholds(tmp_path: Path) -> None:
    model = _net(lambda x: layers.Conv2D(4, 3, activation="relu", name="last")(x))
    uncertainty = _fit_uncertainty(model, tmp_path)
    export_onnx(model, SPEC, LABELS, tmp_path / "model.onnx", {}, uncertainty=uncertainty)
    engine = OnnxRuntimeEngine(tmp_path / "model.onnx")
    outputs = engine.run(IMAGES)
    np.testing.assert_allclose(
        outputs["probabilities"], softmax(outputs["logits"], uncertainty.temperature), atol=1e-5
    )
    assert outputs["unknown_score"].shape == (len(IMAGES),)
    measured = OnnxRuntimeEngine(tmp_path / "measured.onnx").run(IMAGES)
    assert uncertainty.unknown is not None
    expected = uncertainty.unknown.score(measured["picture_features"])
    np.testing.assert_allclose(outputs["unknown_score"], expected, rtol=1e-3)
    parity = check_parity(model, SPEC, tmp_path / "model.onnx", IMAGES, temperature=uncertainty.temperature)
    assert set(parity.outputs) == {"logits", "cam", "features", "unknown_score"}
    limits = load_bundle(tmp_path / "model.onnx").thresholds
    assert limits.threshold == 1.0
    assert limits.conformal == uncertainty.conformal


def test_image_features_describe_resized_image(tmp_path: Path) -> None:
    spec = PreprocessSpec(56, "BGR", (103.9, 116.8, 123.7), (58.0, 57.0, 56.0))
    model = _net(lambda x: layers.Conv2D(4, 3, name="last")(x), size=56)
    export_onnx(model, spec, LABELS, tmp_path / "measured.onnx", {}, measured_layers=["last"])
    image = RNG.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    image[:30] //= 40
    image[60:] = 255
    got = OnnxRuntimeEngine(tmp_path / "measured.onnx").run([image])["picture_features"][0]
    pixels = spec.resize(image).astype(np.float64)
    grey = pixels.mean(axis=2)
    colour = pixels.max(axis=2) - pixels.min(axis=2)
    expected = [grey.mean() / 255, colour.mean() / 255, (grey < 7.7).mean(), (grey > 247.3).mean()]
    expected.append(np.log(grey.std() + 0.5))
    for _ in range(4):
        detail = grey - _blur(grey)
        expected.append(np.log(np.sqrt((detail**2).mean()) + 0.5))
        grey = grey.reshape(len(grey) // 2, 2, len(grey) // 2, 2).mean(axis=(1, 3)) if len(grey) > 7 else grey
    np.testing.assert_allclose(got[: len(expected)], expected, atol=1e-3)


def _blur(plane: np.ndarray) -> np.ndarray:
    """Return the mean of each pixel and its neighbours inside the plane."""
    padded, ones = np.pad(plane, 1), np.pad(np.ones_like(plane), 1)
    height, width = plane.shape
    moves = [(i, j) for i in range(3) for j in range(3)]
    total = sum(padded[i : i + height, j : j + width] for i, j in moves)
    count = sum(ones[i : i + height, j : j + width] for i, j in moves)
    return np.asarray(total / count)


def test_black_white_fractions_equal_across_engines(tmp_path: Path) -> None:
    model = _net(lambda x: layers.ReLU(name="last")(layers.Conv2D(4, 3)(x)))
    export_onnx(model, SPEC, LABELS, tmp_path / "measured.onnx", {}, measured_layers=["last"])
    engines = [open_engine(tmp_path / "measured.onnx", SPEC, name) for name in ("onnxruntime", "openvino")]
    for level in (0, 7, 8, 128, 247, 248, 255):
        sizes = ((33, 33), (60, 47), (20, 151))
        flat = [np.full((height, width, 3), level, np.uint8) for height, width in sizes]
        first, second = (
            engine.run([engine.prepare(image) for image in flat])["picture_features"][:, 2:4]
            for engine in engines
        )
        assert first.tolist() == second.tolist() == [[level <= 7, level >= 248]] * 3, level


def test_export_names_missing_measured_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold those that the unknown score reads; got no block9"):
        export_onnx(_net(lambda x: x), SPEC, LABELS, tmp_path / "a.onnx", {}, measured_layers=["block9"])
