"""Views of a known image that a model must accept: the same crystal as the probe may show it another day."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import numpy.typing as npt

from georgia.images.symmetry import SYMMETRIES

Image = npt.NDArray[np.uint8]
# Accepted are a fifth more or less light and size and noise up to 4 grey levels; a little beyond, because few
# views lie at the ends. ``LIGHT`` and ``SCALE`` are factors, ``SHIFT`` a fraction of the side.
LIGHT, SCALE, SHIFT, NOISE_LEVELS = 1.23, 1.25, 0.05, 4.5


def make_known_view(image: Image) -> Image:
    """Return one view of an image (H, W, 3), uint8: the same image always gives the same one.

    It is rotated by a right angle or mirrored, and moved; what lies outside is its mirror image. One of three
    things is changed besides: it is larger or smaller, in other light, or noisy (Gaussian, in all channels
    alike).
    """
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    symmetric = np.ascontiguousarray(SYMMETRIES[int(rng.integers(len(SYMMETRIES)))].apply(image))
    changes = np.zeros(3)
    changes[rng.integers(3)] = 1.0
    height, width = symmetric.shape[:2]
    factor = np.exp(changes[0] * rng.uniform(-1, 1) * np.log(SCALE))
    side = np.array([width, height])
    offset = (side - 1) / 2 * (1 - 1 / factor) + rng.uniform(-SHIFT, SHIFT, 2) * side
    matrix = np.column_stack([np.eye(2) / factor, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(symmetric, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    levels = moved.astype(np.float32) * np.float32(np.exp(changes[1] * rng.uniform(-1, 1) * np.log(LIGHT)))
    noise = rng.standard_normal((height, width, 1), np.float32)
    levels += np.float32(changes[2] * rng.uniform(0, NOISE_LEVELS)) * noise
    return np.asarray(np.clip(levels + np.float32(0.5), 0, 255), np.uint8)
