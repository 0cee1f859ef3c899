"""One of several probes in a service: its store opened, its monitor run, and both begun anew by themselves.

What is wrong with one probe's store, folder or settings is said of that probe, and no other waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from georgia.errors import GeorgiaError
from georgia.files import tell_reason
from georgia.monitor import open_store
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.fair_queue import ProbeNet
from georgia.monitor.health import DEAD_STATES, HealthState, ProbeHealth, describe_process
from georgia.monitor.model_watch import ModelPlace, watching_model
from georgia.monitor.outputs import ProbeOutputs, open_outputs
from georgia.monitor.probes import Probe
from georgia.monitor.records import AuditAction, EventKind, MonitorEvent, MonitorStatus
from georgia.monitor.result import State
from georgia.monitor.run import Monitor
from georgia.monitor.store import Store
from georgia.monitor.supervisor import Supervisor
from georgia.monitor.tile import FrameAnalyzer
from georgia.process.follow import following_process

_log = logging.getLogger(__name__)

# How often a stop is looked for, and a probe that does not run is said to be so.
_POLL_S = 0.5
# Waits between two attempts double up to the longest; one that has run for so long begins anew.
_FIRST_WAIT_S, _LONGEST_WAIT_S, _WELL_S = 1.0, 30.0, 600.0


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class RunnerCalls:
    """What a runner tells others, in its own thread.

    ``on_store``: the store is open, once. ``on_monitor``: a monitor begins, again after each failure.
    ``on_hang``: the loop hangs; its thread cannot be ended, the program can. ``say``: a line for people.
    ``on_dead``: about twice a second while no loop runs, with the reason.
    """

    on_store: Callable[[Store], None] = _ignore
    on_monitor: Callable[[Monitor], None] = _ignore
    on_hang: Callable[[], None] = _ignore
    on_dead: Callable[[str], None] = _ignore
    say: Callable[[str], None] = _ignore


@dataclass
class ProbeRunner:
    """Runs one probe until it is stopped.

    ``outputs`` are what it has in common with the others; ``net`` its part of their net. ``place`` is where
    another model may be promoted to.
    """

    probe: Probe
    analyzer: FrameAnalyzer
    outputs: ProbeOutputs
    who: str
    net: ProbeNet | None = None
    calls: RunnerCalls = field(default_factory=RunnerCalls)
    version: str = ""
    place: ModelPlace | None = None

    def __post_init__(self) -> None:
        self.store: Store | None = None
        self.monitor: Monitor | None = None
        self.fault, self._state = "", HealthState.STARTING
        self.is_hung = False
        self._since_s = time.time()
        self._stop = threading.Event()
        name = f"georgia-probe-{self.probe.name}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the probe to end; returns at once."""
        self._stop.set()

    def stop(self, patience_s: float = 40.0) -> None:
        """End the probe, and wait for it so long."""
        self._stop.set()
        self._thread.join(patience_s)

    def note_queued(self) -> None:
        """Say, in the loop's thread, that it lives while it waits for its turn with the net."""
        if self.monitor is not None:
            self.monitor.note_queued()

    @property
    def is_store_away(self) -> bool:
        """Tell whether the store is away, and waited for; where a monitor runs, it says so itself."""
        return bool(self.fault) and self._state == HealthState.STORE_AWAY

    def health(self) -> ProbeHealth:
        """Return the probe's health; may be called from any thread."""
        monitor = self.monitor
        if monitor is not None and not self.fault:
            return monitor.health()
        # No loop works: also where that is because the store is away.
        is_starting = self._state == HealthState.STARTING
        return ProbeHealth(
            HealthState.STARTING if is_starting else HealthState.NOT_RUNNING,
            self.fault,
            since_s=self._since_s,
            source=str(self.probe.monitor.watch),
            process=describe_process(),
            at_s=time.time(),
        )

    # In its own thread

    def _work(self) -> None:
        try:
            store = self._open()
            if store is None:
                return
            self.store = store
            self.calls.on_store(store)
            self._record(store, AuditAction.SERVICE_STARTED, {"version": self.version})
            try:
                self._run_on(store)
            finally:
                self._record(store, AuditAction.SERVICE_STOPPED, {"reason": self.fault or "stopped"})
                if not self.is_hung:
                    store.close()
        except Exception as error:
            _log.exception("the probe %r has ended", self.probe.name)
            self._note(HealthState.NOT_RUNNING, f"{type(error).__name__}: {error}")
            self._wait_on(float("inf"))

    def _open(self) -> Store | None:
        """Open the store, tried again until it can be; None where the probe was stopped meanwhile."""
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            try:
                store = open_store(self.probe.monitor.db)
            except StoreAwayError as error:
                self._note(HealthState.STORE_AWAY, str(error))
            except GeorgiaError as error:
                self._note(HealthState.NOT_RUNNING, str(error))
            except OSError as error:
                reason = tell_reason(error, self.probe.monitor.db)
                self._note(HealthState.STORE_AWAY, f"the store cannot be opened: {reason}")
            else:
                self._note(HealthState.STARTING, "")
                return store
            self._wait_on(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return None

    def _run_on(self, store: Store) -> None:
        """Run a monitor, and another one whenever it has failed."""
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._run_once(store)
            except GeorgiaError as error:
                self._note(HealthState.NOT_RUNNING, str(error))
            except Exception as error:
                _log.exception("the monitor of %r failed", self.probe.name)
                self._note(HealthState.NOT_RUNNING, f"{type(error).__name__}: {error}")
            if self._stop.is_set():
                return
            if self.is_hung:  # its thread may go on at any time: another loop would write beside it
                self._wait_on(float("inf"))
                return
            if time.monotonic() - began > _WELL_S:
                wait_s = _FIRST_WAIT_S
            self._wait_on(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _run_once(self, store: Store) -> None:
        """Run one monitor until it has failed or the probe is stopped.

        Raises:
            GeorgiaError: what ended it.
        """
        config = self.probe.monitor
        monitor = Monitor(self.analyzer, config, store, who=self.who)
        if self.net is not None:
            self.net.while_waiting = self.note_queued
        supervisor = Supervisor(monitor, exit_after_s=config.health.exit_after_s)
        with (
            open_outputs(config, store, monitor, self.outputs),
            following_process(self.probe.process, store, monitor),
            watching_model(self.place, monitor),
        ):
            self.monitor = monitor
            self.calls.on_monitor(monitor)
            supervisor.start()
            try:
                while not self._stop.is_set() and not supervisor.wait(_POLL_S):
                    # Why the last one failed holds until this one works: its health would flicker.
                    if self.fault and monitor.health().state not in (HealthState.STARTING, *DEAD_STATES):
                        self._note(HealthState.STARTING, "")
            finally:
                supervisor.stop()
                self.is_hung, self.analyzer = supervisor.is_hung, monitor.analyzer
        if self.is_hung and not self._stop.is_set():
            self.calls.on_hang()
        supervisor.raise_failure()

    def _wait_on(self, seconds: float) -> None:
        """Wait so long, or until the probe is stopped, and say meanwhile that no loop runs."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stop.wait(_POLL_S):
            if self.fault:
                self.calls.on_dead(self.fault)

    def _note(self, state: HealthState, fault: str) -> None:
        """Keep why no loop runs, "" where one does, and tell it where it is another reason than before."""
        self._state = state
        if fault == self.fault:
            return
        self.fault, self._since_s = fault, time.time()
        self.calls.say(fault or "can be used now")
        if fault and self.outputs.opcua is not None:
            self.outputs.opcua(_make_event(fault))

    def _record(self, store: Store, action: AuditAction, detail: dict[str, Any]) -> None:
        """Write into the audit log that the service starts or ends, and say the end of the record."""
        try:
            store.append_event(self.who, action, {"process": describe_process(), **detail})
        except GeorgiaError as error:
            _log.warning("the audit log of %r could not be written: %s", self.probe.name, error)
        if store.has_head:
            self.calls.say(f"head of the record: {store.head()}")


def _make_event(fault: str) -> MonitorEvent:
    """Return what is told where there is no monitor that could tell it."""
    status = MonitorStatus(
        state=State.NOT_RUNNING,
        alarm=False,
        batch_id=0,
        n_frames=0,
        n_waiting=0,
        n_unwritten=0,
        n_unreadable=0,
        n_repeats=0,
        fault=fault,
        beat=0,
        at_s=time.time(),
        is_running=False,
        last=None,
    )
    return MonitorEvent(EventKind.FAULT, status)
