"""Which pairs of alike images are duplicates, and which only show the same scene or apparatus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from georgia.audit.groups import connect
from georgia.audit.near_duplicates.alignment import Alignment, compare_own
from georgia.audit.near_duplicates.common import Common, learn_common
from georgia.audit.near_duplicates.descriptors import Description, level_contrast
from georgia.audit.settings import NearDuplicateConfig
from georgia.images.symmetry import Symmetry

# Groups up to this size are never large: what so few have in common may as well be their crystal.
_ALWAYS_SMALL = 10
# Members that a large group's common structure is learned from, at most.
_MOST_MEMBERS = 500


@dataclass(frozen=True)
class Match:
    """Two alike images by position; ``own_similarity`` leaves out what each has in common with others."""

    first: int
    second: int
    symmetry: Symmetry
    alignment: Alignment
    own_similarity: float

    @property
    def ends(self) -> tuple[int, int]:
        """The two positions."""
        return self.first, self.second

    def measure(
        self, descriptions: Sequence[Description], shared_first: Common | None, shared_second: Common | None
    ) -> Match:
        """Return the match with its own similarity, given what each image has in common with others."""
        if shared_first is None and shared_second is None:
            return self
        images = descriptions[self.first], descriptions[self.second]
        own = compare_own(*images, self.symmetry, self.alignment.warp, (shared_first, shared_second))
        return replace(self, own_similarity=own)


def separate_matches(
    matches: Sequence[Match], descriptions: Sequence[Description], config: NearDuplicateConfig
) -> tuple[list[Match], list[Match]]:
    """Return the matches that are duplicates, and those that only show the same scene or apparatus.

    A group of more than ``large_group`` of all images is examined once more: several types of apparatus in
    one set have little in common over the whole set, but much within such a group.
    """
    joined: list[Match] = []
    apart: list[Match] = []
    for match in matches:
        (joined if _is_own(match, config) else apart).append(match)
    limit = max(_ALWAYS_SMALL, config.large_group * len(descriptions))
    large = [group for group in connect(len(descriptions), [m.ends for m in joined]) if len(group) > limit]
    group_of = {position: at for at, group in enumerate(large) for position in group}
    links: dict[int, list[Match]] = defaultdict(list)
    kept = []
    for match in joined:
        if match.first in group_of:
            links[group_of[match.first]].append(match)
        else:
            kept.append(match)
    for own in links.values():
        for match in _examine_large(own, descriptions):
            (kept if _is_own(match, config) else apart).append(match)
    return kept, apart


def _is_own(match: Match, config: NearDuplicateConfig) -> bool:
    return match.own_similarity >= config.min_own_similarity and not match.alignment.is_shape_only


def _examine_large(links: Sequence[Match], descriptions: Sequence[Description]) -> list[Match]:
    """Return the links of one group with their similarity beyond what the group's members have in common."""
    oriented = _orient(links)
    step = -(-len(oriented) // _MOST_MEMBERS)
    squares = [(descriptions[member].square, symmetry) for member, symmetry in oriented.items()]
    common = learn_common(
        level_contrast(symmetry.apply(square), fine=True) for square, symmetry in squares[::step]
    )
    if common is None:
        return list(links)
    return [link.measure(descriptions, common, common) for link in links]


def _orient(links: Sequence[Match]) -> dict[int, Symmetry]:
    """Return the symmetry that maps each member of a group onto the same orientation."""
    neighbours: dict[int, list[tuple[int, Symmetry]]] = defaultdict(list)
    for link in links:
        # The link's symmetry maps the first onto the second.
        neighbours[link.second].append((link.first, link.symmetry))
        neighbours[link.first].append((link.second, link.symmetry.inverse))
    root = min(neighbours)
    oriented, waiting = {root: Symmetry.IDENTITY}, [root]
    while waiting:
        known = waiting.pop()
        for member, symmetry in neighbours[known]:
            if member not in oriented:
                oriented[member] = symmetry.then(oriented[known])
                waiting.append(member)
    return oriented
