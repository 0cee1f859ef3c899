"""What to label next as a table with images beside it, and the names that a person wrote into it.

The table is written once and is the person's from then on: it is read again at every call, and never
written over. Its rows are known by path and box, so they may be sorted or left out.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.errors import InputError, UnreadableImageError
from georgia.files import check_new_folder, reading, write_bytes, write_text
from georgia.label.journal import check_who
from georgia.label.leases import LONGEST_TAB, TABLE_TAB
from georgia.label.records import ALIASES, NOT_CLASSES, ConflictError, TrayItem
from georgia.label.session import LabelSession
from georgia.progress import QUIET, Progress
from georgia.records import Failure, format_window
from georgia.text import describe_many, format_csv, is_utf8, make_printable, restore_cell

COLUMNS = ("order", "path", "x", "y", "width", "height", "image", "name", "by")
# The longer side of the images beside the table, px: as they are, unless they are larger.
_IMAGE_PX = 1024


@dataclass(frozen=True)
class BatchResult:
    """What happened to a table: rows written, or rows with a name, of them new, and what was not taken."""

    n_rows: int
    n_named: int = 0
    n_new: int = 0
    is_new_table: bool = False
    failures: tuple[Failure, ...] = ()


def find_images_folder(table: Path) -> Path:
    """Return the folder with the images of a table's rows.

    >>> find_images_folder(Path("next.csv")).name
    'next-images'
    """
    return table.with_name(f"{table.stem}-images")


def run_batch(
    session: LabelSession, table: Path, n: int, who: str, progress: Progress = QUIET
) -> BatchResult:
    """Write the next ``n`` items into a new table, or take the names out of one that is there.

    Raises:
        InputError: the table is damaged, or a name is none; all faults at once, and no name is taken then.
        UnwritableFileError: the table, an image or the journal cannot be written.
    """
    if table.suffix.lower() != ".csv":
        raise InputError(
            f"Cannot write {str(table)!r}", needs="a name that ends in .csv is needed", got=repr(table.suffix)
        )
    if table.exists():
        return _read_batch(session, table, who)
    return _write_batch(session, table, n, progress)


def _tab(table: Path) -> str:
    """Return the tab of a table by its name, wherever it lies: what it holds, whose names it may change."""
    return f"{TABLE_TAB}{make_printable(table.name)}"[:LONGEST_TAB]


def _write_batch(session: LabelSession, table: Path, n: int, progress: Progress) -> BatchResult:
    folder = find_images_folder(table)
    if not session.has_chosen_for(_tab(table)):
        # Else it was begun before, and killed.
        check_new_folder(folder)
    items = session.tray(_tab(table), n)
    if not items:
        raise InputError(f"Cannot write {str(table)!r}", needs="items without a name are needed", got="none")
    digits = int(math.log10(len(items))) + 1
    rows: list[Sequence[object]] = [COLUMNS]
    failures = []
    progress.start("images to name", len(items))
    for order, item in enumerate(items, start=1):
        image = folder / f"{order:0{digits}}.png"
        try:
            write_bytes(image, session.image(item.path, _IMAGE_PX))
        except UnreadableImageError as error:
            failures.append(Failure(Path(item.path), str(error)))
            continue
        rows.append((order, *_tell_place(session, item), f"{folder.name}/{image.name}", "", ""))
        progress.advance()
    # The table comes last: it is there only once all its images are.
    write_text(table, format_csv(rows))
    return BatchResult(len(rows) - 1, is_new_table=True, failures=tuple(failures))


def _tell_place(session: LabelSession, item: TrayItem) -> tuple[object, ...]:
    path, box = session.split_path(item.path)
    return (path, *(box or ("", "", "", "")))


def _read_batch(session: LabelSession, table: Path, who: str) -> BatchResult:
    rows = _read_rows(table)
    found, faults = [], []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(_read_row(row, session, who))
        except InputError as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise InputError(f"Cannot use {str(table)!r}: {describe_many(faults)}")
    tab, n_new, failures = _tab(table), 0, []
    before = session.find_last_of(tab)
    for path, name, by in found:
        # What this table said already is taken once: a name that was changed elsewhere since stays.
        if not name or before.get(path) == name:
            continue
        if not session.has(path):
            failures.append(Failure(Path(path), "it is not among the images now; the table keeps its name"))
            continue
        try:
            session.name(path, name, by, tab)
            n_new += 1
        except ConflictError as error:
            failures.append(Failure(Path(path), str(error)))
    return BatchResult(len(rows), sum(bool(name) for _, name, _ in found), n_new, failures=tuple(failures))


def _read_rows(table: Path) -> list[dict[str, str]]:
    with reading(f"Cannot read {str(table)!r}", "the table that --batch-csv wrote is needed"):
        text = _decode(table.read_bytes())
        first = next((line for line in re.split(r"[\r\n]+", text) if line.strip()), "")
        if first.lower().strip().strip('"').startswith("sep="):
            text = text.partition(first)[2].lstrip("\r\n")
            first = re.split(r"[\r\n]+", text)[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
        rows = [{str(key): value or "" for key, value in row.items()} for row in reader]
        missing = {"path", "x", "y", "width", "height", "name"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
    return [row for row in rows if any(cell.strip() for cell in row.values())]


def _decode(data: bytes) -> str:
    """Return the text of a table, also as programs for tables save it: UTF-16, or Windows-1252."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", errors="surrogateescape")


def _recode(text: str) -> str:
    return text if is_utf8(text) else text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def _read_row(row: Mapping[str, str], session: LabelSession, who: str) -> tuple[str, str, str]:
    """Return path, name and person of a row; "" where it has no name.

    Raises:
        InputError: its box is none, or its name or person is none.
    """
    name = restore_cell(_recode(row["name"]).strip())
    cells = [row[column].strip() for column in COLUMNS[2:6]]
    try:
        numbers = [int(float(cell)) for cell in cells] if any(cells) else None
    except (ValueError, OverflowError):
        raise InputError("its box", needs="four whole numbers are needed", got=",".join(cells)) from None
    box = (numbers[0], numbers[1], numbers[2], numbers[3]) if numbers else None
    path = _find_path(session, row["path"], box)
    if not name:
        return path, "", who
    known = {**ALIASES, **{own.casefold(): own for own in session.classes}}
    if name.casefold() not in known:
        raise InputError(
            "its name",
            needs=f"one of {', '.join([*session.classes, *NOT_CLASSES])} is needed",
            got=repr(name),
        )
    by = restore_cell(_recode(row.get("by", "")).strip())
    return path, known[name.casefold()], check_who(by) if by else who


def _find_path(session: LabelSession, cell: str, box: tuple[int, int, int, int] | None) -> str:
    """Return a row's path in the pool; programs for tables may have changed its encoding."""
    spellings = (restore_cell(cell), cell, restore_cell(_recode(cell)))
    paths = [format_window(spelling, box) for spelling in spellings]
    return next((path for path in paths if session.has(path)), paths[0])
