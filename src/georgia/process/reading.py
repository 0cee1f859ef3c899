"""How an export is understood, found from its first rows and shown before use, and its rows by that."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from georgia.errors import InputError, suggest
from georgia.process.cells import clean_name, find_decimal, looks_numeric, parse_number
from georgia.process.clock_cells import (
    check_clock,
    drop_late_midnights,
    find_header_zone,
    has_clock,
    is_clock_apart,
    is_midnight,
    join_date_and_clock,
)
from georgia.process.dialect import Layout, Rows, find_layout, parse_rows
from georgia.process.settings import AUTO, FileKind, ProcessConfig
from georgia.process.times import (
    ORDERS,
    LocalTimes,
    Moments,
    TimeFormat,
    TimeKind,
    find_order,
    find_zone_or_offset,
    is_clock,
    iter_clock,
    match_calendar,
    parse_start,
    read_calendar,
    read_duration,
    read_excel,
    to_seconds,
)
from georgia.process.variables import (
    ColumnReading,
    check_thousands,
    find_variable,
    iter_number_texts,
    note_texts,
    place_cells,
    read_cell,
)

_TIME_NAMES = re.compile(
    r"(?-i:t)|date|datum|time|zeit|uhrzeit|time ?stamp|zeitstempel|date ?/? ?time|datum ?/? ?(uhr)?zeit"
    r"|elapsed( time)?|relative time|rel\.? time|run ?time|laufzeit|prozesszeit|process time|relzeit"
    r"|local time|utc|utc time|(time|zeit) \(?utc\)?",
    re.IGNORECASE,
)
_ELAPSED_NAMES = re.compile(
    r"elapsed|relative|rel\.?\s|run ?time|laufzeit|prozesszeit|process time|relzeit", re.IGNORECASE
)
_SECONDS = {
    **dict.fromkeys(("ms", "msec"), 0.001),
    **dict.fromkeys(("s", "sec", "sec.", "second", "seconds", "sekunden"), 1.0),
    **dict.fromkeys(("min", "min.", "minute", "minutes", "minuten"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "std", "stunden"), 3600.0),
    **dict.fromkeys(("d", "day", "days", "tage"), 86400.0),
}
# Seconds since 1970 and Excel's days of the years 1985 to 2080.
_EPOCH_S, _EXCEL_DAYS = (4.7e8, 3.5e9), (31_000.0, 66_000.0)
# A column is one of times where so many of its cells are.
_MOST = 0.9


@dataclass(frozen=True)
class Reading:
    """How an export is understood; through JSON and back, so that a restart reads on in the same way.

    ``time_columns`` are the positions of the time, two where date and time of day stand apart. ``variables``
    are read; ``texts`` are columns without a number, which are not. ``event_column`` is one, -1 is none.
    ``header_zone`` is the zone that the header of the time names. ``notes`` are for people.
    """

    encoding: str
    n_mark: int
    delimiter: str
    decimal: str
    n_before: int
    names: tuple[str, ...]
    time_columns: tuple[int, ...]
    time_format: TimeFormat
    time_zone: str
    variables: tuple[ColumnReading, ...]
    texts: tuple[str, ...] = ()
    event_column: int = -1
    start: str = ""
    kind: str = FileKind.VALUES
    header_zone: str = ""
    notes: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """Return plain values for the record."""
        plain = asdict(self)
        return {**json.loads(json.dumps(plain)), "time_format": self.time_format.to_json_dict()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Reading:
        """Return the reading that ``to_json_dict`` wrote; raises what damaged values raise."""
        # What earlier versions did not write has its default.
        new = {"header_zone": "", "notes": ()}
        known = {name: {**new, **values}[name] for name in cls.__dataclass_fields__}
        known["time_format"] = TimeFormat.from_json(dict(known["time_format"]))
        known["variables"] = tuple(ColumnReading(**item) for item in known["variables"])
        for name in ("names", "time_columns", "texts", "notes"):
            known[name] = tuple(known[name])
        return cls(**known)


@dataclass
class ParsedRows:
    """What rows gave: times in s since 1970, values by variable; ``faults`` are rows without a usable time.

    ``gaps`` counts, by variable, the texts that stand where a number should. ``n_backwards`` counts rows
    whose time lies before that of the row above, ``n_repeated`` those with the same time, which are left out.
    A fault is the number of the row in the file, and what stands in it.
    """

    times: list[float] = field(default_factory=list)
    values: dict[str, list[tuple[float | None, str]]] = field(default_factory=dict)
    gaps: dict[str, Counter[str]] = field(default_factory=dict)
    events: list[tuple[float, str]] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)
    n_faults: int = 0
    n_backwards: int = 0
    n_repeated: int = 0


# Faulty rows that are named; more are counted.
_MOST_FAULTS = 20


def find_reading(text: str, config: ProcessConfig, encoding: tuple[str, int] = ("utf-8", 0)) -> Reading:
    """Return how a text is to be understood; ``encoding`` is its name and the bytes of its mark.

    Raises:
        InputError: it is no table, something in it may mean two things, or what the settings name is not
            there; one line with what to say.
    """
    layout = find_layout(text, config.delimiter_sign)
    rows = [row for row in parse_rows(text, layout.delimiter)[layout.n_before :] if any(row)]
    times = _find_time_columns(layout, rows, config)
    kept = [at for at in range(len(layout.names)) if at not in times]
    decimal = config.decimal_sign or find_decimal(iter_number_texts(rows, kept), layout.delimiter)
    event_at = _find_column(layout, config.event_column) if config.event_column else -1
    variables, texts, notes = _sort_columns(layout, rows, kept, decimal, config, event_at)
    time_format = _find_time_format(layout, rows, times, decimal, config)
    return Reading(
        encoding=encoding[0],
        n_mark=encoding[1],
        delimiter=layout.delimiter,
        decimal=decimal,
        n_before=layout.n_before,
        names=layout.names,
        time_columns=times,
        time_format=time_format,
        time_zone=_find_zone(layout, times, config),
        variables=variables,
        texts=texts,
        event_column=event_at,
        start=config.start,
        kind=str(config.kind),
        header_zone=_find_header_zone(layout, times),
        notes=notes,
    )


def _cells(rows: Sequence[Sequence[str]], at: int) -> list[str]:
    return [row[at] for row in rows if at < len(row) and row[at]]


def _find_column(layout: Layout, name: str) -> int:
    """Return the position of a column by its name, without regard to capitals.

    Raises:
        InputError: there is none of that name.
    """
    names = [each.lower() for each in layout.names]
    titles = [f"{n} [{u}]".lower() for n, u in zip(layout.names, layout.units, strict=True)]
    for known in (names, titles):
        if name.strip().lower() in known:
            return known.index(name.strip().lower())
    raise InputError(
        f"the column {name!r}",
        needs="a column of the file is needed",
        got=f"a file with {', '.join(layout.names)}",
        hint=suggest(name, layout.names).strip(),
    )


def _find_time_columns(layout: Layout, rows: Rows, config: ProcessConfig) -> tuple[int, ...]:
    if config.time:
        try:
            return (_find_column(layout, config.time),)
        except InputError:
            parts = [part for part in config.time.split("+") if part.strip()]
            if len(parts) != 2:
                raise
            return (_find_column(layout, parts[0]), _find_column(layout, parts[1]))
    dates, clocks, named = _sort_time_columns(layout, rows)
    if len(dates) == 1 and len(clocks) == 1 and not any(map(has_clock, _cells(rows, dates[0]))):
        return (dates[0], clocks[0])
    if not dates and not clocks and len(named) == 2 and _are_days_and_parts(rows, *named):
        return (named[0], named[1])
    for found in (dates, clocks, named):
        if len(found) == 1:
            return (found[0],)
        if found:
            names = [layout.names[at] for at in found]
            both = f", or time={'+'.join(names)} if they make one time" if len(names) == 2 else ""
            raise InputError(
                "the time",
                needs="which column is the time must be said",
                got=", ".join(map(repr, names)),
                hint=f"Say time={names[0]}{both}.",
            )
    at = next((at for at, name in enumerate(layout.names) if _TIME_NAMES.fullmatch(name)), 0)
    number, cell = next(iter(place_cells(rows, at)), (layout.n_before + 1, ""))
    raise InputError(
        "the time",
        needs="a column of times is needed",
        got=f"{', '.join(layout.names)}, with {cell!r} in row {number} of {layout.names[at]!r}",
        hint="Say time=NAME, and time_format and start where times are elapsed ones.",
    )


def _sort_time_columns(layout: Layout, rows: Rows) -> tuple[list[int], list[int], list[int]]:
    """Return the columns of dates, those of times of day, and those of numbers that are called a time."""
    dates, clocks, named = [], [], []
    for at, name in enumerate(layout.names):
        cells = _cells(rows, at)
        if not cells:
            continue
        if _are_most(sum(map(is_clock_apart, cells)), len(cells)):
            clocks.append(at)
        elif _are_most(sum(match_calendar(cell) is not None for cell in cells), len(cells)):
            dates.append(at)
        elif _TIME_NAMES.fullmatch(name) and _are_most(sum(map(looks_numeric, cells)), len(cells)):
            named.append(at)
    return dates, clocks, named


def _are_most(n_good: int, n: int) -> bool:
    """Tell whether most cells are of a kind; one that is not, as in a row of totals, does not matter."""
    return n_good >= _MOST * n or (n_good >= 2 and n - n_good <= 1)


def _are_days_and_parts(rows: Rows, days: int, parts: int) -> bool:
    """Tell whether two columns are Excel's whole days and parts of a day."""
    whole = [parse_number(cell.replace(",", "."), ".") for cell in _cells(rows, days)]
    rest = [parse_number(cell.replace(",", "."), ".") for cell in _cells(rows, parts)]
    return all(v is not None and v % 1 == 0 and _EXCEL_DAYS[0] <= v <= _EXCEL_DAYS[1] for v in whole) and all(
        v is not None and 0 <= v < 1 for v in rest
    )


