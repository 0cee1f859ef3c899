"""What the store and the monitor hand out: batches, alarms, the audit log, series for charts, events."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from georgia.files import check_fields
from georgia.monitor.columns import OF_RESULT, SERIES, iso_time
from georgia.monitor.result import ChartPoint, ClassFraction, FileKey, FrameResult, FrameStatus, State


def _public(record: Any) -> dict[str, Any]:
    """Return the fields of a record, then its times as ISO 8601."""
    plain = asdict(record)
    times = {name.removesuffix("_s"): iso_time(plain.pop(name)) for name in list(plain) if name[-2:] == "_s"}
    return {**plain, **times}


@dataclass(frozen=True)
class Batch:
    """One production run: frames of one source under one name; ``ended_at_s`` is None while it runs."""

    id: int
    source: str
    name: str
    operator: str
    note: str
    impurity: str
    started_at_s: float
    ended_at_s: float | None
    n_frames: int
    chart_state: str = "{}"

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601."""
        return {name: value for name, value in _public(self).items() if name != "chart_state"}


def find_meant(batches: Sequence[Batch], wanted: str) -> list[Batch]:
    """Return the batches that have a text for their name or number; ``#12`` is a number for certain.

    Batches may be named after a running number that is not theirs, so a text may well mean two.

    >>> two = [Batch(n, "probe", name, "", "", "PG", 0.0, None, 0) for n, name in ((1, "2"), (2, "B"))]
    >>> [[batch.id for batch in find_meant(two, text)] for text in ("2", "#2", "B", "3")]
    [[1, 2], [2], [2], []]
    """
    named = [batch for batch in batches if batch.name == wanted]
    if wanted.startswith("#"):
        return named or [batch for batch in batches if f"#{batch.id}" == wanted]
    return [batch for batch in batches if batch in named or str(batch.id) == wanted]


def tell_batches(batches: Sequence[Batch]) -> str:
    """Return batches by number and name, in one line."""
    return ", ".join(f"#{batch.id} {batch.name!r}" for batch in batches)


