"""Foreign Keras models give their own predictions, and no code in them runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from georgia.errors import InputError
from georgia.export.keras_import import (
    PIXELS,
    convert_keras_file,
    find_preprocess,
    load_foreign_model,
    renumber_nested_calls,
)
from georgia.labels import Labels
from georgia.model.load import load_bundle

# Keras' own code: under numpy 2, and its advice against the format that the study uses.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

needs_keras_2 = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="needs tf_keras to write a Keras 2 file"
)
SIZE_PX = 64


# The other layout differs in how the net lies in the file, which its depth does not change.
@pytest.fixture(scope="module", params=[("flat", 101), ("nested", 50)], ids=str)
def study_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's net (ResNet and its head) in an HDF5 file that Keras 2 wrote, and its predictions."""
    layout, depth = request.param
    stem = tmp_path_factory.mktemp("keras2") / f"{layout}-{depth}"
    writer = Path(__file__).parents[2] / "helpers" / "keras2_writer.py"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    arguments = [sys.executable, str(writer), str(SIZE_PX), layout, str(depth), str(stem)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return stem.with_suffix(".h5")


def check_predictions(file: Path) -> None:
    with np.load(file.with_suffix(".npz")) as known:
        got = np.asarray(load_foreign_model(file)(known["batch"], training=False))
        assert np.abs(got - known["answers"]).max() <= 1e-6


# Written by keras2_writer.py with "32 flat tiny …" and "32 nested tiny …".
@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_tiny_keras_2_file_predicts_as_before(layout: str) -> None:
    check_predictions(Path(__file__).parents[1] / "data" / f"keras2_{layout}.h5")


@needs_keras_2
@pytest.mark.slow
def test_keras_2_file_predicts_as_before(study_file: Path) -> None:
    check_predictions(study_file)


@needs_keras_2
@pytest.mark.slow
def test_keras_2_file_loads_into_backbone(study_file: Path) -> None:
    from georgia.backbones import build_backbone

    backbone = build_backbone(f"resnet{study_file.stem.partition('-')[2]}", study_file, SIZE_PX)
    assert backbone.preprocess.color_order == "BGR"
    with h5py.File(study_file) as file:
        found = []
        file.visititems(
            lambda place, item: found.append(item) if "conv5_block3_3_conv/kernel" in place else None
        )
        kernel = found[0][()]
    np.testing.assert_array_equal(np.asarray(backbone.model.get_layer("conv5_block3_3_conv").kernel), kernel)


@needs_keras_2
@pytest.mark.slow
def test_keras_2_file_becomes_bundle(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path))
    bundle = load_bundle(study_file, ("CEX", "PG"))
    assert bundle.labels.names == ("CEX", "PG")
    assert bundle.preprocess.color_order == "BGR"
    assert bundle.preprocess.size_px == SIZE_PX
    assert load_bundle(study_file, ("CEX", "PG")) == bundle
    with pytest.raises(InputError, match=r"holds no class names.*--classes CEX,PG"):
        load_bundle(study_file)


def build_small(*extra: Any, size_px: int = 16, n_channels: int = 3) -> Any:
    import keras

    layers = keras.layers
    inputs = keras.Input((size_px, size_px, n_channels))
    x = layers.Rescaling(1 / 255)(inputs)
    for layer in extra:
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


def save(model: Any, path: Path) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_foreign_net_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    from georgia.export import keras_import
    from georgia.model.engines import open_engine

    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path / "cache"))
    model = build_small()
    path = save(model, tmp_path / f"net{suffix}")
    bundle = convert_keras_file(path, Labels(("a", "b")))
    assert list((tmp_path / "cache").rglob("*.onnx")) == [bundle.model_path]
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = np.asarray(model(image[None].astype(np.float32)))
    for name in ("onnxruntime", "openvino"):
        engine = open_engine(bundle.model_path, bundle.preprocess, name, precision="float32")
        outputs = engine.run([engine.prepare(image)])
        assert set(outputs) == {"probabilities", "logits", "features", "cam"}
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    monkeypatch.setattr(keras_import, "load_foreign_model", None)
    assert convert_keras_file(path, Labels(("a", "b"))) == bundle


