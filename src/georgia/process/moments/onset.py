"""The moment from which a proportion rises, with the interval that holds it with 95 %.

A frame has ``hits`` of ``trials`` windows. Up to the moment their mean proportion is constant; after it
the mean rises as ``level · ((t − moment) / duration) ** power`` up to ``level``, or at once. Frames vary more
than their windows would alone: hits are beta-binomial. All that is not known (constant, level, duration,
power, spread) is summed over a grid with equal weight, and every moment within the frames is as likely as any
other before they are seen; so the interval is Bayes' credible one. A time without frames is as likely as it
is long.

Source: the change point of a sequence of binomials, Smith 1975, doi 10.1093/biomet/62.2.407; extra-binomial
variation, Williams 1975, doi 10.2307/2529820. Grids and the shape of the rise were chosen, their coverage is
measured on synthetic batches with other shapes (docs/measurements/moments.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, logsumexp

Floats = npt.NDArray[np.float64]

_LEVELS = 1 / (1 + np.exp(-np.linspace(np.log(0.0008), np.log(0.97 / 0.03), 44)))
_SPREADS = np.array([0.01, 0.04, 0.12, 0.3])
_TOPS = np.array([0.03, 0.08, 0.2, 0.45, 0.8])
_POWERS = (0.6, 1.0, 2.0, 3.0)
_N_DURATIONS = 7
# Moments that are tried between two frames.
_N_BETWEEN = 3
# The longest rise that is tried, in lengths of the frames after the first sign of it.
_LONGEST = 6.0
# Limits of 99 % are taken, so that 95 % hold where the rise has another shape: with those of 95 %, 86 % of
# 161 intervals held the moment (benchmarks/moments.py, seed 5000).
COVERAGE = 0.99
# What a running batch asks for again with each frame: the moments that are past do not change.
_MOST_KEPT = 512


@dataclass(frozen=True)
class Onset:
    """When a proportion began to rise; times in s.

    ``evidence`` is the natural log of how much better a rise explains the frames than none. ``before`` and
    ``after`` are the mean proportions of the frames before ``low_s`` and after ``high_s``, NaN without any.
    ``is_open`` tells that the interval reaches the first frame: it may have begun before.
    """

    time_s: float
    low_s: float
    high_s: float
    evidence: float
    before: float
    after: float
    is_open: bool


def find_onset(
    times_s: Floats,
    hits: Floats,
    trials: Floats,
    most_before: float = 0.05,
    coverage: float = COVERAGE,
) -> Onset:
    """Return when the proportion of ``hits`` (N,) of ``trials`` (N,) began to rise, times in rising order.

    What was found last is kept and returned again for the same frames.

    ``most_before`` is the highest proportion that may have been there before, 0–1. ``coverage`` is the part
    of the model's probability between the limits.

    >>> times = np.arange(20.0)
    >>> found = find_onset(times, np.where(times < 10, 0.0, 15.0), np.full(20, 20.0))
    >>> 8 <= found.low_s <= found.time_s <= found.high_s <= 11
    True
    """
    columns = (np.ascontiguousarray(each, np.float64) for each in (times_s, hits, trials))
    return _find_kept(*(each.tobytes() for each in columns), most_before, coverage)


@lru_cache(_MOST_KEPT)
def _find_kept(times: bytes, of_hits: bytes, of_trials: bytes, most_before: float, coverage: float) -> Onset:
    times_s, hits, trials = (np.frombuffer(each, np.float64) for each in (times, of_hits, of_trials))
    table = _make_table(hits, trials)
    moments, weights = _place_moments(times_s)
    befores = np.flatnonzero(most_before >= _LEVELS)[:: max(1, int((most_before >= _LEVELS).sum() // 8))]
    # (spreads, levels, N + 1): of the frames before each one.
    past = np.concatenate([np.zeros((*table.shape[:2], 1)), np.cumsum(table, axis=2)], axis=2)
    log_moment = _sum_steps(past, times_s, moments, befores)
    log_moment = np.logaddexp(log_moment, _sum_rises(past, times_s, moments, befores))
    log_moment = log_moment - np.log(2) + np.log(weights)
    total = float(logsumexp(log_moment))
    none = table[:, befores].sum(axis=2)
    evidence = total - float(logsumexp(none) - np.log(none.size))
    low, middle, high = _find_quantiles(moments, np.exp(log_moment - total), coverage)
    earlier, later = times_s < low, times_s > high
    return Onset(
        middle,
        low,
        high,
        evidence,
        _mean(hits[earlier], trials[earlier]),
        _mean(hits[later], trials[later]),
        is_open=bool(low < times_s[1]),
    )


def _mean(hits: Floats, trials: Floats) -> float:
    return float(hits.sum() / trials.sum()) if trials.sum() > 0 else float("nan")


def _make_table(hits: Floats, trials: Floats) -> Floats:
    """Return the log-likelihood of each frame (spreads, levels, N), beta-binomial."""
    k, n = hits[None, None, :], np.maximum(hits, trials)[None, None, :]
    strength = ((1 - _SPREADS) / _SPREADS)[:, None, None]
    a, b = _LEVELS[None, :, None] * strength, (1 - _LEVELS)[None, :, None] * strength
    table: Floats = betaln(k + a, n - k + b) - betaln(a, b)
    return table


def _place_moments(times_s: Floats) -> tuple[Floats, Floats]:
    """Return the moments that are tried, s, and how likely each is before the frames are seen."""
    edges = np.linspace(0, 1, _N_BETWEEN + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    steps = np.diff(times_s)
    moments = (times_s[:-1, None] + steps[:, None] * middles[None, :]).ravel()
    weights = np.repeat(np.maximum(steps, 1e-9) / _N_BETWEEN, _N_BETWEEN)
    return moments, weights / weights.sum()


def _sum_steps(past: Floats, times_s: Floats, moments: Floats, befores: npt.NDArray[np.intp]) -> Floats:
    """Return the log-likelihood of a rise at once at each moment (M,)."""
    at = np.searchsorted(times_s, moments)
    tops = np.searchsorted(_LEVELS, _TOPS)
    before, after = past[:, befores][:, :, at], (past[:, tops, -1:] - past[:, tops][:, :, at])
    both = before[:, :, None] + after[:, None, :]
    return _log_mean(both.reshape(-1, len(moments)))


def _sum_rises(past: Floats, times_s: Floats, moments: Floats, befores: npt.NDArray[np.intp]) -> Floats:
    """Return the log-likelihood of a rise that takes time, from each moment on (M,).

    A rise passes the levels of the grid one after another, so that the sum over its frames is one of
    differences between neighbouring levels, at the frame where the rise comes to each.
    """
    steps = np.diff(times_s)
    shortest = float(np.median(steps)) or float(steps[steps > 0].min())
    span = float(times_s[-1] - times_s[0])
    durations = np.geomspace(shortest, max(2 * shortest, _LONGEST * span), _N_DURATIONS)
    # Of the levels before, the few that the first frames allow; the others add nothing.
    few = befores[np.unique(np.linspace(0, len(befores) - 1, 4).round().astype(int))]
    plan = _plan_passages(few)
    n_spreads, _, n_ends = past.shape
    # (levels - 1, N + 1, spreads): what a frame more at the lower one of two levels adds.
    gains = (past[:, :-1] - past[:, 1:]).transpose(1, 2, 0).reshape(-1, n_spreads)
    ends = past[:, plan.last, -1].transpose(1, 2, 0)[:, :, None, :]
    rows = ((plan.levels - 1) * n_ends)[:, None]
    # Of times since 1970 the last digits would be lost.
    own_times, own_moments = times_s - times_s[0], moments - times_s[0]
    pieces = np.zeros((*plan.has_piece.shape, len(moments), n_spreads))
    total = np.full(len(moments), -np.inf)
    for duration in durations:
        for power in _POWERS:
            reached_s = duration * plan.parts ** (1 / power)
            first = np.searchsorted(own_times, own_moments[None, :] + reached_s[:, None])
            pieces[plan.has_piece] = np.add.reduceat(gains.take(rows + first, axis=0), plan.starts)
            sums = ends + np.cumsum(pieces[:, ::-1], axis=1)[:, ::-1]
            total = np.logaddexp(total, _log_mean(sums.transpose(0, 1, 3, 2).reshape(-1, len(moments))))
    summed: Floats = total - np.log(len(durations) * len(_POWERS))
    return summed


@dataclass(frozen=True)
class _Passages:
    """The levels (K,) that rises to each top pass, and the part of its top (K,) at which a rise does.

    They are summed in pieces that begin at ``starts``: one from each level before to the next of these, for
    each top (tops, befores) that lies above it, ``has_piece``. ``last`` is the level at which a rise ends.
    """

    levels: npt.NDArray[np.intp]
    parts: Floats
    starts: npt.NDArray[np.intp]
    has_piece: npt.NDArray[np.bool_]
    last: npt.NDArray[np.intp]


def _plan_passages(befores: npt.NDArray[np.intp]) -> _Passages:
    logits = np.log(_LEVELS / (1 - _LEVELS))
    # A mean counts as the nearest level: it comes to one in the middle between that and the one below.
    edges = 1 / (1 + np.exp(-(logits[1:] + logits[:-1]) / 2))
    numbers = np.searchsorted(edges, _TOPS, side="right")
    has_piece = befores[None, :] < numbers[:, None]
    first = befores[0]
    levels = np.concatenate([np.arange(first + 1, number + 1) for number in numbers])
    offsets = np.cumsum(np.append(0, np.maximum(0, numbers - first)))[:-1]
    starts = (offsets[:, None] + befores[None, :] - first)[has_piece]
    tops = np.repeat(_TOPS, np.maximum(0, numbers - first))
    last = np.maximum(numbers[:, None], befores[None, :])
    return _Passages(levels, edges[levels - 1] / tops, starts, has_piece, last)


def _log_mean(logs: Floats) -> Floats:
    """Return the log of the mean of what ``logs`` (N, M) are the logs of, (M,)."""
    highest = logs.max(axis=0)
    mean: Floats = highest + np.log(np.exp(logs - highest).mean(axis=0))
    return mean


def _find_quantiles(moments: Floats, mass: Floats, coverage: float) -> tuple[float, float, float]:
    """Return lower limit, median and upper limit of the moment, evenly spread within each part."""
    cumulated = np.concatenate([[0.0], np.cumsum(mass)])
    cumulated /= cumulated[-1]
    steps = np.diff(moments)
    edges = np.concatenate(
        [[moments[0] - steps[0] / 2], moments[:-1] + steps / 2, [moments[-1] + steps[-1] / 2]]
    )
    outside = (1 - coverage) / 2
    low, middle, high = np.interp([outside, 0.5, 1 - outside], cumulated, edges)
    return float(low), float(middle), float(high)
