"""The eight symmetries of the square: their names, and what they do to pixels and to points.

A symmetry maps a first image onto a second one: ``symmetry.apply(first)`` looks like the second.
Rotations are counter-clockwise, as seen on screen.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)
# What a model makes of an image's symmetries: see ``PreprocessSpec``.
SymmetryMode = Literal["none", "average", "canonical"]


class Symmetry(StrEnum):
    """A flip from left to right or none, then ``n_rotations`` by 90°.

    The value is the name in an audit's findings; ``short_name`` is the name in ``truth.csv`` and of an
    evaluation's perturbations. ``matrix`` (2, 2) is what it does to a point (x to the right, y down)
    measured from the middle.

    >>> Symmetry("rotate 90").then(Symmetry.FLIP_LEFT_RIGHT).short_name
    'transverse'
    """

    short_name: str
    is_flip: bool
    n_rotations: int
    matrix: npt.NDArray[np.float64]

    def __new__(cls, value: str, short_name: str, is_flip: bool, n_rotations: int) -> Symmetry:
        """Give a name its numbers."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.short_name = short_name
        member.is_flip = is_flip
        member.n_rotations = n_rotations
        flip = np.diag([-1.0 if is_flip else 1.0, 1.0])
        # Zeros without a sign: angles are taken of what it gives.
        member.matrix = np.linalg.matrix_power([[0.0, 1.0], [-1.0, 0.0]], n_rotations) @ flip + 0.0
        return member

    IDENTITY = "identity", "none", False, 0
    ROTATE_90 = "rotate 90", "rot90", False, 1
    ROTATE_180 = "rotate 180", "rot180", False, 2
    ROTATE_270 = "rotate 270", "rot270", False, 3
    FLIP_LEFT_RIGHT = "flip left-right", "flip_x", True, 0
    FLIP_TOP_BOTTOM = "flip top-bottom", "flip_y", True, 2
    TRANSPOSE = "transpose", "transpose", True, 1
    ANTI_TRANSPOSE = "anti-transpose", "transverse", True, 3

    def apply(self, image: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return pixels (H, W, …) rotated or flipped, contiguous; no pixel's value changes.

        >>> Symmetry.ROTATE_90.apply(np.array([[1, 2], [3, 4]])).tolist()
        [[2, 4], [1, 3]]
        """
        return np.ascontiguousarray(np.rot90(image[:, ::-1] if self.is_flip else image, self.n_rotations))

    @property
    def inverse(self) -> Symmetry:
        """The symmetry that undoes this one.

        >>> Symmetry.ROTATE_90.inverse, Symmetry.TRANSPOSE.inverse
        (<Symmetry.ROTATE_270: 'rotate 270'>, <Symmetry.TRANSPOSE: 'transpose'>)
        """
        return self if self.is_flip else _find(False, -self.n_rotations)

    def then(self, other: Symmetry) -> Symmetry:
        """Return the symmetry that does the same as this one and another after it."""
        own = -self.n_rotations if other.is_flip else self.n_rotations
        return _find(self.is_flip != other.is_flip, other.n_rotations + own)


def _find(is_flip: bool, n_rotations: int) -> Symmetry:
    return next(s for s in SYMMETRIES if (s.is_flip, s.n_rotations) == (is_flip, n_rotations % 4))


SYMMETRIES: tuple[Symmetry, ...] = tuple(Symmetry)
# What an image needs for Exif's orientation 1–8. Source: Exif 2.32, tag 0x0112.
EXIF_ORIENTATIONS = (
    Symmetry.IDENTITY,
    Symmetry.FLIP_LEFT_RIGHT,
    Symmetry.ROTATE_180,
    Symmetry.FLIP_TOP_BOTTOM,
    Symmetry.TRANSPOSE,
    Symmetry.ROTATE_270,
    Symmetry.ANTI_TRANSPOSE,
    Symmetry.ROTATE_90,
)


def first_moments(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return where the light of square images (N, S, S, 3) lies: first moments (N, 2) of the channels' sum.

    The first is positive where it lies to the right of the middle, the second where it lies below.
    """
    grey = pixels.sum(axis=3, dtype=np.float64)
    place = np.arange(grey.shape[1]) - (grey.shape[1] - 1) / 2
    return np.stack([grey.sum(axis=1) @ place, grey.sum(axis=2) @ place], axis=1)


def orient_images(pixels: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return square images (N, S, S, 3), each in the one of its eight orientations that is canonical.

    Its light lies more to the right and to the bottom than to the left and the top, and not more to the
    bottom than to the right. Where two of these are equal to within rounding, rounding decides; the graph
    decides by the same sums in float32. Source: canonicalization, Kaba et al. 2022, arXiv 2211.06489.
    """
    out = np.array(pixels)
    for at, (x, y) in enumerate(first_moments(pixels)):
        image = out[at][:, ::-1] if x < 0 else out[at]
        image = image[::-1] if y < 0 else image
        out[at] = image.transpose(1, 0, 2).copy() if abs(x) < abs(y) else image.copy()
    return out
