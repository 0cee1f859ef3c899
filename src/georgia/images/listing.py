"""Files below folders in natural order: one walk, with the names of one folder in memory at a time."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from georgia.errors import InputError
from georgia.files import tell_reason
from georgia.images.containers import is_image_name
from georgia.images.other_files import OtherFiles
from georgia.records import split_window

# What systems put beside images; names that start with a dot are left out as well.
SYSTEM_NAMES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
        *("__macosx", "temporary items", "network trash folder"),
        *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "found.000", "lost+found"),
        "__pycache__",
    )
)
_DIGITS = re.compile("[0-9]+")
# "**" as a whole component of a glob.
_ALL_BELOW = re.compile(r"(?:(?<=/)|^)\*\*(?:/+|$)" if os.sep == "/" else r"(?:(?<=[/\\])|^)\*\*(?:[/\\]+|$)")


def natural_key(text: str) -> str:
    """Return a sort key that puts "CEX (2)" before "CEX (10)", whatever the case.

    >>> sorted(["b (10)", "B (2)", "b", "10", "9"], key=natural_key)
    ['9', '10', 'b', 'B (2)', 'b (10)']
    """
    # A number sorts by its length, then its digits; the text itself decides between "007" and "7".
    return f"{_DIGITS.sub(_pad_number, text.casefold())}\0\0{text}"


def _pad_number(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0")
    return f"\0{chr(len(digits) + 1)}{digits}"


def is_system_name(name: str) -> bool:
    """Return whether a file or folder was made by a system, not by the user: hidden, Thumbs.db …"""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_names(folder: Path, is_wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Return the names of files and subfolders (with "/" at the end) in natural order, no system names.

    Raises:
        InputError: the folder cannot be listed.
    """
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_system_name(entry.name):
                    continue
                if entry.is_dir():
                    names.append(entry.name + "/")
                elif is_wanted(entry.name):
                    names.append(entry.name)
    except OSError as error:
        raise InputError(
            f"Cannot list folder {str(folder)!r}", needs="it must be readable", got=tell_reason(error, folder)
        ) from error
    names.sort(key=natural_key)
    return names


class Links:
    """Which links to folders a walk follows: each real folder once, and none of those that it visits anyway.

    ``roots`` are folders that are walked whole. ``passed`` holds the links that were not followed.
    """

    def __init__(self, *roots: Path) -> None:
        self._roots = {os.path.realpath(root) for root in roots}
        self._followed: set[str] = set()
        self.passed: list[Path] = []

    def may_enter(self, folder: Path) -> bool:
        """Tell whether a subfolder is to be walked; a linked one is remembered."""
        if not _is_link(folder):
            # A real folder was visited before only where a link led into it.
            return not self._followed or os.path.realpath(folder) not in self._followed
        place = os.path.realpath(folder)
        leads_back = any(_is_below(place, root) or _is_below(root, place) for root in self._roots)
        if leads_back or any(_is_below(place, other) for other in self._followed):
            self.passed.append(folder)
            return False
        self._followed.add(place)
        return True


def _is_link(folder: Path) -> bool:
    # A junction of Windows is no symbolic link. Source: IO_REPARSE_TAG_MOUNT_POINT.
    return folder.is_symlink() or getattr(folder.lstat(), "st_reparse_tag", 0) == 0xA0000003


def _is_below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def walk_files(
    folder: Path,
    is_wanted: Callable[[str], bool] = lambda _: True,
    links: Links | None = None,
    is_left_out: Callable[[Path], bool] = lambda _: False,
) -> Iterator[Path]:
    """Yield the files below a folder in natural order of their relative paths.

    A linked folder is followed where ``links`` says so; a subfolder that ``is_left_out`` is not entered.

    Raises:
        InputError: a folder cannot be listed.
    """
    links = links or Links(folder)
    for name in list_names(folder, is_wanted):
        path = folder / name
        if not name.endswith("/"):
            yield path
        elif links.may_enter(path) and not is_left_out(path):
            yield from walk_files(path, is_wanted, links, is_left_out)


def list_files(folder: Path) -> list[Path]:
    """Return ``walk_files`` as a list."""
    return list(walk_files(folder))


