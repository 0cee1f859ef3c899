"""Which level of folders holds the classes, and which the splits: told by their names and by their structure.

Folders that hold the same subfolders are splits of one set, or classes with the same sections; where the
names do not tell, one question is asked (``--parts`` settles it) and nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from georgia.errors import InputError, suggest
from georgia.images.containers import SUFFIXES
from georgia.images.listing import list_names
from georgia.text import describe_names

# Values of --parts that name no folder: the outer folders are the classes; the inner ones are.
NONE, INNER = "none", "inner"

_TERMS = {
    "train": ("train", "training", "trn", "learn", "learning"),
    "valid": (
        "valid",
        "val",
        "validation",
        "validate",
        "validating",
        "dev",
        "devel",
        "development",
        "tuning",
    ),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
}
_SPLIT_OF_WORD = {word: split for split, terms in _TERMS.items() for word in terms}
# Words that stand beside a split's name and mean nothing: x_train, train_set, 01_train_images.
_FILLERS = frozenset(
    (
        *("ga", "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "picture"),
        *("pictures", "pics", "photos", "crops", "cropped", "samples", "files", "split", "part", "partition"),
        *("subset", "folder", "dir", "binary", "final", "all", "the", "of", "for", "out", "held"),
    )
)
_ENDINGS = ("", "set", "data", "dataset", "images", "imgs", "split", "part", "folder")
_STUDY_FOLDER = re.compile(r".*?_?(train|valid|validation|val|test)_?Binary", re.IGNORECASE)
_FIRST_WORD = re.compile(r"(?P<word>[^\W_]+)[ _.-]+(?P<name>.+)")
_LAST_WORD = re.compile(r"(?P<name>.+?)[ _.-]+(?P<word>[^\W_]+)")
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
# Names of sections of a class, as against classes: run 3, batch-12, 2021-03-04.
_SECTION = re.compile(
    r"(runs?|batch|day|date|session|exp|experiment|series|rep|replicate|crystal|frames?|film|scan|seq|sequence"
    r"|part|vol|plate|cam|camera|probe|site|time|t|week|month)[ _.-]*\d+|(19|20)\d\d[-_. ]?\d\d.*",
    re.IGNORECASE,
)


def split_of_name(name: str) -> str:
    """Return the split that a folder's name means, or an empty text.

    >>> [split_of_name(name) for name in ("Validation", "GAtrainBinary", "01_train_set", "hold-out")]
    ['valid', 'train', 'train', 'test']
    >>> [split_of_name(name) for name in ("CEX", "latest", "strain", "test strip", "trainees")]
    ['', '', '', '', '']
    """
    match = _STUDY_FOLDER.fullmatch(name)
    pieces = [piece.casefold() for piece in _PIECE.findall(match[1] if match else name)]
    joined = "".join(pieces)
    if joined in ("holdout", "heldout"):
        return "test"
    splits = {_split_of_word(piece) for piece in pieces if piece not in _FILLERS and len(piece) > 1}
    return splits.pop() if len(splits) == 1 else ""


def _split_of_word(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending):
            split = _SPLIT_OF_WORD.get(word.removesuffix(ending)) or _SPLIT_OF_WORD.get(
                word.removesuffix(ending).removeprefix("x")
            )
            if split:
                return split
    return ""


@dataclass(frozen=True)
class Level:
    """One folder: its subfolders, and the image files in it."""

    path: Path
    folders: tuple[Path, ...]
    images: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def split(self) -> str:
        """The split that its name means."""
        return split_of_name(self.name)


def list_level(folder: Path) -> Level:
    """Return the subfolders and images of one folder.

    Raises:
        InputError: it cannot be listed.
    """
    names = list_names(folder, lambda name: Path(name).suffix.lower() in SUFFIXES)
    folders = tuple(folder / name for name in names if name.endswith("/"))
    return Level(folder, folders, tuple(name for name in names if not name.endswith("/")))


@dataclass(frozen=True)
class Section:
    """A folder whose whole content is of one class, and of one split where ``split`` is not empty."""

    path: Path
    class_name: str
    split: str = ""


def find_sections(
    levels: Sequence[Level], parts: Mapping[str, str] | str | None, faults: list[str]
) -> list[Section]:
    """Return the sections below folders that stand beside one another; what is wrong joins ``faults``.

    ``parts`` is what was said of them: folder → split, ``"none"`` or ``"inner"``.

    Raises:
        InputError: it cannot be told which level holds the classes; the message asks.
    """
    if isinstance(parts, str):
        return (
            _classes(levels) if parts == NONE else [s for level in levels for s in _inner(level, "", faults)]
        )
    if parts:
        return _as_told(levels, parts, faults)
    # Splits hold folders; a class that is called "test" holds images.
    if any(level.split and level.folders for level in levels):
        return _outer_splits(levels, {level.name: level.split for level in levels}, faults)
    inner = {level.name: [list_level(folder) for folder in level.folders] for level in levels}
    splits = {name: {below.split for below in levels_below} for name, levels_below in inner.items()}
    is_inside = all(level.folders and not level.images and "" not in splits[level.name] for level in levels)
    if is_inside and len(set().union(*splits.values())) > 1:
        _ask_if_same(
            [below for levels_below in inner.values() for below in levels_below], "the split folders"
        )
        return _inner_splits(levels, inner, {}, faults)
    if any(len(found - {""}) > 1 for found in splits.values()):
        _ask_if_some(levels, splits)
    _ask_if_same(levels)
    return _joined_names(levels) or _classes(levels)


def _classes(levels: Sequence[Level]) -> list[Section]:
    return [Section(level.path, level.name) for level in levels]


def _joined_names(levels: Sequence[Level]) -> list[Section]:
    """Return sections of folders such as CEX_train and CEX_test; none unless all are named so."""
    sections = []
    for level in levels:
        first, last = _FIRST_WORD.fullmatch(level.name), _LAST_WORD.fullmatch(level.name)
        named = {
            (match["name"].strip(), _SPLIT_OF_WORD.get(match["word"].casefold(), ""))
            for match in (first, last)
            if match is not None
        }
        told = [(name, split) for name, split in named if split]
        if len(told) != 1:
            return []
        sections.append(Section(level.path, *told[0]))
    n_classes, n_splits = (
        len({getattr(section, key) for section in sections}) for key in ("class_name", "split")
    )
    return sections if n_classes > 1 and n_splits > 1 and len(sections) > n_classes else []


def _inner(level: Level, split: str, faults: list[str]) -> list[Section]:
    if level.images:
        beside = "beside class folders; they belong to no class" if level.folders else "and no class folders"
        which = f"{len(level.images)} images such as {level.images[0]!r}"
        faults.append(f"{which} stand in {level.name!r} {beside}")
    return [Section(folder, folder.name, split) for folder in level.folders]


def _outer_splits(levels: Sequence[Level], splits: Mapping[str, str], faults: list[str]) -> list[Section]:
    sections = []
    for level in levels:
        if not splits.get(level.name):
            faults.append(
                f"folder {level.name!r} stands beside split folders but is none (if it is: --parts "
                "train=…,test=…; if all are classes: --parts none)"
            )
            continue
        _ask_if_same([list_level(folder) for folder in level.folders], repr(level.name))
        sections += _inner(level, splits[level.name], faults)
    for split in _TERMS:
        names = [level.name for level in levels if splits.get(level.name) == split]
        if len(names) > 1:
            told = ",".join(f"{split}={name}" for name, split in splits.items() if split)
            faults.append(
                f"folders {', '.join(map(repr, names))} all mean the {split} split (if so: --parts {told})"
            )
    return sections


def _inner_splits(
    levels: Sequence[Level],
    inner: Mapping[str, Sequence[Level]],
    told: Mapping[str, str],
    faults: list[str],
) -> list[Section]:
    sections = []
    for level in levels:
        if level.images:
            which = f"{len(level.images)} images such as {level.images[0]!r}"
            faults.append(f"{which} stand in {level.name!r} beside its split folders; they are in no split")
        elif not inner[level.name]:
            sections.append(Section(level.path, level.name))
        for below in inner[level.name]:
            split = told.get(below.name, "") if told else below.split
            if not split:
                faults.append(f"folder '{level.name}/{below.name}' stands beside split folders but is none")
            sections.append(Section(below.path, level.name, split))
    return sections


def _as_told(levels: Sequence[Level], told: Mapping[str, str], faults: list[str]) -> list[Section]:
    outer = {level.name for level in levels}
    inner = {level.name: [list_level(folder) for folder in level.folders] for level in levels}
    below = {child.name for children in inner.values() for child in children}
    for name in told:
        if name not in outer | below:
            faults.append(f"--parts mentions {name!r}, which is not there.{suggest(name, outer | below)}")
    if faults:
        return []
    if set(told) <= outer:
        for level in levels:
            if level.name not in told:
                faults.append(f"folder {level.name!r} is not in --parts; name its split too, or take it away")
        return [s for level in levels if level.name in told for s in _inner(level, told[level.name], faults)]
    return _inner_splits(levels, inner, told, faults)


def _ask_if_same(levels: Sequence[Level], within: str = "") -> None:
    """Ask which folders are the classes where two or more hold the same subfolders.

    Raises:
        InputError: they do, and their names do not tell.
    """
    if any(level.images for level in levels):
        return
    names = [{folder.name.casefold(): folder.name for folder in level.folders} for level in levels]
    shared: set[str] = set()
    for first, second in combinations(names, 2):
        both = set(first) & set(second)
        if len(both) > 1:
            shared |= {first[key] for key in both}
    if not shared:
        return
    outer = [level.name for level in levels]
    if all(_SECTION.fullmatch(name) for name in shared) and not any(map(_SECTION.fullmatch, outer)):
        return
    held = describe_names(sorted(shared))
    if within:
        raise InputError(
            "Cannot tell which folders are the classes",
            needs="one level of class folders is needed",
            got=f"{describe_names(dict.fromkeys(outer))} in {within} that hold the same folders {held}",
            hint="Does each class hold these? Then name the splits: --parts train=FOLDER,test=FOLDER. "
            "Else give a CSV file with path,class,part.",
        )
    example = f"train={outer[0]},test={outer[-1]}"
    raise InputError(
        "Cannot tell which folders are the classes",
        needs="one level of class folders is needed",
        got=f"{describe_names(outer)} that hold the same folders {held}",
        hint=f"Which are {describe_names(outer)}: splits (--parts {example}), classes (--parts {NONE}), "
        f"or neither (--parts {INNER}: the classes are the folders in them)?",
    )


def _ask_if_some(levels: Sequence[Level], splits: Mapping[str, set[str]]) -> None:
    with_splits = [level.name for level in levels if len(splits[level.name] - {""}) > 1]
    others = [level.name for level in levels if "" in splits[level.name] or level.images or not level.folders]
    raise InputError(
        "Cannot tell which images are of which split",
        needs="split folders in every class folder, or in none, are needed",
        got=f"some in {describe_names(with_splits)}, and others than splits in {describe_names(others)}",
        hint=f"Is everything below a class folder of that class and of no split (--parts {NONE})?",
    )


def parse_parts(text: str) -> Mapping[str, str] | str:
    """Read ``train=01_train,test=02_test`` as folder → split; "none" and "inner" stay.

    >>> parse_parts("train=fold1,train=fold2,test=fold3")
    {'fold1': 'train', 'fold2': 'train', 'fold3': 'test'}

    Raises:
        InputError: a split is unknown, or a folder is named twice.
    """
    from georgia.labels import split_pairs

    if text.strip().lower() in (NONE, INNER):
        return text.strip().lower()
    parts: dict[str, str] = {}
    for name, folder in split_pairs(text):
        split = split_of_name(name)
        if not split or not folder or folder in parts:
            raise InputError(
                "Cannot use --parts",
                needs="split=folder pairs are needed (split: train, valid or test), each folder once",
                got=repr(text),
                hint=f"Example: train=fold1,train=fold2,test=fold3; or {NONE}, or {INNER}.",
            )
        parts[folder] = split
    return parts
