"""Which images may be near-duplicates: those whose local features agree on a symmetry.

For every feature, the nearest neighbours among all images' features are searched, once as it is and once
mirrored. A neighbour votes for its image and for the symmetry that maps the one point's angle and place to
the other's. Images with enough votes for one symmetry are candidates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from georgia.audit.near_duplicates.descriptors import SIDE_PX, Description
from georgia.audit.near_duplicates.neighbours import CellIndex, Floats, Ints, learn_reduction, take_evenly
from georgia.images.symmetry import SYMMETRIES, Symmetry
from georgia.progress import QUIET, Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

# SIFT is 4 × 4 places × 8 directions along the point's own angle: a mirror image swaps its rows and
# reverses its directions.
_LAYOUT = np.arange(128).reshape(4, 4, 8)
MIRRORED: Ints = _LAYOUT[::-1, :, (8 - np.arange(8)) % 8].ravel()
# The strongest features of an image that take part in the search, and neighbours that each may name.
_N_SEARCHED = 32
_N_NEIGHBOURS = 8
# How far apart two features may lie and still vote: angle (radians), place (fraction of the side), size.
_MAX_TWIST = 0.4
_MAX_SHIFT = 0.375
_MAX_RATIO = 1.7
# Images that vote together, and features that the principal axes are learned from.
_BLOCK = 2048
_N_LEARNED_FROM = 50_000
_INVERSE: Ints = np.array([SYMMETRIES.index(symmetry.inverse) for symmetry in SYMMETRIES])


@dataclass(frozen=True)
class Candidate:
    """Two images by position, the symmetry that may map the first on the second, and its votes."""

    first: int
    second: int
    symmetry: Symmetry
    n_votes: int


def transform_points(points: Floats, symmetry: Symmetry) -> Floats:
    """Return points (K, 4) at their places in the transformed image."""
    matrix = symmetry.matrix.astype(np.float32)
    directions = np.stack([np.cos(points[:, 3]), np.sin(points[:, 3])], axis=1) @ matrix.T
    angles = np.arctan2(directions[:, 1], directions[:, 0])
    return np.column_stack([points[:, :2] @ matrix.T, points[:, 2], angles])


def transform_features(features: npt.NDArray[np.uint8], symmetry: Symmetry) -> npt.NDArray[np.uint8]:
    """Return features (K, 128) as they would be measured in the transformed image."""
    return features[:, MIRRORED] if symmetry.is_flip else features


def normalize_features(features: npt.NDArray[np.uint8]) -> Floats:
    """Return the square roots of features, at unit length, so that single large numbers weigh less.

    Source: Arandjelović and Zisserman 2012, doi 10.1109/CVPR.2012.6248018.
    """
    rooted = np.sqrt(features.astype(np.float32))
    return np.asarray(rooted / np.maximum(np.linalg.norm(rooted, axis=1, keepdims=True), 1e-6), np.float32)


def find_candidates(
    descriptions: Sequence[Description], min_votes: int, n_per_image: int, progress: Progress = QUIET
) -> list[Candidate]:
    """Return about ``n_per_image`` candidates per image, ``first`` before ``second``, most votes first."""
    search = _Search(descriptions)
    if search.n_points < 2:
        return []
    progress.start("search near-duplicates", len(descriptions))

    def count(start: int) -> tuple[Ints, Ints, int]:
        images = slice(start, min(start + _BLOCK, len(descriptions)))
        votes = np.concatenate([search.vote(images, is_mirror) for is_mirror in (False, True)])
        found, number = np.unique(votes, return_counts=True)
        return found[number >= min_votes], number[number >= min_votes], images.stop - start

    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for found, number, n_done in map_in_threads(count, range(0, len(descriptions), _BLOCK)):
        keys.append(found)
        counts.append(number)
        progress.advance(n_done)
    return _rank(np.concatenate(keys), np.concatenate(counts), len(descriptions), n_per_image)


class _Search:
    """All images' strongest features in one list, with an index over them."""

    def __init__(self, descriptions: Sequence[Description]) -> None:
        sizes = [min(len(description.points), _N_SEARCHED) for description in descriptions]
        self.n_points = sum(sizes)
        self._n_images = len(descriptions)
        if self.n_points < 2:
            return
        self._bounds = np.concatenate([[0], np.cumsum(sizes)])
        self._owners = np.repeat(np.arange(len(descriptions), dtype=np.int32), sizes)
        self._points = np.concatenate([d.points[:_N_SEARCHED] for d in descriptions])
        self._features = np.concatenate([d.features[:_N_SEARCHED] for d in descriptions])
        sample = take_evenly(self._features, _N_LEARNED_FROM)
        self._reduction = learn_reduction(normalize_features(sample))
        blocks = range(0, self.n_points, _BLOCK * _N_SEARCHED)
        reduced = [self._reduce(self._features[at : at + _BLOCK * _N_SEARCHED]) for at in blocks]
        self._index = CellIndex(np.concatenate(reduced))

    def _reduce(self, features: npt.NDArray[np.uint8]) -> Floats:
        return self._reduction.apply(normalize_features(features))

    def vote(self, images: slice, is_mirror: bool) -> Ints:
        """Return one number for each vote of some images' features: (first, second, symmetry)."""
        rows = np.arange(self._bounds[images.start], self._bounds[images.stop])
        features = self._features[rows]
        queries = self._reduce(features[:, MIRRORED] if is_mirror else features)
        near = self._index.query(queries, _N_NEIGHBOURS)
        owners, others = self._owners[rows].astype(np.int64), self._owners[near].astype(np.int64)
        is_other = (near >= 0) & (others != owners[:, None])
        votes = []
        for place, symmetry in enumerate(SYMMETRIES):
            if symmetry.is_flip != is_mirror:
                continue
            points = transform_points(self._points[rows], symmetry)
            query, neighbour = np.nonzero(is_other & _agree(points[:, None], self._points[near]))
            key = (owners[query] * self._n_images + others[query, neighbour]) * len(SYMMETRIES) + place
            # A feature has one vote for an image, however many of that image's features are near.
            votes.append(np.unique(np.column_stack([query, key]), axis=0)[:, 1])
        return np.concatenate(votes)


