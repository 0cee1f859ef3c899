"""Which pictures may be copies of one another: those whose local features agree on a symmetry.

Every feature looks for its nearest neighbours among all pictures' features, once as it is and once
mirrored. A neighbour votes for its picture and for the symmetry that turns the one point's angle into
the other's. Pictures with enough votes for one symmetry are candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georgia.audit.descriptors import Description
from georgia.audit.symmetry import IS_MIRROR, MATRICES, SYMMETRIES
from georgia.progress import QUIET, Progress

# SIFT is 4 × 4 places × 8 directions along the point's own angle: a mirror swaps its rows and turns
# its directions back.
_LAYOUT = np.arange(128).reshape(4, 4, 8)
MIRRORED: npt.NDArray[np.int64] = _LAYOUT[::-1, :, (8 - np.arange(8)) % 8].ravel()
N_SEARCHED = 32
N_NEIGHBOURS = 8
_BLOCK = 2048


@dataclass(frozen=True)
class Candidate:
    """Two pictures by position, the symmetry that may map the first on the second, and its votes."""

    first: int
    second: int
    symmetry: str
    n_votes: int


def turn_points(points: npt.NDArray[np.float32], symmetry: str) -> npt.NDArray[np.float32]:
    """Return points (K, 4) as they stand in the turned picture."""
    matrix = MATRICES[SYMMETRIES.index(symmetry)]
    directions = np.stack([np.cos(points[:, 3]), np.sin(points[:, 3])], axis=1) @ matrix.T
    angles = np.arctan2(directions[:, 1], directions[:, 0])
    return np.column_stack([points[:, :2] @ matrix.T, points[:, 2], angles]).astype(np.float32)


def turn_features(features: npt.NDArray[np.uint8], symmetry: str) -> npt.NDArray[np.uint8]:
    """Return features (K, 128) as they would be measured in the turned picture."""
    return features[:, MIRRORED] if IS_MIRROR[SYMMETRIES.index(symmetry)] else features


def find_candidates(
    descriptions: Sequence[Description], min_votes: int = 3, most: int = 20, progress: Progress = QUIET
) -> list[Candidate]:
    """Return up to ``most`` candidates a picture, ``first`` before ``second``, most votes first."""
    owners = np.concatenate([np.full(min(len(d.points), N_SEARCHED), k) for k, d in enumerate(descriptions)])
    points = np.concatenate([d.points[:N_SEARCHED] for d in descriptions])
    raw = np.concatenate([d.features[:N_SEARCHED] for d in descriptions])
    features = _unit(raw)
    votes: dict[tuple[int, int, int], int] = {}
    for is_mirror in (False, True):
        queries = _unit(raw[:, MIRRORED]) if is_mirror else features
        for start in range(0, len(queries), _BLOCK):
            block = slice(start, start + _BLOCK)
            likeness = queries[block] @ features.T
            likeness[owners[block][:, None] == owners[None, :]] = -1
            near = np.argpartition(-likeness, min(N_NEIGHBOURS, len(features) - 1), axis=1)[:, :N_NEIGHBOURS]
            _count_votes(votes, points, owners, np.arange(len(queries))[block], near, is_mirror)
    return _rank(votes, min_votes, most)


def _unit(features: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the square roots of features, scaled to unit length. Source: 10.1109/CVPR.2012.6248018."""
    rooted = np.sqrt(features.astype(np.float32))
    return np.asarray(rooted / np.maximum(np.linalg.norm(rooted, axis=1, keepdims=True), 1e-6), np.float32)


def _count_votes(
    votes: dict[tuple[int, int, int], int],
    points: npt.NDArray[np.float32],
    owners: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    near: npt.NDArray[np.int64],
    is_mirror: bool,
) -> None:
    for symmetry in np.flatnonzero(is_mirror == IS_MIRROR):
        turned = turn_points(points[rows], SYMMETRIES[symmetry])
        shift = points[near][:, :, :2] - turned[:, None, :2]
        twist = np.abs(np.angle(np.exp(1j * (points[near][:, :, 3] - turned[:, None, 3]))))
        agrees = (twist < 0.4) & (np.abs(shift).max(axis=2) < 24)
        for row, column in zip(*np.nonzero(agrees), strict=True):
            first, second = int(owners[rows[row]]), int(owners[near[row, column]])
            key = (first, second, int(symmetry))
            votes[key] = votes.get(key, 0) + 1


def _rank(votes: dict[tuple[int, int, int], int], min_votes: int, most: int) -> list[Candidate]:
    merged: dict[tuple[int, int, int], int] = {}
    for (first, second, symmetry), count in votes.items():
        if first > second:
            back = next(
                k for k, matrix in enumerate(MATRICES) if np.array_equal(matrix, MATRICES[symmetry].T)
            )
            first, second, symmetry = second, first, back
        merged[first, second, symmetry] = max(count, merged.get((first, second, symmetry), 0))
    ranked = sorted((-count, key) for key, count in merged.items() if count >= min_votes)
    used: dict[int, int] = {}
    chosen = []
    for count, (first, second, symmetry) in ranked:
        if min(used.get(first, 0), used.get(second, 0)) < most:
            used[first] = used.get(first, 0) + 1
            used[second] = used.get(second, 0) + 1
            chosen.append(Candidate(first, second, SYMMETRIES[symmetry], -count))
    return chosen
