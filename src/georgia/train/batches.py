"""Batches for the trainable head: images, augmented, through the frozen backbone, prefetched."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.files import allocate
from georgia.images.augment import NONE, AugmentConfig, augment_batch
from georgia.train.decoded import ImageSet
from georgia.train.feature_cache import FeatureCache, Features, UInt8Images
from georgia.train.frozen import FrozenBackbone

T = TypeVar("T")
Indices = npt.NDArray[np.int64]
# Features of images that never change are kept in memory up to this size.
KEEP_LIMIT_BYTES = 2 * 2**30
# No more than so many images and views pass the frozen backbone once: a minute or two on two cores.
MAX_PASSES = 20000


def training_batches(
    images: ImageSet,
    frozen: FrozenBackbone,
    augmentation: AugmentConfig,
    batch_size: int,
    epoch_seed: tuple[int, int],
    cache: FeatureCache | None = None,
) -> Iterator[tuple[Features, Indices]]:
    """Yield (head input, class indices) of one epoch; order and views follow from (seed, epoch).

    The last batch may be smaller; one of a single image joins the batch before it, as a batch
    norm cannot learn from one. While the caller learns from a batch, the frozen backbone runs the next and
    a thread augments the one after. With a ``cache``, views that it holds are not computed again.
    """
    order = np.random.default_rng(epoch_seed).permutation(len(images))

    def augment() -> Iterator[tuple[Indices, npt.NDArray[np.uint8]]]:
        for indices in _cut_batches(order, batch_size):
            keys = [(*epoch_seed, int(index)) for index in indices]
            yield indices, augment_batch(images.images(indices), augmentation, keys)

    if cache is None or not frozen.is_frozen:
        for indices, features in frozen.stream(prefetch(augment()), stays_on_gpu=True):
            yield features, images.targets[indices]
        return
    # Apart from what ``FixedFeatures`` keeps, which is rounded.
    for indices, features in cache.stream(f"{frozen.key}-views", prefetch(augment()), frozen.stream):
        yield features, images.targets[indices]


class FixedFeatures:
    """Head inputs of images that do not change from epoch to epoch: computed once and kept.

    With ``n_views`` above 1, each image comes in that many views (sampled by ``seed``, the first the
    image itself), view after view; ``targets`` repeats its class as often. What ``cache`` holds is taken
    from there. They are kept in memory, above ``KEEP_LIMIT_BYTES`` in files named after
    ``memmap_path``, and without such a path computed again at each use.

    Maps (N, H, W, C) are kept as float16, half the size: what that rounds off, at most 1 part in
    2048 of each number, is less than the difference between two engines in bfloat16.
    """

    def __init__(
        self,
        images: ImageSet,
        frozen: FrozenBackbone,
        augmentation: AugmentConfig = NONE,
        n_views: int = 1,
        seed: int = 0,
        cache: FeatureCache | None = None,
        memmap_path: Path | None = None,
    ) -> None:
        self._images, self._frozen = images, frozen
        self._augmentation, self._seed, self.n_views = augmentation, seed, n_views
        self._cache = cache if frozen.is_frozen else None
        self._memmap_path = memmap_path
        self._kept: Features | None = None
        self.targets = np.tile(images.targets, n_views)

    def batches(self) -> Iterator[Features]:
        """Yield head inputs in order, ``FrozenBackbone.batch_size`` at a time."""
        total, size = len(self.targets), self._frozen.batch_size
        cuts = [np.arange(at, min(at + size, total)) for at in range(0, total, size)]
        if self._kept is not None:
            yield from (self.take(indices) for indices in cuts)
            return
        kept: Features | None = None
        made = prefetch((indices, self._make_views(indices)) for indices in cuts)
        for indices, features in self._stream(made):
            if indices[0] == 0:
                kept = self._allocate(features, total)
            if kept is not None:
                for tensor, values in zip(kept, features, strict=True):
                    tensor[indices] = values
            yield [_widen(tensor) for tensor in features]
        if self._cache is not None:
            self._cache.flush()
        self._kept = kept

    def take(self, indices: Indices) -> Features:
        """Return some head inputs by their index in ``targets``, float32."""
        if self._kept is None:
            [(_, features)] = self._run_narrow([(None, self._make_views(indices))])
            return [_widen(tensor) for tensor in features]
        return [_widen(tensor[indices]) for tensor in self._kept]

    def rows_of(self, positions: Indices) -> Indices:
        """Return where all views of some images stand in ``targets``."""
        return (np.arange(self.n_views)[:, None] * len(self._images) + positions).ravel()

    def _stream(self, batches: Iterable[tuple[Indices, UInt8Images]]) -> Iterator[tuple[Indices, Features]]:
        """Yield head inputs as they are kept; the frozen backbone runs a batch ahead."""
        if self._cache is None:
            return self._run_narrow(batches)
        return self._cache.stream(self._frozen.key, batches, self._run_narrow)

    def _make_views(self, indices: Indices) -> npt.NDArray[np.uint8]:
        views, positions = np.divmod(indices, len(self._images))
        images = self._images.images(positions)
        augmented = np.flatnonzero(views)
        if len(augmented):
            keys = [(self._seed, 0, int(views[i]), int(positions[i])) for i in augmented]
            images[augmented] = augment_batch(images[augmented], self._augmentation, keys)
        return images

    def _run_narrow(self, batches: Iterable[tuple[T, UInt8Images]]) -> Iterator[tuple[T, Features]]:
        if not self._frozen.is_frozen:
            yield from self._frozen.stream(batches, stays_on_gpu=True)
            return
        for token, features in self._frozen.stream(batches):
            yield token, [_narrow(tensor) for tensor in features]

    def _allocate(self, sample: Features, total: int) -> Features | None:
        size = sum(tensor[0].nbytes for tensor in sample) * total
        if not self._frozen.is_frozen:
            return None
        if size <= KEEP_LIMIT_BYTES:
            return [np.empty((total, *tensor.shape[1:]), tensor.dtype) for tensor in sample]
        if self._memmap_path is None or not _has_room(self._memmap_path.parent, size):
            return None
        files = [self._memmap_path.with_suffix(f".{number}.npy") for number in range(len(sample))]
        stores: Features = []
        for file, tensor in zip(files, sample, strict=True):
            stores.append(np.lib.format.open_memmap(file, "w+", tensor.dtype, (total, *tensor.shape[1:])))
            allocate(file)
        return stores


def _narrow(tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return maps (N, H, W, C) as float16, the largest number instead of infinity; others as they are."""
    if tensor.ndim != 4:
        return tensor
    top = np.finfo(np.float16).max
    return np.asarray(np.clip(tensor, -top, top), np.float16)


