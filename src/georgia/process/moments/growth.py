"""How the field fills: when a tenth and a half of the rise is done, and how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

Floats = npt.NDArray[np.float64]

# Fewer frames with crystals tell nothing of a trend.
LEAST_FRAMES = 12
_MOST_POINTS, _N_RESAMPLES, _BLOCK = 240, 200, 4
# Of a rate limits of 99 % are taken, so that 95 hold: those of 95 % held 396 of 452 (benchmarks/moments.py,
# seed 5000).
_RATE_COVERAGE = 0.99
# Of fewer frames 14 of 24 such intervals held the rate (the same batches): it is not told then.
_LEAST_FOR_RATE = 20
# Frames that are further apart than so many steps have a gap between them.
_GAP_STEPS = 3.0
# Growths that are past are asked for again with each frame of a running batch.
_MOST_KEPT = 256
# The last fifth of the frames is level with the fifth before if it is within that of the rise.
_LEVEL_WITHIN = 0.1


@dataclass(frozen=True)
class Crossing:
    """When a part of the rise was done, s; the interval is of 95 %."""

    time_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True)
class Growth:
    """A rise of the coverage from ``base`` to ``level``, 0–1.

    ``rate`` is that of its middle half, in 1/min, None where too few frames tell it; with its
    interval. ``is_over`` tells that it has come to a level.
    """

    base: float
    level: float
    onset: Crossing
    half: Crossing
    rate: float | None
    rate_low: float | None
    rate_high: float | None
    is_over: bool


def find_growth(times_s: Floats, cover: Floats, base: float, step_s: float) -> Growth | None:
    """Return how the coverage (N,), 0–1, rises from ``base``; None with too few frames or no rise.

    A rising line is fitted by isotonic regression up to the level, and its intervals come from a bootstrap of
    blocks of residuals. ``step_s`` is the usual time between frames.

    Source: isotonic regression, Barlow et al. 1972, Statistical Inference under Order Restrictions; block
    bootstrap, Künsch 1989, doi 10.1214/aos/1176347265.
    """
    if len(times_s) < LEAST_FRAMES:
        return None
    columns = (np.ascontiguousarray(each, np.float64) for each in _pool(times_s, cover))
    return _find_kept(*(each.tobytes() for each in columns), base, step_s)


@lru_cache(_MOST_KEPT)
def _find_kept(times: bytes, of_cover: bytes, base: float, step_s: float) -> Growth | None:
    times_s, cover = (np.frombuffer(each, np.float64) for each in (times, of_cover))
    top = _find_top(cover)
    times_s, rising = times_s[: top + 1], cover[: top + 1]
    fitted = _fit(rising)
    found = _read(times_s, fitted, base)
    if found is None:
        return None
    rows = _read_all(times_s, _resample(fitted, rising - fitted), base)
    if not len(rows):
        return None
    lows, highs = np.quantile(rows, [0.025, 0.975], axis=0)
    onset, half = (
        Crossing(
            found[at],
            _move_out(times_s, min(found[at], float(lows[at])), -step_s / 2),
            _move_out(times_s, max(found[at], float(highs[at])), step_s / 2),
        )
        for at in (0, 1)
    )
    rate, rate_low, rate_high = _find_rate(found, rows, base, step_s, len(times_s))
    is_over = _is_level(cover, base)
    return Growth(base, found[4], onset, half, rate, rate_low, rate_high, is_over)


def _move_out(times_s: Floats, limit_s: float, by_s: float) -> float:
    """Return a limit of a crossing, moved by half a step; to the end of the gap that it lies in.

    Between two frames that are far apart nothing tells when the line was crossed.
    """
    after = int(np.clip(np.searchsorted(times_s, limit_s), 1, len(times_s) - 1))
    before_s, after_s = float(times_s[after - 1]), float(times_s[after])
    is_gap = after_s - before_s > _GAP_STEPS * 2 * abs(by_s) and before_s <= limit_s <= after_s
    end_s = after_s if by_s > 0 else before_s
    return end_s + by_s if is_gap else limit_s + by_s


def _find_rate(
    found: tuple[float, float, float, float, float], rows: Floats, base: float, step_s: float, n_frames: int
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return the rate of the middle half of a rise and its interval, 1/min; None where frames are too few."""
    first, third, level = found[2:]
    if n_frames < _LEAST_FOR_RATE or third - first < 2 * step_s:
        return None, None, None
    rate = 30 * (level - base) / (third - first)
    logs = np.log(30 * (rows[:, 4] - base) / np.maximum(rows[:, 3] - rows[:, 2], step_s))
    low, high = np.quantile(logs, [(1 - _RATE_COVERAGE) / 2, (1 + _RATE_COVERAGE) / 2])
    # The resamples are flatter than the frames, as their line is than the truth: both ends, as far as either
    # way of reading the bootstrap has them.
    middle = float(np.log(rate))
    ends = (float(low), float(high), 2 * middle - float(low), 2 * middle - float(high))
    return rate, float(np.exp(min(ends))), float(np.exp(max(ends)))


