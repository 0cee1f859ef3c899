"""How 16-bit samples become 8 bits: by the range that the format has, the file declares, or the user states.

Cameras of 10, 12 or 14 bits often leave the upper bits of 16 unused and say so nowhere. One file cannot tell
(a dark image looks the same), so the user states the depth once, for all files that declare none.
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, UnreadableImageError

DEPTH_VARIABLE = "GEORGIA_DEPTH"


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
