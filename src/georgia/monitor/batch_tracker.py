"""The course of a batch: charts, alarm and state in words, one step a frame, resumable from one text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from georgia.config import build_config
from georgia.monitor.alarm import AlarmState, name_reason, name_state, step_alarm
from georgia.monitor.chart import ChartState, Limits, start_charts, update_charts
from georgia.monitor.result import ChartPoint, State
from georgia.monitor.settings import ChartConfig, MonitorConfig
from georgia.monitor.store import AlarmChange
from georgia.monitor.tile import FrameAnalysis


@dataclass(frozen=True)
class CourseStep:
    """What one frame adds: chart values, the state in words, and what goes into the record with it."""

    point: ChartPoint
    state: State
    alarm: bool
    change: AlarmChange | None
    acts: tuple[tuple[str, dict[str, Any]], ...]


class BatchTracker:
    """The charts and the alarm of one batch."""

    def __init__(self, config: ChartConfig) -> None:
        self.config = config
        self.charts = start_charts(config)
        self.alarm = AlarmState()

    @classmethod
    def from_json(cls, text: str, config: ChartConfig) -> BatchTracker:
        """Go on from what ``to_json`` gave; limits given by hand stand above those that were found."""
        course = cls(config)
        values = json.loads(text)
        if values:
            course.charts = ChartState.from_json(json.dumps(values["charts"]))
            course.alarm = AlarmState(**values["alarm"])
            course._put_limits()
        return course

    def to_json(self) -> str:
        """Return everything that a restart needs, as one line of JSON."""
        return json.dumps({"charts": json.loads(self.charts.to_json()), "alarm": asdict(self.alarm)})

    def advance(self, judgement: FrameAnalysis, impurity: str) -> CourseStep:
        """Take one frame in; one that could not be judged moves neither charts nor alarm."""
        fraction = judgement.fraction_of(impurity)
        point, change = ChartPoint(), None
        acts: tuple[tuple[str, dict[str, Any]], ...] = ()
        if judgement.status == "judged" and fraction is not None:
            before = self.charts.limits
            self.charts, point = update_charts(
                self.charts, fraction.fraction, judgement.n_effective, self.config
            )
            if before is None and self.charts.limits is not None:
                acts = (("limits set", {**asdict(self.charts.limits), "frames": self.charts.n}),)
            self.alarm, changed = step_alarm(self.alarm, point.over, self.config)
            if changed is not None:
                reason = name_reason(point, fraction.fraction, self.config) if changed == "raised" else ""
                change = AlarmChange(changed, reason)
        is_warming_up = self.charts.limits is None
        state = name_state(judgement.status, self.alarm.is_on, is_warming_up, point.over)
        return CourseStep(point, state, self.alarm.is_on, change, acts)

    @staticmethod
    def check_changes(changes: Mapping[str, Any], config: MonitorConfig) -> MonitorConfig:
        """Return the settings with other chart settings.

        Raises:
            InputError: a setting is none of the charts', or its value is refused.
        """
        build_config(ChartConfig, changes, where="the limits")
        return replace(config, **{k: getattr(build_config(ChartConfig, changes), k) for k in changes})

    def change(self, config: ChartConfig) -> None:
        """Go on with other settings."""
        self.config = config
        self._put_limits()

    def _put_limits(self) -> None:
        if self.config.mean is None or self.config.sigma is None:
            return
        limits = Limits(self.config.mean, self.config.sigma)
        if self.charts.limits != limits:
            self.charts = replace(
                self.charts, limits=limits, n_since_limits=0, cusum=0.0, ewma=limits.mean, baseline=()
            )
