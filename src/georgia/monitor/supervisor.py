"""Watches a monitor's loop from outside of it: a loop that is dead or hangs is said to be, everywhere.

The loop runs in a thread of its own; another thread looks after it about twice a second, writes its health
into the store, and tells the monitor's listeners (lines, web page, OPC UA, webhook) when it has failed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from georgia.errors import GeorgiaError
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.health import HealthState, ProbeHealth, write_heartbeat
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from georgia.monitor.run import Monitor

_log = logging.getLogger(__name__)

_TICK_S = 0.5


class MonitorFailedError(GeorgiaError):
    """The monitor's loop has ended by an error, or hangs; the program ends, to be started anew."""


class Supervisor:
    """Runs a monitor's loop in a thread, and looks after it from another.

    Args:
        monitor: one that was not started yet.
        once: see ``Monitor.run``.
        on_failure: called in the supervisor's thread once the loop has failed and all were told.
        exit_after_s: time between the two, in which a page, OPC UA and a scraper can see the failure.
    """

    def __init__(
        self,
        monitor: Monitor,
        once: bool = False,
        on_failure: Callable[[], None] = lambda: None,
        exit_after_s: float = 0.0,
    ) -> None:
        self._monitor, self._once = monitor, once
        self._on_failure, self._exit_after_s = on_failure, exit_after_s
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._loop = threading.Thread(target=self._run, name="georgia-monitor", daemon=True)
        self._thread = threading.Thread(target=self._supervise, name="georgia-supervisor", daemon=True)
        self._error: BaseException | None = None
        self.n_frames = 0
        self.is_hung = False
        self._hang = "it does not end"

    def start(self) -> None:
        """Start the loop and the supervision."""
        self._loop.start()
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the loop has ended or has failed; return whether it has."""
        return self._ended.wait(timeout_s)

    def stop(self, patience_s: float = 30.0) -> None:
        """End the loop, and wait for it so long; one that hangs is left behind."""
        self._stop.set()
        self._loop.join(0.0 if self.is_hung else patience_s)
        if self._loop.is_alive():
            self.is_hung = True
        self._ended.set()
        self._wake.set()
        self._thread.join(5.0)

    def raise_failure(self) -> None:
        """Raise what ended the loop, if it did not end as it should.

        Raises:
            GeorgiaError: the loop's own, with its exit code; or it hangs, or ended by a fault of the program.
        """
        if isinstance(self._error, GeorgiaError):
            raise self._error
        if self._error is not None:
            raise MonitorFailedError(
                f"The monitor has failed: {type(self._error).__name__}: {self._error}. "
                "It is to be started again; nothing that was written is lost."
            ) from self._error
        if self.is_hung:
            raise MonitorFailedError(
                f"The monitor hangs: {self._hang}. "
                "It is to be started again; nothing that was written is lost."
            )

    def _run(self) -> None:
        try:
            self.n_frames = self._monitor.run(self._stop, self._once)
        except GeorgiaError as error:
            self._error = error
        except BaseException as error:
            self._error = error  # first: what kills a thread may come twice
            _log.error("the monitor's loop has failed", exc_info=error)
        finally:
            self._wake.set()

    # In the supervisor's thread

    def _supervise(self) -> None:
        next_beat = 0.0
        while not self._ended.is_set():
            try:
                health = self._monitor.health()
                if time.monotonic() >= next_beat:
                    self._beat(health)
                    next_beat = time.monotonic() + self._monitor.config.health.heartbeat_s
                if not self._loop.is_alive():
                    self._end_dead()
                elif health.state == HealthState.HUNG:
                    self._end_hung(health)
            except Exception:
                _log.exception("one look after the monitor failed")
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def _beat(self, health: ProbeHealth) -> None:
        key = self._monitor.process_key
        if not key:
            return
        try:
            if not write_heartbeat(self._monitor.store, key, health, self._monitor.status().batch_id or None):
                _log.error("another monitor has taken over this folder; this one ends")
                self._error = MonitorFailedError("Another monitor has taken over this folder; this one ends.")
                self._stop.set()
        except StoreAwayError as error:
            _log.debug("a heartbeat could not be written: %s", error)

    def _end_dead(self) -> None:
        if self._error is not None:
            health = self._monitor.health()
            # At once: the row in the store may be of the time before it died, and say that it runs.
            self._beat(health)
            self._monitor.note_failure(health)
            if not isinstance(self._error, GeorgiaError):  # the user's to mend, at once
                self._hold()
        self._ended.set()
        if self._error is not None:
            self._on_failure()

    def _end_hung(self, health: ProbeHealth) -> None:
        # Kept: a loop that goes on while this is shown does not hang by then.
        self.is_hung, self._hang = True, health.reason
        self._beat(health)
        self._monitor.note_failure(health)
        detail = {"reason": health.reason, "file": health.file}
        self._append(AuditAction.MONITOR_FAILED, detail)
        self._hold()
        self._ended.set()
        self._on_failure()

    def _append(self, action: AuditAction, detail: dict[str, str]) -> None:
        try:
            monitor = self._monitor
            monitor.store.append_event(monitor.who, action, detail, monitor.status().batch_id or None)
        except StoreAwayError as error:
            _log.error("the audit log could not be written: %s", error)

    def _hold(self) -> None:
        """Go on beating while the failure is shown."""
        end = time.monotonic() + self._exit_after_s
        while time.monotonic() < end and not self._stop.wait(min(1.0, self._exit_after_s)):
            self._beat(self._monitor.health())
