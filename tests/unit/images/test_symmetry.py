"""Laws of the eight symmetries: a group, the same for pixels, points and Exif's orientations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from georgia.images.symmetry import SYMMETRIES, Symmetry


def test_symmetries_form_a_group() -> None:
    grid = np.arange(12).reshape(3, 4)
    for first, other in itertools.product(SYMMETRIES, repeat=2):
        expected = other.apply(first.apply(grid))
        assert np.array_equal(first.then(other).apply(grid), expected)
        assert np.array_equal(first.then(other).matrix, other.matrix @ first.matrix)
    for symmetry in SYMMETRIES:
        assert symmetry.then(symmetry.inverse) is Symmetry.IDENTITY


def test_symmetries_give_eight_images() -> None:
    grid = np.arange(6).reshape(2, 3)
    images = [symmetry.apply(grid) for symmetry in SYMMETRIES]
    assert len({(image.tobytes(), image.shape) for image in images}) == 8
    assert all(image.flags.c_contiguous for image in images)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_matrix_moves_points_like_pixels(symmetry: Symmetry) -> None:
    image = np.zeros((5, 7), np.uint8)
    image[1, 5] = 1
    moved = symmetry.apply(image)
    x, y = symmetry.matrix @ (5 - 3, 1 - 2)
    height, width = moved.shape
    assert moved[round(y + (height - 1) / 2), round(x + (width - 1) / 2)] == 1


def test_symmetry_names_are_public() -> None:
    assert " ".join(symmetry.short_name for symmetry in SYMMETRIES) == (
        "none rot90 rot180 rot270 flip_x flip_y transpose transverse"
    )
    assert ", ".join(SYMMETRIES) == (
        "identity, rotate 90, rotate 180, rotate 270, "
        "flip left-right, flip top-bottom, transpose, anti-transpose"
    )
