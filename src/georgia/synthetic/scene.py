"""The canvas that crystals are rendered on: light, and what stands in front at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Light = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

CLASS_NAMES = ("CEX", "PG")


@dataclass
class Scene:
    """One canvas: ``light`` (h, w), float32, about 0–1, and the crystal in front at each pixel.

    ``front`` (h, w), uint8, is 0 for background, 1 for CEX and 2 for PG. ``px`` is the number of canvas
    pixels per image pixel: rendering small and enlarging later gives the probe's soft look.
    """

    light: Light
    front: npt.NDArray[np.uint8]
    px: float

    @classmethod
    def blank(cls, size_px: tuple[int, int], px: float) -> Scene:
        """Return a dark canvas for an image of ``size_px`` (height, width)."""
        height, width = max(8, round(size_px[0] * px)), max(8, round(size_px[1] * px))
        return cls(np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8), px)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the canvas size (h, w) in canvas pixels."""
        return self.light.shape[0], self.light.shape[1]

    def window(self, top: int, left: int, height: int, width: int) -> Scene:
        """Return a part of the canvas; rendering on it changes the whole."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        return Scene(self.light[rows, columns], self.front[rows, columns], self.px)

    def cover(self, value: Light, alpha: Light, class_name: str | None) -> None:
        """Lay something partly opaque over the scene: ``light += alpha · (value − light)``."""
        self.light += alpha * (value - self.light)
        if class_name is not None:
            self.front[alpha > 0.35] = CLASS_NAMES.index(class_name) + 1

    def glow(self, value: Light) -> None:
        """Add light without hiding what is behind."""
        self.light += value


@dataclass(frozen=True)
class Area:
    """The part of a canvas that an arrangement fills, in canvas pixels: a whole crop or one spot."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def whole(cls, scene: Scene) -> Area:
        """Return the area of the whole canvas."""
        height, width = scene.shape
        return cls(width / 2, height / 2, float(width), float(height))

    @property
    def size(self) -> float:
        """Return the longer side."""
        return max(self.width, self.height)

    def random_place(self, rng: np.random.Generator, spread: float = 0.4) -> tuple[float, float]:
        """Return a point within ``spread`` times the sides of the middle."""
        return self.x + self.width * rng.uniform(-spread, spread), self.y + self.height * rng.uniform(
            -spread, spread
        )


def as_light(values: npt.ArrayLike) -> Light:
    """Return values as float32, without a copy where they are that already."""
    return np.asarray(values, np.float32)


def coordinate_grid(height: int, width: int) -> tuple[Light, Light]:
    """Return pixel centres (x, y), (1, width) and (height, 1), float32: an open grid, to be broadcast."""
    return np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]


def sample_noise(rng: np.random.Generator, shape: tuple[int, int], grain_px: float) -> Light:
    """Return smooth noise (h, w), float32, mean 0 and variance about 1, with grains of ``grain_px``."""
    height, width = shape
    if grain_px <= 1.2:
        return rng.standard_normal(shape, np.float32)
    # Noise on a coarse lattice, enlarged smoothly: as good as a blur and far cheaper for big grains.
    step = max(1.0, grain_px / 1.6)
    rows, columns = int(np.ceil(height / step)) + 3, int(np.ceil(width / step)) + 3
    lattice = rng.standard_normal((rows, columns), np.float32)
    offset = rng.random(2) * 1.5
    matrix = np.array(
        [[step, 0, -step * (0.75 + offset[0])], [0, step, -step * (0.75 + offset[1])]], np.float32
    )
    flags = cv2.INTER_CUBIC
    noise = cv2.warpAffine(lattice, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return as_light(noise) * np.float32(1.35)


def blur_image(image: Light, sigma_px: float) -> Light:
    """Return the image blurred by a Gaussian; below 0.2 pixels it is left as it is."""
    if sigma_px < 0.2:
        return image
    # A window of 2.5 sigma holds 98.8 % of the Gaussian.
    size = 2 * max(1, round(2.5 * sigma_px)) + 1
    return as_light(cv2.GaussianBlur(image, (size, size), sigma_px, borderType=cv2.BORDER_REFLECT_101))
