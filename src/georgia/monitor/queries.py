"""What the store answers: frames newest first, series for charts, batches, alarms, the trail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Integer, and_, case, func, select

from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.audit_log import TrailEntry, entry_of
from georgia.monitor.connect import reading
from georgia.monitor.records import Alarm, Batch, Series, frame_of, series_of
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
        with reading(self.engine) as connection:
            row = (
                connection.execute(select(tables.frames).where(tables.frames.c.id == frame_id))
                .mappings()
                .first()
            )
        return frame_of(_found(row, "frame", frame_id))

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
        """Return a batch over time, thinned to at most ``max_points`` entries."""
        table = tables.frames
        where = and_(table.c.batch_id == batch_id, table.c.ordinal > after_ordinal)
        with reading(self.engine) as connection:
            first, last = connection.execute(
                select(func.min(table.c.ordinal), func.max(table.c.ordinal)).where(where)
            ).one()
            n_frames = 0 if first is None else last - first + 1
            stride = max(1, -(-n_frames // max_points))
            if stride == 1:
                names = [name for name in Series.__dataclass_fields__ if name != "stride"]
                query = select(*(table.c[name] for name in names)).where(where).order_by(table.c.ordinal)
                return series_of(connection.execute(query).mappings().all(), 1)
            rows = connection.execute(_thinned(where, int(first), stride)).mappings().all()
        return series_of(rows, stride)

    # Batches, alarms, trail

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
        with reading(self.engine) as connection:
            row = (
                connection.execute(select(tables.batches).where(tables.batches.c.id == batch_id))
                .mappings()
                .first()
            )
        return Batch(**_found(row, "batch", batch_id))

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
        with reading(self.engine) as connection:
            row = (
                connection.execute(select(tables.alarms).where(tables.alarms.c.id == alarm_id))
                .mappings()
                .first()
            )
        return Alarm(**_found(row, "alarm", alarm_id))

    def trail(self, limit: int = 100, before: int | None = None, action: str = "") -> list[TrailEntry]:
        """Return acts, newest first, of one kind or of all; ``before`` is a number to page by."""
        table = tables.trail
        query = select(table).order_by(table.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.seq < before)
        if action:
            query = query.where(table.c.action == action)
        with reading(self.engine) as connection:
            return [entry_of(row) for row in connection.execute(query)]

    def last_start(self, source: str) -> Mapping[str, Any]:
        """Return with what a source's monitor was started last; empty if it never was."""
        table = tables.trail
        query = select(table.c.detail).where(table.c.action == "monitor started").order_by(table.c.seq.desc())
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
        with reading(self.engine) as connection:
            body = connection.execute(
                select(tables.documents.c.body).where(tables.documents.c.id == key)
            ).scalar()
        values: Mapping[str, Any] = json.loads(_found(body, "settings or model", key))
        return values

    # The ledger

    def seen_files(self, source: str) -> set[tuple[str, int, int]]:
        """Return (name, bytes, time of change in ns) of every file of a source that was dealt with."""
        table = tables.ledger
        query = select(table.c.file, table.c.size_bytes, table.c.mtime_ns).where(table.c.source == source)
        with reading(self.engine) as connection:
            return {(row.file, row.size_bytes, row.mtime_ns) for row in connection.execute(query)}

    def seen_hashes(self, source: str) -> set[str]:
        """Return the sha256 of every content that a source has given."""
        table = tables.ledger
        query = select(table.c.sha256).where(table.c.source == source, table.c.verdict == "frame")
        with reading(self.engine) as connection:
            return set(connection.execute(query).scalars())

    def _find_frame(self, source: str, sha256: str) -> FrameResult | None:
        table = tables.frames
        query = select(table).where(table.c.source == source, table.c.sha256 == sha256)
        with reading(self.engine) as connection:
            row = connection.execute(query).mappings().first()
        return frame_of(row) if row else None


def _thinned(where: Any, first: int, stride: int) -> Any:
    table = tables.frames
    # Whole-number division differs between databases; the remainder does not.
    place = table.c.ordinal - first
    bucket = (place - place % stride).label("bucket")
    means = [func.avg(table.c[name]).label(name) for name in ("fraction", "ewma", "cusum", "frame_time_s")]
    limits = ("ewma_limit", "cusum_limit", "p_limit", "centre")
    return (
        select(
            bucket,
            func.min(table.c.ordinal).label("ordinal"),
            *means,
            func.min(table.c.low).label("low"),
            func.max(table.c.high).label("high"),
            *(func.avg(table.c[name]).label(name) for name in limits),
            func.max(case((table.c.alarm, 1), else_=0), type_=Integer).label("alarm"),
        )
        .where(where)
        .group_by(bucket)
        .order_by(bucket)
    )


def _found(row: Any, what: str, number: object) -> Any:
    if row is None:
        raise InputError(f"Cannot show {what} {number}", needs="it must be in the store", got="none")
    return row
