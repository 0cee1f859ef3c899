"""What stands at the same place in many images, and how alike two images are without it.

Images of one apparatus agree on a frame, busbars, dirt on a window, the plate behind, a legend burnt in: that
is no sign of one crystal in two images. The mean of many images' fine structure holds what is common; it is
taken off both images of a pair, and places where it explains much of the structure weigh less. What is left
is each image's own, and only that decides. A silhouette has no structure inside to decide by: any two of one
shape can be aligned, so only the same place and size make two of them duplicates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
import numpy.typing as npt

from georgia.audit.near_duplicates.descriptors import SIDE_PX, Description, level_contrast
from georgia.images.symmetry import SYMMETRIES

Floats = npt.NDArray[np.float32]

# Among fewer images a scene that several show cannot be told from an apparatus that all show.
MIN_IMAGES = 20
# Images that a mean is taken of, at most: more change nothing.
_MOST_IMAGES = 2000
# From this fraction of shared structure on, images have nothing of their own. Source: synthetic sets, seed 5:
# frames of one resting scene have 0.93 or more, solar cells of one type 0.85 or less.
_WHOLLY_COMMON = 0.9
# Structure with a variance below this counts for nothing.
_LEAST_VARIANCE = 1e-6
# Fractions of the pixels that have one of two levels, and of the variance that two levels explain, from which
# on an image is a silhouette, once a slope of light is taken off. Source: synthetic silhouettes 0.95 and 0.94
# or more; 540 crops and 400 thin sections of rock 0.82 or less for the first.
_FLAT, _EXPLAINED = 0.85, 0.85
# How far a pixel may be off its level: a part of the step, or so many deviations of the noise, up to a part.
_LEVEL_WIDTH, _NOISE_WIDTH, _MOST_WIDTH = 0.08, 2.0, 0.15
_N_SLOPE_STEPS = 4
# Source: Immerkaer 1996, doi 10.1006/cviu.1996.0060: noise from a kernel that edges and slopes leave no trace
# in; the median, as edges that bend do. 6 is the root of the kernel's sum of squares.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
_SIGMA_OF_MEDIAN = 0.6745


@dataclass(frozen=True, eq=False)
class Common:
    """The ``mean`` (S, S) of many images' fine structure, and the ``fraction`` (S, S), 0–1, it explains."""

    mean: Floats
    fraction: Floats

    @cached_property
    def _means(self) -> Floats:
        """The mean in all eight orientations (8, S · S)."""
        return np.stack([symmetry.apply(self.mean).ravel() for symmetry in SYMMETRIES])

    def take_off(self, square: Floats) -> tuple[Floats, Floats]:
        """Return a levelled image (S, S) without what is common, and the weight (S, S) of each pixel.

        A file may be rotated or flipped, its apparatus with it: the orientation that fits best is taken.
        """
        fits = self._means @ square.ravel()
        best = int(fits.argmax())
        power = float((self.mean * self.mean).sum())
        factor = float(np.clip(fits[best] / power, 0, 2)) if power > 0 else 0.0
        shared = self._means[best].reshape(square.shape)
        return square - np.float32(factor) * shared, 1 - SYMMETRIES[best].apply(self.fraction)


def learn_common(squares: Iterable[Floats]) -> Common | None:
    """Return what levelled squares (S, S) have in common; None where they have nothing else, or are too few.

    The fraction is free of the bias that a mean of few images has: of unrelated images it is 0 on average.
    """
    total, power = np.zeros((SIDE_PX, SIDE_PX)), np.zeros((SIDE_PX, SIDE_PX))
    n = 0
    for square in squares:
        total += square
        power += square * square
        n += 1
    if n < 2:
        return None
    mean, power = total / n, power / n + _LEAST_VARIANCE
    raw = np.clip((n * mean * mean / power - 1) / (n - 1), 0, 1).astype(np.float32)
    # What is shared may stand a pixel beside its place.
    fraction = np.asarray(cv2.GaussianBlur(raw, (0, 0), 1.0), np.float32)
    if float((fraction * power).sum() / power.sum()) >= _WHOLLY_COMMON:
        return None
    return Common(mean.astype(np.float32), fraction)


def learn_common_by_size(descriptions: Sequence[Description]) -> list[Common | None]:
    """Return for each image what images of its size have in common, or all images where those are too few."""
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, description in enumerate(descriptions):
        by_size[description.size_px].append(position)
    everything = range(len(descriptions))
    common_of: list[Common | None] = [_learn(descriptions, everything)] * len(descriptions)
    for positions in by_size.values():
        if MIN_IMAGES <= len(positions) < len(descriptions):
            own = _learn(descriptions, positions)
            for position in positions:
                common_of[position] = own
    return common_of