def check_rejected(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_foreign_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_lambda_layer_rejected_before_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    import keras

    path = save(build_small(keras.layers.Lambda(lambda x: x * 2)), tmp_path / f"net{suffix}")
    monkeypatch.setattr(keras.models, "load_model", None)
    check_rejected(path, "only Keras' own layers that compute.*got.*Lambda")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"class_name": "TFSMLayer"}, "TFSMLayer"),
        ({"module": "os.path", "class_name": "Conv2D"}, r"os\.path\.Conv2D"),
        ({"registered_name": "mine>Conv2D"}, "mine>Conv2D"),
        ({"config": {"activation": {"class_name": "__lambda__", "config": {}}}}, "__lambda__"),
    ],
)
def test_classes_outside_keras_are_rejected(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = save(build_small(), tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][2].update(change)
        file.attrs["model_config"] = json.dumps(description)
    check_rejected(path, match)


@pytest.mark.parametrize("name", ["TFSMLayer", "Lambda", "TorchModuleWrapper", "Wrapper", 3, None])
@pytest.mark.parametrize("place", ["inbound_nodes", "build_config", "kernel_initializer"])
def test_classes_anywhere_are_on_the_list(name: Any, place: str, tmp_path: Path) -> None:
    path = save(build_small(), tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        layer = description["config"]["layers"][2]
        evil = {"class_name": name, "module": "keras.layers", "config": {"filepath": "/x", "name": "y"}}
        if place == "inbound_nodes":
            layer["inbound_nodes"][0]["args"].append({"deep": [evil]})
        else:
            (layer if place == "build_config" else layer["config"])[place] = evil
        file.attrs["model_config"] = json.dumps(description)
    check_rejected(path, f"only Keras' own layers that compute.*got {name}")


@pytest.mark.parametrize(
    "change", [{"filters": 10**8}, {"filters": 3 * 10**5}, {"kernel_size": [5000, 5000]}]
)
def test_small_file_describes_no_net_of_gigabytes(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save(build_small(size_px=16), tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][2]["config"].update(change, padding="same")
        file.attrs["model_config"] = json.dumps(description)
    check_rejected(path, r"more weights than the file's \d+ bytes can hold")
    import keras

    assert keras.layers.Layer.add_weight.__module__.startswith("keras.")


def test_enormous_output_is_rejected(tmp_path: Path) -> None:
    import keras

    path = save(build_small(keras.layers.UpSampling2D(4)), tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][2]["config"]["size"] = [5000, 5000]
        file.attrs["model_config"] = json.dumps(description)
    check_rejected(path, "with an output")


def test_deep_description_is_rejected(tmp_path: Path) -> None:
    path = save(build_small(), tmp_path / "net.h5")
    for depth in (800, 100_000):
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = '{"config": ' + "[" * depth + "]" * depth + "}"
        check_rejected(path, "RecursionError|Keras can build")


def _rewrite_archive(path: Path, weights: bytes | None = None, **more: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if weights is not None:
        parts["model.weights.h5"] = weights
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, **more}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("kind", ["link", "external"])
def test_archive_with_numbers_elsewhere_is_rejected(kind: str, tmp_path: Path) -> None:
    import io

    path = save(build_small(), tmp_path / "net.keras")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        if kind == "link":
            file["layers"] = h5py.ExternalLink("/etc/other.h5", "/layers")
        else:
            file.create_dataset("layers/x", (4,), "f4", external=[("/etc/hostname", 0, 16)])
    _rewrite_archive(path, stream.getvalue())
    check_rejected(path, "is a link to elsewhere" if kind == "link" else "is kept in another file")


def test_archive_with_further_files_is_rejected(tmp_path: Path) -> None:
    path = save(build_small(), tmp_path / "net.keras")
    _rewrite_archive(path, **{"../../evil": b"x"})
    check_rejected(path, r"an archive of .*\.\./\.\./evil")


def test_weights_without_architecture_are_rejected(tmp_path: Path) -> None:
    model = build_small()
    model.save_weights(tmp_path / "net.weights.h5")
    check_rejected(tmp_path / "net.weights.h5", r"a whole model is needed; got weights alone.*--weights")


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".hdf5"])
def test_damaged_keras_files_are_rejected(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"no model at all")
    check_rejected(path, "a whole Keras model is needed")
    check_rejected(tmp_path / f"none{suffix}", "a whole Keras model is needed")
    if suffix != ".hdf5":
        data = save(build_small(), path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        check_rejected(path, "a whole Keras model is needed")


def test_other_suffixes_are_rejected(tmp_path: Path) -> None:
    check_rejected(tmp_path / "net.pb", r"\.h5, \.hdf5, \.keras")


def test_archive_bomb_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(5_000_000))
    check_rejected(tmp_path / "net.keras", "would unpack to")


def test_unbuildable_description_is_rejected(tmp_path: Path) -> None:
    path = save(build_small(), tmp_path / "net.h5")
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][2]["config"]["filters"] = -3
        file.attrs["model_config"] = json.dumps(description)
    check_rejected(path, "a model that Keras can build is needed")


