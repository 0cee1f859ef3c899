"""Tensors out of Keras files, by layer name, without rebuilding the model that is described in them.

Only the numbers are read: the model's own description (which may hold code) is never looked at.
Links out of the file are not followed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from georgia.backbones.checkpoints import FloatArray, Tensor, unreadable

if TYPE_CHECKING:
    import h5py

# Place of each weight among its layer's, by the name that Keras 2 and 3 give it.
POSITIONS = {
    "kernel": 0,
    "depthwise_kernel": 0,
    "gamma": 0,
    "bias": 1,
    "beta": 1,
    "moving_mean": 2,
    "moving_variance": 3,
}
# Weights hardly compress: an archive that unpacks to more than this many times its size is a trap.
MAX_UNPACKED_RATIO = 4
_READING_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
)


def list_hdf5_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.h5`` (Keras 2 or 3, whole model or weights) or ``.weights.h5`` file.

    Raises:
        InputError: the file is damaged, holds no Keras weights, or one layer name stands twice.
    """
    return _list_tensors(path, lambda: path)


def list_keras_archive_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.keras`` file.

    Raises:
        InputError: the archive is damaged or would unpack to far more than its size.
    """
    with _one_line_errors(path), zipfile.ZipFile(path) as archive:
        n_bytes = archive.getinfo("model.weights.h5").file_size
        if n_bytes > MAX_UNPACKED_RATIO * path.stat().st_size:
            raise ValueError(f"model.weights.h5 would unpack to {n_bytes} bytes")
        data = archive.read("model.weights.h5")
    return _list_tensors(path, lambda: io.BytesIO(data))


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except _READING_FAULTS as error:
        rule = "a whole Keras file with named layers is needed"
        raise unreadable(path, rule, f"{type(error).__name__}: {error}", "Copy or save it again.") from error


def _list_tensors(path: Path, opening: Callable[[], Path | BinaryIO]) -> dict[str, Tensor]:
    import h5py

    found: dict[str, h5py.Dataset] = {}
    tensors: dict[str, Tensor] = {}
    with _one_line_errors(path), h5py.File(opening(), "r") as file:
        file.visititems(lambda place, item: _collect(found, place, item))
        for key, dataset in found.items():
            if dataset.external or dataset.is_virtual or dataset.dtype.kind not in "fiu":
                raise ValueError(f"{dataset.name} does not hold its own numbers")
            tensors[key] = Tensor(tuple(dataset.shape), _make_reader(path, opening, dataset.name))
        if not tensors:
            raise ValueError("no weights of any layer")
    return tensors


def _collect(found: dict[str, h5py.Dataset], place: str, item: Any) -> None:
    import h5py

    parts = place.split("/")
    if not isinstance(item, h5py.Dataset) or len(parts) < 2 or parts[0].startswith("optimizer"):
        return
    layer, position = parts[-2], POSITIONS.get(parts[-1].partition(":")[0])
    if layer == "vars" and parts[-1].isdecimal():
        if "name" not in item.parent.attrs:
            raise ValueError("layers without names, as early Keras 3 saved them; save the model as .h5")
        layer, position = str(item.parent.attrs["name"]), int(parts[-1])
    if position is None:
        return
    key = f"{layer}/{position}"
    if key in found:
        raise ValueError(f"two layers named {layer}")
    found[key] = item


def _make_reader(path: Path, opening: Callable[[], Path | BinaryIO], place: str) -> Callable[[], FloatArray]:
    def read() -> FloatArray:
        import h5py

        with _one_line_errors(path), h5py.File(opening(), "r") as file:
            return np.asarray(file[place][()], dtype=np.float32)

    return read
