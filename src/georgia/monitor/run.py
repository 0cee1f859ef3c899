"""The loop: each frame of a folder is analysed, charted and written; listeners hear of it.

A ``Monitor`` runs in the command line or in a thread of the web service. Its methods that change something
may be called from any thread: they are queued, and done between two frames.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from georgia.errors import InputError
from georgia.monitor.batch_tracker import BatchTracker, make_basis
from georgia.monitor.clock_watch import ClockWatch, FrameTimes, find_behind
from georgia.monitor.columns import iso_time
from georgia.monitor.commission import known_of
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.deferred_writes import DeferredWrites
from georgia.monitor.frame_reader import FrameReader
from georgia.monitor.frame_work import FrameWork
from georgia.monitor.frametime import FrameClock
from georgia.monitor.health import (
    Claim,
    HealthState,
    ProbeHealth,
    claim_source,
    disown_source,
    release_source,
)
from georgia.monitor.input_charts import HELD_STATES
from georgia.monitor.limits_in_force import carry_over
from georgia.monitor.loop_health import LoopHealth
from georgia.monitor.model_swap import ModelSwap
from georgia.monitor.outages import OutageKind
from georgia.monitor.pending import PendingChanges
from georgia.monitor.records import (
    Alarm,
    AuditAction,
    Batch,
    EventKind,
    Listener,
    MonitorEvent,
    MonitorStatus,
    Verdict,
)
from georgia.monitor.released_limits import ReleasedLimits
from georgia.monitor.result import FileKey, FrameResult, State
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.start_record import describe_model, record_start
from georgia.monitor.store import Store
from georgia.monitor.tile import FrameAnalyzer
from georgia.monitor.upkeep import Upkeep
from georgia.monitor.watch import FolderWatch

_log = logging.getLogger(__name__)

# The longest wait for a frame before the next pass of the loop.
_PASS_S = 0.5
# With --once, a store or folder that fails for so long ends the run.
_ONCE_PATIENCE_S = 10.0


class Monitor(FrameWork, Upkeep, ModelSwap):
    """Watches one folder with one model into one store.

    Args:
        analyzer: the opened model.
        config: see docs/monitor.md.
        store: where everything is written.
        listeners: called in the loop's thread with each event; one that fails is left out from then on.
        who: the person or service in whose name the monitor runs, for the audit log.
    """

    def __init__(
        self,
        analyzer: FrameAnalyzer,
        config: MonitorConfig,
        store: Store,
        listeners: Sequence[Listener] = (),
        who: str = "georgia",
    ) -> None:
        self.config, self.store, self.who = config, store, who
        # The settings as they were given; those in force may hold changes of an earlier run.
        self._given = config
        self._released: ReleasedLimits | None = None
        self.source = config.source or str(config.watch.resolve())
        self._analyzer = analyzer
        self._listeners = list(listeners)
        self._clock = FrameClock(config.time_from, config.time_pattern, config.time_zone)
        self._requests: queue.Queue[Callable[[], None]] = queue.Queue()
        self._writes, self._pending = DeferredWrites(), PendingChanges()
        self._tracker = BatchTracker(config.charts)
        self._batch: Batch | None = None
        self._reader: FrameReader | None = None
        self._known: set[str] = set()
        self._settings_id = ""
        self._last: FrameResult | None = None
        self._last_frame_at = time.monotonic()
        self._retention_at, self._clock_watch = 0.0, ClockWatch()
        self._state = State.WARMING_UP
        self._n_frames = self._n_unreadable = self._n_repeats = self._beat = 0
        self._n_same = self._n_bad = self._n_renewals = self._n_unwritten = 0
        self._bad_reason = self._fault = self._reader_fault = ""
        self._is_running = False
        self._health = LoopHealth(config.health)
        self._failing_since: dict[str, float] = {}
        self._faults_beside, self._receivers = {}, {}
        self._threads: int | None = None
        # The longest of the last analyses.
        self._usual_s = 0.0
        self._in_hand: FileKey | None = None
        # The key of this monitor's row in the table of heartbeats, "" before the start.
        self.process_key = ""

    # Start, loop, end

    def run(self, stop: threading.Event | None = None, once: bool = False) -> int:
        """Work until ``stop`` is set; return the number of frames analysed.

        With ``once`` it analyses what the folder holds, ends the batch, and returns. It waits for a store or
        folder that is away, with a "fault" event; with ``once`` not for long.

        Raises:
            InputError: another monitor watches the same folder into this store; with ``once``, the store or
                the folder cannot be used.
        """
        stop = stop or threading.Event()
        reason, is_through, has_failed = "stopped", False, False
        try:
            while not self._try_start():
                if once:
                    raise InputError(self._fault)
                if stop.wait(1.0):
                    return 0
            while not stop.is_set() and not is_through:
                self.step(min(_PASS_S, self.config.poll_interval_s))
                if once and self._is_through():
                    reason, is_through = "the folder is through", True
        except BaseException as error:
            reason, has_failed = f"failed: {type(error).__name__}: {error}", True
            raise
        finally:
            # Also where the start itself failed, from the moment that others read of it in the store.
            if self.process_key:
                self._finish(reason, ends_batch=is_through, has_failed=has_failed)
        return self._n_frames

    def _is_through(self) -> bool:
        """Tell whether a folder that is analysed once is through.

        Raises:
            InputError: the store or the folder has failed for too long.
        """
        for what, since in self._failing_since.items():
            if time.monotonic() - since > _ONCE_PATIENCE_S:
                raise InputError(
                    f"Cannot analyse {str(self.config.watch)!r}",
                    needs=f"a {what} that can be used is needed",
                    got=self._fault,
                    hint="What is in the store stays; the same command goes on behind it.",
                )
        return self._reader is not None and self._reader.is_quiet and not len(self._writes)

    def _try_start(self) -> bool:
        try:
            self.start()
            return True
        except StoreAwayError as error:
            self._fault = str(error)
            self._update_outage(OutageKind.STORE_AWAY, self._fault)
            self._tell(EventKind.FAULT)
            return False

    def start(self) -> None:
        """Begin or resume the batch, and begin to poll the folder.

        Raises:
            InputError: another monitor watches this folder, or limits cannot be taken from that batch.
            StoreAwayError: the store cannot be reached; try again later.
        """
        store = self.store
        self._health.note_start()
        self._released = self._find_released()
        behind = find_behind(store.find_last_entry(), time.time())
        claim = self._claim()
        settings = carry_over(store, self.source, self._given, self._analyzer.model_sha256)
        self.config = config = settings.config
        store.save_document("model", describe_model(self._analyzer), self._analyzer.model_sha256)
        batch = store.begin_batch(
            self.source, config.batch, config.operator, self._analyzer.impurity, self.who, config.note
        )
        self._follow(batch)
        self._known = store.known_hashes(self.source)
        watch = FolderWatch(config.watch, store.known_files(self.source), config.grace_s)
        self._last = next(iter(store.frames(batch.id, limit=1)), None)
        self._state = self._last.state if self._last else State.WARMING_UP
        self._threads = self._analyzer.threads
        self._settings_id = record_start(store, self._analyzer, batch, self.who, settings)
        self._note_limits()
        self._last_frame_at = time.monotonic()
        self._fault, self._is_running = "", True
        self._reader = FrameReader(watch, config.poll_interval_s)
        self._reader.start()
        self._health.note_steps()
        self._tell(EventKind.STATE)
        if behind is not None:
            self._note_jump(behind)
        if settings.carried:
            self._tell(EventKind.STATE, detail={"reason": settings.describe_carried()})
        for lost in claim.lost:
            reason = f"the monitor before ({lost['process']}) was killed or has crashed"
            detail = {"outage": HealthState.NOT_RUNNING, "change": "ended", "reason": reason}
            self._tell(EventKind.OUTAGE, detail={**detail, "since": lost["last_beat"], "seconds": None})

    def _claim(self) -> Claim:
        if self.process_key:
            return Claim(self.process_key)
        claim = claim_source(self.store, self.source, self.who, self.config.health)
        self.process_key = claim.key
        return claim

    def _follow(self, batch: Batch) -> None:
        self._batch = batch
        last = next(iter(self.store.frames(batch.id, limit=1)), None)
        known = {"model": last.model_sha256, "impurity": batch.impurity} if last else {}
        self._tracker = self._resume(batch.chart_state, known)
        self._kinds = self._find_kinds(last)
        self._times = FrameTimes(last.frame_time_s if last else None)
        self._take_commissioning()

    def _resume(self, state: str, known_basis: Mapping[str, Any]) -> BatchTracker:
        basis = make_basis(self._analyzer, self.config)
        released = self._released.limits if self._released else None
        tracker = BatchTracker.from_json(state, self.config.charts, basis, released, known_basis)
        tracker.input.known = known_of(self._analyzer.bundle)
        return tracker

    def _finish(self, reason: str, ends_batch: bool, has_failed: bool = False) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._is_running = False
        self._health.note_end(reason)
        batch, put, action = self._batch, self._writes.put, AuditAction.MONITOR_STOPPED
        if has_failed:
            action = AuditAction.MONITOR_FAILED
        if batch is not None:
            detail = {"reason": reason, "n_frames": self._n_frames, "unwritten": len(self._writes)}
            put(lambda: self.store.append_event(self.who, action, detail, batch.id))
            if ends_batch:
                put(lambda: self.store.end_batch(batch.id, self.who, reason))
        key, self.process_key = self.process_key, ""
        put(lambda: release_source(self.store, key, reason))
        self._writes.flush(at_once=True)
        # Where the store is away, the row stays; it is not that of a living monitor.
        disown_source(key)
        self._tell(EventKind.STATE)

    def step(self, timeout_s: float = 0.0) -> FrameResult | None:
        """Make one pass: requests, what waits for the store, at most one frame; return the frame."""
        self._health.pulse.mark()
        self._do_requests()
        self._writes.flush()
        self._health.pulse.mark()
        result = None
        if self._writes.is_full:
            time.sleep(min(timeout_s, 0.1))
        elif self._reader is not None:
            frame = self._reader.take(timeout_s)
            self._do_requests()
            if frame is not None:
                result = self._handle(frame)
        self._health.pulse.mark()
        self._check_reader()
        self._check_outages()
        self._check_clock()
        self._remove_old()
        self._beat += 1
        self._tell(EventKind.HEARTBEAT)
        return result

    def _do_requests(self) -> None:
        while not self._requests.empty():
            request = self._requests.get_nowait()
            try:
                request()
            except StoreAwayError:
                raise
            except Exception as error:  # somebody's wish must not end the monitor
                _log.exception("a change that was asked for failed")
                self._tell(EventKind.FAULT, detail={"reason": f"a change failed: {error}"})

    def _tell(
        self,
        kind: EventKind,
        *,
        frame: FrameResult | None = None,
        alarm: Alarm | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        event = MonitorEvent(kind, self.status(), frame, alarm, detail or {})
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                # A page or an OPC UA server that fails must not cost a frame.
                _log.exception("a listener of the monitor failed and is called no more")
                self.remove_listener(listener)

    # Requests from any thread

    def status(self) -> MonitorStatus:
        """Return the present status."""
        health = self.health()
        outage = self._health.outages.worst
        state = self._health.outages.state or self._state
        reason = outage.reason if outage else ""
        if outage is None and state in HELD_STATES:
            reason = self._tracker.input.describe()
        if not health.is_alive:
            state, reason = State.NOT_RUNNING, health.reason
        return MonitorStatus(
            state=state,
            alarm=self._tracker.alarm.is_on,
            batch_id=self._batch.id if self._batch else 0,
            batch_name=self._batch.name if self._batch else "",
            n_frames=self._n_frames,
            n_waiting=health.n_waiting,
            n_unwritten=health.n_unwritten,
            n_unreadable=self._n_unreadable,
            n_repeats=self._n_repeats,
            fault=self._fault or ("" if health.is_alive else health.reason),
            beat=self._beat,
            at_s=time.time(),
            is_running=self._is_running and health.is_alive,
            last=self._last,
            n_missed=health.n_missed,
            reason=reason,
        )

    def health(self) -> ProbeHealth:
        """Return whether the loop works, as seen from outside of it; may be called from any thread."""
        reader, last = self._reader, self._last
        return replace(
            self._health.read(self._fault),
            source=self.source,
            last_frame_s=self._health.pulse.frame_at_s or (last.judged_at_s if last else None),
            n_waiting=reader.n_waiting if reader else 0,
            n_unwritten=self._n_unwritten,
            n_unreadable=self._n_unreadable,
            n_missed=reader.watch.n_missed if reader else 0,
            threads=self._analyzer.threads,
        )

    def note_failure(self, health: ProbeHealth) -> None:
        """Tell all that the loop has ended by an error or hangs; called from outside of it.

        The frame in which it hangs is left out at the next start.
        """
        reason = {"reason": health.reason, "since": iso_time(health.since_s), "seconds": None}
        self._tell(EventKind.OUTAGE, detail={"outage": str(health.state), "change": "began", **reason})
        key = self._in_hand
        if health.state == HealthState.HUNG and key is not None and key.file == health.file:
            error = f"its analysis took longer than {self.config.health.hung_after_s:g} s"
            self.store.record_file(self.source, key, Verdict.UNREADABLE, error)

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` with every event from now on."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Call ``listener`` no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)
