"""Coverage and width of a spot check's interval, on simulated batches with known truth and several nets.

A batch has 2,000 windows. The good net separates the classes by 7 logits with a spread of 1.5; the biased one
is that with every logit 1.5 lower; the useless one knows nothing; the inverted one says the opposite.
Coverage: the truth was never outside of the interval, after no name; "told holds": of the batches with a
width, that the interval as it is told holds the truth. "labels alone": the same interval without a net,
windows sampled evenly. "Wilson": the interval of a fixed number of even draws. Slips: names wrong at
random. The lines above the table: how narrow an interval can be at all that holds whatever the net does,
looked at once, even with a net without error; and one that says the same to the same names.

    python benchmarks/spotcheck.py --batches 1000 --widths 40 --fractions 0.1 --out spotcheck.json
    python benchmarks/spotcheck.py --ppi --batches 1000 --nets good biased useless inverted
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.metrics.intervals import wilson_interval
from georgia.spotcheck import Draw, Name, Population, SpotcheckConfig, draw_windows, estimate_fraction
from georgia.spotcheck.interval import _MOST_STAKE, _PRIOR_N, _PRIOR_VARIANCE, _SPREADS, Player
from georgia.spotcheck.logistic import _LONGEST, _N_STEPS, find_logits
from georgia.spotcheck.plan import N_LEVELS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
N_WINDOWS = 2000
# Batches that are followed at once.
_AT_ONCE = 250
NETS = ("good", "biased", "useless", "inverted", "labels alone")
FRACTIONS = (0.0, 0.02, 0.10, 0.35)
SIZES = (30, 60, 200)


def make_batch(fraction: float, net: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the truth (N,), 0 or 1, and a net's probabilities (N,)."""
    truth = (rng.random(N_WINDOWS) < fraction).astype(float)
    logits = np.where(truth > 0, 3.5, -3.5) + rng.normal(0, 1.5, N_WINDOWS)
    kinds = {
        "good": logits,
        "biased": logits - 1.5,
        "useless": rng.normal(-2, 2, N_WINDOWS),
        "inverted": -logits,
        "labels alone": np.full(N_WINDOWS, -3.0),
    }
    return truth, 1 / (1 + np.exp(-kinds[net]))


def draw_batch(
    fraction: float, net: str, n: int, seed: int, slips: float
) -> tuple[float, Population, list[Draw], list[Name]]:
    """Return the true fraction, the windows, those sampled, and the names a person gives them."""
    rng = np.random.default_rng(seed)
    truth, probabilities = make_batch(fraction, net, rng)
    population = Population.from_probabilities(probabilities)
    even = 1.0 if net == "labels alone" else SpotcheckConfig().even
    draws = list(draw_windows(population, SpotcheckConfig(n=n, even=even, seed=seed)))
    is_slip = rng.random(n) < slips
    is_target = [bool(truth[draw.window]) != bool(slip) for draw, slip in zip(draws, is_slip, strict=True)]
    return float(truth.mean()), population, draws, [Name.TARGET if t else Name.OTHER for t in is_target]


