"""How many threads the net of a live probe runs with: measured on the first frames, not assumed.

More threads make a frame sooner and cost more processor time, by how much depends on processor, net and
neighbours. The first frames are computed both ways. The cheaper way is kept that keeps up with the probe.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from georgia.model.engines import FLOAT32_TOLERANCE, Engine, Outputs
from georgia.predict.precision import BFLOAT16_TOLERANCE
from georgia.text import count_noun

_log = logging.getLogger(__name__)
T = TypeVar("T")

# Frames that are computed both ways, behind the very first one, for which nobody should wait twice as
# long. The first of them warms up and only compares the outputs.
N_TRIAL = 4
# A frame with fewer windows says little about the others.
FEWEST_WINDOWS = 8
# A way keeps up where a frame takes at most this fraction of the time between two: the rest of the work,
# reading, cutting and writing, takes a tenth of the net's time, and the next frame may hold more windows.
# Source: chosen; benchmarks/probe_speed.py for the tenth.
LOAD = 0.7
# Where one way takes longer for a frame, both together could look as if the loop hung: from then on each
# frame is computed one way, in turns.
TOO_SLOW_S = 5.0
# So many waiting frames in a row mean that the cheaper way does not keep up after all.
_BEHIND_AFTER = 5
# Times between two frames that are remembered.
_N_INTERVALS = 5


@dataclass(frozen=True)
class Cost:
    """What a frame costs the net: CPU seconds of the process and seconds on the clock."""

    cpu_s: float
    wall_s: float


@dataclass
class Arrivals:
    """How often frames come, by a clock that never jumps."""

    now: Callable[[], float] = time.monotonic
    n_behind: int = 0
    _last: float | None = None
    _intervals: list[float] = field(default_factory=list)

    def note(self, n_waiting: int) -> None:
        """Take in that a frame is taken, and how many wait behind it."""
        now = self.now()
        if n_waiting:
            self.n_behind += 1
        elif self._last is not None:
            self.n_behind = 0
            self._intervals = [*self._intervals, now - self._last][-_N_INTERVALS:]
        self._last = now

    @property
    def interval_s(self) -> float | None:
        """Return the median time between two frames; 0 while frames wait, None where it is not known."""
        if self.n_behind:
            return 0.0
        return float(np.median(self._intervals)) if self._intervals else None


def choose_threads(costs: Mapping[int, Cost], interval_s: float | None) -> int:
    """Return the number of threads with the least CPU time among those that keep up, or else the fastest.

    >>> costs = {1: Cost(0.8, 0.8), 2: Cost(1.0, 0.5)}
    >>> choose_threads(costs, 6.0), choose_threads(costs, 1.0), choose_threads(costs, 0.0)
    (1, 2, 2)
    """
    able = {n: cost for n, cost in costs.items() if interval_s is None or cost.wall_s <= LOAD * interval_s}
    if not able:
        return min(costs, key=lambda n: (costs[n].wall_s, n))
    return min(able, key=lambda n: (able[n].cpu_s, n))


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # a system without such a limit
        return max(1, os.cpu_count() or 1)


class ThreadTrial:
    """An ``Engine`` that computes the first frames with one thread and with all, and keeps one of the two.

    Args:
        open_engine: opens the model with a number of threads, 0 as the engine likes.
        n_threads: 0 measures; any other number is taken as it is.
        n_many: threads of the other way; by default one for each processor.
    """

    def __init__(
        self,
        open_engine: Callable[[int], Engine],
        n_threads: int = 0,
        n_many: int = 0,
        cpu_clock: Callable[[], float] = time.process_time,
        wall_clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._open, self._clocks = open_engine, (cpu_clock, wall_clock)
        self.arrivals = Arrivals()
        self.costs: dict[int, Cost] = {}
        self.largest_difference = 0.0
        self._is_first, self._is_slow = True, False
        self.n_threads, self.reason = n_threads, "set by hand" if n_threads else ""
        n_many = n_many or count_processors()
        # Both are opened before the first frame: within the loop it would look as if it hung.
        first = n_threads or (1 if n_many > 1 else 0)
        self._engines = {first: open_engine(first)}
        self._measured: dict[int, list[Cost]] = {}
        engine = self._engines[first]
        self.name, self.precision, self.device = engine.name, engine.precision, engine.device
        if n_threads:
            return
        if n_many == 1 or engine.device != "CPU":
            self._keep(first, "one processor" if n_many == 1 else "the net runs on the GPU")
            return
        try:
            self._engines[n_many] = open_engine(n_many)
        except Exception as error:  # it serves with one
            self._keep(1, f"it cannot be opened with more: {error}")
            return
        self._measured = {1: [], n_many: []}

    @property
    def is_measuring(self) -> bool:
        """Tell whether the first frames are still computed both ways."""
        return bool(self._measured)

    def describe(self) -> dict[str, Any]:
        """Return for the record: the threads kept, None while they are measured, why, and what each costs."""
        costs = {
            str(n): {"cpu_s": round(cost.cpu_s, 3), "wall_s": round(cost.wall_s, 3)}
            for n, cost in self.costs.items()
        }
        is_open, reason = self.is_measuring, self.reason
        if is_open:
            reason = f"{' or '.join(map(str, self._measured))}: measured on {N_TRIAL} frames behind the first"
        plain: dict[str, Any] = {"threads": None if is_open else self.n_threads, "reason": reason}
        difference = {"largest_difference": float(f"{self.largest_difference:.2g}")} if costs else {}
        return {**plain, **({"costs": costs} if costs else {}), **difference}

    def note_arrival(self, n_waiting: int) -> None:
        """Take in that a frame is taken while ``n_waiting`` wait; turn to the faster way if that goes on."""
        self.arrivals.note(n_waiting)
        if self.is_measuring or len(self.costs) < 2 or self.arrivals.n_behind < _BEHIND_AFTER:
            return
        fastest = choose_threads(self.costs, 0.0)
        if fastest != self.n_threads:
            self._engines = {fastest: self._open(fastest)}
            self._keep(fastest, "frames waited")

    def prepare(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Do the per-image work, in any thread, on an image (H, W, 3), uint8 RGB."""
        return next(iter(self._engines.values())).prepare(image)

    def stream(self, batches: Iterable[tuple[T, Sequence[npt.NDArray[Any]]]]) -> Iterator[tuple[T, Outputs]]:
        """Yield each batch's token and outputs, in order."""
        yield from next(iter(self._engines.values())).stream(batches)

    def run(self, prepared: Sequence[npt.NDArray[Any]]) -> Outputs:
        """Return the outputs for the prepared windows of one frame."""
        is_first, self._is_first = self._is_first, False
        if not self.is_measuring or is_first or len(prepared) < FEWEST_WINDOWS:
            return next(iter(self._engines.values())).run(prepared)
        n_done, n_many = len(self._measured[1]), max(self._measured)
        # In turn, so that neither always finds the caches warm.
        order = sorted(self._measured, reverse=n_done % 2 == 1)
        if self._is_slow:
            order = [min(self._measured, key=lambda n: (len(self._measured[n]), n))]
        outputs: dict[int, Outputs] = {}
        for n in order:
            try:
                outputs[n], cost = self._time(self._engines[n], prepared)
            except Exception as error:
                if n == 1:
                    raise
                self._keep(1, f"it fails with more: {type(error).__name__}: {error}")
                return outputs[1] if outputs else self.run(prepared)
            # Of one window: in turns, frames differ.
            self._measured[n].append(Cost(cost.cpu_s / len(prepared), cost.wall_s / len(prepared)))
            if cost.wall_s > TOO_SLOW_S:
                self._is_slow = True
                break
        if len(outputs) > 1:
            self._compare(outputs[1], outputs[n_many])
        if min(map(len, self._measured.values())) >= N_TRIAL:
            self._decide(len(prepared))
        return outputs[min(outputs)]

    def _time(self, engine: Engine, prepared: Sequence[npt.NDArray[Any]]) -> tuple[Outputs, Cost]:
        before = [clock() for clock in self._clocks]
        outputs = engine.run(prepared)
        cpu_s, wall_s = (clock() - start for clock, start in zip(self._clocks, before, strict=True))
        return outputs, Cost(cpu_s, wall_s)

    def _compare(self, few: Outputs, many: Outputs) -> None:
        for name in few.keys() & {"probabilities", "unknown_score"}:
            difference = np.abs(np.asarray(few[name], np.float64) - np.asarray(many[name], np.float64))
            # Undefined values are not equal to anything.
            largest = float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
            self.largest_difference = max(self.largest_difference, largest)

    def _decide(self, n_windows: int) -> None:
        # Other work can only add to either: the least of the frames after the first.
        self.costs = {
            n: Cost(*(n_windows * min(values) for values in zip(*map(astuple, found[1:]), strict=True)))
            for n, found in self._measured.items()
        }
        limit = FLOAT32_TOLERANCE if self.precision == "float32" else BFLOAT16_TOLERANCE
        if self.largest_difference > limit:
            self._keep(1, f"the outputs differ by {self.largest_difference:.2g}: nothing is added in turns")
            return
        interval_s = self.arrivals.interval_s
        chosen = choose_threads(self.costs, interval_s)
        rate = "as fast as they can be taken" if interval_s == 0 else "at a rate that is not known"
        if interval_s:
            rate = f"every {interval_s:.1f} s"
        cheapest = min(self.costs, key=lambda n: (self.costs[n].cpu_s, n))
        why = "least CPU time" if chosen == cheapest else "cheaper does not keep up"
        self._keep(chosen, f"{why}; frames come {rate}")

    def _keep(self, n_threads: int, reason: str) -> None:
        self.n_threads, self.reason = n_threads, reason
        self._engines = {n_threads: self._engines[n_threads]}
        self._measured = {}
        _log.info("the net runs with %s: %s", count_noun(n_threads, "thread"), reason)
