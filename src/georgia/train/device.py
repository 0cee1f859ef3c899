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
            hint="Use --device cpu, or install 'georgia[gpu]' and the driver, and set KERAS_BACKEND=jax.",
        )
    device = gpus[0] if gpus else "cpu:0"
    if gpus:
        set_full_float32()
    with keras.device(device):
        yield f"{device} ({keras.backend.backend()} {backend_version()})"


def set_full_float32() -> None:
    """Let float32 be float32 on a GPU, in this process from now on, whatever the Keras backend does.

    On NVIDIA GPUs backends round what convolutions and products multiply to 10 bits (TF32) unless told
    otherwise. The net would then differ from its exported file by more than ``FLOAT32_TOLERANCE``, and its
    features from those of a processor. bfloat16, which is requested by name, stays as it is.
    """
    import keras

    name = keras.backend.backend()
    if name == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    elif name == "tensorflow":
        from tensorflow.config import experimental

        experimental.enable_tensor_float_32_execution(False)


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

    GEORGIA_PRECISION asks for predictions in bfloat16, which a model has to be shown fit for; it does not
    change what a model learns.

    Raises:
        InputError: bfloat16 is asked for by name on a processor without it, or no such precision.
    """
    check_precision_name(asked)
    if asked != "bfloat16":
        return "float32"
    return choose_precision(asked, ("BF16",)) if on_gpu else choose_precision(asked)


def find_precision(asked: str, device: str) -> tuple[str, bool]:
    """Return the precision of a run's features and whether a GPU computes them, from its two settings.

    Raises:
        InputError: as ``choose_train_precision``.
    """
    on_gpu = device != "cpu" and bool(list_gpus())
    return choose_train_precision(asked, on_gpu), on_gpu


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
