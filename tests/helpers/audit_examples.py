"""Small synthetic image sets with one known fault each: a bad and a good example for every audit check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

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
        return Path(self.name).parts[-2]


@dataclass(frozen=True)
class Example:
    """A whole set of labelled images."""

    images: tuple[ExampleImage, ...]

    def write(self, folder: Path) -> Catalog:
        """Write the files and return them as a catalog."""
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

    def add(self, name: str, image: Image) -> Example:
        """Return the set with one more image."""
        return Example((*self.images, ExampleImage(name, image)))

    def change(self, name: str, image: Image | None) -> Example:
        """Return the set with another image under one name."""
        return Example(tuple(replace(old, image=image) if old.name == name else old for old in self.images))


def render_texture(seed: int, height: int = 48, width: int = 48, grain: float = 1.5) -> Image:
    """Return a blotchy grey image (height, width, 3), uint8: different seeds, same statistics.

    ``grain`` is the blotches' size in pixels.
    """
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), grain)
    field = (field - field.mean()) / field.std()
    grey = np.clip(np.rint(120 + 35 * field), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def render_textures(n_per_class: int, classes: Sequence[str] = ("CEX", "PG")) -> Example:
    """Return a set without a fault, in which only the folder tells the class."""
    images = []
    for place, name in enumerate(classes):
        for number in range(n_per_class):
            seed = place * n_per_class + number
            height, width = 44 + seed * 7 % 9, 44 + seed * 5 % 9
            images.append(ExampleImage(f"{name}/{number}.png", render_texture(seed, height, width)))
    return Example(tuple(images))


# The first image of ``render_textures``, which duplicates are made of.
FIRST = render_texture(0, 44, 44)


@dataclass(frozen=True)
class Examples:
    """``bad``: the smallest set in which a check must find something; ``good``: the nearest without."""

    bad: Callable[[], Example]
    good: Callable[[], Example]


def broken_image(image: Image) -> Examples:
    """Return the examples of a check of single images: one such image among textures, and none."""
    return Examples(lambda: render_textures(12).change("CEX/3.png", image), lambda: render_textures(12))


def split_with(image: Image) -> Example:
    """Return a split set in which one test image is ``image``."""
    splits = ("train", "train", "train", "valid", "valid", "test", "test")
    images = [
        ExampleImage(f"{split}/{name}/{n}.png", render_texture(100 * place + n, 44, 44), split=split)
        for place, name in enumerate(("CEX", "PG"))
        for n, split in enumerate(splits)
    ]
    return Example(tuple(images)).change("test/CEX/6.png", image)


def two_large(second: Image) -> Example:
    """Return textures with one large image in each class, large enough for near-duplicates."""
    return (
        render_textures(6)
        .add("CEX/large.png", render_texture(500, 120, 120))
        .add("PG/large.png", np.asarray(second, np.uint8))
    )


def draw_letter(left: int, width: int = 40) -> Image:
    """Return the silhouette of a letter H (120, 120, 3), white on black, at some place."""
    image = np.zeros((120, 120, 3), np.uint8)
    image[30:90, left : left + width // 4] = 255
    image[30:90, left + width * 3 // 4 : left + width] = 255
    image[54:66, left : left + width] = 255
    return image


def two_silhouettes(second: Image) -> Example:
    return render_textures(6).add("CEX/h.png", draw_letter(20)).add("CEX/second.png", second)


def draw_ring() -> Image:
    return np.asarray(
        cv2.circle(np.zeros((120, 120, 3), np.uint8), (60, 60), 30, (255, 255, 255), 8), np.uint8
    )


def one_class_of_one_size() -> Example:
    """Return textures of which one class is exactly 48 × 48 px."""
    sizes = [(48, 48) if n < 16 else (52, 50 + n % 7) for n in range(32)]
    images = render_textures(16).images
    return Example(
        tuple(
            ExampleImage(old.name, render_texture(n, *size))
            for n, (old, size) in enumerate(zip(images, sizes, strict=True))
        )
    )


def one_class_brighter() -> Example:
    images = [
        replace(old, image=old.image + np.uint8(40))
        if old.class_name == "CEX" and old.image is not None
        else old
        for old in render_textures(16).images
    ]
    return Example(tuple(images))


def unequal_classes() -> Example:
    """Return 30 images of one class and 3 of another."""
    many = [image for image in render_textures(30).images if image.class_name == "CEX"]
    few = [image for image in render_textures(3).images if image.class_name == "PG"]
    return Example((*many, *few))


def one_class_in_one_group() -> Example:
    images = render_textures(6).images
    return Example(tuple(replace(old, group="only") if old.class_name == "PG" else old for old in images))


def fine_and_coarse() -> Example:
    """Return fine textures in one folder and coarse ones in the other."""
    return Example(
        tuple(
            ExampleImage(f"{name}/{n}.png", render_texture(100 * place + n, 48, 48, grain))
            for place, (name, grain) in enumerate((("CEX", 1.0), ("PG", 4.0)))
            for n in range(24)
        )
    )


def chessboard() -> Image:
    board = np.kron(np.indices((6, 6)).sum(axis=0) % 2, np.ones((8, 8))) * 255
    return np.repeat(board.astype(np.uint8)[:, :, None], 3, axis=2)


# By check id; a check without an entry fails tests/contract/test_checks.py.
EXAMPLES: dict[str, Examples] = {
    "conflict": Examples(
        lambda: render_textures(6).add("PG/mirrored.png", FIRST[:, ::-1].copy()),
        lambda: render_textures(6).add("CEX/mirrored.png", FIRST[:, ::-1].copy()),
    ),
    "leak": Examples(
        lambda: split_with(np.rot90(FIRST, 2).copy()), lambda: split_with(render_texture(900, 44, 44))
    ),
    "file-shortcut": Examples(one_class_of_one_size, lambda: render_textures(16)),
    "too-few-groups": Examples(one_class_in_one_group, lambda: render_textures(6)),
    "copies": Examples(
        lambda: render_textures(6).add("CEX/rotated.png", np.rot90(FIRST).copy()), lambda: render_textures(6)
    ),
    "same-scene": Examples(lambda: two_silhouettes(draw_letter(48)), lambda: two_silhouettes(draw_ring())),
    "near-conflict": Examples(
        lambda: two_large(np.clip(render_texture(500, 120, 120) * 1.15, 0, 255)),
        lambda: two_large(render_texture(501, 120, 120)),
    ),
    "picture-shortcut": Examples(one_class_brighter, lambda: render_textures(16)),
    "imbalance": Examples(unequal_classes, lambda: render_textures(6)),
    "unreadable": Examples(lambda: render_textures(4).change("CEX/0.png", None), lambda: render_textures(4)),
    "blank": broken_image(np.full((46, 47, 3), 128, np.uint8)),
    "too-dark": broken_image(render_texture(3, 46, 47) // 8),
    "overexposed": broken_image(np.clip(render_texture(3, 46, 47) + 150.0, 0, 255).astype(np.uint8)),
    "blurred": broken_image(render_texture(3, 120, 120, grain=16)),
    "tiny": broken_image(render_texture(3, 20, 20)),
    "odd-size": broken_image(render_texture(3, 40, 160)),
    "color-among-grey": broken_image(
        (render_texture(3, 46, 47) * np.array([1.0, 0.7, 0.3])).astype(np.uint8)
    ),
    "label-suspect": Examples(
        lambda: fine_and_coarse().add("CEX/wrong.png", render_texture(900, 48, 48, grain=4)), fine_and_coarse
    ),
    "outlier": Examples(lambda: fine_and_coarse().add("CEX/board.png", chessboard()), fine_and_coarse),
}
