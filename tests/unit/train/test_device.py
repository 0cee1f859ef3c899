"""On a GPU, float32 is float32: no backend rounds it by itself."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from georgia.train import device

keras = pytest.importorskip("keras")


class JaxSettings:
    """Stands for ``jax.config`` on machines without JAX."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def update(self, name: str, value: str) -> None:
        self.values[name] = value


def test_gpu_computes_full_float32_in_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = JaxSettings()
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=settings))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(device, "list_gpus", lambda: ["cpu:0"])  # a device of this machine in the GPU's place
    with device.use_device("gpu") as used:
        assert "jax" in used
    assert settings.values == {"jax_default_matmul_precision": "highest"}


def test_gpu_computes_full_float32_in_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorflow.config import experimental

    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    experimental.enable_tensor_float_32_execution(True)
    with device.use_device("cpu"):
        assert experimental.tensor_float_32_execution_enabled()  # no matter to a processor
    monkeypatch.setattr(device, "list_gpus", lambda: ["cpu:0"])
    with device.use_device("auto"):
        assert not experimental.tensor_float_32_execution_enabled()
