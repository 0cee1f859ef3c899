"""Random views of a training image: sample the numbers, then apply them (pure).

Two families: ``study`` is the Georgia Project's (Keras' generator settings), ``crystal`` treats a
crystal as having no up and no left, and varies scale and light as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

AugmentName = Literal["study", "crystal", "crystal-jitter", "none"]
UInt8Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges: degrees, fractions of the side, relative zoom, relative contrast, grey levels.

    ``rotation_deg`` rotates by ± that; ``shift`` moves by ± that fraction of the side;
    ``zoom_out``/``zoom_in`` bound the scale (0.7–1.3 shows 1/0.7 to 1/1.3 of the side);
    ``flip`` mirrors both ways; ``right_angles`` adds a random multiple of 90°;
    ``contrast`` ± relative, ``brightness`` ± grey levels, ``gamma`` ± in log space; ``blur`` up to
    that Gaussian sigma in pixels.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    zoom_out: float = 1.0
    zoom_in: float = 1.0
    flip: bool = False
    right_angles: bool = False
    border: Literal["nearest", "reflect"] = "nearest"
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0


# Source: the Georgia Project's generator: rotation ±30°, shift ±20 %, zoom ±30 %, both flips, nearest.
STUDY = AugmentConfig(30.0, 0.2, 0.7, 1.3, True)
# Chosen on synthetic crystals: a crystal has no direction; probe light and focus vary within a batch.
CRYSTAL = AugmentConfig(
    rotation_deg=45.0,
    shift=0.08,
    zoom_out=0.85,
    zoom_in=1.35,
    flip=True,
    right_angles=True,
    border="reflect",
    contrast=0.25,
    brightness=18.0,
    gamma=0.2,
    blur=0.8,
)
# For images whose size gave the class away: the same, with all scales between half and double of another.
CRYSTAL_JITTER = replace(CRYSTAL, zoom_out=0.7, zoom_in=1.4)
NONE = AugmentConfig()
AUGMENTATIONS: dict[str, AugmentConfig] = {
    "study": STUDY,
    "crystal": CRYSTAL,
    "crystal-jitter": CRYSTAL_JITTER,
    "none": NONE,
}


@dataclass(frozen=True)
class View:
    """One sampled view: an affine map (2, 3) from output to input pixels, and the light."""

    matrix: npt.NDArray[np.float64]
    contrast: float
    brightness: float
    gamma: float
    blur: float


def sample_view(config: AugmentConfig, size_px: int, rng: np.random.Generator) -> View:
    """Sample one view for a square image of ``size_px``.

    The same generator state gives the same view, whatever the image holds.
    """
    numbers = rng.uniform(-1.0, 1.0, size=8)
    coins = rng.integers(0, 4, size=3)
    angle = np.deg2rad(config.rotation_deg * numbers[0])
    if config.right_angles:
        angle += np.pi / 2 * coins[0]
    # Keras' zoom range is uniform in the fraction shown; a log scale treats in and out alike.
    low, high = np.log(config.zoom_out), np.log(config.zoom_in)
    scale = np.exp(-(low + (high - low) * (numbers[1] + 1) / 2))
    mirror_x = -1.0 if config.flip and coins[1] % 2 else 1.0
    mirror_y = -1.0 if config.flip and coins[2] % 2 else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([mirror_x * scale, mirror_y * scale])
    centre = np.full(2, (size_px - 1) / 2)
    offset = centre - linear @ centre + config.shift * size_px * numbers[2:4]
    return View(
        matrix=np.column_stack([linear, offset]),
        contrast=1.0 + config.contrast * numbers[4],
        brightness=config.brightness * numbers[5],
        gamma=float(np.exp(config.gamma * numbers[6])),
        blur=max(0.0, config.blur * numbers[7]),
    )


def apply_view(image: UInt8Image, view: View, border: str = "nearest") -> UInt8Image:
    """Return the view of an image (S, S, 3), uint8, of the same shape and dtype."""
    import cv2

    mode = cv2.BORDER_REPLICATE if border == "nearest" else cv2.BORDER_REFLECT_101
    size = (image.shape[1], image.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shown = cv2.warpAffine(image, view.matrix, size, flags=flags, borderMode=mode)
    if view.blur > 0.3:
        shown = cv2.GaussianBlur(shown, (0, 0), view.blur)
    if view.contrast != 1.0 or view.brightness or view.gamma != 1.0:
        shown = cv2.LUT(shown, _tone_curve(view))
    return np.asarray(shown, dtype=np.uint8)


def _tone_curve(view: View) -> UInt8Image:
    levels = np.arange(256) / 255.0
    curve = (levels**view.gamma - 0.5) * view.contrast + 0.5 + view.brightness / 255.0
    return np.clip(np.rint(curve * 255.0), 0, 255).astype(np.uint8)


def augment_batch(
    images: npt.NDArray[np.uint8], config: AugmentConfig, keys: Sequence[tuple[int, ...]]
) -> npt.NDArray[np.uint8]:
    """Return one random view of each image (N, S, S, 3), uint8.

    ``keys`` seed the views one by one, so that neither batch size nor order changes a view.
    """
    if config == NONE:
        return images
    out = np.empty_like(images)
    for position, key in enumerate(keys):
        view = sample_view(config, images.shape[1], np.random.default_rng(key))
        out[position] = apply_view(images[position], view, config.border)
    return out
