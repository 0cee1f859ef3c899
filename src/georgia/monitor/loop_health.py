"""The health of a monitor's loop in memory: what the loop itself says, and what others see from outside."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from georgia.monitor.health import HealthState, ProbeHealth, Pulse, StepWatch, describe_process
from georgia.monitor.outages import Outages
from georgia.monitor.settings import HealthConfig


class LoopHealth:
    """Filled by the loop's thread, read by any; ``outages`` are those that last now."""

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self.pulse = Pulse()
        self.outages = Outages()
        self._watch = StepWatch()
        self._thread: threading.Thread | None = None
        self._started_at_s = self._ended_at_s = 0.0
        self._end_reason = ""
        self._is_stepping = False

    def note_start(self) -> None:
        """Say that the loop's thread, which calls this, begins."""
        self._thread, self._started_at_s, self._ended_at_s = threading.current_thread(), time.time(), 0.0
        self.pulse.mark()

    def note_steps(self) -> None:
        """Say that every step from now on marks the pulse."""
        self._is_stepping = True

    def note_end(self, reason: str) -> None:
        """Say that the loop has ended."""
        self._ended_at_s, self._end_reason, self._is_stepping = time.time(), reason, False

    @property
    def has_ended(self) -> bool:
        """Tell whether the loop has said that it ended."""
        return bool(self._ended_at_s)

    def read(self, fault: str = "") -> ProbeHealth:
        """Return state, reason and times; the caller adds what it counts."""
        step = self.pulse.step
        seconds = self._watch.measure(step)
        state, outage = self.outages.health
        reason, since_s = (outage.reason, outage.since_s) if outage else ("", None)
        if not self._started_at_s:
            state, reason = HealthState.STARTING, fault
        elif self._ended_at_s:
            state, since_s = HealthState.NOT_RUNNING, self._ended_at_s
            reason = f"the monitor has ended: {self._end_reason}"
        elif self._thread is not None and not self._thread.is_alive():
            state, reason, since_s = HealthState.NOT_RUNNING, "the monitor's loop has died", step.at_s
        elif self._is_stepping and seconds - step.grant_s > self._config.hung_after_s:
            state, since_s = HealthState.HUNG, step.at_s
            doing = f"it has worked at {step.file!r}" if step.file else "its loop has not moved"
            reason = f"{doing} for {seconds:.0f} s"
        now = time.time()
        health = ProbeHealth(state, reason, since_s or self._started_at_s or None, process=describe_process())
        return replace(
            health,
            started_at_s=self._started_at_s or None,
            last_beat_s=now,
            last_loop_s=step.at_s,
            file=step.file,
            at_s=now,
        )
