"""What may be asked of a monitor from any thread: it is queued, and done between two frames."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from georgia.config import flatten_config
from georgia.errors import InputError, UnreadableImageError
from georgia.images.decode import read_info
from georgia.monitor.batch_tracker import BatchTracker, make_basis
from georgia.monitor.clock_watch import ClockJump, ClockWatch, FrameTimes
from georgia.monitor.commission import known_of
from georgia.monitor.commissioned import (
    CommissioningRun,
    check_override,
    find_commissioning,
    make_entry,
    make_verdict_entry,
)
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.deferred_writes import DeferredWrites
from georgia.monitor.frame_kinds import FrameKinds
from georgia.monitor.outages import OutageKind
from georgia.monitor.pending import PendingChanges
from georgia.monitor.records import Alarm, AlarmAction, AuditAction, Batch, EventKind
from georgia.monitor.released_limits import ReleasedLimits, find_released
from georgia.monitor.result import FrameAnalysis, FrameInput, FrameResult, State
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.tile import FrameAnalyzer
from georgia.monitor.watch import MAX_FRAME_PIXELS, FrameFile

# After the clock was set, nothing is removed with age for so long.
_RETENTION_HOLD_S = 24 * 3600.0


class MonitorChanges:
    """The half of a monitor that others call; the loop is in ``georgia.monitor.run``."""

    config: MonitorConfig
    store: Store
    source: str
    _analyzer: FrameAnalyzer
    _tracker: BatchTracker
    _batch: Batch | None
    _writes: DeferredWrites
    _requests: queue.Queue[Callable[[], None]]
    _settings_id: str
    _state: State
    _given: MonitorConfig
    _released: ReleasedLimits | None
    _pending: PendingChanges
    _clock_watch: ClockWatch
    _retention_at: float
    # Replaced where a batch begins or is resumed.
    _kinds = FrameKinds()
    _times = FrameTimes()
    # What else does not work beside the probe: why process data are not read, which receivers are away.
    _faults_beside: dict[OutageKind, str]
    _receivers: dict[str, str]
    # The comparison that somebody began and that is not through.
    commissioning: CommissioningRun | None = None

    def _tell(
        self,
        kind: EventKind,
        *,
        frame: FrameResult | None = None,
        alarm: Alarm | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        raise NotImplementedError

    def _follow(self, batch: Batch) -> None:
        raise NotImplementedError

    def _update_outage(self, kind: OutageKind, reason: str) -> None:
        raise NotImplementedError

    def note_process(self, reason: str) -> None:
        """Take in, between two frames, why process data are not read; "" where all are."""
        self._requests.put(lambda: self._take_fault(OutageKind.PROCESS_DATA, reason))

    def note_receiver(self, name: str, reason: str) -> None:
        """Take in, between two frames, why a receiver does not take messages; "" where it does."""
        self._requests.put(lambda: self._take_receiver(name, reason))

    def _take_receiver(self, name: str, reason: str) -> None:
        self._receivers[name] = reason
        told = "; ".join(f"the {each} {why}" for each, why in self._receivers.items() if why)
        self._take_fault(OutageKind.RECEIVER_AWAY, told)

    @property
    def _fault_beside(self) -> str:
        return next((reason for reason in self._faults_beside.values() if reason), "")

    def _take_fault(self, kind: OutageKind, reason: str) -> None:
        self._faults_beside[kind] = reason
        self._update_outage(kind, reason)

    def acknowledge(self, alarm_id: int, who: str, note: str = "") -> Alarm:
        """Write who acknowledges an alarm, and inform all listeners.

        Raises:
            InputError: there is no such alarm, or nobody is named.
            StoreAwayError: the store cannot be reached now.
        """
        return self._announce(self.store.acknowledge_alarm(alarm_id, who, note), AlarmAction.ACKNOWLEDGED)

    def shelve_alarm(self, alarm_id: int, who: str, minutes: float, reason: str) -> Alarm:
        """Put an alarm aside for some minutes, and inform all listeners; see ``Store.shelve_alarm``."""
        return self._announce(self.store.shelve_alarm(alarm_id, who, minutes, reason), AlarmAction.SHELVED)

    def close_alarm(self, alarm_id: int, who: str, reason: str) -> Alarm:
        """Close an alarm, and inform all listeners; see ``Store.close_alarm``."""
        return self._announce(self.store.close_alarm(alarm_id, who, reason), AlarmAction.CLOSED)

    def _announce(self, alarm: Alarm, action: AlarmAction) -> Alarm:
        self._requests.put(lambda: self._tell(EventKind.ALARM, alarm=alarm, detail={"change": action}))
        return alarm

    def confirm_limits(self, who: str, note: str = "") -> None:
        """Confirm, between two frames, limits that were learned at a mean that is not plausible by itself.

        Raises:
            InputError: nobody is named.
        """
        if not who.strip():
            raise InputError("Cannot confirm the limits", needs="the name of a person is needed", got="none")
        self._requests.put(lambda: self._confirm(who.strip(), note))

    def _confirm(self, who: str, note: str) -> None:
        detail, batch = {"reason": self._tracker.describe_limits(), "note": note}, self._batch
        if batch is None or not self._tracker.confirm():
            self._tell(EventKind.STATE, detail={"reason": "no limits wait to be confirmed"})
            return
        if self._state == State.LIMITS_UNCONFIRMED:
            self._state = State.IN_CONTROL
        state, settings = self._tracker.to_json(), self.config.to_json_dict()
        action = AuditAction.LIMITS_CONFIRMED
        self._writes.put(lambda: self.store.record_limits(who, detail, batch.id, state, settings, action))
        self._tell(EventKind.STATE, detail={"reason": f"limits confirmed by {who}"})

    def override_commissioning(self, who: str, reason: str) -> None:
        """Go on, between two frames, with frames that are unlike the training images, by name and reason.

        Raises:
            InputError: nobody is named, or there is no reason.
        """
        check_override(who, reason)
        self._requests.put(lambda: self._override(who.strip(), reason.strip()))

    def _override(self, who: str, reason: str) -> None:
        entry = make_entry(self.source, self._analyzer.model_sha256, {"reason": reason})
        entry["verdict"] = self._tracker.input.state.verdict
        batch, charts = self._batch, self._tracker.input
        charts.give(entry["verdict"], who)
        if self._state == State.UNLIKE_TRAINING:
            self._state = State.WARMING_UP if self._tracker.charts.limits is None else State.IN_CONTROL
        action, settings = AuditAction.COMMISSIONING_OVERRIDDEN, self.config.to_json_dict()
        if batch is not None:
            state = self._tracker.to_json()
            self._writes.put(lambda: self.store.record_limits(who, entry, batch.id, state, settings, action))
        self._tell(EventKind.STATE, detail={"reason": f"commissioning overridden by {who}: {reason}"})

    def commission(self, who: str, n_frames: int) -> None:
        """Compare the next frames with the training images; the verdict holds as that of ``--commission``.

        Raises:
            InputError: nobody is named, no frame is wanted, or another comparison is not through.
        """
        running, needs = self.commissioning, ""
        if not who.strip():
            needs, got = "the name of a person is needed", "none"
        elif n_frames < 1:
            needs, got = "one frame or more is needed", str(n_frames)
        elif running is not None:
            needs, got = "one comparison at a time is needed", f"one that {running.who} began"
        if needs:
            raise InputError("Cannot commission the probe", needs=needs, got=got)
        self.commissioning = CommissioningRun(who.strip(), n_frames)

    def cancel_commissioning(self) -> None:
        """End the comparison without a verdict; nothing where there is none."""
        self.commissioning = None

    def _find_kinds(self, last: FrameResult | None) -> FrameKinds:
        """Return what is known of a batch's frames by its last one."""
        found = None
        if last is not None:
            with suppress(InputError):  # a map that was altered: georgia verify names it
                found = self.store.frame_map(last.frame_id)
        size_px = (found.width_px, found.height_px) if found is not None else None
        return FrameKinds(size_px, self._find_bits(last) if last is not None else 0)

    def _find_bits(self, last: FrameResult) -> int:
        """Return the bits of a frame's samples from its file, which alone tells them; 0 where it is gone."""
        path = Path(self.config.watch) / last.file
        with suppress(OSError, UnreadableImageError):
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) == (last.key.size_bytes, last.key.mtime_ns):
                return read_info(path, MAX_FRAME_PIXELS).bit_depth
        return 0

    def _note_input(self, frame: FrameFile, analysis: FrameAnalysis) -> None:
        """Compare a frame that was analysed with those of its batch, and with the training images."""
        if frame.image is not None:
            size_px = (frame.image.shape[1], frame.image.shape[0])
            reason = self._kinds.add(frame.key.file, size_px, frame.bits, frame.depth)
            self._update_outage(OutageKind.MIXED_FRAMES, reason)
        self._compare_frame(analysis.input)

    def _compare_frame(self, new: FrameInput | None) -> None:
        """Take a frame into the comparison that somebody began; give and write the verdict after the last."""
        run, batch = self.commissioning, self._batch
        result = run.add(new, known_of(self._analyzer.bundle)) if run is not None else None
        if run is None or result is None or batch is None:
            return
        if self.commissioning is run:
            self.commissioning = None
        self._tracker.input.give(str(result.verdict))
        entry = make_verdict_entry(self.source, self._analyzer.model_sha256, result)
        state, settings = self._tracker.to_json(), self.config.to_json_dict()
        who, action = run.who, AuditAction.COMMISSIONED
        self._writes.put(lambda: self.store.record_limits(who, entry, batch.id, state, settings, action))
        self._tell(EventKind.STATE, detail={"reason": f"commissioning: {result.describe()}"})

    def _take_commissioning(self) -> None:
        """Take over what is recorded of this source with this model, unless the batch has its own verdict."""
        found = find_commissioning(self.store, self.source, self._analyzer.model_sha256)
        if found is not None:
            self._tracker.input.give(*found)

    def change_limits(
        self,
        who: str,
        changes: Mapping[str, Any],
        reason: str = "",
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        """Change settings of the charts between two frames (``limit``, ``mean`` and ``sigma``, …).

        They hold over the next start, unless that gives another value than this one did. ``expected`` are
        the values before, as ``who`` saw them.

        Raises:
            InputError: a setting is unknown or its value is not allowed; nothing changes then.
            ConflictError: one of ``expected`` has another value, or is about to; nothing changes then.
        """
        self._tracker.check_changes(changes, self.config)
        with self._pending.asking:
            held = flatten_config(self.config.charts)
            self._pending.add_limits(who, changes, expected or {}, held, self._find_author)
            self._requests.put(lambda: self._apply_limits(who, dict(changes), reason.strip()))

    def _find_author(self, name: str) -> str:
        try:
            changed = self.store.audit_log(action=AuditAction.LIMITS_CHANGED, limit=20)
        except StoreAwayError:  # that it was changed is known without the store
            return ""
        return next((event.who for event in changed if name in event.detail.get("changes", {})), "")

    def _apply_limits(self, who: str, changes: Mapping[str, Any], reason: str) -> None:
        try:
            self._set_limits(who, changes, reason)
        finally:
            self._pending.end_limits(who, changes)

    def _set_limits(self, who: str, changes: Mapping[str, Any], reason: str) -> None:
        # Checked again: another change may have come before.
        new = self._tracker.check_changes(changes, self.config)
        old_values, new_values = flatten_config(self._tracker.config), flatten_config(new.charts)
        self._tracker.change(new.charts)
        self.config = new
        detail = {
            "changes": {name: [old_values[name], new_values[name]] for name in changes},
            "reason": reason,
            "model_sha256": self._analyzer.model_sha256,
        }
        batch_id, state = (self._batch.id if self._batch else None), self._tracker.to_json()
        self._writes.put(
            lambda: self.store.record_limits(who, detail, batch_id, state, new.to_json_dict()), self._keep_id
        )

    def _keep_id(self, settings_id: str) -> None:
        self._settings_id = settings_id
        self._tell(EventKind.STATE, detail={"reason": "limits changed"})

    def begin_with(self, name: str, note: str = "") -> None:
        """Name the batch that the start begins, or goes on with; called before the start."""
        note = "; ".join(filter(None, (self._given.note, note)))
        self._given = replace(self._given, batch=name, note=note)

    def next_batch(
        self, who: str, name: str, operator: str = "", note: str = "", expected: int | None = None
    ) -> None:
        """End the running batch and begin one of another name, between two frames.

        ``expected`` is the number of the batch that ``who`` means to end.

        Raises:
            ConflictError: another batch runs, or is about to.
        """
        with self._pending.asking:
            batch = self._batch
            running = (batch.id, batch.name) if batch else (0, "")
            self._pending.add_batch(who, name, expected, *running)
            self._requests.put(lambda: self._put_batch(who, name, operator, note))

    def _put_batch(self, who: str, name: str, operator: str, note: str) -> None:
        def failed(error: Exception) -> None:
            self._pending.end_batch()
            self._tell(EventKind.FAULT, detail={"reason": f"batch {name!r} could not begin: {error}"})

        self._writes.put(
            lambda: self._begin(who, name, operator, note), lambda _: self._note_limits(), failed
        )

    def _begin(self, who: str, name: str, operator: str, note: str) -> None:
        impurity = self._analyzer.impurity
        self._follow(self.store.begin_batch(self.source, name, operator, impurity, who, note))
        self._state = State.WARMING_UP
        self._pending.end_batch()
        self._tell(EventKind.STATE, detail={"reason": "batch began"})

    # What happened by itself

    def _check_clock(self) -> None:
        """Write and tell that the clock was set or that the machine slept; nothing is timed by that clock."""
        jump = self._clock_watch.check()
        if jump is not None:
            # What is old by a clock that was just set is not removed before somebody could set it right.
            self._retention_at = max(self._retention_at, time.monotonic() + _RETENTION_HOLD_S)
            self._note_jump(jump)

    def _note_jump(self, jump: ClockJump) -> None:
        detail, batch_id = jump.describe(), self._batch.id if self._batch else None
        self._writes.put(
            lambda: self.store.append_event("georgia", AuditAction.CLOCK_JUMPED, detail, batch_id)
        )
        self._tell(EventKind.STATE, detail={"reason": jump.reason})

    def _find_released(self) -> ReleasedLimits | None:
        wanted, charts = self._given.limits_from, self._given.charts
        if not wanted:
            return None
        if charts.mean is not None:
            raise InputError(
                f"Cannot take limits from batch {wanted!r}",
                needs="limits by hand, or those of a batch, are needed",
                got="both: mean, sigma and limits_from",
            )
        return find_released(self.store, self.source, wanted, make_basis(self._analyzer, self._given))

    def _note_limits(self) -> None:
        """Write, together with the charts' state, that limits were dropped, or taken from another batch."""
        batch, tracker = self._batch, self._tracker
        dropped, released = tracker.take_dropped(), self._released if tracker.has_taken else None
        tracker.has_taken = False
        if batch is None:
            return
        state, settings = tracker.to_json(), self.config.to_json_dict()
        events = [(AuditAction.LIMITS_DROPPED, dropped)] if dropped else []
        events += [(AuditAction.LIMITS_SET, released.to_detail())] if released else []
        for action, detail in events:
            self._put_event(action, detail, batch.id, state, settings)
        if dropped:
            if self._state in (State.IN_CONTROL, State.WARNING, State.LIMITS_UNCONFIRMED):
                self._state = State.WARMING_UP
            self._tell(EventKind.STATE, detail={"reason": f"limits dropped: {dropped['reason']}"})

    def _put_event(
        self, action: AuditAction, detail: Mapping[str, Any], batch_id: int, state: str, settings: Any
    ) -> None:
        self._writes.put(
            lambda: self.store.record_limits("georgia", detail, batch_id, state, settings, action)
        )
