"""The eight ways to lay a square on itself: their names, what they do to pixels and to points.

A symmetry maps a first image onto a second one: ``turn_image(first, name)`` looks like the second.
Rotations are counter-clockwise, as seen on screen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.synthetic.dataset import TRANSFORMS, turn

SYMMETRIES = (
    "identity",
    "rotate 90",
    "rotate 180",
    "rotate 270",
    "flip left-right",
    "flip top-bottom",
    "transpose",
    "anti-transpose",
)
# What each does to a point (x to the right, y down) measured from the middle, in the order of SYMMETRIES.
MATRICES: npt.NDArray[np.float64] = np.array(
    [
        [[1, 0], [0, 1]],
        [[0, 1], [-1, 0]],
        [[-1, 0], [0, -1]],
        [[0, -1], [1, 0]],
        [[-1, 0], [0, 1]],
        [[1, 0], [0, -1]],
        [[0, 1], [1, 0]],
        [[0, -1], [-1, 0]],
    ],
    np.float64,
)
IS_MIRROR: npt.NDArray[np.bool_] = np.linalg.det(MATRICES) < 0


def turn_image(image: npt.NDArray[Any], symmetry: str) -> npt.NDArray[Any]:
    """Return pixels (H, W, …) rotated or flipped; no pixel's value changes.

    >>> turn_image(np.array([[1, 2], [3, 4]]), "rotate 90").tolist()
    [[2, 4], [1, 3]]
    """
    return turn(image, TRANSFORMS[SYMMETRIES.index(symmetry)])


def invert(symmetry: str) -> str:
    """Return the symmetry that undoes another: a quarter turn back for a quarter turn, else the same.

    >>> invert("rotate 90"), invert("transpose")
    ('rotate 270', 'transpose')
    """
    return nearest_symmetry(MATRICES[SYMMETRIES.index(symmetry)].T)


def compose(first: str, then: str) -> str:
    """Return the symmetry that does the same as one after another.

    >>> compose("rotate 90", then="flip left-right")
    'anti-transpose'
    """
    return nearest_symmetry(MATRICES[SYMMETRIES.index(then)] @ MATRICES[SYMMETRIES.index(first)])


def nearest_symmetry(linear: npt.NDArray[np.float64]) -> str:
    """Return the symmetry that comes nearest to a linear map (2, 2) of points."""
    return SYMMETRIES[int(np.argmax((MATRICES * linear).sum(axis=(1, 2))))]
