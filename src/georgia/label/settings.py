"""Settings of a labelling: how frames are cut, what is shown, and how labels become a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from georgia.config import Config, Rule, Seed, at_least, between
from georgia.errors import InputError, format_message
from georgia.label.choose import ChoiceConfig
from georgia.monitor.frametime import FrameClock, TimeFrom, compile_pattern
from georgia.monitor.settings import TileConfig

_TILES = TileConfig()
# A class with fewer labels is not learned: five folds of two.
LEAST_PER_CLASS = 10


@dataclass(frozen=True)
class LearnConfig(Config):
    """How labels become a model: the ``recipe``, augmented ``views`` of each image, ``folds``, the seed.

    ``audit`` examines the labelled images first, as ``georgia train`` does; findings of the checks in
    ``allow`` do not stop.
    """

    recipe: str = "fast"
    views: Annotated[int, between(1, 32)] = 4
    folds: Annotated[int, between(2, 10)] = 5
    least_per_class: Annotated[int, at_least(2)] = LEAST_PER_CLASS
    audit: bool = True
    allow: tuple[str, ...] = ()
    seed: Seed = 42


@dataclass(frozen=True)
class LabelConfig(Config):
    """How a source becomes a pool, and how many items are chosen at a time.

    ``cut``: "frames" cuts every image into windows, "crops" takes it as it is, "auto" decides by their
    sizes. ``tile_px``, ``overlap`` and ``min_detail`` are the monitor's (``TileConfig``); 0 px is the model's
    scale. ``near`` False joins exact duplicates only. ``time_pattern`` gives the times of frames
    by their names, as the monitor's does; without it they are those of the files. ``n`` items are chosen for
    a table. ``features`` is how many items are measured to choose by what they show; 0 chooses evenly.
    ``people``: the store of a live probe whose users log in to the page; without it the page asks for a name.
    ``oidc_redirect``: the address of the page as their identity provider knows it.
    """

    cut: Literal["auto", "crops", "frames"] = "auto"
    tile_px: Annotated[int, Rule("0 (the model's) or 16 and more", lambda px: px == 0 or px >= 16)] = 0
    overlap: Annotated[float, between(0, 0.9)] = _TILES.overlap
    min_detail: Annotated[float, at_least(0)] = _TILES.min_detail
    near: bool = True
    time_pattern: str = ""
    time_zone: str = "local"
    n: Annotated[int, between(1, 100_000)] = 60
    features: Annotated[int, between(0, 1_000_000)] = 3000
    people: str = ""
    oidc_redirect: str = ""
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the pattern of times."""
        try:
            compile_pattern(self.time_pattern or "%s")
        except InputError as error:
            yield format_message("time_pattern", "it must be a pattern of names", str(error))
        if self.oidc_redirect and not self.people:
            yield format_message("oidc_redirect", "the store whose people log in is needed", "no people")

    @property
    def clock(self) -> FrameClock:
        """Where the times of frames come from."""
        time_from = TimeFrom.NAME if self.time_pattern else TimeFrom.FILE
        return FrameClock(time_from, self.time_pattern, self.time_zone)


def count_wanted(by_class: Mapping[str, int], least_per_class: int = LEAST_PER_CLASS) -> dict[str, int]:
    """Return how many more labels each class needs before a training, 0 for enough.

    >>> count_wanted({"CEX": 25, "PG": 3})
    {'CEX': 0, 'PG': 7}
    """
    return {name: max(0, least_per_class - count) for name, count in by_class.items()}
