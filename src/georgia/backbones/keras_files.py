"""Tensors out of Keras files, by layer name, without rebuilding the model that is described in them.

Only the numbers are read: the model's own description, which may hold code, is ignored.
Links out of the file are not followed.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
# Signature, version, 3 reserved bytes and size of a collection of texts.
_HEAP = re.compile(rb"GCOL\x01\x00\x00\x00(.{8})", re.DOTALL)
_HEAP_OBJECT_BYTES = 16
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


def _list_tensors(path: Path, opening: Callable[[], Path | io.BytesIO]) -> dict[str, Tensor]:
    with reading_weights(path, RULE, HINT), open_hdf5(opening()) as file:
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


@contextmanager
def open_hdf5(source: Path | io.BytesIO) -> Iterator[h5py.File]:
    """Open an HDF5 file to read it, once its heaps are known to have an end.

    Raises:
        ValueError: the list of texts in one of them runs in a circle, which HDF5 would follow for ever.
        OSError: it is no HDF5 file.
    """
    import h5py

    if isinstance(source, io.BytesIO):
        _check_heaps(source.getbuffer())
    else:
        with source.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_heaps(data)
    with h5py.File(source, "r") as file:
        yield file


def _check_heaps(data: mmap.mmap | memoryview) -> None:
    """Walk the objects of each global heap as HDF5 does, in 64 bits, up to the size that the heap states.

    The free room is object 0, and its size its step. Where a heap claims to be longer, it goes on.

    Source: HDF5 File Format Specification, version 3.0, III.E: Disk Format: Level 1E - Global Heap.
    """
    for found in _HEAP.finditer(data):
        position = found.end()
        end = found.start() + int.from_bytes(found[1], "little")
        while position + _HEAP_OBJECT_BYTES <= min(end, len(data)):
            index, _, size = struct.unpack_from("<HH4xQ", data, position)
            step = (_HEAP_OBJECT_BYTES + (size + 7) // 8 * 8) % 2**64 if index else size
            if step < _HEAP_OBJECT_BYTES:
                raise ValueError("a heap whose list has no end")
            position += step


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


def read_text(item: h5py.HLObject, name: str) -> str:
    """Return an attribute that is one text; HDF5 may crash over a damaged list of something else.

    Raises:
        KeyError: there is none of that name.
        ValueError: it is no text.
    """
    import h5py

    attribute = item.attrs.get_id(name)
    if attribute.get_type().get_class() != h5py.h5t.STRING or attribute.shape != ():
        raise ValueError(f"its attribute {name} is no text")
    text = item.attrs[name]
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)


def _name_checkpointed(datasets: Sequence[tuple[str, h5py.Dataset]]) -> list[tuple[str, h5py.Dataset]]:
    """Name the tensors of a ``.weights.h5``: ``…/vars/<position>``, the layer's name beside them."""
    named = []
    for place, dataset in datasets:
        parts = place.split("/")
        if len(parts) < 2 or parts[-2] != "vars" or not parts[-1].isdecimal() or parts[0] == "optimizer":
            continue
        if "name" not in dataset.parent.attrs:
            raise ValueError("layers without names, as early Keras 3 saved them; save the model as .h5")
        named.append((f"{read_text(dataset.parent, 'name')}/{int(parts[-1])}", dataset))
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


def _make_reader(
    path: Path, opening: Callable[[], Path | io.BytesIO], place: str
) -> Callable[[], FloatArray]:
    import h5py

    def read() -> FloatArray:
        # Its heaps were examined when its tensors were listed: once, and not for each of 600.
        with reading_weights(path, RULE, HINT), h5py.File(opening(), "r") as file:
            return np.asarray(file[place][()], dtype=np.float32)

    return read