@dataclass(frozen=True)
class Alarm:
    """One alarm of one batch: raised with a frame, cleared by later frames, acknowledged by somebody.

    It may be shelved, that is, put aside until a time, and closed; it is closed with its batch at the latest.
    ``batch_name`` is the name of its batch. ``chart``, ``value`` and ``limit`` say which limit was passed, as
    in ``AlarmChange``; an alarm of version 0.1 has none.
    """

    id: int
    batch_id: int
    frame_id: int | None
    raised_at_s: float
    frame_time_s: float
    cleared_at_s: float | None
    fraction: float | None
    low: float | None
    high: float | None
    reason: str
    acknowledged_at_s: float | None
    acknowledged_by: str | None
    note: str
    notified_at_s: float | None
    shelved_at_s: float | None = None
    shelved_until_s: float | None = None
    shelved_by: str | None = None
    shelved_reason: str | None = None
    closed_at_s: float | None = None
    closed_by: str | None = None
    closed_reason: str | None = None
    batch_name: str = ""
    chart: str | None = None
    value: float | None = None
    limit: float | None = None

    def is_shelved(self, now_s: float) -> bool:
        """Tell whether it is put aside at that moment, in seconds since 1970."""
        return self.closed_at_s is None and self.shelved_until_s is not None and now_s < self.shelved_until_s

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601."""
        return _public(self)


class AlarmAction(StrEnum):
    """What happens to an alarm."""

    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    SHELVED = "shelved"
    CLOSED = "closed"


@dataclass(frozen=True)
class AlarmChange:
    """What a frame does to the batch's alarm: raises one for a reason, or clears the active one.

    The alarm is raised by the limit ``chart``, a ``LimitKind``: there ``value`` lies on or over ``limit``.
    """

    kind: AlarmAction
    reason: str = ""
    chart: str | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class FrameFilter:
    """Which frames are wanted; None and () are all. Times are seconds since 1970, the end is not included."""

    batch_id: int | None = None
    since_s: float | None = None
    until_s: float | None = None
    states: tuple[str, ...] = ()


ALL_FRAMES = FrameFilter()


class Verdict(StrEnum):
    """What became of a file, in the ledger."""

    FRAME = "frame"
    REPEAT = "repeat"
    UNREADABLE = "unreadable"
    # The analysis failed, not the file: it is tried again at the next start.
    FAILED = "failed"


class AuditAction(StrEnum):
    """What somebody or the monitor itself did, in the audit log."""

    MONITOR_STARTED = "monitor started"
    MONITOR_STOPPED = "monitor stopped"
    MONITOR_FAILED = "monitor failed"
    MONITOR_LOST = "monitor lost"
    OUTAGE_BEGAN = "outage began"
    OUTAGE_ENDED = "outage ended"
    CLOCK_JUMPED = "clock jumped"
    SERVICE_STARTED = "service started"
    SERVICE_STOPPED = "service stopped"
    BATCH_BEGAN = "batch began"
    BATCH_ENDED = "batch ended"
    LIMITS_SET = "limits set"
    LIMITS_CHANGED = "limits changed"
    LIMITS_CONFIRMED = "limits confirmed"
    COMMISSIONED = "commissioned"
    COMMISSIONING_OVERRIDDEN = "commissioning overridden"
    LIMITS_DROPPED = "limits dropped"
    SETTINGS_CHANGED = "settings changed"
    MODEL_SWAPPED = "model swapped"
    THREADS_CHOSEN = "threads chosen"
    ALARM_RAISED = "alarm raised"
    ALARM_CLEARED = "alarm cleared"
    ALARM_ACKNOWLEDGED = "alarm acknowledged"
    ALARM_SHELVED = "alarm shelved"
    ALARM_CLOSED = "alarm closed"
    SPOTCHECK_PLANNED = "spot check planned"
    SPOTCHECK_COMPLETE = "spot check complete"
    NAME_WITHDRAWN = "name withdrawn"
    PROCESS_READ = "process data read"
    PROCESS_EVENT = "process event"
    LABORATORY_RESULT = "laboratory result"
    ENTRY_WITHDRAWN = "entry withdrawn"
    FRAMES_REMOVED = "frames removed"
    MAPS_REMOVED = "maps removed"
    PROCESS_REMOVED = "process data removed"
    # People: who may do what, who came, who signed, and what was denied.
    USER_ADDED = "user added"
    USER_ROLE_CHANGED = "user role changed"
    USER_DISABLED = "user disabled"
    USER_ENABLED = "user enabled"
    PASSWORD_RESET = "password reset"
    PASSWORD_CHANGED = "password changed"
    LOGGED_IN = "logged in"
    LOGGED_OUT = "logged out"
    LOGIN_FAILED = "log-in failed"
    LOCKED_OUT = "locked out"
    LOCKOUT_ENDED = "lock-out ended"
    TOKEN_ADDED = "token added"
    TOKEN_REVOKED = "token revoked"
    ACCESS_DENIED = "access denied"
    BATCH_SIGNED = "batch signed"
    ACTION_SIGNED = "action signed"
    SIGNED_ACTION_FAILED = "signed action failed"
    SIGNATURE_DENIED = "signature denied"
    MODEL_PROMOTED = "model promoted"
    # Faults of the record itself, found by a store that is opened or written to.
    RECORD_ALTERED = "record altered"
    RECORD_CUT = "record cut"
    HEAD_MISSING = "head missing"
    CHAIN_EXTENDED = "chain extended"


@dataclass(frozen=True)
class AuditEvent:
    """One row of the audit log: who did what at which second (UTC), in which batch, with which details."""

    seq: int
    at_s: float
    who: str
    action: str
    batch_id: int | None
    detail: Mapping[str, Any]
    previous: str
    hash: str

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        names = ("who", "action", "batch_id", "detail", "hash")
        rest = {name: getattr(self, name) for name in names}
        return {"seq": self.seq, "at": iso_time(self.at_s), **rest}


@dataclass(frozen=True)
class Series:
    """A batch over time, one entry a frame, or one for ``stride`` frames where there are many.

    An entry for several frames holds the mean of the fraction, the outermost limits of its interval, and
    whether an alarm was active in any of them. Fractions lie in 0–1; None where nothing was analysed.
    """

    stride: int
    ordinal: tuple[int, ...]
    frame_time_s: tuple[float, ...]
    fraction: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    ewma: tuple[float | None, ...]
    ewma_limit: tuple[float | None, ...]
    cusum: tuple[float | None, ...]
    cusum_limit: tuple[float | None, ...]
    p_limit: tuple[float | None, ...]
    centre: tuple[float | None, ...]
    alarm: tuple[bool, ...]
    limit: tuple[float | None, ...]
    ewma_low: tuple[float | None, ...]
    ewma_high: tuple[float | None, ...]
    rejected: tuple[float | None, ...]
    rejected_limit: tuple[float | None, ...]
    light_drift: tuple[float | None, ...]
    detail_drift: tuple[float | None, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Return columns by name, times in seconds since 1970 as chart libraries want them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class MonitorStatus:
    """Status of the monitor: state, last frame, what waits, and what is wrong.

    ``fault`` is empty while folder and store can be reached. ``beat`` counts the passes of the loop.
    ``reason`` says in one clause why the state is none of a frame. ``n_missed`` counts frames
    that are known to have been written over before they could be read: at least so many were.
    """

    state: State
    alarm: bool
    batch_id: int
    n_frames: int
    n_waiting: int
    n_unwritten: int
    n_unreadable: int
    n_repeats: int
    fault: str
    beat: int
    at_s: float
    is_running: bool = True
    last: FrameResult | None = None
    n_missed: int = 0
    reason: str = ""
    batch_name: str = ""

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, the last frame without its map."""
        names = [name for name in self.__dataclass_fields__ if name not in ("at_s", "last")]
        last = self.last.to_json_dict() if self.last is not None else None
        return {**{name: getattr(self, name) for name in names}, "at": iso_time(self.at_s), "last": last}


