"""Small image sets with one known fault, drawn: what checks are proved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.images.containers import SUFFIXES
from georgia.labels import Labels
from georgia.records import Catalog, Failure, Record

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ExampleImage:
    """One file to write: ``name`` is "CEX/1.png" or so; without an ``image`` it is a broken file."""

    name: str
    image: Image | None
    group: str = ""
    split: str = ""

    @property
    def class_name(self) -> str:
        """The folder that the file lies in."""
        return Path(self.name).parts[-2]


@dataclass(frozen=True)
class Example:
    """A whole set of labelled images."""

    images: tuple[ExampleImage, ...]

    def write(self, folder: Path) -> Catalog:
        """Write the files and return them as a catalog."""
        from PIL import Image as PillowImage

        records = []
        for image in self.images:
            path = folder / image.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if image.image is None:
                path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
            else:
                PillowImage.fromarray(image.image).save(path)
            records.append(Record(path, image.class_name, image.group, image.split))
        names = tuple(dict.fromkeys(image.class_name for image in self.images))
        failures = tuple(
            Failure(path, f"not an image file (suffix {path.suffix!r})")
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix.lower() not in SUFFIXES
        )
        return Catalog(folder, Labels(names), tuple(records), failures)


def draw_texture(seed: int, height: int = 48, width: int = 48, grain: float = 1.5) -> Image:
    """Return a blotchy grey image (height, width, 3), uint8: no two seeds alike, all of one statistic.

    ``grain`` is the blotches' size in pixels.

    >>> draw_texture(1).shape, bool((draw_texture(1) == draw_texture(2)).all())
    ((48, 48, 3), False)
    """
    import cv2

    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), grain)
    field = (field - field.mean()) / field.std()
    grey = np.clip(np.rint(120 + 35 * field), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def draw_textures(n_per_class: int, classes: Sequence[str] = ("CEX", "PG"), first_seed: int = 0) -> Example:
    """Return a set in which nothing is wrong, and nothing but the folder tells the class."""
    images = []
    for place, name in enumerate(classes):
        for number in range(n_per_class):
            seed = first_seed + place * n_per_class + number
            height, width = 44 + seed * 7 % 9, 44 + seed * 5 % 9
            images.append(ExampleImage(f"{name}/{number}.png", draw_texture(seed, height, width)))
    return Example(tuple(images))


def change(example: Example, name: str, image: Image | None) -> Example:
    """Return the set with another image under one name."""
    return Example(
        tuple(
            ExampleImage(one.name, image, one.group, one.split) if one.name == name else one
            for one in example.images
        )
    )


def add(example: Example, *images: ExampleImage) -> Example:
    """Return the set with further images."""
    return Example((*example.images, *images))
