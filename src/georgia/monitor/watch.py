"""A folder that an instrument writes to: which files are whole and new, and their pixels.

The folder is polled: file events fail in network folders and hand over half-written files. A file is ready
once its size and time of change are the same in two polls. Times of change are only compared with one
another, never with this computer's clock, which may jump. A name that is written over again and again
("latest.png") is checked several times between two polls.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from georgia.errors import UnreadableImageError
from georgia.images.containers import SUFFIXES
from georgia.images.decode import Image, decode_image, describe_image
from georgia.images.depth import DepthWatch
from georgia.images.listing import is_system_name, natural_key
from georgia.monitor.file_names import to_text
from georgia.monitor.health import Pulse
from georgia.monitor.result import FileKey

# Files that were dealt with are measured again only in every so many polls: an instrument seldom writes
# over an old name, and each file measured costs a call over the network.
RECHECK_POLLS = 30
# The newest files that were dealt with are measured in every poll: one of them may be written over.
_N_RECENT = 8
# Names that are written over, and checked between two polls.
_N_OVERWRITTEN = 4
# No probe's frame has more; Source: 24,000 × 4,000 px line-scan images, rounded up.
MAX_FRAME_PIXELS = 100_000_000
# A file whose end is all zeros was allocated and is not filled yet: it waits so long, and no longer.
_FILL_S = 10.0
_ZERO_BYTES = 4096
# A file that is as it was so long ago is at rest: just less than the time between two looks.
_RESTED_S = 0.09
# Missed frames are said for so long after the last one.
_MISSED_S = 10.0
# A name that has changed for so long and was never at rest cannot be read.
_RESTLESS_S = 5.0
# The system can hold no later time of change in 64 bits: the year 2262.
_LAST_NS = 2**63 - 1
_LINK = "a link to another folder is not followed; watch the place that it leads to"
# What programs call a file that is not finished.
_TEMPORARY = frozenset((".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download"))


@dataclass(frozen=True)
class Poll:
    """What one poll of the folder found: whole new files in the order of their times, and those that wait.

    ``error`` is why the folder cannot be read. ``closed`` are folders below it that are not
    read, each with the reason.
    """

    ready: tuple[FileKey, ...]
    n_waiting: int
    n_files: int
    error: str = ""
    closed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameFile:
    """One file that was read: its pixels and bytes, or why there are none.

    ``is_late``: the file changed or was removed while it was read, so it is no frame yet. ``bits`` are those
    of a sample, and ``depth`` says where only few of 16 are in use and nothing tells how many the camera has.
    """

    key: FileKey
    image: Image | None = None
    data: bytes = b""
    error: str = ""
    is_late: bool = False
    seconds: float = 0.0
    bits: int = 8
    depth: str = ""


@dataclass(frozen=True)
class _Mark:
    """A file at one moment; another ``inode`` is another file that was moved to the same name."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass
class _Overwritten:
    """A name that is written over: how it was last, when that was, whether it was read, and when any was.

    ``is_whole``: it was there as a whole frame, so that it is missed where it goes unread.
    """

    mark: _Mark
    changed_at: float
    is_read: bool
    read_at: float
    is_whole: bool = False


