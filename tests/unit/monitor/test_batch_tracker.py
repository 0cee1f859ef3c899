"""The alarm and the state of a batch, and what may change while it runs."""

from __future__ import annotations

import pytest

from georgia.errors import InputError
from georgia.monitor.batch_tracker import AlarmState, BatchTracker, name_reason, name_state, step_alarm
from georgia.monitor.result import ChartPoint, FrameStatus, State
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


def test_changes_are_limited_to_charts() -> None:
    config = MonitorConfig(charts=ChartConfig(limit=0.3))
    assert BatchTracker.check_changes({"limit": 0.1}, config).charts.limit == 0.1
    with pytest.raises(InputError, match="'watch' is no setting"):
        BatchTracker.check_changes({"watch": "/etc"}, config)
    with pytest.raises(InputError, match="limit must be above 0"):
        BatchTracker.check_changes({"limit": 2.0}, config)
