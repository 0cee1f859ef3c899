"""When crystals are in the field and when not: a causal test, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

# A frame shows crystals where so many windows do: a crystal lies in several, since they overlap.
LEAST_WINDOWS, LEAST_PART = 2, 0.05
# How often a frame seems to show crystals in a clear solution, at the most, and in a slurry, at the least.
P_CLEAR, P_CRYSTALS = 0.05, 0.5
_UP, _DOWN = log(P_CRYSTALS / P_CLEAR), log((1 - P_CRYSTALS) / (1 - P_CLEAR))
# Evidence, natural log, at which crystals are said to have appeared or gone: 1,100 to 1. In a clear solution
# that is as bad as P_CLEAR it is reached by chance once in about 3,000 frames. Source: Page 1954, doi
# 10.1093/biomet/41.1-2.100 (CUSUM of log-likelihood ratios), whose mean time to a false one is at least
# exp(threshold) frames: Lorden 1971, doi 10.1214/aoms/1177693055.
ENOUGH = 7.0
# Crystals that were seen in fewer frames than that, and then no more, were passing: a lump, bubbles.
LEAST_SHOWN = 8
# Clear frames that are needed before crystals, so that these have begun within the frames.
LEAST_CLEAR = 3


@dataclass(frozen=True)
class Change:
    """Crystals appear, or are gone: from the frame ``at`` on, which was known at the frame ``known_at``."""

    appears: bool
    at: int
    known_at: int


@dataclass(frozen=True)
class Passing:
    """Crystals seemed to appear at frame ``at``: said at ``known_at``, taken back at ``back_at``."""

    at: int
    known_at: int
    back_at: int
    n_shown: int
    is_fouling: bool = False


@dataclass(frozen=True)
class Phases:
    """The changes of a batch, oldest first, positions in its usable frames.

    ``starts_with_crystals`` is None where too few frames tell; ``ends_with_crystals`` is the state after the
    last frame.
    """

    changes: tuple[Change, ...]
    passing: tuple[Passing, ...]
    starts_with_crystals: bool | None
    ends_with_crystals: bool | None

    def spans(self, n: int) -> list[tuple[int, int]]:
        """Return first frame and end (not included) of each time with crystals, of ``n`` frames."""
        edges = [0] if self.starts_with_crystals else []
        edges += [change.at for change in self.changes]
        edges += [n] if len(edges) % 2 else []
        return list(zip(edges[::2], edges[1::2], strict=True))


def shows_crystals(hits: npt.NDArray[np.float64], trials: npt.NDArray[np.float64]) -> Bools:
    """Return which frames show crystals (N,), of their windows that do, ``hits``, and all of them."""
    shown: Bools = hits >= np.maximum(LEAST_WINDOWS, LEAST_PART * trials)
    return shown


def find_phases(is_shown: Bools, is_fouled_after: Bools | None = None) -> Phases:
    """Return when crystals appeared and went, from whether each usable frame shows any (N,).

    ``is_fouled_after`` says of each frame whether the probe's window was fouled right after it. Nothing that
    is said of a frame needs a later one than ``known_at``.

    >>> changes = find_phases(np.array([False] * 12 + [True] * 12)).changes
    >>> (changes[0].appears, changes[0].at)
    (True, 12)
    """
    walk = _Walk(is_shown, np.zeros(len(is_shown), bool) if is_fouled_after is None else is_fouled_after)
    for index in range(len(is_shown)):
        walk.step(index)
    return Phases(tuple(walk.changes), tuple(walk.passing), walk.first, walk.state)


class _Walk:
    """Two sums of evidence, each from its own last zero."""

    def __init__(self, is_shown: Bools, is_fouled_after: Bools) -> None:
        self.is_shown, self.is_fouled_after = is_shown, is_fouled_after
        self.state: bool | None = None
        self.first: bool | None = None
        self.changes: list[Change] = []
        self.passing: list[Passing] = []
        self._sums, self._since = [0.0, 0.0], [0, 0]

    def step(self, index: int) -> None:
        shown = bool(self.is_shown[index])
        gains = (_UP if shown else _DOWN, -_UP if shown else -_DOWN)
        for side, gain in enumerate(gains):
            if self.state is (side == 0):
                continue  # what holds needs no evidence
            if self._sums[side] <= 0:
                self._since[side] = index
            self._sums[side] = max(0.0, self._sums[side] + gain)
        for side, appears in ((0, True), (1, False)):
            if self.state is not appears and self._sums[side] >= ENOUGH:
                self._change(appears, self._since[side], index)
                self._sums = [0.0, 0.0]
        if self.state and self.is_fouled_after[index]:
            self._take_back_fouling(index)

    def _change(self, appears: bool, at: int, known_at: int) -> None:
        if self.state is None:
            # Crystals that are there within the first frames were there before.
            n_other = int((~self.is_shown[:at]).sum() if appears else self.is_shown[:at].sum())
            self.first = appears if n_other < (LEAST_CLEAR if appears else LEAST_SHOWN) else not appears
            if self.first is appears:
                self.state = appears
                return
        elif not appears and self._count_shown(at) < LEAST_SHOWN and self.changes:
            last = self.changes.pop()
            self.passing.append(Passing(last.at, last.known_at, known_at, self._count_shown(at, last.at)))
            self.state = False
            return
        self.state = appears
        self.changes.append(Change(appears, at, known_at))

    def _count_shown(self, until: int, since: int | None = None) -> int:
        start = (self.changes[-1].at if self.changes else 0) if since is None else since
        return int(self.is_shown[start:until].sum())

    def _take_back_fouling(self, index: int) -> None:
        """Take crystals back that were seen in a few frames only, and then found not to move."""
        n_shown = self._count_shown(index + 1)
        if self.changes and self.changes[-1].appears and n_shown < LEAST_SHOWN:
            last = self.changes.pop()
            self.passing.append(Passing(last.at, last.known_at, index, n_shown, is_fouling=True))
            self.state, self._sums = False, [0.0, 0.0]
