"""The charts, the alarm and the state of one batch: one step per frame, resumable from one text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from georgia.config import build_config, flatten_config
from georgia.monitor.chart import ChartState, ControlLimits, read_limit, start_charts, update_charts
from georgia.monitor.input_charts import InputCharts
from georgia.monitor.records import AlarmAction, AlarmChange, AuditAction
from georgia.monitor.result import ChartPoint, FrameAnalysis, FrameStatus, LimitKind, State
from georgia.monitor.settings import ChartConfig, MonitorConfig, Windows

if TYPE_CHECKING:
    from georgia.monitor.tile import FrameAnalyzer

# A warning is shown at two thirds of the way to the limit: the two-sigma line of a three-sigma chart.
# Source: Montgomery, Introduction to Statistical Quality Control, 6th ed., section 5.3.2.
WARNING_AT = 2 / 3
# Where limits come from.
LEARNED, BY_HAND, OF_BATCH = "learned", "by hand", "of a batch"


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
    """Return in one clause why the alarm is raised: whose limit was passed, the value, and the limit."""
    kind = LimitKind(point.leading or config.chart)
    value, limit = read_limit(kind, point, fraction)
    value, limit = value or 0.0, limit or 0.0
    if kind == LimitKind.PLAIN:
        return f"smoothed fraction {value:.3f} at or over the limit of {limit:g}"
    if kind == LimitKind.CUSUM:
        return f"CUSUM {value:.2f} over its limit of {limit:g}"
    if kind == LimitKind.P:
        return f"fraction {value:.3f} over the p-chart's limit of {limit:.3f}"
    return f"EWMA {value:.3f} over its limit of {limit:.3f}"


def raise_alarm(point: ChartPoint, fraction: float | None, config: ChartConfig) -> AlarmChange:
    """Return an alarm with its reason, in words and in numbers."""
    kind = LimitKind(point.leading or config.chart)
    value, limit = read_limit(kind, point, fraction)
    return AlarmChange(AlarmAction.RAISED, name_reason(point, fraction, config), str(kind), value, limit)


@dataclass(frozen=True)
class TrackerStep:
    """What one frame adds: chart values, the state, and what goes into the record with it."""

    point: ChartPoint
    state: State
    alarm: bool
    change: AlarmChange | None
    events: tuple[tuple[AuditAction, dict[str, Any]], ...]


class BatchTracker:
    """The charts and the alarm of one batch.

    Args:
        config: the settings of the charts.
        basis: what fractions are measured with: the model's sha256, the class, the windows.
        released: limits of an earlier batch, which hold unless ``config`` gives others by hand.
    """

    def __init__(
        self,
        config: ChartConfig,
        basis: Mapping[str, Any] | None = None,
        released: ControlLimits | None = None,
    ) -> None:
        self.config, self.basis, self.released = config, dict(basis or {}), released
        self.charts = start_charts(config)
        self.alarm = AlarmState()
        # Whether the limits are such that nobody has to confirm them, or somebody has.
        self.is_confirmed = True
        # The hash of the last frame's pixels, by which a frozen camera is known.
        self.last_pixels = ""
        # For the audit log: limits that were left behind because they were learned otherwise, and whether
        # those of an earlier batch were taken. ``origin``: where the present ones come from, "" before any.
        self.origin = ""
        self.dropped: dict[str, Any] = {}
        self.has_taken = False
        # What comes in: rejected windows, light, detail, and whether it is what the model knows.
        self.input = InputCharts()
        self._put_limits()

    @classmethod
    def from_json(
        cls,
        text: str,
        config: ChartConfig,
        basis: Mapping[str, Any] | None = None,
        released: ControlLimits | None = None,
        known_basis: Mapping[str, Any] | None = None,
    ) -> BatchTracker:
        """Continue from what ``to_json`` returned; limits given by hand replace those that were estimated.

        Limits that were learned on another basis are dropped, and learned anew. ``known_basis`` is what is
        known of the basis of a text of version 0.1, which does not hold it.
        """
        tracker = cls(config, basis, released)
        values = json.loads(text)
        if values:
            tracker.has_taken = False
            tracker.charts = ChartState.from_json(json.dumps(values["charts"]))
            tracker.alarm = AlarmState(**values["alarm"])
            tracker.is_confirmed = values.get("is_confirmed", True)
            tracker.last_pixels = values.get("last_pixels", "")
            tracker.input.resume(values.get("input"))
            tracker.origin = values.get("origin", "")
            tracker.basis = dict(values.get("basis") or known_basis or {})
            tracker.take_basis(basis or {})
            tracker._put_limits()
        return tracker

    def to_json(self) -> str:
        """Return everything that a restart needs, as one line of JSON."""
        charts, alarm = json.loads(self.charts.to_json()), asdict(self.alarm)
        rest = {"is_confirmed": self.is_confirmed, "last_pixels": self.last_pixels, "basis": self.basis}
        rest["input"] = self.input.to_plain()
        return json.dumps({"charts": charts, "alarm": alarm, "origin": self.origin, **rest})

    def take_basis(self, basis: Mapping[str, Any]) -> None:
        """Measure on another basis from now on; limits, and frames of a baseline, of another are dropped.

        An alarm stays as it is. Limits given by hand, or of an earlier batch, are the settings' and stay.
        """
        differing = find_differences(self.basis, basis)
        self.basis = dict(basis)
        is_left = self.origin == BY_HAND and self._find_given() is None
        if not differing and not is_left:
            return
        if "model" in differing:
            self.input.forget()
        limits, n_baseline = self.charts.limits, len(self.charts.baseline)
        is_given = limits is not None and limits == self._find_given()
        self.charts, self.origin = ChartState(n=self.charts.n), ""
        self._put_limits()
        if is_given or (limits is None and not n_baseline):
            return
        self.is_confirmed = True
        detail = asdict(limits) if limits is not None else {"baseline": n_baseline}
        reason = f"they were learned with another {' and another '.join(differing)}"
        reason = reason if differing else "they were given by hand, and are not any more"
        self.dropped = {"reason": f"{reason}; they are learned anew", **detail}

    def take_dropped(self) -> dict[str, Any]:
        """Return, once, what the audit log is to hold of limits that were dropped."""
        dropped, self.dropped = self.dropped, {}
        return dropped

    def advance(self, analysis: FrameAnalysis, impurity: str) -> TrackerStep:
        """Take in one frame; one that could not be analysed changes neither charts nor alarm."""
        fraction = analysis.fraction_of(impurity)
        point, change = ChartPoint(), None
        events: tuple[tuple[AuditAction, dict[str, Any]], ...] = ()
        if analysis.status == FrameStatus.ANALYSED and fraction is not None:
            before = self.charts.limits
            self.charts, point = update_charts(
                self.charts, fraction.fraction, analysis.n_effective, self.config, analysis.subset
            )
            if before is None and self.charts.limits is not None:
                self.origin = LEARNED
                self.is_confirmed = self.charts.limits.mean <= self.config.most_plausible
                detail = {**asdict(self.charts.limits), "frames": self.charts.n}
                if not self.is_confirmed:
                    detail |= {"reason": self.describe_limits(), "is_confirmed": False}
                events = ((AuditAction.LIMITS_SET, detail),)
            self.alarm, changed = step_alarm(self.alarm, point.over, self.config)
            if changed is not None:
                is_raised = changed == AlarmAction.RAISED
                change = AlarmChange(changed)
                if is_raised:
                    change = raise_alarm(point, fraction.fraction, self.config)
        is_warming_up = self.charts.limits is None
        state = name_state(analysis.status, self.alarm.is_on, is_warming_up, point.over)
        if not self.is_confirmed and state in (State.IN_CONTROL, State.WARNING):
            state = State.LIMITS_UNCONFIRMED
        compared = self.input.advance(analysis.input)
        if compared is not None:
            events = (*events, (AuditAction.COMMISSIONED, {**compared.to_event(), "by": "the first frames"}))
        state, point = self.input.name_state(state), replace(point, **vars(self.input.point))
        return TrackerStep(point, state, self.alarm.is_on, change, events)

    def describe_limits(self) -> str:
        """Return in one clause at which mean the limits were learned, and what is plausible."""
        mean = self.charts.limits.mean if self.charts.limits else 0.0
        return f"limits learned at {mean:.1%}; up to {self.config.most_plausible:.1%} is plausible"

    def confirm(self) -> bool:
        """Take the limits as confirmed; return whether that was needed."""
        was_needed, self.is_confirmed = not self.is_confirmed, True
        return was_needed

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

    def _find_given(self) -> ControlLimits | None:
        """Return the limits that the settings give, by hand or of an earlier batch."""
        if self.config.mean is None or self.config.sigma is None:
            return self.released
        return ControlLimits(self.config.mean, self.config.sigma)

    def _put_limits(self) -> None:
        limits = self._find_given()
        if limits is None:
            return
        self.is_confirmed = True
        self.origin = OF_BATCH if limits is self.released else BY_HAND
        if self.charts.limits != limits:
            self.has_taken = limits is self.released
            self.charts = replace(
                self.charts, limits=limits, n_since_limits=0, cusum=0.0, ewma=limits.mean, baseline=()
            )


# What each entry of a basis is called.
_NAMES = {"model": "model", "impurity": "class", "windows": "choice of windows"}
# What all batches were measured with before there was a choice.
_BEFORE_IT_CAME = {"windows": str(Windows.ALL)}


def make_basis(analyzer: FrameAnalyzer, config: MonitorConfig) -> dict[str, Any]:
    """Return what fractions are measured with: limits that were learned with another one mean nothing."""
    tiles = config.tiles
    windows = {"tile_px": tiles.tile_px, "overlap": tiles.overlap, "min_detail": tiles.min_detail}
    named = {"model": analyzer.model_sha256, "impurity": analyzer.impurity, "windows": str(tiles.windows)}
    return {**named, **windows}


def find_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between two bases; what one of them does not hold is left out.

    What came later holds in those that were kept before as it was then.
    """
    before, now = ({**_BEFORE_IT_CAME, **each} if each else each for each in (before, now))
    names = [name for name in dict.fromkeys((*_NAMES, *before)) if name in before and name in now]
    return [_NAMES.get(name, name) for name in names if before[name] != now[name]]
