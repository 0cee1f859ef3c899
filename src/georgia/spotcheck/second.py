"""What a second person's names of a tenth of the windows say of slips, and an interval that allows for them.

Two persons who slip independently, each with the rate ε, differ on 2 ε (1 − ε) of the windows. What both get
wrong alike, because the window looks so, is not found. A few pairs say little: without one difference in 6
the rate may still be a quarter, in 60 still 3 %.

Sources: Dawid and Skene 1979, doi 10.2307/2346806 (error rates from several raters without a truth), for
two raters of equal rate; Rogan and Gladen 1978, doi 10.1093/oxfordjournals.aje.a112510 (a prevalence
corrected for errors of the test); Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.spotcheck.interval import Interval, Name, estimate_fraction
from georgia.spotcheck.plan import Draw, Population

EVERY = 10


@dataclass(frozen=True)
class Slips:
    """The rate of slips of one person, 0–0.5, with its interval, from ``n`` windows that two persons named.

    They differ on ``n_differing`` of them.
    """

    rate: float
    low: float
    high: float
    n: int
    n_differing: int

    def to_json_dict(self) -> dict[str, Any]:
        """Return ``slips`` of the spot check's JSON."""
        return {
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "n_differing": self.n_differing,
        }


def choose_second(n: int, seed: int, every: int = EVERY) -> list[int]:
    """Return which of ``n`` sampled windows, counted from 0, a second person names: one of every ten.

    Which one of the ten is chosen at random. It does not change when more windows are sampled.

    >>> choose_second(25, 1) == [at for at in choose_second(60, 1) if at < 25]
    True
    """
    rng = np.random.default_rng([seed, every])
    chosen = [start + int(rng.integers(every)) for start in range(0, n, every)]
    return [at for at in chosen if at < n]


def estimate_slips(first: Sequence[str], second: Sequence[str], alpha: float = 0.05) -> Slips:
    """Return the rate of slips of one person from the names that two gave to the same windows.

    Pairs with an unclear window should be left out before. The interval is exact for the rate at which two
    persons differ (Clopper and Pearson).

    Raises:
        InputError: not as many names of the second, or none.
    """
    if len(first) != len(second) or not first:
        raise InputError(
            "Cannot estimate the rate of slips",
            needs="one name or more of both persons is needed for the same windows",
            got=f"{len(first)} and {len(second)}",
        )
    from scipy.special import betaincinv

    n, k = len(first), sum(one != two for one, two in zip(first, second, strict=True))
    low = float(betaincinv(k, n - k + 1, alpha / 2)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - alpha / 2)) if k < n else 1.0
    return Slips(_slips_of(k / n), _slips_of(low), _slips_of(high), n, k)


def _slips_of(differing: float) -> float:
    """Return ε of 2 ε (1 − ε) = differing; above one half nobody knows anything."""
    return (1 - math.sqrt(1 - 2 * differing)) / 2 if differing < 0.5 else 0.5


def allow_slips(
    population: Population,
    draws: Sequence[Draw],
    names: Sequence[Name],
    pairs: tuple[Sequence[str], Sequence[str]],
    alpha: float = 0.05,
) -> tuple[Interval, Slips]:
    """Return the interval of the fraction that allows for slips, and the slips' own, valid together.

    ``pairs`` are the names of the first and of the second person for the same windows. Slips are taken as
    equally frequent in all classes and independent of the window. Half of ``alpha`` goes to either interval.

    Raises:
        InputError: as ``estimate_fraction`` and ``estimate_slips``.
    """
    named = estimate_fraction(population, draws, names, alpha / 2)
    slips = estimate_slips(*pairs, alpha / 2)
    if slips.high >= 0.5:
        return Interval(named.fraction, 0.0, 1.0, named.n, named.n_unclear), slips
    fraction = _clear(named.fraction, slips.rate) if slips.rate < 0.5 else named.fraction
    limits = [_clear(named.low, rate) for rate in (slips.low, slips.high)]
    limits_high = [_clear(named.high, rate) for rate in (slips.low, slips.high)]
    low, high = min(limits), max(limits_high)
    return Interval(float(np.clip(fraction, low, high)), low, high, named.n, named.n_unclear), slips


def _clear(named: float, rate: float) -> float:
    """Return the fraction that a person sees as ``named`` who takes either for the other at ``rate``."""
    return float(np.clip((named - rate) / (1 - 2 * rate), 0.0, 1.0))
