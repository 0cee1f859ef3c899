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

import georgia
from georgia.config import flatten_config
from georgia.monitor.batch_tracker import BatchTracker, TrackerStep
from georgia.monitor.connect import StoreAwayError, WriteQueue
from georgia.monitor.frametime import FrameClock
from georgia.monitor.records import (
    Alarm,
    AlarmAction,
    AuditAction,
    Batch,
    EventKind,
    Listener,
    MonitorEvent,
    MonitorStatus,
    Verdict,
)
from georgia.monitor.result import FileKey, FrameAnalysis, FrameResult, State
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.tile import FrameAnalyzer
from georgia.monitor.watch import FolderWatch, FrameFile, FrameReader

_log = logging.getLogger(__name__)

# So many files with the same bytes in a row: the camera is frozen.
FROZEN_AFTER = 3
# Old frames and maps are removed at the start and at this pace.
_RETENTION_EVERY_S = 6 * 3600.0
# The longest wait for a frame before the next pass of the loop.
_PASS_S = 0.5


class Monitor:
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
        self.source = config.source or str(config.watch.resolve())
        self._analyzer = analyzer
        self._listeners = list(listeners)
        self._clock = FrameClock(config.time_from, config.time_pattern, config.time_zone)
        self._requests: queue.Queue[Callable[[], None]] = queue.Queue()
        self._write_queue = WriteQueue()
        self._tracker = BatchTracker(config.charts)
        self._batch: Batch | None = None
        self._reader: FrameReader | None = None
        self._known: set[str] = set()
        self._settings_id = ""
        self._last: FrameResult | None = None
        self._last_frame_at = time.monotonic()
        self._retention_at = 0.0
        self._state = State.WARMING_UP
        self._n_frames = self._n_unreadable = self._n_repeats = self._n_frozen = self._beat = 0
        self._fault = ""
        self._is_running = False

    # Start, loop, end

    def run(self, stop: threading.Event | None = None, once: bool = False) -> int:
        """Work until ``stop`` is set; return the number of frames analysed.

        With ``once`` it analyses what the folder holds, ends the batch, and returns. It waits for a store or
        folder that is away, with a "fault" event.
        """
        stop = stop or threading.Event()
        while not self._try_start():
            if stop.wait(1.0):
                return 0
        reason, is_through = "stopped", False
        try:
            while not stop.is_set() and not is_through:
                self.step(min(_PASS_S, self.config.poll_interval_s))
                if once and self._is_through():
                    reason, is_through = "the folder is through", True
        except BaseException as error:
            reason = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._finish(reason, ends_batch=is_through)
        return self._n_frames

    def _is_through(self) -> bool:
        return self._reader is not None and self._reader.is_quiet and not len(self._write_queue)

    def _try_start(self) -> bool:
        try:
            self.start()
            return True
        except StoreAwayError as error:
            self._fault = str(error)
            self._tell(EventKind.FAULT)
            return False

    def start(self) -> None:
        """Begin or resume the batch, and begin to poll the folder.

        Raises:
            StoreAwayError: the store cannot be reached; try again later.
        """
        config, store = self.config, self.store
        self._settings_id = store.save_document("settings", config.to_json_dict())
        store.save_document("model", self._analyzer.describe(), self._analyzer.model_sha256)
        batch = store.begin_batch(
            self.source, config.batch, config.operator, self._analyzer.impurity, self.who, config.note
        )
        self._follow(batch)
        self._known = store.known_hashes(self.source)
        watch = FolderWatch(config.watch, store.known_files(self.source), config.grace_s)
        self._last = next(iter(store.frames(batch.id, limit=1)), None)
        self._state = self._last.state if self._last else State.WARMING_UP
        self._record_start(batch)
        self._last_frame_at = time.monotonic()
        self._fault, self._is_running = "", True
        self._reader = FrameReader(watch, config.poll_interval_s)
        self._reader.start()
        self._tell(EventKind.STATE)

    def _follow(self, batch: Batch) -> None:
        self._batch = batch
        self._tracker = BatchTracker.from_json(batch.chart_state, self.config.charts)

    def _record_start(self, batch: Batch) -> None:
        """Write the start into the audit log, and what differs from the source's start before."""
        analyzer, store = self._analyzer, self.store
        detail = {
            "source": batch.source,
            "version": georgia.__version__,
            "engine": analyzer.engine_name,
            "model": analyzer.bundle.name,
            "model_sha256": analyzer.model_sha256,
            "settings_id": self._settings_id,
        }
        before = store.last_start(batch.source)
        store.append_event(self.who, AuditAction.MONITOR_STARTED, detail, batch.id)
        if before and before["settings_id"] != self._settings_id:
            renamed, old = MonitorConfig.renamed, store.document(before["settings_id"])
            old = {renamed.get(name, name): value for name, value in old.items()}
            new = self.config.to_json_dict()
            changes = {name: [old.get(name), value] for name, value in new.items() if old.get(name) != value}
            if changes:
                store.append_event(self.who, AuditAction.SETTINGS_CHANGED, {"changes": changes}, batch.id)
        if before and before["model_sha256"] != analyzer.model_sha256:
            swap = _describe_swap(before["model_sha256"], analyzer)
            store.append_event(self.who, AuditAction.MODEL_SWAPPED, swap, batch.id)

    def _finish(self, reason: str, ends_batch: bool) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._is_running = False
        batch, put = self._batch, self._write_queue.put
        if batch is not None:
            detail = {"reason": reason, "n_frames": self._n_frames, "unwritten": len(self._write_queue)}
            put(lambda: self.store.append_event(self.who, AuditAction.MONITOR_STOPPED, detail, batch.id))
            if ends_batch:
                put(lambda: self.store.end_batch(batch.id, self.who, reason))
            self._write_queue.flush(at_once=True)
        self._tell(EventKind.STATE)

    def step(self, timeout_s: float = 0.0) -> FrameResult | None:
        """Make one pass: requests, what waits for the store, at most one frame; return the frame."""
        self._do_requests()
        self._write_queue.flush()
        result = None
        if self._write_queue.is_full:
            time.sleep(min(timeout_s, 0.1))
        elif self._reader is not None:
            frame = self._reader.take(timeout_s)
            self._do_requests()
            if frame is not None:
                result = self._handle(frame)
        self._check_silence()
        self._remove_old()
        self._beat += 1
        self._tell(EventKind.HEARTBEAT)
        return result

    def _do_requests(self) -> None:
        while not self._requests.empty():
            self._requests.get_nowait()()

    # One frame

    def _handle(self, frame: FrameFile) -> FrameResult | None:
        """Record a file that is no new frame; analyse, chart and write all others."""
        if frame.image is None:
            self._note_unreadable(frame)
            return None
        if frame.key.sha256 in self._known:
            self._note_repeat(frame.key)
            return None
        self._known.add(frame.key.sha256)
        self._n_frozen = 0
        analysis = self._analyzer.analyze(frame.image)
        step = self._tracker.advance(analysis, self._analyzer.impurity)
        result = self._make_result(frame, analysis, step)
        self._write(result, step)
        return result

    def _note_unreadable(self, frame: FrameFile) -> None:
        self._n_unreadable += 1
        detail = {"file": frame.key.file, "error": frame.error}
        self._put(
            lambda: self.store.record_file(self.source, frame.key, Verdict.UNREADABLE, frame.error),
            lambda _: self._tell(EventKind.UNREADABLE, detail=detail),
        )

    def _note_repeat(self, key: FileKey) -> None:
        self._n_repeats += 1
        self._n_frozen += 1
        self._put(lambda: self.store.record_file(self.source, key, Verdict.REPEAT))
        if self._n_frozen >= FROZEN_AFTER:
            self._enter(State.CAMERA_BLIND, "the camera gives the same image again and again")

    def _make_result(self, frame: FrameFile, analysis: FrameAnalysis, step: TrackerStep) -> FrameResult:
        frame_time_s, time_source = self._clock.read(frame.key.file, frame.key.mtime_ns, frame.data)
        impurity = analysis.fraction_of(self._analyzer.impurity)
        return FrameResult(
            **{**vars(analysis), "seconds": {"read": frame.seconds, **analysis.seconds}},
            key=frame.key,
            frame_time_s=frame_time_s,
            time_source=time_source,
            state=step.state,
            alarm=step.alarm,
            impurity=self._analyzer.impurity,
            fraction=impurity.fraction if impurity else None,
            low=impurity.low if impurity else None,
            high=impurity.high if impurity else None,
            chart=step.point,
            judged_at_s=time.time(),
            model_sha256=self._analyzer.model_sha256,
            settings_id=self._settings_id,
            batch_id=self._batch.id if self._batch else 0,
        )

    def _write(self, result: FrameResult, step: TrackerStep) -> None:
        state, change = self._tracker.to_json(), step.change
        self._last_frame_at = time.monotonic()

        def write() -> FrameResult:
            return self.store.record_frame(result, self.source, state, change, step.events)

        def done(written: FrameResult) -> None:
            self._n_frames += 1
            self._last = replace(written, map=result.map)
            self._state = written.state
            self._tell(EventKind.FRAME, frame=self._last)
            if change is not None:
                newest = self.store.alarms(written.batch_id, limit=1)
                alarm = newest[0] if newest else None
                self._tell(EventKind.ALARM, alarm=alarm, detail={"change": change.kind})

        self._put(write, done)

    def _put(self, write: Callable[[], Any], done: Callable[[Any], None] = lambda _: None) -> None:
        self._write_queue.put(write, done)
        self._write_queue.flush()

    # Between frames

    def _check_silence(self) -> None:
        fault = self._write_queue.fault or (self._reader.fault if self._reader else "")
        if fault != self._fault:
            self._fault = fault
            self._tell(EventKind.FAULT)
        is_silent = time.monotonic() - self._last_frame_at > self.config.no_frames_s
        if is_silent and self._n_frozen < FROZEN_AFTER:
            self._enter(State.NO_FRAMES, fault or "no new frame has come")

    def _enter(self, state: State, reason: str) -> None:
        if state != self._state:
            self._state = state
            self._tell(EventKind.STATE, detail={"reason": reason})

    def _remove_old(self) -> None:
        keep = self.config.keep_maps_days, self.config.keep_frames_days
        if time.monotonic() < self._retention_at or not any(keep) or len(self._write_queue):
            return
        self._retention_at = time.monotonic() + _RETENTION_EVERY_S
        self._put(lambda: self.store.remove_old("georgia", *keep))

    def _tell(
        self,
        kind: EventKind,
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
        return MonitorStatus(
            state=self._state,
            alarm=self._tracker.alarm.is_on,
            batch_id=self._batch.id if self._batch else 0,
            n_frames=self._n_frames,
            n_waiting=self._reader.n_waiting if self._reader else 0,
            n_unwritten=len(self._write_queue),
            n_unreadable=self._n_unreadable,
            n_repeats=self._n_repeats,
            fault=self._fault,
            beat=self._beat,
            at_s=time.time(),
            is_running=self._is_running,
            last=self._last,
        )

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` with every event from now on."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Call ``listener`` no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def acknowledge(self, alarm_id: int, who: str, note: str = "") -> Alarm:
        """Write who acknowledges an alarm, and inform all listeners.

        Raises:
            InputError: there is no such alarm, or nobody is named.
            StoreAwayError: the store cannot be reached now.
        """
        alarm = self.store.acknowledge_alarm(alarm_id, who, note)
        detail = {"change": AlarmAction.ACKNOWLEDGED}
        self._requests.put(lambda: self._tell(EventKind.ALARM, alarm=alarm, detail=detail))
        return alarm

    def change_limits(self, who: str, changes: Mapping[str, Any]) -> None:
        """Change settings of the charts between two frames (``limit``, ``mean`` and ``sigma``, …).

        Raises:
            InputError: a setting is unknown or its value is not allowed; nothing changes then.
        """
        new = self._tracker.check_changes(changes, self.config)
        self._requests.put(lambda: self._apply_limits(who, new, list(changes)))

    def _apply_limits(self, who: str, new: MonitorConfig, names: list[str]) -> None:
        old_values, new_values = flatten_config(self._tracker.config), flatten_config(new.charts)
        self._tracker.change(new.charts)
        self.config = new
        detail = {"changes": {name: [old_values[name], new_values[name]] for name in names}}
        batch_id, state = (self._batch.id if self._batch else None), self._tracker.to_json()
        self._put(
            lambda: self.store.record_limits(who, detail, batch_id, state, new.to_json_dict()), self._keep_id
        )

    def _keep_id(self, settings_id: str) -> None:
        self._settings_id = settings_id
        self._tell(EventKind.STATE, detail={"reason": "limits changed"})

    def next_batch(self, who: str, name: str, operator: str = "", note: str = "") -> None:
        """End the running batch and begin one of another name, between two frames."""
        self._requests.put(lambda: self._put(lambda: self._begin(who, name, operator, note)))

    def _begin(self, who: str, name: str, operator: str, note: str) -> None:
        impurity = self._analyzer.impurity
        self._follow(self.store.begin_batch(self.source, name, operator, impurity, who, note))
        self._state = State.WARMING_UP
        self._tell(EventKind.STATE, detail={"reason": "batch began"})

    def swap_model(self, who: str, analyzer: FrameAnalyzer) -> None:
        """Analyse with another model from the next frame on."""
        self._requests.put(lambda: self._swap(who, analyzer))

    def _swap(self, who: str, analyzer: FrameAnalyzer) -> None:
        detail = _describe_swap(self._analyzer.model_sha256, analyzer)
        self._analyzer = analyzer
        batch_id = self._batch.id if self._batch else None
        self._put(lambda: self.store.save_document("model", analyzer.describe(), analyzer.model_sha256))
        self._put(lambda: self.store.append_event(who, AuditAction.MODEL_SWAPPED, detail, batch_id))


def _describe_swap(before: str, analyzer: FrameAnalyzer) -> dict[str, str]:
    return {"from": before, "to": analyzer.model_sha256, "model": analyzer.bundle.name}
