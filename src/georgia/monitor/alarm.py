"""When an alarm is raised and when it is clear again, and the state of the probe in words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from georgia.monitor.result import ChartPoint, State, Status
from georgia.monitor.settings import ChartConfig

# A warning is shown at two thirds of the way to the limit: the two-sigma line of a three-sigma chart.
# Source: Montgomery, Introduction to Statistical Quality Control, 6th ed., section 5.3.2.
WARNING_AT = 2 / 3


@dataclass(frozen=True)
class AlarmState:
    """Whether an alarm stands, and for how many frames in a row its end or its cause has lasted."""

    is_on: bool = False
    n_over: int = 0
    n_clear: int = 0

    def to_json(self) -> str:
        """Return the state as one line of JSON."""
        return json.dumps(asdict(self))


Perturbation = Literal["raised", "cleared"]


def step_alarm(
    state: AlarmState, over: float | None, config: ChartConfig
) -> tuple[AlarmState, Perturbation | None]:
    """Return the alarm's state after one more judged frame, and what changed.

    It is raised after ``raise_after`` frames in a row on or over the limit, and cleared after ``clear_after``
    frames in a row below ``clear_below`` of it: between the two it stays as it is.

    >>> config = ChartConfig(raise_after=1, clear_after=1, clear_below=0.5)
    >>> on, change = step_alarm(AlarmState(), 1.2, config)
    >>> on.is_on, change, step_alarm(on, 0.8, config)[0].is_on, step_alarm(on, 0.4, config)[1]
    (True, 'raised', True, 'cleared')
    """
    if over is None:
        return state, None
    n_over = state.n_over + 1 if over >= 1 else 0
    n_clear = state.n_clear + 1 if over < config.clear_below else 0
    if not state.is_on and n_over >= config.raise_after:
        return AlarmState(True, n_over, 0), "raised"
    if state.is_on and n_clear >= config.clear_after:
        return AlarmState(False, 0, n_clear), "cleared"
    return AlarmState(state.is_on, n_over, n_clear), None


def name_state(status: Status, is_on: bool, is_warming_up: bool, over: float | None) -> State:
    """Return the state in words; a frame that could not be judged says why, whatever the charts hold."""
    if status != "judged":
        return status
    if is_on:
        return "alarm"
    if over is not None and over >= WARNING_AT:
        return "warning"
    return "warming up" if is_warming_up else "in control"


def name_reason(point: ChartPoint, fraction: float | None, config: ChartConfig) -> str:
    """Return in one clause why the alarm is raised."""
    if config.limit is not None and (point.ewma or 0.0) >= config.limit:
        return f"smoothed fraction {point.ewma:.3f} at or over the limit of {config.limit:g}"
    if config.chart == "cusum":
        return f"CUSUM {point.cusum:.2f} over its limit of {point.cusum_limit:g}"
    if config.chart == "p":
        return f"fraction {fraction:.3f} over the p-chart's limit of {point.p_limit:.3f}"
    return f"EWMA {point.ewma:.3f} over its limit of {point.ewma_limit:.3f}"
