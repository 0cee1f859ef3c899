"""One opened net for several probes: each frame is a turn, and none waits longer than its part demands.

Source: start-time fair queueing, Goyal, Vin and Cheng 1997, doi 10.1109/90.649569. Whoever has used the
least of the net goes next; who was away has no credit from that time. A probe with a backlog of 1,000 frames
has one turn, as a probe with a frame a second has when that comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.model.engines import Outputs
from georgia.monitor.thread_choice import ThreadTrial

# A loop that waits for its turn says so often that it lives.
_SIGN_S = 0.5


def _do_nothing() -> None:
    pass


class FairQueue:
    """Hands one thing to one of several, by the time that each has had it, divided by its weight."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._used_s: dict[str, float] = {}
        self._waiting: dict[str, int] = {}
        self._holder = ""
        self._begun_at_s = 0.0
        self._n_asked = 0

    @property
    def holder(self) -> str:
        """Return who has it now, "" where nobody has."""
        return self._holder

    @contextmanager
    def take(
        self, name: str, weight: float = 1.0, while_waiting: Callable[[], None] = _do_nothing
    ) -> Iterator[float]:
        """Wait for a turn, and have it while the block runs; yield the seconds waited.

        ``while_waiting`` is called about twice a second meanwhile. A name waits once at a time.
        """
        asked = self._now()
        with self._changed:
            self._n_asked += 1
            self._waiting[name] = self._n_asked
            self._used_s[name] = max(self._used_s.get(name, 0.0), self._begun_at_s)
            try:
                while self._holder or self._find_next() != name:
                    self._changed.wait(_SIGN_S)
                    while_waiting()
            finally:
                del self._waiting[name]
                self._changed.notify_all()
            self._holder, self._begun_at_s = name, self._used_s[name]
        began = self._now()
        try:
            yield began - asked
        finally:
            with self._changed:
                self._used_s[name] += (self._now() - began) / weight
                self._holder = ""
                self._changed.notify_all()

    def _find_next(self) -> str:
        return min(self._waiting, key=lambda name: (self._used_s[name], self._waiting[name]))


class SharedNet:
    """A net that several probes run in turns; ``for_probe`` is what one of them holds."""

    def __init__(self, trial: ThreadTrial, now: Callable[[], float] = time.monotonic) -> None:
        self.trial, self.queue = trial, FairQueue(now)
        self._lock = threading.Lock()
        self._n_waiting: dict[str, int] = {}

    def for_probe(self, name: str, weight: float = 1.0) -> ProbeNet:
        """Return one probe's part of the net."""
        return ProbeNet(self, name, weight)

    def note_arrival(self, name: str, n_waiting: int) -> None:
        """Take in that a probe has taken a frame: the net must keep up with the frames of all."""
        with self._lock:
            self._n_waiting[name] = n_waiting
            self.trial.note_arrival(sum(self._n_waiting.values()))


class ProbeNet:
    """One probe's part of a net; an analyzer takes it in place of an engine of its own.

    ``while_waiting`` is called about twice a second while another probe has its turn.
    """

    def __init__(self, shared: SharedNet, name: str, weight: float = 1.0) -> None:
        self._shared, self._probe, self._weight = shared, name, weight
        self.name, self.precision, self.device = (
            shared.trial.name,
            shared.trial.precision,
            shared.trial.device,
        )
        self.while_waiting: Callable[[], None] = _do_nothing
        self._waited_s = 0.0

    @property
    def is_measuring(self) -> bool:
        """Tell whether the first frames are still computed both ways."""
        return self._shared.trial.is_measuring

    @property
    def n_threads(self) -> int:
        """Return the threads of the net, where they are not measured any more."""
        return self._shared.trial.n_threads

    def describe(self) -> dict[str, Any]:
        """Return what the record holds of the threads; see ``ThreadTrial``."""
        return self._shared.trial.describe()

    def note_arrival(self, n_waiting: int) -> None:
        """Take in that a frame is taken while ``n_waiting`` wait."""
        self._shared.note_arrival(self._probe, n_waiting)

    def take_waited(self) -> float:
        """Return for how many seconds the last turn was waited for, once; 0 where there was none since."""
        waited_s, self._waited_s = self._waited_s, 0.0
        return waited_s

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-image work, in any thread, without a turn."""
        return self._shared.trial.prepare(image)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Wait for a turn, and return the outputs for the prepared windows of one frame."""
        with self._shared.queue.take(self._probe, self._weight, self.while_waiting) as self._waited_s:
            return self._shared.trial.run(prepared)