def _sort_columns(
    layout: Layout, rows: Rows, kept: Sequence[int], decimal: str, config: ProcessConfig, event_at: int
) -> tuple[tuple[ColumnReading, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are read, the names of those that hold texts only, and notes on these."""
    given = dict(item.split("=", 1) for item in config.units)
    for name in given:
        _find_column(layout, name)
    wanted = [_find_column(layout, name) for name in config.columns]
    variables, texts, notes = [], [], []
    for at in kept:
        name, cells = layout.names[at], place_cells(rows, at)
        if at == event_at or (wanted and at not in wanted):
            continue
        variable = find_variable(layout, at, cells, decimal, given.get(name))
        if variable is not None:
            if not config.decimal_sign:
                check_thousands(name, cells, decimal)
            variables.append(variable)
        elif at in wanted:
            raise InputError(
                f"the column {name!r}",
                needs="numbers are needed",
                got=f"{cells[0][1]!r} in row {cells[0][0]}" if cells else "none",
                hint=note_texts(name, cells).partition("number.")[2].strip(),
            )
        elif cells:
            texts.append(name)
            notes += [note] if (note := note_texts(name, cells)) else []
    if not variables and event_at < 0:
        got = notes[0].rstrip(".") if notes else ", ".join(layout.names)
        raise InputError("the content", needs="a column of numbers is needed", got=got)
    return tuple(variables), tuple(texts), tuple(notes)


def _find_time_format(
    layout: Layout, rows: Rows, times: tuple[int, ...], decimal: str, config: ProcessConfig
) -> TimeFormat:
    name, unit = layout.names[times[0]], layout.units[times[0]]
    cells = join_cells(rows, times)
    given = config.time_format
    if given in ORDERS:
        return TimeFormat(TimeKind.CALENDAR, ORDERS[given])
    if "%" in given:
        return TimeFormat(TimeKind.PATTERN, pattern=given)
    if given == "excel":
        return TimeFormat(TimeKind.EXCEL)
    if given == "epoch":
        return TimeFormat(TimeKind.EPOCH, factor=_SECONDS.get(unit.lower(), 1.0))
    if given == "clock" or given.startswith("elapsed"):
        return _need_start(given, unit, config, name)
    if given != AUTO:
        raise InputError(
            "time_format",
            needs="auto, a pattern with %, day-first, month-first, year-first, excel, epoch, clock, elapsed, "
            "elapsed-min or elapsed-h is needed",
            got=repr(given),
        )
    filled = [cell for cell in cells if cell]
    matches = [match for cell in filled if (match := match_calendar(cell)) is not None]
    if matches and _are_most(len(matches), len(filled)):
        return TimeFormat(TimeKind.CALENDAR, find_order(matches, repr(name)))
    if filled and _are_most(sum(map(is_clock, filled)), len(filled)):
        return _need_start("clock or elapsed", unit, config, name)
    return _find_number_format(name, unit, filled, decimal, config)


def _find_number_format(
    name: str, unit: str, cells: Sequence[str], decimal: str, config: ProcessConfig
) -> TimeFormat:
    known = [value for cell in cells if (value := _read_days(cell, decimal)) is not None]
    if not known or not _are_most(len(known), len(cells)):
        odd = next((cell for cell in cells if _read_days(cell, decimal) is None), "nothing")
        hint = "Each row needs its date and its time of day."
        raise InputError(f"the times of {name!r}", needs="times are needed", got=repr(odd), hint=hint)
    low, high = min(known), max(known)
    if unit.lower() in _SECONDS and not (unit.lower() in ("s", "ms") and low > _EPOCH_S[0]):
        return _need_start("elapsed", unit, config, name)
    for factor in (1.0, 0.001, 1e-6):
        if _EPOCH_S[0] <= low * factor and high * factor <= _EPOCH_S[1]:
            return TimeFormat(TimeKind.EPOCH, factor=factor)
    is_excel = _EXCEL_DAYS[0] <= low and high <= _EXCEL_DAYS[1] and any(value % 1 for value in known)
    if is_excel and high - low < 366 and not _ELAPSED_NAMES.search(name):
        return TimeFormat(TimeKind.EXCEL)
    if _ELAPSED_NAMES.search(name) or low < _EXCEL_DAYS[0]:
        raise InputError(
            f"the times of {name!r}",
            needs="the unit of elapsed times, and when they began, must be said",
            got=f"numbers from {low:g} to {high:g}",
            hint="Say time_format=elapsed (s), elapsed-min or elapsed-h, and start=2026-03-01T06:00.",
        )
    raise InputError(
        f"the times of {name!r}",
        needs="what the numbers mean must be said",
        got=f"{low:g} to {high:g}",
        hint="Say time_format=excel, epoch, or elapsed with start=2026-03-01T06:00.",
    )


def _need_start(given: str, unit: str, config: ProcessConfig, name: str) -> TimeFormat:
    """Return the format of times that need a start, which the settings must name."""
    if config.start and given != "clock or elapsed":
        if given == "clock":
            return TimeFormat(TimeKind.CLOCK)
        told = given.partition("-")[2]
        if told and told not in _SECONDS:
            raise InputError(
                "time_format", needs="elapsed-s, elapsed-min or elapsed-h is needed", got=repr(given)
            )
        return TimeFormat(
            TimeKind.ELAPSED, factor=_SECONDS[told] if told else _SECONDS.get(unit.lower(), 1.0)
        )
    needs = "when they began must be said"
    hint = "Say start=2026-03-01T06:00, with a zone, or in time_zone."
    if given == "clock or elapsed":
        needs = "whether they are elapsed or those of the clock, and when they began, must be said"
        hint = "Say time_format=elapsed or time_format=clock, and start=2026-03-01T06:00."
    raise InputError(f"the times of {name!r}", needs=needs, got="times without a date", hint=hint)


def _read_days(cell: str, decimal: str) -> float | None:
    """Return the number in a cell of times; Excel's day and its part of a day are added."""
    parts = [parse_number(part, decimal) for part in cell.split(" ")]
    known = [part for part in parts if part is not None]
    is_day = (
        len(known) == len(parts) == 2 and known[0] % 1 == 0 and known[0] >= _EXCEL_DAYS[0] and known[1] < 1
    )
    return sum(known) if is_day else parse_number(cell, decimal)


def _find_header_zone(layout: Layout, times: tuple[int, ...]) -> str:
    return find_header_zone(" ".join(f"{layout.names[at]} {layout.units[at]}" for at in times))


def _find_zone(layout: Layout, times: tuple[int, ...], config: ProcessConfig) -> str:
    """Return the zone of times that name none: that of the settings, or what the header says."""
    told = _find_header_zone(layout, times)
    return told if told and config.time_zone == "local" else config.time_zone


def note_zone(reading: Reading, times: Sequence[float]) -> str:
    """Return what is to be said where header and settings name zones that are apart at a time, "" if not."""
    if not reading.header_zone:
        return ""
    told, used = find_zone_or_offset(reading.header_zone), find_zone_or_offset(reading.time_zone)
    for time_s in times:
        moment = datetime.fromtimestamp(time_s, UTC)
        offsets = [moment.astimezone(zone).utcoffset() or timedelta(0) for zone in (told, used)]
        if offsets[0] != offsets[1]:
            hours = abs(offsets[0] - offsets[1]).total_seconds() / 3600
            return (
                f"the header names the zone {reading.header_zone}, the settings {reading.time_zone}, "
                f"which is {hours:g} h apart: the settings count. Say time_zone if they are wrong."
            )
    return ""


def join_cells(rows: Sequence[Sequence[str]], times: Sequence[int]) -> list[str]:
    """Return the time of each row as one text; date and time of day with a blank between."""
    at, *rest = times
    if not rest:
        return [row[at] if at < len(row) else "" for row in rows]
    ends = [[row[each] if each < len(row) else "" for each in times] for row in rows]
    return [
        join_date_and_clock(first, second) if match_calendar(first) else f"{first} {second}".strip()
        for first, second in ends
    ]


def parse_values(
    rows: Rows,
    reading: Reading,
    previous_s: float | None = None,
    repeated_hour: str = "ask",
    now_s: float | None = None,
    previous_text: str = "",
) -> ParsedRows:
    """Return what rows of data hold; ``rows`` have no header.

    ``previous_s`` and ``previous_text`` are time and event of the row before. ``now_s`` is when they are
    read, where they are read while they are written.

    Raises:
        InputError: a local time may be of two hours, or exists in none.
    """
    rows = [row for row in rows if any(row)]
    moments = _read_moments(rows, reading, previous_s)
    zone = find_zone_or_offset(reading.time_zone)
    seconds = to_seconds(moments, LocalTimes(zone, repeated_hour, previous_s, now_s))
    found = ParsedRows(
        values={item.name: [] for item in reading.variables},
        gaps={item.name: Counter() for item in reading.variables},
    )
    last = previous_s
    for row, time_s in zip(rows, seconds, strict=True):
        if time_s is None:
            found.n_faults += 1
            if len(found.faults) < _MOST_FAULTS:
                found.faults.append((row.number, "; ".join(row)[:80]))
            continue
        if time_s == last:  # a clock of whole seconds, and rows that are quicker
            found.n_repeated += 1
            continue
        found.n_backwards += last is not None and time_s < last
        last = time_s
        found.times.append(time_s)
        for item in reading.variables:
            cell = row[item.at] if item.at < len(row) else ""
            value, quality = read_cell(cell, item, reading.decimal)
            if value is None:
                found.gaps[item.name][quality] += 1
            found.values[item.name].append((value, quality))
        if 0 <= reading.event_column < len(row):
            text = clean_name(row[reading.event_column])
            if text and text != previous_text:
                found.events.append((time_s, text))
            previous_text = text
    return found


def _read_moments(rows: Rows, reading: Reading, previous_s: float | None) -> Moments:
    moments, how = Moments(), reading.time_format
    cells = join_cells(rows, reading.time_columns)
    found = list(_iter_moments(cells, reading, how, previous_s))
    if how.kind in (TimeKind.CALENDAR, TimeKind.CLOCK):
        check_clock(found, cells)
    for moment in drop_late_midnights(found, cells):
        moments.add(moment)
    return moments


def _iter_moments(
    cells: Sequence[str], reading: Reading, how: TimeFormat, previous_s: float | None
) -> Iterator[datetime | float | None]:
    if how.kind == TimeKind.CALENDAR:
        for cell in cells:
            match = match_calendar(cell)
            yield read_calendar(match, how.order) if match else None
    elif how.kind == TimeKind.PATTERN:
        for cell in cells:
            yield _read_pattern(cell, how.pattern)
    elif how.kind == TimeKind.CLOCK:
        start = parse_start(reading.start)
        if previous_s is not None:
            start = datetime.fromtimestamp(previous_s, find_zone_or_offset(reading.time_zone)).replace(
                tzinfo=None
            )
        if start is None:  # settings that were altered past the program
            raise InputError("the times", needs="a start is needed", got="none")
        yield from iter_clock(cells, start)
    else:
        begin = _start_s(reading) if how.kind == TimeKind.ELAPSED else 0.0
        for cell in cells:
            number = _read_days(cell, reading.decimal)
            if number is None and how.kind == TimeKind.ELAPSED:
                duration = read_duration(cell)
                yield None if duration is None else begin + duration
            elif number is None:
                yield None
            else:
                yield read_excel(number) if how.kind == TimeKind.EXCEL else begin + number * how.factor


def _read_pattern(cell: str, pattern: str) -> datetime | None:
    """Return a time by a pattern; seconds may have a fraction that the pattern lacks, and the other way."""
    is_end = "%H" in pattern and is_midnight(cell)
    cell = cell.replace("24:00", "00:00", 1) if is_end else cell
    plain = re.sub(r"(:\d{2})[.,]\d+", r"\1", cell)
    for text, form in ((cell, pattern), (plain, re.sub(r"[.,]%f", "", pattern))):
        try:
            return datetime.strptime(text.strip(), form) + timedelta(days=is_end)
        except ValueError:
            continue
    return None


def _start_s(reading: Reading) -> float:
    start = parse_start(reading.start)
    if start is None:
        raise InputError(
            "the times", needs="a start is needed", got="none", hint="Say start=2026-03-01T06:00."
        )
    if start.tzinfo is not None:
        return start.timestamp()
    found = LocalTimes(find_zone_or_offset(reading.time_zone)).resolve([start])[0]
    return found if found is not None else 0.0


def with_config(reading: Reading, config: ProcessConfig) -> Reading:
    """Return a reading of the record with what the settings say now of the zone and the start."""
    zone = reading.time_zone if config.time_zone == "local" else config.time_zone
    return replace(reading, time_zone=zone, start=config.start or reading.start)