@pytest.mark.slow
def test_preprocessing_is_inferred_from_backbone() -> None:
    from georgia.backbones import BACKBONES, build_backbone, find_backbone

    for info in (BACKBONES[0], find_backbone("resnet18")):
        net = build_backbone(info.name, "none", 32)
        assert find_preprocess(net.model, Path("x.h5")) == net.preprocess
    assert find_preprocess(build_small(), Path("x.h5")).mean == PIXELS.mean


def test_unknown_preprocessing_is_rejected() -> None:
    import keras

    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    strange = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs)))
    with pytest.raises(InputError, match="its layers must determine the preprocessing.*--preprocess caffe"):
        find_preprocess(strange, Path("x.h5"))
    assert find_preprocess(strange, Path("x.h5"), "unit").scale == (255.0, 255.0, 255.0)
    with pytest.raises(InputError, match="square colour images"):
        find_preprocess(build_small(n_channels=1), Path("x.h5"))


def build_resnet(n_outputs: int = 2, activation: str = "softmax") -> Any:
    """Return a net whose layers are named as Keras' own ResNet's, in a few kilobytes."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 7, 4, activation="relu", name="conv1_conv")(inputs))
    return keras.Model(inputs, layers.Dense(n_outputs, activation=activation)(x))


@pytest.mark.parametrize(
    ("mode", "prepare"),
    [
        (None, lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
        ("caffe", lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
        pytest.param("tf", lambda x: x / 127.5 - 1, marks=pytest.mark.slow),
        ("torch", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        pytest.param("unit", lambda x: x / 255, marks=pytest.mark.slow),
        pytest.param("raw", lambda x: x, marks=pytest.mark.slow),
    ],
)
def test_foreign_net_gets_requested_input(
    mode: str | None, prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from georgia.model.engines import open_engine

    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path / "cache"))
    model = build_resnet()
    path = save(model, tmp_path / "net.h5")
    bundle = load_bundle(path, ("a", "b"), mode)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = np.asarray(model(prepare(image[None].astype(np.float64)).astype(np.float32)))
    for name in ("onnxruntime", "openvino"):
        engine = open_engine(bundle.model_path, bundle.preprocess, name, precision="float32")
        outputs = engine.run([engine.prepare(image)])
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-4)
    assert f"are prepared as {mode or 'caffe'} (" in bundle.note
    assert ("give --preprocess (tf, torch, unit, raw)" in bundle.note) is (mode is None)


def test_preprocessing_is_for_foreign_files_only(tmp_path: Path) -> None:
    from georgia.model import load_bundled_model

    with pytest.raises(InputError, match=r"--preprocess: it is for a Keras file from elsewhere"):
        load_bundle(load_bundled_model().model_path, None, "unit")
    path = save(build_resnet(), tmp_path / "net.h5")
    with pytest.raises(InputError, match="must be one of caffe, tf, torch, unit, raw; got 'cafe'"):
        load_bundle(path, ("a", "b"), "cafe")


@pytest.mark.parametrize(
    ("n_outputs", "activation", "names", "match"),
    [
        (2, "softmax", "abc", "net.h5 has 2 outputs, so 2 names are needed; got 3: a, b, c"),
        (3, "softmax", "ab", "net.h5 has 3 outputs, so 3 names are needed; got 2: a, b"),
        (1, "sigmoid", "abc", "one sigmoid output, that is two classes, so 2 names are needed; got 3"),
    ],
)
def test_wrong_number_of_classes_is_one_line(
    n_outputs: int, activation: str, names: str, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEORGIA_CACHE", str(tmp_path / "cache"))
    path = save(build_resnet(n_outputs, activation), tmp_path / "net.h5")
    with pytest.raises(InputError, match=match) as caught:
        load_bundle(path, tuple(names))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.onnx"))


def test_renumbering_changes_only_calls_from_one() -> None:
    def describe(call: int) -> dict[str, Any]:
        inner = {"class_name": "Functional", "name": "base", "inbound_nodes": [[["image", 0, 0, {}]]]}
        inner["config"] = {"layers": [], "output_layers": []}
        after = {"class_name": "Dense", "name": "d", "config": {}, "inbound_nodes": [[["base", call, 0, {}]]]}
        return {"config": {"layers": [inner, after], "output_layers": [["d", 0, 0]]}}

    fine, shifted = describe(0), describe(1)
    assert not renumber_nested_calls(fine)
    assert renumber_nested_calls(shifted)
    assert shifted == fine == describe(0)
    assert not renumber_nested_calls({"config": {"layers": None}})
