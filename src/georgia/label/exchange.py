"""Labels from other programs and for them: COCO, YOLO, Label Studio, CVAT, CSV and class folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.catalog.box_files import BOX_SUFFIXES, find_yolo_classes, read_box_file, read_yolo
from georgia.catalog.csv_file import read_csv
from georgia.catalog.folders import read_folder
from georgia.catalog.read import relative_name
from georgia.errors import InputError
from georgia.files import check_target, write_text
from georgia.label.catalog_file import Named, format_labels
from georgia.label.records import NOT_CLASSES, Pool
from georgia.labels import Labels
from georgia.records import Record, format_window, hash_file, split_window
from georgia.split.box_files import BOX_FORMS, write_boxes
from georgia.split.make import Split, SplitConfig
from georgia.text import describe_many

CSV_FORM = "csv"
FORMS = (CSV_FORM, *BOX_FORMS)
# The form of a file that is to be written, by its suffix; a folder is YOLO's.
_FORM_OF = {".csv": CSV_FORM, ".json": "coco", ".xml": "cvat", "": "yolo"}


@dataclass(frozen=True)
class Imported:
    """What a file says: names by path of the pool, classes in it, and ``notes`` of what was passed over."""

    names: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def read_names(source: Path, pool: Pool) -> Imported:
    """Return the boxes and classes of images in a file or folder.

    Raises:
        InputError: it is of no form that is known, or entries of it cannot be used; all faults at once.
    """
    if source.is_dir():
        class_file = find_yolo_classes(source)
        found = read_folder(source) if class_file is None else read_yolo(source, class_file)
    elif source.is_file():
        found = read_box_file(source) if source.suffix.lower() in BOX_SUFFIXES else read_csv(source)
    else:
        raise InputError(f"Cannot import {str(source)!r}", needs="a file or folder is needed", got="nothing")
    if found.faults:
        raise InputError(f"Cannot import {str(source)!r}: {describe_many(found.faults)}.")
    places = _Places(pool)
    names: dict[str, str] = {}
    for record in found.records:
        file, box = split_window(record.path)
        place = places.find(file)
        name = record.class_name.strip()
        names[format_window(place, box)] = name.casefold() if name.casefold() in NOT_CLASSES else name
    if not names:
        raise InputError(f"Cannot import {str(source)!r}", needs="one label or more is needed", got="none")
    classes = dict.fromkeys(name for name in names.values() if name not in NOT_CLASSES)
    return Imported(tuple(names.items()), tuple(classes), tuple(found.notes))


class _Places:
    """The paths of the pool's files, found by place or, as programs keep files of their own, by content."""

    def __init__(self, pool: Pool) -> None:
        self._root = pool.root
        self._files = sorted({item.file for item in pool.items})
        self._by_place = {os.path.realpath(file): file for file in self._files}
        self._by_size: dict[int, list[Path]] = {}
        for file in self._files:
            self._by_size.setdefault(_measure(file), []).append(file)
        self._found: dict[Path, str] = {}

    def find(self, file: Path) -> str:
        """Return a file's path in the pool, or the one that it would have."""
        if file not in self._found:
            known = self._by_place.get(os.path.realpath(file)) or self._find_same(file)
            self._found[file] = relative_name(known, self._root) if known else _tell_place(file, self._root)
        return self._found[file]

    def _find_same(self, file: Path) -> Path | None:
        alike = self._by_size.get(_measure(file), [])
        content = hash_file(file) if alike else None
        return next((other for other in alike if content and hash_file(other) == content), None)


def _measure(file: Path) -> int:
    """Return the size of a file, bytes; −1 where it has none."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def find_form(target: Path, form: str = "") -> str:
    """Return the form of a file that is to be written: as stated, or else by its suffix.

    >>> find_form(Path("a.json")), find_form(Path("a.json"), "label-studio")
    ('coco', 'label-studio')

    Raises:
        InputError: the form is unknown, or the suffix is another form's.
    """
    own = _FORM_OF.get(target.suffix.lower(), "")
    chosen = form or own
    suffixes = {**{name: suffix for suffix, name in _FORM_OF.items()}, "label-studio": ".json"}
    if chosen not in FORMS or suffixes[chosen] != target.suffix.lower():
        raise InputError(
            f"Cannot export to {str(target)!r}",
            needs=f"one of {', '.join(FORMS)}, and a name with .csv, .json, .xml or, for yolo, of a folder",
            got=form or f"the suffix {target.suffix!r}",
            hint="Example: --export labels.json --form label-studio.",
        )
    return chosen


def write_names(named: Named, classes: Sequence[str], target: Path, form: str = "") -> int:
    """Write labels in a form; return how many. Only a CSV holds those that are no class.

    A file or folder that is there already is not written over.

    Raises:
        InputError: there are none, the target is there, or an image of theirs cannot be read.
    """
    form = find_form(target, form)
    if target.exists():
        raise InputError(
            f"Cannot export to {str(target)!r}", needs="a new name is needed", got="one that is there"
        )
    check_target(target)
    rows = [entry for entry in named if form == CSV_FORM or entry[1].is_class]
    if not rows:
        raise InputError(f"Cannot export to {str(target)!r}", needs="one label or more is needed", got="none")
    if form == CSV_FORM:
        write_text(target, format_labels(rows, target.parent))
        return len(rows)
    records = [Record(_absolute(item.image_path), label.name, item.group, "train") for item, label in rows]
    split = Split(_absolute(target.parent), Labels(tuple(classes)), tuple(records), SplitConfig())
    if form == "yolo":
        write_boxes(split, target, form)
        return len(rows)
    with tempfile.TemporaryDirectory() as folder:
        (file,) = write_boxes(split, Path(folder), form)
        write_text(target, file.read_text(encoding="utf-8"))
    return len(rows)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links stay


def _tell_place(file: Path, root: Path) -> str:
    """Return the path of a file that the pool does not hold: below its root, or whole."""
    whole, base = _absolute(file), _absolute(root)
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else whole.as_posix()
