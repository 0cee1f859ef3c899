"""Mutated model files are read or rejected in one line, in bounded memory, without a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tests.helpers.fuzz_readers import READERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc"),
]
# More by hand: python -m tests.helpers.fuzz_readers READER COUNT SEED FOLDER.
N_FILES = 1500


@pytest.fixture
def samples(torch_writer: Any, tmp_path: Path) -> Path:
    """One small sound file for each reader."""
    write_samples(torch_writer, tmp_path)
    return tmp_path


def write_samples(torch_writer: Any, folder: Path) -> None:
    import keras

    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (4, 3, 3, 3), "bn1.running_var": (4,), "n": ()}
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    torch_writer.write_zip(folder / "net.pth", state, "state_dict")
    torch_writer.write_legacy(folder / "legacy.pth", state, "model")
    safetensors.numpy.save_file(state, folder / "net.safetensors")
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("net.h5", "net.keras"):
            model.save(folder / name)
        model.save_weights(folder / "net.weights.h5")
    (kept,) = (Path(__file__).parents[2] / "kept" / "v0.1" / "run").glob("*.onnx")
    shutil.copy(kept, folder / "net.onnx")


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_are_read_or_rejected(reader: str, samples: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.fuzz_readers", reader, str(N_FILES), "7", str(samples)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=root, timeout=280
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    assert "rejected" in done.stdout
