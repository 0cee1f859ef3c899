"""Work that runs on the same images do once: images decoded into a file, features in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.files import DAMAGE, atomic_path, read_json, write_json
from georgia.images.depth import find_stated_bits
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record, split_window
from georgia.train.decoded import ImageSet, load_images
from georgia.train.feature_cache import FeatureCache

# Features of the runs before are kept up to this size, the longest unused are deleted first.
FEATURE_LIMIT_BYTES = 2 * 2**30


class SharedWork:
    """What the runs of one study have in common; ``folder`` lies where all of them can read it.

    Decoded images are kept in a file for each input size, so that other processes and later starts
    take them from there. ``cache`` keeps features in this process: the same pixels through the same frozen
    backbone give the very same numbers.
    """

    def __init__(self, folder: Path, limit_bytes: int = FEATURE_LIMIT_BYTES) -> None:
        self._folder = folder
        self._images: dict[Path, _Decoded] = {}
        self.cache = FeatureCache(None, limit_bytes)

    def load_images(
        self, records: Sequence[Record], labels: Labels, spec: PreprocessSpec, progress: Progress = QUIET
    ) -> tuple[ImageSet, tuple[Failure, ...]]:
        """Return what ``georgia.train.decoded.load_images`` does, decoded once for all runs."""
        window = f"-of-{spec.window_px:g}" if spec.window_px else "-fit" if spec.keeps_aspect else ""
        # Only for windows larger than an image does the symmetry change what is decoded.
        window += "-mirrored" if spec.window_px and spec.repeats_mirror else ""
        bits = find_stated_bits()
        depth = f"-of-{bits}-bits" if bits else ""
        file = self._folder / f"pictures-{spec.size_px}{window}{depth}.npy"
        decoded = self._images.get(file) or _open_decoded(file)
        if decoded is None or not decoded.covers(records):
            decoded = _decode(file, records, labels, spec, progress)
        self._images[file] = decoded
        return decoded.choose(records, labels)

    @property
    def audit_folder(self) -> Path:
        """Where the audit of all runs' images lies, if one was made."""
        return self._folder / "audit"


_FileKey = tuple[str, int, int]


@dataclass(frozen=True)
class _Decoded:
    """Images of one size: the ``position`` in ``store`` of each file, by its path and its state on disk."""

    store: npt.NDArray[np.uint8]
    position: dict[_FileKey, int]
    failures: dict[_FileKey, str]

    def covers(self, records: Sequence[Record]) -> bool:
        return all(key in self.position or key in self.failures for key in map(_key, records))

    def choose(self, records: Sequence[Record], labels: Labels) -> tuple[ImageSet, tuple[Failure, ...]]:
        kept: list[Record] = []
        positions: list[int] = []
        failed: list[Failure] = []
        for record in records:
            key = _key(record)
            if key in self.position:
                kept.append(record)
                positions.append(self.position[key])
            elif key in self.failures:
                failed.append(Failure(record.path, self.failures[key]))
        targets = labels.indices([record.class_name for record in kept])
        images = ImageSet(self.store, np.array(positions, dtype=np.int64), targets, tuple(kept))
        return images, tuple(failed)


def _decode(
    file: Path, records: Sequence[Record], labels: Labels, spec: PreprocessSpec, progress: Progress
) -> _Decoded:
    with atomic_path(file) as temporary:
        images, failures = load_images(records, labels, spec, temporary, progress, memory_limit_bytes=0)
    position = {_key(record): index for index, record in enumerate(images.records)}
    reasons = {failure.path: failure.error for failure in failures}
    failed = {_key(record): reasons[record.path] for record in records if record.path in reasons}
    document = {
        "place": [[*key, index] for key, index in position.items()],
        "failed": [[*key, reason] for key, reason in failed.items()],
    }
    write_json(file.with_suffix(".json"), document, indent=None)
    return _Decoded(np.load(file, mmap_mode="r"), position, failed)


def _open_decoded(file: Path) -> _Decoded | None:
    """Return what an earlier start decoded, or None if that is not whole."""
    try:
        document = read_json(file.with_suffix(".json"))
        position = {_read_key(entry): int(entry[3]) for entry in document["place"]}
        failed = {_read_key(entry): str(entry[3]) for entry in document["failed"]}
        store = np.load(file, mmap_mode="r", allow_pickle=False)
    except DAMAGE:
        return None
    is_store = isinstance(store, np.ndarray) and store.dtype == np.uint8 and store.ndim == 4
    is_whole = is_store and all(0 <= index < len(store) for index in position.values())
    return _Decoded(store, position, failed) if is_whole else None


def _read_key(entry: Sequence[Any]) -> _FileKey:
    name, size, time, _ = entry
    return str(name), int(size), int(time)


def _key(record: Record) -> _FileKey:
    """Return a file's path, size in bytes and time of change: another of them, and it is decoded anew."""
    path = str(record.path.absolute())
    try:
        status = split_window(record.path)[0].stat()
    except OSError:
        return path, -1, -1
    return path, status.st_size, status.st_mtime_ns
