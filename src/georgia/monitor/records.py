"""What the store and the monitor hand out: batches, alarms, the audit log, series for charts, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

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


@dataclass(frozen=True)
class Alarm:
    """One alarm: raised with a frame, cleared by later frames, acknowledged by somebody."""

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

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601."""
        return _public(self)


class AlarmAction(StrEnum):
    """What happens to an alarm."""

    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True)
class AlarmChange:
    """What a frame does to the batch's alarm: raises one for a reason, or clears the active one."""

    kind: AlarmAction
    reason: str = ""


class Verdict(StrEnum):
    """What became of a file, in the ledger."""

    FRAME = "frame"
    REPEAT = "repeat"
    UNREADABLE = "unreadable"


class AuditAction(StrEnum):
    """What somebody or the monitor itself did, in the audit log."""

    MONITOR_STARTED = "monitor started"
    MONITOR_STOPPED = "monitor stopped"
    BATCH_BEGAN = "batch began"
    BATCH_ENDED = "batch ended"
    LIMITS_SET = "limits set"
    LIMITS_CHANGED = "limits changed"
    SETTINGS_CHANGED = "settings changed"
    MODEL_SWAPPED = "model swapped"
    ALARM_RAISED = "alarm raised"
    ALARM_CLEARED = "alarm cleared"
    ALARM_ACKNOWLEDGED = "alarm acknowledged"
    FRAMES_REMOVED = "frames removed"


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

    def to_json_dict(self) -> dict[str, Any]:
        """Return columns by name, times in seconds since 1970 as chart libraries want them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class MonitorStatus:
    """Status of the monitor: state, last frame, what waits, and what is wrong.

    ``fault`` is empty while folder and store can be reached. ``beat`` counts the passes of the loop.
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
        values[owner][name] = row[column]
    own = values[""]
    own["status"], own["state"] = FrameStatus(own["status"]), State(own["state"])
    own["classes"] = tuple(ClassFraction(**item) for item in json.loads(own["classes"]))
    own["seconds"] = json.loads(own["seconds"])
    key, chart = FileKey(**values["key"]), ChartPoint(**values["chart"])
    return FrameResult(key=key, chart=chart, frame_id=row["id"], **own)


# Where a result holds each column: in itself, its key or its chart.
_PLACES = {column.name: column.attribute.rpartition(".") for column in OF_RESULT}


def series_of(rows: Sequence[Mapping[Any, Any]], stride: int) -> Series:
    """Return rows of the store as columns."""
    columns = {column.name: tuple(row[column.name] for row in rows) for column in SERIES}
    return Series(stride=stride, **{**columns, "alarm": tuple(map(bool, columns["alarm"]))})
