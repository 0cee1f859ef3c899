"""The store of a live probe: every frame with its result, batches, alarms, the ledger and the audit log.

A frame, its place in the ledger, the charts' state and an alarm that it raises are written in one
transaction: a stop at any moment leaves all of it or nothing. Each transaction ends with a seal.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from georgia.errors import InputError
from georgia.monitor import alarms, anchors, audit_log, spotchecks, tables
from georgia.monitor.connect import connect, naming_damage, reading, writing
from georgia.monitor.queries import StoreReader
from georgia.monitor.records import (
    Alarm,
    AlarmChange,
    AuditAction,
    AuditEvent,
    Batch,
    Verdict,
    frame_values,
)
from georgia.monitor.result import FileKey, FrameResult
from georgia.monitor.seals import Change

Clock = Callable[[], float]
T = TypeVar("T")


class Store(StoreReader):
    """One database; safe to use from several threads and processes.

    Args:
        url: a path of an SQLite file, ``sqlite:///PATH`` or ``postgresql://…``.
        clock: returns seconds since 1970.

    Raises:
        InputError: the URL cannot be used, or the database is no store of this version.
        StoreAwayError: the database cannot be reached now.
    """

    def __init__(self, url: str, clock: Clock = time.time) -> None:
        super().__init__(connect(url), url)
        self._clock = clock
        # Where the ends of the chains are noted outside, when the settings name a place.
        self.anchor: anchors.Anchor | None = None
        self._newest = audit_log.GENESIS_HEAD
        try:
            with self._changing() as change:
                tables.prepare(change.connection, url)
                change.adopt()
                self._compare_with_head_file(change)
        except BaseException:
            self.close()
            raise

    def _compare_with_head_file(self, change: Change) -> None:
        """Write into the audit log that the record's end is not the one that was noted beside the store."""
        # Read while nobody else can write: it names nothing that the store does not hold yet.
        known = anchors.read_head_file(self.head_file)
        if self.head_file is None or not audit_log.read_head(change.connection).seq:
            return
        is_new = isinstance(known, audit_log.Head) and anchors.is_empty(known) and change.is_young
        if isinstance(known, audit_log.Head) and (is_new or not anchors.is_empty(known)):
            fault = anchors.find_contradiction(change.connection, known)
            if fault:
                self._append(change, "georgia", AuditAction.RECORD_CUT, {"head": str(known), "fault": fault})
        else:
            reason = known if isinstance(known, str) else "it is empty" if known else "no such file"
            detail = {"reason": reason}
            self._append(change, "georgia", AuditAction.HEAD_MISSING, detail)

    def head(self) -> str:
        """Return the end of the chain over the whole record, ``NUMBER:HASH``, as last written here."""
        return str(self._newest)

    @property
    def has_head(self) -> bool:
        """Tell whether anything was recorded."""
        return self._newest != audit_log.GENESIS_HEAD

    # Batches

    def begin_batch(
        self, source: str, name: str, operator: str, impurity: str, who: str, note: str = ""
    ) -> Batch:
        """Return the source's running batch of that name ("" is any), or end what runs and begin one.

        A name that the source had before becomes "NAME (2)", so that the two can be told apart.
        """
        with self._changing() as change:
            running = self._running(change.connection, source)
            if running is not None and (not name or _is_numbered(running.name, name)):
                change.expects(tables.batches, running.id)
                return running
            if running is not None:
                self._end(change, running.id, who, f"batch {name!r} begins")
            name = name or time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(change.at_s))
            names = select(tables.batches.c.name).where(tables.batches.c.source == source)
            name = _number_name(name, set(change.connection.execute(names).scalars()))
            values: dict[str, Any] = {
                "source": source,
                "name": name,
                "operator": operator,
                "impurity": impurity,
            }
            values |= {"note": note, "started_at_s": change.at_s}
            batch_id = change.connection.execute(
                insert(tables.batches)
                .values(**values, chart_state="{}", n_frames=0)
                .returning(tables.batches.c.id)
            ).scalar_one()
            change.touch(tables.batches, batch_id, is_new=True)
            self._append(change, who, AuditAction.BATCH_BEGAN, values, batch_id)
        return self.batch(batch_id)

    def end_batch(self, batch_id: int, who: str, reason: str = "") -> None:
        """End a batch, and close its alarms; one that has ended stays as it is."""
        with self._changing() as change:
            self._end(change, batch_id, who, reason)

    def _end(self, change: Change, batch_id: int, who: str, reason: str) -> None:
        batch = tables.batches.c
        change.expects(tables.batches, batch_id)
        rows = change.connection.execute(
            update(tables.batches)
            .where(batch.id == batch_id, batch.ended_at_s.is_(None))
            .values(ended_at_s=change.at_s)
            .returning(batch.n_frames)
        ).all()
        for row in rows:
            change.touch(tables.batches, batch_id)
            alarms.end_with_batch(change, batch_id)
            head = audit_log.read_head(change.connection)
            detail = {"reason": reason, "n_frames": row.n_frames, "frame": head.frame_id, "chain": head.chain}
            self._append(change, who, AuditAction.BATCH_ENDED, detail, batch_id)

    # Frames

    def record_frame(
        self,
        result: FrameResult,
        source: str,
        chart_state: str,
        change: AlarmChange | None = None,
        events: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> FrameResult:
        """Write one frame with all that belongs to it; return it with its numbers.

        ``events`` are what the frame caused, for the audit log. A frame whose content is stored for the
        source is not written again: the stored one is returned, so that a call may be repeated.
        """
        known = self._find_frame(source, result.key.sha256)
        if known is not None:
            return known
        try:
            with self._changing() as writes:
                done = self._insert_frame(writes, result, source, chart_state)
                if change is not None:
                    alarms.apply(writes, done, change)
                for action, detail in events:
                    entry = {"frame": done.frame_id, **detail}
                    self._append(writes, "georgia", action, entry, done.batch_id)
                return done
        except IntegrityError:
            known = self._find_frame(source, result.key.sha256)
            if known is None:
                raise
            return known

    def _insert_frame(
        self, change: Change, result: FrameResult, source: str, chart_state: str
    ) -> FrameResult:
        batch, connection = tables.batches, change.connection
        change.expects(batch, result.batch_id)
        ordinal = connection.execute(
            update(batch)
            .where(batch.c.id == result.batch_id)
            .values(n_frames=batch.c.n_frames + 1, chart_state=chart_state)
            .returning(batch.c.n_frames)
        ).scalar_one()
        change.touch(batch, result.batch_id)
        head = audit_log.read_head(connection)
        npz = result.map.to_bytes() if result.map is not None else b""
        values = frame_values(replace(result, ordinal=ordinal), source)
        values["map_sha256"] = hashlib.sha256(npz).hexdigest() if npz else ""
        values["trail_seq"] = head.seq
        values["chain"] = audit_log.hash_frame(values, head.chain)
        # SQLite would count from 1 again where all frames were removed.
        number = {"id": head.frame_id + 1} if connection.dialect.name == "sqlite" else {}
        frame_id = connection.execute(
            insert(tables.frames).values(**values, **number).returning(tables.frames.c.id)
        ).scalar_one()
        if npz:
            connection.execute(insert(tables.maps).values(frame_id=frame_id, npz=npz))
        self._insert_ledger(change, source, result.key, Verdict.FRAME, "", frame_id)
        return replace(result, ordinal=ordinal, frame_id=frame_id)

    def record_file(self, source: str, key: FileKey, verdict: Verdict, error: str = "") -> None:
        """Record a file that is no new frame, so that it is not read again."""
        with self._changing() as change:
            self._insert_ledger(change, source, key, verdict, error, None)

    def _insert_ledger(
        self,
        change: Change,
        source: str,
        key: FileKey,
        verdict: Verdict,
        error: str,
        frame_id: int | None,
    ) -> None:
        table = tables.ledger
        place = {"file": key.file, "size_bytes": key.size_bytes, "mtime_ns": key.mtime_ns}
        change.connection.execute(
            delete(table).where(table.c.source == source, *(table.c[k] == v for k, v in place.items()))
        )
        rest = {"sha256": key.sha256, "verdict": str(verdict), "error": error, "frame_id": frame_id}
        change.connection.execute(insert(table).values(source=source, **place, **rest, seen_at_s=change.at_s))
        change.touch(table, source, *place.values())

    # Alarms

    def acknowledge_alarm(self, alarm_id: int, who: str, note: str = "") -> Alarm:
        """Write who acknowledges an alarm; the first who did stays.

        Raises:
            InputError: there is no such alarm, or nobody is named.
        """
        _check_name(who, "acknowledge")
        with self._changing() as change:
            alarms.acknowledge(change, alarm_id, who, note)
        return self.alarm(alarm_id)

    def shelve_alarm(self, alarm_id: int, who: str, minutes: float, reason: str) -> Alarm:
        """Put an alarm aside for some minutes, with a reason; a later call replaces an earlier one.

        Raises:
            InputError: there is no such alarm, it is closed, nobody is named, or there is no reason.
        """
        _check_name(who, "shelve")
        _check_reason(reason, "shelve")
        if not 0 < minutes <= alarms.LONGEST_SHELF_MIN:
            raise InputError(
                "Cannot shelve the alarm",
                needs=f"more than 0 and at most {alarms.LONGEST_SHELF_MIN:,} minutes are needed",
                got=minutes,
            )
        self._check_open(alarm_id, "shelve")
        with self._changing() as change:
            alarms.shelve(change, alarm_id, who, minutes, reason)
        return self.alarm(alarm_id)

    def close_alarm(self, alarm_id: int, who: str, reason: str) -> Alarm:
        """Close an alarm whose cause is over, with a reason.

        Raises:
            InputError: there is no such alarm, it is active or closed, or a name or a reason is missing.
        """
        _check_name(who, "close")
        _check_reason(reason, "close")
        if self._check_open(alarm_id, "close").cleared_at_s is None:
            raise InputError(
                f"Cannot close alarm {alarm_id}",
                needs="its cause must be over",
                got="an active alarm",
                hint="Shelve it for a time, or end the batch.",
            )
        with self._changing() as change:
            alarms.close(change, alarm_id, who, reason)
        return self.alarm(alarm_id)

    def _check_open(self, alarm_id: int, verb: str) -> Alarm:
        alarm = self.alarm(alarm_id)
        if alarm.closed_at_s is not None:
            raise InputError(
                f"Cannot {verb} alarm {alarm_id}",
                needs="an alarm that is not closed is needed",
                got=f"one that {alarm.closed_by!r} closed",
            )
        return alarm

    def mark_notified(self, alarm_id: int) -> None:
        """Write that the webhook has taken an alarm."""
        with self._changing() as change:
            alarms.mark_notified(change, alarm_id)

    # Spot checks

    def plan_spotcheck(self, batch_id: int, plan: Mapping[str, Any], who: str, reason: str = "") -> int:
        """Write the plan of a spot check, before its first window is named; return its number.

        Raises:
            InputError: there is no such batch, nobody is named, or a check after another one has no reason.
        """
        with self._changing() as change:
            return spotchecks.write_plan(change, batch_id, plan, who, reason)

    def name_window(self, check_id: int, position: int, name: str, who: str) -> int:
        """Write what somebody says of the next window of a spot check; return how many are named now.

        Raises:
            InputError: it is not the next window, it has another name, or the name is none.
        """
        with naming_damage(), self._changing() as change:
            return spotchecks.write_name(change, check_id, position, name, who)

    def withdraw_name(self, check_id: int, position: int, who: str) -> int:
        """Take the last name of a spot check back; return how many are named now.

        Raises:
            InputError: it is not the last name that stands, or nobody is named.
        """
        with naming_damage(), self._changing() as change:
            return spotchecks.withdraw_name(change, check_id, position, who)

    # Settings, models, events

    def save_document(
        self, kind: Literal["settings", "model"], body: Mapping[str, Any], key: str = ""
    ) -> str:
        """Keep settings or a model's description once; return its key, the sha256 of its text by default."""
        text = audit_log.canonical(body)
        key = key or hashlib.sha256(text.encode()).hexdigest()
        with self._changing() as change:
            table, connection = tables.documents, change.connection
            if connection.execute(select(table.c.id).where(table.c.id == key)).first() is None:
                connection.execute(insert(table).values(id=key, kind=kind, body=text))
                change.touch(table, key, is_new=True)
        return key

    def record_limits(
        self,
        who: str,
        detail: Mapping[str, Any],
        batch_id: int | None,
        chart_state: str,
        settings: Mapping[str, Any],
        action: AuditAction = AuditAction.LIMITS_CHANGED,
    ) -> str:
        """Write changed or confirmed limits: event, charts' state and settings; return the settings' key."""
        key = self.save_document("settings", settings)
        with self._changing() as change:
            change.expects(tables.batches, batch_id)
            rows = change.connection.execute(
                update(tables.batches).where(tables.batches.c.id == batch_id).values(chart_state=chart_state)
            )
            if rows.rowcount:
                change.touch(tables.batches, batch_id)
            entry = {**detail, "settings_id": key}
            self._append(change, who, action, entry, batch_id)
        return key

    def append_event(
        self, who: str, action: str, detail: Mapping[str, Any], batch_id: int | None = None
    ) -> AuditEvent:
        """Write one event into the audit log; return it with its number and hash."""
        with self._changing() as change:
            return self._append(change, who, action, detail, batch_id)

    def _append(
        self,
        change: Change,
        who: str,
        action: str,
        detail: Mapping[str, Any],
        batch_id: int | None = None,
    ) -> AuditEvent:
        if action in anchors.NOTED:
            change.noted = action
        return audit_log.write_event(change.connection, change.at_s, who, action, detail, batch_id)

    def remove_old(self, who: str, keep_maps_days: float = 0, keep_frames_days: float = 0) -> tuple[int, int]:
        """Remove maps and frames older than that many days (0: keep all); return how many of each.

        Frames go from the oldest on and never out of the middle; the audit log and the ledger stay whole.
        """
        n_maps = n_frames = 0
        frames, maps = tables.frames, tables.maps
        with self._changing() as change:
            connection = change.connection
            if keep_maps_days > 0:
                last = self._last_before(connection, keep_maps_days)
                n_maps = connection.execute(delete(maps).where(maps.c.frame_id <= last)).rowcount
                if n_maps:
                    detail: dict[str, Any] = {"through": last, "n_maps": n_maps, "days": keep_maps_days}
                    self._append(change, who, AuditAction.MAPS_REMOVED, detail, None)
            last = self._last_before(connection, keep_frames_days) if keep_frames_days > 0 else 0
            chain = connection.execute(select(frames.c.chain).where(frames.c.id == last)).scalar()
            if chain is not None:
                connection.execute(delete(maps).where(maps.c.frame_id <= last))
                n_frames = connection.execute(delete(frames).where(frames.c.id <= last)).rowcount
                detail = {"through": last, "chain": chain, "n_frames": n_frames, "days": keep_frames_days}
                self._append(change, who, AuditAction.FRAMES_REMOVED, detail, None)
        return n_maps, n_frames

    def find_clock_doubt(self, days: float = 0.0) -> str:
        """Return why what is older than so many days may not be removed now, "" where the clock is believed.

        "" too where no frame is that old; 0 days: whatever the frames.

        It can where the record holds an entry or a frame of the day before the last 24 hours. So a clock that
        is far ahead when the monitor starts removes nothing before it has gone on for a day, over restarts
        too; nor does a right one, where nothing was recorded for a day.

        Raises:
            StoreAwayError: the store cannot be reached.
        """
        now, day = self._clock(), 86_400.0
        log, frames = tables.audit_log.c.at_s, tables.frames.c.judged_at_s
        with reading(self.engine) as connection:
            if days and not self._last_before(connection, days):
                return ""
            for column in (log, frames):
                query = select(column).where(column >= now - 2 * day, column <= now - day).limit(1)
                if connection.execute(query).first() is not None:
                    return ""
        return "the record holds nothing of the day before the last 24 hours, and the clock may have been set"

    def find_last_entry(self) -> float | None:
        """Return when the last entry of the audit log or the last frame was written, whichever is later.

        In seconds since 1970; None where there is neither.

        Raises:
            StoreAwayError: the store cannot be reached.
        """
        log, frames = tables.audit_log.c, tables.frames.c
        with reading(self.engine) as connection:
            lasts = (
                connection.execute(select(at_s).order_by(number.desc()).limit(1)).scalar()
                for at_s, number in ((log.at_s, log.seq), (frames.judged_at_s, frames.id))
            )
            return max((float(at_s) for at_s in lasts if at_s is not None), default=None)

    def _last_before(self, connection: Connection, days: float) -> int:
        """Return the number of the last frame before the first one that is younger than so many days."""
        frames, limit = tables.frames.c, self._clock() - days * 86_400
        first_kept = select(func.min(frames.id)).where(frames.judged_at_s >= limit).scalar_subquery()
        query = select(func.max(frames.id)).where(first_kept.is_(None) | (frames.id < first_kept))
        return connection.execute(query).scalar() or 0

    def write(self, work: Callable[[Change], T]) -> T:
        """Return what ``work`` returns, which writes in one sealed transaction: all of it or nothing.

        Raises:
            StoreAwayError: the store cannot be reached or written to now; the same call may work later.
        """
        with self._changing() as change:
            return work(change)

    @contextmanager
    def _changing(self) -> Iterator[Change]:
        """Yield a transaction; seal it, and note the ends of the chains beside an SQLite file."""
        with writing(self.engine) as connection:
            change = Change(connection, self._clock())
            yield change
            change.seal()
        self._newest = change.head
        anchors.write_head_file(self.head_file, change.head)
        if self.anchor is not None and change.noted:
            self.anchor.write(change.head, change.noted)


def _check_name(who: str, verb: str) -> None:
    if not who.strip():
        raise InputError(
            f"Cannot {verb} the alarm", needs="the name of a person is needed", got="an empty name"
        )


def _check_reason(reason: str, verb: str) -> None:
    if not reason.strip():
        raise InputError(f"Cannot {verb} the alarm", needs="a reason is needed", got="none")


def _is_numbered(name: str, wanted: str) -> bool:
    """Return whether a batch's name is the wanted one, or that with a number behind it."""
    return re.fullmatch(re.escape(wanted) + r"( \(\d+\))?", name) is not None


def _number_name(name: str, taken: Set[str]) -> str:
    """Return a name that is not taken: itself, or with the next number behind it."""
    if name not in taken:
        return name
    return next(new for n in count(2) if (new := f"{name} ({n})") not in taken)
