"""From windows to fractions of a frame, each with n and a 95 % confidence interval.

The fraction of a class is taken of the analysed windows: those that show a crystal of a known class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.metrics.intervals import wilson_interval
from georgia.monitor.result import ClassFraction

# How much more a frame's fraction varies than independent windows would: windows of one frame have its light
# and focus in common, and a net makes the same errors on all of them. Source: 220 synthetic frames with known
# truth (benchmarks/fraction.py, seed 50000), where 1.5 brings the interval's coverage from 91 to 96 %.
DESIGN_EFFECT = 1.5

Floats = npt.NDArray[np.float64]


def count_effective(boxes: npt.NDArray[np.int32], weights: Floats | None = None) -> float:
    """Return how many windows that do not overlap the given ones (N, 4) are worth.

    ``(Σᵢ wᵢ)² / Σᵢⱼ wᵢ wⱼ ρᵢⱼ``, with ρ the fraction of a window's area that two of them have in common, and
    w their weights (N,), 0 or more, equal where not given.
    Source: Kish 1965, Survey Sampling (variance of a mean of correlated values).

    >>> count_effective(np.array([[0, 0, 10, 10], [10, 0, 10, 10]], np.int32))
    2.0
    """
    if len(boxes) == 0:
        return 0.0
    left, top, width, height = (boxes[:, column].astype(np.float64) for column in range(4))
    across = _overlap(left, width)
    down = _overlap(top, height)
    correlation = across * down / (width * height)[:, None]
    counted = np.ones(len(boxes)) if weights is None else weights
    return float(counted.sum() ** 2 / (counted @ correlation @ counted))


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
    smoothing: float = 0.0,
    cover: Floats | None = None,
    worth: float = 1.0,
) -> tuple[tuple[ClassFraction, ...], float]:
    """Return each class's fraction of the analysed windows, and how many independent ones they are worth.

    A fraction is the mean of the class's probability over the analysed windows: a window that shows both
    classes counts for each in part, where counting labels would give all of it to the larger. Each window
    counts by its ``cover`` (N,), 0–1: how much of it crystals cover. Of a window with the tip of one crystal
    a net names the class that it sees in such tips, whatever the crystal; with equal weights these pull the
    fraction towards that class. What comes out is the class's fraction of the crystals' area, not of the
    windows: crystals that are stout fill their windows more than needles do. Without ``cover``, or where it
    is 0 everywhere, weights are equal. A net that was trained with label smoothing s keeps its probabilities
    between s/C and 1 − s + s/C; that is undone.
    ``n_effective`` is multiplied by ``worth``: see ``georgia.monitor.window_subsets``.
    The interval is Wilson's of that mean in ``n_effective / DESIGN_EFFECT`` trials, undone in the same way.
    Where all windows together hold less of a class than one independent window would, its lower limit is 0,
    and 1 the upper limit of what fills the rest.

    Source: probabilistic adjusted classify and count, Bella et al. 2010, doi 10.1109/ICDM.2010.75; label
    smoothing, Szegedy et al. 2016, doi 10.1109/CVPR.2016.308.
    """
    analysed = codes >= 0
    if not analysed.any():
        return (), 0.0
    weights = np.ones(len(codes)) if cover is None or not cover[analysed].any() else cover
    n_effective = worth * count_effective(boxes[analysed], weights[analysed])
    counts = np.bincount(codes[analysed], minlength=len(names))
    means = np.average(probabilities[analysed].astype(np.float64), axis=0, weights=weights[analysed])
    fractions = _undo_smoothing(means, smoothing)
    fractions /= fractions.sum()
    items = []
    for index, name in enumerate(names):
        fraction, n_trials = float(fractions[index]), n_effective / DESIGN_EFFECT
        limits = wilson_interval(float(np.clip(means[index], 0.0, 1.0)), n_trials)
        low, high = _undo_smoothing(np.array(limits), smoothing, len(names))
        low = low if fraction * n_trials >= 1 else 0.0
        high = high if (1 - fraction) * n_trials >= 1 else 1.0
        items.append(
            ClassFraction(
                name, fraction, min(float(low), fraction), max(float(high), fraction), int(counts[index])
            )
        )
    return tuple(items), n_effective


def _undo_smoothing(
    values: npt.NDArray[np.float64], smoothing: float, n_classes: int = 0
) -> npt.NDArray[np.float64]:
    floor = smoothing / (n_classes or len(values))
    return np.clip((values - floor) / (1.0 - smoothing), 0.0, 1.0)


def find_smoothing(metadata: Mapping[str, Any]) -> float:
    """Return the label smoothing that a model's probabilities still carry, 0–1.

    One whose probabilities were calibrated afterwards carries none.
    """
    recipe = metadata.get("recipe")
    if "calibration" in metadata or not isinstance(recipe, Mapping):
        return 0.0
    return float(recipe.get("label_smoothing") or 0.0)
