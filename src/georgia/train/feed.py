"""What the learning part is fed: batches of pictures, augmented, run through the trunk, ahead of time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from georgia.augment import AugmentConfig, augment_batch
from georgia.train.pictures import Pictures
from georgia.train.trunk import TRUNK_BATCH, Features, Trunk

T = TypeVar("T")
# Features of pictures that never change are kept up to this size; above it they are made anew.
KEEP_LIMIT_BYTES = 2 * 2**30


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
    """Tail inputs of pictures that are not augmented: computed once and kept where they fit."""

    def __init__(self, pictures: Pictures, trunk: Trunk) -> None:
        self._pictures = pictures
        self._trunk = trunk
        self._kept: Features | None = None

    def batches(self) -> Iterator[Features]:
        """Yield tail inputs in record order, ``TRUNK_BATCH`` at a time."""
        if self._kept is not None:
            for start in range(0, len(self._kept[0]), TRUNK_BATCH):
                yield [tensor[start : start + TRUNK_BATCH] for tensor in self._kept]
            return
        made: list[Features] = []
        size = 0
        for start in range(0, len(self._pictures), TRUNK_BATCH):
            features = self._trunk(self._pictures.images(slice(start, start + TRUNK_BATCH)))
            size += sum(tensor.nbytes for tensor in features)
            if self._trunk.is_frozen and size <= KEEP_LIMIT_BYTES:
                made.append(features)
            yield features
        if made and size <= KEEP_LIMIT_BYTES:
            self._kept = [np.concatenate(tensors) for tensors in zip(*made, strict=True)]

    def take(self, part: npt.NDArray[np.int64]) -> Features:
        """Return the tail inputs of some pictures by position."""
        if self._kept is None:
            return self._trunk(self._pictures.images(part))
        return [tensor[part] for tensor in self._kept]


def fixed_batches(
    features: FixedFeatures, targets: npt.NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Features, npt.NDArray[np.int64]]]:
    """Yield the batches of an epoch without augmentation, from kept features."""
    order = np.random.default_rng((seed, epoch)).permutation(len(targets))
    for part in _cut_batches(order, batch_size):
        yield features.take(part), targets[part]


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
