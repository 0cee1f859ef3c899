"""Files of ours: written whole or not at all, read with one clear line, kept in one cache folder."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cache
from pathlib import Path, PureWindowsPath
from types import UnionType
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from georgia.errors import InputError, UnwritableFileError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
CACHE_VARIABLE = "GEORGIA_CACHE"
# A full disk, a user's quota, and the largest file that the file system or the user's limit allows.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Source: learn.microsoft.com/windows/win32/fileio/naming-a-file, "Naming conventions".
_DEVICES = {
    *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "123456789¹²³"),
}
# The same source; a colon would name a stream of the file.
_FORBIDDEN_SIGNS = frozenset('<>:"|?*')
# Source: learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation.
_LONGEST_WINDOWS_PATH = 259
_IS_WINDOWS = os.name == "nt"
# Virus scanners and indexers of Windows hold a new file for moments: longer means that a program has it open.
_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_LONGEST_PREFIX = 40
_LONGEST_REASON = 300
# Catalogs that audit, split and train write under the same name as those that they read.
_REPLACED_TABLES = ("audit.csv", "split.csv")
# What reading a damaged document raises, of JSON, CSV, TOML, npz or zip: bytes that lie make a reader fail in
# any of its parts, and one that says how much it needs may ask for more memory than there is.
DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
    *(OverflowError, MemoryError, SyntaxError),
    *(csv.Error, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
# Where Windows locks one byte of a lock file: behind its text, which others must be able to read.
_LOCKED_BYTE = 1 << 20


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` (same suffix); rename it into place on success.

    Raises:
        UnwritableFileError: the folder cannot be made or written to, the target is a folder, no name for a
            file, protected or open elsewhere, or the disk is full; the old file stays as it was.
        OSError: the system fails otherwise; the old file stays as it was.
    """
    check_target(target)
    with naming_full_disk(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Names have an end: a long one must not become too long by what is added.
            prefix = f".{target.stem[:_LONGEST_PREFIX]}-"
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
        except OSError as error:
            if is_full_disk(error):
                raise
            raise UnwritableFileError(
                f"Cannot write {str(target)!r}",
                needs="its folder must take files",
                got=tell_reason(error, target),
                hint="Name another.",
            ) from error
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files for the owner only; give the usual mode instead.
            mask = os.umask(0)
            os.umask(mask)
            with suppress(PermissionError):  # a mounted network folder may have no modes
                temporary.chmod(0o666 & ~mask)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            _move_into_place(temporary, target)
        finally:
            with suppress(PermissionError):  # a scanner of Windows holds it
                temporary.unlink(missing_ok=True)


def _move_into_place(temporary: Path, target: Path) -> None:
    for wait_s in (*(_WAITS_S if _IS_WINDOWS else ()), None):
        try:
            temporary.replace(target)
        except PermissionError as error:
            if wait_s is None:
                raise UnwritableFileError(
                    f"Cannot write {str(target)!r}",
                    needs="it must not be protected, nor open in another program",
                    got=error.strerror or str(error),
                    hint="Close it there, and run the same command again.",
                ) from error
            time.sleep(wait_s)
        else:
            return


def _is_held(target: Path) -> bool:
    """Return whether Windows would not let a file be replaced: a program such as Excel has it open."""
    try:
        with target.open("rb+"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


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
    elif not os.access(_find_parent(target), os.W_OK):
        fault = ("its folder must take files", "one that is protected")
    elif _IS_WINDOWS and _is_held(target):
        fault = ("it must not be protected, nor open in another program", "one that is")
    else:
        return
    raise UnwritableFileError(
        f"Cannot write {str(target)!r}", needs=fault[0], got=fault[1], hint="Name another."
    )


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
    if _IS_WINDOWS and isinstance(error, FileNotFoundError):
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


@contextmanager
def naming_full_disk(target: Path, hint: str = "Free some and run the same command again.") -> Iterator[None]:
    """Turn what a full disk raises into one line that names the file and the room that there is.

    Raises:
        UnwritableFileError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UnwritableFileError) or not is_full_disk(error):
            raise
        raise UnwritableFileError(
            f"Cannot write {str(target)!r}",
            needs="more room on its disk is needed",
            got=_tell_room(target),
            hint=hint,
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error says that the disk is full; libraries hide the system's error in theirs."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(os.strerror(number) in str(error) for number in _FULL)


def _find_parent(target: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    parents = target.absolute().parents
    return next((folder for folder in parents if os.path.isdir(folder)), parents[-1])  # noqa: PTH112


def _tell_room(target: Path) -> str:
    folder = _find_parent(target)
    return f"{shutil.disk_usage(folder).free:,} bytes in {str(folder)!r}"


def allocate(path: Path) -> None:
    """Give a file of holes the room that it will need; a full disk would end the process at a later write.

    Raises:
        UnwritableFileError: the disk has not so much room; the file is taken away.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with naming_full_disk(path), path.open("rb+") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except UnwritableFileError:
        path.unlink(missing_ok=True)
        raise
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def read_plain_text(path: Path) -> str:
    """Return a text file in UTF-8, or in UTF-16 where it begins with the mark of that.

    Windows editors and PowerShell begin a file with a byte order mark; it is no part of the text.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def write_text(target: Path, text: str) -> None:
    r"""Write UTF-8 text whole or not at all.

    A file name need not be UTF-8: a CSV table keeps its bytes, so that the file is found again; elsewhere
    they become escapes (``\udcb5``), which JSON reads back and a person sees.
    """
    errors = "surrogateescape" if target.suffix == ".csv" else "backslashreplace"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors, newline="\n")


def read_table(path: Path) -> str:
    """Return the text of a CSV table that ``write_text`` wrote, line breaks in its cells as they are."""
    return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")


class OutputLock:
    """An output that one process writes, marked by ``<output>.lock``, which names the process.

    The mark of a folder that is there lies in it: ``<folder>/.lock``.

    The system's file lock decides and ends with the process, so what a killed one left is taken over. Only
    a file that another machine left is not: whether its process lives is not known here.

    Raises:
        InputError: another process, or another run in this one, holds the output; the message names it.
        UnwritableFileError: the folder cannot be written to.
    """

    def __init__(self, target: Path) -> None:
        self._pid = os.getpid()
        self.path = target / ".lock" if target.is_dir() else target.with_name(target.name + ".lock")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._take(target)
        except InputError:
            raise
        except OSError as error:
            raise UnwritableFileError(
                f"Cannot write {str(target)!r}",
                needs="its folder must take files",
                got=tell_reason(error, target),
                hint="Name another.",
            ) from error

    def __del__(self) -> None:
        # A run that was never consumed; a fork of this process releases nothing.
        if hasattr(self, "_stream") and self._pid == os.getpid():
            self.release()

    def release(self) -> None:
        """Let others write the output."""
        if self._stream.closed:
            return
        if os.name == "nt":  # an open file cannot be removed there
            self._stream.close()
        self.path.unlink(missing_ok=True)
        self._stream.close()

    def _take(self, target: Path) -> IO[str]:
        while True:
            stream = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")
            is_free = _lock_file(stream.fileno())
            holder = _read_holder(stream)
            if is_free is False or _may_live(holder, knows_locks=is_free is not None):
                stream.close()
                self._reject(target, holder)
            try:
                if os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                    break
            except FileNotFoundError:
                pass
            stream.close()  # its holder removed the file just now: take the next one
        stream.seek(0)
        stream.truncate()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        json.dump({"pid": self._pid, "host": socket.gethostname(), "since": since}, stream)
        stream.flush()
        return stream

    def _reject(self, target: Path, holder: dict[str, Any]) -> None:
        who = "process {pid} on {host}, since {since}".format_map(
            {"pid": "?", "host": "?", "since": "just now", **holder}
        )
        is_here = holder.get("host", socket.gethostname()) == socket.gethostname()
        end = "Wait for it" if is_here else f"If that process has ended, delete {str(self.path)!r}"
        raise InputError(
            f"Cannot write {str(target)!r}",
            needs="one process at a time may write it",
            got=who,
            hint=f"{end}, or name another output.",
        )


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a folder and let no other process write it meanwhile; one that stays empty is removed again.

    Raises:
        InputError: ``folder`` is a file, or another process holds it; the message names the process.
        UnwritableFileError: the folder cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"Cannot write to {str(folder)!r}", needs="a folder is needed", got="a file")
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFileError(
            f"Cannot make the folder {str(folder)!r}",
            needs="it must be writable",
            got=tell_reason(error, folder),
            hint="Name another.",
        ) from error
    lock = OutputLock(folder)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            for place in made:
                place.rmdir()


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


def _lock_file(descriptor: int) -> bool | None:
    """Lock an open file; return False if another has it locked, None where the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _read_holder(stream: IO[str]) -> dict[str, Any]:
    try:
        values = json.loads(stream.read())
    except ValueError:  # not yet written, or cut off
        return {}
    return values if isinstance(values, dict) else {}


def _may_live(holder: dict[str, Any], knows_locks: bool) -> bool:
    """Return whether the process that a lock file names may still run, though nobody has the file locked."""
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    if knows_locks or os.name == "nt":
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except (KeyError, TypeError, ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_bytes(target: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_json(target: Path, document: Any, indent: int | None = 2) -> None:
    """Write a JSON document whole or not at all, in UTF-8, one line break at its end."""
    write_text(target, json.dumps(document, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Return a JSON document; use it inside ``reading``, which says what is wrong with it."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def reading(what: str, needs: str, hint: str = "") -> Iterator[None]:
    """Turn what a missing or damaged document raises while it is read into one line.

    >>> with reading("Cannot read the run", "a run.json of ours is needed"):
    ...     {}["classes"]
    Traceback (most recent call last):
    georgia.errors.InputError: Cannot read the run: a run.json of ours is needed; got 'classes'.

    Raises:
        InputError: the file cannot be read, is no JSON, or holds something else.
    """
    try:
        yield
    except DAMAGE as error:
        raise InputError(what, needs=needs, got=_in_one_line(error), hint=hint) from error


def check_fields(record: T) -> T:
    """Return a dataclass whose fields hold what they say; a document's values may be anything.

    Whole numbers do for ``float``, which must be finite.

    Raises:
        TypeError: a field holds something else.
    """
    for name, hint in _list_hints(type(record)):
        value = getattr(record, name)
        if not _fits(value, hint):
            raise TypeError(f"{value!r:.80} as {name}")
    return record


@cache
def _list_hints(kind: type) -> list[tuple[str, Any]]:
    hints = get_type_hints(kind)
    return [(field.name, hints[field.name]) for field in fields(kind)]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if hint in (int, float):
        is_number = isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max
    return isinstance(value, origin or hint)


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:_LONGEST_REASON] + "…" if len(text) > _LONGEST_REASON else text or type(error).__name__


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
