"""From windows to fractions of a frame, each with n and a 95 % interval.

The fraction of a class is its share of the judged windows: those that show a crystal that the model knows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from georgia.intervals import wilson_interval
from georgia.monitor.result import ClassFraction


def count_effective(boxes: npt.NDArray[np.int32]) -> float:
    """Return how many windows that do not overlap the given ones (N, 4) are worth.

    ``N² / Σᵢⱼ ρᵢⱼ``, with ρ the share of a window's area that two of them have in common.
    Source: Kish 1965, Survey Sampling (variance of a mean of correlated values).

    >>> count_effective(np.array([[0, 0, 10, 10], [10, 0, 10, 10]], np.int32))
    2.0
    """
    if len(boxes) == 0:
        return 0.0
    left, top, width, height = (boxes[:, column].astype(np.float64) for column in range(4))
    across = _overlap(left, width)
    down = _overlap(top, height)
    shared = across * down / (width * height)[:, None]
    return float(len(boxes) ** 2 / shared.sum())


def _overlap(start: npt.NDArray[np.float64], length: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    end = start + length
    shared = np.minimum(end[:, None], end[None, :]) - np.maximum(start[:, None], start[None, :])
    result: npt.NDArray[np.float64] = np.maximum(shared, 0.0)
    return result


def estimate_fractions(
    boxes: npt.NDArray[np.int32],
    codes: npt.NDArray[np.int8],
    probabilities: npt.NDArray[np.float32],
    names: tuple[str, ...],
) -> tuple[tuple[ClassFraction, ...], float]:
    """Return each class's fraction, and the effective number of judged windows."""
    judged = codes >= 0
    n_judged = int(judged.sum())
    n_effective = count_effective(boxes[judged])
    if n_judged == 0:
        return (), 0.0
    counts = np.bincount(codes[judged], minlength=len(names))
    items = []
    for name, count in zip(names, counts.tolist(), strict=True):
        share = count / n_judged
        low, high = wilson_interval(share, n_effective)
        items.append(ClassFraction(name, share, low, high, count))
    return tuple(items), n_effective
