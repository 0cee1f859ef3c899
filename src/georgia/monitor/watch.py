"""A folder that an instrument writes to: which files are whole and new, and their pixels.

The folder is polled: file events fail in network folders and hand over half-written files. A file is ready
once its size and time of change are the same in two polls. Times of change are only compared with one
another, never with this computer's clock, which may jump.
"""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from georgia.errors import UnreadableImageError
from georgia.images.containers import SUFFIXES
from georgia.images.decode import Image, decode_image
from georgia.images.listing import is_system_name, natural_key
from georgia.monitor.result import FileKey

# Files that were dealt with are measured again only in every so many polls: an instrument seldom writes
# over an old name, and each file measured costs a call over the network.
RECHECK_POLLS = 30
# No probe's frame has more; Source: 24,000 × 4,000 px line-scan images, rounded up.
MAX_FRAME_PIXELS = 100_000_000
# Frames held ahead: one to analyse next and one that is being read.
_DEPTH = 2
# A folder that has not responded for so long is "away", though it raised no error.
HANGS_AFTER_S = 20.0


@dataclass(frozen=True)
class Poll:
    """What one poll of the folder found: whole new files in the order of their times, and those that wait."""

    ready: tuple[FileKey, ...]
    n_waiting: int
    n_files: int
    error: str = ""


@dataclass(frozen=True)
class FrameFile:
    """One file that was read: its pixels and bytes, or why there are none.

    ``is_late``: the file changed or was removed while it was read, so it is no frame yet.
    """

    key: FileKey
    image: Image | None = None
    data: bytes = b""
    error: str = ""
    is_late: bool = False
    seconds: float = 0.0


class FolderWatch:
    """Polls one folder and all below it.

    Args:
        folder: where the instrument writes.
        known: (name, bytes, time of change in ns) of files that were dealt with before.
        grace_s: how long a file that cannot be read may go on as "not finished yet".
        now: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        folder: Path,
        known: Iterable[tuple[str, int, int]] = (),
        grace_s: float = 30.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._grace_s, self._now = grace_s, now
        self._settled: dict[str, set[tuple[int, int]]] = {}
        for file, size_bytes, mtime_ns in known:
            self._settled.setdefault(file, set()).add((size_bytes, mtime_ns))
        self._waiting: dict[str, tuple[int, int]] = {}
        self._failed: dict[str, tuple[int, int, float]] = {}
        self._n_polls = 0

    def poll(self) -> Poll:
        """Return what is ready now; a folder that cannot be listed is named in ``error``."""
        is_full = self._n_polls % RECHECK_POLLS == 0
        self._n_polls += 1
        waiting: dict[str, tuple[int, int]] = {}
        ready: list[FileKey] = []
        error, n_files = "", 0
        try:
            for file, size_bytes, mtime_ns in self._list(is_full):
                n_files += 1
                if (size_bytes, mtime_ns) in self._settled.get(file, ()):
                    continue
                waiting[file] = (size_bytes, mtime_ns)
                if self._waiting.get(file) == (size_bytes, mtime_ns):
                    ready.append(FileKey(file, size_bytes, mtime_ns))
        except OSError as fault:
            # What was found so far stays valid; the rest stays as it was.
            error = f"the folder cannot be read ({fault.strerror or fault})"
            waiting = {**self._waiting, **waiting}
        self._waiting = waiting
        self._failed = {file: value for file, value in self._failed.items() if file in waiting}
        ready.sort(key=lambda key: (key.mtime_ns, natural_key(key.file)))
        return Poll(tuple(ready), len(waiting) - len(ready), n_files, error)

    def _list(self, is_full: bool) -> Iterator[tuple[str, int, int]]:
        folders = [""]
        while folders:
            below = folders.pop()
            try:
                entries = os.scandir(self.folder / below)
            except OSError:
                if not below:
                    raise
                continue  # a folder below that goes away is no fault of the folder itself
            with entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if is_system_name(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name + "/")
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - no Path a file
                        found = self._measure(entry, name, is_full)
                        if found is not None:
                            yield found

    def _measure(self, entry: os.DirEntry[str], name: str, is_full: bool) -> tuple[str, int, int] | None:
        if not is_full and name in self._settled and name not in self._waiting:
            return None
        try:
            status = entry.stat()
        except OSError:
            return None  # renamed or deleted since it was listed
        return (name, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def settle(self, key: FileKey) -> None:
        """Mark a file as dealt with: it is not ready again until it changes."""
        self._settled.setdefault(key.file, set()).add((key.size_bytes, key.mtime_ns))
        self._waiting.pop(key.file, None)
        self._failed.pop(key.file, None)

    def read(self, key: FileKey) -> FrameFile:
        """Return a ready file's pixels; a file that cannot be read is late until its grace period is over."""
        started = time.perf_counter()
        result = self._read(key)
        if result.error and not result.is_late:
            size_bytes, mtime_ns, since = self._failed.get(key.file, (-1, -1, 0.0))
            if (size_bytes, mtime_ns) != (key.size_bytes, key.mtime_ns):
                since = self._now()
                self._failed[key.file] = (key.size_bytes, key.mtime_ns, since)
            if self._now() - since < self._grace_s:
                result = replace(result, is_late=True)
        return replace(result, seconds=time.perf_counter() - started)

    def _read(self, key: FileKey) -> FrameFile:
        try:
            with (self.folder / key.file).open("rb") as stream:
                data = stream.read(16 * MAX_FRAME_PIXELS)
                status = os.fstat(stream.fileno())
        except OSError as fault:
            return FrameFile(key, error=f"it went away ({fault.strerror or fault})", is_late=True)
        if (status.st_size, status.st_mtime_ns) != (key.size_bytes, key.mtime_ns) or len(
            data
        ) != status.st_size:
            return FrameFile(key, error="it changed while it was read", is_late=True)
        key = replace(key, sha256=hashlib.sha256(data).hexdigest())
        try:
            return FrameFile(key, decode_image(data, MAX_FRAME_PIXELS), data)
        except UnreadableImageError as error:
            return FrameFile(key, data=data, error=str(error))


