"""The device switch: it really switches, and says what is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from georgia.errors import InputError


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
