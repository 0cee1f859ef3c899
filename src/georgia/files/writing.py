"""Files written whole or not at all; a full disk is one line that says where and how much room there is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from georgia.errors import UnwritableFileError
from georgia.files.targets import IS_WINDOWS, check_target, find_parent, reject_folder

# A full disk, a user's quota, and the largest file that the file system or the user's limit allows.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Virus scanners and indexers of Windows hold a new file for moments: longer means that a program has it open.
_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_LONGEST_PREFIX = 40


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
            raise reject_folder(target, error) from error
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
    for wait_s in (*(_WAITS_S if IS_WINDOWS else ()), None):
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


def _tell_room(target: Path) -> str:
    folder = find_parent(target)
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


def write_text(target: Path, text: str) -> None:
    r"""Write UTF-8 text whole or not at all.

    A file name need not be UTF-8: a CSV table keeps its bytes, so that the file is found again; elsewhere
    they become escapes (``\udcb5``), which JSON reads back and a person sees.
    """
    errors = "surrogateescape" if target.suffix == ".csv" else "backslashreplace"
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors, newline="\n")


def write_bytes(target: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_json(target: Path, document: Any, indent: int | None = 2) -> None:
    """Write a JSON document whole or not at all, in UTF-8, one line break at its end."""
    write_text(target, json.dumps(document, indent=indent, ensure_ascii=False) + "\n")
