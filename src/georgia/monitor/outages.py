"""What keeps a monitor from seeing the probe: when it began, when it ended, and what it is called."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from georgia.monitor.columns import iso_time
from georgia.monitor.health import HealthState
from georgia.monitor.result import State


class OutageKind(StrEnum):
    """The kinds of outages, the most serious first."""

    HUNG = "hung"
    STORE_AWAY = "store away"
    FOLDER_AWAY = "folder away"
    UNREADABLE_FRAMES = "unreadable frames"
    FROZEN_CAMERA = "frozen camera"
    NO_FRAMES = "no frames"
    MISSED_FRAMES = "missed frames"
    # Frames of another size or depth, or of a second probe, in one batch.
    MIXED_FRAMES = "mixed frames"
    # A file of process data is away, silent or cannot be understood.
    PROCESS_DATA = "process data"
    # A webhook, mail server or MQTT broker does not take what it is told.
    RECEIVER_AWAY = "receiver away"
    # Another model took the place of the one in use, and cannot be used; the old one goes on.
    MODEL_NOT_TAKEN = "model not taken"


# The state of the probe while an outage lasts. Missed and mixed frames leave it: what was read is what it
# shows; and so do process data, receivers and a model that waits, which say nothing of the images.
STATES = {
    OutageKind.HUNG: State.NOT_RUNNING,
    OutageKind.STORE_AWAY: State.STORE_AWAY,
    OutageKind.FOLDER_AWAY: State.FOLDER_AWAY,
    OutageKind.UNREADABLE_FRAMES: State.UNREADABLE_FRAMES,
    OutageKind.FROZEN_CAMERA: State.FROZEN_CAMERA,
    OutageKind.NO_FRAMES: State.NO_FRAMES,
}
_HEALTH = {
    OutageKind.HUNG: HealthState.HUNG,
    OutageKind.STORE_AWAY: HealthState.STORE_AWAY,
    OutageKind.FOLDER_AWAY: HealthState.FOLDER_AWAY,
    OutageKind.UNREADABLE_FRAMES: HealthState.UNREADABLE_FRAMES,
    OutageKind.NO_FRAMES: HealthState.NO_FRAMES,
}


@dataclass(frozen=True)
class Outage:
    """One outage: ``reason`` in one clause, ``since_s`` seconds since 1970; ``seconds`` once it has ended."""

    kind: OutageKind
    reason: str
    since_s: float
    seconds: float | None = None


def describe_outage(outage: Outage) -> dict[str, Any]:
    """Return an outage as the audit log, the webhook and the page have it."""
    change = "began" if outage.seconds is None else "ended"
    rest = {"reason": outage.reason, "since": iso_time(outage.since_s), "seconds": outage.seconds}
    return {"outage": str(outage.kind), "change": change, **rest}


class Outages:
    """The outages of one monitor that last now."""

    def __init__(
        self, clock: Callable[[], float] = time.time, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._now = clock, now
        self._active: dict[OutageKind, tuple[Outage, float]] = {}

    def update(self, kind: OutageKind, reason: str) -> Outage | None:
        """Take in that an outage lasts for a reason, or ("") does not; return it if that changed."""
        known = self._active.get(kind)
        if reason and known is None:
            outage = Outage(kind, reason, self._clock())
            self._active[kind] = (outage, self._now())
            return outage
        if reason and known is not None:
            outage, began = known
            self._active[kind] = (Outage(kind, reason, outage.since_s), began)
            return None
        if known is None:
            return None
        outage, began = self._active.pop(kind)
        return Outage(kind, outage.reason, outage.since_s, round(self._now() - began, 1))

    def has(self, kind: OutageKind) -> bool:
        """Tell whether an outage of this kind lasts."""
        return kind in self._active

    @property
    def worst(self) -> Outage | None:
        """Return the most serious outage that lasts now, None where there is none."""
        return next((self._active[kind][0] for kind in OutageKind if kind in self._active), None)

    @property
    def state(self) -> State | None:
        """Return the state that the outages put the probe into, None where they leave it."""
        return next((STATES[kind] for kind in STATES if kind in self._active), None)

    @property
    def health(self) -> tuple[HealthState, Outage | None]:
        """Return what the outages make of the monitor's health, and the one to blame."""
        for kind, state in _HEALTH.items():
            if kind in self._active:
                return state, self._active[kind][0]
        return HealthState.RUNNING, self.worst
