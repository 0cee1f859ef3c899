"""The learning curve: the law that is fitted, its interval, and when nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.label.curve import LearningCurve, fit_law, forecast_curve, measure_curve
from georgia.label.heads import HeadConfig, HeadData, fit_head, make_folds


def make_data(n: int, distance: float, seed: int = 0, n_features: int = 40) -> HeadData:
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    served = rng.normal(size=(n, n_features))
    served[:, 0] += np.where(targets, distance, -distance)
    served = served.astype(np.float32)
    return HeadData(served[:, None], served, targets, np.arange(n), 2)


def measure(n: int, distance: float, seed: int = 0, n_features: int = 40) -> LearningCurve:
    data = make_data(n, distance, seed, n_features)
    folds = make_folds(data, 0)
    assert folds is not None
    return measure_curve(data, folds, HeadConfig(), 0)


@pytest.mark.parametrize("law", [(2.0, 0.5, 0.02), (0.8, 0.3, 0.0), (5.0, 1.0, 0.1)])
def test_known_law_is_found_again(law: tuple[float, float, float]) -> None:
    sizes = np.array([20, 40, 80, 160, 320])
    a, b, c = law
    found = fit_law(sizes, a * sizes**-b + c)
    assert found == pytest.approx(law, abs=0.01)


def test_flat_curve_promises_nothing() -> None:
    sizes = np.array([20, 40, 80, 160])
    rng = np.random.default_rng(0)
    flat = 0.8 + 0.01 * rng.normal(size=(100, 4))
    points, why_not = forecast_curve(sizes, np.full(4, 0.8), flat, (400,))
    assert not why_not
    assert points[0].f1 == pytest.approx(0.8, abs=0.02)


@pytest.mark.slow
def test_forecast_interval_holds_what_comes() -> None:
    """Of simulated curves, what 2n labels really reach lies in the interval nearly always."""
    n_inside = n_said = 0
    truth = make_data(4000, 0.9, seed=999)
    for seed in range(10):
        curve = measure(120, 0.9, seed=seed)
        if not curve.forecast:
            continue
        n_said += 1
        more = make_data(240, 0.9, seed=seed)
        labels = fit_head(more, HeadConfig()).logits(truth.served).argmax(axis=1)
        low, high = curve.forecast[-1].f1_ci95
        n_inside += low <= (labels == truth.targets).mean() <= high
    assert n_said >= 7
    assert n_inside >= n_said - 1


def test_curve_rises_where_labels_help() -> None:
    curve = measure(150, 1.0)
    assert curve.points[-1].f1 > curve.points[0].f1
    assert [point.n for point in curve.points] == sorted(point.n for point in curve.points)
    assert "With 300 labels instead of 150" in curve.describe()


def test_few_labels_are_not_enough_to_say() -> None:
    curve = measure(30, 1.0)
    assert not curve.forecast
    assert "not enough to say (40 labels are needed, 30 are there)" in curve.describe()


def test_no_errors_are_not_enough_to_say() -> None:
    curve = measure(100, 6.0, n_features=3)
    assert "only 0 errors are left" in curve.describe()


@pytest.mark.slow
def test_even_images_decide_where_there_are_enough() -> None:
    """The images scored are the first 40, whose classes are swapped: the curve must fall below chance."""
    data = make_data(160, 2.0)
    scored = np.arange(160) < 40
    data.targets[:40] = 1 - data.targets[:40]
    folds = make_folds(data, 0)
    assert folds is not None
    on_even = measure_curve(data, folds, HeadConfig(), 0, scored)
    assert on_even.on_even
    assert on_even.points[-1].f1 < 0.45
    too_few = measure_curve(data, folds, HeadConfig(), 0, np.arange(160) < 20)
    assert not too_few.on_even
    assert too_few.points[-1].f1 > 0.6