class Players:
    """What ``interval.Player`` does, for many batches at once and one supposed fraction each.

    Names are of the target or of another class. ``highest`` is the log of each capital's maximum; ``follow``
    compares it with that of ``Player``. ``excess`` (B,) and ``sizes`` (B,) are of blocks of a batch.
    """

    def __init__(
        self, supposed: Floats, excess: Floats | float = 0.0, sizes: Floats | float = N_WINDOWS
    ) -> None:
        self._m, self._excess = supposed, excess
        self._sizes = sizes + np.zeros_like(supposed)
        self._n = np.zeros_like(supposed)
        self.capital, self.highest = np.zeros_like(supposed), np.zeros_like(supposed)
        self._named, self._sums = np.zeros_like(supposed), np.zeros((2, len(supposed)))
        self._offset, self._slope = np.zeros_like(supposed), np.ones_like(supposed)
        self._logits = find_logits(np.arange(N_LEVELS + 1) / N_LEVELS)
        self._counts = np.zeros((2, len(supposed), N_LEVELS + 1))

    def learn(self, other: Players) -> None:
        """Expect what the names of earlier blocks said of the net."""
        self._offset, self._slope, self._counts = (
            each.copy() for each in (other._offset, other._slope, other._counts)
        )

    def take(
        self,
        levels: Ints,
        counts: Floats,
        probabilities: Floats,
        is_target: Floats,
        is_on: Floats | float = 1.0,
    ) -> None:
        """Take a name of each batch: ``levels`` (B,), ``counts`` and ``probabilities`` (B, L).

        ``is_on`` (B,) is 0 for batches that have no further name.
        """
        m, at, n = self._m, np.arange(len(levels)), self._n + _PRIOR_N
        expected = squash(self._offset[:, None] + np.maximum(self._slope, 0.0)[:, None] * self._logits)
        weights = np.divide(
            1.0 / self._sizes[:, None], probabilities, out=np.zeros_like(counts), where=counts > 0
        )
        base = self._named - self._n * m + (counts * expected).sum(1) - counts.sum(1) * m
        base = base / self._sizes - self._excess
        most = _MOST_STAKE / np.maximum(base + (weights * (1 - expected)).max(1), 1e-9)
        least = _MOST_STAKE / np.maximum((weights * expected).max(1) - base, 1e-9)
        mean = self._sums[0] / n
        variance = np.maximum(self._sums[1] / n - mean**2, 0.0) + _PRIOR_VARIANCE * _PRIOR_N / n
        stake = np.clip((base + mean) / (variance + (base + mean) ** 2), -most, least)
        correction = weights[at, levels] * (is_target - expected[at, levels])
        self.capital += is_on * np.log1p(stake * (base + correction))
        self.highest = np.maximum(self.highest, self.capital)
        self._sums += is_on * np.array([correction, correction**2])
        self._named += is_on * is_target
        self._n += is_on
        self._counts[0, at, levels] += is_on
        self._counts[1, at, levels] += is_on * is_target
        self._refine()

    def _refine(self) -> None:
        keep, keep_slope = (1.0 / spread**2 for spread in _SPREADS)
        for _ in range(_N_STEPS):
            chance = squash(self._offset[:, None] + self._slope[:, None] * self._logits)
            miss = self._counts[1] - self._counts[0] * chance
            weight = self._counts[0] * chance * (1 - chance)
            up = miss.sum(1) - keep * self._offset
            up_slope = miss @ self._logits - keep_slope * (self._slope - 1.0)
            a, b = weight.sum(1) + keep, weight @ self._logits
            c = weight @ self._logits**2 + keep_slope
            step, step_slope = (
                (c * up - b * up_slope) / (a * c - b * b),
                (a * up_slope - b * up) / (a * c - b * b),
            )
            damping = np.minimum(
                1.0, _LONGEST / np.maximum.reduce([np.abs(step), np.abs(step_slope), 0 * a + 1e-12])
            )
            self._offset += damping * step
            self._slope += damping * step_slope


def squash(values: Floats) -> Floats:
    """Return 1 / (1 + exp(−x))."""
    return 1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0)))


Sampled = tuple[float, Population, list[Draw], list[Name]]


def count_held(sampled: Sequence[Sampled], sizes: Sequence[int], n_compared: int) -> dict[int, int]:
    """Return in how many batches the truth was never outside after so many names.

    Raises:
        RuntimeError: ``Players`` and ``Player`` differ in one of the first ``n_compared`` batches.
    """
    n, shape = max(sizes), (len(sampled), N_LEVELS + 1)
    levels = [np.round(population.scores * N_LEVELS).astype(int) for _, population, _, _ in sampled]
    players, held = Players(np.array([truth for truth, *_ in sampled])), {}
    for number in range(n):
        counts, probabilities = np.zeros(shape), np.zeros(shape)
        for at, (_, _, draws, _) in enumerate(sampled):
            counts[at, levels[at]] = draws[number].counts
            probabilities[at, levels[at]] = draws[number].probabilities
        own = np.array(
            [of[draws[number].level] for of, (_, _, draws, _) in zip(levels, sampled, strict=True)]
        )
        is_target = np.array([names[number] is Name.TARGET for *_, names in sampled], float)
        players.take(own, counts, probabilities, is_target)
        if number + 1 in sizes:
            held[number + 1] = int((players.highest < np.log(20)).sum())
    for at, (truth, population, draws, names) in enumerate(sampled[:n_compared]):
        player = Player(population, np.array([truth]))
        for draw, name in zip(draws, names, strict=True):
            player.take(draw, name)
        if abs(player.highest[0] - players.highest[at]) > 1e-6:
            raise RuntimeError(f"batch {at}: {player.highest[0]} and {players.highest[at]}")
    return held


