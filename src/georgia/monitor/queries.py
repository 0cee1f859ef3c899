"""What can be read from a store: frames, series for charts, batches, alarms, the audit log, the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import eq, gt, lt
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Select,
    Table,
    and_,
    cast,
    func,
    select,
    true,
)

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
        """Close all connections."""
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
        frames = tables.frames.c
        # The batch's own index is in the same order: numbers and ordinals rise together.
        order = frames.id if batch_id is None else frames.ordinal
        query = select(tables.frames).order_by(order.desc()).limit(limit)
        query = query.where(_compare(frames.batch_id, eq, batch_id))
        query = query.where(_compare(frames.id, lt, before), _compare(frames.id, gt, after))
        return list(map(frame_of, self._rows(query)))

    def frame(self, frame_id: int) -> FrameResult:
        """Return one frame.

        Raises:
            InputError: there is none of that number.
        """
        return frame_of(self._row("frame", tables.frames, frame_id))

    def frame_map(self, frame_id: int) -> TileMap | None:
        """Return a frame's windows, None where it has none or they were removed."""
        rows = self._rows(select(tables.maps.c.npz).where(tables.maps.c.frame_id == frame_id))
        return TileMap.from_bytes(rows[0]["npz"]) if rows else None

    def count_frames(self, batch_id: int | None = None) -> int:
        """Return the number of stored frames, of one batch or of all."""
        query = select(func.count()).where(_compare(tables.frames.c.batch_id, eq, batch_id))
        with reading(self.engine) as connection:
            return connection.execute(query.select_from(tables.frames)).scalar_one()

    def iter_frames(self, batch_id: int | None = None) -> Iterator[FrameResult]:
        """Yield all frames, oldest first, a page at a time."""
        frames, last = tables.frames.c, 0
        query = select(tables.frames).where(_compare(frames.batch_id, eq, batch_id))
        query = query.order_by(frames.id).limit(_PAGE)
        while rows := self._rows(query.where(frames.id > last)):
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
        return [Batch(**row) for row in self._rows(query)]

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
        query = select(table).where(table.c.ended_at_s.is_(None), _compare(table.c.source, eq, source))
        row = connection.execute(query.order_by(table.c.id.desc()).limit(1)).mappings().first()
        return Batch(**row) if row else None

    def alarms(self, batch_id: int | None = None, open_only: bool = False, limit: int = 100) -> list[Alarm]:
        """Return alarms, newest first; open ones are active or not acknowledged."""
        table = tables.alarms
        query = select(table).where(_compare(table.c.batch_id, eq, batch_id))
        if open_only:
            query = query.where(table.c.cleared_at_s.is_(None) | table.c.acknowledged_at_s.is_(None))
        return [Alarm(**row) for row in self._rows(query.order_by(table.c.id.desc()).limit(limit))]

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
        query = query.where(_compare(table.c.seq, lt, before), _compare(table.c.action, eq, action or None))
        return list(map(event_of, self._rows(query)))

    def last_start(self, source: str) -> Mapping[str, Any]:
        """Return the details of the last start of a source's monitor; empty if there was none."""
        table = tables.audit_log
        is_start = table.c.action == AuditAction.MONITOR_STARTED
        query = select(table.c.detail).where(is_start).order_by(table.c.seq.desc())
        details = (json.loads(row["detail"]) for row in self._rows(query))
        return next((detail for detail in details if detail["source"] == source), {})

    def document(self, key: str) -> Mapping[str, Any]:
        """Return settings or a model's description by its key.

        Raises:
            InputError: there is none of that key.
        """
        values: Mapping[str, Any] = json.loads(self._row("settings or model", tables.documents, key)["body"])
        return values

    def _row(self, what: str, table: Table, number: int | str) -> Mapping[Any, Any]:
        rows = self._rows(select(table).where(table.c.id == number))
        if not rows:
            raise InputError(f"Cannot show {what} {number}", needs="it must be in the store", got="none")
        return rows[0]

    def _rows(self, query: Select[Any]) -> Sequence[Mapping[Any, Any]]:
        with reading(self.engine) as connection:
            return connection.execute(query).mappings().all()

    # The ledger

    def known_files(self, source: str) -> set[tuple[str, int, int]]:
        """Return (name, bytes, time of change in ns) of every file of a source that was dealt with."""
        table = tables.ledger
        query = select(table.c.file, table.c.size_bytes, table.c.mtime_ns).where(table.c.source == source)
        return {(row["file"], row["size_bytes"], row["mtime_ns"]) for row in self._rows(query)}

    def known_hashes(self, source: str) -> set[str]:
        """Return the sha256 of every frame of a source."""
        table = tables.ledger
        query = select(table.c.sha256).where(table.c.source == source, table.c.verdict == Verdict.FRAME)
        return {row["sha256"] for row in self._rows(query)}

    def _find_frame(self, source: str, sha256: str) -> FrameResult | None:
        table = tables.frames
        rows = self._rows(select(table).where(table.c.source == source, table.c.sha256 == sha256))
        return frame_of(rows[0]) if rows else None


def _compare(column: Column[Any], operator: Callable[[Any, Any], Any], value: object) -> ColumnElement[bool]:
    """Return a condition that a query has only where a value is given."""
    condition: ColumnElement[bool] = true() if value is None else operator(column, value)
    return condition


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
