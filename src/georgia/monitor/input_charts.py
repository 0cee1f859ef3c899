"""What comes in, charted beside the fraction: rejected windows, light and detail; and a first verdict.

A model that is shown another material, another lamp or a probe out of focus still names windows. So the
smoothed fraction of rejected windows has a limit of its own, light and detail are compared with the
batch's own beginning, and the first frames as in ``georgia.monitor.commission``. While one of them speaks
against it, the state is not "in control".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from georgia.monitor.commission import (
    INDEPENDENT,
    REJECTED_BAD,
    REJECTED_OK,
    Commissioning,
    Finding,
    compare_input,
)
from georgia.monitor.result import FrameInput, State

# Frames that are compared by themselves where nobody has commissioned the probe; fewer than three say little.
N_FIRST, FEWEST_FIRST = 30, 3
# The charts' λ and width: those of the fraction's.
LAMBDA, WIDTH = 0.2, 4.0
# Rejected fraction of known windows; a baseline does not teach more than the second.
LEAST_REJECTED, MOST_REJECTED = 0.01, REJECTED_OK
# The smoothed fraction of rejected windows has to lie over its limit for so many frames in a row.
SUSTAINED = 2
# Light may leave the baseline by a fifth, as the unknown score allows, and detail by a half, as factors.
# Their spread from frame to frame is not taken for less, in logarithms.
LIGHT_FACTOR, DETAIL_FACTOR, LEAST_SPREAD = 1.2, 1.5, 0.02
HOW_TO_GO_ON = (
    "train with images of this probe, or go on by name and reason: --override 'NAME: REASON', or the page"
)
# States that are held by what comes in.
HELD_STATES = (State.UNLIKE_TRAINING, State.UNKNOWN_MATERIAL, State.INPUT_DRIFT)
# States that say that all is well, or nearly.
_CALM = (State.IN_CONTROL, State.WARMING_UP, State.WARNING, State.LIMITS_UNCONFIRMED)


@dataclass(frozen=True)
class InputPoint:
    """Values of one frame: smoothed rejected fraction and its limit, 0–1; drift of light and detail.

    A drift is signed and in units of its limit: beyond −1 and 1 it is over it. None before the baseline.
    """

    rejected: float | None = None
    rejected_limit: float | None = None
    light_drift: float | None = None
    detail_drift: float | None = None


@dataclass(frozen=True)
class InputState:
    """What the charts know; ``first`` are the frames of the baseline, which are compared too."""

    first: tuple[FrameInput, ...] = ()
    rejected: float | None = None
    light: float | None = None
    detail: float | None = None
    n_over: int = 0
    # The verdict on the first frames, or one that was recorded before them, or by whom it was overridden.
    verdict: str = ""
    is_given: bool = False
    overridden_by: str = ""


@dataclass
class InputCharts:
    """Charts of one batch's input; ``known`` is the entry "unknown" of the model's description."""

    known: Mapping[str, Any] = field(default_factory=dict)
    state: InputState = InputState()
    point: InputPoint = InputPoint()

    def to_plain(self) -> dict[str, Any]:
        """Return what a restart needs, in JSON values."""
        return asdict(self.state)

    def resume(self, values: Mapping[str, Any] | None) -> None:
        """Continue from what ``to_plain`` returned; nothing is the beginning."""
        if values:
            first = tuple(FrameInput(**one) for one in values["first"])
            self.state = InputState(**{**values, "first": first})

    def forget(self) -> None:
        """Begin anew: another model measures."""
        self.state = InputState()

    def give(self, verdict: str, overridden_by: str = "") -> None:
        """Take a recorded verdict, or somebody's decision to go on whatever it is."""
        self.state = replace(self.state, verdict=verdict, is_given=True, overridden_by=overridden_by)

    def advance(self, new: FrameInput | None) -> Commissioning | None:
        """Take in one frame; return the verdict on the first frames where it is new or has changed."""
        if new is None:
            return None
        before, state = self.state, self.state
        is_first = len(state.first) < N_FIRST
        first = (*state.first, new) if is_first else state.first
        rejected = _smooth(state.rejected if state.rejected is not None else 0.0, new.rejected)
        light, detail = math.log(max(new.grey, 1.0)), math.log(max(new.detail, 1e-6))
        state = replace(
            state,
            first=first,
            rejected=rejected,
            light=light if state.light is None else _smooth(state.light, light),
            detail=detail if state.detail is None else _smooth(state.detail, detail),
        )
        limit = self._limit_rejected(first, new.n_full)
        state = replace(state, n_over=state.n_over + 1 if rejected > limit else 0)
        drifts = (None, None) if is_first else _measure_drifts(first, state)
        self.state, self.point = state, InputPoint(rejected, limit, *drifts)
        if not is_first or state.is_given or len(first) < FEWEST_FIRST:
            return None
        result = compare_input(first, self.known)
        self.state = replace(state, verdict=str(result.verdict))
        is_through = len(first) == N_FIRST
        has_changed = Finding.BAD in (before.verdict, result.verdict) and before.verdict != result.verdict
        return result if is_through or has_changed else None

    def describe(self) -> str:
        """Return in one clause what speaks against the frames, and how to go on; "" where nothing does."""
        state, point = self.state, self.point
        if state.verdict == Finding.BAD and not state.overridden_by:
            compared = compare_input(state.first, self.known)
            reason = "commissioned as bad" if state.is_given else compared.describe()
            return f"the frames are unlike the training images ({reason}); {HOW_TO_GO_ON}"
        if state.n_over >= SUSTAINED:
            return (
                f"{point.rejected or 0:.1%} of the windows are rejected, smoothed; "
                f"the limit is {point.rejected_limit or 0:.1%}"
            )
        found = (("light", point.light_drift), ("detail", point.detail_drift))
        over = [f"{name} at {drift:+.1f} of its limit" for name, drift in found if drift and abs(drift) > 1]
        return ("against the batch's first frames: " + ", ".join(over)) if over else ""

    def name_state(self, state: State) -> State:
        """Return the probe's state with what comes in: nothing calm is said over what is not known."""
        if state not in _CALM:
            return state
        if self.state.verdict == Finding.BAD and not self.state.overridden_by:
            return State.UNLIKE_TRAINING
        if self.state.n_over >= SUSTAINED:
            return State.UNKNOWN_MATERIAL
        drifts = (self.point.light_drift, self.point.detail_drift)
        is_drifting = any(drift is not None and abs(drift) > 1 for drift in drifts)
        return State.INPUT_DRIFT if is_drifting and state == State.IN_CONTROL else state

    def _limit_rejected(self, first: Sequence[FrameInput], n_windows: int) -> float:
        """Return the limit of the smoothed rejected fraction: that of the baseline, or of known material."""
        n_full = max(1, sum(one.n_full for one in first))
        learned = sum(one.n_unknown for one in first) / n_full
        mean = learned if self.state.overridden_by else min(learned, MOST_REJECTED)
        mean = min(max(mean, LEAST_REJECTED), 0.99)
        n = max(1.0, INDEPENDENT * n_windows)
        sigma = math.sqrt(mean * (1 - mean) / n * LAMBDA / (2 - LAMBDA))
        return min(1.0, max(REJECTED_BAD, mean + WIDTH * sigma))


def _smooth(before: float, value: float) -> float:
    return LAMBDA * value + (1 - LAMBDA) * before


def _measure_drifts(first: Sequence[FrameInput], state: InputState) -> tuple[float | None, float | None]:
    light = [math.log(max(one.grey, 1.0)) for one in first]
    detail = [math.log(max(one.detail, 1e-6)) for one in first]
    return (
        _measure_drift(light, state.light or 0.0, LIGHT_FACTOR),
        _measure_drift(detail, state.detail or 0.0, DETAIL_FACTOR),
    )


def _measure_drift(baseline: Sequence[float], value: float, factor: float) -> float:
    mean = math.fsum(baseline) / len(baseline)
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in baseline) / max(1, len(baseline) - 1))
    sigma = max(spread, LEAST_SPREAD) * math.sqrt(LAMBDA / (2 - LAMBDA))
    return (value - mean) / max(WIDTH * sigma, math.log(factor))
