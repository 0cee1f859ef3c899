"""How 16-bit samples become 8 bits: by the range that the format has, the file declares, or the user states.

Cameras of 10, 12 or 14 bits often leave the upper bits of 16 unused and say so nowhere. One file cannot tell
(a dark image looks the same), so the user states the depth once, for all files that declare none.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, UnreadableImageError

DEPTH_VARIABLE = "GEORGIA_DEPTH"
# Depths of cameras. A whole set below the last of them leaves three quarters of the range of 16 bits unused.
USUAL_BITS = (8, 10, 12, 14)
MOST_BITS_UNUSUAL = USUAL_BITS[-1]


def find_stated_bits() -> int:
    """Return how many bits of 16-bit samples are in use, as GEORGIA_DEPTH in the environment states, or 0.

    Raises:
        InputError: it is no whole number from 8 to 16.
    """
    stated = os.environ.get(DEPTH_VARIABLE, "").strip()
    if not stated:
        return 0
    if not (stated.isascii() and stated.isdecimal() and 8 <= int(stated) <= 16):
        raise InputError(f"Cannot use {DEPTH_VARIABLE}", needs="it must be 8 to 16 bits", got=repr(stated))
    return int(stated)


def check_range(samples: npt.NDArray[np.uint16], bits: int) -> int:
    """Return the largest value of samples that use as many bits as stated; 0 bits are all 16.

    Raises:
        UnreadableImageError: a sample is larger.
    """
    top = (1 << (bits or 16)) - 1
    if bits and samples.size and samples.max() > top:
        raise UnreadableImageError(
            f"its values do not fit {bits} bits ({DEPTH_VARIABLE}); the largest is {samples.max()}"
        )
    return top


class DepthWatch:
    """What 16-bit files of one run use of their range, where no depth is declared or stated; for any thread.

    >>> watch = DepthWatch()
    >>> watch.note(np.array([[4095]], np.uint16))
    >>> watch.describe()
    '1 file of 16 bits uses 12 bits at most. If the camera has 12, it comes out 16 times too dark: set ...
    """

    def __init__(self) -> None:
        self.n_files, self.largest = 0, 0
        self._lock = threading.Lock()

    def note(self, samples: npt.NDArray[np.uint16]) -> None:
        """Count a file's samples (of its colours, without alpha)."""
        self.add(1, int(samples.max(initial=0)))

    def add(self, n_files: int, largest: int) -> None:
        """Count what another watch has counted, as on another machine."""
        with self._lock:
            self.n_files += n_files
            self.largest = max(self.largest, largest)

    def describe(self) -> str:
        """Return one line if all these files together use few bits; "" otherwise, or if a depth is stated."""
        bits = self.largest.bit_length()
        if not self.largest or bits > MOST_BITS_UNUSUAL or find_stated_bits():
            return ""
        camera_bits = next(usual for usual in USUAL_BITS if usual >= bits)
        files = "1 file of 16 bits uses" if self.n_files == 1 else f"{self.n_files:,} files of 16 bits use"
        come = "it comes" if self.n_files == 1 else "they come"
        return (
            f"{files} {bits} bits at most. If the camera has {camera_bits}, {come} out "
            f"{2 ** (16 - camera_bits)} times too dark: set {DEPTH_VARIABLE}={camera_bits}, in training too."
        )


@lru_cache(maxsize=16)
def _depth_table(top: int) -> npt.NDArray[np.uint8]:
    values = np.minimum(np.arange(65536, dtype=np.uint32), top)
    return ((values * 255 + top // 2) // top).astype(np.uint8)


def reduce_depth(samples: npt.NDArray[np.uint16], top: int = 65535) -> npt.NDArray[np.uint8]:
    """Return 16-bit samples as uint8 of the same shape: ``round(255 v / top)``, so v / 257 by default.

    >>> reduce_depth(np.array([0, 128, 129, 65535], np.uint16)).tolist()
    [0, 0, 1, 255]
    """
    return _depth_table(top)[samples]
