"""A check that is extended as its batch goes on: coverage and width on simulated batches with known truth.

Batches and nets are those of ``spotcheck.py``, the fraction rising in a straight line from 0 to twice its
mean. The first part of the windows is checked; when more have come, the check is extended, as densely, once
("halves") or twice ("thirds"). "When it looks odd": the check is extended once, early where a fifth of the
names show more of the target than the net said, else at the end: the worst that one who looks may do.
Coverage: the truth was never outside while the last block was named; "told holds": of the batches with a
width, that the interval as it is told holds it. "One check": the width of as many names of the whole.

    python benchmarks/spotcheck_blocks.py --batches 1000 --widths 20 --nets good --fractions 0.1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from spotcheck import _AT_ONCE, FRACTIONS, N_WINDOWS, NETS, Players, make_batch, print_rows

from georgia.spotcheck import Name, Population, SpotcheckConfig, draw_windows, estimate_fraction
from georgia.spotcheck.blocks import Block, estimate_blocks
from georgia.spotcheck.plan import N_LEVELS

Floats = npt.NDArray[np.float64]
WAYS = ("halves", "thirds", "when it looks odd")


def make_rising(fraction: float, net: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return truth and the net's probabilities (N,), in an order in which the target becomes frequent."""
    truth, probabilities = make_batch(fraction, net, rng)
    rank = rng.random(N_WINDOWS)
    order = np.argsort(np.where(truth > 0, np.sqrt(rank), rank))
    return truth[order], probabilities[order]


def sample(truth: Floats, probabilities: Floats, n: int, even: float, seed: int) -> Block:
    """Return windows, those sampled, and their true names."""
    population = Population.from_probabilities(probabilities)
    draws = list(draw_windows(population, SpotcheckConfig(n=n, even=even, seed=seed)))
    return Block(population, draws, [Name.TARGET if truth[draw.window] else Name.OTHER for draw in draws])


def cut(way: str, truth: Floats, probabilities: Floats, n: int, even: float, seed: int) -> list[Block]:
    """Return the blocks of a batch and their names, ``n`` in all."""
    ends = {"halves": [0.5, 1.0], "thirds": [1 / 3, 2 / 3, 1.0]}.get(way, [0.4])
    if way == "when it looks odd":
        first = sample(truth[: int(0.4 * N_WINDOWS)], probabilities[: int(0.4 * N_WINDOWS)], n, even, seed)
        named = first.names[: max(1, n // 5)]
        is_high = np.mean([name is Name.TARGET for name in named]) > first.population.mean_score
        ends = [0.4, 0.5] if is_high else [0.4, 1.0]
    blocks, start = [], 0
    for number, end in enumerate(ends):
        stop = round(end * N_WINDOWS)
        own = round(n * (stop - start) / round(ends[-1] * N_WINDOWS))
        blocks.append(sample(truth[start:stop], probabilities[start:stop], own, even, seed + 10_000 * number))
        start = stop
    return blocks


def count_held(made: Sequence[tuple[Floats, list[Block]]]) -> int:
    """Return in how many batches the truth was never outside while the last block was named."""
    sizes = np.array([[block.population.size for block in blocks] for _, blocks in made], float)
    ends = np.cumsum(sizes, axis=1).astype(int)
    wholes = np.array([truth[: end[-1]].mean() for (truth, _), end in zip(made, ends, strict=True)])
    capital, is_out, before = np.zeros(len(made)), np.zeros(len(made), bool), None
    for number in range(sizes.shape[1]):
        starts = ends[:, number] - sizes[:, number].astype(int)
        own = [
            truth[start : end[number]].mean()
            for (truth, _), start, end in zip(made, starts, ends, strict=True)
        ]
        players = Players(wholes, np.array(own) - wholes, sizes[:, number])
        if before is not None:
            players.learn(before)
        for each in line_up([blocks[number] for _, blocks in made]):
            players.take(*each)
            if number == sizes.shape[1] - 1:
                is_out |= capital + players.capital >= np.log(20)
        capital, before = capital + players.capital, players
    return int((~is_out).sum())


def line_up(blocks: Sequence[Block]) -> Iterator[tuple[Any, ...]]:
    """Yield what ``Players.take`` needs for each draw; blocks that have fewer are off at the end."""
    levels = [np.round(block.population.scores * N_LEVELS).astype(int) for block in blocks]
    for number in range(max(len(block.draws) for block in blocks)):
        counts, probabilities = np.zeros((2, len(blocks), N_LEVELS + 1))
        own, is_target, is_on = np.zeros(len(blocks), int), np.zeros(len(blocks)), np.ones(len(blocks))
        for at, block in enumerate(blocks):
            draw = block.draws[min(number, len(block.draws) - 1)]
            counts[at, levels[at]], probabilities[at, levels[at]] = draw.counts, draw.probabilities
            own[at] = levels[at][draw.level]
            is_on[at] = number < len(block.draws)
            is_target[at] = block.names[min(number, len(block.draws) - 1)] is Name.TARGET
        yield own, counts, probabilities, is_target, is_on


def measure(fraction: float, net: str, way: str, n: int, n_batches: int, n_widths: int) -> dict[str, object]:
    """Return a row: coverage over all batches, and width, error and the told interval's over some of them."""
    held, found = 0, []
    even = 1.0 if net == "labels alone" else SpotcheckConfig().even
    for start in range(0, n_batches, _AT_ONCE):
        made = []
        for seed in range(start, min(n_batches, start + _AT_ONCE)):
            truth, probabilities = make_rising(fraction, net, np.random.default_rng(seed))
            blocks = cut(way, truth, probabilities, n, even, seed)
            made.append((truth, blocks))
            if seed >= n_widths:
                continue
            size = sum(block.population.size for block in blocks)
            whole = float(truth[:size].mean())
            told = estimate_blocks(blocks)
            one = sample(truth[:size], probabilities[:size], n, even, seed)
            single = estimate_fraction(one.population, one.draws, one.names)
            is_in = told.low <= whole <= told.high
            found.append((is_in, told.width, abs(told.fraction - whole), single.width))
        held += count_held(made)
    is_in, width, error, single_width = np.mean(np.array(found, float), axis=0)
    head = {"truth": f"{fraction:.0%}", "net": net, "names": n, "extended": way, "coverage": held / n_batches}
    return {**head, "told holds": is_in, "width": width, "error": error, "one check": single_width}


def iterate(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Measure every combination."""
    for fraction in options.fractions:
        for net in options.nets:
            for n in options.sizes:
                for way in options.ways:
                    yield measure(fraction, net, way, n, options.batches, options.widths)


def main() -> int:
    """Print a table, one line a combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--widths", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[60])
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    print_rows(iterate(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
