"""The HDF5 file opens with Keras 2 and Keras 3, with the same predictions."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from georgia.export.hdf5 import save_hdf5

keras = pytest.importorskip("keras")
layers = keras.layers
SIZE_PX = 33
BATCH = np.random.default_rng(0).normal(size=(3, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
OPEN_WITH_KERAS_2 = """
import sys, numpy as np, tf_keras
batch = np.load(sys.argv[1])
for file in sys.argv[2:]:
    model = tf_keras.models.load_model(file, compile=False)
    np.save(file + ".npy", model.predict(batch, verbose=0))
"""
needs_keras_2 = pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="needs tf_keras")


def build_all_kinds(output: str = "softmax") -> Any:
    """Return a small net with every kind of layer that an exported net may have."""
    image = keras.Input((SIZE_PX, SIZE_PX, 3), name="image")
    x = layers.ZeroPadding2D(((1, 2), (0, 1)))(layers.Rescaling(0.5, 0.1)(image))
    x = layers.Conv2D(6, 3, 2, padding="same", groups=1, use_bias=False, activation="relu")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3, momentum=0.9)(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.SpatialDropout2D(0.1)(layers.MaxPooling2D(2)(x))
    y = layers.Activation("silu")(layers.AveragePooling2D(2, 1, padding="same")(x))
    x = layers.Multiply()([layers.Add()([x, y]), y])
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(y), layers.Flatten()(x)]
    z = layers.Dropout(0.4, seed=3)(layers.BatchNormalization(scale=False)(layers.Concatenate()(pooled)))
    z = layers.Dense(5, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(z)
    return _fill(keras.Model(image, layers.Dense(1 if output == "sigmoid" else 2, activation=output)(z)))


def _fill(model: Any) -> Any:
    rng = np.random.default_rng(5)
    for variable in model.variables:
        if "seed" not in variable.path:
            low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.3
            variable.assign(rng.uniform(low, low + 0.6, variable.shape).astype(np.float32))
    return model


def build_study_net() -> Any:
    from georgia.backbones import build_backbone

    base = build_backbone("resnet18", "none", SIZE_PX).model
    x = layers.BatchNormalization()(
        layers.Dense(8, activation="relu")(layers.GlobalAveragePooling2D()(base.output))
    )
    return _fill(keras.Model(base.input, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.4)(x))))


def read_description(file: Path) -> str:
    with h5py.File(file) as opened:
        return json.dumps(json.loads(opened.attrs["model_config"]))


def test_description_names_nothing_of_keras_3(tmp_path: Path) -> None:
    save_hdf5(build_all_kinds(), tmp_path / "net.h5")
    description = read_description(tmp_path / "net.h5")
    for word in ("batch_shape", "DTypePolicy", "module", "registered_name", "__keras_tensor__", "renorm"):
        assert f'"{word}"' not in description
    assert '"batch_input_shape"' in description


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_installed_keras_predicts_the_same(output: str, tmp_path: Path) -> None:
    model = build_all_kinds(output)
    save_hdf5(model, tmp_path / "net.h5")
    again = keras.models.load_model(tmp_path / "net.h5", compile=False)
    np.testing.assert_array_equal(again.predict(BATCH, verbose=0), model.predict(BATCH, verbose=0))
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert [len(layer.weights) for layer in again.layers] == [len(layer.weights) for layer in model.layers]


def test_net_within_a_net_keeps_its_description(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((SIZE_PX, SIZE_PX, 3)), layers.Conv2D(4, 3)])
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(inner(image))))
    save_hdf5(model, tmp_path / "net.h5")
    again = keras.models.load_model(tmp_path / "net.h5", compile=False)
    np.testing.assert_array_equal(again.predict(BATCH, verbose=0), model.predict(BATCH, verbose=0))


@needs_keras_2
@pytest.mark.slow
def test_keras_2_predicts_the_same(tmp_path: Path) -> None:
    models = {"kinds": build_all_kinds(), "sigmoid": build_all_kinds("sigmoid"), "study": build_study_net()}
    files = [tmp_path / f"{name}.h5" for name in models]
    for model, file in zip(models.values(), files, strict=True):
        save_hdf5(model, file)
    np.save(tmp_path / "batch.npy", BATCH)
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", OPEN_WITH_KERAS_2, str(tmp_path / "batch.npy"), *map(str, files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for model, file in zip(models.values(), files, strict=True):
        np.testing.assert_allclose(np.load(f"{file}.npy"), model.predict(BATCH, verbose=0), atol=1e-6)