class EventKind(StrEnum):
    """What an event of the monitor is about."""

    FRAME = "frame"
    STATE = "state"
    ALARM = "alarm"
    UNREADABLE = "unreadable"
    FAULT = "fault"
    OUTAGE = "outage"
    HEARTBEAT = "heartbeat"


@dataclass(frozen=True)
class MonitorEvent:
    """One event; ``frame`` or ``alarm`` is there for events of that kind.

    ``status`` is the monitor's after it. Listeners are called in the monitor's own thread and must
    return at once.
    """

    kind: EventKind
    status: MonitorStatus
    frame: FrameResult | None = None
    alarm: Alarm | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        frame = self.frame.to_json_dict() if self.frame is not None else None
        alarm = self.alarm.to_json_dict() if self.alarm is not None else None
        status = {**self.status.to_json_dict(), "last": None}
        return {"kind": self.kind, "status": status, "frame": frame, "alarm": alarm, **self.detail}


Listener = Callable[[MonitorEvent], None]


def frame_values(result: FrameResult, source: str) -> dict[str, Any]:
    """Return a result as the store's row, without the row's number, map, audit log and chain."""
    classes = [asdict(item) for item in result.classes]
    texts = {
        "classes": json.dumps(classes, ensure_ascii=False),
        "seconds": json.dumps(dict(result.seconds)),
    }
    plain = (column for column in OF_RESULT if column.name not in texts)
    values = {column.name: column.to_stored(column.read(result)) for column in plain}
    return {**values, **texts, "source": source}


def frame_of(row: Mapping[Any, Any]) -> FrameResult:
    """Return a row of the store as the result that it holds; the map stays in the store."""
    values: dict[str, dict[str, Any]] = {"": {}, "key": {}, "chart": {}}
    for column, (owner, _, name) in _PLACES.items():
        values[owner][name] = value = row.get(column)
        if value is not None and not isinstance(value, _HELD[column]):
            raise TypeError(f"{value!r:.80} as {column} of frame {row['id']}")
    own = values[""]
    own["status"], own["state"] = FrameStatus(own["status"]), State(own["state"])
    own["classes"] = tuple(check_fields(ClassFraction(**item)) for item in json.loads(own["classes"]))
    for entry in own["classes"]:
        entry.name.encode("utf-8")  # tables and pages hold it: a ValueError where they could not
    own["seconds"] = dict(json.loads(own["seconds"]))
    for name, seconds in own["seconds"].items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            raise TypeError(f"{seconds!r:.80} as seconds of {name:.20} of frame {row['id']}")
    key, chart = FileKey(**values["key"]), ChartPoint(**values["chart"])
    return FrameResult(key=key, chart=chart, frame_id=row["id"], **own)


# Where a result holds each column: in itself, its key or its chart.
_PLACES = {column.name: column.attribute.rpartition(".") for column in OF_RESULT}
# SQLite gives whole numbers where they were written as such.
_HELD = {
    column.name: (int, float) if column.kind.python_type is float else column.kind.python_type
    for column in OF_RESULT
}


def series_of(rows: Sequence[Mapping[Any, Any]], stride: int) -> Series:
    """Return rows of the store as columns."""
    columns: dict[str, Any] = {column.name: tuple(row.get(column.name) for row in rows) for column in SERIES}
    return Series(stride=stride, **{**columns, "alarm": tuple(map(bool, columns["alarm"]))})
