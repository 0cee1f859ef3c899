"""What a window and a whole frame show at all: detail in focus, or nothing to judge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from georgia.images import Image


def find_blindness(image: Image) -> str:
    """Return why a frame (H, W, 3), uint8, shows nothing; "" where it shows something."""
    return ""


def measure_detail(image: Image, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return the detail of each window (N,), float32."""
    return np.ones(len(boxes), np.float32)
