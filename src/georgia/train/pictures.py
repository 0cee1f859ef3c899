"""The pictures of a run, read and resized once, kept as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.images import iter_images
from georgia.labels import Labels
from georgia.preprocess import PreprocessSpec
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record

# Above this many bytes the pictures live in a file beside the run instead of in memory.
MEMORY_LIMIT_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Pictures:
    """Images (N, size, size, 3), uint8 RGB, with their class positions (N,), in record order."""

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    records: tuple[Record, ...]
    failures: tuple[Failure, ...]

    def __len__(self) -> int:
        return len(self.records)


def load_pictures(
    records: Sequence[Record],
    labels: Labels,
    spec: PreprocessSpec,
    spill: Path,
    progress: Progress = QUIET,
    stage: str = "read pictures",
) -> Pictures:
    """Read and resize the pictures of one part; what cannot be read is listed and left out.

    ``spill`` is the file that holds the pixels where they would take too much memory.
    """
    shape = (len(records), spec.size_px, spec.size_px, 3)
    images: npt.NDArray[np.uint8]
    if int(np.prod(shape)) > MEMORY_LIMIT_BYTES:
        spill.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(spill, mode="w+", dtype=np.uint8, shape=shape)
    else:
        images = np.empty(shape, np.uint8)
    kept: list[Record] = []
    failures: list[Failure] = []
    progress.start(stage, len(records))

    def resize(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.clip(np.rint(spec.resize(image)), 0, 255).astype(np.uint8)

    for position, result in iter_images([record.path for record in records], transform=resize):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            images[len(kept)] = result
            kept.append(records[position])
        progress.advance()
    targets = labels.indices([record.class_name for record in kept])
    return Pictures(images[: len(kept)], targets, tuple(kept), tuple(failures))