def is_temporary_name(name: str) -> bool:
    """Return whether a file's name says that it is not finished.

    >>> is_temporary_name("~$a.png"), is_temporary_name("a.part.png"), is_temporary_name("a.png")
    (True, True, False)
    """
    return name.startswith("~") or PurePath(PurePath(name).stem).suffix.lower() in _TEMPORARY


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
        self.pulse = Pulse()
        self._grace_s, self._now = grace_s, now
        self._settled: dict[str, set[tuple[int, int]]] = {}
        for file, size_bytes, mtime_ns in known:
            self._settled.setdefault(file, set()).add((size_bytes, mtime_ns))
        self._waiting: dict[str, _Mark] = {}
        self._failed: dict[str, tuple[int, int, float]] = {}
        self._recent: deque[str] = deque(maxlen=_N_RECENT)
        self._overwritten: dict[str, _Overwritten] = {}
        # The newest files as they were read, and the sha256 of each.
        self._last_read: dict[str, tuple[_Mark, str]] = {}
        self._trusts_inodes = True
        # Since when files that keep their size have changed from poll to poll.
        self._changing: dict[str, float] = {}
        # Names on the disk that differ from their text in the record.
        self._names: dict[str, str] = {}
        # Links, and whether they lead to a folder elsewhere; asked once, as what is behind may hang.
        self._leading: dict[str, bool] = {}
        self._n_polls = 0
        # The disk that the folder lies on, as long as it holds files.
        self._device: int | None = None
        self._missed_at = -_MISSED_S
        # Frames known to be missed; what was written and gone between two looks is not among them.
        self.n_missed = 0

    def poll(self) -> Poll:
        """Return what is ready now; a folder that cannot be listed is named in ``error``."""
        self.pulse.mark()
        is_full = self._n_polls % RECHECK_POLLS == 0
        self._n_polls += 1
        waiting: dict[str, _Mark] = {}
        ready: list[FileKey] = []
        closed: dict[str, str] = {}
        newest: list[tuple[int, str]] = []
        error, n_files = "", 0
        try:
            for file, mark in self._list(is_full, closed):
                n_files += 1
                newest.append((mark.mtime_ns, file))
                if self._is_settled(file, mark):
                    continue
                waiting[file] = mark
                if self._is_ready(file, mark):
                    ready.append(FileKey(file, mark.size_bytes, mark.mtime_ns))
            error = self._find_lost_mount(n_files)
        except OSError as fault:
            # What was found so far stays valid; the rest stays as it was.
            error = f"the folder cannot be read ({fault.strerror or fault})"
            waiting = {**self._waiting, **waiting}
        self._waiting = waiting
        if is_full:
            newest = heapq.nlargest(_N_RECENT, newest)
            self._recent = deque((file for _, file in reversed(newest)), _N_RECENT)
        self._failed = {file: value for file, value in self._failed.items() if file in waiting}
        self._changing = {file: since for file, since in self._changing.items() if file in waiting}
        ready.sort(key=lambda key: (key.mtime_ns, natural_key(key.file)))
        return Poll(tuple(ready), len(waiting) - len(ready), n_files, error, closed)

    def count_unread(self) -> int:
        """Return how many files are there and not dealt with; 0 where the folder cannot be listed."""
        try:
            return sum(not self._is_settled(file, mark) for file, mark in self._list(False, {}))
        except OSError:
            return 0

    def _is_settled(self, file: str, mark: _Mark) -> bool:
        """Tell whether a file was dealt with as it is now.

        Frames without compression are all of one size, and some disks know times to 2 s only: of a name
        that is moved over, size and time may be those of the frame before. Its inode is not.
        """
        before, _ = self._last_read.get(file, (mark, ""))
        if self._trusts_inodes and before.inode != mark.inode:
            return False
        return (mark.size_bytes, mark.mtime_ns) in self._settled.get(file, ())

    def _find_lost_mount(self, n_files: int) -> str:
        """Return that an empty folder took the place of one with files: nothing is mounted there any more.

        Without it the folder below its mount point would look like a probe that takes no frames.
        """
        device = self.folder.stat().st_dev
        if n_files:
            self._device = device
        if self._device in (None, device):
            return ""
        return "the folder is empty and on another disk than before: is its network folder mounted?"

    def _is_ready(self, file: str, mark: _Mark) -> bool:
        before = self._waiting.get(file)
        if file in self._overwritten:
            return self._note_version(file, mark)
        is_replaced = before is not None and (
            before.inode != mark.inode or before.size_bytes > mark.size_bytes
        )
        is_replaced = is_replaced or self._is_restless(file, before, mark)
        if is_replaced or file in self._settled:
            if len(self._overwritten) >= _N_OVERWRITTEN:
                self._overwritten.pop(next(iter(self._overwritten)))
            if is_replaced:
                self._miss()
            now = self._now()
            self._overwritten[file] = _Overwritten(mark, now, False, now)
            return before == mark
        return before is not None and (before.size_bytes, before.mtime_ns) == (mark.size_bytes, mark.mtime_ns)

    def _is_restless(self, file: str, before: _Mark | None, mark: _Mark) -> bool:
        """Tell whether a file that keeps its size has changed for long: it is written over in place."""
        if before is None or before == mark or before.size_bytes != mark.size_bytes:
            self._changing.pop(file, None)
            return False
        return self._now() - self._changing.setdefault(file, self._now()) > _RESTLESS_S

    def peek(self) -> list[FileKey]:
        """Return names that are written over and are whole now; call it several times between two polls."""
        ready = []
        for file in list(self._overwritten):
            self.pulse.mark()
            try:
                status = self._path(file).stat()
            except OSError:
                continue
            mark = _mark_of(status)
            is_new = stat.S_ISREG(status.st_mode) and not self._is_settled(file, mark)
            if is_new and self._note_version(file, mark):
                ready.append(FileKey(file, mark.size_bytes, mark.mtime_ns))
        return ready

    def _note_version(self, file: str, mark: _Mark) -> bool:
        """Take in how an overwritten name is now; return whether it can be read.

        What changes unread counts as missed where it was a frame for certain: another file was moved over
        it, or it was at rest, filled, and is begun anew. Whatever lay between two looks is not known.
        """
        item = self._overwritten[file]
        if mark == item.mark:
            if not item.is_read and not item.is_whole:
                item.is_whole = self._is_filled(file, mark)
            return not item.is_read
        is_moved = mark.inode != item.mark.inode
        is_smaller = mark.size_bytes < item.mark.size_bytes
        # One that grows may be the same frame still.
        is_other = item.is_whole and mark.size_bytes == item.mark.size_bytes
        if not item.is_read and (is_moved or is_smaller or is_other):
            self._miss()
        item.mark, item.changed_at, item.is_read, item.is_whole = mark, self._now(), False, False
        # A file that was moved to the name is whole; one that is written in place must come to rest.
        return is_moved and mark.size_bytes > 0

    def _is_filled(self, file: str, mark: _Mark) -> bool:
        """Tell whether a file has come to rest with its end written: one allocated ahead ends in zeros."""
        if self._now() - self._overwritten[file].changed_at < _RESTED_S:
            return False
        try:
            with self._path(file).open("rb") as stream:
                stream.seek(max(0, mark.size_bytes - _ZERO_BYTES))
                return any(stream.read(_ZERO_BYTES))
        except OSError:
            return False

    def _miss(self) -> None:
        self.n_missed += 1
        self._missed_at = self._now()

    @property
    def has_overwritten(self) -> bool:
        """Tell whether ``peek`` has anything to do."""
        return bool(self._overwritten)

    @property
    def missing(self) -> str:
        """Return why frames are missed now, "" where none is."""
        now = self._now()
        restless = [
            file
            for file, item in self._overwritten.items()
            if now - item.read_at > _RESTLESS_S > 2 * (now - item.changed_at) and not item.is_read
        ]
        if now - self._missed_at >= _MISSED_S and not restless:
            return ""
        names = ", ".join(repr(name) for name in (restless or list(self._overwritten))[:3])
        what = names or "a file of the folder"
        return f"{what} changes faster than it can be read"

    def _list(self, is_full: bool, closed: dict[str, str]) -> Iterator[tuple[str, _Mark]]:
        folders = [""]
        self._names = {text: name for text, name in self._names.items() if text in self._waiting}
        while folders:
            below = folders.pop()
            try:
                entries = os.scandir(self.folder / below)
            except OSError as fault:
                if not below:
                    raise
                if not isinstance(fault, (FileNotFoundError, NotADirectoryError)):
                    closed[to_text(below)] = "the folder cannot be read"
                continue  # a folder below that goes away is no fault of the folder itself
            with entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if is_system_name(entry.name) or is_temporary_name(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name + "/")
                    elif entry.is_symlink() and self._leads_away(name):
                        closed[f"{to_text(name)}/"] = _LINK
                    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - no Path a file
                        text = self._text_of(name)
                        mark = self._measure(entry, text, is_full)
                        if mark is not None:
                            yield text, mark

    def _leads_away(self, name: str) -> bool:
        """Tell whether a link leads to a folder outside of the watched one, so that nothing there is read."""
        if name not in self._leading:
            root, place = (Path(os.path.realpath(path)) for path in (self.folder, self.folder / name))
            if not os.path.exists(place):  # noqa: PTH110 - Path.exists raises for a circle of links
                return False
            self._leading[name] = place.is_dir() and not place.is_relative_to(root)
        return self._leading[name]

    def _text_of(self, name: str) -> str:
        """Return a name's text in the record, and remember the name where they differ."""
        text = to_text(name)
        if text != name:
            self._names[text] = name
        return text

    def _path(self, file: str) -> Path:
        return self.folder / self._names.get(file, file)

    def _measure(self, entry: os.DirEntry[str], file: str, is_full: bool) -> _Mark | None:
        is_old = file in self._settled and file not in self._waiting
        if is_old and not is_full and file not in self._recent and file not in self._overwritten:
            return None
        try:
            status = entry.stat()
        except OSError:
            return None  # renamed or deleted since it was listed
        return _mark_of(status) if stat.S_ISREG(status.st_mode) else None

    def settle(self, key: FileKey) -> None:
        """Mark a file as dealt with: it is not ready again until it changes."""
        self._settled.setdefault(key.file, set()).add((key.size_bytes, key.mtime_ns))
        self._waiting.pop(key.file, None)
        self._failed.pop(key.file, None)
        self._names.pop(key.file, None)
        if key.file in self._recent:
            self._recent.remove(key.file)
        self._recent.append(key.file)
        self._last_read = {file: self._last_read[file] for file in self._recent if file in self._last_read}
        self._note_read(key.file)

    def _note_read(self, file: str) -> None:
        item = self._overwritten.get(file)
        if item is not None:
            item.is_read, item.read_at = True, self._now()

    def read(self, key: FileKey) -> FrameFile:
        """Return a ready file's pixels; a file that cannot be read is late until its grace period is over."""
        started = time.perf_counter()
        try:
            result, patience_s = self._read(key)
        except Exception as error:  # a file must not cost those behind it
            result, patience_s = FrameFile(key, error=f"{type(error).__name__}: {error}"), self._grace_s
        if result.error and not result.is_late:
            size_bytes, mtime_ns, since = self._failed.get(key.file, (-1, -1, 0.0))
            if (size_bytes, mtime_ns) != (key.size_bytes, key.mtime_ns):
                since = self._now()
                self._failed[key.file] = (key.size_bytes, key.mtime_ns, since)
            if self._now() - since < patience_s:
                result = replace(result, is_late=True)
            elif result.image is not None:
                result = replace(result, error="")
        return replace(result, seconds=time.perf_counter() - started)

    def _read(self, key: FileKey) -> tuple[FrameFile, float]:
        """Return what a file holds, and how long a fault of it may mean that it is not finished."""
        self.pulse.mark()
        try:
            with self._path(key.file).open("rb") as stream:
                data = stream.read(16 * MAX_FRAME_PIXELS)
                mark = _mark_of(os.fstat(stream.fileno()))
        except (FileNotFoundError, NotADirectoryError) as fault:
            return FrameFile(key, error=f"it went away ({fault.strerror})", is_late=True), 0.0
        except OSError as fault:
            return FrameFile(key, error=f"it cannot be opened ({fault.strerror or fault})"), self._grace_s
        if (mark.size_bytes, mark.mtime_ns, len(data)) != (key.size_bytes, key.mtime_ns, key.size_bytes):
            return FrameFile(key, error="it changed while it was read", is_late=True), 0.0
        key = replace(key, sha256=hashlib.sha256(data).hexdigest())
        before, sha256 = self._last_read.get(key.file, (mark, ""))
        self._last_read[key.file] = mark, key.sha256
        if replace(before, inode=mark.inode) == mark != before and sha256 == key.sha256:
            # The system makes the numbers up as it goes along, as some network folders do.
            self._trusts_inodes = False
            self._note_read(key.file)
            return FrameFile(key, error="it is the same file with another inode", is_late=True), 0.0
        # Only decoding may take long by itself; a disk that does is a folder that is away.
        self.pulse.mark(key.file, grant_s=len(data) / 1e6)
        depth = DepthWatch()
        try:
            image = decode_image(data, MAX_FRAME_PIXELS, depth)
            bits = describe_image(data, MAX_FRAME_PIXELS).bit_depth
        except UnreadableImageError as error:
            return FrameFile(key, data=data, error=str(error)), self._grace_s
        finally:
            self.pulse.mark()
        is_unfilled = len(data) > 2 * _ZERO_BYTES and not any(data[-_ZERO_BYTES:])
        reason = "its end is empty: it is not filled yet" if is_unfilled else ""
        found = FrameFile(key, image, data, reason, bits=bits, depth=depth.describe())
        return found, min(self._grace_s, _FILL_S)


def _mark_of(status: os.stat_result) -> _Mark:
    return _Mark(status.st_size, max(-_LAST_NS, min(status.st_mtime_ns, _LAST_NS)), status.st_ino)


def hash_pixels(image: Image) -> str:
    """Return the sha256 (hex) of an image's pixels (H, W, 3), uint8, whatever file they came in."""
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
