"""Features of images that are needed again: in memory within a process, on disk for later runs.

An entry is found by a key (the frozen backbone's, which covers weights, preprocessing, precision and engine
version) and a digest of the pixels. On disk, entries lie in packs: npz files that appear whole and are never
changed, so several processes may read and write at once. The checksum that a zip file keeps of each member
finds damage; a damaged entry is as good as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.files import DAMAGE, atomic_path

# What a network takes or gives, images first: arrays (N, …), channels last.
Features = list[npt.NDArray[Any]]
T = TypeVar("T")
UInt8Images = npt.NDArray[np.uint8]
# Gives the features of batch after batch of images, a token beside each; no images have no features.
Run = Callable[[Iterable[tuple[Any, UInt8Images]]], Iterator[tuple[Any, Features]]]
SUFFIX = ".npz"
# New entries are collected up to this size before they are written.
PACK_BYTES = 64 * 2**20
# A file that a killed process left unfinished is deleted after this time.
STALE_S = 24 * 3600.0


def digest_images(images: npt.NDArray[np.uint8]) -> list[str]:
    """Return a digest (hex) of each image's pixels (N, …)."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest() for image in images]


class FeatureCache:
    """Features by key and digest, the longest unused deleted above ``limit_bytes``.

    With a ``folder`` they go to disk, and the limit holds for all files there; without one they stay in
    memory.
    """

    def __init__(self, folder: Path | None, limit_bytes: int) -> None:
        self._root = folder / "features" if folder else None
        self._limit = limit_bytes
        # In memory: all entries, or those that are not on disk yet.
        self._recent: OrderedDict[tuple[str, str], Features] = OrderedDict()
        self._recent_bytes = 0
        # On disk, by key: each pack with its file.
        self._packs: dict[str, dict[Path, _Pack]] = {}

    def get_or_compute(
        self, key: str, images: UInt8Images, compute: Callable[[UInt8Images], Features]
    ) -> Features:
        """Return the features of images (N, …); ``compute`` is asked for those that are not here."""

        def run(batches: Iterable[tuple[Any, UInt8Images]]) -> Iterator[tuple[Any, Features]]:
            for token, missing in batches:
                yield token, compute(missing) if len(missing) else []

        [(_, features)] = self.stream(key, [(None, images)], run)
        return features

    def stream(
        self, key: str, batches: Iterable[tuple[T, UInt8Images]], run: Run
    ) -> Iterator[tuple[T, Features]]:
        """Yield each batch's token and the features of its images (N, …), in order.

        ``run`` streams the images that are not here, as ``FrozenBackbone.stream`` does, and they are kept.
        """

        def ask() -> Iterator[tuple[tuple[T, list[str], list[Features | None]], UInt8Images]]:
            for token, images in batches:
                digests = digest_images(images)
                rows = [self.read(key, digest) for digest in digests]
                yield (token, digests, rows), images[[row is None for row in rows]]

        for (token, digests, rows), computed in run(ask()):
            missing = [number for number, row in enumerate(rows) if row is None]
            for position, number in enumerate(missing):
                rows[number] = [tensor[position] for tensor in computed]
                self.add(key, digests[number], [tensor[position] for tensor in computed])
            found = [row for row in rows if row is not None]
            yield token, [np.stack(tensors) for tensors in zip(*found, strict=True)]

    def read(self, key: str, digest: str) -> Features | None:
        """Return an entry's arrays, or None where it is absent or damaged."""
        recent = self._recent.get((key, digest))
        if recent is not None:
            self._recent.move_to_end((key, digest))
            return recent
        for pack in self._open_packs(key).values():
            entry = pack.read(digest)
            if entry is not None:
                return entry
        return None

    def add(self, key: str, digest: str, features: Features) -> None:
        """Take an entry; on disk it is after the next ``flush``."""
        if (key, digest) in self._recent:
            return
        self._recent[key, digest] = [np.array(array, order="C") for array in features]
        self._recent_bytes += _count_bytes(features)
        if self._root is not None:
            if self._recent_bytes >= PACK_BYTES:
                self.flush()
            return
        while self._recent_bytes > self._limit:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= _count_bytes(oldest)

    def flush(self) -> None:
        """Write new entries as packs, mark the packs in use, and delete the oldest above the limit.

        A disk that is full or may not be written costs the entries, not the run.
        """
        if self._root is None:
            return
        entries, self._recent, self._recent_bytes = self._recent, OrderedDict(), 0
        with contextlib.suppress(OSError):
            for key in dict.fromkeys(key for key, _ in entries):
                own = {digest: entry for (net, digest), entry in entries.items() if net == key}
                self._write(self._root / key / f"{uuid.uuid4().hex}{SUFFIX}", key, own)
            for file in [file for packs in self._packs.values() for file in packs]:
                os.utime(file)
        evict(self._root, self._limit)
        for packs in self._packs.values():
            for file in [file for file in packs if not file.exists()]:
                packs.pop(file)

    def _open_packs(self, key: str) -> dict[Path, _Pack]:
        if self._root is None:
            return {}
        if key not in self._packs:
            files = sorted((self._root / key).glob(f"*{SUFFIX}"))
            self._packs[key] = {file: pack for file in files if (pack := _open_pack(file)) is not None}
        return self._packs[key]

    def _write(self, file: Path, key: str, entries: dict[str, Features]) -> None:
        packs = self._open_packs(key)
        members: dict[str, Any] = {
            f"{digest}.{number}": array
            for digest, entry in entries.items()
            for number, array in enumerate(entry)
        }
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **members)
        if (pack := _open_pack(file)) is not None:
            packs[file] = pack


class _Pack:
    """An open npz file: ``<digest>.0``, ``<digest>.1`` … are the arrays of one entry."""

    def __init__(self, file: Path) -> None:
        self._members = np.load(file, allow_pickle=False)
        self._names: dict[str, list[str]] = {}
        for name in self._members.files:
            self._names.setdefault(name.rpartition(".")[0], []).append(name)

    def read(self, digest: str) -> Features | None:
        if digest not in self._names:
            return None
        try:
            return [self._members[name] for name in self._names[digest]]
        except DAMAGE:
            self._names.pop(digest)
            return None


def _open_pack(file: Path) -> _Pack | None:
    """Open a pack, None for a file that is none."""
    try:
        # NumPy leaves a file open that turns out to be no zip file.
        return _Pack(file) if zipfile.is_zipfile(file) else None
    except DAMAGE:
        return None


def _count_bytes(features: Features) -> int:
    return sum(array.nbytes for array in features)


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
