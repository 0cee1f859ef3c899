"""The images of a run, read and resized once, kept as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.files import allocate
from georgia.images.decode import iter_images
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record

# Above this many bytes the images live in a file beside the run instead of in memory.
MEMORY_LIMIT_BYTES = 3 * 2**30


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: ``positions`` (N,) in a shared store (M, size, size, 3), uint8 RGB.

    ``targets`` (N,) are class indices, in the order of ``records``.
    """

    store: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def images(self, indices: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return images (n, size, size, 3), uint8 RGB, of some of the records; a copy."""
        return np.asarray(self.store[self.positions[indices]])

    def select(self, records: Sequence[Record]) -> ImageSet:
        """Return the images of some of the records, which may differ in all but their path."""
        index = {record.path: number for number, record in enumerate(self.records)}
        indices = np.array([index[record.path] for record in records], dtype=np.int64)
        return ImageSet(self.store, self.positions[indices], self.targets[indices], tuple(records))


def load_images(
    records: Sequence[Record],
    labels: Labels,
    spec: PreprocessSpec,
    memmap_path: Path,
    progress: Progress = QUIET,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> tuple[ImageSet, tuple[Failure, ...]]:
    """Read and resize all images once; what cannot be read is left out and listed.

    ``memmap_path`` is the file that holds the pixels where they would take more than the limit.
    """
    shape = (len(records), spec.size_px, spec.size_px, 3)
    store: npt.NDArray[np.uint8]
    if int(np.prod(shape)) > memory_limit_bytes:
        memmap_path.parent.mkdir(parents=True, exist_ok=True)
        store = np.lib.format.open_memmap(memmap_path, mode="w+", dtype=np.uint8, shape=shape)
        allocate(memmap_path)
    else:
        store = np.empty(shape, np.uint8)
    kept: list[Record] = []
    failures: list[Failure] = []
    progress.start("read images", len(records))

    def resize(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.clip(np.rint(spec.resize(image)), 0, 255).astype(np.uint8)

    for position, result in iter_images([record.path for record in records], transform=resize):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            store[len(kept)] = result
            kept.append(records[position])
        progress.advance()
    if isinstance(store, np.memmap):
        store.flush()
    targets = labels.indices([record.class_name for record in kept])
    return ImageSet(store, np.arange(len(kept)), targets, tuple(kept)), tuple(failures)
