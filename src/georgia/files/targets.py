"""Where a file of ours can be made, and where not: names, protected folders, folders of data, the cache."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from georgia.errors import InputError, UnwritableFileError

CACHE_VARIABLE = "GEORGIA_CACHE"
# Source: learn.microsoft.com/windows/win32/fileio/naming-a-file, "Naming conventions".
_DEVICES = {
    *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "123456789¹²³"),
}
# The same source; a colon would name a stream of the file.
_FORBIDDEN_SIGNS = frozenset('<>:"|?*')
# Source: learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation.
_LONGEST_WINDOWS_PATH = 259
IS_WINDOWS = os.name == "nt"
# Catalogs that audit, split and train write under the same name as those that they read.
_REPLACED_TABLES = ("audit.csv", "split.csv")


def check_target(target: Path) -> None:
    """Reject a target that no file can be made at; commands ask before any work.

    Raises:
        UnwritableFileError: it is a folder, the name of a device, lies where nothing can be written, or is
            open in another program on Windows.
    """
    if os.path.isdir(target):  # noqa: PTH112 - Path.is_dir raises for a name too long
        fault = ("it must be a file", "a folder")
    elif os.name == "nt" and is_device_name(target.name):
        fault = ("another name is needed", "the name of a device")
    elif os.name == "nt" and has_forbidden_sign(target.name):
        fault = ('a name without the signs < > : " | ? * is needed', repr(target.name))
    elif not os.access(find_parent(target), os.W_OK):
        fault = ("its folder must take files", "one that is protected")
    elif IS_WINDOWS and _is_held(target):
        fault = ("it must not be protected, nor open in another program", "one that is")
    else:
        return
    raise UnwritableFileError(
        f"Cannot write {str(target)!r}", needs=fault[0], got=fault[1], hint="Name another."
    )


def _is_held(target: Path) -> bool:
    """Return whether Windows would not let a file be replaced: a program such as Excel has it open."""
    try:
        with target.open("rb+"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def find_parent(target: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    parents = target.absolute().parents
    return next((folder for folder in parents if os.path.isdir(folder)), parents[-1])  # noqa: PTH112


def check_apart(outputs: Mapping[str, str | Path | None]) -> None:
    """Reject two outputs, by what names each, that are one file: the one would damage the other.

    Raises:
        InputError: two of them are the same file.

    >>> check_apart({"--log-file": "run.log", "db": "run.db", "anchor": None})
    """
    known: dict[str, str] = {}
    for name, path in outputs.items():
        if not path:
            continue
        place = os.path.normcase(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111
        for other in known:
            with suppress(OSError):  # one of them may not be there yet
                place = other if os.path.samefile(place, other) else place  # noqa: PTH121
        if place in known:
            raise InputError(
                f"Cannot write {known[place]} and {name}",
                needs="each needs a file of its own",
                got=f"{str(path)!r} for both",
                hint="Name another for one of them.",
            )
        known[place] = name


def check_outside_data(out: Path, *sources: str | Path) -> None:
    """Reject an output within a folder of images: the next reading would take it for images or a class.

    A source that is no folder (a CSV file, an image) rules nothing out, but a table of ours in ``out`` that
    would be replaced; of a glob with ``**``, all below its first wildcard counts as data.

    Raises:
        InputError: ``out`` is one of the folders or lies below it, or holds the table that is read.
    """
    here = out.resolve()
    for source in sources:
        before, stars, _ = str(source).partition("**")
        root = Path(before + "_").parent if stars else Path(source)
        if root.is_dir() and here.is_relative_to(root.resolve()):
            raise InputError(
                f"Cannot write to {str(out)!r}",
                needs=f"it must not lie in the data folder {str(root)!r}, where it would be read as data",
                got=repr(str(here)),
                hint="Name a folder beside it.",
            )
        if root.name in _REPLACED_TABLES and root.is_file() and root.resolve().parent == here:
            raise InputError(
                f"Cannot write to {str(out)!r}",
                needs=f"{root.name}, which is read, must not be replaced",
                got="the folder that holds it",
                hint="Name another folder.",
            )


def check_new_folder(out: Path, *own: str) -> None:
    """Reject a folder that holds something else than ``own``: among images, ours would be classes.

    Raises:
        InputError: ``out`` is a file, or holds files or folders of other names.
    """
    held = sorted(path.name for path in out.iterdir() if path.name not in own) if out.is_dir() else []
    if out.exists() and (held or not out.is_dir()):
        raise InputError(
            f"Cannot write to {str(out)!r}",
            needs="a new or empty folder is needed",
            got=held[0] if held else "a file",
            hint="Name another --out.",
        )


def reject_folder(target: Path, error: OSError) -> UnwritableFileError:
    """Return the error that says why nothing can be written where a target lies."""
    return UnwritableFileError(
        f"Cannot write {str(target)!r}",
        needs="its folder must take files",
        got=tell_reason(error, target),
        hint="Name another.",
    )


def tell_reason(error: OSError, path: str | Path) -> str:
    """Return why the system rejects a path, also where Windows calls one missing that is too long for it."""
    if is_path_too_long(error, path) and error.errno != errno.ENAMETOOLONG:
        return (
            f"a path longer than the {_LONGEST_WINDOWS_PATH} characters that Windows takes unless its "
            "setting LongPathsEnabled is on"
        )
    return error.strerror or str(error)


def is_path_too_long(error: OSError, path: str | Path) -> bool:
    """Return whether a path is too long for the system; Windows says that there is no such file."""
    if IS_WINDOWS and isinstance(error, FileNotFoundError):
        return len(str(Path(path).absolute())) > _LONGEST_WINDOWS_PATH
    return error.errno == errno.ENAMETOOLONG


def is_device_name(name: str) -> bool:
    """Return whether Windows keeps a file name for a device, whatever its suffix.

    >>> is_device_name("con.csv"), is_device_name("NUL "), is_device_name("console.csv")
    (True, True, False)
    """
    return PureWindowsPath(name).name.partition(".")[0].rstrip(" ").upper() in _DEVICES


def has_forbidden_sign(name: str) -> bool:
    """Return whether a file name holds a sign that Windows allows in none.

    >>> has_forbidden_sign("5 µm?"), has_forbidden_sign("α-form (2).csv")
    (True, False)
    """
    return bool(_FORBIDDEN_SIGNS & {*name}) or min(name, default=" ") < " "


def find_cache_folder() -> Path:
    """Return the folder for what can be made again: GEORGIA_CACHE, else the system's place for a user."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "georgia"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "georgia"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "georgia"
