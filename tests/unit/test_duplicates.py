"""Copies: laws of the symmetries and of the search, and planted truth in drawn crops."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from georgia.audit.duplicates import CopyConfig, describe_picture, find_copies
from georgia.audit.symmetry import MATRICES, SYMMETRIES, compose, invert, turn_image
from georgia.synthetic import draw_crop


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    return [draw_crop(name, seed, (120, 140)).image for seed in range(6) for name in ("CEX", "PG")]


def test_symmetries_are_a_group() -> None:
    grid = np.arange(12).reshape(3, 4)
    for first, then in itertools.product(SYMMETRIES, repeat=2):
        expected = turn_image(turn_image(grid, first), then)
        assert np.array_equal(turn_image(grid, compose(first, then)), expected)
    for name in SYMMETRIES:
        assert compose(name, invert(name)) == "identity"


@pytest.mark.parametrize("name", SYMMETRIES)
def test_points_turn_as_pixels_do(name: str) -> None:
    image = np.zeros((5, 7), np.uint8)
    image[1, 5] = 1
    turned = turn_image(image, name)
    x, y = MATRICES[SYMMETRIES.index(name)] @ (5 - 3, 1 - 2)
    height, width = turned.shape
    assert turned[round(y + (height - 1) / 2), round(x + (width - 1) / 2)] == 1


@pytest.mark.parametrize("name", SYMMETRIES)
def test_exact_copies_are_found_and_the_transform_maps_first_on_second(
    crops: list[np.ndarray], name: str
) -> None:
    images = [crops[0], crops[1], turn_image(crops[0], name)]
    copies = find_copies([describe_picture(image) for image in images])
    assert copies.groups == ((0, 2),)
    assert [(pair.first, pair.second, pair.kind, pair.similarity) for pair in copies.pairs] == [
        (0, 2, "exact", 1.0)
    ]
    assert np.array_equal(turn_image(images[0], copies.pairs[0].transform), images[2])


def test_changed_copies_are_near_and_distinct_crops_are_none(crops: list[np.ndarray]) -> None:
    packed = cv2.imencode(".jpg", crops[2], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    changed = [
        np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8),
        cv2.resize(turn_image(crops[3], "transpose"), (100, 130), interpolation=cv2.INTER_AREA),
        np.clip(crops[4] * 0.7 + 30, 0, 255).astype(np.uint8),
        turn_image(crops[5][10:-10, 12:-12], "rotate 90"),
    ]
    copies = find_copies([describe_picture(image) for image in [*crops, *changed]])
    n = len(crops)
    assert copies.groups == ((2, n), (3, n + 1), (4, n + 2), (5, n + 3))
    transforms = [pair.transform for pair in copies.pairs]
    assert transforms == ["identity", "transpose", "identity", "rotate 90"]
    assert {pair.kind for pair in copies.pairs} == {"near"}


def test_order_of_files_changes_nothing(crops: list[np.ndarray]) -> None:
    images = [*crops, turn_image(crops[1], "rotate 90"), crops[3][8:, 8:]]
    descriptions = [describe_picture(image) for image in images]
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = find_copies([descriptions[place] for place in order])
    straight = find_copies(descriptions)
    back = {frozenset(int(order[place]) for place in group) for group in shuffled.groups}
    assert back == {frozenset(group) for group in straight.groups} == {frozenset((1, 12)), frozenset((3, 13))}


def test_unreadable_pictures_and_small_sets_have_no_copies(crops: list[np.ndarray]) -> None:
    assert find_copies([]).pairs == ()
    assert find_copies([None, describe_picture(crops[0]), None]).groups == ()


def test_exact_only(crops: list[np.ndarray]) -> None:
    descriptions = [describe_picture(image) for image in (crops[0], crops[0][4:], crops[0][::-1])]
    assert find_copies(descriptions, CopyConfig(near=False)).groups == ((0, 2),)
