"""What is kept of one image to find its duplicates: a content key, a small grey image, local features.

Everything but the key is measured on the image resized to a square, so that resizing, to any aspect,
changes nothing. The local features are SIFT: they rotate with the image, and mirroring an image only
permutes their numbers.
Source: Lowe 2004, doi 10.1023/B:VISI.0000029664.99615.94.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from georgia.images.decode import Image, drop_equal_channels
from georgia.images.symmetry import SYMMETRIES, Symmetry

# The square's side. Source: synthetic crops of seed 1: 96 px finds no more near-duplicates, and costs twice.
SIDE_PX = 64
N_FEATURES = 64
KEY_BYTES = 16
# What counts as slow, as a fraction of the side; contrast of half a grey level and less is not enlarged.
# Source: synthetic crops of seed 1, 453 near-duplicates, and other pairs' highest correlation.
_COARSE, _FINE = 1 / 10, 1 / 24
_LEAST_SPREAD = 0.5


@dataclass(frozen=True, eq=False)
class Description:
    """What is kept of one image, about 14 kB.

    ``key`` is that of the decoded pixels as ``upright`` rotates them: images are exact duplicates, however
    they are rotated or mirrored, if their keys are equal. ``square`` (S, S), uint8, is the image in grey,
    ``size_px`` its own height and width. ``points`` (K, 4), float32: x and y from the middle, in px of the
    square, size in px, and angle in radians, clockwise; ``features`` (K, 128), uint8.
    """

    key: bytes
    upright: Symmetry
    square: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float32]
    features: npt.NDArray[np.uint8]
    size_px: tuple[int, int]

    def find_transform(self, other: Description) -> Symmetry:
        """Return what maps this image onto an exact duplicate of it."""
        return self.upright.then(other.upright.inverse)


def describe_image(image: Image) -> Description:
    """Return what is kept of one image (H, W, 3), uint8; it can run in many threads at once."""
    content = drop_equal_channels(image)
    grey: Any = content if content.ndim == 2 else cv2.cvtColor(content, cv2.COLOR_RGB2GRAY)
    square = np.asarray(cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
    points, features = find_features(square)
    key, upright = find_key(content)
    return Description(key, upright, square, points, features, (image.shape[0], image.shape[1]))


def find_key(content: npt.NDArray[np.uint8]) -> tuple[bytes, Symmetry]:
    """Return the key that an image (H, W) or (H, W, 3) has in all eight orientations, and what leads there.

    The orientation whose sums of rows and columns come first is the one of which the key is made; only where
    several have the same sums, as those of symmetric images do, the keys of all of them are compared.

    >>> image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    >>> rotated = Symmetry.ROTATE_90.apply(image)
    >>> find_key(image)[0] == find_key(rotated)[0] != find_key(image + 1)[0]
    True
    """
    rows, columns = _sum_pixels(content, 1), _sum_pixels(content, 0)
    profiles = {symmetry: _rotate_sums(rows, columns, symmetry) for symmetry in SYMMETRIES}
    first = min(profiles.values())
    tied = [symmetry for symmetry in SYMMETRIES if profiles[symmetry] == first]
    keys = [_digest(content, symmetry) for symmetry in tied]
    return min(keys), tied[keys.index(min(keys))]


def _sum_pixels(content: npt.NDArray[np.uint8], axis: int) -> npt.NDArray[np.int64]:
    """Return the sums over an axis, and over the channels."""
    sums = cv2.reduce(content, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    return np.asarray(np.asarray(sums, np.int64).reshape(content.shape[1 - axis], -1).sum(axis=1), np.int64)


def _rotate_sums(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], symmetry: Symmetry
) -> tuple[int, bytes, bytes]:
    """Return the height, and the sums of rows and columns that the image has after a symmetry."""
    if symmetry.is_flip:
        columns = columns[::-1]
    for _ in range(symmetry.n_rotations):
        rows, columns = columns[::-1], rows
    return len(rows), rows.tobytes(), columns.tobytes()


def _digest(content: npt.NDArray[np.uint8], symmetry: Symmetry) -> bytes:
    pixels = symmetry.apply(content)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=KEY_BYTES)
    digest.update(pixels.data)
    return digest.digest()


def level_contrast(square: npt.NDArray[np.uint8], fine: bool = False) -> npt.NDArray[np.float32]:
    """Return a square (S, S) without its slow changes of brightness and contrast, about −3 to 3.

    ``fine`` keeps only what is smaller than about a tenth of the side.
    """
    light = square.astype(np.float32)
    sigma = SIDE_PX * (_FINE if fine else _COARSE)
    pad = round(3 * sigma)
    # Mirrored in value too, so that a slope of light goes on beyond the rim and leaves nothing.
    padded = np.pad(light, pad, mode="reflect", reflect_type="odd")
    light -= cv2.GaussianBlur(padded, (0, 0), sigma)[pad:-pad, pad:-pad]
    spread = np.sqrt(cv2.GaussianBlur(light * light, (0, 0), 1.6 * sigma))
    return np.asarray(light / (spread + 0.3 * float(light.std()) + _LEAST_SPREAD), np.float32)


def find_features(square: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return points (K, 4) and features (K, 128) of a square, strongest first."""
    level = np.clip(level_contrast(square) * 40 + 128, 0, 255).astype(np.uint8)
    # Without the precise enlargement, points lie a quarter of a pixel off, always to the same side.
    sift = cv2.SIFT.create(nfeatures=N_FEATURES, contrastThreshold=0.0, enable_precise_upscale=True)
    found, features = sift.detectAndCompute(level, None)
    if not found:
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    order = sorted(range(len(found)), key=lambda k: -found[k].response)[:N_FEATURES]
    middle = (SIDE_PX - 1) / 2
    rows = [
        (found[k].pt[0] - middle, found[k].pt[1] - middle, found[k].size, np.deg2rad(found[k].angle))
        for k in order
    ]
    return np.array(rows, np.float32), np.asarray(features[order], np.uint8)
