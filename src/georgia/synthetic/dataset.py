"""A folder-per-class data set of drawn crops, with its truth and, on request, the real set's faults."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from georgia.errors import InputError, format_message, suggest
from georgia.progress import QUIET, Progress
from georgia.records import Record
from georgia.synthetic.crops import Crop, render_crop
from georgia.synthetic.optics import draw_size
from georgia.synthetic.scene import CLASS_NAMES

Scalar = TypeVar("Scalar", bound=np.generic)

# The eight ways to lay an image on its own grid; the first changes nothing.
TRANSFORMS = ("none", "rot90", "rot180", "rot270", "flip_x", "flip_y", "transpose", "transverse")
_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 3},
    "jpg": {"quality": 92},
    "tif": {},
    "bmp": {},
    "webp": {"lossless": True},
}


@dataclass(frozen=True)
class PlantedDefects:
    """Faults of the real set, planted on purpose.

    ``cex_size_151``: every CEX crop is exactly 151×151 px and no PG crop is. ``copies``: share of files,
    0 to 0.875, that are a rotated or flipped copy of the crystal before them, as files of their own.
    """

    cex_size_151: bool = False
    copies: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.copies <= 0.875:
            fault = format_message("Cannot plant copies", "their share lies in 0–0.875", self.copies)
            raise InputError(fault)


@dataclass(frozen=True)
class PlannedCrop:
    """One file to draw: the crystal's class and number, and how the crystal is turned."""

    class_name: str
    number: int
    crystal: int
    transform: str

    @property
    def group(self) -> str:
        """Return the crystal's name: all its copies share it."""
        return f"{self.class_name}-{self.crystal:05d}"

    @property
    def stem(self) -> str:
        """Return the file's name without suffix."""
        return f"{self.class_name} ({self.number})"


@dataclass(frozen=True)
class CropPlan:
    """What a data set holds. File k depends on (seed, class, traps) and k only, not on how many there are.

    >>> [item.stem for item in CropPlan(n_per_class=2).items()]
    ['CEX (1)', 'CEX (2)', 'PG (1)', 'PG (2)']
    """

    n_per_class: int
    seed: int = 42
    traps: PlantedDefects = field(default_factory=PlantedDefects)

    def __post_init__(self) -> None:
        if self.n_per_class < 1 or self.seed < 0:
            raise InputError(
                "Cannot plan the crops",
                needs="one crop or more a class and a seed of 0 or more are needed",
                got=f"n_per_class={self.n_per_class}, seed={self.seed}",
            )

    def items(self) -> Iterator[PlannedCrop]:
        """Yield every file, class by class."""
        for class_name in CLASS_NAMES:
            yield from self._items_of(class_name)

    def _items_of(self, class_name: str) -> Iterator[PlannedCrop]:
        per_crystal = self.traps.copies / (1 - self.traps.copies)
        number, crystal = 1, 0
        while number <= self.n_per_class:
            n_copies = int((crystal + 1) * per_crystal + 1e-9) - int(crystal * per_crystal + 1e-9)
            turns = np.random.default_rng(self._seed_of(class_name, crystal, 1)).permutation(
                len(TRANSFORMS) - 1
            )
            for transform in ["none", *(TRANSFORMS[1 + turn] for turn in turns[:n_copies])]:
                if number > self.n_per_class:
                    return
                yield PlannedCrop(class_name, number, crystal, transform)
                number += 1
            crystal += 1

    def _seed_of(self, class_name: str, crystal: int, use: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed, CLASS_NAMES.index(class_name), crystal, use])

    def draw(self, item: PlannedCrop) -> Crop:
        """Return one file's crop, with its masks turned as its pixels are."""
        size = self._size_of(item)
        crop = render_crop(item.class_name, self._seed_of(item.class_name, item.crystal, 0), size)
        turned = item.transform
        return Crop(
            turn(crop.image, turned), item.class_name, turn(crop.mask_cex, turned), turn(crop.mask_pg, turned)
        )

    def _size_of(self, item: PlannedCrop) -> tuple[int, int] | None:
        if not self.traps.cex_size_151:
            return None
        if item.class_name == "CEX":
            return 151, 151
        rng = np.random.default_rng(self._seed_of(item.class_name, item.crystal, 2))
        size = draw_size(rng)
        while size == (151, 151):
            size = draw_size(rng)
        return size


def turn(pixels: npt.NDArray[Scalar], transform: str) -> npt.NDArray[Scalar]:
    """Return pixels (H, W, …) rotated counter-clockwise or flipped; no pixel's value changes.

    Raises:
        InputError: the transform is not one of TRANSFORMS.
    """
    if transform not in TRANSFORMS:
        raise InputError(
            "Cannot turn",
            needs="transforms are " + ", ".join(TRANSFORMS),
            got=repr(transform),
            hint=suggest(transform, TRANSFORMS).strip(),
        )
    if transform.startswith("rot"):
        turned = np.rot90(pixels, int(transform[3:]) // 90)
    elif transform.startswith("flip"):
        turned = pixels[:, ::-1] if transform == "flip_x" else pixels[::-1]
    elif transform.startswith("trans"):
        turned = np.swapaxes(pixels, 0, 1)
        turned = turned if transform == "transpose" else turned[::-1, ::-1]
    else:
        turned = pixels
    return np.ascontiguousarray(turned)


def render_dataset(
    dest: str | Path,
    n_per_class: int,
    seed: int = 42,
    traps: PlantedDefects | None = None,
    file_format: str = "png",
    progress: Progress = QUIET,
) -> list[Record]:
    """Write a data set into a new folder, whole or not at all, and return its records.

    Files are ``CEX/CEX (1).png`` …; ``truth.csv`` holds path, class, group and transform of each.

    Raises:
        InputError: the folder holds something already, or a setting is out of range.
        OSError: the folder cannot be written.
    """
    plan = CropPlan(n_per_class, seed, traps or PlantedDefects())
    target = Path(dest)
    _check_target(target, file_format)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        items = list(plan.items())
        progress.start("draw", len(items))
        for class_name in CLASS_NAMES:
            (work / class_name).mkdir()
        for item in items:
            picture = Image.fromarray(plan.draw(item).image)
            picture.save(work / _path_of(item, file_format), **_FORMATS[file_format])
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
            format_message(
                f"Cannot draw into '{target}'",
                "a new or empty folder is needed",
                "a full one",
                "Name another folder or empty it.",
            )
        )
    if file_format not in _FORMATS:
        faults.append(
            format_message(
                "Cannot write crops",
                "file formats are " + ", ".join(_FORMATS),
                repr(file_format),
                suggest(file_format, _FORMATS).strip(),
            )
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
        writer.writerow([_path_of(item, file_format).as_posix(), item.class_name, item.group, item.transform])
    return stream.getvalue()
