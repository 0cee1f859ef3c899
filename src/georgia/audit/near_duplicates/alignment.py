"""How similar two images are once one is aligned with the other: the decision about a candidate.

The transformed first image is aligned with the second by the local features that both have (an affine map, by
RANSAC) or, where these are too few, as it is. The map is then improved by maximising the correlation of
both images. The decision is the correlation of their fine structure over what both show: slopes of light,
large shapes and empty ground do not count as similarity.

A correlation is weighed by the number of independent samples in it, as neighbouring pixels do not vary
freely. Two smooth images with a handful of soft blobs reach a high correlation by chance, once one may be
shifted and stretched; two images full of fine structure do not. It counts for nothing where all structure is
in one spot. What many images have in common (``common``) is measured apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from georgia.audit.near_duplicates.candidates import (
    measure_twist,
    normalize_features,
    transform_features,
    transform_points,
)
from georgia.audit.near_duplicates.common import Common, is_silhouette, measure_own_similarity, warp_image
from georgia.audit.near_duplicates.descriptors import SIDE_PX, Description, level_contrast
from georgia.images.symmetry import Symmetry

Floats = npt.NDArray[np.float32]

# How near-duplicates may differ: scale along each side (80 % kept of one, or of the other), shear, and the
# least fraction of the square that both show (0.8 × 0.8 = 0.64, less what blurs away at the rim).
_SCALES = (0.7, 1.45)
_MAX_SHEAR = 0.25
_MIN_OVERLAP = 0.5
_MIN_MATCHES = 5
_MIN_LIKENESS = 0.7
_MAX_TWIST = 0.5
_RANSAC_PX = 2.0
# Below this correlation before the improvement no pair becomes a near-duplicate. Source: synthetic crops of
# seed 1.
_MIN_START = 0.2
_IMPROVE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-3)
# How far a silhouette's duplicate may be moved, px of the square, and stretched. Source: synthetic ones:
# duplicates as a whole move by 0.02 px and 0.003; the nearest other shape by 1.8 px and 0.04.
_IN_PLACE_PX, _IN_PLACE_SCALE = 1.0, 0.02
# Tiles each way, and tiles of the 64 that must hold structure. Source: synthetic crops of seed 1: their
# near-duplicates have 21 or more; one compressed spot on a blank field has 1.
_N_TILES = 8
_MIN_FILLED = 6.0


@dataclass(frozen=True)
class Alignment:
    """The correlation (−1 to 1) of the fine structure that both images show, and which fraction that is.

    ``significance`` is how many standard deviations the correlation lies above chance. ``warp`` (2, 3) maps
    the second image onto the transformed first one. ``is_shape_only`` says that two silhouettes agree, but
    not in place and size.
    """

    similarity: float
    overlap: float
    significance: float
    warp: Floats
    is_shape_only: bool


def align_pair(first: Description, second: Description, symmetry: Symmetry) -> Alignment | None:
    """Return how similar two images are, the first transformed by a symmetry; None where nothing fits."""
    moving, fixed = level_contrast(symmetry.apply(first.square)), level_contrast(second.square)
    start = match_features(first, second, symmetry)
    warp = _improve(moving, fixed, np.eye(2, 3, dtype=np.float32) if start is None else start)
    if warp is None or not _is_plausible(warp):
        return None
    fine_first, fine_second = _level_pair(first, second, symmetry)
    correlated = _correlate(fine_first, fine_second, warp)
    if correlated is None:
        return None
    similarity, overlap = correlated
    significance = measure_significance(similarity, fine_first, fine_second, overlap)
    is_shape_only = not _is_in_place(warp) and is_silhouette(first.square) and is_silhouette(second.square)
    return Alignment(similarity, overlap, significance, warp, is_shape_only)


def compare_own(
    first: Description,
    second: Description,
    symmetry: Symmetry,
    warp: Floats,
    shared: tuple[Common | None, Common | None],
) -> float:
    """Return the similarity (−1 to 1) of two aligned images without what is common to many."""
    return measure_own_similarity(*_level_pair(first, second, symmetry), warp, shared)


def _level_pair(first: Description, second: Description, symmetry: Symmetry) -> tuple[Floats, Floats]:
    return level_contrast(symmetry.apply(first.square), fine=True), level_contrast(second.square, fine=True)


def _is_in_place(warp: Floats) -> bool:
    middle = (SIDE_PX - 1) / 2
    shift = warp[:, :2].sum(axis=1) * middle + warp[:, 2] - middle
    stretch = np.abs(warp[:, :2] - np.eye(2)).max()
    return bool(np.abs(shift).max() <= _IN_PLACE_PX and stretch <= _IN_PLACE_SCALE)


def match_features(first: Description, second: Description, symmetry: Symmetry) -> Floats | None:
    """Return the affine map (2, 3), px, from the second image to the transformed first one, or None."""
    points = transform_points(first.points, symmetry)
    features = normalize_features(transform_features(first.features, symmetry))
    # OpenCV's product: numpy's starts all cores for it, which takes longer than the product.
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
    """Return the correlation of two images (S, S) over what both show, and that fraction, or None."""
    warped = warp_image(moving, warp)
    inside = warp_image(np.ones_like(moving), warp) > 0.99
    overlap = float(inside.mean())
    if overlap < _MIN_OVERLAP:
        return None
    first, second = warped[inside], fixed[inside]
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return (min(float((first * second).sum()) / norm, 1.0) if norm > 0 else 0.0), overlap


def measure_significance(correlation: float, first: Floats, second: Floats, overlap: float) -> float:
    """Return how many standard deviations a correlation lies above chance, 0 for too little structure.

    ``first`` and ``second`` (S, S) are the images, ``overlap`` the fraction of their area that was compared.
    Source: Fisher 1915, doi 10.2307/2331838 (the transform, whose deviation is 1/√(n − 3)).
    """
    if min(count_filled(first), count_filled(second)) < _MIN_FILLED:
        return 0.0
    n_samples = overlap * count_independent(first, second)
    return float(np.arctanh(np.clip(correlation, -1.0, 0.9999)) * np.sqrt(max(n_samples - 3.0, 0.0)))


def count_independent(first: Floats, second: Floats) -> float:
    """Return the number of independent samples that two images (S, S) are compared on.

    It is n / Σ ρ₁ρ₂ over all lags of their autocorrelations, here computed from the spectra.
    Source: Clifford, Richardson and Hémon 1989, doi 10.2307/2532039.

    >>> noise = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
    >>> round(count_independent(*noise), -3)
    4000.0
    """
    spectra = [np.abs(np.fft.rfft2(image - image.mean())) ** 2 for image in (first, second)]
    # A real image's spectrum is symmetric: all but the first and last column stand for two.
    weight = np.full(spectra[0].shape[1], 2.0)
    weight[[0, -1]] = 1.0
    common = float((spectra[0] * spectra[1] * weight).sum())
    total = float((spectra[0] * weight).sum()) * float((spectra[1] * weight).sum())
    return total / common if common > 0 else 0.0


def count_filled(image: Floats) -> float:
    """Return how many of an image's 64 tiles its structure fills: 1 for one spot, 64 for an even texture.

    Source: the participation ratio (Σ e)² / Σ e², Bell and Dean 1970, doi 10.1039/DF9705000055.
    """
    side = len(image) // _N_TILES
    tiles = (image * image).reshape(_N_TILES, side, _N_TILES, side).sum(axis=(1, 3)).astype(np.float64)
    square = float((tiles * tiles).sum())
    return float(tiles.sum()) ** 2 / square if square > 0 else 0.0
