"""What the learning part is fed: batches of pictures, augmented, run through the trunk, ahead of time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from georgia.augment import NONE, AugmentConfig, augment_batch
from georgia.train.pictures import Pictures
from georgia.train.trunk import TRUNK_BATCH, Features, Trunk

T = TypeVar("T")
# Features of pictures that never change are kept up to this size; above it they are made anew.
KEEP_LIMIT_BYTES = 2 * 2**30
# Kept views are thinned so that no more passes than this are spent: a minute or two on two cores.
MAX_PASSES = 20000


def training_batches(
    pictures: Pictures, trunk: Trunk, augmentation: AugmentConfig, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Features, npt.NDArray[np.int64]]]:
    """Yield (tail input, class positions) of one epoch; the order and every view follow from (seed, epoch).

    The last batch may be smaller; one of a single picture joins the batch before it, as a batch
    norm cannot learn from one.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(pictures))
    for part in _cut_batches(order, batch_size):
        keys = [(seed, epoch, int(position)) for position in part]
        images = augment_batch(pictures.images(part), augmentation, keys)
        yield trunk(images), pictures.targets[part]


class FixedFeatures:
    """Tail inputs of pictures that do not change from epoch to epoch: computed once, kept where they fit.

    With ``n_views`` above 1, each picture comes in that many views (drawn by ``seed``, the first the
    picture itself), view after view; ``targets`` repeats its class as often.
    """

    def __init__(
        self,
        pictures: Pictures,
        trunk: Trunk,
        augmentation: AugmentConfig = NONE,
        n_views: int = 1,
        seed: int = 0,
    ) -> None:
        self._pictures, self._trunk = pictures, trunk
        self._augmentation, self._seed, self.n_views = augmentation, seed, n_views
        self._kept: Features | None = None
        self.targets = np.tile(pictures.targets, n_views)

    def batches(self) -> Iterator[Features]:
        """Yield tail inputs in order, ``TRUNK_BATCH`` at a time."""
        total = len(self.targets)
        if self._kept is not None:
            for start in range(0, total, TRUNK_BATCH):
                yield [tensor[start : start + TRUNK_BATCH] for tensor in self._kept]
            return
        store: Features | None = None
        for start in range(0, total, TRUNK_BATCH):
            part = np.arange(start, min(start + TRUNK_BATCH, total))
            features = self._make(part)
            if start == 0:
                store = self._allocate(features, total)
            if store is not None:
                for tensor, values in zip(store, features, strict=True):
                    tensor[part] = values
            yield features
        self._kept = store

    def take(self, part: npt.NDArray[np.int64]) -> Features:
        """Return some tail inputs by position in ``targets``."""
        if self._kept is None:
            return self._make(part)
        return [tensor[part] for tensor in self._kept]

    def _make(self, part: npt.NDArray[np.int64]) -> Features:
        views, positions = np.divmod(part, len(self._pictures))
        images = self._pictures.images(positions)
        turned = np.flatnonzero(views)
        if len(turned):
            keys = [(self._seed, 0, int(views[i]), int(positions[i])) for i in turned]
            images[turned] = augment_batch(images[turned], self._augmentation, keys)
        return self._trunk(images)

    def _allocate(self, sample: Features, total: int) -> Features | None:
        size = sum(tensor[0].nbytes for tensor in sample) * total
        if not self._trunk.is_frozen or size > KEEP_LIMIT_BYTES:
            return None
        return [np.empty((total, *tensor.shape[1:]), np.float32) for tensor in sample]


def fixed_batches(
    features: FixedFeatures, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Features, npt.NDArray[np.int64]]]:
    """Yield the batches of an epoch over kept features, every view once, in an order by (seed, epoch)."""
    order = np.random.default_rng((seed, epoch)).permutation(len(features.targets))
    for part in _cut_batches(order, batch_size):
        yield features.take(part), features.targets[part]


def choose_views(wanted: int, n_pictures: int) -> int:
    """Return how many views to keep: fewer for many pictures, which bring variety of their own."""
    return max(1, min(wanted, MAX_PASSES // max(1, n_pictures)))


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
