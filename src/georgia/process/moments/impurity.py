"""First impurity: more of the class than the model's own errors explain, and from when on.

How often the model takes other crystals for the impurity is measured where it can be: by windows that a
person named, else in the first frames with crystals, which are held to be without it. What is there from the
first frame on and is not more than ``MOST_EXPLAINED`` cannot be told from errors therefore.

Source: Page 1954, doi 10.1093/biomet/41.1-2.100 (CUSUM of log-likelihood ratios); the ratio of a mixture of
levels, Robbins and Siegmund 1974, doi 10.1214/aos/1176342704; counts that vary more than binomial ones,
Williams 1975, doi 10.2307/2529820. Thresholds were chosen on synthetic batches (benchmarks/moments.py,
seed 5000) and measured on others (docs/measurements/moments.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, betaln

from georgia.monitor.fraction import DESIGN_EFFECT
from georgia.process.moments.onset import Onset, find_onset

Floats = npt.NDArray[np.float64]

# The first frames with crystals that tell how often the model errs: so many, of so many independent windows.
FIRST_FRAMES, FIRST_WINDOWS = 8, 100.0
# Errors explain no more than that where nobody measured them: a stated margin over about 50 synthetic frames
# of pure CEX, of which the bundled model named at most 2.0 % as PG. And no less than that.
MOST_EXPLAINED, LEAST_EXPLAINED = 0.05, 0.01
# Of few windows a limit of 97.5 % lies at 5 % whatever the net. With 90 % there was 1 false impurity in 180
# batches whose errors grow by 3 % (seed 5000), with 80 % there were 10.
_EXPLAINED_BY = 0.9
# A frame's windows are of the same few crystals: correlation of what the net makes of two of them.
_SPREAD = 0.05
# Levels that are tried, as parts of what is left above what errors explain.
_LEVELS = np.array([0.03, 0.08, 0.2, 0.45])
# Evidence, natural log, at which there is an impurity: 3,000 to 1, shared by the levels. With errors as
# frequent as is held to be possible it is reached by chance once in 12,000 frames at the most often: Lorden
# 1971, doi 10.1214/aoms/1177693055.
ENOUGH = 8.0
# Evidence for a rise against a constant level, natural log: 150 to 1.
_ENOUGH_RISE = 5.0
# What is said of what cannot be found: it would be with nine in ten.
_Z_POWER = 1.2816
LAST_FRAMES = 10
_MOST_POINTS, _AFTER, _NEAR = 70, 20, 15
# The part of the onset model's probability between the limits of a rise. Those of 99 %, which crystals need,
# held 129 of 129 at a median width of 69 frame steps; these hold 129 too at 45, those of 80 % 124 at 33
# (benchmarks/moments.py, 900 batches of seed 5000).
_COVERAGE = 0.9


@dataclass(frozen=True)
class Rise:
    """The fraction rises above what errors explain: known at frame ``known_at``, positions as given.

    ``level`` is the mean of the frames that show it, with its interval of 95 %. ``onset`` is None where the
    frames do not tell when it began, and open where that may have been before the first one;
    ``is_from_first``: the first ones show it already.
    """

    known_at: int
    level: float
    level_low: float
    level_high: float
    explained: float
    onset: Onset | None
    is_from_first: bool = False


@dataclass(frozen=True)
class HighestLevel:
    """The mean of the ``LAST_FRAMES`` frames in a row that hold most of it, with its interval of 95 %.

    ``findable`` is the level, 0–1, that would have been found nine times in ten had it been there since the
    frames that tell of errors, ``findable_late`` in the last ``LAST_FRAMES`` frames; 1 where none would.
    """

    level: float
    low: float
    high: float
    explained: float
    findable: float
    findable_late: float


def find_rise(
    times_s: Floats,
    fraction: Floats,
    n_effective: Floats,
    measured: float | None = None,
    least: float = 0.0,
) -> Rise | HighestLevel | None:
    """Return the first rise of ``fraction`` (N,), 0–1, above what errors explain; else what was not there.

    ``n_effective`` (N,) are the independent windows of each frame. ``measured`` is the fraction of other
    crystals that errors reach, where somebody measured or stated it. ``least`` is what they reach at the
    least where nobody did: what the first frames tell is never held to be less. None with fewer frames than
    are needed. What is found depends on no frame after ``known_at`` but that the interval becomes narrower
    with a few.
    """
    trials = n_effective / DESIGN_EFFECT / _find_likeness(n_effective)
    first = _count_first(n_effective)
    if first is None:
        return None
    explained = measured
    if explained is None:
        explained = max(least, _explain(fraction[:first], trials[:first]))
    sums, since = _cumulate(fraction * trials, trials, explained)
    over = np.flatnonzero(sums >= ENOUGH + np.log(len(_LEVELS)))
    if not len(over):
        return _describe_none(fraction, trials, explained, first)
    at = int(over[0])
    shown = slice(int(since[at]), at + 1)
    level, low, high = _find_mean(fraction[shown], trials[shown])
    onset = _locate(times_s, fraction, trials, min(len(times_s), at + 1 + _AFTER), explained)
    is_rise = onset is not None and onset.evidence >= _ENOUGH_RISE
    # Shown since the first frame, and nothing tells that it was not there before.
    is_from_first = bool(since[at] == 0) and (onset is None or not is_rise or onset.is_open)
    return Rise(
        at, level, low, high, explained, onset if is_rise and not is_from_first else None, is_from_first
    )


def _count_first(n_effective: Floats) -> int | None:
    """Return how many frames tell how often the model errs, None with too few or with no frame after them."""
    enough = np.flatnonzero(np.cumsum(n_effective) >= FIRST_WINDOWS)
    if not len(enough):
        return None
    first = max(FIRST_FRAMES, int(enough[0]) + 1)
    return first if first < len(n_effective) else None


def _explain(fraction: Floats, trials: Floats) -> float:
    """Return the upper limit of 90 % of the errors of the first frames, within the stated bounds."""
    hits, total = float((fraction * trials).sum()), float(trials.sum())
    high = float(betaincinv(hits + 0.5, max(total - hits, 0.0) + 0.5, _EXPLAINED_BY))
    return min(MOST_EXPLAINED, max(LEAST_EXPLAINED, high))


def _find_likeness(n_effective: Floats) -> Floats:
    """Return for each frame (N,) how many frames are worth one, 1 or more: those before it are like it.

    How many windows show crystals varies with the crystals in a frame; where frames have crystals in common
    it varies slowly. Half the squared differences of neighbours are compared with the variance of the frames
    up to each one, around their running mean.
    """
    n = len(n_effective)
    likeness = np.ones(n)
    if n <= _NEAR:
        return likeness
    x = np.log(n_effective)
    near = np.lib.stride_tricks.sliding_window_view(x, _NEAR)
    own = near.var(axis=1, ddof=1)
    steps = (np.diff(near, axis=1) ** 2).mean(axis=1) / 2
    count = np.arange(1, len(own) + 1)
    correlation = 1 - np.cumsum(steps) / count / np.maximum(np.cumsum(own) / count, 1e-12)
    # A few frames seem to be correlated by chance.
    correlation = np.clip(correlation - 2 / np.sqrt(count + _NEAR), 0, 0.9)
    likeness[_NEAR - 1 :] = (1 + correlation) / (1 - correlation)
    return likeness


def _cumulate(hits: Floats, trials: Floats, explained: float) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the highest CUSUM of all levels at each frame (N,), and since which frame it grows (N,)."""
    levels = explained + (1 - explained) * _LEVELS
    gains = _log_counts(hits, trials, levels[:, None]) - _log_counts(hits, trials, np.array([[explained]]))
    past = np.concatenate([np.zeros((len(levels), 1)), np.cumsum(gains, axis=1)], axis=1)
    lowest = np.minimum.accumulate(past, axis=1)[:, :-1]
    sums = past[:, 1:] - lowest
    best, frames = sums.argmax(axis=0), np.arange(len(hits))
    is_new = np.concatenate([np.ones((len(levels), 1), bool), past[:, 1:-1] <= lowest[:, :-1]], axis=1)
    since = np.maximum.accumulate(np.where(is_new, frames, 0), axis=1)
    return sums[best, frames], since[best, frames]


