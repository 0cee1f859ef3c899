"""The alarm and the state of a batch, and what may change while it runs."""

from __future__ import annotations

import json

import pytest

from georgia.errors import InputError
from georgia.monitor.batch_tracker import (
    AlarmState,
    BatchTracker,
    name_reason,
    name_state,
    raise_alarm,
    step_alarm,
)
from georgia.monitor.chart import start_charts, update_charts
from georgia.monitor.result import ChartPoint, FrameStatus, LimitKind, State
from georgia.monitor.settings import ChartConfig, MonitorConfig


def test_alarm_has_hysteresis() -> None:
    config = ChartConfig(raise_after=2, clear_after=3, clear_below=0.7)
    state, steps = AlarmState(), []
    overs = [1.1, 0.9, 1.0, 1.2, 0.8, 0.6, 0.6, 0.75, 0.6, 0.6, 0.5, 0.9]
    for over in overs:
        state, change = step_alarm(state, over, config)
        steps.append((state.is_on, change))
    assert [change for _, change in steps] == [None] * 3 + ["raised"] + [None] * 6 + ["cleared", None]
    assert [is_on for is_on, _ in steps] == [False] * 3 + [True] * 7 + [False] * 2
    assert step_alarm(state, None, config) == (state, None)


def test_state_follows_status_and_charts() -> None:
    analysed = FrameStatus.ANALYSED
    assert name_state(analysed, False, True, None) is State.WARMING_UP
    assert name_state(analysed, False, False, 0.1) is State.IN_CONTROL
    assert name_state(analysed, False, False, 0.7) is State.WARNING
    assert name_state(analysed, True, False, 0.1) is State.ALARM
    assert name_state(FrameStatus.CAMERA_BLIND, True, False, None) is State.CAMERA_BLIND
    assert "p-chart" in name_reason(ChartPoint(p_limit=0.2), 0.3, ChartConfig(chart="p"))
    assert "CUSUM" in name_reason(ChartPoint(cusum=6.0, cusum_limit=5.0), 0.3, ChartConfig(chart="cusum"))


@pytest.mark.parametrize("kind", list(LimitKind))
def test_alarm_names_limit_that_was_passed(kind: LimitKind) -> None:
    chart = "ewma" if kind == LimitKind.PLAIN else str(kind)
    sigma, limit = (0.1, 0.05) if kind == LimitKind.PLAIN else (0.01, 1.0)
    config = ChartConfig(chart=chart, mean=0.02, sigma=sigma, limit=limit)
    state = start_charts(config)
    for fraction in (0.3, 0.4, 0.5):
        state, point = update_charts(state, fraction, 40.0, config)
    change = raise_alarm(point, 0.5, config)
    assert (change.chart, point.leading, point.limit) == (str(kind), kind, config.limit)
    assert change.value is not None
    assert change.limit is not None
    assert change.value >= change.limit
    assert {"ewma": "EWMA", "cusum": "CUSUM", "p": "p-chart", "limit": "limit of 0.05"}[kind] in change.reason


def test_state_of_old_version_knows_its_model() -> None:
    tracker = BatchTracker(ChartConfig(baseline_frames=5))
    for _ in range(5):
        tracker.charts, _point = update_charts(tracker.charts, 0.1, 40.0, tracker.config)
    values = json.loads(tracker.to_json())
    del values["basis"]
    text = json.dumps(values)
    same, other = {"model": "a"}, {"model": "b"}
    assert BatchTracker.from_json(text, tracker.config, same, known_basis=same).charts == tracker.charts
    resumed = BatchTracker.from_json(text, tracker.config, other, known_basis=same)
    assert resumed.charts.limits is None
    assert "another model" in resumed.take_dropped()["reason"]
    assert resumed.take_dropped() == {}


def test_changes_are_limited_to_charts() -> None:
    config = MonitorConfig(charts=ChartConfig(limit=0.3))
    assert BatchTracker.check_changes({"limit": 0.1}, config).charts.limit == 0.1
    with pytest.raises(InputError, match="'watch' is no setting"):
        BatchTracker.check_changes({"watch": "/etc"}, config)
    with pytest.raises(InputError, match="limit must be above 0"):
        BatchTracker.check_changes({"limit": 2.0}, config)
