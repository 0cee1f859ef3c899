"""Labelled images from a CSV file: ``path,class[,group,time,split]``, with ``x,y,width,height`` windows.

Paths are relative to the file. The columns may be in any order, other columns are ignored, and the split
may be called ``part``, as in the ``split.csv`` that Georgia writes, or anything if all its cells are splits.
The first line decides between comma, semicolon and tab, or a line such as ``sep=;`` before it. UTF-8 with or
without mark, UTF-16 with mark and Windows-1252 are read, and file names that are no text in any encoding. A
``split.json`` beside the file names the folder that its paths are relative to.

A row with a box is a window of the file that it names; so is a path with a box behind it, as ``split.csv``
has them (see ``records.py``). Boxes count px from the upright image's left upper corner.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from georgia.catalog.folders import SourceContents, split_of_name
from georgia.errors import InputError
from georgia.files import read_json, reading
from georgia.images.decode import name_window
from georgia.records import SPLITS, Record, split_window
from georgia.text import restore_cell

# Source: Microsoft Excel, which reads the separator from such a first line.
_EXCEL_LINE = re.compile(r'\s*"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
# Each column's own name first, then others in use.
_COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "class": ("class", "label", "class_name"),
    "group": ("group",),
    "time": ("time",),
    "split": ("part", "split"),
    "x": ("x", "left"),
    "y": ("y", "top"),
    "width": ("width",),
    "height": ("height",),
}
_BOX = ("x", "y", "width", "height")
# Columns that stand beside ``label`` in tables of predictions, whose labels are a model's.
_OF_PREDICTIONS = ("probability", "truth")
_OTHER_SPLIT = "other split"
# What pandas writes for an empty cell of a column that was made text.
_EMPTY = ("nan", "<na>")


def read_csv(file: Path, needs_class: bool = True) -> SourceContents:
    """Return the rows of a CSV file as records, with one fault for each row that cannot be used.

    Without ``needs_class`` rows may have no class, as those that are to be predicted.

    Raises:
        InputError: the file cannot be read as text, or a column is missing.
    """
    text, delimiter, n_before = _take_delimiter(_read_text(file))
    columns: dict[str, int] = {}
    found = SourceContents()
    files = _Files(find_root(file), file)
    lines_without_split = []
    rows = _parse_rows(text, delimiter, found)
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = _find_columns(file, cells, needs_class)
            if needs_class and "split" not in columns:
                columns |= _find_unnamed_split(rows, columns, found)
            found.notes.extend(_tell_unused(cells, columns))
            continue
        # A path may begin or end with a blank; it is looked for as it stands first.
        values = {name: cells[at] if at < len(cells) else "" for name, at in columns.items()}
        record = _read_row(line + n_before, values, found, files, needs_class)
        if record is not None:
            found.records.append(record)
            if not record.split:
                lines_without_split.append(line + n_before)
    if not columns:
        _find_columns(file, [], needs_class)
    if len(lines_without_split) < len(found.records):
        found.faults.extend(
            f"line {line} has no split (column part), though other lines have one; "
            "write train, valid or test there, or leave the column out"
            for line in lines_without_split
        )
    return found


def _take_delimiter(text: str) -> tuple[str, str, int]:
    """Return the text, its delimiter, and the number of lines taken off: Excel may write ``sep=;`` first."""
    told = _EXCEL_LINE.match(text)
    if told is not None:
        return text[told.end() :], told[1], 1
    header = next((line for line in re.split(r"[\r\n]+", text) if line.strip()), "")
    return text, max(",;\t", key=header.count), 0


def _parse_rows(text: str, delimiter: str, found: SourceContents) -> list[tuple[int, list[str]]]:
    """Return each row with the number of the line that it ends on; faults join ``found``."""
    rows: list[tuple[int, list[str]]] = []
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, len(text) + 1))
    try:
        for is_strict in (True, False):
            rows.clear()
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=is_strict)
            try:
                rows.extend((reader.line_num, cells) for cells in reader)
                break
            except csv.Error as error:
                if not is_strict:
                    found.faults.append(f"line {reader.line_num} is no CSV ({error})")
                elif "unexpected end" in str(error):
                    found.faults.append('a cell that begins with " never ends, and holds all that follows it')
    finally:
        csv.field_size_limit(limit)
    return rows


def find_root(file: Path) -> Path:
    """Return the folder that a CSV file's paths are relative to: its own, unless a manifest names another."""
    try:
        return Path(read_json(file.with_suffix(".json"))["root"])
    except (OSError, ValueError, TypeError, KeyError):
        return file.parent