class FrameReader:
    """Polls a folder and hands over what it reads, in order, from a thread of its own.

    A network folder that hangs stops the reading, not the monitor.
    """

    def __init__(self, watch: FolderWatch, poll_interval_s: float) -> None:
        self._watch, self._poll_interval_s = watch, poll_interval_s
        self._queue: queue.Queue[FrameFile] = queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._poll = Poll((), 0, 0)
        self._alive_at = time.monotonic()
        self._n_quiet = 0
        self.n_late = 0

    def start(self) -> None:
        """Begin to poll."""
        self._alive_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="georgia-frame-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; a thread that hangs on a network folder is left behind and ends with the program."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def take(self, timeout_s: float) -> FrameFile | None:
        """Return the next frame that was read, None where none comes in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def fault(self) -> str:
        """Return why the folder cannot be read, "" where it can."""
        silent = time.monotonic() - self._alive_at
        if silent > max(HANGS_AFTER_S, 5 * self._poll_interval_s):
            return f"the folder has not responded for {silent:.0f} s"
        return self._poll.error

    @property
    def n_waiting(self) -> int:
        """Return how many files were found and not yet handed over."""
        return self._poll.n_waiting + len(self._poll.ready)

    @property
    def is_quiet(self) -> bool:
        """Tell whether two polls in a row found nothing, and nothing is held."""
        return self._n_quiet >= 2 and self._queue.empty()

    def _work(self) -> None:
        while not self._stop.is_set():
            poll = self._watch.poll()
            self._poll, self._alive_at = poll, time.monotonic()
            for key in poll.ready:
                if not self._hand_over(self._watch.read(key)):
                    return
            is_empty = not poll.ready and not poll.n_waiting and not poll.error
            self._n_quiet = self._n_quiet + 1 if is_empty else 0
            self._stop.wait(self._poll_interval_s)

    def _hand_over(self, frame: FrameFile) -> bool:
        """Put a frame where it is taken from; return False once the reading is to stop."""
        self._alive_at = time.monotonic()
        if frame.is_late:
            self.n_late += 1
            return not self._stop.is_set()
        self._watch.settle(frame.key)
        while not self._stop.is_set():
            try:
                self._queue.put(frame, timeout=0.2)
                return True
            except queue.Full:
                self._alive_at = time.monotonic()
        return False
