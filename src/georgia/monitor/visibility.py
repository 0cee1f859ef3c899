"""What a frame as a whole shows before any window is named: light, focus, noise, and what does not move."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from georgia.images.decode import Image

Grey = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.int32]

# Source of these limits: 30 synthetic fields of each kind without crystals against 90 synthetic frames
# with 0, 5 and 30 % coverage (georgia.synthetic). Grey levels; middles of the gaps between the two.
DARK_BELOW = 25.0  # brightest percent: dark fields to 16, frames from 106
BRIGHT_FROM = 240.0  # median: saturated fields from 245, frames to 139
# Spread of structures of 4–8 px: unfocused fields to 1.8, frames from 2.6.
STRUCTURE_FROM = 2.0
# Spread of finer structures by that one: pure noise from 3.8, frames to 2.
NOISE_FROM = 2.8
# Clouds of 50 px and more, beyond the slope of the light: clear fields to 1.2, unfocused ones from 3.5.
CLOUDS_FROM = 2.0
# A window whose structures repeat themselves so well in the next frame has not moved. Source: 6 pairs of
# synthetic frames: moving crystals to 0.22, windows that fouling covers to one half or more from 0.46.
STILL_FROM = 0.35

# A pixel belongs to a crystal where the fine structures around it exceed the grain of the frame so many
# times; the side of the blocks, px, in which that is measured. Source: 114 synthetic frames with 0–50 % PG
# (benchmarks/fraction.py, seeds 710000 and 730000). From 1.3 to 2 the bias at 50 % PG goes from −0.06 to
# +0.01; with 1.5 no level has more than 0.02, against PG's fraction of the windows and of the area.
CRYSTAL_FROM, _BLOCK_PX = 1.5, 4
# No frame's or window's grain is taken for less, grey levels. Source: 7,560 windows of grounds without
# crystals, with five brightnesses, three slopes, noise of 0–4 grey levels and JPEG of four strengths: 36 %
# have a detail of 4.6 or more without this limit and none with it; of 276 windows that synthetic crystals
# cover to a fifth or more it costs 1 %.
LEAST_GRAIN = 0.65


class View(StrEnum):
    """What keeps a frame from showing a slurry."""

    GOOD = ""
    DARK = "it is dark"
    SATURATED = "it is saturated"
    NOISE = "it is noise"
    UNFOCUSED = "it is out of focus"
    # Nothing in it, and well lit: a solution without crystals.
    CLEAR = "nothing is in the solution"


def to_grey(image: Image) -> Grey:
    """Return an image (H, W, 3), uint8, as grey levels (H, W), float32, 0–255."""
    grey: Grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def find_fine(grey: Grey) -> Grey:
    """Return the structures of 1–2 px of a frame (H, W), as grey levels, 0 or more."""
    near = cv2.GaussianBlur(grey, (0, 0), 1.0)
    fine: Grey = np.abs(near - cv2.GaussianBlur(near, (0, 0), 1.7320508))
    return fine


def measure_cover(fine: Grey, boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return which fraction of each window (N,), 0–1, crystals seem to cover, from ``find_fine``.

    It is the fraction of its pixels around which fine structures exceed the grain of the frame, which is
    that of its calmest twentieth. No model is asked.
    """
    height, width = fine.shape
    blocks = _shrink(fine, _BLOCK_PX)
    grain = max(LEAST_GRAIN, float(np.quantile(cv2.blur(blocks, (5, 5)), 0.05)))
    is_crystal = (cv2.GaussianBlur(blocks, (0, 0), 1.5) > CRYSTAL_FROM * grain).astype(np.uint8)
    total = cv2.integral(cv2.resize(is_crystal, (width, height), interpolation=cv2.INTER_NEAREST))
    left, top, sides_x, sides_y = boxes.T
    right, bottom = left + sides_x, top + sides_y
    inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    cover: npt.NDArray[np.float64] = inside / (sides_x * sides_y)
    return cover


