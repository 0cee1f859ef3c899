"""Polls a folder and hands over what it reads, from a thread of its own: one that hangs stops no loop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from georgia.monitor.health import StepWatch
from georgia.monitor.result import FileKey
from georgia.monitor.watch import FolderWatch, FrameFile, Poll

# Frames held ahead: one to analyse next and one that is being read.
_DEPTH = 2
# Time between two checks of names that are written over.
_PEEK_S = 0.1
# Counting what waits takes at most one of so many parts of the time.
_RECOUNT_RESTS = 20


class FrameReader:
    """Reads a folder's frames, in order.

    A reader that hangs in one file is replaced: ``renew`` leaves that file out and goes on with the next.
    """

    def __init__(
        self,
        watch: FolderWatch,
        poll_interval_s: float,
        held: queue.Queue[FrameFile] | None = None,
    ) -> None:
        self.watch, self._poll_interval_s = watch, poll_interval_s
        self._queue: queue.Queue[FrameFile] = held or queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._poll = Poll((), 0, 0)
        self._step_watch = StepWatch()
        self._n_read = self._n_new = 0
        self._recount_at = 0.0
        self._n_quiet = 0
        self._closed: set[str] = set()
        self.n_late = 0

    def start(self) -> None:
        """Begin to poll."""
        self._thread = threading.Thread(target=self._work, name="georgia-frame-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; a thread that hangs on a network folder is left behind and ends with the program."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def renew(self, left_out: FileKey | None = None) -> FrameReader:
        """Return a reader that goes on in place of this one, without the file that this one hangs in."""
        self._stop.set()
        if left_out is not None:
            self.watch.settle(left_out)
        return FrameReader(self.watch, self._poll_interval_s, self._queue)

    def take(self, timeout_s: float) -> FrameFile | None:
        """Return the next frame that was read, None where none comes in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def measure_hang(self) -> tuple[FileKey | None, float]:
        """Return the file that is being decoded, and how many seconds that has taken beyond what is granted.

        No file: the folder itself does not respond. Call it at least every two seconds.
        """
        step = self.watch.pulse.step
        seconds = self._step_watch.measure(step) - step.grant_s
        key = next((key for key in self._poll.ready if key.file == step.file), None)
        if step.file and key is None:
            key = FileKey(step.file, 0, 0)
        return key if step.file else None, seconds

    @property
    def is_alive(self) -> bool:
        """Tell whether the reading goes on."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def error(self) -> str:
        """Return why the last poll failed, "" where it did not."""
        return self._poll.error

    @property
    def n_waiting(self) -> int:
        """Return how many files were found and not yet handed over."""
        return self._n_left + self._n_new + self._queue.qsize()

    @property
    def _n_left(self) -> int:
        return self._poll.n_waiting + max(0, len(self._poll.ready) - self._n_read)

    @property
    def is_quiet(self) -> bool:
        """Tell whether two polls in a row found nothing, and nothing is held."""
        return self._n_quiet >= 2 and self._queue.empty()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                poll = self.watch.poll()
            except Exception as error:  # said as a fault of the folder, and tried again
                poll = Poll((), 0, 0, f"the folder cannot be read ({type(error).__name__}: {error})")
            self._n_read, self._n_new, self._poll = 0, 0, poll
            for key in poll.ready:
                if not self._hand_over(self.watch.read(key)):
                    return
                self._n_read += 1
            for frame in self._name_closed(poll):
                self._put(frame)
            is_empty = not poll.ready and not poll.n_waiting and not poll.error
            self._n_quiet = self._n_quiet + 1 if is_empty else 0
            if not self._rest():
                return

    def _rest(self) -> bool:
        """Wait for the next poll, and read meanwhile what is written over; return False to stop."""
        end = time.monotonic() + self._poll_interval_s
        while not self._stop.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return True
            self.watch.pulse.mark()
            self._stop.wait(min(left, _PEEK_S if self.watch.has_overwritten else 1.0))
            for key in self.watch.peek():
                if not self._hand_over(self.watch.read(key)):
                    return False
        return False

    def _name_closed(self, poll: Poll) -> Iterator[FrameFile]:
        for name, reason in poll.closed.items():
            if name not in self._closed:
                self._closed.add(name)
                yield FrameFile(FileKey(name, 0, 0), error=reason)

    def _hand_over(self, frame: FrameFile) -> bool:
        """Put a frame where it is taken from; return False once the reading is to stop."""
        if self._stop.is_set():
            return False
        if frame.is_late:
            self.n_late += 1
            return True
        self.watch.settle(frame.key)
        return self._put(frame)

    def _put(self, frame: FrameFile) -> bool:
        while not self._stop.is_set():
            self.watch.pulse.mark()
            try:
                self._queue.put(frame, timeout=_PEEK_S)
                return True
            except queue.Full:
                self.watch.peek()
                self._recount()
        return False

    def _recount(self) -> None:
        """Count what came since the last poll: nothing is polled as long as frames wait for the net."""
        start = time.monotonic()
        if start < self._recount_at:
            return
        self._n_new = max(0, self.watch.count_unread() - self._n_left)
        end = time.monotonic()
        self._recount_at = end + max(self._poll_interval_s, _RECOUNT_RESTS * (end - start))
