"""What the windows of a frame look like, in the numbers that a model's training images are known by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from georgia.images.decode import Image
from georgia.monitor.commission import QUANTILES
from georgia.monitor.result import FrameInput

# Grey levels from and to which a pixel counts as black or white: those of georgia.export.graph.ood_score.
BLACK, WHITE = 7, 248
# So many windows of a frame are measured, evenly chosen: all of them would cost a tenth of the net's time.
_MOST_MEASURED = 16
MEASURES = ("grey", "detail", "structure")
_SMALLEST_PX = 10


def measure_appearance(image: Image) -> tuple[float, float, float, float]:
    """Return grey, clipped, detail and structure of an image or window (H, W, 3), uint8.

    Grey is the mean level, 0–255; clipped the fraction of black and white pixels, 0–1. Detail is the spread
    of structures of 1–2 px by that of 4–8 px: it falls as the image leaves the focus. Structure is the mean
    octave of all spreads, weighed by their power, below the image's side: 0 is the side, 1 half of it. It
    grows by 1 where all is half as large. An image with a side below 10 px has no detail, 0.

    >>> noise = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8).repeat(3, axis=2)
    >>> measure_appearance(noise)[2] > measure_appearance(cv2.GaussianBlur(noise, (0, 0), 3))[2]
    True
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spreads, level = [], grey
    while min(level.shape) >= _SMALLEST_PX:
        small = cv2.pyrDown(level)
        large = cv2.pyrUp(small, dstsize=(level.shape[1], level.shape[0]))
        spreads.append(float((level - large).std()))
        level = np.asarray(small, np.float32)
    clipped = float(((grey <= BLACK) | (grey >= WHITE)).mean())
    # The finest octave is mostly noise.
    power = np.square(spreads[1:])
    octave = float(power @ np.arange(1, len(spreads)) / max(float(power.sum()), 1e-9)) if len(power) else 0.0
    coarse = spreads[2] if len(spreads) > 2 else 0.0
    detail = spreads[0] / max(coarse, 1e-3) if spreads else 0.0
    return float(grey.mean()), clipped, detail, float(np.log2(min(grey.shape))) - octave


def measure_input(
    image: Image, boxes: npt.NDArray[np.int32], n_unknown: int, scores: npt.NDArray[np.floating] | None
) -> FrameInput | None:
    """Return what the windows ``boxes`` (N, 4) of a frame, those that are not empty, bring to the model.

    ``scores`` are their unknown scores (N,). None if there is no window.
    """
    if not len(boxes):
        return None
    chosen = np.unique(np.linspace(0, len(boxes) - 1, min(len(boxes), _MOST_MEASURED)).round().astype(int))
    found = np.array(
        [
            measure_appearance(np.ascontiguousarray(image[top : top + height, left : left + width]))
            for left, top, width, height in boxes[chosen]
        ]
    )
    grey, _, detail, structure = (round(float(value), 4) for value in np.median(found, axis=0))
    score = round(float(np.median(scores)), 4) if scores is not None and len(scores) else None
    return FrameInput(
        len(boxes), n_unknown, score, grey, round(float(found[:, 1].mean()), 5), detail, structure
    )


def describe_known(
    scores: npt.NDArray[np.floating], appearances: Sequence[tuple[float, float, float, float]]
) -> dict[str, Mapping[str, float] | int]:
    """Return quantiles of validation images' unknown scores (N,), light, detail and structure, for JSON."""
    columns = np.asarray(appearances, np.float64)
    values = dict(zip(MEASURES, columns[:, [0, 2, 3]].T, strict=True)) if len(columns) else {}
    tables = {"score": np.asarray(scores, np.float64), **values}
    return {
        "n": len(scores),
        **{
            name: {f"{q:g}": round(float(np.quantile(found, q)), 4) for q in QUANTILES}
            for name, found in tables.items()
        },
    }
