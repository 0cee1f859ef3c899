"""Class folders and split folders → labelled images; the layouts are told in ``catalog.py``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from georgia.images.containers import SUFFIXES
from georgia.images.listing import list_files, list_names
from georgia.records import SPLITS, Failure, Record

_PART_WORDS = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_STUDY_PART = re.compile(r"(?P<prefix>.*?)_?(?P<part>train|valid|validation|val|test)_?Binary", re.IGNORECASE)


@dataclass
class Finding:
    """What a source holds, before names are mapped and images read: ``class_name`` is as given there."""

    records: list[Record] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    class_folders: list[str] = field(default_factory=list)


def part_of_name(name: str) -> str:
    """Return the part that a folder's name means, or an empty text.

    >>> part_of_name("Validation"), part_of_name("GAtrainBinary"), part_of_name("CEX")
    ('valid', 'train', '')
    """
    word = name.lower()
    if match := _STUDY_PART.fullmatch(name):
        word = match["part"].lower()
    return _PART_WORDS.get(word, "")


def read_folder(root: Path) -> Finding:
    """Return the images below a folder with the names of their class folders.

    Raises:
        InputError: a folder cannot be listed.
    """
    folder = root
    folders, pictures = _list_level(folder)
    while len(folders) == 1 and not pictures and not part_of_name(folders[0].name):
        below = _list_level(folders[0])
        if not below[0]:
            break
        folder, (folders, pictures) = folders[0], below
    found = Finding()
    if _holds_parts(folders):
        _read_parts(folders, found)
    else:
        _read_classes(folders, "", found)
    _refuse_stray(folder, pictures, bool(folders), found)
    return found


def _list_level(folder: Path) -> tuple[list[Path], list[Path]]:
    names = list_names(folder, lambda name: Path(name).suffix.lower() in SUFFIXES)
    images = [folder / name for name in names if not name.endswith("/") and (folder / name).is_file()]
    return [folder / name for name in names if name.endswith("/")], images


def _holds_parts(folders: Sequence[Path]) -> bool:
    """Tell parts from classes that are called "test" and such: parts hold folders."""
    return any(part_of_name(folder.name) and _list_level(folder)[0] for folder in folders)


def _read_parts(folders: Sequence[Path], found: Finding) -> None:
    by_part: dict[str, list[str]] = {part: [] for part in SPLITS}
    for folder in folders:
        part = part_of_name(folder.name)
        if not part:
            found.faults.append(f"folder {folder.name!r} stands beside parts but is none")
            continue
        by_part[part].append(folder.name)
        classes, pictures = _list_level(folder)
        _read_classes(classes, part, found)
        _refuse_stray(folder, pictures, bool(classes), found)
    for part, names in by_part.items():
        if len(names) > 1:
            found.faults.append(f"folders {', '.join(map(repr, names))} all mean the {part} part")


def _read_classes(folders: Sequence[Path], part: str, found: Finding) -> None:
    for folder in folders:
        found.class_folders.append(folder.name)
        for path in list_files(folder):
            if path.suffix.lower() in SUFFIXES:
                found.records.append(Record(path, folder.name, split=part))
            else:
                found.failures.append(Failure(path, f"not an image file (suffix {path.suffix!r})"))


def _refuse_stray(folder: Path, pictures: Sequence[Path], has_folders: bool, found: Finding) -> None:
    if pictures and has_folders:
        which = f"{len(pictures)} images such as {pictures[0].name!r}"
        rule = f"{which} stand in {folder.name!r} beside class folders"
        found.faults.append(f"{rule}; they belong to no class")
    elif pictures:
        found.faults.append(f"{folder.name!r} holds {len(pictures)} images and no class folders")
