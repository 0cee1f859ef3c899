"""Slips that a second person's names show, and the curve over time: coverage and width on simulated batches.

Batches and nets are those of ``spotcheck.py``. Slips: both persons confuse the classes at random. The
second names one window in ten, or every one. Curve: the fraction rises in a straight line from 0 to twice its
mean, and the batch's time is cut into spans; a curve holds if the intervals of all spans do, at the end.

    python benchmarks/spotcheck_slips.py --what slips --batches 50
    python benchmarks/spotcheck_slips.py --what curve --batches 200 --sizes 60
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from spotcheck import N_WINDOWS, make_batch, print_rows

from georgia.spotcheck import (
    Name,
    Population,
    SpotcheckConfig,
    allow_slips,
    choose_second,
    cut_spans,
    draw_windows,
    estimate_curve,
    estimate_fraction,
)

Row = dict[str, object]


def measure_slips(fraction: float, n: int, n_batches: int, slips: float) -> Iterator[Row]:
    """Yield a row each for a second person who names one window in ten, and every one; the net is good."""
    found: dict[int, list[tuple[float, ...]]] = {10: [], 1: []}
    swap = {Name.TARGET: Name.OTHER, Name.OTHER: Name.TARGET}
    for seed in range(n_batches):
        rng = np.random.default_rng(seed)
        truth, probabilities = make_batch(fraction, "good", rng)
        population = Population.from_probabilities(probabilities)
        draws = list(draw_windows(population, SpotcheckConfig(n=n, seed=seed)))
        names = [Name.TARGET if truth[draw.window] else Name.OTHER for draw in draws]
        first, second = ([swap[name] if rng.random() < slips else name for name in names] for _ in range(2))
        plain = estimate_fraction(population, draws, first)
        mean = truth.mean()
        for every, rows in found.items():
            chosen = choose_second(n, seed, every)
            pairs = [first[at] for at in chosen], [second[at] for at in chosen]
            allowed, rate = allow_slips(population, draws, first, pairs)
            rows.append(
                (
                    plain.low <= mean <= plain.high,
                    plain.width,
                    allowed.low <= mean <= allowed.high,
                    allowed.width,
                    rate.low <= slips <= rate.high,
                    rate.high,
                )
            )
    for every, rows in found.items():
        names_of = (
            "plain coverage",
            "plain width",
            "coverage",
            "width",
            "rate's coverage",
            "rate's upper limit",
        )
        values = dict(zip(names_of, np.mean(np.array(rows, float), axis=0), strict=True))
        yield {
            "truth": f"{fraction:.0%}",
            "names": n,
            "second names": len(choose_second(n, 0, every)),
            **values,
        }


def measure_curve(fraction: float, net: str, n: int, n_batches: int) -> Iterator[Row]:
    """Yield a row for each number of spans."""
    times = np.arange(N_WINDOWS)
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: [], 4: []}
    for seed in range(n_batches):
        rng = np.random.default_rng(seed)
        truth, probabilities = make_batch(fraction, net, rng)
        # Windows are put in an order in which the target becomes more frequent.
        rank = rng.random(N_WINDOWS)
        order = np.argsort(np.where(truth > 0, np.sqrt(rank), rank))
        truth, probabilities = truth[order], probabilities[order]
        population = Population.from_probabilities(probabilities)
        draws = list(draw_windows(population, SpotcheckConfig(n=n, seed=seed)))
        names = [Name.TARGET if truth[draw.window] else Name.OTHER for draw in draws]
        for n_spans, rows in found.items():
            spans = cut_spans(times, n_spans)
            curve = estimate_curve(population, draws, names, spans)
            held = all(part.low <= truth[spans == at].mean() <= part.high for at, part in enumerate(curve))
            rows.append((held, float(np.mean([part.width for part in curve]))))
    for n_spans, rows in found.items():
        coverage, width = np.mean(np.array(rows, float), axis=0)
        head = {"truth": f"{fraction:.0%}", "net": net, "names": n, "spans": n_spans}
        yield {**head, "all hold": coverage, "mean width": width}


def iterate(options: argparse.Namespace) -> Iterator[Row]:
    """Measure every combination."""
    for n in options.sizes:
        for fraction in options.fractions:
            if options.what == "slips":
                yield from measure_slips(fraction, n, options.batches, 0.05)
                continue
            for net in options.nets:
                yield from measure_curve(fraction, net, n, options.batches)


def main() -> int:
    """Print a table, one line a combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--what", choices=("slips", "curve"), required=True)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 200])
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.0, 0.1, 0.35])
    parser.add_argument("--nets", nargs="+", default=["good", "biased", "useless", "inverted"])
    print_rows(iterate(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
