"""Class folders and split folders → labelled images; ``read.py`` describes the layouts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from georgia.images.containers import SUFFIXES
from georgia.images.listing import list_names, walk_files
from georgia.records import SPLITS, Failure, Record

_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "val": "valid", "validation": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_STUDY_FOLDER = re.compile(r".*?_?(train|valid|validation|val|test)_?Binary", re.IGNORECASE)


@dataclass
class Finding:
    """What a source holds, before names are mapped and images read: ``class_name`` is as given there."""

    records: list[Record] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    class_folders: list[str] = field(default_factory=list)


def split_of_name(name: str) -> str:
    """Return the split that a folder's name means, or an empty text.

    >>> split_of_name("Validation"), split_of_name("GAtrainBinary"), split_of_name("CEX")
    ('valid', 'train', '')
    """
    match = _STUDY_FOLDER.fullmatch(name)
    return _SPLIT_NAMES.get((match[1] if match else name).lower(), "")


def read_folder(root: Path) -> Finding:
    """Return the images below a folder with the names of their class folders.

    Raises:
        InputError: a folder cannot be listed.
    """
    folder = root
    folders, images = _list_level(folder)
    while len(folders) == 1 and not images and not split_of_name(folders[0].name):
        below = _list_level(folders[0])
        if not below[0]:
            break
        folder, (folders, images) = folders[0], below
    found = Finding()
    # Splits hold folders; a class that is called "test" holds images.
    if any(split_of_name(child.name) and _list_level(child)[0] for child in folders):
        _read_splits(folders, found)
    else:
        _read_classes(folders, "", found)
    _reject_stray(folder, images, bool(folders), found)
    return found


def _list_level(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the subfolders and the images of one folder."""
    names = list_names(folder, lambda name: Path(name).suffix.lower() in SUFFIXES)
    images = [folder / name for name in names if not name.endswith("/") and (folder / name).is_file()]
    return [folder / name for name in names if name.endswith("/")], images


def _read_splits(folders: Sequence[Path], found: Finding) -> None:
    by_split: dict[str, list[str]] = {split: [] for split in SPLITS}
    for folder in folders:
        split = split_of_name(folder.name)
        if not split:
            found.faults.append(f"folder {folder.name!r} stands beside split folders but is none")
            continue
        by_split[split].append(folder.name)
        classes, images = _list_level(folder)
        _read_classes(classes, split, found)
        _reject_stray(folder, images, bool(classes), found)
    for split, names in by_split.items():
        if len(names) > 1:
            found.faults.append(f"folders {', '.join(map(repr, names))} all mean the {split} split")


def _read_classes(folders: Sequence[Path], split: str, found: Finding) -> None:
    for folder in folders:
        found.class_folders.append(folder.name)
        for path in walk_files(folder):
            if path.suffix.lower() in SUFFIXES:
                found.records.append(Record(path, folder.name, split=split))
            else:
                found.failures.append(Failure(path, f"not an image file (suffix {path.suffix!r})"))


def _reject_stray(folder: Path, images: Sequence[Path], has_folders: bool, found: Finding) -> None:
    if images and has_folders:
        which = f"{len(images)} images such as {images[0].name!r}"
        found.faults.append(f"{which} stand in {folder.name!r} beside class folders; they belong to no class")
    elif images:
        found.faults.append(f"{folder.name!r} holds {len(images)} images and no class folders")
