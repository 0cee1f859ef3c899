"""What a window and a whole frame show at all: detail in focus, or nothing to judge."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from georgia.images.decode import Image

Grey = npt.NDArray[np.float32]

# Source of the four limits: 30 drawn fields of each kind without crystals against 90 drawn frames with 0, 5
# and 30 % coverage (georgia.synthetic). Grey levels; middles of the gaps between the two.
DARK_BELOW = 25.0  # brightest percent: dark fields to 16, frames from 106
BRIGHT_FROM = 240.0  # median: saturated fields from 245, frames to 139
# Spread of structures of 4–8 px: unfocused fields to 1.8, frames from 2.6.
STRUCTURE_FROM = 2.0
# Spread of finer structures by that one: pure noise from 3.8, frames to 2.
NOISE_FROM = 2.8


def find_blindness(image: Image) -> str:
    """Return why a frame (H, W, 3), uint8, shows nothing; "" where it shows something.

    >>> find_blindness(np.zeros((100, 100, 3), np.uint8))
    'it is dark'
    """
    grey = to_grey(image)
    if float(np.percentile(grey[::4, ::4], 99)) < DARK_BELOW:
        return "it is dark"
    if float(np.median(grey[::4, ::4])) >= BRIGHT_FROM:
        return "it is saturated"
    fine, structure = _measure_bands(grey)
    if structure < STRUCTURE_FROM:
        return "it is out of focus or shows nothing"
    return "it is noise" if fine > NOISE_FROM * structure else ""


def to_grey(image: Image) -> Grey:
    """Return an image (H, W, 3), uint8, as grey levels (H, W), float32, 0–255."""
    grey: Grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def _measure_bands(grey: Grey) -> tuple[float, float]:
    """Return the spread of structures below 4 px and of 4–8 px, seen at a quarter of the size."""
    size = (max(8, grey.shape[1] // 4), max(8, grey.shape[0] // 4))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(small, (0, 0), 1.0)
    far = cv2.GaussianBlur(near, (0, 0), 1.7320508)  # together with the first: sigma 2
    return float((small - near).std()), float((near - far).std())


def measure_detail(image: Image, boxes: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return how much of each window's fine detail (N,), float32, stands out of its own grain.

    It is the 99th percentile of the structures of 1–2 px by their median: 3.8 for grain or haze alone,
    whatever their strength, and more where edges, facets or needles are in focus.
    """
    grey = to_grey(image)
    near = cv2.GaussianBlur(grey, (0, 0), 1.0)
    fine = np.abs(near - cv2.GaussianBlur(near, (0, 0), 1.7320508))
    details = np.empty(len(boxes), np.float32)
    for position, (left, top, width, height) in enumerate(boxes):
        # A quarter of the pixels gives the same percentiles in a quarter of the time.
        values = fine[top : top + height : 2, left : left + width : 2].ravel()
        middle, high = len(values) // 2, int(0.99 * len(values))
        ranked = np.partition(values, (middle, high))
        details[position] = ranked[high] / max(float(ranked[middle]), 1e-6)
    return details
