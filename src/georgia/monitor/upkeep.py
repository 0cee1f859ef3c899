"""The part of a monitor that looks around between two frames: hung reader, outages, what is old."""

from __future__ import annotations

import logging
import time

from georgia.monitor.changes import MonitorChanges
from georgia.monitor.frame_reader import FrameReader
from georgia.monitor.loop_health import LoopHealth
from georgia.monitor.outages import OutageKind, describe_outage
from georgia.monitor.records import AuditAction, EventKind, Verdict
from georgia.monitor.result import FileKey

_log = logging.getLogger(__name__)

# Old frames and maps are removed at the start and at this pace.
_RETENTION_EVERY_S = 6 * 3600.0
# So often a thread that hangs in a file is left behind; then the whole program is to be started anew.
_MOST_RENEWALS = 5
# Outages that say more than "no frames" does.
_LOUDER = (
    *(OutageKind.STORE_AWAY, OutageKind.FOLDER_AWAY),
    *(OutageKind.UNREADABLE_FRAMES, OutageKind.FROZEN_CAMERA),
)


class ReaderLostError(RuntimeError):
    """The thread that reads the frames hung or died again and again."""


class Upkeep(MonitorChanges):
    """What the loop does between two frames; the loop is in ``georgia.monitor.run``."""

    _reader: FrameReader | None
    _health: LoopHealth
    _reader_fault: str
    _fault: str
    _bad_reason: str
    _last_frame_at: float
    _n_renewals: int
    _n_bad: int
    _failing_since: dict[str, float]

    def _leave_out(self, key: FileKey, verdict: Verdict, error: str) -> None:
        raise NotImplementedError

    def _check_reader(self) -> None:
        """Leave a file out in which the reading hangs, and go on with another thread."""
        reader = self._reader
        if reader is None or self._health.has_ended:
            return
        key, seconds = reader.measure_hang()
        hung_after_s = self.config.health.hung_after_s
        is_hung = key is not None and seconds > hung_after_s
        if not is_hung and reader.is_alive:
            slow_s = max(hung_after_s, 5 * self.config.poll_interval_s)
            self._reader_fault = (
                f"the folder has not responded for {seconds:.0f} s" if seconds > slow_s else ""
            )
            return
        self._n_renewals += 1
        if self._n_renewals > _MOST_RENEWALS:
            raise ReaderLostError(f"reading frames has hung or failed {self._n_renewals} times")
        self._reader = reader.renew(key)
        self._reader.start()
        if key is not None:
            self._leave_out(key, Verdict.UNREADABLE, f"decoding it took longer than {hung_after_s:g} s")

    def _check_outages(self) -> None:
        store_fault, config, reader = self._writes.fault, self.config.health, self._reader
        folder_fault = (reader.error or self._reader_fault) if reader else ""
        missing = reader.watch.missing if reader else ""
        fault = store_fault or folder_fault or missing or self._kinds.reason or self._fault_beside
        if fault != self._fault:
            self._fault = fault
            self._tell(EventKind.FAULT)
        self._update_outage(OutageKind.STORE_AWAY, store_fault)
        self._time_failure("store", store_fault)
        is_away = self._time_failure("folder", folder_fault) >= config.folder_away_after_s
        self._update_outage(OutageKind.FOLDER_AWAY, folder_fault if is_away else "")
        n_missed = reader.watch.n_missed if reader else 0
        count = f"at least {n_missed}" if n_missed else "how many is not known"
        reason = f"{missing}; frames missed so far: {count}" if missing else ""
        self._update_outage(OutageKind.MISSED_FRAMES, reason)
        n = self._n_bad
        reason = (
            f"{n} files in a row are no frames: {self._bad_reason}" if n >= config.unreadable_after else ""
        )
        self._update_outage(OutageKind.UNREADABLE_FRAMES, reason)
        silent_s = time.monotonic() - self._last_frame_at
        is_silent = silent_s > self.config.no_frames_s
        if is_silent and not any(map(self._health.outages.has, _LOUDER)):
            self._update_outage(
                OutageKind.NO_FRAMES, f"no new frame for {self.config.no_frames_s:g} s or more"
            )
        elif not is_silent:
            self._update_outage(OutageKind.NO_FRAMES, "")

    def _time_failure(self, what: str, fault: str) -> float:
        """Return for how many seconds the store or folder has failed; 0 where it does not."""
        if not fault:
            self._failing_since.pop(what, None)
            return -1.0
        return time.monotonic() - self._failing_since.setdefault(what, time.monotonic())

    def _update_outage(self, kind: OutageKind, reason: str) -> None:
        """Take in that an outage lasts or does not; where that changed, write and tell it."""
        outage = self._health.outages.update(kind, reason)
        if outage is None:
            return
        action = AuditAction.OUTAGE_BEGAN if outage.seconds is None else AuditAction.OUTAGE_ENDED
        detail, batch_id = describe_outage(outage), self._batch.id if self._batch else None
        self._tell(EventKind.OUTAGE, detail=detail)
        self._writes.put(lambda: self.store.append_event("georgia", action, detail, batch_id))

    def _remove_old(self) -> None:
        keep = self.config.keep_maps_days, self.config.keep_frames_days
        if time.monotonic() < self._retention_at or not any(keep) or len(self._writes):
            return
        self._retention_at = time.monotonic() + _RETENTION_EVERY_S
        self._writes.put(lambda: self._remove_where_certain(*keep))

    def _remove_where_certain(self, keep_maps_days: float, keep_frames_days: float) -> None:
        doubt = self.store.find_clock_doubt(min(filter(None, (keep_maps_days, keep_frames_days))))
        if doubt:
            reason = f"nothing is removed with age before the clock has gone on for a day: {doubt}"
            _log.warning(reason)
            self._tell(EventKind.STATE, detail={"reason": reason})
            return
        self.store.remove_old("georgia", keep_maps_days, keep_frames_days)
