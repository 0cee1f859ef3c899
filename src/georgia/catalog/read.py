"""Labelled images of one source: class folders, split folders or a CSV file.

Folders. Each folder that stands beside others is a class; everything below it belongs to that class.
A lone folder is entered, so the folder where an archive was unpacked can be given. Split folders
(``train``, ``01_train``, ``val``, ``test_set``, ``GAtrainBinary`` …) hold class folders, or stand in every
class folder, and give each image its split; ``layout.py`` tells which level is which, and asks where that
is ambiguous. Class order is the natural order of the folders' names, whatever their case: folder ``0`` is
the network's class 0.

Files. Hidden files and system files (Thumbs.db, desktop.ini, __MACOSX …) are ignored, and so are folders
that hold results of Georgia. Below a class folder a file that is no image is listed as a failure, but a
sidecar with an image's name (``a.json`` beside ``a.png``) is counted. Beside class folders tables and texts
are ignored, files of other formats are counted, and images belong to no class and are rejected.

CSV. See ``csv_file.py``. Boxes of COCO, YOLO, Label Studio and CVAT: see ``box_files.py``.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from georgia.catalog.box_files import BOX_SUFFIXES, find_yolo_classes, read_box_file, read_yolo
from georgia.catalog.csv_file import find_root, read_csv
from georgia.catalog.folders import SourceContents, read_folder
from georgia.errors import InputError, suggest
from georgia.images.decode import iter_images
from georgia.images.listing import natural_key
from georgia.labels import UNKNOWN, Labels
from georgia.progress import QUIET, Progress
from georgia.records import SPLITS, Catalog, Failure, Record, split_window
from georgia.text import count_noun, describe_many, describe_names

_LAYOUTS = (
    "Give one folder per class, train/valid/test folders with class folders in them, "
    "or a CSV file with path,class[,group,time] or path,x,y,width,height,class."
)

_N_CLASSES_SHOWN = 12
# Names that folders beside classes often have, and what file managers and people add to a copy's.
_NO_CLASSES = frozenset(
    (
        *("unlabelled", "unlabeled", "unsorted", "unclassified", "unassigned", "todo", "to do", "trash"),
        *("backup", "old", "misc", "new folder", "neuer ordner"),
    )
)
_COPY = re.compile(r"(.+?)[ _-]*(?:\(?(?:copy|kopie|old|backup|bak)\)?(?: ?\(?\d+\)?)?|\(\d+\)| \d+)")
# Capitals and small letters of Cyrillic and Greek that look like Latin ones.
_LATIN = str.maketrans("АВЕКМНОРСТУХасеорхуіΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXaceopxyiABEZHIKMNOPTYX")


def read_catalog(
    source: str | Path,
    *,
    class_names: Mapping[str, str] | None = None,
    parts: Mapping[str, str] | str | None = None,
    verify: bool = True,
    is_for_training: bool = True,
    progress: Progress = QUIET,
) -> Catalog:
    """Return all labelled images of a source, in natural order of their paths below it.

    ``class_names`` maps folders (or a CSV's classes) to names; two of one name become one class, and
    those not mentioned keep theirs. ``parts`` maps folders to splits where their names do not tell, or is
    "none" (no folder is a split) or "inner" (the classes are the folders in the outer ones).
    ``verify=False`` skips decoding every image, for callers that read them all anyway and list failures
    themselves. ``is_for_training`` demands that a class of a source with given splits has an image in train.
    ``progress`` is told in one line what was understood.

    Raises:
        InputError: the source has no such layout, a class is empty, or rows are wrong; all faults in one.
    """
    root = Path(source)
    if not str(source).strip():
        raise InputError("Cannot read data", needs="a folder or a CSV file is needed", got="an empty name")
    found, root = _read_source(root, parts)
    found.records = group_windows(found.records, root)
    _compose_names(found)
    given_names = {_compose(folder): name for folder, name in (class_names or {}).items()}
    found.faults.extend(_check_names(found, given_names))
    if not found.faults and not found.records:
        found.faults.append(_tell_empty(found))
    _reject(source, found.faults)
    folders = sorted(
        {record.class_name for record in found.records} | set(found.class_folders), key=natural_key
    )
    names = {folder: _compose(given_names.get(folder, folder)) for folder in folders}
    records = [replace(record, class_name=names[record.class_name]) for record in found.records]
    records.sort(key=lambda record: natural_key(relative_name(record.path, root)))
    order = list(dict.fromkeys(names.values()))
    progress.say(describe_records(order, records))
    for note in (*found.notes, *_tell_doubtful(order)):
        progress.say(f"note: {note}")
    failures = found.failures
    if verify:
        records, unreadable = verify_records(records, progress)
        failures = failures + unreadable
    failures.sort(key=lambda failure: natural_key(relative_name(failure.path, root)))
    _reject(source, _check_classes(order, records, failures, is_for_training))
    return Catalog(root, Labels(tuple(order)), tuple(records), tuple(failures))


def _read_source(root: Path, parts: Mapping[str, str] | str | None) -> tuple[SourceContents, Path]:
    """Return what a source holds, and the folder that names are relative to.

    Raises:
        InputError: there is no such source, or it cannot be read.
    """
    if root.is_dir():
        class_file = None if parts else find_yolo_classes(root)
        return (read_folder(root, parts) if class_file is None else read_yolo(root, class_file)), root
    if not root.is_file():
        raise InputError(
            f"Cannot read data {str(root)!r}", needs="it must exist", got="nothing", hint=_LAYOUTS
        )
    is_box_file = root.suffix.lower() in BOX_SUFFIXES
    found = read_box_file(root) if is_box_file else read_csv(root)
    if parts:
        found.faults.append("--parts is for folders; a CSV file has the column part")
    return found, root.parent if is_box_file else find_root(root)


def _tell_empty(found: SourceContents) -> str:
    if not found.failures:
        return "it holds no images"
    n_files, first = count_noun(len(found.failures), "file"), found.failures[0]
    return f"it holds no images that are read, but {n_files} such as {first.path.name!r}: {first.error}"


def describe_records(class_names: Sequence[str], records: Sequence[Record]) -> str:
    """Return what was understood of a source in one line: classes with counts, and splits.

    >>> describe_records(["CEX", "PG"], [Record(Path("a.png"), "CEX", split="train")])
    'data: 1 image, 2 classes: CEX 1, PG 0; train 1, valid 0, test 0'
    """
    of_class = Counter(record.class_name for record in records)
    of_split = Counter(record.split for record in records)
    names = [name if name.isprintable() else ascii(name) for name in class_names[:_N_CLASSES_SHOWN]]
    shown = ", ".join(f"{name} {of_class[key]:,}" for name, key in zip(names, class_names, strict=False))
    n_more = len(class_names) - _N_CLASSES_SHOWN
    counts = f"{shown} and {n_more} more" if n_more > 0 else shown
    splits = ", ".join(f"{split} {of_split[split]:,}" for split in SPLITS)
    known = splits if any(of_split[split] for split in SPLITS) else "no splits"
    frames = [frame for frame, box in (split_window(record.path) for record in records) if box is not None]
    windows = f" ({count_noun(len(frames), 'window')} of {count_noun(len(set(frames)), 'frame')})"
    n_images, n_classes = count_noun(len(records), "image"), count_noun(len(class_names), "class")
    return f"data: {n_images}{windows if frames else ''}, {n_classes}: {counts}; {known}"


def group_windows(records: Sequence[Record], root: Path) -> list[Record]:
    """Return the records; those of one frame that have no group are one group, named after the frame."""
    frames = {frame for frame, box in (split_window(record.path) for record in records) if box is not None}
    return [
        replace(record, group=relative_name(frame, root))
        if not record.group and (frame := split_window(record.path)[0]) in frames
        else record
        for record in records
    ]


def verify_records(
    records: Sequence[Record], progress: Progress = QUIET
) -> tuple[list[Record], list[Failure]]:
    """Decode every image by threads; return the records that can be read, and the others' reasons."""
    progress.start("Reading images", len(records))
    readable, failures = [], []
    for position, item in iter_images(record.path for record in records):
        if isinstance(item, Failure):
            failures.append(item)
        else:
            readable.append(records[position])
        progress.advance()
    return readable, failures


def relative_name(path: Path, root: Path) -> str:
    """Return a path below ``root`` with forward slashes, the same on every machine; others stay absolute.

    >>> relative_name(Path("data/CEX/a.png"), Path("data"))
    'CEX/a.png'
    """
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100 - links stay what they are


def _reject(source: str | Path, faults: Sequence[str]) -> None:
    if faults:
        said = describe_many(faults).rstrip(".")
        end = "" if said.endswith("?") else "."
        raise InputError(f"Cannot read data {str(source)!r}: {said}{end} {_LAYOUTS}")


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _compose_names(found: SourceContents) -> None:
    """Make one class of names that differ only in how an accent is stored, as macOS and Linux do."""
    spellings: dict[str, set[str]] = {}
    for name in {record.class_name for record in found.records} | set(found.class_folders):
        spellings.setdefault(_compose(name), set()).add(name)
    twins = [name for name, own in spellings.items() if len(own) > 1]
    if twins:
        found.notes.append(f"read as one class, though spelt in two Unicode forms: {describe_names(twins)}")
    found.records = [replace(record, class_name=_compose(record.class_name)) for record in found.records]
    found.class_folders = [_compose(name) for name in found.class_folders]


def _appearance(name: str) -> str:
    """Return what names that appear alike have in common, whatever their case, blanks and unseen signs."""
    shown = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", shown).translate(_LATIN).split()).casefold()


def _check_names(found: SourceContents, class_names: Mapping[str, str]) -> list[str]:
    faults = []
    folders = list(dict.fromkeys([*found.class_folders, *(record.class_name for record in found.records)]))
    for folder, name in class_names.items():
        if folder not in folders:
            faults.append(
                f"the class names mention {folder!r}, which is not there.{suggest(folder, folders)}"
            )
        if not name.strip() or _appearance(name) == UNKNOWN:
            faults.append(f"the name of {folder!r} may be neither empty nor {UNKNOWN!r}")
    faults.extend(
        f"no class may be called {folder!r}: {UNKNOWN!r} is the label of images of no class"
        for folder in folders
        if _appearance(folder) == UNKNOWN and folder not in class_names
    )
    alike = Counter(map(_appearance, folders))
    for folder in folders:
        if folder in class_names:
            continue
        if not _is_utf8(folder):
            faults.append(
                f"the name of class {folder!r} is not UTF-8; rename the folder, or name it by --class-names"
            )
        if any(sign in ",|" or sign < " " for sign in folder):
            # A control sign is not typed on a command line.
            is_typed = min(folder) >= " "
            other = f""", or name it by --class-names '"{folder}"=NAME'""" if is_typed else ""
            faults.append(f"class {folder!r} may hold no comma, bar or control sign; rename it{other}")
        if alike[_appearance(folder)] > 1:
            others = [
                other for other in folders if other != folder and _appearance(other) == _appearance(folder)
            ]
            by_case = folder.casefold() in {other.casefold() for other in others}
            how = "case only" if by_case else f"signs that do not show: {folder!a}, {others[0]!a}"
            faults.append(f"class {folder!r} differs from another by {how}")
    return faults


def _tell_doubtful(names: Sequence[str]) -> list[str]:
    """Return a note of class names that are more often those of folders beside the classes."""
    there = {_appearance(name) for name in names}
    doubtful = [
        name
        for name in names
        if _appearance(name) in _NO_CLASSES
        or ((match := _COPY.fullmatch(_appearance(name))) and match[1].rstrip(" _-") in there)
    ]
    what = "as a class" if len(doubtful) == 1 else "as classes"
    told = f"{describe_names(doubtful)} read {what}; if the images have none, or another, take them out"
    return [told] if doubtful else []


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_classes(
    order: Sequence[str], records: Sequence[Record], failures: Sequence[Failure], is_for_training: bool
) -> list[str]:
    counts = Counter(record.class_name for record in records)
    faults = [f"class {name!r} holds no image that can be read" for name in order if not counts[name]]
    if faults and failures:
        first = failures[0]
        faults.append(f"{len(failures)} files are left out, such as {first.path.name!r}: {first.error}")
    if not faults and len(order) < 2:
        faults.append(f"two classes or more are needed; got only {order[0]!r}")
    trained = {record.class_name for record in records if record.split == SPLITS[0]}
    for name in order if is_for_training and trained and not faults else ():
        if name not in trained:
            held = sorted({record.split for record in records if record.class_name == name})
            faults.append(
                f"class {name!r} has no image in train, only in {' and '.join(held)}.{suggest(name, trained)}"
            )
    return faults
