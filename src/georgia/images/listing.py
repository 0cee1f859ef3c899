"""Image files one by one, in natural order, without a list of them all in memory."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from georgia.errors import InputError
from georgia.images.containers import (
    is_image_name,
)

_DIGITS = re.compile("[0-9]+")


class FoundImages:
    """What ``find_images`` lists, in its order, found anew at each pass: folder after folder.

    Only the names of one folder, and files that the sources name themselves, are in memory.

    Raises:
        InputError: a source names nothing, all such sources in one message; while iterating: a
            folder cannot be listed.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        self._sources = list(sources)
        self._named: dict[str | Path, list[Path]] = {}
        is_faulty = False
        for source in sources:
            try:
                found = next(_walk(Path(source)), None) if Path(source).is_dir() else find_images([source])
            except InputError:
                found = None
            is_faulty |= not found
            if isinstance(found, list):
                self._named[source] = found
        if is_faulty:
            find_images(sources)  # raises, with what is wrong in all of them

    def __iter__(self) -> Iterator[Path]:
        return _chain(self._sources, self._named)

    def __len__(self) -> int:
        """Return their number now, by a pass of its own."""
        return sum(1 for _ in self)


def _chain(sources: Sequence[str | Path], named: Mapping[str | Path, list[Path]]) -> Iterator[Path]:
    if len(sources) == 1:
        yield from named.get(sources[0]) or _walk(Path(sources[0]))
        return
    seen: set[str] = set()
    folders: list[PurePath] = []
    for source in sources:
        for path in named.get(source) or _walk(Path(source)):
            place = os.path.abspath(path)  # noqa: PTH100 - links stay apart
            if place not in seen and not any(_holds(folder, PurePath(place)) for folder in folders):
                yield path
            if source in named:
                seen.add(place)
        if source not in named:
            folders.append(PurePath(os.path.abspath(source)))  # noqa: PTH100 - links stay apart


def _holds(folder: PurePath, place: PurePath) -> bool:
    """Tell whether walking the folder has yielded this file."""
    if not place.is_relative_to(folder) or not is_image_name(place.name):
        return False
    return not any(is_system_name(part) for part in place.relative_to(folder).parts)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the image files below a folder in natural order of their relative paths."""
    for name in _list_names(folder):
        if name.endswith("/"):
            yield from _walk(folder / name)
        else:
            yield folder / name


def _list_names(folder: Path) -> list[str]:
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_system_name(entry.name):
                    continue
                if entry.is_dir():
                    if not entry.is_symlink():
                        names.append(entry.name + "/")
                elif is_image_name(entry.name):
                    names.append(entry.name)
    except OSError as error:
        raise InputError(
            f"Cannot list folder {str(folder)!r}", needs="it must be readable", got=error.strerror
        ) from error
    names.sort()
    names.sort(key=compact_key)
    return names


def compact_key(name: str) -> str:
    """Return a string that sorts as ``natural_key`` does, in a tenth of the memory.

    >>> sorted(["b (10)", "b (2)", "b", "10", "9"], key=compact_key)
    ['9', '10', 'b', 'b (2)', 'b (10)']
    """
    return _DIGITS.sub(_pad_number, name.casefold())


def _pad_number(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0")
    return f"\0{chr(len(digits) + 1)}{digits}"


# What systems put beside images; names that start with a dot are left out as well.
SYSTEM_NAMES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"))


def natural_key(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that puts "CEX (2)" before "CEX (10)", whatever the case.

    >>> sorted(["b (10)", "B (2)", "a"], key=natural_key)
    ['a', 'B (2)', 'b (10)']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", text.casefold())
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts], text


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is put there by a system, not by the user: hidden, Thumbs.db…"""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder in natural order, without what systems put there.

    Raises:
        InputError: a folder cannot be listed.
    """
    found: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not is_system_name(name)]
        found.extend(Path(root, name) for name in files if not is_system_name(name))
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def _refuse_folder(error: OSError) -> None:
    raise InputError(
        f"Cannot list folder {error.filename!r}", needs="it must be readable", got=error.strerror
    ) from error


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """Return the image files that files, folders (searched to the bottom) and globs name.

    A file that is named stands as it is, whatever its suffix, and a name that exists is never a glob:
    ``a[1].png`` is that file. Each file comes once; each source's files come in natural order.

    Raises:
        InputError: a source names nothing; all such sources in one message.
    """
    found: dict[str, Path] = {}
    faults = []
    for source in sources:
        files = _find_source(source)
        if not files:
            faults.append(repr(str(source)))
        for path in files:
            found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - links stay apart
    if faults:
        raise InputError(
            "Found no images",
            needs="an image file, a folder with images or a glob that matches some is needed",
            got=", ".join(faults),
        )
    return list(found.values())


def _find_source(source: str | Path) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return [file for file in list_files(path) if is_image_name(file.name)]
    if path.exists():
        return [path]
    pattern = str(source)
    matches = sorted(glob.glob(pattern, recursive=True), key=natural_key)  # noqa: PTH207 - absolute ones too
    files: list[Path] = []
    for match in map(Path, matches):
        if match.is_dir():
            files.extend(file for file in list_files(match) if is_image_name(file.name))
        elif is_image_name(match.name):
            files.append(match)
    return files
