"""What the store holds of the process of a batch: variables over time, events, laboratory results."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count, pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, case, cast, func, not_, or_, select

from georgia.files import check_fields
from georgia.monitor import tables
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import naming_damage, reading
from georgia.monitor.process_record import GOOD, EntryKind, StoredEntry

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, FromClause, Select

    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch

# A batch whose frames were taken so long before it was begun is one of old frames, and a clock that is so far
# off is none of a live probe.
_LIVE_S = 86_400.0
# Frames that were there a moment before the batch was begun are those of a live probe.
_JUST_S = 600.0
# The newest values that tell the usual time from one to the next.
_N_STEPS = 50
# A value is the present one while it is no older than so many usual steps and so many seconds: the time from
# one row to the next, once more where that is late, and what reading and writing take.
CURRENT_STEPS, CURRENT_S = 1.5, 10.0
_VARIABLES, _VALUES = tables.process_variables, tables.process_values
_PIECES, _ENTRIES = tables.process_pieces, tables.process_entries
# A value of another quality (an OPC UA server's "Uncertain…" or "Bad…") is kept, and is never one of a line.
_GOOD_VALUE = case((_VALUES.c.quality == GOOD, _VALUES.c.value))
_MOST_SUSPECT = 500


@dataclass(frozen=True)
class ProcessVariable:
    """One variable of a batch, with its newest value.

    ``n_values`` and ``n_gaps`` count those of the batch, None where that was not wanted; what is not of good
    quality is a gap. ``step_s`` is the usual time from one value to the next, None where there is one only;
    ``last_value`` and ``last_time_s`` are of the newest that is no gap. ``last_quality`` is that of the
    newest of all: "good", or why it is a gap.
    """

    id: int
    source: str
    name: str
    unit: str
    n_values: int | None
    n_gaps: int | None
    step_s: float | None
    last_time_s: float | None
    last_value: float | None
    last_quality: str = GOOD

    @property
    def title(self) -> str:
        """Return the name with its unit, as a column is headed."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def is_current(self, now_s: float) -> bool:
        """Tell whether the newest value may be shown as the present one at that time, s since 1970."""
        if self.last_time_s is None or self.last_quality != GOOD:
            return False
        return now_s - self.last_time_s <= CURRENT_STEPS * (self.step_s or 0.0) + CURRENT_S

    def to_json_dict(self, now_s: float) -> dict[str, Any]:
        """Return the public form: ``age_s`` and ``is_current`` are those at ``now_s``."""
        age = None if self.last_time_s is None else round(max(0.0, now_s - self.last_time_s), 1)
        now = {"last_time": iso_time(self.last_time_s), "age_s": age, "is_current": self.is_current(now_s)}
        return {**asdict(self), "title": self.title, **now}


def name_variables(
    variables: Sequence[ProcessVariable], taken: Collection[str] = (), beside: str = ""
) -> dict[int, str]:
    """Return by its id how each variable is called: no two are called the same, and none as in ``taken``.

    That is its title, or ``source: title`` where the title alone would not tell. The name with ``beside``
    behind it, a column of its own, is no other's either.
    """
    titles = [variable.title for variable in variables]
    names: dict[int, str] = {}
    used = {*taken}
    for variable in variables:
        full = f"{variable.source}: {variable.title}"
        plain = [variable.title] if titles.count(variable.title) == 1 else []
        candidates = chain(plain, [full], (f"{full} ({number})" for number in count(2)))
        names[variable.id] = next(name for name in candidates if used.isdisjoint((name, name + beside)))
        used |= {names[variable.id], names[variable.id] + beside}
    return names


