"""What the learning part is fed: batches of images, augmented, run through the trunk, ahead of time."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.images.augment import NONE, AugmentConfig, augment_batch
from georgia.train.decoded import ImageSet
from georgia.train.feature_store import FeatureStore, digest_images
from georgia.train.frozen import TRUNK_BATCH, Features, Trunk

T = TypeVar("T")
# Features of images that never change are kept in memory up to this size.
KEEP_LIMIT_BYTES = 2 * 2**30
# Kept views are thinned so that no more passes than this are spent: a minute or two on two cores.
MAX_PASSES = 20000


def training_batches(
    pictures: ImageSet, trunk: Trunk, augmentation: AugmentConfig, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Features, npt.NDArray[np.int64]]]:
    """Yield (tail input, class positions) of one epoch; the order and every view follow from (seed, epoch).

    The last batch may be smaller; one of a single image joins the batch before it, as a batch
    norm cannot learn from one. While the caller learns from a batch, the trunk runs the next and a
    thread draws the views of the one after.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(pictures))

    def draw() -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
        for part in _cut_batches(order, batch_size):
            keys = [(seed, epoch, int(position)) for position in part]
            yield part, augment_batch(pictures.images(part), augmentation, keys)

    for part, features in trunk.stream(read_ahead(draw())):
        yield features, pictures.targets[part]


class FixedFeatures:
    """Tail inputs of images that do not change from epoch to epoch: computed once and kept.

    With ``n_views`` above 1, each image comes in that many views (drawn by ``seed``, the first the
    image itself), view after view; ``targets`` repeats its class as often. What ``store`` holds from
    earlier runs is taken from there. They are kept in memory, above ``KEEP_LIMIT_BYTES`` in the file
    ``spill``, and without such a file made anew at each use.

    Maps (N, H, W, C) are kept as float16, half the size: what that rounds off, at most 1 part in
    2048 of each number, is less than the difference between two engines in bfloat16.
    """

    def __init__(
        self,
        pictures: ImageSet,
        trunk: Trunk,
        augmentation: AugmentConfig = NONE,
        n_views: int = 1,
        seed: int = 0,
        store: FeatureStore | None = None,
        spill: Path | None = None,
    ) -> None:
        self._pictures, self._trunk = pictures, trunk
        self._augmentation, self._seed, self.n_views = augmentation, seed, n_views
        self._store = store if trunk.is_frozen else None
        self._spill = spill
        self._kept: Features | None = None
        self.targets = np.tile(pictures.targets, n_views)

    def batches(self) -> Iterator[Features]:
        """Yield tail inputs in order, ``TRUNK_BATCH`` at a time."""
        total = len(self.targets)
        parts = [np.arange(start, min(start + TRUNK_BATCH, total)) for start in range(0, total, TRUNK_BATCH)]
        if self._kept is not None:
            yield from (self.take(part) for part in parts)
            return
        kept: Features | None = None
        for part, features in self._make_all(parts):
            if part[0] == 0:
                kept = self._allocate(features, total)
            if kept is not None:
                for tensor, values in zip(kept, features, strict=True):
                    tensor[part] = values
            yield [_widen(tensor) for tensor in features]
        if self._store is not None:
            self._store.flush()
        self._kept = kept

    def take(self, part: npt.NDArray[np.int64]) -> Features:
        """Return some tail inputs by position in ``targets``, float32."""
        if self._kept is None:
            return [_widen(tensor) for tensor in self._narrow(self._trunk(self._images(part)))]
        return [_widen(tensor[part]) for tensor in self._kept]

    def _make_all(
        self, parts: Sequence[npt.NDArray[np.int64]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield each part with its features, as they are kept; the trunk runs only what is not stored."""
        if self._store is None:
            for part in parts:
                yield part, self._narrow(self._trunk(self._images(part)))
            return
        for part, images in read_ahead((part, self._images(part)) for part in parts):
            digests = digest_images(images)
            rows = [self._store.read(digest) for digest in digests]
            missing = [number for number, row in enumerate(rows) if row is None]
            if missing:
                made = self._narrow(self._trunk(images[missing]))
                for place, number in enumerate(missing):
                    rows[number] = [tensor[place] for tensor in made]
                    self._store.add(digests[number], [tensor[place] for tensor in made])
            found = [row for row in rows if row is not None]
            yield part, [np.stack(tensors) for tensors in zip(*found, strict=True)]

    def _images(self, part: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        views, positions = np.divmod(part, len(self._pictures))
        images = self._pictures.images(positions)
        turned = np.flatnonzero(views)
        if len(turned):
            keys = [(self._seed, 0, int(views[i]), int(positions[i])) for i in turned]
            images[turned] = augment_batch(images[turned], self._augmentation, keys)
        return images

    def _narrow(self, features: Features) -> Features:
        if not self._trunk.is_frozen:
            return features
        top = np.finfo(np.float16).max
        return [
            np.clip(tensor, -top, top).astype(np.float16) if tensor.ndim == 4 else tensor
            for tensor in features
        ]

    def _allocate(self, sample: Features, total: int) -> Features | None:
        size = sum(tensor[0].nbytes for tensor in sample) * total
        if not self._trunk.is_frozen:
            return None
        if size <= KEEP_LIMIT_BYTES:
            return [np.empty((total, *tensor.shape[1:]), tensor.dtype) for tensor in sample]
        if self._spill is None or not _has_room(self._spill.parent, size):
            return None
        return [
            np.lib.format.open_memmap(
                self._spill.with_suffix(f".{number}.npy"), "w+", tensor.dtype, (total, *tensor.shape[1:])
            )
            for number, tensor in enumerate(sample)
        ]


def _widen(tensor: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(tensor, dtype=np.float32)


def _has_room(folder: Path, size_bytes: int) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free > 2 * size_bytes


def fixed_batches(
    features: FixedFeatures, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Features, npt.NDArray[np.int64]]]:
    """Yield the batches of an epoch over kept features, every view once, in an order by (seed, epoch)."""
    order = np.random.default_rng((seed, epoch)).permutation(len(features.targets))
    for part in _cut_batches(order, batch_size):
        yield features.take(part), features.targets[part]


def choose_views(wanted: int, n_images: int) -> int:
    """Return how many views to keep: fewer for many images, which bring variety of their own."""
    return max(1, min(wanted, MAX_PASSES // max(1, n_images)))


def _cut_batches(order: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], len(order)]
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def read_ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the items while a thread already makes the next ``depth`` of them.

    An error in the thread is raised here; leaving the loop early ends the thread.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(maxsize=depth)
    left = threading.Event()

    def put(entry: tuple[str, T | BaseException | None]) -> None:
        while not left.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(("item", item))
                if left.is_set():
                    return
            put(("end", None))
        except BaseException as error:  # handed over to the reader, which raises it
            put(("error", error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:  # a generator left early ends its own threads
                close()

    thread = threading.Thread(target=work, name="georgia-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if isinstance(value, BaseException):
                raise value
            yield value  # type: ignore[misc]
    finally:
        left.set()
        thread.join(timeout=10)
