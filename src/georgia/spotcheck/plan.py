"""Which windows a person is to name, in which order, and with which probabilities they were sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt

from georgia.config import Config, Seed, at_least, between
from georgia.errors import InputError

FloatArray = npt.NDArray[np.float64]
# The net's probabilities are rounded to so many levels: windows of one level are sampled alike.
N_LEVELS = 50
# Strata by the net's probability of the target: below, between and above the two bounds. The draws in one go
# by this power of its size. Chosen by width (benchmarks/spotcheck.py).
_BOUNDS, _POWER = (0.1, 0.9), 0.75


@dataclass(frozen=True)
class SpotcheckConfig(Config):
    """How windows are sampled: ``n`` of them, of which a fraction of ``even`` evenly over all.

    ``class_name`` is the class whose fraction is asked for; empty is a monitor's impurity, or the last.
    ``confidence`` is that of the interval, 0.95 for 95 %. ``spans`` is into how many parts the batch's time
    is cut for its curve. A second person names one window in ``second_every``.
    """

    n: Annotated[int, at_least(1)] = 60
    class_name: str = ""
    even: Annotated[float, between(0.05, 1)] = 0.3
    confidence: Annotated[float, between(0.5, 0.999)] = 0.95
    seed: Seed = 42
    spans: Annotated[int, between(1, 24)] = 4
    second_every: Annotated[int, at_least(1)] = 10


@dataclass(frozen=True)
class Population:
    """All windows of a batch, by the net's probability of the target.

    ``scores`` (L,), 0–1, ascending: the levels. ``level_of`` (N,): each window's level.
    """

    scores: FloatArray
    level_of: npt.NDArray[np.int64]

    @classmethod
    def from_probabilities(cls, probabilities: npt.ArrayLike) -> Population:
        """Group windows by their probability of the target, (N,), 0–1.

        Raises:
            InputError: there is none, or one is no probability.
        """
        values = np.asarray(probabilities, np.float64)
        if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
            raise InputError(
                "Cannot draw windows",
                needs="one probability from 0 to 1 is needed for each window",
                got=f"{values.shape}" if values.ndim != 1 or not len(values) else "others",
            )
        scores, level_of = np.unique(np.round(values * N_LEVELS) / N_LEVELS, return_inverse=True)
        return cls(scores, level_of.astype(np.int64))

    @property
    def size(self) -> int:
        """Number of windows."""
        return len(self.level_of)

    @cached_property
    def counts(self) -> FloatArray:
        """Number of windows of each level (L,)."""
        return np.bincount(self.level_of, minlength=len(self.scores)).astype(np.float64)

    @property
    def mean_score(self) -> float:
        """The net's own fraction: the mean probability."""
        return float(self.scores @ self.counts / self.size)


@dataclass(frozen=True, eq=False)
class Draw:
    """One sampled window: its number, its level, and what held when it was sampled.

    ``counts`` (L,): windows that were left of each level. ``probabilities`` (L,): of each window of a level.
    """

    window: int
    level: int
    counts: FloatArray
    probabilities: FloatArray


def draw_windows(population: Population, config: SpotcheckConfig) -> Iterator[Draw]:
    """Yield the windows to be named, in order, without replacement: at most as many as there are.

    The draws in a stratum go by a power of its size: a rare stratum would else say little. But where there is
    no target, the width is what could hide in the largest stratum from so many names; so that one is
    sampled nearly as often as its size says. One seed gives the same windows.
    """
    rng = np.random.default_rng(config.seed)
    stratum = np.digitize(population.scores, _BOUNDS)
    n_strata = len(_BOUNDS) + 1
    sizes = np.bincount(stratum, population.counts, n_strata)
    by_power = sizes**_POWER
    fractions = (1 - config.even) * by_power / by_power.sum() + config.even * sizes / sizes.sum()
    left = population.counts.copy()
    waiting = [list(rng.permutation(np.flatnonzero(population.level_of == at))) for at in range(len(left))]
    for _ in range(min(config.n, population.size)):
        n_left = np.bincount(stratum, left, n_strata)
        now = np.where(n_left > 0, fractions, 0.0)
        each = np.divide(now / now.sum(), n_left, out=np.zeros(n_strata), where=n_left > 0)
        probabilities = np.where(left > 0, each[stratum], 0.0)
        of_level = probabilities * left
        level = int(rng.choice(len(left), p=of_level / of_level.sum()))
        yield Draw(int(waiting[level].pop()), level, left.copy(), probabilities)
        left[level] -= 1
