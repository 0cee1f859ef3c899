"""A model with known predictions, and the command line as one call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def georgia(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``georgia ARGS --json``; return the exit code, the JSON (None: stdout is empty) and stderr."""
    from georgia.cli import main

    def call(*args: str | Path) -> tuple[int, Any, str]:
        code = main([*map(str, args), "--json"])
        out, err = capsys.readouterr()
        request.node.add_report_section("call", "stderr of the command", err)
        assert code != 1, err
        return code, json.loads(out) if out else None, err

    return call


@pytest.fixture(scope="session")
def brightness_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose net says PG where the image is bright, and CEX where it is dark.

    ``foreign.h5`` beside it is the same net as a Keras file from elsewhere: it scales pixels itself.
    """
    keras = pytest.importorskip("keras")
    from georgia.export.hdf5 import save_hdf5
    from georgia.export.onnx_file import export_onnx
    from georgia.images.preprocess import PreprocessSpec
    from georgia.labels import Labels
    from georgia.model.bundle import save_bundle

    folder = tmp_path_factory.mktemp("model")
    labels, spec = Labels(("CEX", "PG")), PreprocessSpec(32)
    image = keras.Input((32, 32, 3))
    output = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(image, output(keras.layers.GlobalAveragePooling2D()(image)))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    foreign = keras.Model(image, output(keras.layers.GlobalAveragePooling2D()(scaled)))
    output.set_weights([np.array([[-1, 1]] * 3, np.float32), np.zeros(2, np.float32)])
    metadata = {"name": "brightness"}
    export_onnx(model, spec, labels, folder / "model.onnx", metadata)
    save_hdf5(foreign, folder / "foreign.h5")
    save_bundle(folder, "model.onnx", labels, spec, metadata)
    return folder


@pytest.fixture
def grey_images(tmp_path: Path) -> Path:
    """Folder per class: dark images are CEX, bright ones PG; one bright image lies among the CEX."""
    folder = tmp_path / "grey images"
    for name, levels in {"CEX": [0, 10, 20, 250], "PG": [200, 220, 240, 255]}.items():
        (folder / name).mkdir(parents=True)
        for number, level in enumerate(levels):
            pixels = np.full((24, 30, 3), level, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name} ({number}).png")
    return folder
