"""One process at a time writes an output, or in a folder; who holds it is said."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from georgia.errors import InputError, UnwritableFileError
from georgia.files.targets import reject_folder, tell_reason

# Where Windows locks one byte of a lock file: behind its text, which others must be able to read.
_LOCKED_BYTE = 1 << 20


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
            if not (isinstance(error, PermissionError) and os.path.lexists(self.path)):
                raise reject_folder(target, error) from error
            # A user's killed process left it, and another user comes.
            raise UnwritableFileError(
                f"Cannot write {str(target)!r}",
                needs=f"its lock file {str(self.path)!r} must be writable",
                got=tell_reason(error, self.path),
                hint="If no process of another user writes there, delete that file; or name another output.",
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
