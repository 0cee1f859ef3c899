"""A folder-per-class data set of synthetic crops, with its truth and, on request, the real set's defects."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from georgia.config import Config, at_least, between
from georgia.errors import InputError, suggest
from georgia.images.symmetry import SYMMETRIES, Symmetry
from georgia.progress import QUIET, Progress
from georgia.records import Record
from georgia.synthetic.crops import Crop, render_crop
from georgia.synthetic.optics import sample_size
from georgia.synthetic.scene import CLASS_NAMES

_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 3},
    "jpg": {"quality": 92},
    "tif": {},
    "bmp": {},
    "webp": {"lossless": True},
}


@dataclass(frozen=True)
class PlantedDefects(Config):
    """Defects of the real set, planted on purpose.

    ``cex_size_151``: every CEX crop is exactly 151×151 px and no PG crop is. ``duplicates``: fraction of
    the files that are a rotated or flipped duplicate of the crystal before them, as files of their own.
    """

    cex_size_151: bool = False
    duplicates: Annotated[float, between(0, 0.875)] = 0.0


@dataclass(frozen=True)
class PlannedCrop:
    """One file to render: the crystal's class and number, and its rotation or flip."""

    class_name: str
    number: int
    crystal: int
    symmetry: Symmetry

    @property
    def group(self) -> str:
        """Return the crystal's name, which is that of all its duplicates."""
        return f"{self.class_name}-{self.crystal:05d}"

    @property
    def stem(self) -> str:
        """Return the file's name without suffix."""
        return f"{self.class_name} ({self.number})"


@dataclass(frozen=True)
class CropPlan(Config):
    """What a data set holds. File k depends on (seed, class, defects) and k only, not on how many there are.

    >>> [item.stem for item in CropPlan(n_per_class=2).items()]
    ['CEX (1)', 'CEX (2)', 'PG (1)', 'PG (2)']
    """

    n_per_class: Annotated[int, at_least(1)]
    seed: Annotated[int, at_least(0)] = 42
    defects: PlantedDefects = field(default_factory=PlantedDefects)

    def items(self) -> Iterator[PlannedCrop]:
        """Yield every file, class by class."""
        for class_name in CLASS_NAMES:
            yield from self._items_of(class_name)

    def _items_of(self, class_name: str) -> Iterator[PlannedCrop]:
        per_crystal = self.defects.duplicates / (1 - self.defects.duplicates)
        number, crystal = 1, 0
        while number <= self.n_per_class:
            n_duplicates = int((crystal + 1) * per_crystal + 1e-9) - int(crystal * per_crystal + 1e-9)
            rng = np.random.default_rng(self._seed_of(class_name, crystal, 1))
            order = rng.permutation(len(SYMMETRIES) - 1)
            for symmetry in (Symmetry.IDENTITY, *(SYMMETRIES[1 + place] for place in order[:n_duplicates])):
                if number > self.n_per_class:
                    return
                yield PlannedCrop(class_name, number, crystal, symmetry)
                number += 1
            crystal += 1

    def _seed_of(self, class_name: str, crystal: int, use: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed, CLASS_NAMES.index(class_name), crystal, use])

    def render(self, item: PlannedCrop) -> Crop:
        """Return one file's crop; its masks are rotated or flipped as its pixels are."""
        size = self._size_of(item)
        crop = render_crop(item.class_name, self._seed_of(item.class_name, item.crystal, 0), size)
        apply = item.symmetry.apply
        return Crop(apply(crop.image), item.class_name, apply(crop.mask_cex), apply(crop.mask_pg))

    def _size_of(self, item: PlannedCrop) -> tuple[int, int] | None:
        if not self.defects.cex_size_151:
            return None
        if item.class_name == "CEX":
            return 151, 151
        rng = np.random.default_rng(self._seed_of(item.class_name, item.crystal, 2))
        size = sample_size(rng)
        while size == (151, 151):
            size = sample_size(rng)
        return size


def render_dataset(
    dest: str | Path,
    n_per_class: int,
    seed: int = 42,
    defects: PlantedDefects | None = None,
    file_format: str = "png",
    progress: Progress = QUIET,
) -> list[Record]:
    """Write a data set into a new folder, whole or not at all, and return its records.

    Files are ``CEX/CEX (1).png`` …; ``truth.csv`` holds path, class, group and transform of each.

    Raises:
        InputError: the folder holds something already, or a setting is out of range.
        OSError: the folder cannot be written.
    """
    plan = CropPlan(n_per_class, seed, defects or PlantedDefects())
    target = Path(dest)
    _check_target(target, file_format)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        items = list(plan.items())
        progress.start("render", len(items))
        for class_name in CLASS_NAMES:
            (work / class_name).mkdir()
        for item in items:
            image = Image.fromarray(plan.render(item).image)
            image.save(work / _path_of(item, file_format), **_FORMATS[file_format])
            progress.advance()
        (work / "truth.csv").write_text(_list_truth(items, file_format), encoding="utf-8", newline="\n")
        mask = os.umask(0)
        os.umask(mask)
        work.chmod(0o777 & ~mask)
        if target.exists():
            target.rmdir()
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [Record(target / _path_of(item, file_format), item.class_name, item.group) for item in items]


def _check_target(target: Path, file_format: str) -> None:
    faults = []
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        faults.append(
            f"Cannot write crops into '{target}': a new or empty folder is needed; got a full one. "
            "Name another folder or empty it."
        )
    if file_format not in _FORMATS:
        faults.append(
            f"Cannot write crops: file formats are {', '.join(_FORMATS)}; got {file_format!r}."
            + suggest(file_format, _FORMATS)
        )
    if faults:
        raise InputError(" ".join(faults))


def _path_of(item: PlannedCrop, file_format: str) -> Path:
    return Path(item.class_name) / f"{item.stem}.{file_format}"


def _list_truth(items: list[PlannedCrop], file_format: str) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "class", "group", "transform"])
    for item in items:
        writer.writerow(
            [_path_of(item, file_format).as_posix(), item.class_name, item.group, item.symmetry.short_name]
        )
    return stream.getvalue()
