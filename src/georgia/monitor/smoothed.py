"""The interval of the smoothed fraction: frames pooled by the EWMA's weights, as alike as the batch shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from georgia.metrics.intervals import wilson_interval
from georgia.monitor.fraction import DESIGN_EFFECT

# Frames are compared with so many before them. The furthest ones, from this one on, are taken for frames that
# have nothing in common: of 60 s at a frame every 6 s, for instance. Source: chosen, not measured.
N_LAGS, FAR_FROM = 10, 6
# What was seen this many frames ago counts one third: several times what the default EWMA looks back.
_MEMORY = 50
# Comparisons of frames that are as far apart as counting says, which a batch begins with.
_PRIOR = 2.0
# After so many frames a batch's own likeness counts as much as the assumption that all show the same ones.
# Source: 150 simulated batches a row (benchmarks/smoothed.py --simulate): the interval holds from the first
# frame on; of independent frames it is a tenth wider from the 30th on than one that assumes nothing.
_UNKNOWN_FOR = 4
# Frames whose fractions differ by less than this fraction of what counting says are alike. Source:
# independent synthetic frames differ by 0.22 to 0.6 of it (benchmarks/smoothed.py, seed 900000); frames with
# 98 % of their crystals in common would by 0.02 to 0.2.
_LEAST_APART = 0.12
# What a net errs by on all frames alike, 0–1: no number of frames averages it out. Source: the mean error of
# 120 synthetic frames with 0–50 % PG and the bundled model (docs/measurements/monitor.md, seed 640000): +0.8
# points without PG, −1.0 to +0.5 with 5–20 %. Without it the interval of frames without PG left out 0.
COMMON_ERROR = 0.01


@dataclass(frozen=True)
class Likeness:
    """Whether frames show the same crystals as those before, by how many independent windows each has.

    How much crystal a frame shows varies with the crystals in it, whatever their class; where frames have
    crystals in common it varies slowly. ``n`` frames were seen. ``weight``, ``total`` and ``square`` are Σf,
    Σfx and Σfx², with x the logarithm of a frame's trials and f its memory; ``squares`` and ``counts`` hold,
    for each distance of 1 to ``N_LAGS`` frames, half the squared differences and how many were compared.
    """

    n: int = 0
    weight: float = 0.0
    total: float = 0.0
    square: float = 0.0
    squares: tuple[float, ...] = (0.0,) * N_LAGS
    counts: tuple[float, ...] = (0.0,) * N_LAGS

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Likeness:
        """Return it from plain lists; an empty one where a store of an earlier version has none."""
        if not values:
            return cls()
        return cls(
            n=int(values["n"]),
            weight=float(values["weight"]),
            total=float(values["total"]),
            square=float(values["square"]),
            squares=tuple(map(float, values["squares"])),
            counts=tuple(map(float, values["counts"])),
        )

    def add(self, trials: float, before: tuple[float, ...]) -> Likeness:
        """Return it with one more frame; ``before`` holds the trials of the frames before it."""
        x, kept = math.log(trials), 1 - 1 / _MEMORY
        squares, counts = list(self.squares), list(self.counts)
        for lag, earlier in enumerate(reversed(before[-self.n :] if self.n else ())):
            squares[lag] = kept * squares[lag] + (x - math.log(earlier)) ** 2 / 2
            counts[lag] = kept * counts[lag] + 1
        return Likeness(
            n=self.n + 1,
            weight=1 + kept * self.weight,
            total=x + kept * self.total,
            square=x * x + kept * self.square,
            squares=tuple(squares),
            counts=tuple(counts),
        )

    def sum_correlations(self, kept: float) -> float:
        """Return ``Σₖ keptᵏ ρₖ``, with ρₖ the correlation of frames k apart; 0 where nothing is known.

        Frames that are alike vary too little to show how alike they are. So the variance is corrected by
        their number, and the first correlation for its bias; the larger is taken of the sum of all
        correlations and of what the first one alone says of a series that forgets evenly.

        Source: bias −(1 + 3ρ) / n: Kendall 1954, doi 10.1093/biomet/41.3-4.403; variance of a mean of
        correlated values: Anderson 1971, The Statistical Analysis of Time Series, section 8.3.
        """
        if self.n < 3 or not self.counts[0]:
            return 0.0
        mean = self.total / self.weight
        variance = (self.square / self.weight - mean * mean) * self.n / (self.n - 1)
        if variance <= 1e-9:
            return 0.0
        memory = 1 - 1 / _MEMORY
        n = self.weight**2 * (1 - memory**2) / (1 - memory ** (2 * self.n))
        apart = [
            half / count if count else None for half, count in zip(self.squares, self.counts, strict=True)
        ]
        first = 1 - (apart[0] or 0.0) / variance
        first = min(1.0, max(0.0, first + (1 + 3 * first) / n))
        in_common = (1 + first) / max(1 - first, 1e-9) / n
        variance /= 1 - min(_MOST_IN_COMMON, in_common)
        summed = _weigh([None if value is None else 1 - value / variance for value in apart], kept)
        return max(summed, kept * first / (1 - kept * first))


# A mean is never taken to hold more of the variance than this.
_MOST_IN_COMMON = 0.8


def _weigh(correlations: list[float | None], kept: float) -> float:
    """Return ``Σₖ keptᵏ ρₖ``, 0 or more; beyond the last lag, correlations are as they are there."""
    last = correlations[-1] or 0.0
    summed = sum(kept**lag * (value or 0.0) for lag, value in enumerate(correlations, 1))
    return min(kept / (1 - kept), max(0.0, summed + last * kept ** (len(correlations) + 1) / (1 - kept)))


@dataclass(frozen=True)
class Pool:
    """Sums over the frames of a batch, each frame weighted by the EWMA; a restart continues from them.

    ``weight``, ``total`` and ``square`` are Σw, Σwx and Σw²/m, with x a fraction (0–1) from m independent
    trials. ``recent`` holds (x, m) of the last frames. ``ratios`` and ``counts`` hold, for each distance of
    1 to ``N_LAGS`` frames, how far two frames are apart: half their squared difference, in units of what
    counting gives, and how many were compared. ``likeness`` says whether they show the same crystals.
    """

    weight: float = 0.0
    total: float = 0.0
    square: float = 0.0
    recent: tuple[tuple[float, float, int], ...] = ()
    ratios: tuple[float, ...] = (0.0,) * N_LAGS
    counts: tuple[float, ...] = (0.0,) * N_LAGS
    likeness: Likeness = field(default_factory=Likeness)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Pool:
        """Return a pool from plain lists; an empty one where a store of 0.1 has none."""
        if not values:
            return cls()
        return cls(
            weight=float(values["weight"]),
            total=float(values["total"]),
            square=float(values["square"]),
            # An earlier version knew no subsets.
            recent=tuple(
                (float(x), float(m), int(subset[0]) if subset else 0) for x, m, *subset in values["recent"]
            ),
            ratios=tuple(map(float, values["ratios"])),
            counts=tuple(map(float, values["counts"])),
            likeness=Likeness.from_dict(values.get("likeness")),
        )

    @property
    def mean(self) -> float:
        """Return the weighted mean of the frames, 0–1: the EWMA without what it was started from."""
        return self.total / self.weight

    def add(self, fraction: float, n_effective: float, weight: float, subset: int = 0) -> Pool:
        """Return the pool with one more frame; ``weight`` is the EWMA's λ.

        ``subset`` is that of its windows. Fractions of different windows differ also where the crystals are
        the same: only those of one subset are compared.
        """
        trials, kept = max(n_effective / DESIGN_EFFECT, 1e-6), 1 - weight
        ratios, counts = list(self.ratios), list(self.counts)
        for lag, (before, trials_before, subset_before) in enumerate(reversed(self.recent)):
            if subset_before != subset:
                continue
            ratio = _compare(fraction, trials, before, trials_before)
            ratios[lag] = (1 - 1 / _MEMORY) * ratios[lag] + ratio
            counts[lag] = (1 - 1 / _MEMORY) * counts[lag] + 1
        return Pool(
            weight=1 + kept * self.weight,
            total=fraction + kept * self.total,
            square=1 / trials + kept * kept * self.square,
            recent=(*self.recent, (fraction, trials, subset))[-N_LAGS:],
            ratios=tuple(ratios),
            counts=tuple(counts),
            likeness=self.likeness.add(trials, tuple(m for _, m, _ in self.recent)),
        )

    def find_inflation(self, weight: float) -> float:
        """Return by how much the mean varies more than that of independent frames would, 1 or more.

        The larger of two. While the fraction changes: ``D + 2 Σₖ (1 − λ)ᵏ (D − vₖ)``, where vₖ is how far
        frames k apart differ, D how far frames do that have nothing in common, both in units of counting.
        Where frames show the same crystals: ``max(1, D) (1 + 2 S)``, with S the weighted sum of their
        correlations. What is not known yet is taken for alike. It is never more than what makes the pool
        worth one frame.

        Source: the variance of a weighted mean of a stationary series by its variogram; Cressie 1993,
        Statistics for Spatial Data, section 2.4, and Newey and West 1987, doi 10.2307/1913610.
        """
        kept = 1 - weight
        apart = [(r + _PRIOR) / (n + _PRIOR) for r, n in self._compared]
        far = sum(apart[FAR_FROM - 1 :]) / len(apart[FAR_FROM - 1 :])
        changing = sum(kept**lag * max(0.0, far - near) for lag, near in enumerate(apart, 1))
        alike = max(self.likeness.sum_correlations(kept), self._sum_correlations(kept))
        n_before = max(0, self.likeness.n - 1)
        unknown = _UNKNOWN_FOR**2 / (_UNKNOWN_FOR**2 + n_before**2)
        alike = unknown * kept / weight + (1 - unknown) * min(alike, kept / weight)
        most = max(1.0, far) * self.weight**2 / self.square / self._trials_of_a_frame
        return max(1.0, far + 2 * changing, min(most, max(1.0, far) * (1 + 2 * alike)))

    @property
    def _trials_of_a_frame(self) -> float:
        return math.fsum(m for _, m, _ in self.recent) / len(self.recent)

    @property
    def _compared(self) -> list[tuple[float, float]]:
        """Return, by distance, the sum of the frames' differences and how many were compared.

        Where frames take subsets, those of some distances never have the same windows: what is known of the
        next larger distance that has, or else of the largest, then stands for them.
        """
        pairs = list(zip(self.ratios, self.counts, strict=True))
        known = [pair for pair in pairs if pair[1]]
        filled = []
        for at, own in enumerate(pairs):
            # Without subsets no larger distance is compared more often. After a restart a few frames are
            # compared at a distance that never is else.
            more = (pair for pair in pairs[at + 1 :] if pair[1] > own[1])
            is_passed_over = not own[1] and at < self.likeness.n - 1
            filled.append(next(more, known[-1] if known and is_passed_over else own))
        return filled

    def _sum_correlations(self, kept: float) -> float:
        """Return ``Σₖ keptᵏ ρₖ`` by the fractions, which differ little where frames are alike."""
        apart = [ratio / count if count else None for ratio, count in self._compared]
        far = [value for value in apart[FAR_FROM - 1 :] if value is not None]
        # A class of which less than one trial is in a frame says little of the crystals there.
        certain = min(1.0, self.mean * self._trials_of_a_frame)
        least = max(math.fsum(far) / len(far) if far else 0.0, _LEAST_APART * certain)
        if least <= 1e-9:
            return 0.0
        return _weigh([None if value is None else 1 - value / least for value in apart], kept)

    def find_interval(self, ewma: float, weight: float) -> tuple[float, float]:
        """Return the 95 % confidence interval, 0–1, of what the frames' mean fraction is in the slurry.

        It is Wilson's, of as many trials as the pooled frames are worth, and wider by ``COMMON_ERROR`` on
        either side. It holds the EWMA, which may lie off the frames' mean while it still remembers a start
        that was given by hand.
        """
        n_trials = self.weight**2 / self.square / self.find_inflation(weight)
        low, high = wilson_interval(min(1.0, max(0.0, self.mean)), n_trials)
        low = low if self.mean * n_trials >= 1 else 0.0
        high = high if (1 - self.mean) * n_trials >= 1 else 1.0
        return max(0.0, min(low - COMMON_ERROR, ewma)), min(1.0, max(high + COMMON_ERROR, ewma))


def _compare(x: float, m: float, before: float, m_before: float) -> float:
    """Return half the squared difference of two frames, in units of what counting gives both together."""
    # Half a trial more, as Jeffreys' prior adds: without impurity, frames are not certain to be alike.
    mean = (x * m + before * m_before + 0.5) / (m + m_before + 1)
    return (x - before) ** 2 / (mean * (1 - mean) * (1 / m + 1 / m_before))
