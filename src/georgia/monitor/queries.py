"""What can be read from a store: frames, series for charts, batches, alarms, the audit log, the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Integer, Table, and_, cast, func, select

from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.audit_log import event_of
from georgia.monitor.columns import SERIES, Kind
from georgia.monitor.connect import reading
from georgia.monitor.records import (
    Alarm,
    AuditAction,
    AuditEvent,
    Batch,
    Series,
    Verdict,
    frame_of,
    series_of,
)
from georgia.monitor.result import FrameResult, TileMap

# Rows that are fetched at a time where all are wanted.
_PAGE = 2000


class StoreReader:
    """The reading half of a store."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    # Frames

    def frames(
        self,
        batch_id: int | None = None,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
    ) -> list[FrameResult]:
        """Return frames newest first, at most ``limit``; ``before`` and ``after`` are numbers to page by."""
        table = tables.frames
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if batch_id is not None:
            # The batch's own index is in the same order: numbers and ordinals rise together.
            query = query.where(table.c.batch_id == batch_id).order_by(None).order_by(table.c.ordinal.desc())
        if before is not None:
            query = query.where(table.c.id < before)
        if after is not None:
            query = query.where(table.c.id > after)
        with reading(self.engine) as connection:
            return [frame_of(row) for row in connection.execute(query).mappings()]

    def frame(self, frame_id: int) -> FrameResult:
        """Return one frame.

        Raises:
            InputError: there is none of that number.
        """
        return frame_of(self._row("frame", tables.frames, frame_id))

    def frame_map(self, frame_id: int) -> TileMap | None:
        """Return a frame's windows, None where it has none or they were removed."""
        with reading(self.engine) as connection:
            npz = connection.execute(
                select(tables.maps.c.npz).where(tables.maps.c.frame_id == frame_id)
            ).scalar()
        return None if npz is None else TileMap.from_bytes(npz)

    def count_frames(self, batch_id: int | None = None) -> int:
        """Return the number of stored frames, of one batch or of all."""
        query = select(func.count()).select_from(tables.frames)
        if batch_id is not None:
            query = query.where(tables.frames.c.batch_id == batch_id)
        with reading(self.engine) as connection:
            return connection.execute(query).scalar_one()

    def iter_frames(self, batch_id: int | None = None) -> Iterator[FrameResult]:
        """Yield all frames, oldest first, a page at a time."""
        table, last = tables.frames, 0
        while True:
            query = select(table).where(table.c.id > last).order_by(table.c.id).limit(_PAGE)
            if batch_id is not None:
                query = query.where(table.c.batch_id == batch_id)
            with reading(self.engine) as connection:
                rows = connection.execute(query).mappings().all()
            if not rows:
                return
            yield from map(frame_of, rows)
            last = int(rows[-1]["id"])

    def series(self, batch_id: int, max_points: int = 1000, after_ordinal: int = 0) -> Series:
        """Return a batch over time, subsampled to at most ``max_points`` entries."""
        table = tables.frames
        where = and_(table.c.batch_id == batch_id, table.c.ordinal > after_ordinal)
        with reading(self.engine) as connection:
            first, last = connection.execute(
                select(func.min(table.c.ordinal), func.max(table.c.ordinal)).where(where)
            ).one()
            n_frames = 0 if first is None else last - first + 1
            stride = max(1, -(-n_frames // max_points))
            if stride == 1:
                columns = (table.c[column.name] for column in SERIES)
                query = select(*columns).where(where).order_by(table.c.ordinal)
            else:
                query = _subsampled(where, int(first), stride)
            return series_of(connection.execute(query).mappings().all(), stride)

    # Batches, alarms, audit log

    def batches(self, limit: int = 100) -> list[Batch]:
        """Return batches, newest first."""
        query = select(tables.batches).order_by(tables.batches.c.id.desc()).limit(limit)
        with reading(self.engine) as connection:
            return [Batch(**row) for row in connection.execute(query).mappings()]

    def batch(self, batch_id: int) -> Batch:
        """Return one batch.

        Raises:
            InputError: there is none of that number.
        """
        return Batch(**self._row("batch", tables.batches, batch_id))

    def running_batch(self, source: str | None = None) -> Batch | None:
        """Return the newest batch that has not ended, of one source or of any."""
        with reading(self.engine) as connection:
            return self._running(connection, source)

    def _running(self, connection: Connection, source: str | None) -> Batch | None:
        table = tables.batches
        query = select(table).where(table.c.ended_at_s.is_(None)).order_by(table.c.id.desc()).limit(1)
        if source is not None:
            query = query.where(table.c.source == source)
        row = connection.execute(query).mappings().first()
        return Batch(**row) if row else None

    def alarms(self, batch_id: int | None = None, open_only: bool = False, limit: int = 100) -> list[Alarm]:
        """Return alarms, newest first; open ones stand yet or are not acknowledged."""
        table = tables.alarms
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if batch_id is not None:
            query = query.where(table.c.batch_id == batch_id)
        if open_only:
            query = query.where(table.c.cleared_at_s.is_(None) | table.c.acknowledged_at_s.is_(None))
        with reading(self.engine) as connection:
            return [Alarm(**row) for row in connection.execute(query).mappings()]

    def alarm(self, alarm_id: int) -> Alarm:
        """Return one alarm.

        Raises:
            InputError: there is none of that number.
        """
        return Alarm(**self._row("alarm", tables.alarms, alarm_id))

    def audit_log(self, limit: int = 100, before: int | None = None, action: str = "") -> list[AuditEvent]:
        """Return events, newest first, of one kind or of all; ``before`` is a number to page by."""
        table = tables.audit_log
        query = select(table).order_by(table.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.seq < before)
        if action:
            query = query.where(table.c.action == action)
        with reading(self.engine) as connection:
            return [event_of(row) for row in connection.execute(query)]

    def last_start(self, source: str) -> Mapping[str, Any]:
        """Return with what a source's monitor was started last; empty if it never was."""
        table = tables.audit_log
        is_start = table.c.action == AuditAction.MONITOR_STARTED
        query = select(table.c.detail).where(is_start).order_by(table.c.seq.desc())
        with reading(self.engine) as connection:
            for text in connection.execute(query).scalars():
                detail: Mapping[str, Any] = json.loads(text)
                if detail["source"] == source:
                    return detail
        return {}

    def document(self, key: str) -> Mapping[str, Any]:
        """Return settings or a model's description by its key.

        Raises:
            InputError: there is none of that key.
        """
        values: Mapping[str, Any] = json.loads(self._row("settings or model", tables.documents, key)["body"])
        return values

    def _row(self, what: str, table: Table, number: int | str) -> Mapping[Any, Any]:
        with reading(self.engine) as connection:
            row = connection.execute(select(table).where(table.c.id == number)).mappings().first()
        if row is None:
            raise InputError(f"Cannot show {what} {number}", needs="it must be in the store", got="none")
        return row

    # The ledger

    def known_files(self, source: str) -> set[tuple[str, int, int]]:
        """Return (name, bytes, time of change in ns) of every file of a source that was dealt with."""
        table = tables.ledger
        query = select(table.c.file, table.c.size_bytes, table.c.mtime_ns).where(table.c.source == source)
        with reading(self.engine) as connection:
            return {(row.file, row.size_bytes, row.mtime_ns) for row in connection.execute(query)}

    def known_hashes(self, source: str) -> set[str]:
        """Return the sha256 of every content that a source has given."""
        table = tables.ledger
        query = select(table.c.sha256).where(table.c.source == source, table.c.verdict == Verdict.FRAME)
        with reading(self.engine) as connection:
            return set(connection.execute(query).scalars())

    def _find_frame(self, source: str, sha256: str) -> FrameResult | None:
        table = tables.frames
        query = select(table).where(table.c.source == source, table.c.sha256 == sha256)
        with reading(self.engine) as connection:
            row = connection.execute(query).mappings().first()
        return frame_of(row) if row else None


def _subsampled(where: Any, first: int, stride: int) -> Any:
    table = tables.frames
    # Whole-number division differs between databases; the remainder does not.
    place = table.c.ordinal - first
    bucket = (place - place % stride).label("bucket")
    summaries = []
    for column in SERIES:
        value: Any = table.c[column.name]
        value = cast(value, Integer) if column.kind is Kind.FLAG else value
        summaries.append(getattr(func, column.summary)(value).label(column.name))
    return select(bucket, *summaries).where(where).group_by(bucket).order_by(bucket)
