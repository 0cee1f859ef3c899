"""Device and arithmetic: what is asked for is what is used, or one line says why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from georgia.errors import InputError
from georgia.model.engines import check_precision_name, choose_precision


def list_gpus() -> list[str]:
    """Return the GPUs that the Keras backend can use, such as ``["gpu:0"]``."""
    import keras

    return [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]


@contextmanager
def use_device(choice: str) -> Iterator[str]:
    """Run a block on "cpu", "gpu", or "auto" (a GPU where there is one); yield what is used.

    Raises:
        InputError: "gpu" is asked for and the backend has none.
    """
    import keras

    gpus = list_gpus() if choice in ("auto", "gpu") else []
    if choice == "gpu" and not gpus:
        raise InputError(
            "Cannot use --device gpu",
            needs=f"the {keras.backend.backend()} backend must see a GPU",
            got="none",
            hint="Use --device cpu, or install a GPU build of the Keras backend and its driver.",
        )
    device = gpus[0] if gpus else "cpu:0"
    with keras.device(device):
        yield f"{device} ({keras.backend.backend()} {backend_version()})"


def backend_version() -> str:
    """Return the version of the package behind Keras."""
    import importlib.metadata

    import keras

    name = keras.backend.backend()
    for package in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def choose_train_precision(asked: str, on_gpu: bool) -> str:
    """Return "float32" or "bfloat16"; "auto" is float32. A GPU has bfloat16, a processor may.

    Raises:
        InputError: bfloat16 is asked for by name on a processor without it, or no such precision.
    """
    check_precision_name(asked)
    return choose_precision(asked, ("BF16",)) if on_gpu else choose_precision(asked)


@contextmanager
def use_precision(model: Any, precision: str) -> Iterator[None]:
    """Compute a net's layers in ``precision`` inside the block; weights stay float32.

    The last layer, whose outputs are the predictions, always computes in float32. Afterwards every layer is
    as before, so that what is exported and saved is a float32 net.
    """
    import keras

    if precision == "float32":
        yield
        return
    inner = [layer for layer in model.layers if layer is not model.layers[-1]]
    before = [layer.dtype_policy for layer in inner]
    mixed = keras.dtype_policies.get("mixed_bfloat16")
    try:
        for layer in inner:
            layer.dtype_policy = mixed
        yield
    finally:
        for layer, policy in zip(inner, before, strict=True):
            layer.dtype_policy = policy
