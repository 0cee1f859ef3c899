"""All frames of a batch as columns, the gaps between them, and when the monitor was away or stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from georgia.monitor import tables
from georgia.monitor.columns import BY_NAME, Kind, iso_time
from georgia.monitor.connect import end_of_page, naming_damage, reading
from georgia.monitor.records import AuditAction, AuditEvent, Batch

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader

FloatArray = npt.NDArray[np.float64]

_NUMBERS = (
    *("ordinal", "frame_time_s", "fraction", "low", "high", "n_judged", "n_unknown", "n_empty"),
    *("ewma", "ewma_low", "ewma_high", "ewma_limit", "limit", "p_limit", "centre", "cusum", "cusum_limit"),
    *("rejected", "rejected_limit", "light_drift", "detail_drift", "n_effective", "cover"),
    "n_skipped",
)
_TEXTS = ("state", "status", "model_sha256", "settings_id", "time_source")
_PAGE = 5000
# A gap is longer than so many usual steps. Source: the chart of the page, which breaks its lines there.
GAP_STEPS = 5


@dataclass(frozen=True, eq=False)
class BatchFrames:
    """The frames of a batch, oldest first; each column has one entry a frame (N,).

    ``numbers`` holds the columns of ``georgia.monitor.columns`` by name, NaN where a frame has no value;
    ``texts`` those that are text. ``ids`` are the frames' numbers in the store, ``alarm`` whether one was
    active. ``chain`` is the hash of the last frame in the frames' chain, "" without frames.
    """

    ids: npt.NDArray[np.int64]
    alarm: npt.NDArray[np.bool_]
    numbers: Mapping[str, FloatArray]
    texts: Mapping[str, tuple[str, ...]]
    chain: str = ""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.ids)

    @property
    def times_s(self) -> FloatArray:
        """Return when each frame was taken, seconds since 1970."""
        return self.numbers["frame_time_s"]

    def at(self, name: str, index: int) -> float | None:
        """Return one number of one frame, None where it has none."""
        value = float(self.numbers[name][index])
        return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Gap:
    """A time without frames, seconds since 1970, between the frames of two ordinals."""

    from_s: float
    to_s: float
    before: int
    after: int

    @property
    def seconds(self) -> float:
        """Return how long it was."""
        return self.to_s - self.from_s


@dataclass(frozen=True)
class Pause:
    """A time in which something did not work: the monitor, what it looks at, or what is beside it.

    ``what`` is the kind of an outage, or "not running". ``to_s`` is None where the record holds no end of it.
    """

    what: str
    reason: str
    from_s: float
    to_s: float | None


def read_batch_frames(reader: StoreReader, batch: Batch, through: int | None = None) -> BatchFrames:
    """Return all frames of a batch, or those up to the frame of a number, as columns.

    Raises:
        InputError: a row holds something else than frames do, such as a time that no calendar knows.
        StoreAwayError: the store cannot be reached.
    """
    ids: list[int] = []
    alarm: list[bool] = []
    numbers: dict[str, list[float]] = {name: [] for name in _NUMBERS}
    texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
    interned: dict[str, str] = {}
    chain = ""
    for row in _iter_rows(reader, batch.id, through):
        with naming_damage():
            ids.append(int(row["id"]))
            alarm.append(bool(row["alarm"]))
            for name, column in numbers.items():
                value = row.get(name)
                column.append(np.nan if value is None else _to_number(name, value))
            for name, entries in texts.items():
                text = str(row.get(name) or "")
                entries.append(interned.setdefault(text, text))
        chain = str(row["chain"])
    found = {name: np.array(column, np.float64) for name, column in numbers.items()}
    times = found["frame_time_s"]
    for end in (times.min(), times.max()) if len(times) else ():
        iso_time(float(end))  # of a row that was altered: a time that no calendar knows
    return BatchFrames(
        np.array(ids, np.int64),
        np.array(alarm, np.bool_),
        found,
        {name: tuple(entries) for name, entries in texts.items()},
        chain,
    )


def _to_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r:.80} as {name}")
    number = float(value)
    if not np.isfinite(number) and BY_NAME[name].kind is Kind.TIME:
        raise ValueError(f"{value!r} as {name}")
    return number if np.isfinite(number) else np.nan


def _iter_rows(reader: StoreReader, batch_id: int, through: int | None) -> Iterator[Mapping[Any, Any]]:
    table = tables.frames
    known = {column.name for column in reader.select(table).selected_columns}
    wanted = ("id", "alarm", "chain", *_NUMBERS, *_TEXTS)
    query = select(*(table.c[name] for name in wanted if name in known)).where(table.c.batch_id == batch_id)
    if through is not None:
        query = query.where(table.c.id <= through)
    query, last = query.order_by(table.c.ordinal).limit(_PAGE), -1
    while True:
        with reading(reader.engine) as connection:
            rows = connection.execute(query.where(table.c.ordinal > last)).mappings().all()
        if not rows:
            return
        yield from rows
        last = end_of_page(rows, "ordinal", last)


def find_usual_step(times_s: FloatArray) -> float | None:
    """Return the usual time from one frame to the next, s: the median; None with fewer than two times."""
    steps = np.diff(np.sort(times_s))
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else None


def find_gaps(frames: BatchFrames, least_s: float = 0.0) -> list[Gap]:
    """Return the times without frames that are longer than five usual steps and than ``least_s``."""
    step = find_usual_step(frames.times_s)
    if step is None:
        return []
    order = np.argsort(frames.times_s, kind="stable")
    times, ordinals = frames.times_s[order], frames.numbers["ordinal"][order]
    wide = np.flatnonzero(np.diff(times) > max(least_s, GAP_STEPS * step))
    return [
        Gap(float(times[at]), float(times[at + 1]), int(ordinals[at]), int(ordinals[at + 1])) for at in wide
    ]


def find_pauses(events: Sequence[AuditEvent]) -> list[Pause]:
    """Return the outages of a batch and when its monitor did not run, from its events, oldest first."""
    pauses: list[Pause] = []
    open_outages: dict[str, Pause] = {}
    stopped: Pause | None = None
    for event in events:
        detail = event.detail
        kind = str(detail.get("outage", ""))
        if event.action == AuditAction.OUTAGE_BEGAN:
            since_s = _read_time(detail.get("since"), event.at_s)
            open_outages[kind] = Pause(kind, str(detail.get("reason", "")), since_s, None)
        elif event.action == AuditAction.OUTAGE_ENDED:
            known = open_outages.pop(kind, None)
            seconds = detail.get("seconds")
            since_s = _read_time(detail.get("since"), event.at_s)
            to_s = since_s + float(seconds) if isinstance(seconds, (int, float)) else event.at_s
            reason = str(detail.get("reason", "")) or (known.reason if known else "")
            pauses.append(Pause(kind, reason, known.from_s if known else since_s, to_s))
        elif event.action in (AuditAction.MONITOR_STOPPED, AuditAction.MONITOR_FAILED):
            reason = str(detail.get("reason", "")) or str(event.action)
            stopped = stopped or Pause("not running", reason, event.at_s, None)
        elif event.action == AuditAction.MONITOR_LOST:
            since_s = _read_time(detail.get("last_beat"), event.at_s)
            stopped = Pause("not running", "the process ended without a word", since_s, None)
        elif event.action == AuditAction.MONITOR_STARTED and stopped is not None:
            pauses.append(Pause(stopped.what, stopped.reason, stopped.from_s, event.at_s))
            stopped = None
        elif event.action == AuditAction.BATCH_ENDED:
            stopped = None  # a monitor that ends with its batch is no pause of it
    rest = [*open_outages.values(), *([stopped] if stopped else [])]
    return sorted([*pauses, *rest], key=lambda pause: pause.from_s)


def _read_time(text: object, otherwise_s: float) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return otherwise_s


def subsample(x: FloatArray, y: FloatArray, n_columns: int) -> npt.NDArray[np.int64]:
    """Return which points of a line to draw: the first, last, lowest and highest of each column of the plot.

    ``x`` (N,) rises; ``y`` (N,) may hold NaN. With as many columns as the plot has pixels the line is the
    same as with all points. Source: Jugel et al. 2014, "M4", doi 10.14778/2732951.2732953.

    >>> subsample(np.arange(8.0), np.array([0, 1, 9, 0, 0, 0, -9, 0.0]), 1).tolist()
    [0, 2, 6, 7]
    """
    if len(x) <= 4 * n_columns or x[-1] <= x[0]:
        return np.arange(len(x))
    kept: set[int] = set()
    for first, end in zip(*find_columns(x, n_columns), strict=True):
        kept |= {int(first), int(end) - 1}
        own = y[first:end]
        if np.isfinite(own).any():
            kept |= {int(first + np.nanargmin(own)), int(first + np.nanargmax(own))}
    return np.array(sorted(kept), np.int64)


def find_columns(x: FloatArray, n_columns: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where each column of a plot begins and ends in ``x`` (N,), which rises, without empty ones."""
    width = (x[-1] - x[0]) or 1.0
    column = np.minimum(((x - x[0]) / width * n_columns).astype(np.int64), n_columns - 1)
    first = np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1]).astype(np.int64)
    return first, np.append(first[1:], len(x)).astype(np.int64)