def _read_text(file: Path) -> str:
    with reading(f"Cannot read {str(file)!r}", "a readable file is needed"):
        data = file.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:4096]:
        raise InputError(
            f"Cannot read {str(file)!r}",
            needs="it must be a text with a header",
            got="bytes",
            hint="Name a folder or a CSV file.",
        )
    # Bytes that are not UTF-8 are of another encoding, or of a file name that is not UTF-8: see _Files.
    return data.decode("utf-8-sig", errors="surrogateescape")


def _recode(text: str) -> str:
    """Read what is not UTF-8 as Windows-1252."""
    if text.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("cp1252", errors="replace")


def _find_columns(file: Path, cells: list[str], needs_class: bool) -> dict[str, int]:
    heads = [cell.strip().lower() for cell in cells]
    columns = {
        name: heads.index(alias)
        for name, aliases in _COLUMNS.items()
        for alias in reversed(aliases)
        if alias in heads
    }
    needed = ("path", "class") if needs_class else ("path",)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"Cannot read {str(file)!r}",
            needs=f"its first line must name the columns {' and '.join(needed)}; "
            f"{' and '.join(missing)} missing",
            got=", ".join(map(repr, cells)) or "an empty file",
            hint="Example: path,class,group,time; for windows of frames path,x,y,width,height,class.",
        )
    twice = [name for name in _COLUMNS if name in columns and heads.count(heads[columns[name]]) > 1]
    if twice:
        raise InputError(
            f"Cannot read {str(file)!r}",
            needs="each column must stand once",
            got=" and ".join(f"{heads[columns[name]]!r} twice" for name in twice),
            hint="Rename the one that is not meant.",
        )
    of_model = [head for head in _OF_PREDICTIONS if head in heads]
    if needs_class and heads[columns["class"]] == "label" and of_model:
        raise InputError(
            f"Cannot read {str(file)!r}",
            needs="classes that do not come from a model are needed",
            got=f"a table of predictions (columns 'label' and {of_model[0]!r})",
            hint="If they are meant as ground truth, rename the column 'label' to 'class'.",
        )
    if {"part", "split"} <= set(heads):
        columns[_OTHER_SPLIT] = heads.index("split")
    if not all(name in columns for name in _BOX):
        # A width alone is no box: it may be that of the file.
        columns = {name: at for name, at in columns.items() if name not in _BOX}
    return {"class": len(cells), **columns}


def _find_unnamed_split(
    rows: list[tuple[int, list[str]]], columns: Mapping[str, int], found: SourceContents
) -> dict[str, int]:
    """Return the column whose cells are all splits, whatever it is called; a given split is never dropped."""
    (_, heads), *below = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    holds = []
    for at, head in enumerate(heads):
        cells = {cells[at].strip() if at < len(cells) else "" for _, cells in below} - {""}
        splits = {split_of_name(cell) for cell in cells}
        if at not in columns.values() and "train" in splits and len(splits) > 1 and splits <= {*SPLITS}:
            holds.append((at, head.strip(), [split for split in SPLITS if split in splits]))
    if len(holds) > 1:
        names = " and ".join(repr(head) for _, head, _ in holds)
        found.faults.append(f"the columns {names} hold splits; call the one that is meant part")
    if len(holds) != 1:
        return {}
    at, head, known = holds[0]
    found.notes.append(f"the split is read from column {head!r}, whose cells are {', '.join(known)}")
    return {"split": at}


