"""The tables in which persons name sampled windows: ``names.csv``, and ``second.csv`` of a tenth."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from georgia.errors import InputError
from georgia.files import read_table, reading, write_text
from georgia.spotcheck.interval import Name
from georgia.spotcheck.plan import Draw
from georgia.spotcheck.sources import Source
from georgia.text import RowWriter, restore_cell

NAMES_FILE, SECOND_FILE = "names.csv", "second.csv"
NEITHER, UNCLEAR = "neither", "unclear"
_ALIASES = {"neither": NEITHER, "0": NEITHER, "unclear": UNCLEAR, "u": UNCLEAR, "?": UNCLEAR}
_COLUMNS = ("order", "file", "left", "top", "width", "height", "name", "by")


def find_kinds(names: Iterable[str], target: str) -> list[Name]:
    """Return what names mean for one class.

    >>> [str(kind) for kind in find_kinds(["PG", "CEX", "unclear"], "PG")]
    ['target', 'other', 'unclear']
    """
    kinds = {target: Name.TARGET, NEITHER: Name.NEITHER, UNCLEAR: Name.UNCLEAR}
    return [kinds.get(name, Name.OTHER) for name in names]


def write_names(source: Source, draws: Sequence[Draw], positions: Iterable[int], file: Path) -> None:
    """Write the table of the sampled windows at some positions, to be named."""
    stream = io.StringIO()
    writer = RowWriter(stream)
    writer.write_row(_COLUMNS)
    for at in positions:
        window = source.windows[draws[at].window]
        writer.write_row([at + 1, window.file, *(window.box or ("", "", "", "")), "", ""])
    write_text(file, stream.getvalue())


def read_names(file: Path, classes: Sequence[str], n_sampled: int) -> list[tuple[str, str]]:
    """Return the names (name, by whom) of the first windows, up to the first without a name.

    Raises:
        InputError: the table is damaged, its rows are not the sampled ones in their order, or a name is none.
    """
    named = read_cells(file, classes, n_sampled)
    return named[: next((at for at, (name, _) in enumerate(named) if not name), len(named))]


def read_cells(file: Path, classes: Sequence[str], n_sampled: int) -> list[tuple[str, str]]:
    """Return name and by whom of every row, "" where there is none. Raises as ``read_names``."""
    return _read(file, classes, range(n_sampled))


def read_second(file: Path, classes: Sequence[str], positions: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return a second person's names (name, by whom) by the position of the window; none without a table.

    Raises:
        InputError: as ``read_names``.
    """
    if not file.exists():  # a check of an earlier version
        return {}
    named = _read(file, classes, positions)
    return {at: entry for at, entry in zip(positions, named, strict=True) if entry[0]}


def _read(file: Path, classes: Sequence[str], positions: Sequence[int]) -> list[tuple[str, str]]:
    with reading(f"Cannot read {str(file)!r}", f"the table {file.name} that Georgia wrote is needed"):
        text = read_table(file)
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
        orders = [int(row["order"]) for row in rows]
        cells = [(restore_cell((row["name"] or "").strip()), (row.get("by") or "").strip()) for row in rows]
    if orders != [at + 1 for at in positions]:
        raise InputError(
            f"Cannot use {str(file)!r}",
            needs=f"its {len(positions)} rows must stand in the order they were written in",
            got="other rows",
            hint="Sort the table by its column order.",
        )
    known = {**_ALIASES, **{name.casefold(): name for name in classes}}
    for order, (name, _) in zip(orders, cells, strict=True):
        if name and name.casefold() not in known:
            raise InputError(
                f"Cannot use row {order} of {str(file)!r}",
                needs=f"its name must be {', '.join(classes)}, {NEITHER} or {UNCLEAR}",
                got=repr(name),
            )
    return [(known[name.casefold()] if name else "", by) for name, by in cells]