def _learn(descriptions: Sequence[Description], positions: Sequence[int]) -> Common | None:
    if len(positions) < MIN_IMAGES:
        return None
    step = -(-len(positions) // _MOST_IMAGES)
    return learn_common(level_contrast(descriptions[at].square, fine=True) for at in positions[::step])


def measure_own_similarity(
    first: Floats, second: Floats, warp: Floats, shared: tuple[Common | None, Common | None]
) -> float:
    """Return the correlation (−1 to 1) of what is two levelled images' (S, S) own.

    ``warp`` (2, 3) maps the second onto the first, and ``shared`` is what each has in common with others.
    """
    (own_first, weight_first), (own_second, weight_second) = (
        (square, np.ones_like(square)) if common is None else common.take_off(square)
        for square, common in zip((first, second), shared, strict=True)
    )
    moved, weight = warp_image(own_first, warp), warp_image(weight_first, warp) * weight_second
    # Squared, as both ends of a product must be free of what is shared.
    weight = weight * weight
    spread = float((weight * moved * moved).sum()) * float((weight * own_second * own_second).sum())
    return float((weight * moved * own_second).sum()) / float(np.sqrt(spread)) if spread > 0 else 0.0


def warp_image(square: Floats, warp: Floats) -> Floats:
    """Return an image (S, S) at the places that an affine map (2, 3) gives; 0 beyond its rim."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(square, warp, (SIDE_PX, SIDE_PX), flags=flags), np.float32)


def is_silhouette(square: npt.NDArray[np.uint8]) -> bool:
    """Whether an image (S, S) is one flat shape on a flat ground, in light of any slope and with noise.

    Source: Otsu 1979, doi 10.1109/TSMC.1979.4310076 (the threshold, and the variance that it explains).

    >>> disc = cv2.circle(np.zeros((64, 64), np.uint8), (30, 30), 15, 120, -1)
    >>> slope = (np.arange(4096).reshape(64, 64) // 40).astype(np.uint8)
    >>> is_silhouette(disc), is_silhouette(disc + slope), is_silhouette(slope)
    (True, True, False)
    """
    found = _take_off_slope(square.astype(np.float32))
    if found is None:
        return False
    levels, is_high = found
    high, low = levels[is_high], levels[~is_high]
    explained = is_high.mean() * (1 - is_high.mean()) * (high.mean() - low.mean()) ** 2
    upper, lower = np.median(high), np.median(low)
    noise = np.median(np.abs(cv2.filter2D(levels, -1, _NOISE_KERNEL))) / _SIGMA_OF_MEDIAN
    step = abs(upper - lower)
    width = max(_LEVEL_WIDTH * step, min(_NOISE_WIDTH * noise, _MOST_WIDTH * step))
    off = np.minimum(np.abs(levels - upper), np.abs(levels - lower))
    return bool((off <= width).mean() >= _FLAT and explained >= _EXPLAINED * levels.var())


def _take_off_slope(light: Floats) -> tuple[Floats, npt.NDArray[np.bool_]] | None:
    """Return an image (S, S) without its slope of light, and which pixels are the brighter ones.

    Shape and slope are fitted together, in turns with the threshold; None where there are no two levels.
    """
    plane = _make_plane(len(light))
    basis, is_high = plane, np.zeros(light.shape, np.bool_)
    for _ in range(_N_SLOPE_STEPS):
        slope = np.linalg.lstsq(basis @ basis.T, basis @ light.ravel(), rcond=None)[0][1:3]
        flat = np.asarray(light - (slope @ plane[1:3]).reshape(light.shape), np.float32)
        lowest, highest = float(flat.min()), float(flat.max())
        if highest - lowest < 1:
            return None
        grey = ((flat - lowest) * (255 / (highest - lowest))).round().astype(np.uint8)
        before, is_high = is_high, cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)[1] > 0
        if is_high.all() or not is_high.any():
            return None
        if (is_high == before).all():
            break
        basis = np.concatenate([plane, is_high.reshape(1, -1).astype(np.float32)])
    return flat, is_high


@cache
def _make_plane(side: int) -> Floats:
    """Return what a slope of light is made of, (3, S · S): ones, x and y."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    return np.stack([np.ones(side**2, np.float32), np.tile(axis, side), np.repeat(axis, side)])
