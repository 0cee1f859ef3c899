"""Settings of an audit and of its search for near-duplicates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from georgia.config import Config, Rule, above, at_least, between
from georgia.errors import format_message


@dataclass(frozen=True)
class AuditConfig(Config):
    """Which checks run, which findings are allowed, and what the user knows about groups.

    ``deep`` also runs the checks that need a network. ``allow`` names checks whose findings do not block.
    Groups are joined from near-duplicates, from the source's own groups, and by three rules: ``group_regex``
    on the name below the data folder (the text matched by its brackets, else the whole match, is the group),
    ``time_gap_s`` (images that follow each other within so many seconds) and ``folder_level`` (1: all files
    of one folder, 2: of the folder above it …). Times are those of the source, or those that ``time_regex``
    finds in the names: one text (seconds, ISO 8601, or 14 digits), or a bracket each for year, month, day,
    hour, minute and second. ``same_scene`` decides what the search cannot know: images that agree on a scene
    or an apparatus but on nothing of their own stay apart, or "join" where they are frames of one crystal.
    ``n_permutations`` and ``alpha`` belong to the permutation
    tests against chance.
    """

    deep: bool = False
    allow: tuple[str, ...] = ()
    group_regex: str = ""
    time_gap_s: Annotated[float, at_least(0)] = 0.0
    time_regex: str = ""
    folder_level: Annotated[int, at_least(0)] = 0
    near_copies: bool = True
    same_scene: Literal["apart", "join"] = "apart"
    n_permutations: Annotated[int, between(1, 10**6)] = 199
    alpha: Annotated[float, Rule("above 0 and below 1", lambda value: 0 < value < 1)] = 0.01
    seed: Annotated[int, at_least(0)] = 42

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the number of permutations and with the regexes."""
        # A permutation test cannot return a p-value below 1 / (n_permutations + 1).
        if 0 < self.alpha < 1 and self.n_permutations + 1 < (1 - 1e-9) / self.alpha:
            yield (
                "n_permutations must be 1 / alpha or more, as no p-value comes out smaller than "
                f"1 / (n_permutations + 1); got {self.n_permutations}"
            )
        if self.time_regex and not self.time_gap_s:
            yield "time_regex must be with time_gap_s, the largest gap between images of one group; got none"
        for name, pattern in (("group_regex", self.group_regex), ("time_regex", self.time_regex)):
            try:
                re.compile(pattern)
            except re.error as error:
                yield format_message(name, "it must be a regular expression", f"{pattern!r} ({error})")


@dataclass(frozen=True)
class NearDuplicateConfig(Config):
    """What counts as a near-duplicate; ``near`` False searches for exact duplicates only.

    ``min_similarity``: least correlation (0–1) of the fine structure. ``min_significance``: how many
    standard deviations it must lie above chance, so that smooth and nearly blank images are not joined.
    ``min_votes``: local features that must agree before two images are compared. ``min_own_similarity``:
    least correlation (−1 to 1) without what is common to many images; below it, two images may only show
    one scene or apparatus. ``large_group``: a group of more than this fraction of the set is examined once
    more, by what its own members have in common.

    Source: synthetic crops of seed 1, 2,000 scenes: of the near-duplicates found, 99 % have a similarity of
    0.85 or more; other pairs reach 0.42, with a significance of 12. Other data: thin sections of rock 0.38,
    photographs of clothes 0.67, blank fields 0.76 with a significance of 6. Own similarity: nine
    synthetic sets of look-alikes of seed 5: other pairs reach 0.38, duplicates have 0.67 or more (cropped
    ones that show nearly nothing of their own 0.25).
    """

    near: bool = True
    min_similarity: Annotated[float, between(0, 1)] = 0.7
    min_significance: Annotated[float, at_least(0)] = 12.0
    min_votes: Annotated[int, above(0)] = 3
    min_own_similarity: Annotated[float, between(-1, 1)] = 0.45
    large_group: Annotated[float, between(0, 1)] = 0.05
