"""Labelled images from a CSV file: ``path,class[,group,time,split]``.

Paths are relative to the file. The columns may be in any order, other columns are ignored, and the split
may be called ``part``, as in the ``split.csv`` that Georgia writes. The first line decides between comma,
semicolon and tab; UTF-8 with or without mark, UTF-16 with mark and Windows-1252 are read. A ``split.json``
beside the file names the folder that its paths are relative to.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from georgia.catalog.folders import Finding, split_of_name
from georgia.errors import InputError
from georgia.files import read_json, reading
from georgia.records import SPLITS, Record

# Each column's own name first, then others in use.
_COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "class": ("class", "label", "class_name"),
    "group": ("group",),
    "time": ("time",),
    "split": ("part", "split"),
}


def read_csv(file: Path) -> Finding:
    """Return the rows of a CSV file as records, with one fault for each row that cannot be used.

    Raises:
        InputError: the file cannot be read as text, or a column is missing.
    """
    root = find_root(file)
    lines = _read_text(file).splitlines()
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(lines, delimiter=delimiter)
    columns: dict[str, int] = {}
    found = Finding()
    line_of: dict[Path, int] = {}
    try:
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _find_columns(file, cells)
                continue
            values = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
            _read_row(root, rows.line_num, values, found, line_of)
    except csv.Error as error:
        found.faults.append(f"line {rows.line_num} is no CSV ({error})")
    if not columns:
        _find_columns(file, [])
    return found


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
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _find_columns(file: Path, cells: list[str]) -> dict[str, int]:
    heads = [cell.strip().lower() for cell in cells]
    columns = {
        name: heads.index(alias)
        for name, aliases in _COLUMNS.items()
        for alias in reversed(aliases)
        if alias in heads
    }
    missing = [name for name in ("path", "class") if name not in columns]
    if missing:
        raise InputError(
            f"Cannot read {str(file)!r}",
            needs=f"its first line must name the columns path and class; {' and '.join(missing)} missing",
            got=", ".join(map(repr, cells)) or "an empty file",
            hint="Example: path,class,group,time.",
        )
    return columns


def _read_row(
    root: Path, line: int, values: Mapping[str, str], found: Finding, line_of: dict[Path, int]
) -> None:
    faults = []
    if not values["class"]:
        faults.append("has no class")
    given = values.get("split", "")
    split = split_of_name(given)
    if given and not split:
        faults.append(f"has split {given!r}, which is none of {', '.join(SPLITS)}")
    path = _find_file(root, values["path"])
    if path is None:
        faults.append(f"names {values['path']!r}, which is no file" if values["path"] else "has no path")
    elif path in line_of:
        faults.append(f"names {values['path']!r} again after line {line_of[path]}")
    if faults or path is None:
        found.faults.extend(f"line {line} {fault}" for fault in faults)
        return
    line_of[path] = line
    found.records.append(
        Record(path, values["class"], values.get("group", ""), split, values.get("time", ""))
    )


def _find_file(folder: Path, text: str) -> Path | None:
    """Return the file, also where a path was written with backslashes on another system."""
    for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
        try:
            if spelling and (folder / spelling).is_file():
                return folder / spelling
        except (OSError, ValueError):
            continue
    return None
