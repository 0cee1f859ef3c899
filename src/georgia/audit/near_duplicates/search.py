"""Duplicates in a set of images: exact ones and near ones, under all eight rotations and reflections.

Exact duplicates have the same decoded pixels, whatever the file type, mode or bit depth. Near-duplicates show
the same scene re-compressed, resized, brighter or darker, shifted or cropped by up to 20 %, or a moment
later. Candidates come from local features (``candidates``), the decision from the correlation of the two
aligned images (``alignment``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from threadpoolctl import threadpool_limits

from georgia.audit.groups import connect
from georgia.audit.near_duplicates.alignment import Alignment, align_pair
from georgia.audit.near_duplicates.candidates import Candidate, find_candidates, map_in_threads
from georgia.audit.near_duplicates.descriptors import Description
from georgia.audit.settings import NearDuplicateConfig
from georgia.images.symmetry import SYMMETRIES, Symmetry
from georgia.progress import QUIET, Progress

DuplicateKind = Literal["exact", "near"]
# Candidates of an image that are aligned with it; further near-duplicates join its group through others.
_MAX_CANDIDATES = 20
_DEFAULTS = NearDuplicateConfig()


@dataclass(frozen=True)
class DuplicatePair:
    """Two duplicates by position: ``transform`` maps the first onto the second.

    ``similarity`` is 1 for exact duplicates, else the correlation (0–1) over what both show.
    """

    first: int
    second: int
    kind: DuplicateKind
    transform: Symmetry
    similarity: float


@dataclass(frozen=True)
class Duplicates:
    """``pairs`` in order of position, and ``groups``: all images that pairs join, two or more each.

    Of n exact duplicates each is paired with the first one: n − 1 pairs, not n (n − 1) / 2.
    """

    pairs: tuple[DuplicatePair, ...]
    groups: tuple[tuple[int, ...], ...]


def find_near_duplicates(
    descriptions: Sequence[Description | None],
    config: NearDuplicateConfig = _DEFAULTS,
    progress: Progress = QUIET,
) -> Duplicates:
    """Return the duplicates among images; None stands for an image that cannot be read.

    >>> from georgia.audit.near_duplicates.descriptors import describe_image
    >>> import numpy as np
    >>> image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    >>> found = find_near_duplicates([describe_image(image), None, describe_image(image[:, ::-1])])
    >>> found.groups, str(found.pairs[0].transform)
    (((0, 2),), 'flip left-right')
    """
    by_key: dict[bytes, list[tuple[int, Description]]] = defaultdict(list)
    for position, description in enumerate(descriptions):
        if description is not None:
            by_key[description.key].append((position, description))
    pairs = [pair for members in by_key.values() for pair in _pair_exact(members)]
    if config.near:
        # One of several exact duplicates stands for all. The choice and the order depend on content only,
        # so that the order of files changes nothing.
        distinct = [min(members, key=lambda item: (item[1].keys[0], item[0])) for members in by_key.values()]
        distinct.sort(key=lambda item: item[1].keys[0])
        # On products of a few hundred rows numpy's own threads take four times as long as one core.
        with threadpool_limits(limits=1, user_api="blas"):
            pairs += _find_near(distinct, config, progress)
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    groups = connect(len(descriptions), [(pair.first, pair.second) for pair in pairs])
    return Duplicates(tuple(pairs), tuple(tuple(group) for group in groups))


def _pair_exact(members: Sequence[tuple[int, Description]]) -> list[DuplicatePair]:
    (first, description), *others = members
    return [
        DuplicatePair(
            first, position, "exact", SYMMETRIES[description.keys.index(other.keys[0])], similarity=1.0
        )
        for position, other in others
    ]


def _find_near(
    distinct: list[tuple[int, Description]], config: NearDuplicateConfig, progress: Progress
) -> list[DuplicatePair]:
    """Return near-duplicates among (position, description) of which no two are exact duplicates."""
    descriptions = [description for _, description in distinct]
    candidates = find_candidates(descriptions, config.min_votes, _MAX_CANDIDATES, progress)
    progress.start("compare near-duplicates", len(candidates))

    def align(candidate: Candidate) -> Alignment | None:
        first, second = descriptions[candidate.first], descriptions[candidate.second]
        return align_pair(first, second, candidate.symmetry)

    best: dict[tuple[int, int], DuplicatePair] = {}
    for candidate, alignment in zip(candidates, map_in_threads(align, candidates), strict=True):
        progress.advance()
        if alignment is None or not _is_duplicate(alignment, config):
            continue
        pair = _make_pair(
            distinct[candidate.first][0], distinct[candidate.second][0], candidate, alignment.similarity
        )
        known = best.get((pair.first, pair.second))
        if known is None or pair.similarity > known.similarity:
            best[pair.first, pair.second] = pair
    return list(best.values())


def _is_duplicate(alignment: Alignment, config: NearDuplicateConfig) -> bool:
    return alignment.similarity >= config.min_similarity and alignment.significance >= config.min_significance


def _make_pair(first: int, second: int, candidate: Candidate, similarity: float) -> DuplicatePair:
    if first < second:
        return DuplicatePair(first, second, "near", candidate.symmetry, similarity)
    return DuplicatePair(second, first, "near", candidate.symmetry.inverse, similarity)
