"""Control charts against the textbook: its worked example, and its tables of run lengths."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.monitor.batch_tracker import name_reason
from georgia.monitor.chart import (
    ChartState,
    estimate_limits,
    ewma_half_width,
    next_cusum,
    next_ewma,
    p_limit,
    start_charts,
    update_charts,
)
from georgia.monitor.settings import ChartConfig

# Source: Montgomery, Introduction to Statistical Quality Control, 6th ed., Table 9.1 (the data), Table 9.2
# (its CUSUM with mean 10, K = 0.5, H = 5) and Table 9.10 (its EWMA with lambda 0.1, L = 2.7).
DATA = [9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34]
DATA += [9.03, 11.47, 10.51, 9.40, 10.08, 9.37, 10.62, 10.31, 8.52, 10.84]
DATA += [10.90, 9.33, 12.29, 11.50, 10.60, 11.08, 10.38, 11.62, 11.31, 10.52]
CUSUM = [0, 0, 0, 1.16, 2.82, 2.50, 0.04, 1.00, 0, 0, 0, 0.97, 0.98, 0, 0, 0, 0.12, 0, 0, 0.34]
CUSUM += [0.74, 0, 1.79, 2.79, 2.89, 3.47, 3.35, 4.47, 5.28, 5.30]
EWMA = [9.945, 9.7495, 9.70355, 9.8992, 10.1253, 10.1307, 9.92167, 10.0755, 9.98796, 10.0232, 9.92384]


def test_cusum_matches_textbook() -> None:
    value, values = 0.0, []
    for x in DATA:
        value = next_cusum(value, x - 10, 0.5)
        values.append(value)
    assert values == pytest.approx(CUSUM, abs=0.006)
    assert [n for n, value in enumerate(values, 1) if value > 5] == [29, 30]


def test_ewma_matches_textbook() -> None:
    value, values = 10.0, []
    for x in DATA:
        value = next_ewma(value, x, 0.1)
        values.append(value)
    assert values[: len(EWMA)] == pytest.approx(EWMA, rel=1e-4)
    limits = [10 + ewma_half_width(1.0, 0.1, 2.7, t) for t in range(1, 31)]
    assert limits[0] == pytest.approx(10.27)
    assert limits[-1] == pytest.approx(10.62, abs=0.005)
    assert [t for t, (z, limit) in enumerate(zip(values, limits, strict=True), 1) if z > limit] == [29, 30]


@pytest.mark.parametrize(("mean", "limit"), [(0.2313, 0.4102), (0.2150, 0.3893)])
def test_p_chart_matches_textbook(mean: float, limit: float) -> None:
    # Source: Montgomery, 6th ed., example 7.1 (orange juice cans, n = 50).
    assert p_limit(mean, 50) == pytest.approx(limit, abs=1e-4)


def run_lengths(shift: float, n_runs: int, step, over) -> float:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(7)
    total = 0
    for _ in range(n_runs):
        value, length, draws = 0.0, 0, iter(())
        while True:
            for z in draws:
                value, length = step(value, z), length + 1
                if over(value):
                    break
            else:
                draws = iter((rng.standard_normal(256) + shift).tolist())
                continue
            break
        total += length
    return total / n_runs


# Source: Montgomery, 6th ed., Table 9.4 (k = 0.5). Its chart looks both ways: in control a one-sided chart
# runs twice as long, and at these shifts the other side never signals.
@pytest.mark.parametrize(
    ("shift", "h", "expected", "n_runs"), [(0.0, 4, 2 * 168, 600), (1.0, 4, 8.38, 2000), (1.0, 5, 10.4, 2000)]
)
def test_cusum_run_length_matches_table(shift: float, h: float, expected: float, n_runs: int) -> None:
    found = run_lengths(shift, n_runs, lambda c, z: next_cusum(c, z, 0.5), lambda c: c > h)
    assert found == pytest.approx(expected, rel=4.5 / math.sqrt(n_runs))


# Source: Lucas and Saccucci 1990, doi 10.1080/00401706.1990.10484583; Montgomery, 6th ed., Table 9.11.
@pytest.mark.parametrize(
    ("shift", "weight", "width", "expected"),
    [(1.0, 0.2, 2.962, 10.5), (1.0, 0.1, 2.814, 10.3), (0.5, 0.2, 2.962, 41.8)],
)
def test_ewma_run_length_matches_table(shift: float, weight: float, width: float, expected: float) -> None:
    limit = ewma_half_width(1.0, weight, width, 10_000)
    found = run_lengths(shift, 1500, lambda z, x: next_ewma(z, x, weight), lambda z: z > limit)
    assert found == pytest.approx(expected, rel=0.09)


def test_limits_come_from_baseline() -> None:
    rng = np.random.default_rng(3)
    config = ChartConfig(baseline_frames=200)
    state = ChartState()
    for x in rng.binomial(40, 0.1, 200) / 40:
        assert state.limits is None
        state, point = update_charts(state, float(x), 40.0, config)
    assert state.limits is not None
    assert state.limits.mean == pytest.approx(0.1, abs=0.015)
    assert state.limits.sigma == pytest.approx(math.sqrt(0.09 / 40), rel=0.15)
    assert point.over is None
    state, point = update_charts(state, 0.1, 40.0, config)
    assert 0 <= (point.over or 0) < 1


def test_clean_baseline_allows_for_counting() -> None:
    limits = estimate_limits([0.0] * 30, [40.0] * 30)
    assert limits.mean == 0
    assert limits.sigma > 0
    assert p_limit(0.0, 40) == 0
    with pytest.raises(InputError, match="two frames or more"):
        estimate_limits([0.1], [40.0])


def test_p_chart_widens_with_dispersion() -> None:
    rng = np.random.default_rng(5)
    fractions = np.clip(rng.normal(0.2, 0.15, 300), 0, 1)
    limits = estimate_limits(fractions.tolist(), [40.0] * 300)
    assert limits.dispersion == pytest.approx(0.15 / math.sqrt(0.16 / 40), rel=0.15)


def test_cusum_recovers_after_long_alarm() -> None:
    config = ChartConfig(mean=0.1, sigma=0.05, chart="cusum")
    state = start_charts(config)
    for _ in range(100):
        state, point = update_charts(state, 1.0, 40.0, config)
    assert (point.over or 0) > 1
    for _ in range(50):
        state, point = update_charts(state, 0.1, 40.0, config)
    assert point.over == 0


@pytest.mark.parametrize("chart", ["ewma", "cusum", "p"])
def test_saved_chart_state_continues_exactly(chart: str) -> None:
    config = ChartConfig(baseline_frames=5, chart=chart)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    whole = cut = ChartState()
    for x in rng.random(20).tolist():
        whole, expected = update_charts(whole, x, 30.0, config)
        cut, point = update_charts(ChartState.from_json(cut.to_json()), x, 30.0, config)
        assert point == expected
    assert cut == whole


def test_state_of_an_earlier_version_pools_anew() -> None:
    config = ChartConfig(mean=0.05, sigma=0.02)
    state, _ = update_charts(start_charts(config), 0.06, 40.0, config)
    values = json.loads(state.to_json())
    del values["pool"]
    old = ChartState.from_json(json.dumps(values))
    _, point = update_charts(old, 0.06, 40.0, config)
    _, alone = update_charts(start_charts(config), 0.06, 40.0, config)
    assert (point.ewma_low, point.ewma_high) == (alone.ewma_low, alone.ewma_high)


def test_plain_limit_holds_during_baseline() -> None:
    config = ChartConfig(limit=0.2, baseline_frames=50)
    _, point = update_charts(ChartState(), 0.3, 40.0, config)
    assert point.over == pytest.approx(1.5)
    assert "limit of 0.2" in name_reason(point, 0.3, config)
