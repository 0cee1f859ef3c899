"""What waits to be written: in order, again and again, until the store takes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from georgia.monitor.connect import StoreAwayError

# Waits between attempts double up to the longest.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
# So many frames are judged ahead of a store that is away; then the folder itself is the memory.
CAPACITY = 200


class WriteQueue:
    """Writes in the order of coming; a store that is away stops it, and nothing is left out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._wait_s, self._next_at = _FIRST_WAIT_S, 0.0
        self.fault = ""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Tell whether no more should be judged before the store is back."""
        return len(self._waiting) >= CAPACITY

    def put(self, write: Callable[[], Any], done: Callable[[Any], None] = lambda _: None) -> None:
        """Add one write; ``done`` is called with its answer once it is in the store."""
        self._waiting.append((write, done))

    def flush(self, at_once: bool = False) -> bool:
        """Write what waits; return whether all is written. After a failure it waits longer each time."""
        if self._waiting and not at_once and self._now() < self._next_at:
            return False
        while self._waiting:
            write, done = self._waiting[0]
            try:
                answer = write()
            except StoreAwayError as error:
                self.fault = str(error)
                self._next_at = self._now() + self._wait_s
                self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
                return False
            self._waiting.popleft()
            self.fault, self._wait_s = "", _FIRST_WAIT_S
            done(answer)
        return True
