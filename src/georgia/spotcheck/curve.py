"""The curve of a batch's fraction over time, from the names of a spot check: a few spans with intervals.

A span is a population of its own: given that a window of it was sampled, it was sampled among the windows of
the span with known probabilities. So each span has the interval of ``interval.py``, and each holds whatever
the net does. The chance of any error is shared among the spans (Bonferroni): with the given confidence all of
them hold at once, at every look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.spotcheck.interval import Interval, Name, estimate_fraction
from georgia.spotcheck.plan import Draw, Population

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """A part of a batch's time, ``from_s`` to ``to_s`` (seconds since 1970): its windows, and their fraction.

    ``raw_fraction`` is what the net alone says, 0–1; None where it gave no window of the span a class.
    ``interval.n`` names are of windows of the span.
    """

    from_s: float
    to_s: float
    n_windows: int
    raw_fraction: float | None
    interval: Interval

    def to_json_dict(self) -> dict[str, Any]:
        """Return an element of ``curve``."""
        found = self.interval
        return {
            "from_s": self.from_s,
            "to_s": self.to_s,
            "n_windows": self.n_windows,
            "raw_fraction": self.raw_fraction,
            "fraction": found.fraction,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "n_unclear": found.n_unclear,
        }


def cut_spans(times_s: npt.ArrayLike, n: int) -> IntArray:
    """Return the span (N,), 0 … n − 1, of each window: about equally many windows each, in order of time.

    Windows of one moment, as those of a frame, are in one span; with fewer moments there are fewer spans.

    >>> cut_spans([5.0, 1.0, 1.0, 2.0], 2)
    array([1, 0, 0, 1])

    Raises:
        InputError: a time is no number, or ``n`` is below 1.
    """
    times = np.asarray(times_s, np.float64)
    if n < 1 or not np.isfinite(times).all():
        raise InputError(
            "Cannot cut the batch into spans", needs="finite times and one span or more are needed", got=n
        )
    _, of, counts = np.unique(times, return_inverse=True, return_counts=True)
    # By the middle of a moment's windows in the order of time.
    middle = (np.cumsum(counts) - counts / 2) / max(1, len(times))
    spans = np.minimum((middle * n).astype(np.int64), n - 1)
    return np.unique(spans, return_inverse=True)[1][of].astype(np.int64)


def estimate_curve(
    population: Population,
    draws: Sequence[Draw],
    names: Sequence[Name],
    span_of: IntArray,
    alpha: float = 0.05,
) -> list[Interval]:
    """Return the fraction of the target in each span, all intervals valid at once with 1 − ``alpha``.

    ``span_of`` (N,) is each window's span, chosen without regard to the names; arguments else as in
    ``estimate_fraction``. A span without a name has the interval 0–1 and the net's own mean as its fraction.

    Raises:
        InputError: as ``estimate_fraction``, or there is not one span for each window.
    """
    span_of = np.asarray(span_of, np.int64)
    if span_of.shape != (population.size,) or span_of.min(initial=0) < 0:
        raise InputError(
            "Cannot estimate a curve",
            needs="one span is needed for each window",
            got=f"{span_of.shape} spans, {population.size} windows",
        )
    n_spans = int(span_of.max()) + 1
    return [
        estimate_fraction(*_narrow(population, draws, names, span_of == at), alpha / n_spans)
        for at in range(n_spans)
    ]


def _narrow(
    population: Population, draws: Sequence[Draw], names: Sequence[Name], is_own: npt.NDArray[np.bool_]
) -> tuple[Population, list[Draw], list[Name]]:
    """Return the windows of a span as a population, and the draws among them as such of that population."""
    own = Population(population.scores, population.level_of[is_own])
    left = own.counts.copy()
    kept, named = [], []
    for draw, name in zip(draws, names, strict=False):
        if not is_own[draw.window]:
            continue
        chance = float(draw.probabilities @ left)
        kept.append(Draw(draw.window, draw.level, left.copy(), draw.probabilities / chance))
        named.append(name)
        left[draw.level] -= 1
    return own, kept, named