@dataclass(frozen=True)
class Bands:
    """Structures of a frame (H/4, W/4), grey levels: ``fine`` below 4 px and ``coarse`` of 4–8 px."""

    fine: Grey
    coarse: Grey

    @classmethod
    def of(cls, grey: Grey) -> Bands:
        """Return those of a frame (H, W), float32, 0–255."""
        small = _shrink(grey, 4)
        near = cv2.GaussianBlur(small, (0, 0), 1.0)
        far = cv2.GaussianBlur(near, (0, 0), 1.7320508)  # together with the first: sigma 2
        return cls(small - near, near - far)


def find_view(grey: Grey, bands: Bands | None = None) -> View:
    """Return what keeps a frame (H, W), float32, 0–255, from showing a slurry; ``bands`` are its own.

    >>> str(find_view(np.zeros((100, 100), np.float32))), str(find_view(np.full((100, 100), 128, np.float32)))
    ('it is dark', 'nothing is in the solution')
    """
    if float(np.percentile(grey[::4, ::4], 99)) < DARK_BELOW:
        return View.DARK
    if float(np.median(grey[::4, ::4])) >= BRIGHT_FROM:
        return View.SATURATED
    bands = bands or Bands.of(grey)
    fine, structure = float(bands.fine.std()), float(bands.coarse.std())
    if fine > NOISE_FROM * max(structure, 1.0):
        return View.NOISE
    if structure >= STRUCTURE_FROM:
        return View.GOOD
    return View.UNFOCUSED if measure_clouds(grey) >= CLOUDS_FROM else View.CLEAR


def _shrink(grey: Grey, times: int) -> Grey:
    size = (max(8, grey.shape[1] // times), max(8, grey.shape[0] // times))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def measure_clouds(grey: Grey) -> float:
    """Return the spread of what is left of the light, grey levels, once its slope and vignette are gone."""
    small = _shrink(grey, 16)
    basis = _light_basis(small.shape[0], small.shape[1])
    values = small.ravel().astype(np.float64)
    return float((values - basis @ (basis.T @ values)).std())


@lru_cache(maxsize=4)
def _light_basis(height: int, width: int) -> npt.NDArray[np.float64]:
    """Return orthonormal columns (h·w, 15): polynomials of degree 4, like uneven light."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = [x.ravel() ** i * y.ravel() ** j for i in range(5) for j in range(5 - i)]
    basis: npt.NDArray[np.float64] = np.linalg.qr(np.stack(terms, axis=1))[0]
    return basis


@dataclass
class StillWindows:
    """For how many frames in a row each window of a probe has not moved: fouling, not slurry."""

    _before: Grey | None = None
    _n_still: npt.NDArray[np.int32] | None = None

    def update(self, grey: Grey, boxes: Boxes, bands: Bands | None = None) -> npt.NDArray[np.int32]:
        """Take in the next frame (H, W); return (N,), int32: earlier frames that each window repeats."""
        band = (bands or Bands.of(grey)).coarse
        before, n_still = self._before, self._n_still
        self._before = band
        if before is None or n_still is None or before.shape != band.shape or len(n_still) != len(boxes):
            self._n_still = np.zeros(len(boxes), np.int32)
            return self._n_still
        scale = band.shape[0] / grey.shape[0]
        is_still = np.zeros(len(boxes), bool)
        for position, (left, top, width, height) in enumerate((boxes * scale).round().astype(int)):
            rows, columns = slice(top, top + height), slice(left, left + width)
            is_still[position] = _correlate(band[rows, columns], before[rows, columns]) >= STILL_FROM
        self._n_still = np.where(is_still, n_still + 1, 0).astype(np.int32)
        return self._n_still


def _correlate(a: Grey, b: Grey) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(1e-6, float(np.sqrt((a * a).sum() * (b * b).sum()))))
