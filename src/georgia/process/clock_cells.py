"""Forms of a clock in an export: 24:00, half days, a date that stands apart, a zone in the header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from georgia.errors import InputError
from georgia.process.times import OFFSETS, find_zone_or_offset, is_clock, match_calendar

# Where date and time of day stand apart, a spreadsheet may show the one as 00:00 of a day, the other of 1899.
_NO_CLOCK = re.compile(r"[T\s]+0?0:00(?::00(?:[.,]0+)?)?$")
_NO_DATE = re.compile(
    r"^(?:(?:30|31|0?[01])[./-](?:12|0?[01])[./-](?:1899|1900)|(?:1899|1900)-\d\d-\d\d)[T\s]+"
)
_MIDNIGHT = re.compile(r"(?<![\d:])24:00(?::00(?:[.,:]0+)?)?(?![\d:])")
_HEADER_ZONE = re.compile(
    r"\b(?:(?:UTC|GMT)(?:\s?[+\u2212-]\d{1,2}(?::?\d{2})?)?|CEST|CET|MESZ|MEZ|[A-Z][a-z]+/[A-Z]\w+)(?![\w/])"
)
_DAY = timedelta(days=1)


def has_clock(cell: str) -> bool:
    """Tell whether a calendar cell has a time of day besides 00:00."""
    match = match_calendar(_NO_CLOCK.sub("", cell.strip()))
    return match is not None and match.groupdict().get("H") is not None


def find_header_zone(text: str) -> str:
    """Return the zone that the header of a column of times names, "" where it names none.

    >>> find_header_zone("Zeit (UTC+2)"), find_header_zone("Time [MEZ]"), find_header_zone("Zeit")
    ('UTC+2', 'UTC+01:00', '')
    """
    match = _HEADER_ZONE.search(text)
    if match is None:
        return ""
    name = match[0].replace(" ", "").replace("\u2212", "-")
    if name in OFFSETS:
        return f"UTC+{OFFSETS[name] // 60:02}:00" if OFFSETS[name] else "UTC"
    try:
        find_zone_or_offset(name)
    except InputError:
        return ""
    return name


def is_midnight(cell: str) -> bool:
    """Tell whether a cell says 24:00, the end of a day."""
    return _MIDNIGHT.search(cell) is not None


def drop_late_midnights(
    moments: Sequence[datetime | float | None], cells: Sequence[str]
) -> list[datetime | float | None]:
    """Return moments without a 24:00 that would lie behind the row below: 00:00 of its day may be meant."""
    found = list(moments)
    later: datetime | None = None
    for at in range(len(found) - 1, -1, -1):
        moment = found[at]
        if not isinstance(moment, datetime):
            continue
        if is_midnight(cells[at]) and later is not None and timedelta(0) < _apart(moment, later) < _DAY:
            found[at] = None
        else:
            later = moment
    return found


def _apart(moment: datetime, later: datetime) -> timedelta:
    if (moment.tzinfo is None) != (later.tzinfo is None):
        return timedelta(0)
    return moment - later


def check_clock(moments: Sequence[datetime | float | None], cells: Sequence[str]) -> None:
    """Reject times of a clock of 12 hours that does not say which half of the day.

    Raises:
        InputError: no hour is outside of 1 to 12, and one after 12 goes on with 1 of the same day.
    """
    known = [
        (moment, cell)
        for moment, cell in zip(moments, cells, strict=True)
        if isinstance(moment, datetime) and not is_midnight(cell)
    ]
    if not all(1 <= moment.hour <= 12 for moment, _ in known):
        return
    for (before, old), (after, new) in pairwise(known):
        if before.hour == 12 and after.hour == 1 and before.date() == after.date():
            raise InputError(
                "the times",
                needs="which half of the day is meant must be said",
                got=f"{new!r} below {old!r}, as a clock of 12 hours shows it",
                hint="Export them with 24 hours, or with AM and PM.",
            )


def join_date_and_clock(date: str, clock: str) -> str:
    """Return one text of a date and a time of day; a 00:00 beside the one and a day beside the other go.

    >>> join_date_and_clock("25.03.2026 00:00:00", "30.12.1899 10:00:00")
    '25.03.2026 10:00:00'
    """
    return f"{_NO_CLOCK.sub('', date)} {_NO_DATE.sub('', clock)}".strip()


def is_clock_apart(cell: str) -> bool:
    """Tell whether a cell is a time of day, also as a spreadsheet shows it: of a day in 1899."""
    return is_clock(_NO_DATE.sub("", cell.strip()))