def _log_counts(hits: Floats, trials: Floats, levels: Floats) -> Floats:
    """Return the log-likelihood (levels, N) of beta-binomial counts, without what no level changes."""
    strength = (1 - _SPREAD) / _SPREAD
    a, b = levels * strength, (1 - levels) * strength
    logs: Floats = betaln(hits + a, trials - hits + b) - betaln(a, b)
    return logs


def _find_mean(fraction: Floats, trials: Floats) -> tuple[float, float, float]:
    """Return the mean of frames with its interval of 95 %: Jeffreys', of as many trials as spread leaves."""
    total = float(trials.sum())
    mean = float((fraction * trials).sum() / max(total, 1e-9))
    n = total / _widen(trials)
    low, high = betaincinv(mean * n + 0.5, (1 - mean) * n + 0.5, [0.025, 0.975])
    return mean, min(float(low), mean), max(float(high), mean)


def _widen(trials: Floats) -> float:
    """Return by how much the variance of a mean exceeds that of independent windows."""
    total = float(trials.sum())
    return 1 + max(0.0, float((trials**2).sum()) / max(total, 1e-9) - 1) * _SPREAD


def _describe_none(fraction: Floats, trials: Floats, explained: float, first: int) -> HighestLevel:
    views = np.lib.stride_tricks.sliding_window_view
    width = min(LAST_FRAMES, len(fraction))
    hits, total = views(fraction * trials, width).sum(axis=1), views(trials, width).sum(axis=1)
    best = int(np.argmax(hits / np.maximum(total, 1e-9)))
    level, low, high = _find_mean(fraction[best : best + width], trials[best : best + width])
    return HighestLevel(
        *(level, low, high, explained),
        find_findable(trials[first:], explained),
        find_findable(trials[-width:], explained),
    )


