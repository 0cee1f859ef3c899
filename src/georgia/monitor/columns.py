"""The columns of a frame, each defined once: name, type, unit and meaning.

The store's table, its hash chain, the JSON object of a frame, the tables of ``georgia frames``, the REST
schema and the OPC UA nodes derive from here. A new value of a frame is one line here and one field of
``FrameResult``, ``FileKey`` or ``ChartPoint``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Literal

from georgia.errors import InputError


class Kind(Enum):
    """The type of a column, with what Python holds for it.

    An ID counts rows, a LONG is a whole number of 64 bits. A TIME is stored in seconds since 1970, UTC, and
    shown as ISO 8601.
    """

    ID = ("id", int)
    INTEGER = ("integer", int)
    LONG = ("long", int)
    NUMBER = ("number", float)
    TIME = ("time", float)
    FLAG = ("flag", bool)
    TEXT = ("text", str)

    @property
    def python_type(self) -> type:
        """Return the type of a value in the store."""
        kind: type = self.value[1]
        return kind


@dataclass(frozen=True)
class Column:
    """One column: its name and type in the store, its name in public, and where a result holds it.

    ``public`` is the name in JSON, tables and REST, where it differs. ``attribute`` is the place in a
    ``FrameResult``, where it differs from the name; it is "" for what only the store knows. ``n_chars``
    limits a text, 0 is any length. ``summary`` reduces several frames to one point of a series. A column
    that is ``added`` came after version 0.1: it may be None, and a frame's hash leaves it out where it is.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    public: str = ""
    attribute: str = "="
    n_chars: int = 0
    may_be_none: bool = False
    summary: Literal["", "avg", "min", "max"] = ""
    added: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", self.public or self.name)
        object.__setattr__(self, "attribute", self.name if self.attribute == "=" else self.attribute)

    @property
    def public_type(self) -> type:
        """Return the type in JSON, tables and REST."""
        return str if self.kind is Kind.TIME else self.kind.python_type

    def read(self, frame: object) -> Any:
        """Return the value of a ``FrameResult``."""
        return attrgetter(self.attribute)(frame)

    def to_stored(self, value: Any) -> Any:
        """Return a value as the database will return it: 5 in a column of numbers is 5.0."""
        return None if value is None else self.kind.python_type(value)

    def read_public(self, frame: object) -> Any:
        """Return the value of a ``FrameResult`` as it is shown: times as ISO 8601, enums as text."""
        value = self.read(frame)
        if self.kind is Kind.TIME:
            return iso_time(value)
        return str(value) if isinstance(value, Enum) else value


