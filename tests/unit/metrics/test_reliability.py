"""Laws of the reliability diagram and of the expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.metrics.reliability import calibration_interval, expected_calibration_error, measure_reliability


def test_calibration_error_of_calibrated_bins_is_zero() -> None:
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.0, 1.0]] * 3)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1, 1, 1, 1])) == pytest.approx(0.0)


def test_calibration_error_is_gap_at_certainty() -> None:
    probabilities = np.tile([[1.0, 0.0]], (10, 1))
    truth = np.array([0] * 7 + [1] * 3)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.3)


def test_calibration_error_finds_sharpened_probabilities() -> None:
    rng = np.random.default_rng(11)
    second = rng.random(20_000)
    truth = (rng.random(20_000) < second).astype(int)
    sharp = second**4 / (second**4 + (1 - second) ** 4)
    fair = expected_calibration_error(np.stack([1 - second, second], axis=1), truth)
    sharpened = expected_calibration_error(np.stack([1 - sharp, sharp], axis=1), truth)
    assert fair < 0.02
    assert sharpened > 0.1


def test_calibration_interval_reaches_zero_when_calibrated() -> None:
    rng = np.random.default_rng(13)
    second = rng.random(600)
    truth = (rng.random(600) < second).astype(int)
    fair = np.stack([1 - second, second], axis=1)
    low, high = calibration_interval(fair, truth)
    assert low == 0.0
    assert low <= expected_calibration_error(fair, truth) <= high < 0.1
    always = np.tile([[1.0, 0.0]], (600, 1))
    low, high = calibration_interval(always, truth)
    assert 0.4 < low < expected_calibration_error(always, truth) < high < 0.6
    duplicated = calibration_interval(
        np.tile(always, (4, 1)), np.tile(truth, 4), [str(i) for i in range(600)] * 4
    )
    assert duplicated == pytest.approx((low, high), abs=0.01)


def test_reliability_counts_every_image_once() -> None:
    rng = np.random.default_rng(12)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 500)
    bins = measure_reliability(probabilities, rng.integers(0, 3, 500), 10)
    assert bins.n.sum() == 500
    assert bins.n[:3].sum() == 0
    assert np.isnan(bins.fraction_correct[:3]).all()
    filled = bins.n > 0
    assert (bins.mean_probability[filled] <= bins.edges[1:][filled] + 1e-12).all()
    assert (bins.mean_probability[filled] > bins.edges[:-1][filled]).all()


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        ([[0.5, 0.6]], [0], "sum to 1"),
        ([[1.5, -0.5]], [0], "sum to 1"),
        ([[float("nan"), 1.0]], [0], "sum to 1"),
        ([[0.5, 0.5]], [0, 1], "1 or more files"),
    ],
)
def test_bad_probabilities_are_reported(probabilities: list, truth: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expected_calibration_error(np.array(probabilities), np.array(truth))