def find_findable(trials: Floats, explained: float) -> float:
    """Return the level, 0–1, that frames of so many trials (N,) show nine times in ten; 1 where none."""
    total, widened = float(trials.sum()), _widen(trials)
    low, high = explained, 1.0
    for _ in range(20):
        level = (low + high) / 2
        shown = level - _Z_POWER * float(np.sqrt(level * (1 - level) * widened / max(total, 1e-9)))
        sums, _ = _cumulate(max(shown, 0.0) * trials, trials, explained)
        is_found = bool(sums.max() >= ENOUGH + np.log(len(_LEVELS)))
        low, high = (low, level) if is_found else (level, high)
    return high


def _locate(times_s: Floats, fraction: Floats, trials: Floats, end: int, explained: float) -> Onset | None:
    """Return when the rise began: among few long spans first, then frame by frame around it."""
    first, last = 0, end
    for _ in range(4):
        pooled = _pool(times_s[first:last], fraction[first:last], trials[first:last])
        if len(pooled[0]) < 6:
            return None
        found = find_onset(*pooled, most_before=explained, coverage=_COVERAGE)
        if len(pooled[0]) == last - first:
            return found
        width = max(found.high_s - found.low_s, 4 * float(np.median(np.diff(pooled[0]))))
        start, stop = np.searchsorted(times_s, [found.low_s - width, found.high_s + width])
        if (int(start), min(int(stop), end)) == (first, last):
            return found
        first, last = int(start), min(int(stop), end)
    return found


def _pool(times_s: Floats, fraction: Floats, trials: Floats) -> tuple[Floats, Floats, Floats]:
    """Return times, hits and trials of as many points as are wanted, each of equally many frames."""
    n = int(np.ceil(len(times_s) / _MOST_POINTS))
    starts = np.arange(0, len(times_s), n)
    counts = np.diff(np.append(starts, len(times_s)))
    hits, total = np.add.reduceat(fraction * trials, starts), np.add.reduceat(trials, starts)
    return np.add.reduceat(times_s, starts) / counts, hits, total