def iso_time(seconds: float | None) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC, to the millisecond.

    >>> iso_time(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    if seconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:  # of a row that was altered
        raise InputError("Cannot read a time", needs="seconds since 1970 are needed", got=seconds) from error
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tell_utc(seconds: float) -> str:
    """Return seconds since 1970 as sentences hold them, in UTC.

    >>> tell_utc(61.9)
    '1970-01-01 00:01:01 UTC'
    """
    return str(iso_time(seconds))[:19].replace("T", " ") + " UTC"


def _fraction(name: str, meaning: str, summary: Literal["avg", "min", "max"]) -> Column:
    return Column(name, Kind.NUMBER, meaning, "0–1", may_be_none=True, summary=summary)


def _chart(name: str, meaning: str, unit: str, summary: Literal["", "avg"] = "avg") -> Column:
    place = f"chart.{name}"
    return Column(name, Kind.NUMBER, meaning, unit, attribute=place, may_be_none=True, summary=summary)


def _count(name: str, meaning: str) -> Column:
    return Column(name, Kind.INTEGER, meaning, "windows")


_NUMBERS = (
    Column("id", Kind.ID, "number of the frame in the store", public="frame", attribute="frame_id"),
    Column("batch_id", Kind.ID, "number of its batch", public="batch"),
)
_ORDINAL = Column("ordinal", Kind.INTEGER, "number of the frame in its batch, from 1", summary="min")
_SOURCE = Column("source", Kind.TEXT, "origin of the frames", attribute="")
_FILE = Column("file", Kind.TEXT, "name below the watched folder", attribute="key.file")
_FILE_STATUS = (
    Column("size_bytes", Kind.LONG, "size of the file", "bytes", attribute="key.size_bytes"),
    Column("mtime_ns", Kind.LONG, "time of change of the file", "ns since 1970", attribute="key.mtime_ns"),
)
_SHA256 = Column("sha256", Kind.TEXT, "sha256 of the file's content", attribute="key.sha256", n_chars=64)
_FRAME_TIME = Column("frame_time_s", Kind.TIME, "when it was taken", public="frame_time", summary="avg")
_TIME_SOURCE = Column("time_source", Kind.TEXT, "where that time comes from: name, exif or file", n_chars=16)
_ANALYSED_AT = Column("judged_at_s", Kind.TIME, "when it was analysed", public="judged_at")
_STATES = (
    Column("status", Kind.TEXT, "whether it could be analysed, and why not", n_chars=20),
    Column("state", Kind.TEXT, "state of the probe after it", n_chars=20),
)
_ALARM = Column("alarm", Kind.FLAG, "an alarm is active", summary="max")
_IMPURITY = Column("impurity", Kind.TEXT, "the class that is charted")
_FRACTIONS = (
    _fraction("fraction", "fraction of the impurity", "avg"),
    _fraction("low", "lower limit of its 95 % confidence interval", "min"),
    _fraction("high", "upper limit of its 95 % confidence interval", "max"),
)
_COUNTS = (
    _count("n_tiles", "all windows of the frame"),
    _count("n_judged", "windows that were analysed: they show a known class"),
    _count("n_unknown", "windows that the model rejects"),
    _count("n_empty", "windows without detail"),
    Column("n_effective", Kind.NUMBER, "independent windows that the analysed ones are worth", "windows"),
)
_CHART_LINES = (
    _chart("ewma", "smoothed fraction (EWMA)", "0–1"),
    _chart("ewma_limit", "limit of the EWMA", "0–1"),
    _chart("cusum", "CUSUM", "σ"),
    _chart("cusum_limit", "limit of the CUSUM", "σ"),
    _chart("p_limit", "limit of the p-chart", "0–1"),
    _chart("centre", "mean fraction in control", "0–1"),
)
_OVER = _chart("over", "distance of the leading chart from its centre; 1 lies on the limit", "", "")
_SMOOTHED_LIMITS = (
    Column(
        "ewma_low",
        Kind.NUMBER,
        "lower limit of the smoothed fraction's 95 % confidence interval",
        "0–1",
        attribute="chart.ewma_low",
        may_be_none=True,
        summary="min",
        added=True,
    ),
    Column(
        "ewma_high",
        Kind.NUMBER,
        "upper limit of the smoothed fraction's 95 % confidence interval",
        "0–1",
        attribute="chart.ewma_high",
        may_be_none=True,
        summary="max",
        added=True,
    ),
)
_LIMIT = Column(
    "limit",
    Kind.NUMBER,
    "plain limit on the smoothed fraction",
    "0–1",
    attribute="chart.limit",
    may_be_none=True,
    summary="avg",
    added=True,
)
_LEADING = Column(
    "leading",
    Kind.TEXT,
    "whose limit counts, the nearest or the furthest passed: ewma, cusum, p, or limit",
    attribute="chart.leading",
    n_chars=16,
    may_be_none=True,
    added=True,
)
_INPUT = tuple(
    Column(
        name,
        Kind.NUMBER,
        meaning,
        unit,
        attribute=f"chart.{name}",
        may_be_none=True,
        summary="avg",
        added=True,
    )
    for name, meaning, unit in (
        ("rejected", "smoothed fraction of the windows with detail that the model rejects", "0–1"),
        ("rejected_limit", "its limit", "0–1"),
        (
            "light_drift",
            "smoothed light against the first frames; beyond −1 and 1 over its limit",
            "",
        ),
        ("detail_drift", "smoothed detail, that is focus, in the same way", ""),
    )
)
_CLASSES = Column("classes", Kind.TEXT, "each class with its fraction, interval and number of windows")
_ERROR = Column("error", Kind.TEXT, "why the camera is blind")
_ORIGIN = (
    Column("model_sha256", Kind.TEXT, "sha256 of the model", n_chars=64),
    Column("settings_id", Kind.TEXT, "key of the settings in the store", n_chars=64),
)
_SECONDS = Column("seconds", Kind.TEXT, "computing time of each step, and of all processors", "s")
_THREADS = Column(
    "threads",
    Kind.INTEGER,
    "threads of the net; none while they are measured",
    may_be_none=True,
    added=True,
)
_COVER = Column(
    "cover",
    Kind.NUMBER,
    "fraction of the field that crystals seem to cover, whatever the net says",
    "0–1",
    may_be_none=True,
    added=True,
)
_SKIPPED = Column(
    "n_skipped",
    Kind.INTEGER,
    "windows that were left out in this frame; none where all of them count in every one",
    "windows",
    may_be_none=True,
    added=True,
)
_CHAIN = (
    Column("map_sha256", Kind.TEXT, "sha256 of the frame's windows", attribute="", n_chars=64),
    Column("trail_seq", Kind.INTEGER, "last row of the audit log at its time", attribute=""),
    Column("chain", Kind.TEXT, "sha256 of this row and the one before", attribute="", n_chars=64),
)

# The columns of the stored table, of JSON, of exported tables and of a series, each in its own order.
STORED = (
    *(*_NUMBERS, _ORDINAL, _SOURCE, _FILE, *_FILE_STATUS, _SHA256, _FRAME_TIME, _TIME_SOURCE, _ANALYSED_AT),
    *(*_STATES, _ALARM, _IMPURITY, *_FRACTIONS, *_COUNTS, *_CHART_LINES, _OVER, _CLASSES, _ERROR),
    *(*_ORIGIN, _SECONDS, *_CHAIN, _LIMIT, _LEADING, *_SMOOTHED_LIMITS, *_INPUT, _THREADS, _COVER),
    _SKIPPED,
)
JSON = (
    *(*_NUMBERS, _FILE, _FRAME_TIME, _TIME_SOURCE, *_STATES, _ALARM, _IMPURITY, *_FRACTIONS, *_COUNTS),
    *(_ERROR, _ORDINAL, _CLASSES, *_CHART_LINES, _OVER, _ANALYSED_AT, _SHA256, *_ORIGIN, _SECONDS),
    *(_LIMIT, _LEADING, *_SMOOTHED_LIMITS, *_INPUT, _THREADS, _COVER, _SKIPPED),
)
TABLE = (
    *(*_NUMBERS, _ORDINAL, _FILE, _FRAME_TIME, _TIME_SOURCE, *_STATES, _ALARM, _IMPURITY, *_FRACTIONS),
    *(*_COUNTS, *_CHART_LINES, _CLASSES, _ERROR, _ANALYSED_AT, _SHA256, *_ORIGIN, _LIMIT, _LEADING),
    *_SMOOTHED_LIMITS,
    *_INPUT,
    _COVER,
    _SKIPPED,
)
SERIES = (_ORDINAL, _FRAME_TIME, *_FRACTIONS, *_CHART_LINES, _ALARM, _LIMIT, *_SMOOTHED_LIMITS, *_INPUT)
# The columns that a ``FrameResult`` fills; the store adds the others.
OF_RESULT = tuple(column for column in STORED[1:] if column.attribute)
BY_NAME = {column.name: column for column in STORED}
