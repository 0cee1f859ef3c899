"""The loop: frames from a folder are judged, charted and written; listeners hear of each.

A ``Monitor`` may be run by the command line or in a thread of the web service. Its methods that change
something may be called from any thread: they are queued, and done between two frames.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from georgia.monitor.batch_tracker import BatchTracker
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.events import EventKind, Listener, MonitorEvent, MonitorStatus
from georgia.monitor.frame_reader import FrameReader
from georgia.monitor.frametime import FrameClock
from georgia.monitor.records import Alarm, Batch
from georgia.monitor.result import FrameResult, State
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.start import write_start
from georgia.monitor.store import AlarmChange, Store
from georgia.monitor.tile import FrameAnalyzer
from georgia.monitor.watch import FolderWatch, FrameFile
from georgia.monitor.write_queue import WriteQueue

_log = logging.getLogger(__name__)

# So many files with the same bytes in a row: the camera gives one image again and again.
FROZEN_AFTER = 3
# Old frames and maps are removed at the start and at this pace.
_RETENTION_EVERY_S = 6 * 3600.0
# The longest wait for a frame before the loop takes its next turn.
_TURN_S = 0.5


class Monitor:
    """Watches one folder with one model into one store.

    Args:
        judge: the opened model.
        config: see docs/monitor.md.
        store: where everything is written.
        listeners: called in the loop's thread with each event; one that fails is left out from then on.
        who: the person or service in whose name the monitor runs, for the trail.
    """

    def __init__(
        self,
        judge: FrameAnalyzer,
        config: MonitorConfig,
        store: Store,
        listeners: Sequence[Listener] = (),
        who: str = "georgia",
    ) -> None:
        self.config, self.store, self.who = config, store, who
        self.source = config.source or str(config.watch.resolve())
        self._judge = judge
        self._listeners = list(listeners)
        self._clock = FrameClock(config.time_from, config.time_pattern, config.time_zone)
        self._acts: queue.Queue[Callable[[], None]] = queue.Queue()
        self._outbox = WriteQueue()
        self._course = BatchTracker(config.charts)
        self._batch: Batch | None = None
        self._intake: FrameReader | None = None
        self._known: set[str] = set()
        self._settings_id = ""
        self._last: FrameResult | None = None
        self._last_frame_at = time.monotonic()
        self._retention_at = 0.0
        self._state: State = "warming up"
        self._n_frames = self._n_unreadable = self._n_repeats = self._n_frozen = self._beat = 0
        self._fault = ""
        self._is_running = False

    # Life

    def run(self, stop: threading.Event | None = None, once: bool = False) -> int:
        """Work until ``stop`` is set; return the number of frames judged.

        With ``once`` it judges what the folder holds, ends the batch, and returns. A store or folder that
        is away is waited for, with a "fault" event.
        """
        stop = stop or threading.Event()
        while not self._try_start():
            if stop.wait(1.0):
                return 0
        reason = "stopped"
        try:
            while not stop.is_set():
                self.step(min(_TURN_S, self.config.look_s))
                if once and self._is_through():
                    reason = "the folder is through"
                    break
        except BaseException as error:
            reason = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._finish(reason, ends_batch=once and reason == "the folder is through")
        return self._n_frames

    def _is_through(self) -> bool:
        return self._intake is not None and self._intake.is_quiet and not len(self._outbox)

    def _try_start(self) -> bool:
        try:
            self.start()
            return True
        except StoreAwayError as error:
            self._fault = str(error)
            self._tell("fault")
            return False

    def start(self) -> None:
        """Begin or resume the batch, and begin to look at the folder.

        Raises:
            StoreAwayError: the store cannot be reached; try again later.
        """
        config, store = self.config, self.store
        impurity = self._judge.impurity
        self._settings_id = store.save_document("settings", config.to_json_dict())
        store.save_document("model", self._judge.describe(), self._judge.model_sha256)
        self._batch = store.begin_batch(
            self.source, config.batch, config.operator, impurity, self.who, config.note
        )
        self._course = BatchTracker.from_json(self._batch.chart_state, config.charts)
        self._known = store.seen_hashes(self.source)
        watch = FolderWatch(config.watch, store.seen_files(self.source), config.grace_s)
        latest = store.frames(self._batch.id, limit=1)
        self._last = latest[0] if latest else None
        self._state = self._last.state if self._last else "warming up"
        write_start(store, self.who, self._batch, self._judge, config, self._settings_id)
        self._last_frame_at = time.monotonic()
        self._fault, self._is_running = "", True
        self._intake = FrameReader(watch, config.look_s)
        self._intake.start()
        self._tell("state")

    def _finish(self, reason: str, ends_batch: bool) -> None:
        if self._intake is not None:
            self._intake.stop()
        self._is_running = False
        batch = self._batch
        if batch is not None:
            detail = {"reason": reason, "n_frames": self._n_frames, "unwritten": len(self._outbox)}
            self._outbox.put(lambda: self.store.append_trail(self.who, "monitor stopped", detail, batch.id))
            if ends_batch:
                self._outbox.put(lambda: self.store.end_batch(batch.id, self.who, reason))
            self._outbox.flush(at_once=True)
        self._tell("state")

    # One turn

    def step(self, timeout_s: float = 0.0) -> FrameResult | None:
        """Take one turn: queued acts, at most one frame, what waits for the store; return the frame."""
        self._do_acts()
        self._outbox.flush()
        result = None
        if self._outbox.is_full:
            time.sleep(min(timeout_s, 0.1))
        elif self._intake is not None:
            frame = self._intake.take(timeout_s)
            self._do_acts()
            if frame is not None:
                result = self._deal_with(frame)
        self._check_silence()
        self._remove_old()
        self._beat += 1
        self._tell("heartbeat")
        return result

    def _do_acts(self) -> None:
        while not self._acts.empty():
            self._acts.get_nowait()()

    def _deal_with(self, frame: FrameFile) -> FrameResult | None:
        key = frame.key
        if frame.image is None:
            self._n_unreadable += 1
            write = lambda: self.store.record_file(self.source, key, "unreadable", frame.error)  # noqa: E731
            detail = {"file": key.file, "error": frame.error}
            self._put(write, lambda _: self._tell("unreadable", detail=detail))
            return None
        if key.sha256 in self._known:
            self._n_repeats += 1
            self._n_frozen += 1
            self._put(lambda: self.store.record_file(self.source, key, "repeat"))
            if self._n_frozen >= FROZEN_AFTER:
                self._enter("camera blind", "the camera gives the same image again and again")
            return None
        self._known.add(key.sha256)
        self._n_frozen = 0
        return self._judge_frame(frame)

    def _judge_frame(self, frame: FrameFile) -> FrameResult | None:
        if self._batch is None or frame.image is None:
            return None
        judgement = self._judge.judge(frame.image)
        frame_time_s, time_source = self._clock.read(frame.key.file, frame.key.mtime_ns, frame.data)
        step = self._course.advance(judgement, self._judge.impurity)
        seconds = {"read": frame.seconds, **judgement.seconds}
        fraction = judgement.fraction_of(self._judge.impurity)
        result = FrameResult(
            key=frame.key,
            frame_time_s=frame_time_s,
            time_source=time_source,
            status=judgement.status,
            state=step.state,
            alarm=step.alarm,
            impurity=self._judge.impurity,
            fraction=fraction.fraction if fraction else None,
            low=fraction.low if fraction else None,
            high=fraction.high if fraction else None,
            n_tiles=judgement.n_tiles,
            n_judged=judgement.n_judged,
            n_unknown=judgement.n_unknown,
            n_empty=judgement.n_empty,
            n_effective=judgement.n_effective,
            classes=judgement.classes,
            chart=step.point,
            error=judgement.error,
            judged_at_s=time.time(),
            model_sha256=self._judge.model_sha256,
            settings_id=self._settings_id,
            seconds=seconds,
            batch_id=self._batch.id,
            map=judgement.map,
        )
        self._write_frame(result, step.change, step.acts)
        return result

    def _write_frame(
        self, result: FrameResult, change: AlarmChange | None, acts: Sequence[tuple[str, dict[str, Any]]]
    ) -> None:
        state = self._course.to_json()
        self._last_frame_at = time.monotonic()

        def write() -> FrameResult:
            return self.store.record_frame(result, self.source, state, change, acts)

        def done(written: FrameResult) -> None:
            self._n_frames += 1
            self._last = replace(written, map=result.map)
            self._state = written.state
            self._tell("frame", frame=self._last)
            if change is not None:
                newest = self.store.alarms(written.batch_id, limit=1)
                self._tell("alarm", alarm=newest[0] if newest else None, detail={"change": change.kind})

        self._put(write, done)

    def _put(self, write: Callable[[], Any], done: Callable[[Any], None] = lambda _: None) -> None:
        self._outbox.put(write, done)
        self._outbox.flush()

    def _check_silence(self) -> None:
        fault = self._outbox.fault or (self._intake.fault if self._intake else "")
        if fault != self._fault:
            self._fault = fault
            self._tell("fault")
        is_silent = time.monotonic() - self._last_frame_at > self.config.no_frames_s
        if is_silent and self._n_frozen < FROZEN_AFTER:
            self._enter("no frames", fault or "no new frame has come")

    def _enter(self, state: State, reason: str) -> None:
        if state != self._state:
            self._state = state
            self._tell("state", detail={"reason": reason})

    def _remove_old(self) -> None:
        keep = self.config.keep_maps_days, self.config.keep_frames_days
        if time.monotonic() < self._retention_at or not any(keep) or len(self._outbox):
            return
        self._retention_at = time.monotonic() + _RETENTION_EVERY_S
        self._put(lambda: self.store.remove_old("georgia", *keep))

    # What others may ask for, from any thread

    def status(self) -> MonitorStatus:
        """Return how the monitor stands now."""
        return MonitorStatus(
            state=self._state,
            alarm=self._course.alarm.is_on,
            batch_id=self._batch.id if self._batch else 0,
            n_frames=self._n_frames,
            n_waiting=self._intake.n_waiting if self._intake else 0,
            n_unwritten=len(self._outbox),
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
        """Write who has seen an alarm, and tell all listeners.

        Raises:
            InputError: there is no such alarm, or nobody is named.
            StoreAwayError: the store cannot be reached now.
        """
        alarm = self.store.acknowledge_alarm(alarm_id, who, note)
        self._acts.put(lambda: self._tell("alarm", alarm=alarm, detail={"change": "acknowledged"}))
        return alarm

    def change_limits(self, who: str, changes: Mapping[str, Any]) -> None:
        """Change settings of the charts between two frames (``limit``, ``mean`` and ``sigma``, …).

        Raises:
            InputError: a setting is unknown or its value is refused; nothing changes then.
        """
        new = self._course.check_changes(changes, self.config)
        self._acts.put(lambda: self._apply_limits(who, new, dict(changes)))

    def _apply_limits(self, who: str, new: MonitorConfig, changes: dict[str, Any]) -> None:
        old = self._course.config
        self._course.change(new.charts)
        self.config = new
        detail = {"changes": {key: [getattr(old, key), getattr(new, key)] for key in changes}}
        batch_id, state = (self._batch.id if self._batch else None), self._course.to_json()
        self._put(
            lambda: self.store.record_limits(who, detail, batch_id, state, new.to_json_dict()), self._keep_id
        )

    def _keep_id(self, settings_id: str) -> None:
        self._settings_id = settings_id
        self._tell("state", detail={"reason": "limits changed"})

    def next_batch(self, who: str, name: str, operator: str = "", note: str = "") -> None:
        """End the running batch and begin one of another name, between two frames."""
        self._acts.put(lambda: self._put(lambda: self._begin(who, name, operator, note)))

    def _begin(self, who: str, name: str, operator: str, note: str) -> None:
        self._batch = self.store.begin_batch(self.source, name, operator, self._judge.impurity, who, note)
        self._course = BatchTracker.from_json(self._batch.chart_state, self.config.charts)
        self._state = "warming up"
        self._tell("state", detail={"reason": "batch began"})

    def swap_model(self, who: str, judge: FrameAnalyzer) -> None:
        """Judge with another model from the next frame on."""
        self._acts.put(lambda: self._swap(who, judge))

    def _swap(self, who: str, judge: FrameAnalyzer) -> None:
        detail = {"from": self._judge.model_sha256, "to": judge.model_sha256, "model": judge.bundle.name}
        self._judge = judge
        batch_id = self._batch.id if self._batch else None
        self._put(lambda: self.store.save_document("model", self._judge.describe(), judge.model_sha256))
        self._put(lambda: self.store.append_trail(who, "model swapped", detail, batch_id))

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
                # A page or a plant that fails must not cost a frame.
                _log.exception("a listener of the monitor failed and is called no more")
                self.remove_listener(listener)