@dataclass(frozen=True)
class ProcessSeries:
    """A variable over time, in columns of one length; times are s since 1970 in rising order.

    Where there are many values a point stands for those of ``width_s`` seconds: ``value`` is their mean,
    ``low`` and ``high`` are the extremes; otherwise the three are the same. None is a gap. The ``suspect``
    columns, of a length of their own, are the newest values of another quality than good, with that quality.
    """

    variable: ProcessVariable
    width_s: float
    time_s: tuple[float, ...]
    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    suspect_time_s: tuple[float, ...] = ()
    suspect_value: tuple[float, ...] = ()
    suspect_quality: tuple[str, ...] = ()

    def to_json_dict(self, now_s: float) -> dict[str, Any]:
        """Return the public form, the variable's own values beside the columns."""
        names = [*("width_s", "time_s", "value", "low", "high")]
        names += ["suspect_time_s", "suspect_value", "suspect_quality"]
        return {**self.variable.to_json_dict(now_s), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class BatchProcess:
    """The process of one batch: every variable over time, events and laboratory results, oldest first.

    ``since_s`` to ``until_s`` is the time that values of no batch of their own were taken from; where there
    are none, ``elsewhere_s`` is the time that the values of this probe, or of any, do cover. Entries that
    were withdrawn are left out. ``is_empty`` where there is nothing at all.
    """

    batch_id: int
    since_s: float
    until_s: float
    # Those that were asked for, of all ``variables``.
    series: tuple[ProcessSeries, ...] = ()
    variables: tuple[ProcessVariable, ...] = ()
    events: tuple[StoredEntry, ...] = ()
    laboratory: tuple[StoredEntry, ...] = ()
    elsewhere_s: tuple[float, float] | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether the store holds no process data of the batch."""
        return not (self.variables or self.events or self.laboratory)

    def to_json_dict(self, now_s: float | None = None) -> dict[str, Any]:
        """Return the public form."""
        now = time.time() if now_s is None else now_s
        return {
            "batch": self.batch_id,
            "since": iso_time(self.since_s),
            "until": iso_time(self.until_s),
            "at": iso_time(now),
            "variables": [item.to_json_dict(now) for item in self.variables],
            "series": [item.to_json_dict(now) for item in self.series],
            "events": [item.to_json_dict() for item in self.events],
            "laboratory": [item.to_json_dict() for item in self.laboratory],
            "elsewhere": self.elsewhere_s and list(self.elsewhere_s),
        }


def read_batch_process(
    store: StoreReader,
    batch_id: int,
    max_points: int = 2000,
    variables: Sequence[int] | None = None,
    now_s: float | None = None,
    has_counts: bool = True,
) -> BatchProcess:
    """Return the process data of a batch: each variable as at most ``max_points`` points, events, results.

    A value belongs to a batch if it was read for it by name, or was read for no batch, lies in its time, and
    is of its probe or of none. ``variables`` are the numbers of those that are wanted; None is all. A store
    of an earlier version, or one without process data, gives an empty result. ``has_counts``: see
    ``list_variables``.

    Raises:
        InputError: there is no such batch, or a row was altered.
        StoreAwayError: the store cannot be reached.
    """
    batch = store.batch(batch_id)
    now = time.time() if now_s is None else now_s
    with reading(store.engine) as connection:
        since_s, until_s = _find_period(connection, batch, now)
    found = BatchProcess(batch_id, since_s, until_s)
    if not has_process(store):
        return found
    known = list_variables(store, batch, now, has_counts)
    wanted = [variable for variable in known if variables is None or variable.id in variables]
    with reading(store.engine) as connection, naming_damage():
        own = _find_own(connection, batch, since_s, until_s)
        series = tuple(_read_series(connection, variable, own, max_points) for variable in wanted)
        entries = _read_entries(connection, batch, since_s, until_s)
        elsewhere = None if known else _find_elsewhere(connection, batch)
    events, results = (tuple(item for item in entries if item.kind == kind) for kind in EntryKind)
    return BatchProcess(batch_id, since_s, until_s, series, tuple(known), events, results, elsewhere)


def has_process(store: StoreReader) -> bool:
    """Tell whether the store has the tables of process data; one of an earlier version has none."""
    return all(store.has(table) for table in (_VARIABLES, _VALUES, _PIECES, _ENTRIES))


def list_variables(
    store: StoreReader, batch: Batch, now_s: float | None = None, has_counts: bool = True
) -> list[ProcessVariable]:
    """Return the variables of a batch by source and name, each with its newest value.

    Without ``has_counts`` values and gaps are not counted, which is what takes time.
    """
    if not has_process(store):
        return []
    now = time.time() if now_s is None else now_s
    columns = _VARIABLES.c["id", "source", "name", "unit"]
    with reading(store.engine) as connection, naming_damage():
        own = _find_own(connection, batch, *_find_period(connection, batch, now))
        query = select(*columns).order_by(_VARIABLES.c.source, _VARIABLES.c.name)
        rows = connection.execute(query).mappings().all()
        found = [_describe(connection, row, own, has_counts) for row in rows]
    return [variable for variable in found if variable is not None]


def _describe(
    connection: Connection, row: Mapping[Any, Any], own: _Own, has_counts: bool
) -> ProcessVariable | None:
    """Return a variable with its newest value, None where the batch has no row of it."""
    of_it = _VALUES.c.variable_id == row["id"]
    if connection.execute(own.select(_VALUES.c.time_s).where(of_it).limit(1)).first() is None:
        return None
    latest = _VALUES.c.time_s.desc()
    query = own.select(_VALUES.c.quality).where(of_it)
    quality = str(connection.execute(query.order_by(latest).limit(1)).scalar_one())
    query = own.select(_VALUES.c.time_s, _VALUES.c.value).where(of_it, _GOOD_VALUE.is_not(None))
    newest = connection.execute(query.order_by(latest).limit(_N_STEPS)).all()
    steps = [later.time_s - earlier.time_s for later, earlier in pairwise(newest)]
    n_rows = n_values = None
    if has_counts:
        counts = own.select(func.count(), func.count(_GOOD_VALUE)).where(of_it)
        n_rows, n_values = connection.execute(counts).one()
    return check_fields(
        ProcessVariable(
            **row,
            n_values=n_values,
            n_gaps=None if n_rows is None or n_values is None else n_rows - n_values,
            step_s=float(median(steps)) if steps else None,
            last_time_s=newest[0].time_s if newest else None,
            last_value=newest[0].value if newest else None,
            last_quality=quality,
        )
    )


def _find_period(connection: Connection, batch: Batch, now_s: float) -> tuple[float, float]:
    """Return the time of a batch, s since 1970: of its frames, and of the batch itself where that is live."""
    frames = tables.frames.c
    query = select(func.min(frames.frame_time_s), func.max(frames.frame_time_s))
    first, last = connection.execute(query.where(frames.batch_id == batch.id)).one()
    end = now_s if batch.ended_at_s is None else batch.ended_at_s
    if first is None:
        return batch.started_at_s, end
    since = batch.started_at_s if 0 <= first - batch.started_at_s <= _LIVE_S else first
    # Old frames, analysed later: what the reactor does now is none of that batch.
    is_live = last >= batch.started_at_s - _JUST_S and 0 <= end - last <= _LIVE_S
    return since, end if is_live else last


@dataclass(frozen=True)
class _Own:
    """Which values belong to a batch: the condition, and what is joined for it."""

    source: FromClause
    where: ColumnElement[bool]

    def select(self, *columns: Any) -> Select[Any]:
        """Return a query for columns of the batch's values."""
        return select(*columns).select_from(self.source).where(self.where)


def _find_elsewhere(connection: Connection, batch: Batch) -> tuple[float, float] | None:
    """Return from when to when values of no batch, of this probe or of any, are; None: there are none."""
    columns = _PIECES.c
    query = select(func.min(columns.first_time_s), func.max(columns.last_time_s))
    is_free = and_(columns.batch_id.is_(None), columns.probe.in_(("", batch.source)))
    first, last = connection.execute(query.where(is_free)).one()
    return None if first is None or last is None else (float(first), float(last))


def _find_own(connection: Connection, batch: Batch, since_s: float, until_s: float) -> _Own:
    """Return which values belong to a batch; by their time alone where all pieces are of any batch."""
    by_time = _VALUES.c.time_s.between(since_s, until_s)
    is_free = and_(_PIECES.c.batch_id.is_(None), _PIECES.c.probe.in_(("", batch.source)))
    if connection.execute(select(_PIECES.c.id).where(not_(is_free)).limit(1)).first() is None:
        return _Own(_VALUES, by_time)
    joined = _VALUES.join(_PIECES, _PIECES.c.id == _VALUES.c.piece_id)
    return _Own(joined, or_(_PIECES.c.batch_id == batch.id, and_(is_free, by_time)))


def _read_series(
    connection: Connection, variable: ProcessVariable, own: _Own, max_points: int
) -> ProcessSeries:
    columns, of_it = _VALUES.c, _VALUES.c.variable_id == variable.id
    suspect = _read_suspect(connection, own, of_it)
    value = _GOOD_VALUE.label("value")
    query = own.select(columns.time_s, value).where(of_it).order_by(columns.time_s)
    rows = connection.execute(query.limit(max_points + 1)).all()
    if len(rows) <= max_points:
        values = tuple(row.value for row in rows)
        times = tuple(row.time_s for row in rows)
        return check_fields(ProcessSeries(variable, 0.0, times, values, values, values, *suspect))
    span = own.select(func.min(columns.time_s), func.max(columns.time_s)).where(of_it)
    first, last = connection.execute(span).one()
    width_s = (last - first) / (max_points - 1)
    # Databases round or cut here; either gives intervals of one width.
    bucket = cast((columns.time_s - first) / width_s, Integer).label("bucket")
    summary = [
        func.avg(columns.time_s).label("time_s"),
        *(getattr(func, name)(_GOOD_VALUE).label(name) for name in ("avg", "min", "max")),
    ]
    query = own.select(bucket, *summary).where(of_it).group_by(bucket).order_by(bucket)
    points = connection.execute(query).all()
    columns_of = (tuple(getattr(row, name) for row in points) for name in ("time_s", "avg", "min", "max"))
    return check_fields(ProcessSeries(variable, width_s, *columns_of, *suspect))


def _read_suspect(connection: Connection, own: _Own, of_it: ColumnElement[bool]) -> list[tuple[Any, ...]]:
    """Return times, values and qualities of the newest values that are not good, oldest first."""
    columns = [_VALUES.c[name] for name in ("time_s", "value", "quality")]
    query = own.select(*columns).where(of_it, _VALUES.c.quality != GOOD, _VALUES.c.value.is_not(None))
    rows = connection.execute(query.order_by(_VALUES.c.time_s.desc()).limit(_MOST_SUSPECT)).all()[::-1]
    return [tuple(column) for column in zip(*rows, strict=True)] if rows else [(), (), ()]


def _read_entries(connection: Connection, batch: Batch, since_s: float, until_s: float) -> list[StoredEntry]:
    by_time = and_(
        _ENTRIES.c.batch_id.is_(None),
        _ENTRIES.c.probe.in_(("", batch.source)),
        _ENTRIES.c.time_s.between(since_s, until_s),
    )
    where = and_(or_(_ENTRIES.c.batch_id == batch.id, by_time), _ENTRIES.c.withdrawn_at_s.is_(None))
    query = select(_ENTRIES).where(where).order_by(_ENTRIES.c.time_s, _ENTRIES.c.id)
    rows = connection.execute(query).mappings().all()
    entries = [check_fields(StoredEntry(**{**row, "kind": EntryKind(row["kind"])})) for row in rows]
    for entry in entries:
        iso_time(entry.time_s), iso_time(entry.entered_at_s)  # one that no calendar knows was altered
    return entries