def _pool(times_s: Floats, cover: Floats) -> tuple[Floats, Floats]:
    """Return means of equal numbers of frames, so that no more points are left than are needed."""
    n = int(np.ceil(len(times_s) / _MOST_POINTS))
    starts = np.arange(0, len(times_s), n)
    counts = np.diff(np.append(starts, len(times_s)))
    return np.add.reduceat(times_s, starts) / counts, np.add.reduceat(cover, starts) / counts


def _find_top(cover: Floats) -> int:
    """Return where the rise has come to its level: the last point; of a fall after it, where that begins."""
    width = max(5, len(cover) // 8)
    means = np.convolve(cover, np.ones(width) / width, mode="valid")
    best = int(np.argmax(means))
    highest = float(means[best])
    low_after = np.flatnonzero(means[best:] < 0.6 * highest)
    return len(cover) - 1 if not len(low_after) else best + int(low_after[0])


def _fit(cover: Floats) -> Floats:
    fitted: Floats = isotonic_regression(cover).x
    return fitted


def _resample(fitted: Floats, residuals: Floats) -> Floats:
    """Return lines (_N_RESAMPLES, N) fitted to the first one with blocks of residuals put anew on it."""
    n = len(residuals)
    if n < _BLOCK:
        return fitted[None, :]
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n - _BLOCK + 1, (_N_RESAMPLES, int(np.ceil(n / _BLOCK))))
    chosen = (starts[:, :, None] + np.arange(_BLOCK)).reshape(_N_RESAMPLES, -1)[:, :n]
    return np.stack([_fit(line) for line in fitted + residuals[chosen]])


def _read(times_s: Floats, fitted: Floats, base: float) -> tuple[float, float, float, float, float] | None:
    """Return when 10, 50, 25 and 75 % of the rise were done, and its level; None without a rise."""
    rows = _read_all(times_s, fitted[None, :], base)
    if not len(rows):
        return None
    tenth, half, first, third, level = rows[0].tolist()
    return tenth, half, first, third, level


def _read_all(times_s: Floats, lines: Floats, base: float) -> Floats:
    """Return of each of ``lines`` (K, N) that rises the times and the level of ``_read``, (at most K, 5)."""
    n = lines.shape[1]
    levels = np.median(lines[:, -max(3, n // 4) :], axis=1)
    is_rise = levels > base + 0.02
    levels = levels[is_rise]
    # Flat pieces of the fit have one place each, so that the line can be read at a height.
    rising = np.maximum.accumulate(lines[is_rise], axis=1) + 1e-9 * np.arange(n)
    heights = base + np.array([0.1, 0.5, 0.25, 0.75]) * (levels[:, None] - base)
    rows = [np.interp(height, line, times_s) for height, line in zip(heights, rising, strict=True)]
    return np.column_stack([np.reshape(rows, (-1, 4)), levels])


def _is_level(cover: Floats, base: float) -> bool:
    n = max(4, len(cover) // 5)
    if len(cover) < 2 * n:
        return False
    last, before = cover[-n:], cover[-2 * n : -n]
    error = float(np.sqrt(last.var(ddof=1) / n + before.var(ddof=1) / n))
    rise = float(last.mean() - before.mean())
    return (
        rise <= max(2 * error, 0.0) and rise <= _LEVEL_WITHIN * max(float(last.mean()) - base, 0.02) + error
    )
