"""The store of a live probe: every frame with its result, batches, alarms, the ledger and the audit log.

A frame, its place in the ledger, the charts' state and an alarm that it raises are written in one
transaction: a stop at any moment leaves all of it or nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError

from georgia.errors import InputError
from georgia.files import write_json
from georgia.monitor import audit_log, tables
from georgia.monitor.connect import connect, reading, writing
from georgia.monitor.queries import StoreReader
from georgia.monitor.records import (
    Alarm,
    AlarmAction,
    AlarmChange,
    AuditAction,
    AuditEvent,
    Batch,
    Verdict,
    frame_values,
)
from georgia.monitor.result import FileKey, FrameResult

Clock = Callable[[], float]


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
        super().__init__(connect(url))
        self._clock = clock
        self.head_file = self._find_head_file()
        self._prepare(url)

    def _prepare(self, url: str) -> None:
        try:
            with writing(self.engine) as connection:
                tables.metadata.create_all(connection)
                version = connection.execute(
                    select(tables.properties.c.value).where(tables.properties.c.name == "schema")
                ).scalar()
                if version is None:
                    row = {"name": "schema", "value": tables.SCHEMA_VERSION}
                    connection.execute(insert(tables.properties).values(row))
        except DatabaseError as error:
            raise InputError(
                "Cannot open the store",
                needs="an SQLite file or a PostgreSQL database of its own is needed",
                got=error.orig,
            ) from error
        if version not in (None, tables.SCHEMA_VERSION):
            raise InputError(
                f"Cannot open the store {url!r}",
                needs=f"its tables must be of version {tables.SCHEMA_VERSION}",
                got=version,
                hint="Use the version of Georgia that made it, or another --db.",
            )

    def _find_head_file(self) -> Path | None:
        name = self.engine.url.database
        is_file = self.engine.dialect.name == "sqlite" and name and name != ":memory:"
        return Path(f"{name}.head") if is_file else None

    # Batches

    def begin_batch(
        self, source: str, name: str, operator: str, impurity: str, who: str, note: str = ""
    ) -> Batch:
        """Return the source's running batch of that name ("" is any), or end what runs and begin one."""
        now = self._clock()
        with self._changing() as connection:
            running = self._running(connection, source)
            if running is not None and name in ("", running.name):
                return running
            if running is not None:
                self._end(connection, running.id, who, f"batch {name!r} begins")
            name = name or time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
            values = {"source": source, "name": name, "operator": operator, "impurity": impurity}
            batch_id = connection.execute(
                insert(tables.batches)
                .values(**values, note=note, started_at_s=now, chart_state="{}", n_frames=0)
                .returning(tables.batches.c.id)
            ).scalar_one()
            self._append(connection, who, AuditAction.BATCH_BEGAN, {**values, "note": note}, batch_id)
        return self.batch(batch_id)

    def end_batch(self, batch_id: int, who: str, reason: str = "") -> None:
        """End a batch; one that has ended stays as it is."""
        with self._changing() as connection:
            self._end(connection, batch_id, who, reason)

    def _end(self, connection: Connection, batch_id: int, who: str, reason: str) -> None:
        rows = connection.execute(
            update(tables.batches)
            .where(tables.batches.c.id == batch_id, tables.batches.c.ended_at_s.is_(None))
            .values(ended_at_s=self._clock())
            .returning(tables.batches.c.n_frames)
        ).all()
        for row in rows:
            head = audit_log.read_head(connection)
            detail = {"reason": reason, "n_frames": row.n_frames, "frame": head.frame_id, "chain": head.chain}
            self._append(connection, who, AuditAction.BATCH_ENDED, detail, batch_id)

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
            with writing(self.engine) as connection:
                done = self._insert_frame(connection, result, source, chart_state, change)
                for action, detail in events:
                    entry = {"frame": done.frame_id, **detail}
                    self._append(connection, "georgia", action, entry, done.batch_id)
                return done
        except IntegrityError:
            known = self._find_frame(source, result.key.sha256)
            if known is None:
                raise
            return known

    def _insert_frame(
        self,
        connection: Connection,
        result: FrameResult,
        source: str,
        chart_state: str,
        change: AlarmChange | None,
    ) -> FrameResult:
        batch = tables.batches
        ordinal = connection.execute(
            update(batch)
            .where(batch.c.id == result.batch_id)
            .values(n_frames=batch.c.n_frames + 1, chart_state=chart_state)
            .returning(batch.c.n_frames)
        ).scalar_one()
        head = audit_log.read_head(connection)
        npz = result.map.to_bytes() if result.map is not None else b""
        values = frame_values(replace(result, ordinal=ordinal), source)
        values["map_sha256"] = hashlib.sha256(npz).hexdigest() if npz else ""
        values["trail_seq"] = head.seq
        values["chain"] = audit_log.hash_frame(values, head.chain)
        frame_id = connection.execute(
            insert(tables.frames).values(values).returning(tables.frames.c.id)
        ).scalar_one()
        if npz:
            connection.execute(insert(tables.maps).values(frame_id=frame_id, npz=npz))
        self._insert_ledger(connection, source, result.key, Verdict.FRAME, "", frame_id)
        done = replace(result, ordinal=ordinal, frame_id=frame_id)
        if change is not None:
            self._change_alarm(connection, done, change)
        return done

    def record_file(self, source: str, key: FileKey, verdict: Verdict, error: str = "") -> None:
        """Record a file that is no new frame, so that it is not read again."""
        with writing(self.engine) as connection:
            self._insert_ledger(connection, source, key, verdict, error, None)

    def _insert_ledger(
        self,
        connection: Connection,
        source: str,
        key: FileKey,
        verdict: Verdict,
        error: str,
        frame_id: int | None,
    ) -> None:
        table = tables.ledger
        place = {"file": key.file, "size_bytes": key.size_bytes, "mtime_ns": key.mtime_ns}
        connection.execute(
            delete(table).where(table.c.source == source, *(table.c[k] == v for k, v in place.items()))
        )
        rest = {"sha256": key.sha256, "verdict": str(verdict), "error": error, "frame_id": frame_id}
        connection.execute(insert(table).values(source=source, **place, **rest, seen_at_s=self._clock()))

    # Alarms

    def _change_alarm(self, connection: Connection, frame: FrameResult, change: AlarmChange) -> None:
        now, table = self._clock(), tables.alarms
        detail = {"frame": frame.frame_id, "fraction": frame.fraction, "reason": change.reason}
        if change.kind == AlarmAction.RAISED:
            action = AuditAction.ALARM_RAISED
            names = ("batch_id", "frame_id", "frame_time_s", "fraction", "low", "high")
            values = {name: getattr(frame, name) for name in names}
            connection.execute(insert(table).values(**values, raised_at_s=now, reason=change.reason, note=""))
        else:
            action = AuditAction.ALARM_CLEARED
            connection.execute(
                update(table)
                .where(table.c.batch_id == frame.batch_id, table.c.cleared_at_s.is_(None))
                .values(cleared_at_s=now)
            )
        self._append(connection, "georgia", action, detail, frame.batch_id)

    def acknowledge_alarm(self, alarm_id: int, who: str, note: str = "") -> Alarm:
        """Write who acknowledges an alarm; the first who did stays.

        Raises:
            InputError: there is no such alarm, or nobody is named.
        """
        if not who.strip():
            raise InputError(
                "Cannot acknowledge the alarm", needs="the name of a person is needed", got="an empty name"
            )
        table = tables.alarms
        with self._changing() as connection:
            row = connection.execute(
                update(table)
                .where(table.c.id == alarm_id, table.c.acknowledged_at_s.is_(None))
                .values(acknowledged_at_s=self._clock(), acknowledged_by=who, note=note)
                .returning(table.c.batch_id)
            ).first()
            if row is not None:
                detail = {"alarm": alarm_id, "note": note}
                self._append(connection, who, AuditAction.ALARM_ACKNOWLEDGED, detail, row.batch_id)
        return self.alarm(alarm_id)

    def mark_notified(self, alarm_id: int) -> None:
        """Write that the webhook has taken an alarm."""
        with writing(self.engine) as connection:
            connection.execute(
                update(tables.alarms)
                .where(tables.alarms.c.id == alarm_id)
                .values(notified_at_s=self._clock())
            )

    # Settings, models, events

    def save_document(
        self, kind: Literal["settings", "model"], body: Mapping[str, Any], key: str = ""
    ) -> str:
        """Keep settings or a model's description once; return its key, the sha256 of its text by default."""
        text = audit_log.canonical(body)
        key = key or hashlib.sha256(text.encode()).hexdigest()
        with writing(self.engine) as connection:
            table = tables.documents
            if connection.execute(select(table.c.id).where(table.c.id == key)).first() is None:
                connection.execute(insert(table).values(id=key, kind=kind, body=text))
        return key

    def record_limits(
        self,
        who: str,
        detail: Mapping[str, Any],
        batch_id: int | None,
        chart_state: str,
        settings: Mapping[str, Any],
    ) -> str:
        """Write changed limits: the event, the charts' state and the settings; return the settings' key."""
        key = self.save_document("settings", settings)
        with self._changing() as connection:
            connection.execute(
                update(tables.batches).where(tables.batches.c.id == batch_id).values(chart_state=chart_state)
            )
            entry = {**detail, "settings_id": key}
            self._append(connection, who, AuditAction.LIMITS_CHANGED, entry, batch_id)
        return key

    def append_event(
        self, who: str, action: str, detail: Mapping[str, Any], batch_id: int | None = None
    ) -> AuditEvent:
        """Write one event into the audit log; return it with its number and hash."""
        with self._changing() as connection:
            return self._append(connection, who, action, detail, batch_id)

    def _append(
        self,
        connection: Connection,
        who: str,
        action: str,
        detail: Mapping[str, Any],
        batch_id: int | None,
    ) -> AuditEvent:
        return audit_log.write_event(connection, self._clock(), who, action, detail, batch_id)

    def remove_old(self, who: str, keep_maps_days: float = 0, keep_frames_days: float = 0) -> tuple[int, int]:
        """Remove maps and frames older than that many days (0: keep all); return how many of each.

        Frames go from the oldest on and never out of the middle; the audit log and the ledger stay whole.
        """
        n_maps = n_frames = 0
        frames, maps = tables.frames, tables.maps
        with self._changing() as connection:
            if keep_maps_days > 0:
                last = self._last_before(connection, keep_maps_days)
                n_maps = connection.execute(delete(maps).where(maps.c.frame_id <= last)).rowcount
            last = self._last_before(connection, keep_frames_days) if keep_frames_days > 0 else 0
            chain = connection.execute(select(frames.c.chain).where(frames.c.id == last)).scalar()
            if chain is not None:
                connection.execute(delete(maps).where(maps.c.frame_id <= last))
                n_frames = connection.execute(delete(frames).where(frames.c.id <= last)).rowcount
                detail = {"through": last, "chain": chain, "n_frames": n_frames, "days": keep_frames_days}
                self._append(connection, who, AuditAction.FRAMES_REMOVED, detail, None)
        return n_maps, n_frames

    def _last_before(self, connection: Connection, days: float) -> int:
        """Return the number of the last frame before the first one that is younger than so many days."""
        frames, limit = tables.frames.c, self._clock() - days * 86_400
        first_kept = select(func.min(frames.id)).where(frames.judged_at_s >= limit).scalar_subquery()
        query = select(func.max(frames.id)).where(first_kept.is_(None) | (frames.id < first_kept))
        return connection.execute(query).scalar() or 0

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """Yield a connection that writes; then put the heads of both chains beside an SQLite file."""
        with writing(self.engine) as connection:
            yield connection
        if self.head_file is not None:
            with reading(self.engine) as connection:
                head = audit_log.read_head(connection)
            with suppress(OSError):  # the store itself holds without the file
                write_json(self.head_file, asdict(head), indent=None)
