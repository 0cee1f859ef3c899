"""Labelled images of one source: class folders, split folders or a CSV file.

Folders. Each folder that stands beside others is a class; everything below it belongs to that class.
A lone folder is entered, so the folder where an archive was unpacked can be given. Folders named after
splits (train, valid, val, validation, test, or ``GAtrainBinary`` with any prefix) hold class folders and
give each image its split. Class order is the natural order of the folders' names, whatever their case:
folder ``0`` is the network's class 0.

Files. Hidden files and system files (Thumbs.db, desktop.ini, __MACOSX …) are ignored. Below a class
folder a file that is no image is listed as a failure. Beside class folders tables and texts such as
truth.csv or a README are ignored, but images there belong to no class and are rejected.

CSV. See ``csv_file.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from georgia.catalog.csv_file import find_root, read_csv
from georgia.catalog.folders import Finding, read_folder
from georgia.errors import InputError, suggest
from georgia.images.decode import iter_images
from georgia.images.listing import natural_key
from georgia.labels import UNKNOWN, Labels
from georgia.progress import QUIET, Progress
from georgia.records import Catalog, Failure, Record
from georgia.text import describe_many

_LAYOUTS = (
    "Give one folder per class, train/valid/test folders with class folders in them, "
    "or a CSV file with path,class[,group,time]."
)


def read_catalog(
    source: str | Path,
    *,
    class_names: Mapping[str, str] | None = None,
    verify: bool = True,
    progress: Progress = QUIET,
) -> Catalog:
    """Return all labelled images of a source, in natural order of their paths below it.

    ``class_names`` maps folders (or a CSV's classes) to names; two of one name become one class, and
    those not mentioned keep theirs. ``verify=False`` skips decoding every image, for callers that read
    them all anyway and list failures themselves.

    Raises:
        InputError: the source has no such layout, a class is empty, or rows are wrong; all faults in one.
    """
    root = Path(source)
    if root.is_dir():
        found = read_folder(root)
    elif root.is_file():
        found = read_csv(root)
        root = find_root(root)
    else:
        raise InputError(
            f"Cannot read data {str(root)!r}", needs="it must exist", got="nothing", hint=_LAYOUTS
        )
    found.faults.extend(_check_names(found, class_names or {}))
    if not found.faults and not found.records:
        found.faults.append("it holds no images")
    _reject(source, found.faults)
    folders = sorted(
        {record.class_name for record in found.records} | set(found.class_folders), key=natural_key
    )
    names = {folder: (class_names or {}).get(folder, folder) for folder in folders}
    records = [replace(record, class_name=names[record.class_name]) for record in found.records]
    records.sort(key=lambda record: natural_key(relative_name(record.path, root)))
    failures = found.failures
    if verify:
        records, unreadable = verify_records(records, progress)
        failures = failures + unreadable
    failures.sort(key=lambda failure: natural_key(relative_name(failure.path, root)))
    order = list(dict.fromkeys(names.values()))
    _reject(source, _check_classes(order, records, failures))
    return Catalog(root, Labels(tuple(order)), tuple(records), tuple(failures))


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


def _check_names(found: Finding, class_names: Mapping[str, str]) -> list[str]:
    faults = []
    folders = list(dict.fromkeys([*found.class_folders, *(record.class_name for record in found.records)]))
    for folder, name in class_names.items():
        if folder not in folders:
            faults.append(
                f"the class names mention {folder!r}, which is not there.{suggest(folder, folders)}"
            )
        if not name.strip() or name == UNKNOWN:
            faults.append(f"the name of {folder!r} may be neither empty nor {UNKNOWN!r}")
    if UNKNOWN in folders and UNKNOWN not in class_names:
        faults.append(f"no class may be called {UNKNOWN!r}: that is the label of images of no class")
    alike = Counter(folder.casefold() for folder in folders)
    for folder in folders:
        if alike[folder.casefold()] > 1 and folder not in class_names:
            faults.append(f"class {folder!r} differs from another by case only")
    return faults


def _check_classes(order: Sequence[str], records: Iterable[Record], failures: Sequence[Failure]) -> list[str]:
    counts = Counter(record.class_name for record in records)
    faults = [f"class {name!r} holds no image that can be read" for name in order if not counts[name]]
    if faults and failures:
        first = failures[0]
        faults.append(f"{len(failures)} files are left out, such as {first.path.name!r}: {first.error}")
    if not faults and len(order) < 2:
        faults.append(f"two classes or more are needed; got only {order[0]!r}")
    return faults
