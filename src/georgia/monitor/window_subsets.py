"""Which windows of a frame go through the net: all of them, or every second or third, in turns.

With ``Windows.HALF`` windows are taken like the fields of a chessboard, the white ones of one frame and the
black ones of the next, so that two frames in a row look everywhere. Neighbours overlap, so half of the
windows still covers three quarters of a frame, and is worth four fifths of the independent windows of all
(240 synthetic frames, benchmarks/fraction.py --windows half).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georgia.monitor.fraction import Floats, count_effective
from georgia.monitor.settings import Windows

Boxes = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
# Below so many times ``min_judged`` of windows with detail a subset would say little, and all windows cost
# little: then all are taken.
_FEWEST = 2


@dataclass(frozen=True)
class Subset:
    """The windows that one frame is looked at in.

    ``is_taken`` (N,) marks them. ``number`` is 0 where all are taken, else that of the subset, from 1: frames
    of one number are looked at in the same windows. ``worth``, above 0 and 1 at most, is what the subset's
    effective number of windows is multiplied by.
    """

    is_taken: Bools
    number: int = 0
    worth: float = 1.0


@dataclass
class WindowSubsets:
    """Takes the subsets of the frames of one probe, one after another."""

    windows: Windows = Windows.ALL
    _next: int = 0

    def take(self, boxes: Boxes, is_full: Bools, cover: Floats, min_judged: int) -> Subset:
        """Return the next frame's subset.

        Args:
            boxes: the windows of the frame (N, 4), row by row.
            is_full: which of them have detail (N,).
            cover: how much of each crystals cover (N,), 0–1.
            min_judged: a frame with fewer analysed windows has no fraction.

        The effective number of windows is to be that of the poorest subset. It tells frames that show the
        same crystals by how slowly it varies (``georgia.monitor.smoothed``), and must not vary only because
        the subsets hold different windows.
        """
        n_subsets, everything = self.windows.n_subsets, np.ones(len(boxes), bool)
        if n_subsets == 1:
            return Subset(everything)
        own, self._next = self._next, (self._next + 1) % n_subsets
        subsets = number_subsets(boxes, n_subsets)
        fewest = _FEWEST * min_judged
        taken = [subsets == subset for subset in range(n_subsets)]
        is_enough = [int((is_full & each).sum()) >= fewest for each in taken]
        counts = [
            _count(boxes, is_full & each if enough else is_full, cover)
            for each, enough in zip(taken, is_enough, strict=True)
        ]
        worth = min(counts) / counts[own] if counts[own] > 0 else 1.0
        return Subset(taken[own], own + 1, worth) if is_enough[own] else Subset(everything, 0, worth)


def number_subsets(boxes: Boxes, n_subsets: int) -> npt.NDArray[np.int64]:
    """Return the subset of each window (N,), from 0: those of one subset touch at corners only.

    >>> boxes = np.array([[x, y, 4, 4] for y in (0, 3) for x in (0, 3, 6)], np.int32)
    >>> number_subsets(boxes, 2).tolist()
    [0, 1, 0, 1, 0, 1]
    """
    columns, rows = (np.unique(boxes[:, axis], return_inverse=True)[1] for axis in (0, 1))
    subsets: npt.NDArray[np.int64] = (rows + columns) % n_subsets
    return subsets


def _count(boxes: Boxes, chosen: Bools, cover: Floats) -> float:
    weights = cover[chosen] if cover[chosen].any() else None
    return count_effective(boxes[chosen], weights)