def follow(
    fraction: float, net: str, sizes: Sequence[int], n_batches: int, n_widths: int, slips: float
) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of names: coverage over many batches, width and error over some of them.

    The windows of a smaller number are the first ones of a larger: each batch is sampled and named once.
    """
    held = dict.fromkeys(sizes, 0)
    found: dict[int, list[tuple[float, float, bool]]] = {n: [] for n in sizes}
    raw = []
    for start in range(0, n_batches, _AT_ONCE):
        seeds = range(start, min(n_batches, start + _AT_ONCE))
        sampled = [draw_batch(fraction, net, max(sizes), seed, slips) for seed in seeds]
        for n, number in count_held(sampled, sizes, 2).items():
            held[n] += number
        for truth, population, draws, names in sampled[: max(0, n_widths - start)]:
            raw.append(abs(population.mean_score - truth))
            for n in sizes:
                interval = estimate_fraction(population, draws, names[:n])
                is_in = interval.low <= truth <= interval.high
                found[n].append((interval.width, abs(interval.fraction - truth), is_in))
    for n in sizes:
        low, high = wilson_interval(fraction, n)
        widths, errors, is_in = np.array(found[n] or [(np.nan,) * 3], float).T
        yield {
            "fraction": fraction,
            "net": net,
            "n": n,
            "slips": slips,
            "coverage": held[n] / n_batches,
            "width": float(widths.mean()),
            "error": float(errors.mean()),
            "raw_error": float(np.mean(raw)) if raw else float("nan"),
            "wilson_width": high - low,
            "told": float(is_in.mean()),
        }


def find_bound(fraction: float, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return how narrow an interval that holds whatever the net does may be: in the mean; if names fix it.

    Say that the net is without error and all names agree with it. Had it missed K more targets, anywhere
    among the other windows, all names would be the same with the chance h = C(M - k, K) / C(M, K), in the
    mean over where the K are, if k of these M windows were named. An interval that leaves this truth out
    more often than alpha / h misses it more often than alpha. So the mean reaches at least the integral of
    1 - alpha / h above what was found; an interval that says the same to the same names, to where h is
    alpha (the rule of three). Likewise below, for targets that are none. The n names are shared so that the
    sum is smallest.
    """
    n_target = round(fraction * N_WINDOWS)
    sides = [
        (_hide(n - k, N_WINDOWS - n_target, alpha), _hide(k, n_target, alpha))
        for k in range(min(n, n_target) + 1)
    ]
    mean = min(above[0] + below[0] for above, below in sides)
    return mean / N_WINDOWS, min(above[1] + below[1] for above, below in sides) / N_WINDOWS


def _hide(n: int, size: int, alpha: float) -> tuple[float, int]:
    """Return how many of ``size`` windows may be other than they seem after ``n`` names: mean, and fixed."""
    chance, total = 1.0, 0.0
    for hidden in range(size):
        chance *= max(0, size - n - hidden) / (size - hidden)
        if chance <= alpha:
            return total, hidden + 1
        total += 1 - alpha / chance
    return total, size


def follow_ppi(fraction: float, net: str, sizes: Sequence[int], n_batches: int) -> Iterator[dict[str, Any]]:
    """Yield the same of ``ppi-python``: a normal interval of evenly sampled windows, looked at once."""
    from ppi_py import ppi_mean_ci

    results: dict[int, list[tuple[bool, float, float]]] = {n: [] for n in sizes}
    for seed in range(n_batches):
        rng = np.random.default_rng(seed)
        truth, probabilities = make_batch(fraction, net, rng)
        order = rng.permutation(N_WINDOWS)
        for n in sizes:
            own, rest = order[:n], order[n:]
            low, high = ppi_mean_ci(truth[own], probabilities[own], probabilities[rest], alpha=0.05)
            low, high = np.clip([np.squeeze(low), np.squeeze(high)], 0.0, 1.0)
            held = low - 1e-9 <= truth.mean() <= high + 1e-9
            results[n].append((held, high - low, abs((low + high) / 2 - truth.mean())))
    for n in sizes:
        coverage, width, error = np.nanmean(np.array(results[n], float), axis=0)
        row = {"fraction": fraction, "net": net, "n": n, "slips": 0.0, "coverage": coverage}
        rest_of = dict.fromkeys(("raw_error", "wilson_width", "told"), float("nan"))
        yield {**row, "width": width, "error": error, **rest_of}


def iterate(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure every combination, and the good net with slips; or ``ppi-python`` on the same batches."""
    for fraction in arguments.fractions:
        for net in arguments.nets:
            if arguments.ppi:
                yield from follow_ppi(fraction, net, arguments.sizes, arguments.batches)
                continue
            for slips in (0.0, 0.05) if net == "good" else (0.0,):
                settings = (arguments.batches, arguments.widths, slips)
                yield from follow(fraction, net, arguments.sizes, *settings)


def print_rows(rows: Iterable[Mapping[str, object]]) -> None:
    """Print a table in Markdown, each row once it is there."""
    for number, row in enumerate(rows):
        if not number:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    """Print a table, one line a combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--widths", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument(
        "--ppi", action="store_true", help="measure ppi-python instead, which must be installed"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for fraction in arguments.fractions:
        for n in arguments.sizes:
            mean, fixed = find_bound(fraction, n)
            print(f"{fraction:.0%}, {n} names: no width is below {mean:.3f} in the mean; {fixed:.3f}")
    print(
        "| names | truth | net | slips | coverage | width | error | net alone | Wilson's width | told holds |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in iterate(arguments):
        rows.append(row)
        texts = [f"{row['n']}", f"{row['fraction']:.0%}", row["net"], f"{row['slips']:.0%}"]
        names = ("coverage", "width", "error", "raw_error", "wilson_width", "told")
        print("| " + " | ".join([*texts, *(f"{row[name]:.3f}" for name in names)]) + " |", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