def _widen(tensor: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return a tensor as float32; one that is float32 stays where it is, be that a GPU."""
    return tensor if tensor.dtype == np.float32 else np.asarray(tensor, dtype=np.float32)


def _has_room(folder: Path, size_bytes: int) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free > 2 * size_bytes


def fixed_batches(
    features: FixedFeatures, batch_size: int, epoch_seed: tuple[int, int], rows: Indices | None = None
) -> Iterator[tuple[Features, Indices]]:
    """Yield the batches of an epoch over kept features, every view once, in an order by (seed, epoch).

    ``rows`` are those that it takes of ``features.targets``: all, if it is None.
    """
    taken = np.arange(len(features.targets)) if rows is None else rows
    order = taken[np.random.default_rng(epoch_seed).permutation(len(taken))]
    for indices in _cut_batches(order, batch_size):
        yield features.take(indices), features.targets[indices]


def choose_views(target: int, n_images: int) -> int:
    """Return how many views to keep: fewer for many images, which bring variety of their own."""
    return max(1, min(target, MAX_PASSES // max(1, n_images)))


def _cut_batches(order: Indices, batch_size: int) -> list[Indices]:
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], len(order)]
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the items while a thread prepares the next ``depth`` of them.

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

    thread = threading.Thread(target=work, name="georgia-prefetch", daemon=True)
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
