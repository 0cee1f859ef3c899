"""Reads frames ahead in a thread of its own: a share that hangs stops the reading, not the monitor."""

from __future__ import annotations

import queue
import threading
import time

from georgia.monitor.watch import FolderWatch, FrameFile, Look

# Frames held ahead: one to judge next and one that is being read.
_DEPTH = 2
# A share that has not answered for so long is "away", though it gave no error.
HANGS_AFTER_S = 20.0


class FrameReader:
    """Looks at a folder every ``look_s`` seconds and hands over what it reads, in order."""

    def __init__(self, watch: FolderWatch, look_s: float) -> None:
        self._watch, self._look_s = watch, look_s
        self._queue: queue.Queue[FrameFile] = queue.Queue(_DEPTH)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._look = Look((), 0, 0)
        self._alive_at = time.monotonic()
        self._n_quiet = 0
        self.n_late = 0

    def start(self) -> None:
        """Begin to look."""
        self._alive_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="georgia-intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a thread that hangs on a share is left behind and ends with the program."""
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
        """Return why the folder gives nothing, "" where it answers."""
        silent = time.monotonic() - self._alive_at
        if silent > max(HANGS_AFTER_S, 5 * self._look_s):
            return f"the folder has not answered for {silent:.0f} s"
        return self._look.error

    @property
    def n_waiting(self) -> int:
        """Return how many files are seen and not yet handed over."""
        return self._look.n_waiting + len(self._look.ready)

    @property
    def is_quiet(self) -> bool:
        """Tell whether two looks in a row found nothing, and nothing is held."""
        return self._n_quiet >= 2 and self._queue.empty()

    def _work(self) -> None:
        while not self._stop.is_set():
            look = self._watch.look()
            self._look, self._alive_at = look, time.monotonic()
            for key in look.ready:
                if not self._hand_over(self._watch.read(key)):
                    return
            is_empty = not look.ready and not look.n_waiting and not look.error
            self._n_quiet = self._n_quiet + 1 if is_empty else 0
            self._stop.wait(self._look_s)

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
