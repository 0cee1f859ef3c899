"""Whether this computer's clock, or the one that frames have their times from, was set, or the machine slept.

The first by its distance from one that never jumps, and at the start by the record's last entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from georgia.monitor.columns import iso_time

# A clock that a time server keeps is slewed by 0.5 ms a second at most, and stepped from 0.128 s on.
# Source: ntpd(8). What a person would notice in a record of frames is some seconds.
LEAST_JUMP_S = 2.0
# Two computers that write into one record, or a probe and this one, may differ by some seconds; a frame
# that an instrument writes late may be as old. Source: chosen; a minute in a chart of a batch is seen.
LEAST_BEHIND_S = 60.0
# Frames in a row behind which older ones before them are told anew.
_OVER_AFTER = 10


# From here on a number of seconds is none that anybody reads.
_IN_DAYS_FROM_S = 2 * 86_400.0


def _describe_span(seconds: float) -> str:
    """Return a time in seconds, or in days where it is long.

    >>> _describe_span(7200.0), _describe_span(34_559_969.0)
    ('7,200 s', '400.0 days')
    """
    is_long = seconds >= _IN_DAYS_FROM_S
    return f"{seconds / 86_400:,.1f} days" if is_long else f"{seconds:,.0f} s"


@dataclass(frozen=True)
class ClockJump:
    """The clock went ``seconds`` further than time did (negative: back); the machine slept ``slept_s``."""

    seconds: float
    slept_s: float = 0.0
    told: str = ""

    @property
    def reason(self) -> str:
        """Return in one clause what happened."""
        if self.told:
            return self.told
        if self.slept_s >= LEAST_JUMP_S:
            return f"the machine slept for {_describe_span(self.slept_s)}"
        way = "forward" if self.seconds > 0 else "back"
        return f"the clock of this computer was set {way} by {_describe_span(abs(self.seconds))}"

    def describe(self) -> dict[str, Any]:
        """Return what the audit log holds of it."""
        return {
            "reason": self.reason,
            "seconds": round(self.seconds, 1),
            "slept_s": round(self.slept_s, 1),
        }


def _boot_time() -> float:
    """Return seconds of a clock that goes on while the machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ClockWatch:
    """Compares three clocks: the wall's, one that never jumps, and one that goes on in sleep."""

    def __init__(
        self,
        wall: Callable[[], float] = lambda: time.time(),
        steady: Callable[[], float] = time.monotonic,
        awake: Callable[[], float] = _boot_time,
    ) -> None:
        self._wall, self._steady, self._awake = wall, steady, awake
        self._ahead_s, self._slept_s = self._measure()

    def _measure(self) -> tuple[float, float]:
        steady = self._steady()
        return self._wall() - steady, self._awake() - steady

    def check(self) -> ClockJump | None:
        """Return what happened since the last check, None where the clock went on as it should."""
        before, slept_before = self._ahead_s, self._slept_s
        self._ahead_s, self._slept_s = self._measure()
        seconds, slept_s = self._ahead_s - before, max(0.0, self._slept_s - slept_before)
        if abs(seconds) < LEAST_JUMP_S and slept_s < LEAST_JUMP_S:
            return None
        return ClockJump(seconds, slept_s if slept_s >= LEAST_JUMP_S else 0.0)


def find_behind(last_entry_s: float | None, now_s: float) -> ClockJump | None:
    """Return how far the clock is behind a record's last entry at the start, None where it is not.

    >>> find_behind(7200.0, 3600.0).reason
    "the clock of this computer is 3,600 s behind the record's last entry, of 1970-01-01T02:00:00.000Z"
    """
    if last_entry_s is None or last_entry_s - now_s < LEAST_BEHIND_S:
        return None
    behind_s = last_entry_s - now_s
    clause = f"the clock of this computer is {_describe_span(behind_s)} behind the record's last entry"
    return ClockJump(-behind_s, told=f"{clause}, of {iso_time(last_entry_s)}")


class FrameTimes:
    """Whether the frames of one batch go on in time; ``newest_s`` is the newest one's so far.

    A frame that is older by a minute or more is told once, until ten in a row are not: the clock that frames
    have their times from was set back, or files came late. They stay in the order in which they came. So is
    one that lies ahead of this computer's clock: a clock is wrong, or the zone of the times in the names.
    """

    def __init__(self, newest_s: float | None = None) -> None:
        self._newest_s, self._n_in_time = newest_s, _OVER_AFTER

    def add(self, file: str, time_s: float, now_s: float | None = None) -> ClockJump | None:
        """Take in a frame; return how much older it is than one before it, or ahead of ``now_s``, if told."""
        if now_s is not None and time_s - now_s >= LEAST_BEHIND_S:
            return self._tell_ahead(file, time_s - now_s)
        newest_s = time_s if self._newest_s is None else self._newest_s
        self._newest_s = max(newest_s, time_s)
        behind_s = newest_s - time_s
        if behind_s < LEAST_BEHIND_S:
            self._n_in_time += 1
            return None
        is_new, self._n_in_time = self._n_in_time >= _OVER_AFTER, 0
        clause = f"frame {file!r} is {_describe_span(behind_s)} older than a frame before it"
        told = f"{clause}: its clock was set back, or it came late; charts have it at its own time"
        return ClockJump(-behind_s, told=told) if is_new else None

    def _tell_ahead(self, file: str, ahead_s: float) -> ClockJump | None:
        is_new, self._n_in_time = self._n_in_time >= _OVER_AFTER, 0
        clause = f"frame {file!r} is {_describe_span(ahead_s)} ahead of the clock of this computer"
        told = f"{clause}: one of both clocks is wrong, or time_zone; charts have it at its own time"
        return ClockJump(ahead_s, told=told) if is_new else None
