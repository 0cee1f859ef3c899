"""The charts, the alarm and the state of one batch: one step per frame, resumable from one text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from georgia.config import build_config, flatten_config
from georgia.monitor.chart import ChartState, ControlLimits, start_charts, update_charts
from georgia.monitor.records import AlarmAction, AlarmChange, AuditAction
from georgia.monitor.result import ChartPoint, FrameAnalysis, FrameStatus, State
from georgia.monitor.settings import ChartConfig, ChartName, MonitorConfig

# A warning is shown at two thirds of the way to the limit: the two-sigma line of a three-sigma chart.
# Source: Montgomery, Introduction to Statistical Quality Control, 6th ed., section 5.3.2.
WARNING_AT = 2 / 3


@dataclass(frozen=True)
class AlarmState:
    """Whether an alarm is active, and for how many frames in a row its cause or its end has lasted."""

    is_on: bool = False
    n_over: int = 0
    n_clear: int = 0


def step_alarm(
    state: AlarmState, over: float | None, config: ChartConfig
) -> tuple[AlarmState, AlarmAction | None]:
    """Return the alarm's state after one more analysed frame, and what changed.

    It is raised after ``raise_after`` frames in a row on or over the limit, and cleared after ``clear_after``
    frames in a row below ``clear_below`` of it: between the two it stays as it is.

    >>> config = ChartConfig(raise_after=1, clear_after=1, clear_below=0.5)
    >>> on, change = step_alarm(AlarmState(), 1.2, config)
    >>> on.is_on, str(change), step_alarm(on, 0.8, config)[0].is_on, str(step_alarm(on, 0.4, config)[1])
    (True, 'raised', True, 'cleared')
    """
    if over is None:
        return state, None
    n_over = state.n_over + 1 if over >= 1 else 0
    n_clear = state.n_clear + 1 if over < config.clear_below else 0
    if not state.is_on and n_over >= config.raise_after:
        return AlarmState(True, n_over, 0), AlarmAction.RAISED
    if state.is_on and n_clear >= config.clear_after:
        return AlarmState(False, 0, n_clear), AlarmAction.CLEARED
    return AlarmState(state.is_on, n_over, n_clear), None


def name_state(status: FrameStatus, is_on: bool, is_warming_up: bool, over: float | None) -> State:
    """Return the probe's state; for a frame that could not be analysed it is the reason why."""
    if status != FrameStatus.ANALYSED:
        return State(status)
    if is_on:
        return State.ALARM
    if over is not None and over >= WARNING_AT:
        return State.WARNING
    return State.WARMING_UP if is_warming_up else State.IN_CONTROL


def name_reason(point: ChartPoint, fraction: float | None, config: ChartConfig) -> str:
    """Return in one clause why the alarm is raised."""
    if config.limit is not None and (point.ewma or 0.0) >= config.limit:
        return f"smoothed fraction {point.ewma:.3f} at or over the limit of {config.limit:g}"
    if config.chart == ChartName.CUSUM:
        return f"CUSUM {point.cusum:.2f} over its limit of {point.cusum_limit:g}"
    if config.chart == ChartName.P:
        return f"fraction {fraction:.3f} over the p-chart's limit of {point.p_limit:.3f}"
    return f"EWMA {point.ewma:.3f} over its limit of {point.ewma_limit:.3f}"


@dataclass(frozen=True)
class TrackerStep:
    """What one frame adds: chart values, the state, and what goes into the record with it."""

    point: ChartPoint
    state: State
    alarm: bool
    change: AlarmChange | None
    events: tuple[tuple[AuditAction, dict[str, Any]], ...]


class BatchTracker:
    """The charts and the alarm of one batch."""

    def __init__(self, config: ChartConfig) -> None:
        self.config = config
        self.charts = start_charts(config)
        self.alarm = AlarmState()

    @classmethod
    def from_json(cls, text: str, config: ChartConfig) -> BatchTracker:
        """Continue from what ``to_json`` returned; limits given by hand replace those that were estimated."""
        tracker = cls(config)
        values = json.loads(text)
        if values:
            tracker.charts = ChartState.from_json(json.dumps(values["charts"]))
            tracker.alarm = AlarmState(**values["alarm"])
            tracker._put_limits()
        return tracker

    def to_json(self) -> str:
        """Return everything that a restart needs, as one line of JSON."""
        return json.dumps({"charts": json.loads(self.charts.to_json()), "alarm": asdict(self.alarm)})

    def advance(self, analysis: FrameAnalysis, impurity: str) -> TrackerStep:
        """Take in one frame; one that could not be analysed changes neither charts nor alarm."""
        fraction = analysis.fraction_of(impurity)
        point, change = ChartPoint(), None
        events: tuple[tuple[AuditAction, dict[str, Any]], ...] = ()
        if analysis.status == FrameStatus.ANALYSED and fraction is not None:
            before = self.charts.limits
            self.charts, point = update_charts(
                self.charts, fraction.fraction, analysis.n_effective, self.config
            )
            if before is None and self.charts.limits is not None:
                events = ((AuditAction.LIMITS_SET, {**asdict(self.charts.limits), "frames": self.charts.n}),)
            self.alarm, changed = step_alarm(self.alarm, point.over, self.config)
            if changed is not None:
                is_raised = changed == AlarmAction.RAISED
                reason = name_reason(point, fraction.fraction, self.config) if is_raised else ""
                change = AlarmChange(changed, reason)
        is_warming_up = self.charts.limits is None
        state = name_state(analysis.status, self.alarm.is_on, is_warming_up, point.over)
        return TrackerStep(point, state, self.alarm.is_on, change, events)

    @staticmethod
    def check_changes(changes: Mapping[str, Any], config: MonitorConfig) -> MonitorConfig:
        """Return the settings with other chart settings.

        Raises:
            InputError: a setting is none of the charts', or its value is not allowed.
        """
        charts = build_config(ChartConfig, flatten_config(config.charts), changes, where="the limits")
        return replace(config, charts=charts)

    def change(self, config: ChartConfig) -> None:
        """Continue with other settings."""
        self.config = config
        self._put_limits()

    def _put_limits(self) -> None:
        if self.config.mean is None or self.config.sigma is None:
            return
        limits = ControlLimits(self.config.mean, self.config.sigma)
        if self.charts.limits != limits:
            self.charts = replace(
                self.charts, limits=limits, n_since_limits=0, cusum=0.0, ewma=limits.mean, baseline=()
            )