def _tell_unused(cells: list[str], columns: Mapping[str, int]) -> list[str]:
    """Return a note where two columns may have been meant: one is read."""
    heads = [cell.strip().lower() for cell in cells]
    return [
        f"{name} is read from column {heads[columns[name]]!r}, not from {other!r}"
        for name in ("path", "class")
        for other in _COLUMNS[name]
        if other in heads and columns[name] < len(heads) and heads[columns[name]] != other
    ]


def _read_row(
    line: int, raw: Mapping[str, str], found: SourceContents, files: _Files, needs_class: bool
) -> Record | None:
    values = {name: restore_cell(_recode(text).strip()) for name, text in raw.items()}
    values |= {name: "" for name, text in values.items() if name not in _BOX and text.casefold() in _EMPTY}
    faults = []
    if not values["class"] and needs_class:
        faults.append("has no class")
    given, other = values.get("split", ""), values.get(_OTHER_SPLIT, "")
    if given and other and split_of_name(given) != split_of_name(other):
        faults.append(f"has part {given!r} and split {other!r}")
    given = given or other
    split = split_of_name(given)
    if given and not split:
        faults.append(f"has split {given!r}, which is none of {', '.join(SPLITS)}")
    path = files.find(raw["path"])
    if path is None:
        faults.append(
            f"names {values['path']!r}, which is no file{files.tell_place()}"
            if values["path"]
            else "has no path"
        )
    else:
        try:
            path = _take_window(path, values)
        except ValueError as error:
            found.faults.append(f"line {line} {error}")
            return None
        before = files.remember(path, line)
        if before:
            faults.append(f"names {values['path']!r} again after line {before}")
    if faults or path is None:
        found.faults.extend(f"line {line} {fault}" for fault in faults)
        return None
    return Record(path, values["class"], values.get("group", ""), split, values.get("time", ""))


def _take_window(path: Path, values: Mapping[str, str]) -> Path:
    """Return the path with the row's box behind it; the box must lie within the frame where that is read.

    Raises:
        ValueError: the row's box cannot be used; one clause.
    """
    cells = [values.get(name, "") for name in _BOX]
    file, box = split_window(path)
    if not any(cells):
        return path if box is None else name_window(file, box)
    if box is not None:
        raise ValueError("has a box in its columns and another behind its path")
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        raise ValueError(f"has the box {','.join(cells)!r}; four numbers of px are needed") from None
    return name_window(file, numbers)


class _Files:
    """The files that rows name, each once whatever the spelling of its path."""

    def __init__(self, root: Path, table: Path) -> None:
        self._root, self._table = root, table
        self._real: dict[Path, str] = {}
        self._line_of: dict[tuple[str, str], int] = {}
        self._is_told = False

    def find(self, text: str) -> Path | None:
        """Return the file, also where a path was written with backslashes, or in Windows-1252, elsewhere."""
        spellings = [text, text.strip(), _recode(text).strip()]
        spellings += map(restore_cell, spellings[:])
        spellings += [unicodedata.normalize(form, spellings[2]) for form in ("NFC", "NFD")]
        for spelling in dict.fromkeys([*spellings, spellings[2].replace("\\", "/")]):
            try:
                if spelling.strip() and split_window(self._root / spelling)[0].is_file():
                    return self._root / spelling
            except (OSError, ValueError):
                continue
        return None

    def tell_place(self) -> str:
        """Say once where files are looked for."""
        if self._is_told:
            return ""
        self._is_told = True
        if self._root == self._table.parent:
            return f" (looked for in {str(self._root.absolute())!r})"
        manifest = self._table.with_suffix(".json").name
        return (
            f" (looked for in {str(self._root)!r}, the root that {manifest} names; "
            "where the images have moved, mend the root there or give their folder itself)"
        )

    def remember(self, path: Path, line: int) -> int:
        """Return the line that named the same file before; 0 if none did."""
        if path.parent not in self._real:
            self._real[path.parent] = os.path.realpath(path.parent)
        key = self._real[path.parent], path.name
        before = self._line_of.get(key, 0)
        self._line_of.setdefault(key, line)
        return before
