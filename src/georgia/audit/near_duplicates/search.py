"""Duplicates in a set of images: exact ones and near ones, under all eight rotations and reflections.

Exact duplicates have the same decoded pixels, whatever the file type, mode or bit depth. Near-duplicates show
the same scene re-compressed, resized, brighter or darker, shifted or cropped by up to 20 %, or a moment
later. Candidates come from local features (``candidates``), the decision from the correlation of the two
aligned images (``alignment``), less what is common to many (``common``): images that agree on a scene or an
apparatus, but on nothing of their own, are no duplicates but a question to the user.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from threadpoolctl import threadpool_limits

from georgia.audit.groups import connect
from georgia.audit.near_duplicates.alignment import Alignment, align_pair
from georgia.audit.near_duplicates.candidates import Candidate, find_candidates, map_in_threads
from georgia.audit.near_duplicates.common import learn_common_by_size
from georgia.audit.near_duplicates.descriptors import Description
from georgia.audit.near_duplicates.matches import Match, separate_matches
from georgia.audit.settings import NearDuplicateConfig
from georgia.images.symmetry import SYMMETRIES, Symmetry
from georgia.progress import QUIET, Progress

DuplicateKind = Literal["exact", "near"]
# Candidates of an image that are aligned with it; further near-duplicates join its group through others.
_MAX_CANDIDATES = 20
_DEFAULTS = NearDuplicateConfig()


class GroupKind(StrEnum):
    """What the images of a group have in common."""

    EXACT = "exact"
    OVERLAPPING = "overlapping"
    SAME_SCENE = "same scene or apparatus"


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

    Of n exact duplicates each is paired with the first one: n − 1 pairs, not n (n − 1) / 2. ``same_scene``
    are sets of images that agree on a scene or an apparatus only: no pair and no group joins them.
    """

    pairs: tuple[DuplicatePair, ...]
    groups: tuple[tuple[int, ...], ...]
    same_scene: tuple[tuple[int, ...], ...] = ()

    def kind_of(self, group: Sequence[int]) -> GroupKind:
        """Return what joins a group: "exact" if all its images are equal."""
        return GroupKind.EXACT if self._first_of_near.isdisjoint(group) else GroupKind.OVERLAPPING

    @cached_property
    def _first_of_near(self) -> frozenset[int]:
        return frozenset(pair.first for pair in self.pairs if pair.kind == "near")


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
    questions: list[tuple[int, int]] = []
    if config.near:
        # One of several exact duplicates stands for all. The choice and the order depend on content only,
        # so that the order of files changes nothing.
        orders = {symmetry: order for order, symmetry in enumerate(SYMMETRIES)}
        distinct = [
            min(members, key=lambda item: (orders[item[1].upright], item[0])) for members in by_key.values()
        ]
        distinct.sort(key=lambda item: item[1].key)
        # On products of a few hundred rows numpy's own threads take four times as long as one core.
        with threadpool_limits(limits=1, user_api="blas"):
            near, questions = _find_near(distinct, config, progress)
        pairs += near
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    groups = connect(len(descriptions), [(pair.first, pair.second) for pair in pairs])
    group_of = {position: at for at, group in enumerate(groups) for position in group}
    # A pair that others join already is no question.
    asked = [ends for ends in questions if group_of.get(ends[0], -1) != group_of.get(ends[1], -2)]
    same_scene = connect(len(descriptions), asked)
    return Duplicates(tuple(pairs), tuple(map(tuple, groups)), tuple(map(tuple, same_scene)))


def _pair_exact(members: Sequence[tuple[int, Description]]) -> list[DuplicatePair]:
    (first, description), *others = members
    return [
        DuplicatePair(first, position, "exact", description.find_transform(other), similarity=1.0)
        for position, other in others
    ]


def _find_near(
    distinct: list[tuple[int, Description]], config: NearDuplicateConfig, progress: Progress
) -> tuple[list[DuplicatePair], list[tuple[int, int]]]:
    """Return near-duplicates among (position, description) of which no two are exact duplicates.

    The second list holds the pairs that agree on a scene or an apparatus only.
    """
    descriptions = [description for _, description in distinct]
    candidates = find_candidates(descriptions, config.min_votes, _MAX_CANDIDATES, progress)
    progress.start("compare near-duplicates", len(candidates))
    commons = learn_common_by_size(descriptions) if candidates else []

    def match(candidate: Candidate) -> Match | None:
        first, second = candidate.first, candidate.second
        alignment = align_pair(descriptions[first], descriptions[second], candidate.symmetry)
        if alignment is None or not _is_alike(alignment, config):
            return None
        found = Match(first, second, candidate.symmetry, alignment, alignment.similarity)
        return found.measure(descriptions, commons[first], commons[second])

    best: dict[tuple[int, int], Match] = {}
    for found in map_in_threads(match, candidates):
        progress.advance()
        if found is None:
            continue
        known = best.get(found.ends)
        if known is None or found.own_similarity > known.own_similarity:
            best[found.ends] = found
    joined, apart = separate_matches(list(best.values()), descriptions, config)
    positions = [position for position, _ in distinct]
    pairs = [_make_pair(positions[match.first], positions[match.second], match) for match in joined]
    return pairs, [(positions[match.first], positions[match.second]) for match in apart]


def _is_alike(alignment: Alignment, config: NearDuplicateConfig) -> bool:
    return alignment.similarity >= config.min_similarity and alignment.significance >= config.min_significance


def _make_pair(first: int, second: int, match: Match) -> DuplicatePair:
    similarity = match.alignment.similarity
    if first < second:
        return DuplicatePair(first, second, "near", match.symmetry, similarity)
    return DuplicatePair(second, first, "near", match.symmetry.inverse, similarity)