def _agree(points: Floats, others: Floats) -> npt.NDArray[np.bool_]:
    """Return where features (…, 4) have about the same place, size and angle."""
    is_near = np.abs(points[..., :2] - others[..., :2]).max(axis=-1) < _MAX_SHIFT * SIDE_PX
    ratio = points[..., 2] / others[..., 2]
    is_alike = (ratio < _MAX_RATIO) & (ratio > 1 / _MAX_RATIO)
    return np.asarray(is_near & is_alike & (measure_twist(points[..., 3], others[..., 3]) < _MAX_TWIST))


def measure_twist(angles: Floats, others: Floats) -> Floats:
    """Return the difference of angles, radians, 0 to π."""
    return np.asarray(np.abs((angles - others + np.pi) % (2 * np.pi) - np.pi))


def _rank(keys: Ints, counts: Ints, n_images: int, n_per_image: int) -> list[Candidate]:
    """Return candidates from votes; of a pair that votes both ways, the side with more counts."""
    pair, symmetry = np.divmod(keys, len(SYMMETRIES))
    first, second = np.divmod(pair, n_images)
    is_back = first > second
    first, second = np.where(is_back, second, first), np.where(is_back, first, second)
    symmetry = np.where(is_back, _INVERSE[symmetry], symmetry)
    merged, where = np.unique((first * n_images + second) * len(SYMMETRIES) + symmetry, return_inverse=True)
    votes = np.zeros(len(merged), np.int64)
    np.maximum.at(votes, where.reshape(-1), counts)
    used: npt.NDArray[np.int64] = np.zeros(n_images, np.int64)
    chosen = []
    for place in np.lexsort((merged, -votes)):
        pair_key, symmetry_index = divmod(int(merged[place]), len(SYMMETRIES))
        ends = divmod(pair_key, n_images)
        if used[list(ends)].min() < n_per_image:
            used[list(ends)] += 1
            chosen.append(Candidate(*ends, SYMMETRIES[symmetry_index], int(votes[place])))
    return chosen


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function`` of each item, in order, computed by as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="georgia-audit") as pool:
        yield from pool.map(function, items)
