"""How many names a wished width of the interval will take, by going on as it looks now.

The windows that are left are sampled on as the plan says, and named at random by the net's probability,
corrected by the names given so far. So the forecast is as good as the net before the first name, and better
with each. The interval itself does not rest on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.spotcheck.interval import Interval, Name, Player, find_limits
from georgia.spotcheck.logistic import LogisticFit, find_logits
from georgia.spotcheck.plan import Draw, Population, SpotcheckConfig, draw_windows

# Continuations that are tried, the fractions that are supposed, and the most names that are looked for.
_N_TRIES, _N_SUPPOSED, MOST_NAMES = 5, 161, 2000
# Standard deviations of the prior of the curve's offset and slope; steps of its fit.
_SPREADS, _N_STEPS = (2.0, 2.0), 25
FloatArray = npt.NDArray[np.float64]


def count_names(
    population: Population,
    config: SpotcheckConfig,
    width: float,
    names: Sequence[Name] = (),
    alpha: float = 0.05,
    so_far: Interval | None = None,
) -> int | None:
    """Return about how many names, those given included, bring the interval to ``width``; None above 2,000.

    ``names`` belong to the first windows of the plan; ``so_far`` is their interval, which keeps the forecast
    from trying fractions that are out already. It is the median of five continuations.

    Raises:
        InputError: ``width`` is not between 0 and 1.
    """
    if not 0 < width < 1:
        raise InputError(
            "Cannot count names for a width", needs="a width between 0 and 1 is needed", got=width
        )
    n_most = min(MOST_NAMES, population.size)
    if so_far is not None and so_far.width <= width:
        return len(names)
    draws = list(draw_windows(population, replace(config, n=n_most)))
    counts = sorted(_go_on(population, draws, names, width, alpha, so_far, seed) for seed in range(_N_TRIES))
    found = counts[_N_TRIES // 2]
    if found > n_most:
        # With all of them named nothing is left open.
        return population.size if n_most == population.size else None
    return found


def _go_on(
    population: Population,
    draws: Sequence[Draw],
    names: Sequence[Name],
    width: float,
    alpha: float,
    so_far: Interval | None,
    seed: int,
) -> int:
    """Return after how many names one continuation is so narrow; more than there are if it never is."""
    low, high = (so_far.low, so_far.high) if so_far is not None else (0.0, 1.0)
    supposed = np.linspace(low, high, _N_SUPPOSED)
    player = Player(population, supposed)
    rng = np.random.default_rng([seed, len(names)])
    chances = expect_targets(population, draws, names)
    for number, draw in enumerate(draws):
        if number < len(names):
            name = Name.OTHER if names[number] is Name.UNCLEAR else names[number]
        elif rng.random() > player.predict()[0]:
            name = Name.NEITHER
        else:
            name = Name.TARGET if rng.random() < chances[draw.level] else Name.OTHER
        player.take(draw, name)
        limits = find_limits(player, supposed, alpha)
        if number + 1 >= max(1, len(names)) and limits is not None and limits[1] - limits[0] <= width:
            return number + 1
    return len(draws) + 1


def expect_targets(population: Population, draws: Sequence[Draw], names: Sequence[Name]) -> FloatArray:
    """Return the chance (L,) that a person names a window of each level as the target, among classes.

    A logistic curve over the net's own logit, fitted to the names; without names it is the net's probability.
    """
    logits = find_logits(population.scores)
    fit = LogisticFit(_SPREADS)
    for draw, name in zip(draws, names, strict=False):
        if name in (Name.TARGET, Name.OTHER):
            fit.add(float(logits[draw.level]), float(name is Name.TARGET), n_steps=0)
    fit.refine(_N_STEPS)
    return fit.predict(logits)
