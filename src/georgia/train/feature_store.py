"""Features of images that do not change, kept on disk for the next run on the same images.

An entry is found by the pixels that go into the frozen net and by that net (weights, preprocessing,
precision, engine version). Entries lie in packs: files that appear whole and are never changed,
so several processes may read and write at once. Each entry has a checksum; one that is damaged is as
good as absent. Where all packs together exceed the limit, those not used for longest are deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.files import atomic_path

Features = list[npt.NDArray[Any]]
SUFFIX = ".features"
_MAGIC = b"georgia-features-1\n"
# Entries are collected up to this size before they are written.
PACK_BYTES = 64 * 2**20
# A file that a killed process left unfinished is deleted after this time.
STALE_S = 24 * 3600.0


def digest_images(images: npt.NDArray[np.uint8]) -> list[str]:
    """Return a digest (hex) of each image's pixels (N, …)."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest() for image in images]


@dataclass(frozen=True)
class _Place:
    """Where an entry lies: file, first byte, checksum of its bytes, shape and dtype of its arrays."""

    file: Path
    offset: int
    checksum: int
    arrays: tuple[tuple[tuple[int, ...], str], ...]

    def read(self) -> Features | None:
        sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in self.arrays]
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(sum(sizes))
        except OSError:
            return None
        if len(data) != sum(sizes) or zlib.crc32(data) != self.checksum:
            return None
        ends = np.cumsum([0, *sizes])
        return [
            np.frombuffer(data[start:end], dtype).reshape(shape)
            for (shape, dtype), start, end in zip(self.arrays, ends[:-1], ends[1:], strict=True)
        ]


class FeatureStore:
    """Entries of one frozen net; ``key`` is the net's, ``limit_bytes`` holds for all nets together."""

    def __init__(self, folder: Path, key: str, limit_bytes: int) -> None:
        self._root = folder / "features"
        self._folder = self._root / key
        self._limit = limit_bytes
        self._waiting: list[tuple[str, Features]] = []
        self._waiting_bytes = 0
        # All places of an entry: one that was damaged and written again stands in two packs.
        self._places: dict[str, list[_Place]] = {}
        for file in sorted(self._folder.glob(f"*{SUFFIX}")):
            self._take_index(file)

    def read(self, digest: str) -> Features | None:
        """Return an entry's arrays, or None where it is absent or damaged."""
        places = self._places.get(digest, [])
        while places:
            entry = places[-1].read()
            if entry is not None:
                return entry
            places.pop()
        return None

    def add(self, digest: str, features: Features) -> None:
        """Take an entry, of the shapes and dtypes of all others; it is on disk after the next ``flush``."""
        self._waiting.append((digest, [np.array(array, order="C") for array in features]))
        self._waiting_bytes += sum(array.nbytes for array in features)
        if self._waiting_bytes >= PACK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one pack, mark the packs in use, and delete the oldest above the limit.

        A disk that is full or may not be written costs the entries, not the run.
        """
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        with contextlib.suppress(OSError):
            if waiting:
                self._write(waiting)
            for file in {place.file for places in self._places.values() for place in places}:
                os.utime(file)
        evict(self._root, self._limit)

    def _write(self, entries: Sequence[tuple[str, Features]]) -> None:
        blocks = [b"".join(array.tobytes() for array in arrays) for _, arrays in entries]
        about = {
            "digests": [digest for digest, _ in entries],
            "checksums": [zlib.crc32(block) for block in blocks],
            "arrays": [[list(array.shape), array.dtype.str] for array in entries[0][1]],
        }
        header = json.dumps(about).encode() + b"\n"
        file = self._folder / f"{uuid.uuid4().hex}{SUFFIX}"
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            stream.writelines([_MAGIC, header, *blocks])
        self._take_index(file)

    def _take_index(self, file: Path) -> None:
        for digest, place in _read_index(file).items():
            self._places.setdefault(digest, []).append(place)


def _read_index(file: Path) -> dict[str, _Place]:
    """Return where a pack's entries lie; nothing for a file that is none."""
    try:
        with file.open("rb") as stream:
            if stream.readline() != _MAGIC:
                return {}
            about = json.loads(stream.readline())
            start = stream.tell()
        arrays = tuple((tuple(shape), str(dtype)) for shape, dtype in about["arrays"])
        size = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in arrays)
        rows = zip(about["digests"], about["checksums"], strict=True)
        return {
            str(digest): _Place(file, start + number * size, int(checksum), arrays)
            for number, (digest, checksum) in enumerate(rows)
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def evict(root: Path, limit_bytes: int) -> None:
    """Delete packs, the longest unused first, until the rest is within the limit; and stale leftovers."""
    found = []
    for file in _iter_files(root):
        with contextlib.suppress(OSError):
            status = file.stat()
            if file.suffix == SUFFIX and not file.name.startswith("."):
                found.append((status.st_mtime, status.st_size, file))
            elif time.time() - status.st_mtime > STALE_S:
                file.unlink()
    total = sum(size for _, size, _ in found)
    for _, size, file in sorted(found):
        if total <= limit_bytes:
            return
        # Another process may have been quicker; a system that keeps open files keeps this one.
        with contextlib.suppress(OSError):
            file.unlink()
        total -= size


def _iter_files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield Path(folder, name)
