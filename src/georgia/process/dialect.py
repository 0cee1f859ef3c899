"""The layout of an export: the sign between cells, the header, the row of units, where the rows begin."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from georgia.errors import InputError
from georgia.process.cells import clean_name, is_censored, is_measured, is_unit, looks_numeric, split_unit
from georgia.process.times import is_clock, match_calendar

DELIMITERS = (";", "\t", ",", "|")
# Source: Microsoft Excel, which reads the separator from such a first line.
_EXCEL_LINE = re.compile(r'\s*"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
# Lines that the layout is found from.
_SAMPLE = 400
# A separator must make cells that are numbers or times of so many lines.
_LEAST_SCORE = 0.5
# Words for a value that is not there; any other text in a column of numbers is none either.
_GAPS = frozenset(("", "-", "--", "---", "bad", "nan", "n/a", "na", "#n/a", "null", "none", "no data", "?"))


class Row(list[str]):
    """The cells of a row; ``number`` is its place in the file, from 1, as a spreadsheet counts."""

    number = 0


Rows = list[Row]
# What stands for a time's form in a row of units: dd.mm.yyyy hh:mm:ss, TT.MM.JJJJ.
_FORMAT = re.compile(r"(?=.*[dDtT])(?=.*[yYjJhH])[dDtTmMyYjJhHsS.:/\- ,]{5,}")


class NoRowsError(InputError):
    """There is no row of data, or not yet."""


@dataclass(frozen=True)
class Layout:
    """Where things stand: ``names`` and ``units`` by column; ``n_before`` rows are none of data."""

    delimiter: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    n_before: int


def parse_rows(text: str, delimiter: str, n_before: int = 0) -> Rows:
    """Return the cells of each row; a line without any is a row without cells.

    ``n_before`` is how many rows of the file lie before the text.
    """
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, len(text) + 1))
    try:
        # A carriage return alone ends a line too, as old programs write it.
        lines = io.StringIO(text, newline=None)
        rows = [Row(cell.strip() for cell in row) for row in csv.reader(lines, delimiter=delimiter)]
        for number, row in enumerate(rows, n_before + 1):
            row.number = number
        return rows
    except csv.Error as error:
        raise InputError("the rows", needs="a table of text is needed", got=error) from error
    finally:
        csv.field_size_limit(limit)


def find_layout(text: str, delimiter: str = "") -> Layout:
    """Return the layout of an export's text; ``delimiter`` is what the user says.

    Raises:
        InputError: there is no table in it, or two separators make tables of it.
    """
    told = _EXCEL_LINE.match(text)
    if told is not None:
        delimiter = delimiter or told[1]
    sample = "".join(text.splitlines(keepends=True)[: _SAMPLE + 1])
    if not delimiter:
        delimiter = _find_delimiter(sample)
    rows = parse_rows(sample, delimiter)
    first = _find_first_row(rows)
    names, units = _read_header(rows, first)
    return Layout(delimiter, names, units, first)


def _find_delimiter(sample: str) -> str:
    scores = {sign: _score(parse_rows(sample, sign)) for sign in DELIMITERS}
    best = max(scores, key=scores.__getitem__)
    if scores[best] < _LEAST_SCORE:
        line = next((line for line in sample.splitlines() if line.strip()), "")
        raise NoRowsError(
            "the content",
            needs="rows of a time and numbers, with ; , | or tab between, are needed",
            got=repr(line[:60]) if line else "nothing",
            hint="Say delimiter, if another sign stands between.",
        )
    rivals = [sign for sign in DELIMITERS if sign != best and scores[sign] > 0.9 * scores[best]]
    if rivals:
        raise InputError(
            "the content",
            needs="which sign stands between cells must be said",
            got=" and ".join(repr(sign) for sign in (best, *rivals)),
            hint="Say delimiter=semicolon, comma, tab or pipe.",
        )
    return best


def _score(rows: Rows) -> float:
    """Return which part of the lines are rows of one length whose cells are numbers, times or gaps, 0–1."""
    lengths = Counter(len(row) for row in rows if any(row))
    if not lengths:
        return 0.0
    n_cells, _ = max(lengths.items(), key=lambda item: (item[1], item[0]))
    if n_cells < 2:
        return 0.0
    fitting = [row for row in rows if len(row) == n_cells]
    # The header is none of numbers; where it is all that there is, nothing can be told.
    cells = [cell for row in fitting[-200:] if any(map(_is_value, row)) for cell in row]
    n_good = sum(_is_data(cell) for cell in cells)
    # Gaps alone are no table; texts, as in a column of events, do not make it none.
    n_values = sum(_is_data(cell) and cell.lower() not in _GAPS for cell in cells)
    if not n_values:
        return 0.0
    return len(fitting) / sum(lengths.values()) * n_good / len(cells)


def _is_data(cell: str) -> bool:
    return is_gap(cell) or is_censored(cell) or _is_value(cell)


def is_gap(cell: str) -> bool:
    """Tell whether a cell is a word for a value that is not there."""
    return cell.lower() in _GAPS


def _is_value(cell: str) -> bool:
    return bool(cell) and (
        looks_numeric(cell) or is_clock(cell) or match_calendar(cell) is not None or is_measured(cell)
    )


def _is_data_row(row: Sequence[str]) -> bool:
    filled = [cell for cell in row if cell]
    if len(filled) < 1 or len(row) < 2:
        return False
    has_time = any(match_calendar(cell) or is_clock(cell) for cell in filled)
    n_values = sum(map(_is_value, filled))
    return n_values > 0 and (has_time or 2 * n_values >= len(filled))


def _is_header(row: Sequence[str]) -> bool:
    filled = [cell for cell in row if cell]
    return len(filled) >= 2 and not any(map(_is_value, filled))


def _find_first_row(rows: Rows) -> int:
    """Return the position of the first row of data: below a header, or the first that is one."""
    lengths = Counter(len(row) for row in rows if _is_data_row(row))
    usual = lengths.most_common(1)[0][0] if lengths else 0
    first = None
    for at, row in enumerate(rows):
        if not _is_data_row(row) or len(row) < usual:
            continue
        first = at if first is None else first
        below = at + 1 >= len(rows) or _is_data_row(rows[at + 1]) or not any(rows[at + 1])
        if below and at > 0 and _is_header(_last_filled(rows, at)):
            return at
    if first is None:
        raise NoRowsError("the content", needs="a row of values below a header is needed", got="none")
    return first


def _last_filled(rows: Rows, at: int) -> list[str]:
    return next((row for row in reversed(rows[:at]) if any(row)), [])


def _read_header(rows: Rows, first: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and units of the columns, by one row above the data or two."""
    above = [row for row in rows[:first] if _is_header(row)][-2:]
    n_columns = max(len(row) for row in rows[first : first + 50])
    above = [row for row in above if len(row) >= min(2, n_columns)]
    header = above[-1] if above else []
    unit_cells: Sequence[str] = ()
    if len(above) == 2 and _is_units(above[1], above[0]):
        header, unit_cells = above[0], ["" if _FORMAT.fullmatch(cell) else cell for cell in above[1]]
    names: list[str] = []
    units: list[str] = []
    for at in range(max(n_columns, len(_without_end(header)))):
        name = header[at] if at < len(header) else ""
        unit_cell = unit_cells[at] if at < len(unit_cells) else ""
        name, unit = split_unit(name, unit_cell)
        names.append(_number(name or f"column {at + 1}", names))
        units.append(unit)
    return tuple(names), tuple(units)


def _is_units(row: Sequence[str], above: Sequence[str]) -> bool:
    """Tell whether a row holds the units of the names above it: all known ones, or most of them."""
    if all(map(is_unit, above)):
        return False
    if all(map(is_unit, row)):
        return True
    filled = [cell for cell in row if cell and not _FORMAT.fullmatch(cell)]
    known = [cell for cell in filled if is_unit(cell) and cell.strip("[](){}- ")]
    is_below_names = len(above) == len(row) and all(above) and not any(map(is_unit, above[1:]))
    return is_below_names and bool(known) and 2 * len(known) >= len(filled)


def _without_end(header: Sequence[str]) -> Sequence[str]:
    """Return a header without the empty cells that a sign at its end leaves."""
    n = len(header)
    while n and not header[n - 1]:
        n -= 1
    return header[:n]


def _number(name: str, taken: Sequence[str]) -> str:
    if name not in taken:
        return name
    n = 2
    while f"{name} ({n})" in taken:
        n += 1
    return clean_name(f"{name} ({n})")
