"""Whether the frames of a batch come from one camera: of one size and depth, with names of one pattern."""

from __future__ import annotations

import re
from collections import Counter, deque
from itertools import pairwise

# Frames of the batch's size in a row after which others before them are over.
_OVER_AFTER = 10
# Names of the last frames; two patterns that each have so many of them and change so often are two probes.
# More patterns are none: names of random letters. Source: chosen so that a pattern that changes once, with
# the day or the recipe, is no second probe, and two probes in turns are told after eight frames.
_N_NAMES, _FEWEST, _N_CHANGES, _MOST_PATTERNS = 20, 3, 4, 4
# A PNG of few grey levels may be written with fewer bits, and shows the same.
_LEAST_BITS = 8
_DIGITS = re.compile(r"\d+")

Size = tuple[int, int]


def find_pattern(file: str) -> str:
    """Return a file's name with its folders, each number in it as "#".

    >>> find_pattern("2026-01-31/probeA_0017.png")
    '#-#-#/probeA_#.png'
    """
    return _DIGITS.sub("#", file)


class FrameKinds:
    """The sizes, depths and names of one batch's frames.

    Args:
        size_px: width and height of the frames that the batch has, None before the first.
        bits: of their samples; 0 where nobody knows: the first frame counts then.
    """

    def __init__(self, size_px: Size | None = None, bits: int = 0) -> None:
        self._size_px, self._other_px = size_px, size_px
        self._bits = self._other_bits = max(_LEAST_BITS, bits) if bits else 0
        self._n_alike = self._n_as_deep = _OVER_AFTER
        self._depth = ""
        self._patterns: deque[str] = deque(maxlen=_N_NAMES)
        self.reason = ""

    def add(self, file: str, size_px: Size, bits: int = 8, depth: str = "") -> str:
        """Take in a frame; return in one clause why the frames are not of one kind, "" where they are.

        ``bits`` are those of a sample, ``depth`` what is said of 16 bits of which few are in use.
        """
        self._size_px = self._size_px or size_px
        if size_px == self._size_px:
            self._n_alike += 1
        else:
            self._n_alike, self._other_px = 0, size_px
        self._note_depth(max(_LEAST_BITS, bits), depth)
        self._patterns.append(find_pattern(file))
        self.reason = self._tell_sizes() or self._tell_depths() or self._tell_names()
        return self.reason

    def _note_depth(self, bits: int, depth: str) -> None:
        self._bits = self._bits or bits
        if bits == self._bits:
            self._n_as_deep += 1
        else:
            self._n_as_deep, self._other_bits, self._depth = 0, bits, depth

    def _tell_depths(self) -> str:
        if self._n_as_deep >= _OVER_AFTER:
            return ""
        what = f"frames of {self._other_bits} bits came into a batch of {self._bits} bits"
        light = self._depth.rstrip(".") or "their light may be another"
        return f"{what}: {light}; if that is meant, begin a new batch"

    def _tell_sizes(self) -> str:
        if self._n_alike >= _OVER_AFTER or self._size_px is None or self._other_px is None:
            return ""
        first, other = (f"{width} × {height} px" for width, height in (self._size_px, self._other_px))
        what = f"frames of {other} came into a batch of {first}"
        return f"{what}: what they show is not at one scale; if that is meant, begin a new batch"

    def _tell_names(self) -> str:
        counts = Counter(self._patterns).most_common()
        names = [name for name, n in counts if n >= _FEWEST]
        n_changes = sum(before != after for before, after in pairwise(self._patterns))
        if len(names) < 2 or len(counts) > _MOST_PATTERNS or n_changes < _N_CHANGES:
            return ""
        shown = " and ".join(repr(name) for name in sorted(names[:2]))
        what = f"frames named {shown} come in turns, as of two probes"
        return f"{what}: each needs a folder and batch of its own"
