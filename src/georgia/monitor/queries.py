"""What can be read from a store: frames, series for charts, batches, alarms, the audit log, the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import eq, ge, gt, le, lt
from pathlib import Path
from typing import Any, TypeVar

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
    literal,
    or_,
    select,
    true,
)

from georgia.errors import InputError
from georgia.files import check_fields
from georgia.monitor import tables
from georgia.monitor.audit_log import event_of
from georgia.monitor.columns import SERIES, Kind
from georgia.monitor.connect import connect_for_reading, end_of_page, find_file, naming_damage, reading
from georgia.monitor.records import (
    ALL_FRAMES,
    Alarm,
    AuditEvent,
    Batch,
    FrameFilter,
    Series,
    Verdict,
    frame_of,
    series_of,
)
from georgia.monitor.result import FrameResult, TileMap
from georgia.monitor.spotchecks import StoredCheck, WindowName, read_names

R = TypeVar("R")
# Rows that are fetched at a time where all are wanted.
_PAGE = 2000
_MAPS_PAGE = 200


class StoreReader:
    """The reading half of a store. What a store of an earlier version lacks is read as empty.

    Args:
        engine: an open database.
        url: the address it was opened with.
    """

    def __init__(self, engine: Engine, url: str = "") -> None:
        self.engine = engine
        self._columns: dict[str, frozenset[str]] = {}
        file = find_file(url) if url else None
        self.head_file = Path(f"{file}.head") if file else None

    @classmethod
    def open(cls, url: str) -> StoreReader:
        """Open a store that is there, without the means to change it.

        Raises:
            InputError: there is none, or it is no store of this version.
            StoreAwayError: the database cannot be reached now.
        """
        reader = cls(connect_for_reading(url), url)
        try:
            with reading(reader.engine) as connection:
                tables.check_store(tables.find_columns(connection), connection, url)
        except BaseException:
            reader.close()
            raise
        return reader

    def has(self, table: Table) -> bool:
        """Tell whether the store has a table."""
        return bool(self._find_columns(table))

    def _find_columns(self, table: Table) -> frozenset[str]:
        if table.name not in self._columns:
            with reading(self.engine) as connection:
                self._columns = tables.find_columns(connection)
        return self._columns.get(table.name, frozenset())

    def select(self, table: Table) -> Select[Any]:
        """Return a query for all columns of a table that the store has."""
        known = self._find_columns(table)
        return select(*(column for column in table.columns if column.name in known))

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
        wanted: FrameFilter = ALL_FRAMES,
    ) -> list[FrameResult]:
        """Return frames newest first, at most ``limit``; ``before`` and ``after`` are numbers to page by."""
        frames = tables.frames.c
        # The batch's own index is in the same order: numbers and ordinals rise together.
        order = frames.id if batch_id is None else frames.ordinal
        query = self.select(tables.frames).order_by(order.desc()).limit(limit).where(_matches(wanted))
        query = query.where(_compare(frames.batch_id, eq, batch_id))
        query = query.where(_compare(frames.id, lt, before), _compare(frames.id, gt, after))
        return self._read(query, frame_of)

    def frame(self, frame_id: int) -> FrameResult:
        """Return one frame.

        Raises:
            InputError: there is none of that number.
        """
        with naming_damage():
            return frame_of(self._row("frame", tables.frames, frame_id))

    def frame_map(self, frame_id: int) -> TileMap | None:
        """Return a frame's windows, None where it has none or they were removed."""
        rows = self._rows(select(tables.maps.c.npz).where(tables.maps.c.frame_id == frame_id))
        with naming_damage():
            return TileMap.from_bytes(rows[0]["npz"]) if rows else None

    def count_frames(self, batch_id: int | None = None, wanted: FrameFilter = ALL_FRAMES) -> int:
        """Return the number of stored frames, of one batch or of all."""
        query = select(func.count()).where(_compare(tables.frames.c.batch_id, eq, batch_id))
        query = query.where(_matches(wanted))
        with reading(self.engine) as connection:
            return connection.execute(query.select_from(tables.frames)).scalar_one()

    def count_left_out(self, batch: Batch, now_s: float) -> int:
        """Return how many files came in a batch's time that could not be read or analysed."""
        table, end_s = tables.ledger, now_s if batch.ended_at_s is None else batch.ended_at_s
        query = select(func.count()).where(
            *(table.c.source == batch.source, table.c.seen_at_s.between(batch.started_at_s, end_s)),
            table.c.verdict.in_([str(Verdict.UNREADABLE), str(Verdict.FAILED)]),
        )
        with reading(self.engine) as connection:
            return int(connection.execute(query).scalar_one())

    def iter_frames(
        self, batch_id: int | None = None, wanted: FrameFilter = ALL_FRAMES
    ) -> Iterator[FrameResult]:
        """Yield all frames, oldest first, a page at a time."""
        frames, last = tables.frames.c, 0
        query = self.select(tables.frames).where(_compare(frames.batch_id, eq, batch_id), _matches(wanted))
        query = query.order_by(frames.id).limit(_PAGE)
        while rows := self._rows(query.where(frames.id > last)):
            with naming_damage():
                frames_of_page = list(map(frame_of, rows))
            yield from frames_of_page
            last = end_of_page(rows, "id", last)

    def series(self, batch_id: int, max_points: int = 1000, after_ordinal: int = 0) -> Series:
        """Return a batch over time, subsampled to at most ``max_points`` entries."""
        table = tables.frames
        where = and_(table.c.batch_id == batch_id, table.c.ordinal > after_ordinal)
        known = self._find_columns(table)
        with reading(self.engine) as connection:
            first, last = connection.execute(
                select(func.min(table.c.ordinal), func.max(table.c.ordinal)).where(where)
            ).one()
            n_frames = 0 if first is None else last - first + 1
            stride = max(1, -(-n_frames // max_points))
            if stride == 1:
                columns = (table.c[column.name] for column in SERIES if column.name in known)
                query = select(*columns).where(where).order_by(table.c.ordinal)
            else:
                query = _subsampled(where, int(first), stride, known)
            return series_of(connection.execute(query).mappings().all(), stride)

    # Batches, alarms, audit log

    def batches(self, limit: int = 100) -> list[Batch]:
        """Return batches, newest first."""
        query = select(tables.batches).order_by(tables.batches.c.id.desc()).limit(limit)
        return self._read(query, Batch)

    def batch(self, batch_id: int) -> Batch:
        """Return one batch.

        Raises:
            InputError: there is none of that number.
        """
        with naming_damage():
            return check_fields(Batch(**self._row("batch", tables.batches, batch_id)))

    def running_batch(self, source: str | None = None) -> Batch | None:
        """Return the newest batch that has not ended, of one source or of any."""
        with reading(self.engine) as connection:
            return self._running(connection, source)

    def _running(self, connection: Connection, source: str | None) -> Batch | None:
        table = tables.batches
        query = select(table).where(table.c.ended_at_s.is_(None), _compare(table.c.source, eq, source))
        row = connection.execute(query.order_by(table.c.id.desc()).limit(1)).mappings().first()
        return check_fields(Batch(**row)) if row else None

    def alarms(
        self,
        batch_id: int | None = None,
        open_only: bool = False,
        limit: int = 100,
        now_s: float | None = None,
    ) -> list[Alarm]:
        """Return alarms with the names of their batches, newest first.

        ``open_only``: of batches that have not ended, those that are active or not acknowledged, are not
        closed, and are not shelved at ``now_s`` (now, where it is None).
        """
        table, batches = tables.alarms, tables.batches.c
        query = self._select_alarms().where(_compare(table.c.batch_id, eq, batch_id))
        if open_only:
            query = query.where(
                table.c.cleared_at_s.is_(None) | table.c.acknowledged_at_s.is_(None),
                batches.ended_at_s.is_(None),
            )
            if "closed_at_s" in self._find_columns(table):
                now = literal(time.time() if now_s is None else now_s)
                is_free = or_(table.c.shelved_until_s.is_(None), table.c.shelved_until_s <= now)
                query = query.where(table.c.closed_at_s.is_(None), is_free)
        return self._read(query.order_by(table.c.id.desc()).limit(limit), Alarm)

    def _select_alarms(self) -> Select[Any]:
        table, batches = tables.alarms, tables.batches
        joined = table.outerjoin(batches, batches.c.id == table.c.batch_id)
        name = func.coalesce(batches.c.name, "").label("batch_name")
        return self.select(table).add_columns(name).select_from(joined)

    def alarm(self, alarm_id: int) -> Alarm:
        """Return one alarm.

        Raises:
            InputError: there is none of that number.
        """
        rows = self._rows(self._select_alarms().where(tables.alarms.c.id == alarm_id))
        with naming_damage():
            return check_fields(Alarm(**_first(rows, "alarm", alarm_id)))

    def audit_log(
        self,
        limit: int = 100,
        before: int | None = None,
        action: str | Sequence[str] = "",
        batch_id: int | None = None,
    ) -> list[AuditEvent]:
        """Return events, newest first; ``before`` is a number to page by."""
        table, actions = tables.audit_log, [action] if isinstance(action, str) else list(action)
        query = select(table).order_by(table.c.seq.desc()).limit(limit)
        query = query.where(_compare(table.c.seq, lt, before), _compare(table.c.batch_id, eq, batch_id))
        query = query.where(table.c.action.in_(actions)) if any(actions) else query
        return self._read(query, event_of)

    def events_of(
        self,
        source: str,
        actions: Sequence[str],
        after: int = 0,
        batch_id: int | None = None,
        until_s: float | None = None,
    ) -> list[AuditEvent]:
        """Return the events of some kinds of a source's batches, or of one of them, oldest first."""
        table, batches = tables.audit_log, tables.batches.c
        own = select(batches.id).where(batches.source == source, _compare(batches.id, eq, batch_id))
        query = select(table).where(
            table.c.action.in_([str(action) for action in actions]),
            table.c.seq > after,
            table.c.batch_id.in_(own),
            _compare(table.c.at_s, le, until_s),
        )
        return self._read(query.order_by(table.c.seq), event_of)

    def models_of(self, batch_id: int) -> list[str]:
        """Return the sha256 of each model that analysed frames of a batch."""
        frames = tables.frames.c
        query = select(frames.model_sha256).where(frames.batch_id == batch_id).distinct()
        return [row["model_sha256"] for row in self._rows(query)]

    def document(self, key: str) -> Mapping[str, Any]:
        """Return settings or a model's description by its key.

        Raises:
            InputError: there is none of that key.
        """
        row = self._row("settings or model", tables.documents, key)
        with naming_damage():
            return dict(json.loads(row["body"]))

    def newest_head(self) -> str:
        """Return the end of the chain over the whole record as it stands in the database, ``NUMBER:HASH``."""
        for table in (tables.seals, tables.audit_log):
            if self.has(table):
                query = select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)
                for row in self._rows(query):
                    return f"{row['seq']}:{row['hash']}"
        return ""

    # Spot checks

    def spotchecks(self, batch_id: int | None = None) -> list[StoredCheck]:
        """Return the spot checks of a batch, or of all, newest first."""
        table = tables.spotchecks
        if not self.has(table):
            return []
        query = select(table).where(_compare(table.c.batch_id, eq, batch_id)).order_by(table.c.id.desc())
        return self._read(query, StoredCheck)

    def spotcheck(self, check_id: int) -> StoredCheck:
        """Return one spot check.

        Raises:
            InputError: there is none of that number.
        """
        has_any = self.has(tables.spotchecks)
        rows = (
            self._rows(select(tables.spotchecks).where(tables.spotchecks.c.id == check_id)) if has_any else []
        )
        with naming_damage():
            return check_fields(StoredCheck(**_first(rows, "spot check", check_id)))

    def spotcheck_names(self, check_id: int) -> list[WindowName]:
        """Return all that was said of a check's windows, in its order, with what was taken back."""
        if not self.has(tables.spotcheck_names):
            return []
        with reading(self.engine) as connection, naming_damage():
            return [check_fields(row) for row in read_names(connection, check_id)]

    def iter_maps(
        self, batch_id: int, through_frame: int, after_frame: int = 0
    ) -> Iterator[tuple[Mapping[Any, Any], TileMap | None]]:
        """Yield the frames of a batch after one and up to one, oldest first, each with its windows.

        A frame is a mapping of ``id``, ``ordinal``, ``file``, ``sha256``, ``frame_time_s``, ``model_sha256``,
        ``map_sha256`` and, in a store that has it, ``n_skipped``; its windows are None where they were
        removed, or it never had any.
        """
        frames, maps = tables.frames, tables.maps
        names = ["id", "ordinal", "file", "sha256", "frame_time_s", "model_sha256", "map_sha256"]
        names += {"n_skipped"} & self._find_columns(frames)
        joined = frames.outerjoin(maps, maps.c.frame_id == frames.c.id)
        query = select(*(frames.c[name] for name in names), maps.c.npz).select_from(joined)
        query = query.where(frames.c.batch_id == batch_id, frames.c.id <= through_frame)
        query, last = query.order_by(frames.c.id).limit(_MAPS_PAGE), after_frame
        while rows := self._rows(query.where(frames.c.id > last)):
            for row in rows:
                with naming_damage():
                    tiles = TileMap.from_bytes(row["npz"]) if row["npz"] else None
                yield row, tiles
            last = end_of_page(rows, "id", last)

    def _row(self, what: str, table: Table, number: int | str) -> Mapping[Any, Any]:
        return _first(self._rows(self.select(table).where(table.c.id == number)), what, number)

    def _read(self, query: Select[Any], make: Callable[..., R]) -> list[R]:
        """Return what a query's rows hold; a dataclass takes the columns by name and is checked."""
        rows = self._rows(query)
        with naming_damage():
            if isinstance(make, type):
                return [check_fields(make(**row)) for row in rows]
            return [make(row) for row in rows]

    def _rows(self, query: Select[Any]) -> Sequence[Mapping[Any, Any]]:
        with reading(self.engine) as connection:
            return connection.execute(query).mappings().all()

    # The ledger

    def known_files(self, source: str) -> set[tuple[str, int, int]]:
        """Return (name, bytes, time of change in ns) of every file of a source that was dealt with.

        One whose analysis failed is to be tried again.
        """
        table = tables.ledger
        query = select(table.c.file, table.c.size_bytes, table.c.mtime_ns).where(
            table.c.source == source, table.c.verdict != Verdict.FAILED
        )
        return {(row["file"], row["size_bytes"], row["mtime_ns"]) for row in self._rows(query)}

    def known_hashes(self, source: str) -> set[str]:
        """Return the sha256 of every frame of a source."""
        table = tables.ledger
        query = select(table.c.sha256).where(table.c.source == source, table.c.verdict == Verdict.FRAME)
        return {row["sha256"] for row in self._rows(query)}

    def _find_frame(self, source: str, sha256: str) -> FrameResult | None:
        table = tables.frames
        rows = self._rows(self.select(table).where(table.c.source == source, table.c.sha256 == sha256))
        return frame_of(rows[0]) if rows else None


def _first(rows: Sequence[Mapping[Any, Any]], what: str, number: int | str) -> Mapping[Any, Any]:
    if not rows:
        raise InputError(f"Cannot show {what} {number}", needs="it must be in the store", got="none")
    return rows[0]


def _compare(column: Column[Any], operator: Callable[[Any, Any], Any], value: object) -> ColumnElement[bool]:
    """Return a condition that a query has only where a value is given."""
    condition: ColumnElement[bool] = true() if value is None else operator(column, value)
    return condition


def _matches(wanted: FrameFilter) -> ColumnElement[bool]:
    frames = tables.frames.c
    condition = and_(
        _compare(frames.batch_id, eq, wanted.batch_id),
        _compare(frames.frame_time_s, ge, wanted.since_s),
        _compare(frames.frame_time_s, lt, wanted.until_s),
    )
    return and_(condition, frames.state.in_(wanted.states)) if wanted.states else condition


def _subsampled(where: Any, first: int, stride: int, known: frozenset[str]) -> Any:
    table = tables.frames
    # Whole-number division differs between databases; the remainder does not.
    place = table.c.ordinal - first
    bucket = (place - place % stride).label("bucket")
    summaries = []
    for column in (column for column in SERIES if column.name in known):
        value: Any = table.c[column.name]
        value = cast(value, Integer) if column.kind is Kind.FLAG else value
        summaries.append(getattr(func, column.summary)(value).label(column.name))
    return select(bucket, *summaries).where(where).group_by(bucket).order_by(bucket)
