"""The interval of a fraction from a few named windows, valid however wrong the net is.

Windows are sampled one after the other without replacement, with known probabilities, and named by a person.
The net's probabilities serve as a control variate: where they agree with the person, few names suffice; where
they do not, the interval is wider and still holds. For a supposed fraction m, each name gives a number whose
mean is 0 if m is the true one. Who bets on these numbers cannot expect to win; an m at which the capital of
such a player has once grown 20-fold is rejected. So one may look after each name, and stop at will.

Sources: prediction-powered inference, Angelopoulos et al. 2023, arXiv 2301.09633, with power tuning,
arXiv 2311.01453; betting intervals, Waudby-Smith and Ramdas 2020, arXiv 2010.09686; weighted sampling without
replacement, Shekhar et al. 2023, arXiv 2305.06884; active sampling, Zrnic and Candès 2024, arXiv 2403.03208.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.spotcheck.logistic import LogisticFit, find_logits
from georgia.spotcheck.plan import Draw, Population

FloatArray = npt.NDArray[np.float64]
# Fractions that are tried: the limits are multiples of 1 / 800.
_GRID = np.linspace(0.0, 1.0, 801)
# Largest stake, as a fraction of what would ruin the player; what is expected of a good net counts as much as
# so many names, with this variance; standard deviations of the prior of the net's offset (logits) and slope.
# Chosen by width on simulated batches with nets of four kinds (benchmarks/spotcheck.py); validity rests on
# none of them.
_MOST_STAKE, _PRIOR_N, _PRIOR_VARIANCE = 0.95, 4.0, 0.02
_SPREADS = (2.0, 0.5)


class Name(StrEnum):
    """What a person says that a window shows, as far as one class is concerned."""

    TARGET = "target"
    OTHER = "other"
    NEITHER = "neither"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Interval:
    """A fraction with its interval, all 0–1; ``n`` names were used, ``n_unclear`` of them decide nothing."""

    fraction: float
    low: float
    high: float
    n: int
    n_unclear: int = 0

    @property
    def width(self) -> float:
        """Distance of the limits."""
        return self.high - self.low

    @property
    def note(self) -> str:
        """What is to be said of a fraction that lies on a limit between 0 and 1, "" of any other."""
        is_low = self.fraction <= self.low and self.low > 0
        is_high = self.fraction >= self.high and self.high < 1
        if self.low >= self.high or not (is_low or is_high):
            return ""
        side, way = ("upper", "higher") if is_high else ("lower", "lower")
        return (
            f"The fraction lies on its {side} limit: the last names point {way}, those before rule that out. "
            "The interval holds; a few more names settle it."
        )


def estimate_fraction(
    population: Population, draws: Sequence[Draw], names: Sequence[Name], alpha: float = 0.05
) -> Interval:
    """Return the fraction of the target among the windows that show any class, with its interval.

    The fraction is that of the population's own windows, if a person named each: no assumption is made of
    the net, the windows or their dependence. ``names`` belong to the first draws in their order. What is
    NEITHER is in no class and does not count; UNCLEAR may be any class: the limits hold for both.

    Raises:
        InputError: more names are given than were sampled, or ``alpha`` is not between 0 and 1.
    """
    if len(names) > len(draws) or not 0 < alpha < 1:
        raise InputError(
            "Cannot estimate a fraction",
            needs="at most one name for each sampled window and an alpha between 0 and 1 are needed",
            got=f"{len(names)} names, {len(draws)} windows, alpha {alpha}",
        )
    return with_unclear(lambda said, own: _estimate(population, draws, said, own), names, alpha)


def with_unclear(
    estimate: Callable[[Sequence[Name], float], Interval], names: Sequence[Name], alpha: float
) -> Interval:
    """Return what ``estimate`` says of names and ``alpha``, where unclear ones may be of any class.

    The lower limit counts them as another class, the upper one as the target, each with half of ``alpha``.
    """
    n_unclear = sum(name is Name.UNCLEAR for name in names)
    if not n_unclear:
        return estimate(list(names), alpha)
    parts = [
        estimate([end if name is Name.UNCLEAR else name for name in names], alpha / 2)
        for end in (Name.OTHER, Name.TARGET)
    ]
    fraction = (parts[0].fraction + parts[1].fraction) / 2
    return Interval(fraction, parts[0].low, parts[1].high, len(names), n_unclear)


def _estimate(population: Population, draws: Sequence[Draw], names: Sequence[Name], alpha: float) -> Interval:
    player = Player(population, _GRID)
    low, high = 0.0, 1.0
    for draw, name in zip(draws, names, strict=False):
        player.take(draw, name)
        limits = find_limits(player, _GRID, alpha)
        # In the alpha of all cases where the truth is rejected, all else may be, too: the last one stays.
        if limits is None:
            break
        step = float(_GRID[1])
        low, high = max(0.0, limits[0] - step), min(1.0, limits[1] + step)
    least, most = count_limits(population.size, names)
    # They are certain, and win where the others are out.
    low, high = (max(low, least), min(high, most)) if low <= most and high >= least else (least, most)
    fraction = divide_totals([player.estimate_totals()], population.mean_score)
    return Interval(place_fraction(fraction, low, high, _GRID, player.capital), low, high, len(names))


def place_fraction(
    fraction: float, low: float, high: float, supposed: FloatArray, capital: FloatArray
) -> float:
    """Return a fraction within its limits: itself, or of those supposed within them the best supported one.

    Totals that are estimated from the names may lie outside of the limits; the tightest so far count.
    Then the supposed fraction is taken against which the player's ``capital`` is least. On simulated batches
    with nets of five kinds and 60 names its root mean square error is 0.93 to 1.07 times that of the limit.
    """
    if low < fraction < high or fraction <= low <= 0 or fraction >= high >= 1:
        return float(np.clip(fraction, low, high))
    within = np.flatnonzero((supposed >= low) & (supposed <= high))
    if not len(within):
        return float(np.clip(fraction, low, high))
    return float(supposed[within[int(np.argmin(capital[within]))]])


def count_limits(size: int, names: Sequence[Name]) -> tuple[float, float]:
    """Return between which fractions those without a name leave the truth, of ``size`` windows.

    With all named, that is one. Before that a step of the grid is added, so that one wrong name does not rule
    out a fraction of 0.
    """
    n_target = sum(name is Name.TARGET for name in names)
    n_other, n_left = sum(name is Name.OTHER for name in names), size - len(names)
    if not n_target + n_other + n_left:
        return 0.0, 1.0
    # Those left may be of no class, too: then they count nowhere.
    least = n_target / (n_target + n_other + n_left)
    most = (n_target + n_left) / (n_target + n_other + n_left)
    slack = float(_GRID[1]) if n_left else 0.0
    return max(0.0, least - slack), min(1.0, most + slack)


def find_limits(player: Player, supposed: FloatArray, alpha: float) -> tuple[float, float] | None:
    """Return the lowest and highest supposed fraction that is not rejected at ``alpha``; None if all are."""
    kept = supposed[player.highest < np.log(1 / alpha)]
    return (float(kept[0]), float(kept[-1])) if len(kept) else None


class Player:
    """Bets against each of several supposed fractions; ``highest`` is the log of its capital's maximum.

    ``excess`` is what the population's mean of target − fraction · any is supposed to be: 0 for a whole
    batch, another number for a part of one (``blocks.py``). It and ``supposed`` are broadcast.
    """

    def __init__(
        self, population: Population, supposed: FloatArray, excess: FloatArray | float = 0.0
    ) -> None:
        self._population, self._m, self._excess = population, supposed, excess
        self.capital = np.zeros(np.broadcast(supposed, excess).shape)
        self.highest = self.capital.copy()
        self._named, self._n = np.zeros(2), 0
        self._left = population.counts.copy()
        # Names that other players had before, and those of them of any class.
        self._n_before = np.zeros(2)
        self._fit = LogisticFit(_SPREADS)
        self._logits = find_logits(population.scores)
        # Corrections α + β m of what the net expected: sums of α, β, α², α β, β².
        self._corrections = np.zeros(5)

    def learn(self, other: Player) -> None:
        """Expect what the names of another part of the batch said of the net; before the first name."""
        self._fit = other._fit.copy()
        self._n_before = other._n_before + np.array([other._n, other._named[1]])

    def take(self, draw: Draw, name: Name) -> None:
        """Take one more name and update the capital."""
        m, size = self._m, self._population.size
        any_rate, expected = self.predict()
        target, named = float(name is Name.TARGET), float(name in (Name.TARGET, Name.OTHER))
        left = draw.counts > 0
        weights = np.where(left, 1.0 / (size * np.maximum(draw.probabilities, 1e-300)), 0.0)
        # What is expected of each level is any_rate · (expected − m); what has been named is known.
        base = (
            self._named[0] - self._named[1] * m
            + any_rate * ((draw.counts * expected).sum() - draw.counts.sum() * m)
        ) / size - self._excess  # fmt: skip
        high, low = self._bound(weights[left], any_rate, expected[left])
        room_up, room_down = np.maximum(base + high, 1e-9), np.maximum(-(base + low), 1e-9)
        mean, variance = self._expect(base)
        stake = np.clip(mean / (variance + mean**2), -_MOST_STAKE / room_up, _MOST_STAKE / room_down)
        weight, own = float(weights[draw.level]), float(expected[draw.level])
        alpha, beta = weight * (target - any_rate * own), weight * (any_rate - named)
        self.capital += np.log1p(stake * (base + alpha + beta * m))
        self.highest = np.maximum(self.highest, self.capital)
        self._corrections += (alpha, beta, alpha * alpha, alpha * beta, beta * beta)
        if named:
            self._fit.add(float(self._logits[draw.level]), target)
        self._named += (target, named)
        self._n += 1
        self._left = draw.counts.copy()
        self._left[draw.level] -= 1.0

    def _bound(
        self, weights: FloatArray, any_rate: float, expected: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the highest and lowest correction that a name can bring, for each supposed fraction."""
        # Levels of one stratum have one weight: only the ends of what is expected there matter.
        starts = np.flatnonzero(np.diff(weights, prepend=np.nan))
        of_run = weights[starts]
        up = of_run * (1.0 - any_rate * np.minimum.reduceat(expected, starts))
        down = of_run * any_rate * np.maximum.reduceat(expected, starts)
        slopes = of_run * (1.0 - any_rate)
        m = self._m.reshape(1, -1)
        high = (up[:, None] - slopes[:, None] * m).max(axis=0)
        low = (-down[:, None] - slopes[:, None] * m).min(axis=0)
        return high.reshape(self._m.shape), low.reshape(self._m.shape)

    def predict(self) -> tuple[float, FloatArray]:
        """Return the rate of windows that show any class, and the expected target among them by level.

        That is the net's probability, its logit shifted and stretched as the names so far suggest. Both rest
        on earlier names only, which keeps the bets fair.
        """
        any_rate = (1.0 + self._n_before[1] + self._named[1]) / (1.0 + self._n_before[0] + self._n)
        return any_rate, self._fit.predict(self._logits)

    def _expect(self, base: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance that the next number is expected to have, for each supposed fraction."""
        m, n = self._m, self._n + _PRIOR_N
        alpha, beta, alpha_alpha, alpha_beta, beta_beta = self._corrections
        mean = (alpha + beta * m) / n
        squares = (alpha_alpha + 2 * alpha_beta * m + beta_beta * m**2) / n
        variance = np.maximum(squares - mean**2, 0.0) + _PRIOR_VARIANCE * _PRIOR_N / n
        return base + mean, variance

    def estimate_totals(self) -> tuple[float, float]:
        """Return about how many windows of the target there are, and of any class: named ones and those left.

        What is expected of the ones that are left is corrected by what it was off where names were given.
        """
        any_rate, expected = self.predict()
        alpha, beta = self._corrections[:2] / max(1, self._n) * self._left.sum()
        n_target = self._named[0] + any_rate * float(self._left @ expected) + alpha
        return float(n_target), float(self._named[1] + any_rate * self._left.sum() - beta)


def divide_totals(totals: Sequence[tuple[float, float]], otherwise: float) -> float:
    """Return the target's fraction of the windows of any class, over all parts; ``otherwise`` without any."""
    n_target, n_any = np.sum(np.array(totals), axis=0)
    return float(n_target / n_any) if n_any > 0 else otherwise
