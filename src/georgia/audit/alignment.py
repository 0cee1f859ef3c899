"""How alike two pictures are once one is laid on the other: the verdict about a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from georgia.audit.candidates import Candidate, turn_features, turn_points
from georgia.audit.descriptors import SIDE_PX, Description, level_contrast
from georgia.audit.symmetry import turn_image

# The smallest and largest scale that a copy may have along each side, and the least shared area.
_SCALES = (0.7, 1.45)
_MIN_OVERLAP = 0.5
_MIN_MATCHES = 5


@dataclass(frozen=True)
class Alignment:
    """The correlation (−1 to 1) over the shared area, and that area's share of the square."""

    correlation: float
    overlap: float


def align_pair(first: Description, second: Description, candidate: Candidate) -> Alignment | None:
    """Return how alike two pictures are under a candidate's symmetry, or None where nothing fits."""
    start = match_features(first, second, candidate.symmetry)
    if start is None:
        return None
    return _refine(turn_image(level_contrast(first.square), candidate.symmetry), second, start)


def match_features(first: Description, second: Description, symmetry: str) -> npt.NDArray[np.float32] | None:
    """Return the affine map (2, 3) of the turned first picture's points on the second's, or None."""
    points = turn_points(first.points, symmetry)
    features = turn_features(first.features, symmetry).astype(np.float32)
    others = second.features.astype(np.float32)
    likeness = (features @ others.T) / np.maximum(
        np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(others, axis=1)[None], 1.0
    )
    twist = np.abs(np.angle(np.exp(1j * (points[:, None, 3] - second.points[None, :, 3]))))
    likeness[twist > 0.5] = -1
    best, back = likeness.argmax(axis=1), likeness.argmax(axis=0)
    rows = np.flatnonzero((back[best] == np.arange(len(best))) & (likeness.max(axis=1) > 0.7))
    if len(rows) < _MIN_MATCHES:
        return None
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.estimateAffine2D(
        points[rows, :2], second.points[best[rows], :2], method=cv2.RANSAC, ransacReprojThreshold=2.0
    )
    if matrix is None or int(inliers.sum()) < _MIN_MATCHES or not _is_plausible(matrix):
        return None
    return np.asarray(matrix, np.float32)


def _is_plausible(matrix: npt.NDArray[Any]) -> bool:
    scales = np.array([matrix[0, 0], matrix[1, 1]])
    skew = max(abs(matrix[0, 1]), abs(matrix[1, 0]))
    return bool((scales > _SCALES[0]).all() and (scales < _SCALES[1]).all() and skew < 0.25)


def _refine(
    moving: npt.NDArray[np.float32], second: Description, start: npt.NDArray[np.float32]
) -> Alignment | None:
    """Improve a map by maximising the correlation. Source: doi 10.1109/TPAMI.2008.113."""
    fixed = level_contrast(second.square)
    middle = np.array([(SIDE_PX - 1) / 2] * 2)
    linear = np.linalg.inv(start[:, :2].astype(np.float64))
    warp = np.column_stack([linear, middle - linear @ (start[:, 2] + middle)]).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    everywhere = np.ones(fixed.shape, np.uint8)
    try:
        found = cv2.findTransformECC(fixed, moving, warp, cv2.MOTION_AFFINE, criteria, everywhere, 3)
    except cv2.error:
        return None
    warp = np.asarray(found[1], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (SIDE_PX, SIDE_PX)
    warped = cv2.warpAffine(moving, warp, size, flags=flags)
    inside = cv2.warpAffine(np.ones_like(moving), warp, size, flags=flags) > 0.99
    if inside.mean() < _MIN_OVERLAP or not _is_plausible(warp):
        return None
    correlation = float(np.corrcoef(warped[inside], fixed[inside])[0, 1])
    return Alignment(correlation, float(inside.mean()))
