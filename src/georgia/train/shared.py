"""Work that runs on the same images do once: decoded images in a file, features in memory."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.files import atomic_path, write_text
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record
from georgia.train.decoded import ImageSet, load_images
from georgia.train.frozen import Features, TrunkMemory

# Features of the runs before are kept up to this size, the oldest leave first.
FEATURE_LIMIT_BYTES = 2 * 2**30


class SharedWork:
    """What the runs of one study have in common; ``folder`` lies where all of them can read it.

    Decoded images are kept in a file for each input size, so that other processes and later starts
    take them from there. Features are kept in this process, batch by batch: a batch of the same
    pixels through the same frozen net is answered from memory, with the very same numbers.
    """

    def __init__(self, folder: Path, limit_bytes: int = FEATURE_LIMIT_BYTES) -> None:
        self._folder = folder
        self._images: dict[Path, _Decoded] = {}
        self._features = _FeatureStore(limit_bytes)

    def load_images(
        self, records: Sequence[Record], labels: Labels, spec: PreprocessSpec, progress: Progress = QUIET
    ) -> tuple[ImageSet, tuple[Failure, ...]]:
        """Return what ``georgia.train.decoded.load_pictures`` does, decoded once for all runs."""
        file = self._file(spec)
        decoded = self._images.get(file) or _open_decoded(file)
        if decoded is None or not decoded.covers(records):
            decoded = _decode(file, records, labels, spec, progress)
        self._images[file] = decoded
        return decoded.choose(records, labels)

    @property
    def audit_folder(self) -> Path:
        """Where the audit of all runs' images lies, if one was made."""
        return self._folder / "audit"

    @property
    def memory(self) -> TrunkMemory:
        """What frozen nets remember of the batches that they have seen."""
        return self._features

    def _file(self, spec: PreprocessSpec) -> Path:
        window = f"-of-{spec.window_px:g}" if spec.window_px else ""
        return self._folder / f"pictures-{spec.size_px}{window}.npy"


class _FeatureStore:
    """Batches of features by key, up to ``limit_bytes``; those not used for longest leave first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self._size = limit_bytes, 0
        self._kept: OrderedDict[tuple[str, str], Features] = OrderedDict()

    def take(self, key: tuple[str, str]) -> Features | None:
        features = self._kept.get(key)
        if features is not None:
            self._kept.move_to_end(key)
        return features

    def put(self, key: tuple[str, str], features: Features) -> None:
        size = _count_bytes(features)
        if size > self._limit or key in self._kept:
            return
        self._kept[key] = features
        self._size += size
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= _count_bytes(oldest)


@dataclass(frozen=True)
class _Decoded:
    """Images of one size: ``place`` in ``store`` of each file, by its path and its state on disk."""

    store: npt.NDArray[np.uint8]
    place: dict[tuple[str, int, int], int]
    failures: dict[tuple[str, int, int], str]

    def covers(self, records: Sequence[Record]) -> bool:
        return all(key in self.place or key in self.failures for key in map(_key, records))

    def choose(self, records: Sequence[Record], labels: Labels) -> tuple[ImageSet, tuple[Failure, ...]]:
        keys = [_key(record) for record in records]
        kept = [
            (record, self.place[key]) for record, key in zip(records, keys, strict=True) if key in self.place
        ]
        failed = [
            Failure(record.path, self.failures[key])
            for record, key in zip(records, keys, strict=True)
            if key in self.failures
        ]
        targets = labels.indices([record.class_name for record, _ in kept])
        positions = np.array([at for _, at in kept], dtype=np.int64)
        return ImageSet(self.store, positions, targets, tuple(record for record, _ in kept)), tuple(failed)


def _decode(
    file: Path, records: Sequence[Record], labels: Labels, spec: PreprocessSpec, progress: Progress
) -> _Decoded:
    with atomic_path(file) as temporary:
        pictures, failures = load_images(records, labels, spec, temporary, progress, memory_limit_bytes=0)
    place = {_key(record): at for at, record in enumerate(pictures.records)}
    reasons = {failure.path: failure.error for failure in failures}
    failed = {_key(record): reasons[record.path] for record in records if record.path in reasons}
    rows = {"place": [[*key, at] for key, at in place.items()]}
    write_text(
        file.with_suffix(".json"), json.dumps({**rows, "failed": [[*key, e] for key, e in failed.items()]})
    )
    return _Decoded(np.load(file, mmap_mode="r"), place, failed)


def _open_decoded(file: Path) -> _Decoded | None:
    """Return what an earlier start decoded, or None if that is not whole."""
    try:
        document = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        place, failed = (
            {(str(name), int(size), int(time)): value for name, size, time, value in document[part]}
            for part in ("place", "failed")
        )
        store = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _Decoded(store, place, failed) if len(place) <= len(store) else None


def _key(record: Record) -> tuple[str, int, int]:
    """Return a file's path, size in bytes and time of change: another of them, and it is decoded anew."""
    try:
        status = record.path.stat()
    except OSError:
        return str(record.path.absolute()), -1, -1
    return str(record.path.absolute()), status.st_size, status.st_mtime_ns


def _count_bytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features)