class FoundImages(Iterable[Path]):
    """The image files that files, folders (searched to the bottom) and globs name, found anew at each pass.

    A file that is named is taken whatever its suffix, and a name that exists is never a glob: ``a[1].png``
    is that file. Each file comes once; each source's files come in natural order. Only the
    names of one folder, and files that the sources name themselves, are in memory. ``others`` holds what
    the last whole pass met besides.

    Raises:
        InputError: a source names nothing, all such sources in one message, or a folder cannot be listed.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        # A folder stays a path, to be walked; of other sources the files are kept.
        self._sources: list[Path | list[Path]] = []
        self._others_named, self.others = OtherFiles(), OtherFiles()
        faults = []
        for source in sources:
            path, others = Path(source), OtherFiles()
            found: Path | list[Path] = path if path.is_dir() else _list_named(source, others)
            self._sources.append(found)
            self._others_named.join(others)
            if next(iter(_files_of(found, others)), None) is None:
                faults.append(f"{str(source)!r}{f' with {others.describe()}' if len(others) else ''}")
        if faults:
            raise InputError(
                "Found no images",
                needs="an image file, a folder with images or a glob that matches some is needed",
                got=", ".join(faults),
            )

    def __iter__(self) -> Iterator[Path]:
        met: dict[PurePath, OtherFiles] = {}
        yield from self._find(met)
        others = OtherFiles()
        others.join(self._others_named)
        for place, found in met.items():
            if not any(place.is_relative_to(other) for other in met if other != place):
                others.join(found)
        self.others = others

    def _find(self, met: dict[PurePath, OtherFiles]) -> Iterator[Path]:
        """Yield the files; what stands beside them in each folder that is walked goes into ``met``."""

        def walk(source: Path | list[Path]) -> Iterable[Path]:
            others = OtherFiles()
            if isinstance(source, Path):
                met[PurePath(_place_of(source))] = others
            return _files_of(source, others)

        if len(self._sources) == 1:
            yield from walk(self._sources[0])
            return
        known: set[str] = set()
        folders: list[PurePath] = []
        for source in self._sources:
            for path in walk(source):
                place = _place_of(path)
                if place not in known and not any(_holds(folder, PurePath(place)) for folder in folders):
                    yield path
                if not isinstance(source, Path):
                    known.add(place)
            if isinstance(source, Path):
                folders.append(PurePath(_place_of(source)))

    def __len__(self) -> int:
        """Return their number now, by a pass of its own."""
        return sum(1 for _ in self)


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """Return ``FoundImages`` as a list.

    Raises:
        InputError: a source names nothing; all such sources in one message.
    """
    # list() would ask for the length, which takes a pass of its own.
    return list(iter(FoundImages(sources)))


def _files_of(source: Path | list[Path], others: OtherFiles) -> Iterable[Path]:
    return walk_files(source, others.is_image) if isinstance(source, Path) else source


def _place_of(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links stay apart


def _holds(folder: PurePath, place: PurePath) -> bool:
    """Tell whether walking the folder has yielded this file."""
    if not place.is_relative_to(folder) or not is_image_name(place.name):
        return False
    return not any(is_system_name(part) for part in place.relative_to(folder).parts)


def _list_named(source: str | Path, others: OtherFiles) -> list[Path]:
    """Return the file of that name, or what a glob matches, each file once; count others that it matches."""
    if Path(source).exists() or split_window(source)[0].is_file():
        return [Path(source)]
    found: dict[str, Path] = {}
    for match in sorted(set(_expand(str(source))), key=natural_key):
        path = Path(match)
        for file in walk_files(path) if path.is_dir() else [path]:
            found.setdefault(str(Path(os.path.realpath(file.parent), file.name)), file)
    return [file for file in found.values() if others.is_image(file.name)]


def _expand(pattern: str) -> Iterator[str]:
    """Yield what a glob matches; "**" visits each real folder once, though links may run in circles."""
    recursive = _ALL_BELOW.search(pattern)
    if recursive is None:
        yield from glob.iglob(pattern)  # noqa: PTH207 - absolute too
        return
    before, rest = pattern[: recursive.start()], pattern[recursive.end() :]
    for base in glob.glob(before) if before else [""]:  # noqa: PTH207
        folder = Path(base)
        if not folder.is_dir():
            continue
        if not rest:
            yield str(folder)
            continue
        for below in _walk_folders(folder, Links(folder)):
            start = "" if below == Path() else glob.escape(str(below)).rstrip(os.sep) + os.sep
            yield from _expand(start + rest)


def _walk_folders(folder: Path, links: Links) -> Iterator[Path]:
    yield folder
    for name in list_names(folder, lambda _: False):
        if links.may_enter(folder / name):
            yield from _walk_folders(folder / name, links)
