"""The part of a monitor that works at one frame: analysed, charted, written, or left out by name."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from georgia.monitor.batch_tracker import BatchTracker, TrackerStep
from georgia.monitor.changes import MonitorChanges
from georgia.monitor.frame_reader import FrameReader
from georgia.monitor.frametime import FrameClock
from georgia.monitor.input_charts import HELD_STATES
from georgia.monitor.loop_health import LoopHealth
from georgia.monitor.outages import OutageKind
from georgia.monitor.records import AuditAction, EventKind, Verdict
from georgia.monitor.result import FileKey, FrameAnalysis, FrameResult, FrameStatus, State
from georgia.monitor.watch import FrameFile, hash_pixels

_log = logging.getLogger(__name__)

# A step may take so many times as long as the last ones, besides.
_SLACK = 10
# In the dark one frame may be like the other.
_WITHOUT_LIGHT = (FrameStatus.CAMERA_BLIND, FrameStatus.DARK)


class FrameWork(MonitorChanges):
    """What the loop does with a frame; the loop is in ``georgia.monitor.run``."""

    _clock: FrameClock
    _reader: FrameReader | None
    _known: set[str]
    _last: FrameResult | None
    _last_frame_at: float
    _health: LoopHealth
    _n_frames: int
    _n_unreadable: int
    _n_repeats: int
    _n_same: int
    _n_bad: int
    _n_unwritten: int
    _bad_reason: str
    _threads: int | None
    _usual_s: float
    _in_hand: FileKey | None

    def _resume(self, state: str, known_basis: Mapping[str, Any]) -> BatchTracker:
        raise NotImplementedError

    def _handle(self, frame: FrameFile) -> FrameResult | None:
        """Record a file that is no new frame; analyse, chart and write all others.

        A frame that anything fails for is left out by name.
        """
        megapixels = 0.0 if frame.image is None else frame.image.shape[0] * frame.image.shape[1] / 1e6
        # A busy machine stretches a frame from 1 s to 13 s, and nothing hangs: see HealthConfig.
        self._health.pulse.mark(frame.key.file, grant_s=megapixels + _SLACK * self._usual_s)
        self._in_hand = frame.key
        if frame.image is None:
            self._leave_out(frame.key, Verdict.UNREADABLE, frame.error)
            return None
        pixels = hash_pixels(frame.image)
        is_same, self._tracker.last_pixels = pixels == self._tracker.last_pixels, pixels
        self._n_same = self._n_same + 1 if is_same else 0
        self._note_frozen()
        if is_same or frame.key.sha256 in self._known:
            self._note_repeat(frame.key)
            return None
        before = self._tracker.to_json()
        try:
            self._analyzer.note_arrival(self._reader.n_waiting if self._reader else 0)
            started = time.monotonic()
            analysis = _explain_dark(self._analyzer.analyze(frame.image), frame.depth)
            self._usual_s = max(0.8 * self._usual_s, time.monotonic() - started)
            self._note_threads()
            self._note_input(frame, analysis)
            step = self._tracker.advance(analysis, self._analyzer.impurity)
            result = self._make_result(frame, analysis, step)
            jump = self._times.add(frame.key.file, result.frame_time_s, time.time())
        except Exception as error:
            _log.warning("the analysis of %r failed", frame.key.file, exc_info=error)
            self._follow_charts(before)
            self._leave_out(frame.key, Verdict.FAILED, f"{type(error).__name__}: {error}")
            return None
        self._known.add(frame.key.sha256)
        self._write(result, step, before)
        if jump is not None:
            self._note_jump(jump)
        return result

    def note_queued(self) -> None:
        """Say, in the loop's thread, that it lives while it waits for its turn with a net of several."""
        step = self._health.pulse.step
        self._health.pulse.mark(step.file, step.grant_s)

    def _leave_out(self, key: FileKey, verdict: Verdict, error: str) -> None:
        """Record that a file is no frame, and say so by its name."""
        self._n_unreadable += 1
        self._n_bad += 1
        self._bad_reason = error
        detail = {"file": key.file, "error": error}
        if not key.file.endswith("/"):  # a folder is asked again
            self._writes.put(lambda: self.store.record_file(self.source, key, verdict, error))
        self._tell(EventKind.UNREADABLE, detail=detail)

    def _note_threads(self) -> None:
        """Write with how many threads the net runs, once that was measured, or has changed."""
        threads, batch = self._analyzer.threads, self._batch
        if threads is None or threads == self._threads or batch is None:
            return
        self._threads, detail = threads, self._analyzer.describe_threads()
        action, batch_id = AuditAction.THREADS_CHOSEN, batch.id
        self._writes.put(lambda: self.store.append_event("georgia", action, detail, batch_id))

    def _note_repeat(self, key: FileKey) -> None:
        self._n_repeats += 1
        self._n_bad = 0
        if self._last is not None and self._last.status in _WITHOUT_LIGHT:
            # In the dark one frame is like the other.
            self._last_frame_at = time.monotonic()
        self._writes.put(lambda: self.store.record_file(self.source, key, Verdict.REPEAT))

    def _note_frozen(self) -> None:
        n, is_blind = self._n_same, self._last is not None and self._last.status in _WITHOUT_LIGHT
        is_frozen = n >= self.config.health.frozen_after and not is_blind
        reason = f"the camera gives the same image again and again, {n + 1} times now" if is_frozen else ""
        self._update_outage(OutageKind.FROZEN_CAMERA, reason)

    def _follow_charts(self, state: str) -> None:
        pixels = self._tracker.last_pixels
        self._tracker = self._resume(state, self._tracker.basis)
        self._tracker.last_pixels = pixels

    def _make_result(self, frame: FrameFile, analysis: FrameAnalysis, step: TrackerStep) -> FrameResult:
        before_s = self._last.frame_time_s if self._last else None
        key = frame.key
        frame_time_s, time_source = self._clock.read(key.file, key.mtime_ns, frame.data, before_s)
        impurity = analysis.fraction_of(self._analyzer.impurity)
        return FrameResult(
            **{**_recorded(analysis), "seconds": {"read": frame.seconds, **analysis.seconds}},
            key=key,
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

    def _write(self, result: FrameResult, step: TrackerStep, before: str) -> None:
        state, change = self._tracker.to_json(), step.change
        input_reason = self._tracker.input.describe()
        self._last_frame_at, self._health.pulse.frame_at_s = time.monotonic(), time.time()
        self._n_bad = 0
        self._n_unwritten += 1
        self._update_outage(OutageKind.NO_FRAMES, "")
        self._update_outage(OutageKind.UNREADABLE_FRAMES, "")

        def write() -> FrameResult:
            return self.store.record_frame(result, self.source, state, change, step.events)

        def done(written: FrameResult) -> None:
            self._n_frames += 1
            self._n_unwritten -= 1
            self._last = replace(written, map=result.map)
            before_state, self._state = self._state, written.state
            self._tell(EventKind.FRAME, frame=self._last)
            if written.state in HELD_STATES and written.state != before_state:
                self._tell(EventKind.STATE, detail={"reason": input_reason})
            if written.state == State.LIMITS_UNCONFIRMED != before_state:
                self._tell(EventKind.STATE, detail={"reason": self._tracker.describe_limits()})
            if change is not None:
                newest = self.store.alarms(written.batch_id, limit=1)
                alarm = newest[0] if newest else None
                self._tell(EventKind.ALARM, alarm=alarm, detail={"change": change.kind})

        def failed(error: Exception) -> None:
            self._known.discard(result.key.sha256)
            self._n_unwritten -= 1
            if not len(self._writes):
                self._follow_charts(before)
            self._leave_out(result.key, Verdict.FAILED, f"{type(error).__name__}: {error}")

        self._writes.put(write, done, failed)


def _explain_dark(analysis: FrameAnalysis, depth: str) -> FrameAnalysis:
    """Say of a dark frame that its camera may have fewer bits than its file, where that may be the cause."""
    if analysis.status != FrameStatus.DARK or not depth:
        return analysis
    return replace(analysis, error="; ".join(filter(None, (analysis.error, depth))))


def _recorded(analysis: FrameAnalysis) -> dict[str, Any]:
    """Return what a frame's record takes over from its analysis."""
    return {name: value for name, value in vars(analysis).items() if name not in ("input", "subset")}
