"""Tensors out of Keras files, by layer name, without rebuilding the model that is described in them.

Only the numbers are read: the model's own description, which may hold code, is ignored.
Links out of the file are not followed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from georgia.backbones.tensors import FloatArray, Tensor, reading_weights

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
# Weights hardly compress: an archive that unpacks to more than this many times its size is an attack.
MAX_UNPACKED_RATIO = 4
RULE, HINT = "a whole Keras file with named layers is needed", "Copy or save it again."


def list_hdf5_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.h5`` (Keras 2 or 3, whole model or weights) or ``.weights.h5`` file.

    Raises:
        InputError: the file is damaged, holds no Keras weights, or two layers have one name.
    """
    return _list_tensors(path, lambda: path)


def list_keras_archive_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.keras`` file.

    Raises:
        InputError: the archive is damaged or would unpack to far more than its size.
    """
    with reading_weights(path, RULE, HINT), zipfile.ZipFile(path) as archive:
        n_bytes = archive.getinfo("model.weights.h5").file_size
        if n_bytes > MAX_UNPACKED_RATIO * path.stat().st_size:
            raise ValueError(f"model.weights.h5 would unpack to {n_bytes} bytes")
        data = archive.read("model.weights.h5")
    return _list_tensors(path, lambda: io.BytesIO(data))


def _list_tensors(path: Path, opening: Callable[[], Path | BinaryIO]) -> dict[str, Tensor]:
    import h5py

    with reading_weights(path, RULE, HINT), h5py.File(opening(), "r") as file:
        datasets = check_plain_datasets(file)
        named = _name_checkpointed(datasets) or _name_legacy(datasets)
        tensors: dict[str, Tensor] = {}
        for key, dataset in named:
            if key in tensors:
                raise ValueError(f"two layers named {key.rpartition('/')[0]}")
            tensors[key] = Tensor(tuple(dataset.shape), _make_reader(path, opening, dataset.name))
        if not tensors:
            raise ValueError("no weights of any layer")
    return tensors


def check_plain_datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """Return all datasets of an open HDF5 file, which must keep its numbers in itself.

    Raises:
        ValueError: it has links, data kept in other files, or data that claim to be larger than it.
    """
    import h5py

    found: list[tuple[str, h5py.Dataset]] = []
    n_bytes = 0
    for place, item in _walk(file):
        if not isinstance(item, h5py.Dataset):
            continue
        n_bytes += item.nbytes
        if item.external or item.is_virtual:
            raise ValueError(f"{place} is kept in another file")
        if n_bytes > MAX_UNPACKED_RATIO * file.id.get_filesize():
            raise ValueError(f"{place} would unpack to {item.nbytes} bytes")
        found.append((place, item))
    return found


def _walk(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yield all objects with their places, groups that contain themselves once.

    h5py's own ``visititems`` breaks its lock where a damaged file stops it.
    """
    import h5py

    waiting, visited = [("", file)], set()
    while waiting:
        above, group = waiting.pop()
        for name in group:
            place = f"{above}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{place} is a link to elsewhere")
            item = group[name]
            yield place, item
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group) and address not in visited:
                visited.add(address)
                waiting.append((f"{place}/", item))


def _name_checkpointed(datasets: Sequence[tuple[str, h5py.Dataset]]) -> list[tuple[str, h5py.Dataset]]:
    """Name the tensors of a ``.weights.h5``: ``…/vars/<position>``, the layer's name beside them."""
    named = []
    for place, dataset in datasets:
        parts = place.split("/")
        if len(parts) < 2 or parts[-2] != "vars" or not parts[-1].isdecimal() or parts[0] == "optimizer":
            continue
        if "name" not in dataset.parent.attrs:
            raise ValueError("layers without names, as early Keras 3 saved them; save the model as .h5")
        named.append((f"{dataset.parent.attrs['name']}/{int(parts[-1])}", dataset))
    return named


def _name_legacy(datasets: Sequence[tuple[str, h5py.Dataset]]) -> list[tuple[str, h5py.Dataset]]:
    """Name the tensors of an older ``.h5``: ``[model_weights/]<group>/…/<scope>/<kind of weight>``.

    A group is a layer, or a model in the model, whose scopes are then the layers.
    """
    by_group: dict[str, list[tuple[str, int, h5py.Dataset]]] = {}
    for place, dataset in datasets:
        parts = place.removeprefix("model_weights/").split("/")
        position = POSITIONS.get(parts[-1].partition(":")[0])
        if len(parts) > 1 and position is not None and parts[0] != "optimizer_weights":
            by_group.setdefault(parts[0], []).append((parts[-2], position, dataset))
    named = []
    for group, members in by_group.items():
        is_layer = len({scope for scope, _, _ in members}) == 1
        named += [(f"{group if is_layer else scope}/{position}", item) for scope, position, item in members]
    return named


def _make_reader(path: Path, opening: Callable[[], Path | BinaryIO], place: str) -> Callable[[], FloatArray]:
    def read() -> FloatArray:
        import h5py

        with reading_weights(path, RULE, HINT), h5py.File(opening(), "r") as file:
            return np.asarray(file[place][()], dtype=np.float32)

    return read
