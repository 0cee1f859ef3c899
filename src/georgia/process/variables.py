"""The variables of an export: which columns hold numbers, in which unit, and what is in a cell of one.

A unit may stand in each cell, as in "5.2 %". It is the variable's, and a cell of another unit is no value. A
value that lies below or above what could be measured, such as <0.1, is a gap with that text as its quality.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from georgia.errors import InputError
from georgia.monitor.process_record import GOOD, LONGEST_QUALITY
from georgia.process.cells import (
    clean_name,
    is_censored,
    is_unit,
    looks_numeric,
    parse_number,
    read_unit,
    split_measured,
    tells_no_thousands,
)
from georgia.process.dialect import Layout, Rows, is_gap

# Units count as those of a column where so many of its cells have one.
_MOST = 0.9


@dataclass(frozen=True)
class ColumnReading:
    """One column that is read: its position from 0, name, and unit.

    ``is_unit_in_cells``: the unit stands in the cells alone, and one without it is no value.
    """

    at: int
    name: str
    unit: str
    is_unit_in_cells: bool = False


Placed = list[tuple[int, str]]


def place_cells(rows: Rows, at: int) -> Placed:
    """Return the filled cells of a column, each with the number of its row in the file."""
    return [(row.number, row[at]) for row in rows if at < len(row) and row[at]]


def read_cell(cell: str, item: ColumnReading, decimal: str) -> tuple[float | None, str]:
    """Return value and quality of a cell; where there is no value, the quality is what stands there."""
    value = parse_number(cell, decimal)
    if value is not None and item.is_unit_in_cells:
        return None, f"{clean_name(cell)} without unit"[:LONGEST_QUALITY]
    if value is None and (parts := split_measured(cell)) is not None and parts[1] == item.unit:
        value = parse_number(parts[0], decimal)
    if value is not None:
        return value, GOOD
    return None, clean_name(cell)[:LONGEST_QUALITY] or "empty"


def iter_number_texts(rows: Rows, kept: Sequence[int]) -> Iterator[str]:
    """Yield the numbers of columns as they stand, without their units."""
    for row in rows:
        for at in kept:
            if at >= len(row):
                continue
            parts = split_measured(row[at])
            if looks_numeric(row[at]):
                yield row[at]
            elif parts is not None and is_unit(parts[1]):
                yield parts[0]


def find_variable(
    layout: Layout, at: int, cells: Placed, decimal: str, given: str | None
) -> ColumnReading | None:
    """Return how a column is read, None where it holds no numbers; ``given`` is the unit of the settings.

    Raises:
        InputError: its cells have several units, or another one than its header.
    """
    name, unit = layout.names[at], layout.units[at] if given is None else read_unit(given)
    numbers = [(number, cell) for number, cell in cells if parse_number(cell, decimal) is not None]
    measured = [
        (number, cell, parts[1])
        for number, cell in cells
        if (parts := split_measured(cell)) is not None
        and (is_unit(parts[1]) or parts[1] == unit)
        and parse_number(parts[0], decimal) is not None
    ]
    filled = [cell for _, cell in cells if not is_gap(cell) and not is_censored(cell)]
    if measured and len(numbers) + len(measured) >= _MOST * len(filled):
        own = unit or measured[0][2]
        _check_units(name, unit, numbers, measured)
        return ColumnReading(at, name, own, is_unit_in_cells=not unit)
    if numbers or (cells and not filled and any(is_censored(cell) for _, cell in cells)):
        return ColumnReading(at, name, unit)
    return None


def _check_units(name: str, unit: str, numbers: Placed, measured: Sequence[tuple[int, str, str]]) -> None:
    """Raise an InputError where the cells of a column are not of one unit."""
    what, leave = f"the column {name!r}", "Mend the export, or name the columns that are to be read: columns."
    first = measured[0]
    if unit and (other := next((item for item in measured if item[2] != unit), None)):
        needs, got = f"the unit of its header, {unit}, is needed", f"{other[1]!r} in row {other[0]}"
        raise InputError(what, needs=needs, got=got, hint=leave)
    if other := next((item for item in measured if item[2] != first[2]), None):
        got = f"{first[1]!r} in row {first[0]} and {other[1]!r} in row {other[0]}"
        raise InputError(what, needs="cells of one unit are needed", got=got, hint=leave)
    if numbers and not unit:
        got = f"{first[1]!r} in row {first[0]} and {numbers[0][1]!r} in row {numbers[0][0]}"
        hint = f"If all are in {first[2]}, say units={name}={first[2]}."
        raise InputError(what, needs="a unit in each cell or in none is needed", got=got, hint=hint)


def check_thousands(name: str, cells: Placed, decimal: str) -> None:
    """Raise an InputError where all numbers of a column are thousands by a decimal sign that others set."""
    numbers = [(number, (split_measured(cell) or (cell, ""))[0]) for number, cell in cells]
    numbers = [(number, cell) for number, cell in numbers if parse_number(cell, decimal) is not None]
    if not numbers or any(tells_no_thousands(cell, decimal) for _, cell in numbers):
        return
    number, cell = numbers[0]
    other = "." if decimal == "," else ","
    as_fraction, as_thousands = parse_number(cell, other), parse_number(cell, decimal)
    raise InputError(
        f"the column {name!r}",
        needs=f"whether {as_fraction:g} or {as_thousands:g} is meant must be said",
        got=f"{cell!r} in row {number}, where other columns have the decimal {_DECIMALS[decimal]}",
        hint=f"If it is {as_thousands:g}, say decimal={_DECIMALS[decimal]}; else mend the export.",
    )


_DECIMALS = {",": "comma", ".": "point"}


def note_texts(name: str, cells: Placed) -> str:
    """Return what is to be said of a column of texts whose cells begin with numbers, "" of another."""
    begun = [(number, cell) for number, cell in cells if cell[0].isdigit() or cell[0] in "~±(≈"]
    if 2 * len(begun) < len(cells):
        return ""
    number, cell = begun[0]
    parts = split_measured(cell)
    hint = f" If {parts[1]!r} is its unit, say units={name}={parts[1]}." if parts else ""
    return f"the column {name!r} is not read: {cell[:60]!r} in row {number} is no number.{hint}"
