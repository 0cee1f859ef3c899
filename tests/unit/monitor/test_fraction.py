"""The fraction that the windows of a frame add up to, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.monitor.fraction import count_effective, estimate_fractions, find_smoothing
from georgia.monitor.tile import (
    place_windows,
)

NAMES = ("CEX", "PG")


def test_effective_count_follows_overlap() -> None:
    apart = place_windows(400, 400, 100, 0.0)
    assert count_effective(apart) == pytest.approx(16)
    assert count_effective(np.repeat(apart[:1], 5, axis=0)) == pytest.approx(1)
    overlapping = place_windows(400, 400, 100, 0.5)
    assert len(overlapping) == 49
    assert 12 <= count_effective(overlapping) <= 20
    assert count_effective(apart[:0]) == 0


def test_fraction_is_mean_probability() -> None:
    boxes = place_windows(300, 300, 100, 0.0)
    p = np.array([0, 0, 0, 0, 0.5, 1, 1, 0, 0], np.float32)
    codes = (p > 0.5).astype(np.int8)
    codes[7], codes[8] = -1, -2
    classes, n_effective = estimate_fractions(boxes, codes, np.stack([1 - p, p], axis=1), NAMES)
    assert n_effective == pytest.approx(7)
    assert classes[1].fraction == pytest.approx(2.5 / 7)
    assert classes[0].fraction + classes[1].fraction == pytest.approx(1)
    assert (classes[0].n, classes[1].n) == (5, 2)
    assert classes[1].low < 2.5 / 7 < classes[1].high


def test_windows_count_by_their_cover() -> None:
    boxes = place_windows(300, 300, 100, 0.0)
    # Six windows full of CEX, two of PG, and a tip of PG that the net takes for CEX.
    p = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0], np.float32)
    cover = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0])
    both, codes = np.stack([1 - p, p], axis=1), p.astype(np.int8)
    classes, n_effective = estimate_fractions(boxes, codes, both, NAMES, cover=cover)
    assert classes[1].fraction == pytest.approx(0.25)
    assert n_effective == pytest.approx(8)
    none, n_equal = estimate_fractions(boxes, codes, both, NAMES, cover=np.zeros(9))
    assert (none[1].fraction, n_equal) == (pytest.approx(2 / 9), pytest.approx(9))


def test_cover_changes_no_pure_frame() -> None:
    boxes = place_windows(300, 300, 100, 0.0)
    cover = np.random.default_rng(0).random(9)
    for code in (0, 1):
        both = np.eye(2, dtype=np.float32)[np.full(9, code)]
        classes, _ = estimate_fractions(boxes, np.full(9, code, np.int8), both, NAMES, cover=cover)
        assert [item.fraction for item in classes] == [1 - code, code]


def test_label_smoothing_is_undone() -> None:
    boxes = place_windows(300, 300, 100, 0.0)
    truth = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.float32)
    p = 0.9 * truth + 0.05
    classes, _ = estimate_fractions(boxes, truth.astype(np.int8), np.stack([1 - p, p], axis=1), NAMES, 0.1)
    assert classes[1].fraction == pytest.approx(1 / 3)
    clean, _ = estimate_fractions(
        boxes, np.zeros(9, np.int8), np.full((9, 2), [0.95, 0.05], np.float32), NAMES, 0.1
    )
    assert clean[1].fraction == pytest.approx(0, abs=1e-6)
    assert clean[1].low == 0
    assert find_smoothing({"recipe": {"label_smoothing": 0.1}}) == 0.1
    assert find_smoothing({"recipe": {"label_smoothing": 0.1}, "calibration": {}}) == 0
    assert find_smoothing({}) == 0


def test_more_windows_narrow_interval() -> None:
    widths = []
    for side in (200, 400, 800):
        boxes = place_windows(side, side, 100, 0.25)
        p = np.tile([0.0, 0.0, 0.0, 1.0], len(boxes))[: len(boxes)].astype(np.float32)
        classes, _ = estimate_fractions(boxes, p.astype(np.int8), np.stack([1 - p, p], axis=1), NAMES)
        widths.append(classes[1].high - classes[1].low)
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(("fraction", "excludes_none"), [(0.01, False), (0.2, True)])
def test_interval_below_one_window_includes_zero(fraction: float, excludes_none: bool) -> None:
    boxes = place_windows(600, 600, 100, 0.0)
    p = np.full(len(boxes), fraction, np.float32)
    classes, _ = estimate_fractions(boxes, np.zeros(len(boxes), np.int8), np.stack([1 - p, p], 1), NAMES)
    assert (classes[1].low > 0) == excludes_none
    assert classes[0].high == 1 or excludes_none
