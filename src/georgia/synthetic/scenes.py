"""What a probe may see beside a slurry: clear solution, fouling, bubbles, darkness."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from georgia.synthetic.crops import Seed, make_generator
from georgia.synthetic.fields import render_empty
from georgia.synthetic.foreign import ForeignKind, Lighting, render_foreign
from georgia.synthetic.frames import render_frame
from georgia.synthetic.optics import grey_to_rgb, light_unevenly
from georgia.synthetic.scene import sample_noise

Image = npt.NDArray[np.uint8]

# Fouling covers most of the window, and little light comes through it.
_FOULING_COVERAGE, _OPACITY = 0.6, 0.85
# Bubbles are rendered in patches of about the size of a window.
_PATCH_PX = 160


class SceneKind(StrEnum):
    """What is in front of the probe."""

    SLURRY = "slurry"
    CLEAR = "clear"
    FOULING = "fouling"
    BUBBLES = "bubbles"
    DARK = "dark"
    FROZEN = "frozen"


def render_scene(seed: Seed, kind: SceneKind, size_px: tuple[int, int]) -> Image:
    """Return one frame (H, W, 3), uint8, of a scene without a slurry: clear, bubbles or dark.

    >>> render_scene(1, SceneKind.DARK, (64, 80)).shape
    (64, 80, 3)
    """
    rng = make_generator(seed)
    if kind == SceneKind.DARK:
        image: Image = render_empty(rng, size_px, "dark").image
        return image
    light = light_unevenly(rng, np.full(size_px, rng.uniform(70, 200), np.float32), rng.uniform(0, 0.5))
    light = light + np.float32(rng.uniform(0.5, 2.0)) * sample_noise(rng, size_px, 1.0)
    grey = np.clip(light + np.float32(0.5), 0, 255).astype(np.uint8)
    if kind == SceneKind.BUBBLES:
        _add_bubbles(rng, grey)
    return grey_to_rgb(grey)


def _add_bubbles(rng: np.random.Generator, grey: npt.NDArray[np.uint8]) -> None:
    height, width = grey.shape
    side = min(_PATCH_PX, height, width)
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            patch = render_foreign(rng, ForeignKind.BUBBLE, (side, side), Lighting.DARK_FIELD).image
            grey[top : top + side, left : left + side] = patch[:, :, 0]


def foul(image: Image, seed: int = 7) -> Image:
    """Return a frame (H, W, 3), uint8, behind what sticks to the probe's window: the same for one seed."""
    mask, layer = _render_fouling(seed, image.shape[0], image.shape[1])
    mixed = image * (1 - mask) + layer * mask
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


@lru_cache(maxsize=2)
def _render_fouling(
    seed: int, height: int, width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return how much of it each pixel hides, (H, W, 1), 0–1, and its grey levels, (H, W, 3)."""
    frame = render_frame(seed, (height, width), 0.3, _FOULING_COVERAGE)
    mask = (frame.mask_cex | frame.mask_pg).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (0, 0), 3.0) * np.float32(_OPACITY)
    return soft[:, :, None], frame.image.astype(np.float32)
