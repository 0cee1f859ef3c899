"""Times of an export: calendars in any order, seconds since 1970, Excel's days, elapsed times; and zones.

What could mean two things is not guessed: 03/04/2026, or a local time in the hour that happens twice, is
asked about unless the rows themselves tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any

from georgia.errors import InputError
from georgia.monitor.frametime import find_zone


class TimeKind(StrEnum):
    """What the cells of the time column are."""

    CALENDAR = "calendar"
    PATTERN = "pattern"
    EPOCH = "epoch"
    EXCEL = "excel"
    ELAPSED = "elapsed"
    CLOCK = "clock"


@dataclass(frozen=True)
class TimeFormat:
    """How times are read: ``order`` of a calendar (dmy, mdy, ymd), ``pattern`` of strptime, unit in s."""

    kind: TimeKind
    order: str = ""
    pattern: str = ""
    factor: float = 1.0

    def describe(self) -> str:
        """Return the format as it is shown."""
        orders = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
        units = {0.001: "ms", 1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "d"}
        unit = units.get(self.factor, f"{self.factor:g} s")
        return {
            TimeKind.CALENDAR: orders.get(self.order, self.order),
            TimeKind.PATTERN: self.pattern,
            TimeKind.EPOCH: f"{unit} since 1970",
            TimeKind.EXCEL: "Excel's serial days",
            TimeKind.ELAPSED: f"elapsed {unit} since the start",
            TimeKind.CLOCK: "hours:minutes:seconds of the clock, from the day of the start on",
        }[self.kind]

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain values, from which ``TimeFormat.from_json`` makes the same."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TimeFormat:
        """Return the format of plain values."""
        return cls(**{**values, "kind": TimeKind(values["kind"])})


_DATE = (
    r"(?P<a>\d{1,4}|[A-Za-zÀ-ÿ]{3,9})\.?\s*(?P<sep>[-/.\s])\s*(?P<b>\d{1,2}|[A-Za-zÀ-ÿ]{3,9})\.?"
    r"\s*[-/.,\s]\s*(?P<c>\d{4}|\d{2}|\d)"
)
_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?\s*(?P<p>[AaPp]\.?[Mm]\.?)?"
_ZONE = (
    r"\s*(?P<z>Z|CEST|CET|MESZ|MEZ|(?:UTC|GMT)[+\u2212-]\d{1,2}(?::?\d{2})?|UTC|GMT"
    r"|[+\u2212-]\d{2}(?::?\d{2})?)?(?:\[[\w/+-]+\])?"
)
_CALENDAR = re.compile(rf"{_DATE}(?:[T,\s]+{_CLOCK}{_ZONE}|(?P<day_z>Z)?)")
_COMPACT = re.compile(
    rf"(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}})[T_\s-]?(?P<H>\d{{2}})(?P<M>\d{{2}})(?P<S>\d{{2}})?{_ZONE}"
)
_CLOCK_ONLY = re.compile(_CLOCK)
_DURATION = re.compile(r"(?:(?P<d>\d+)[.\s]\s*)?(?P<H>\d+):(?P<M>\d{2}):(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?")
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *(("jan",), ("feb",), ("mar", "mär", "mrz"), ("apr",), ("may", "mai"), ("jun",)),
            *(("jul",), ("aug",), ("sep",), ("oct", "okt"), ("nov",), ("dec", "dez")),
        ),
        1,
    )
    for name in names
}
OFFSETS = {"Z": 0, "UTC": 0, "GMT": 0, "CET": 60, "MEZ": 60, "CEST": 120, "MESZ": 120}
# Source: Microsoft, "Date systems in Excel": day 1 is 1900-01-01, and 1900 counts as a leap year.
_EXCEL_START = datetime(1899, 12, 30)
_EPOCH = datetime(1970, 1, 1)
_FIRST_YEAR, _LAST_YEAR, _LAST_S = 1970, 2199, 7.258e9
# Steps between rows may be so many times the usual one before they count as a gap.
_SLACK = 2.5
# One reading of the dates is taken where it makes the file so many times shorter than any other.
_SHORTER = 5.0
# A row that is read while it is written is no older than this, s.
_LIVE_S = 900.0
ASK_ZONE = (
    "Say repeated_hour=first or repeated_hour=second, or a zone without summer time: time_zone=UTC+01:00."
)


@dataclass
class Moments:
    """Times as they stand: local ones without a zone, others in s since 1970; None cannot be read."""

    local: list[datetime | None] = field(default_factory=list)
    absolute: list[float | None] = field(default_factory=list)

    def add(self, moment: datetime | float | None) -> None:
        """Take one time; one that no reactor has recorded cannot be read."""
        if isinstance(moment, datetime) and not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            moment = None
        is_local = isinstance(moment, datetime) and moment.tzinfo is None
        self.local.append(moment if isinstance(moment, datetime) and is_local else None)
        seconds = moment.timestamp() if isinstance(moment, datetime) and not is_local else moment
        is_known = not is_local and isinstance(seconds, float) and 0 <= seconds <= _LAST_S
        self.absolute.append(seconds if is_known else None)  # type: ignore[arg-type]


def match_calendar(cell: str) -> re.Match[str] | None:
    """Return the parts of a cell that is a date, with or without a time of day; None where it is none."""
    text = cell.strip()
    if len(text) < 6 or not any(sign.isdigit() for sign in text):
        return None
    match = _COMPACT.fullmatch(text)
    if match:
        return match
    match = _CALENDAR.fullmatch(text)
    return match if match and possible_orders(match) else None


def is_clock(cell: str) -> bool:
    """Tell whether a cell is a time of day, or an elapsed one, without a date."""
    text = cell.strip()
    return bool(_CLOCK_ONLY.fullmatch(text) or _DURATION.fullmatch(text))


def possible_orders(match: re.Match[str]) -> tuple[str, ...]:
    """Return the orders of day, month and year that the signs of a date allow."""
    parts = match.groupdict()
    if "y" in parts:
        return ("ymd",)
    a, b, c = parts["a"], parts["b"], parts["c"]
    if a.isalpha():
        return ("mdy",) if _month(a) and b.isdigit() else ()
    if b.isalpha():
        return (("ymd",) if len(a) == 4 else ("dmy",)) if _month(b) else ()
    if len(a) == 4:
        return ("ymd",) if len(c) <= 2 else ()
    if len(a) > 2 or len(c) not in (2, 4):
        return ()
    if parts["sep"] == ".":  # no country that writes points puts the month first
        return ("dmy",)
    return ("dmy", "mdy") if len(c) == 4 or parts["sep"] == "/" else ("dmy", "mdy", "ymd")


def _month(text: str) -> int | None:
    if text.isdigit():
        return int(text)
    return _MONTHS.get(text[:3].lower())


def read_calendar(match: re.Match[str], order: str) -> datetime | None:
    """Return a date with its time of day, local unless the cell names a zone; None where there is no such."""
    parts = match.groupdict()
    if "y" in parts:
        year, month, day = int(parts["y"]), int(parts["m"]), int(parts["d"])
    else:
        if order not in possible_orders(match):
            return None
        by = dict(zip(order, (parts["a"], parts["b"], parts["c"]), strict=True))
        number = _month(by["m"])
        if number is None or not (by["y"].isdigit() and by["d"].isdigit()):
            return None
        year, month, day = int(by["y"]), number, int(by["d"])
        if len(by["y"]) <= 2:  # Source: POSIX strptime, %y.
            year += 1900 if year > 68 else 2000
    try:
        clock = _read_clock(parts)
        # Source: ISO 8601:2004, 4.2.3: 24:00 is the end of a day, and the beginning of the next.
        is_end = clock == (24, 0, 0, 0) and not parts.get("p")
        moment = datetime(year, month, day, *(() if is_end else clock)) + timedelta(days=is_end)
    except (ValueError, OverflowError):
        return None
    zone = parts.get("z") or parts.get("day_z")
    return moment if not zone else moment.replace(tzinfo=_read_offset(zone))


def _read_clock(parts: dict[str, Any]) -> tuple[int, int, int, int]:
    hour = int(parts.get("H") or 0)
    half = (parts.get("p") or "").lower()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    fraction = (parts.get("f") or "")[:6].ljust(6, "0")
    return hour, int(parts.get("M") or 0), int(parts.get("S") or 0), int(fraction)


def _read_offset(text: str) -> tzinfo:
    if text in OFFSETS:
        return timezone(timedelta(minutes=OFFSETS[text]))
    found = find_zone_or_offset(text.replace("\u2212", "-"))
    return found if found is not None else UTC


def find_order(matches: Sequence[re.Match[str]], shown: str) -> str:
    """Return the order of day, month and year of a column of dates.

    Raises:
        InputError: no order fits all of them, or several do and the rows do not tell which.
    """
    # A cell that is no time in any order, such as 25:00, tells nothing of the order.
    read_by_any = [m for m in matches if any(read_calendar(m, order) for order in possible_orders(m))]
    if not read_by_any:
        raise InputError(
            f"the times of {shown}",
            needs="days and times of day that exist are needed",
            got=", ".join(repr(match[0]) for match in matches[:2]),
            hint="Mend them in the export, or say time_format, such as %d.%m.%Y %H:%M:%S.",
        )
    matches = read_by_any
    orders = [order for order in ("ymd", "dmy", "mdy") if all(order in possible_orders(m) for m in matches)]
    read: dict[str, list[datetime]] = {}
    for order in orders:
        moments = [read_calendar(match, order) for match in matches]
        if all(moments):
            read[order] = [moment for moment in moments if moment is not None]
    if not read:
        raise InputError(
            f"the times of {shown}",
            needs="dates in one order are needed",
            got=", ".join(repr(match[0]) for match in matches[:2]),
            hint="Say time_format, such as %d.%m.%Y %H:%M:%S.",
        )
    if len(read) == 1 or all(moments == next(iter(read.values())) for moments in read.values()):
        return next(iter(read))
    spans = {order: _span_s(moments) for order, moments in read.items()}
    best = min(spans, key=spans.__getitem__)
    if all(_SHORTER * spans[best] < span for order, span in spans.items() if order != best):
        return best
    example = matches[0][0]
    meanings = " or ".join(f"{read[order][0]:%d %B %Y}" for order in read)
    formats = " or ".join(f"time_format={_PATTERNS[order]}" for order in read)
    raise InputError(
        f"the times of {shown}",
        needs=f"which date is meant must be said, {meanings}",
        got=repr(example),
        hint=f"Say {formats}.",
    )


_PATTERNS = {"dmy": "day-first", "mdy": "month-first", "ymd": "year-first"}
ORDERS = {pattern: order for order, pattern in _PATTERNS.items()}


def _span_s(moments: Sequence[datetime]) -> float:
    plain = [moment.replace(tzinfo=None) for moment in moments]
    return (max(plain) - min(plain)).total_seconds()


def read_duration(cell: str) -> float | None:
    """Return an elapsed time such as 1:02:03.5, s; None where it is none.

    >>> read_duration("1:02:03,5"), read_duration("02:03"), read_duration("x")
    (3723.5, 123.0, None)
    """
    text = cell.strip()
    match = _DURATION.fullmatch(text)
    if match is None:
        short = re.fullmatch(r"(\d+):(\d{2})(?:[.,](\d+))?", text)
        return None if short is None else 60.0 * int(short[1]) + float(f"{short[2]}.{short[3] or 0}")
    whole = 86400 * int(match["d"] or 0) + 3600 * int(match["H"]) + 60 * int(match["M"]) + int(match["S"])
    return whole + float(f"0.{match['f'] or 0}")


def read_excel(days: float) -> datetime | None:
    """Return the local time that Excel's serial days stand for, to the ms; None beyond any calendar.

    >>> read_excel(46082.5)
    datetime.datetime(2026, 3, 1, 12, 0)
    """
    try:
        return _EXCEL_START + timedelta(milliseconds=round(days * 86_400_000))
    except OverflowError:
        return None


def parse_start(text: str) -> datetime | None:
    """Return the moment that elapsed times count from, None for "".

    Raises:
        InputError: it is no time in ISO 8601.
    """
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            "start", needs="a time such as 2026-03-01T06:00 is needed", got=repr(text)
        ) from error


@lru_cache(maxsize=16)
def find_zone_or_offset(name: str) -> tzinfo | None:
    """Return a zone by its name, or by its distance from UTC: ``UTC+01:00``; None is this computer's own.

    Raises:
        InputError: there is no such zone.
    """
    match = re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", name.strip())
    if match and int(match[2]) <= 14:
        sign = -1 if match[1] == "-" else 1
        return timezone(sign * timedelta(hours=int(match[2]), minutes=int(match[3] or 0)))
    return find_zone(name)


class LocalTimes:
    """Turns local times of one zone into s since 1970, in the order in which they were written.

    Args:
        zone: None is this computer's own.
        repeated_hour: "ask", "first" or "second": the pass of the hour that happens twice.
        previous_s: the last time before, s since 1970.
        now_s: when the rows are read, where they are read while they are written; None for an old file.
    """

    def __init__(
        self,
        zone: tzinfo | None,
        repeated_hour: str = "ask",
        previous_s: float | None = None,
        now_s: float | None = None,
    ) -> None:
        self._zone, self._repeated_hour = zone, repeated_hour
        self._previous_s, self._now_s = previous_s, now_s
        self._offsets: dict[datetime, tuple[float, float, bool]] = {}

    def resolve(self, moments: Sequence[datetime | None]) -> list[float | None]:
        """Return s since 1970 of each moment.

        Raises:
            InputError: a time does not exist in the zone, or lies in the hour that happens twice and neither
                the rows beside it nor the settings say in which of its passes.
        """
        passes = [None if moment is None else self._both(moment) for moment in moments]
        seconds: list[float | None] = [None if both is None else both[0] for both in passes]
        at = 0
        while at < len(passes):
            both = passes[at]
            if both is None or both[0] == both[1]:
                at += 1
                continue
            end = at
            while end < len(passes) and ((other := passes[end]) is None or other[0] != other[1]):
                end += 1
            seconds[at:end] = self._choose(moments, passes, seconds, at, end)
            at = end
        return seconds

    def _both(self, moment: datetime) -> tuple[float, float]:
        """Return s since 1970 for the first and the second pass; they are the same almost always."""
        key = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
        if key not in self._offsets:
            self._offsets[key] = self._find_offsets(key)
        first, second, exists = self._offsets[key]
        if not exists:
            raise InputError(
                "the times",
                needs="times that exist in the time zone are needed",
                got=f"{moment:%Y-%m-%d %H:%M}, which the change to summer time leaves out",
                hint="Has the clock of the export no summer time? Say time_zone=UTC+01:00, or where it is.",
            )
        plain = (moment - _EPOCH).total_seconds()
        return plain - first, plain - second

    def _find_offsets(self, moment: datetime) -> tuple[float, float, bool]:
        plain = (moment - _EPOCH).total_seconds()
        stamps = []
        for fold in (0, 1):
            local = moment.replace(fold=fold)
            stamps.append(
                local.timestamp() if self._zone is None else local.replace(tzinfo=self._zone).timestamp()
            )
        back = datetime.fromtimestamp(stamps[0], self._zone).replace(tzinfo=None)
        exists = back == moment
        # In the hour that is left out the later offset comes first; that is no second pass.
        return plain - stamps[0], plain - (stamps[1] if exists else stamps[0]), exists

    def _choose(
        self,
        moments: Sequence[datetime | None],
        passes: Sequence[tuple[float, float] | None],
        seconds: Sequence[float | None],
        at: int,
        end: int,
    ) -> list[float | None]:
        """Return s since 1970 of a run of rows in the hour that happens twice."""
        run = list(passes[at:end])
        known = [both for both in run if both is not None]
        back = next((n for n in range(1, len(known)) if known[n][0] < known[n - 1][0]), None)
        if back is None:
            chosen = self._choose_pass(known, seconds, at, end)
            if chosen is None:
                moment = next(moment for moment in moments[at:end] if moment is not None)
                raise InputError(
                    "the times",
                    needs="which of two hours is meant must be said",
                    got=f"{moment:%Y-%m-%d %H:%M}, which the end of summer time repeats",
                    hint=ASK_ZONE,
                )
            return [None if both is None else both[chosen] for both in run]
        counted = iter(range(len(known)))
        return [None if both is None else both[int(next(counted) >= back)] for both in run]

    def _choose_pass(
        self, known: Sequence[tuple[float, float]], seconds: Sequence[float | None], at: int, end: int
    ) -> int | None:
        before = next((value for value in reversed(seconds[:at]) if value is not None), self._previous_s)
        after = next((value for value in seconds[end:] if value is not None), None)
        step = _usual_step([both[0] for both in known])
        if self._now_s is not None:
            near = [n for n in (0, 1) if abs(known[-1][n] - self._now_s) <= _LIVE_S]
            if len(near) == 1:
                return near[0]
        longest = min(_SLACK * step, 3599.0)
        # A clock without summer time fits at both ends: then the rows tell nothing.
        fits = [False, False]
        if before is not None and known[0][0] < before:
            fits[1] = 0 <= known[0][1] - before <= longest
        elif before is not None:
            fits[0] = known[0][0] - before <= longest
        if after is not None and 0 <= after - known[-1][1] <= longest:
            fits[1] = True
        if sum(fits) == 1:
            return fits.index(True)
        return {"first": 0, "second": 1}.get(self._repeated_hour)


def _usual_step(times: Sequence[float]) -> float:
    steps = sorted(later - earlier for earlier, later in pairwise(times) if later > earlier)
    if steps:
        return steps[len(steps) // 2]
    return 60.0  # a row alone: most loggers write one a minute or more


def to_seconds(moments: Moments, times: LocalTimes) -> list[float | None]:
    """Return s since 1970 of all moments, local ones by their zone; to the ms."""
    local = times.resolve(moments.local) if any(moment is not None for moment in moments.local) else None
    found = (
        moments.absolute
        if local is None
        else [
            absolute if here is None else here for absolute, here in zip(moments.absolute, local, strict=True)
        ]
    )
    return [None if value is None else round(value, 3) for value in found]


def describe_zone(name: str, example_s: float | None) -> str:
    """Return a zone as it is shown: its name, and its distance from UTC at a moment."""
    zone = find_zone_or_offset(name)
    if example_s is None:
        return name
    moment = datetime.fromtimestamp(example_s, UTC).astimezone(zone)
    label = "this machine's" if name == "local" else name
    return f"{label} ({moment:%Z}, UTC{moment:%z})" if name != "UTC" else "UTC"


def iter_clock(cells: Iterable[str], start: datetime) -> Iterable[datetime | None]:
    """Yield times of day, from the day of a start on; one that goes back by half a day is of the next day."""
    day, last = start.replace(hour=0, minute=0, second=0, microsecond=0), None
    for cell in cells:
        match = _CLOCK_ONLY.fullmatch(cell.strip())
        try:
            clock = _read_clock(match.groupdict()) if match else None
            is_end = clock == (24, 0, 0, 0)
            hour, minute, second, microsecond = (0, 0, 0, 0) if clock is None or is_end else clock
            moment = (
                None
                if clock is None
                else day.replace(hour=hour, minute=minute, second=second, microsecond=microsecond)
                + timedelta(days=is_end)
            )
        except ValueError:
            moment = None
        if moment is not None and last is not None and (last - moment).total_seconds() > 43_200:
            day += timedelta(days=1)
            moment += timedelta(days=1)
        if moment is not None:
            last = moment
        yield moment
