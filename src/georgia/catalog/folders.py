"""Class folders and split folders → labelled images; ``read.py`` describes the layouts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from georgia.catalog.layout import Level, Section, find_sections, list_level, split_of_name
from georgia.images.containers import SUFFIXES, holds_image, tell_other_suffix
from georgia.images.listing import Links, list_names, walk_files
from georgia.images.other_files import OtherFiles, is_sidecar_name
from georgia.records import Failure, Record
from georgia.text import count_noun, describe_names

__all__ = ["SourceContents", "find_result_file", "read_folder", "split_of_name"]

# What Georgia writes into a folder of results, which holds no class: files that stand there together.
_RESULT_FILES = (
    *(("bundle.json",), ("evaluation.json",), ("explain.json",), ("cluster.json",), ("state/plan.json",)),
    *(("audit.json", "audit.csv"), ("split.json", "split.csv"), ("study.csv", "study.html")),
)


@dataclass
class SourceContents:
    """What a source holds, before names are mapped and images read: ``class_name`` is as given there.

    ``notes`` say what was passed over or understood in a way that one should know of.
    """

    records: list[Record] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    class_folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_result_file(folder: Path) -> str:
    """Return the file that tells that a folder holds results of Georgia, or an empty text."""
    # Path.is_file raises where the folder is closed; listing it says so in words of its own.
    found = (
        names[0]
        for names in _RESULT_FILES
        if all(os.path.isfile(folder / name) for name in names)  # noqa: PTH113
    )
    return next(found, "")


def read_folder(root: Path, parts: Mapping[str, str] | str | None = None) -> SourceContents:
    """Return the images below a folder with the names of their class folders.

    Raises:
        InputError: a folder cannot be listed, or it cannot be told which level holds the classes.
    """
    found = SourceContents()
    results: list[str] = []
    level = list_level(root)
    while len(level.folders) == 1 and not level.images and not list_level(level.folders[0]).split:
        below = list_level(level.folders[0])
        if not below.folders:
            break
        level = below
    children = []
    for folder in level.folders:
        marker = find_result_file(folder) if len(level.folders) > 1 else ""
        if marker:
            results.append(f"{folder.name}/{marker}")
        else:
            children.append(list_level(folder))
    sections = find_sections(children, parts, found.faults)
    _read_sections(sections, Links(root, level.path), results, found)
    _reject_stray(level, bool(children), found)
    _tell_stray(sections, level.path, found)
    if results:
        what = "folders that hold" if len(results) > 1 else "a folder that holds"
        found.notes.append(f"passed over {what} results of Georgia: {describe_names(results)}")
    return found


def _read_sections(sections: list[Section], links: Links, results: list[str], found: SourceContents) -> None:
    n_sidecars = 0

    def is_result(folder: Path) -> bool:
        marker = find_result_file(folder)
        if marker:
            results.append(f"{folder.name}/{marker}")
        return bool(marker)

    for section in sections:
        found.class_folders.append(section.class_name)
        if not links.may_enter(section.path):
            found.faults.append(f"folder {section.path.name!r} is a link to a folder that is read anyway")
            continue
        paths = list(walk_files(section.path, links=links, is_left_out=is_result))
        images = [path for path in paths if path.suffix.lower() in SUFFIXES]
        # What has an image's name describes it: a.json, or a.png.json, beside a.png.
        described = {path.with_suffix("") for path in images} | set(images)
        for path in paths:
            if path.suffix.lower() in SUFFIXES:
                found.records.append(Record(path, section.class_name, split=section.split))
            elif is_sidecar_name(path.name) and path.with_suffix("") in described and not holds_image(path):
                n_sidecars += 1
            else:
                found.failures.append(Failure(path, tell_other_suffix(path)))
    if n_sidecars:
        n_files = count_noun(n_sidecars, "sidecar file")
        found.notes.append(f"passed over {n_files} (such as annotations) of images in class folders")
    if links.passed:
        n_links = count_noun(len(links.passed), "linked folder")
        found.notes.append(
            f"passed over {n_links} that lead back to folders read before, such as {str(links.passed[0])!r}"
        )


def _reject_stray(level: Level, has_folders: bool, found: SourceContents) -> None:
    if not level.images:
        return
    if has_folders:
        which = f"{len(level.images)} images such as {level.images[0]!r}"
        found.faults.append(f"{which} stand in {level.name!r} beside class folders; they belong to no class")
    else:
        found.faults.append(f"{level.name!r} holds {len(level.images)} images and no class folders")


def _tell_stray(sections: list[Section], root: Path, found: SourceContents) -> None:
    """Note what stands beside class folders and could be taken for images that are read."""
    above = {folder for section in sections for folder in section.path.parents if folder.is_relative_to(root)}
    others = OtherFiles()
    for folder in sorted(above or {root}):
        for name in list_names(folder):
            if not name.endswith("/"):
                others.is_read(name)
    if not len(others):
        return
    if sections:
        found.notes.append(f"passed over {others.describe()} beside class folders: they belong to no class")
    else:
        found.faults.append(f"{root.name!r} holds {others.describe()} and no class folders")
