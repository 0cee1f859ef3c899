"""How alike two images are once one is laid on the other: the verdict about a candidate.

The turned first image is laid on the second by the local features that both have (an affine map, by
RANSAC) or, where these are too few, as it is. The map is then improved by maximising the correlation of
both images, and the verdict is the correlation of their fine structure over what both show: slopes of
light, large shapes and empty ground do not count as likeness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from georgia.audit.evidence import measure_significance
from georgia.audit.near_duplicates.candidates import (
    measure_twist,
    normalize_features,
    turn_features,
    turn_points,
)
from georgia.audit.near_duplicates.descriptors import SIDE_PX, Description, level_contrast
from georgia.images.symmetry import Symmetry

Floats = npt.NDArray[np.float32]

# What a copy may differ in: scale along each side (80 % kept of one, or of the other), shear, and the
# least part of the square that both show (0.8 × 0.8 = 0.64, less what blurs away at the rim).
_SCALES = (0.7, 1.45)
_MAX_SHEAR = 0.25
_MIN_OVERLAP = 0.5
_MIN_MATCHES = 5
_MIN_LIKENESS = 0.7
_MAX_TWIST = 0.5
_RANSAC_PX = 2.0
# Below this correlation before the improvement no pair ends as a copy. Source: drawn crops of seed 1.
_MIN_START = 0.2
_IMPROVE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-3)
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True)
class Alignment:
    """The correlation (−1 to 1) of the fine structure that both images show, and what share that is.

    ``significance`` is how many standard deviations the correlation lies above chance.
    """

    similarity: float
    overlap: float
    significance: float


def align_pair(first: Description, second: Description, symmetry: Symmetry) -> Alignment | None:
    """Return how alike two images are, the first turned by a symmetry; None where nothing fits."""
    moving, fixed = level_contrast(symmetry.apply(first.square)), level_contrast(second.square)
    start = match_features(first, second, symmetry)
    warp = _improve(moving, fixed, np.eye(2, 3, dtype=np.float32) if start is None else start)
    if warp is None or not _is_plausible(warp):
        return None
    one = level_contrast(symmetry.apply(first.square), fine=True)
    other = level_contrast(second.square, fine=True)
    found = _correlate(one, other, warp)
    if found is None:
        return None
    similarity, overlap = found
    return Alignment(similarity, overlap, measure_significance(similarity, one, other, overlap))


def match_features(first: Description, second: Description, symmetry: Symmetry) -> Floats | None:
    """Return the affine map (2, 3), px, from the second image to the turned first one, or None."""
    points = turn_points(first.points, symmetry)
    features = normalize_features(turn_features(first.features, symmetry))
    # OpenCV's product: numpy's wakes up all cores for it, which takes longer than the product.
    likeness = cv2.gemm(
        features, normalize_features(second.features), 1.0, np.zeros(0), 0.0, flags=cv2.GEMM_2_T
    )
    likeness[measure_twist(points[:, None, 3], second.points[None, :, 3]) > _MAX_TWIST] = -1
    best, back = likeness.argmax(axis=1), likeness.argmax(axis=0)
    is_mutual = back[best] == np.arange(len(best))
    rows = np.flatnonzero(is_mutual & (likeness.max(axis=1) > _MIN_LIKENESS))
    if len(rows) < _MIN_MATCHES:
        return None
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.estimateAffine2D(
        second.points[best[rows], :2],
        points[rows, :2],
        method=cv2.RANSAC,
        ransacReprojThreshold=_RANSAC_PX,
        maxIters=500,
    )
    if matrix is None or int(inliers.sum()) < _MIN_MATCHES or not _is_plausible(matrix):
        return None
    middle = (SIDE_PX - 1) / 2
    matrix[:, 2] += middle - matrix[:, :2].sum(axis=1) * middle
    return np.asarray(matrix, np.float32)


def _is_plausible(matrix: npt.NDArray[Any]) -> bool:
    scales = np.array([matrix[0, 0], matrix[1, 1]])
    shear = max(abs(matrix[0, 1]), abs(matrix[1, 0]))
    return bool(scales.min() > _SCALES[0] and scales.max() < _SCALES[1] and shear < _MAX_SHEAR)


def _improve(moving: Floats, fixed: Floats, warp: Floats) -> Floats | None:
    """Return the map with the highest correlation near a first one.

    Source: Evangelidis and Psarakis 2008, doi 10.1109/TPAMI.2008.113.
    """
    start = _correlate(moving, fixed, warp)
    if start is None or start[0] < _MIN_START:
        return None
    everywhere = np.ones(fixed.shape, np.uint8)
    try:
        found = cv2.findTransformECC(fixed, moving, warp, cv2.MOTION_AFFINE, _IMPROVE, everywhere, 3)
    except cv2.error:
        return None
    return np.asarray(found[1], np.float32)


def _correlate(moving: Floats, fixed: Floats, warp: Floats) -> tuple[float, float] | None:
    """Return the correlation of two images (S, S) over what both show, and that share, or None."""
    warped = cv2.warpAffine(moving, warp, (SIDE_PX, SIDE_PX), flags=_WARP)
    inside = cv2.warpAffine(np.ones_like(moving), warp, (SIDE_PX, SIDE_PX), flags=_WARP) > 0.99
    overlap = float(inside.mean())
    if overlap < _MIN_OVERLAP:
        return None
    one, other = warped[inside], fixed[inside]
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return (min(float((one * other).sum()) / norm, 1.0) if norm > 0 else 0.0), overlap
