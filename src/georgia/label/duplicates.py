"""Which items of a pool show the same thing, in any rotation: one is shown, all take its label."""

from __future__ import annotations

from collections.abc import Sequence

from georgia.audit.near_duplicates.descriptors import Description
from georgia.audit.near_duplicates.search import find_near_duplicates
from georgia.audit.settings import NearDuplicateConfig
from georgia.progress import QUIET, Progress


def find_duplicate_sets(
    descriptions: Sequence[Description], near: bool = True, progress: Progress = QUIET
) -> list[tuple[int, ...]]:
    """Return the sets of two positions or more that show the same, as ``georgia audit`` finds them.

    Items that only agree on a scene or an apparatus stay apart: a person looks at each.
    """
    found = find_near_duplicates(descriptions, NearDuplicateConfig(near=near), progress)
    return [tuple(sorted(group)) for group in found.groups]
