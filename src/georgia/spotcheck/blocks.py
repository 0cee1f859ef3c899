"""The interval of a fraction over several blocks of windows, each sampled by a plan of its own.

A batch that runs is checked until now, and the check is extended when it has gone on: the windows that came
are a block of their own, sampled with known probabilities like the first. For a supposed fraction m of the
whole, the blocks' means of target − m · any are unknown, but their sum, weighted by size, is 0. In each block
a player bets against each such mean; the capital of all is the product. An m is rejected where even the
division over the blocks that does worst for the players lets that product grow 20-fold. The true division is
one of them, and no one can expect to win against it: so the interval holds however wrong the net is, whenever
one looks. When the check is extended may depend on the names, too: where each window shows a class, the bets
in a block are the same whatever comes after it. Windows of no class make them depend on m a little; then it
is exact for a moment that was chosen without regard to the names.

Sources: as in ``interval.py``; the product of the players' capitals over strata, made smallest over how the
whole may be divided among them: Spertus, Sridhar and Stark 2024, arXiv 2409.06680.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.spotcheck.interval import (
    Interval,
    Name,
    Player,
    count_limits,
    divide_totals,
    estimate_fraction,
    place_fraction,
    with_unclear,
)
from georgia.spotcheck.plan import Draw, Population

FloatArray = npt.NDArray[np.float64]
# Supposed fractions lie so far apart; the limits reach so many steps further, for what lies between them.
_N_STEPS, _SLACK = 400, 2


@dataclass(frozen=True, eq=False)
class Block:
    """Windows that came together, those sampled of them, and the names of the first of these."""

    population: Population
    draws: Sequence[Draw]
    names: Sequence[Name]


def estimate_blocks(blocks: Sequence[Block], alpha: float = 0.05) -> Interval:
    """Return the fraction of the target among all blocks' windows that show any class, with its interval.

    Blocks are in the order in which they were named: each was sampled after the last name of those before.
    One block's interval is that of ``estimate_fraction``.

    Raises:
        InputError: as ``estimate_fraction``, or there is no block.
    """
    if not blocks:
        raise InputError("Cannot estimate a fraction", needs="one block or more is needed", got="none")
    if len(blocks) == 1:
        return estimate_fraction(blocks[0].population, blocks[0].draws, blocks[0].names, alpha)
    names = [name for block in blocks for name in block.names]
    lengths = [len(block.names) for block in blocks]

    def estimate(said: Sequence[Name], own_alpha: float) -> Interval:
        ends = np.cumsum(lengths)
        parts = [
            Block(block.population, block.draws, said[end - n : end])
            for block, n, end in zip(blocks, lengths, ends, strict=True)
        ]
        return _estimate(parts, own_alpha)

    return with_unclear(estimate, names, alpha)


def _estimate(blocks: Sequence[Block], alpha: float) -> Interval:
    size = sum(block.population.size for block in blocks)
    step = 1.0 / _N_STEPS
    supposed = np.linspace(0.0, 1.0, _N_STEPS + 1)[:, None]
    worst, totals = np.zeros((len(supposed), 1)), []
    before: Player | None = None
    for block in blocks:
        weight = block.population.size / size
        # What the block adds to the whole's mean of target + m · (1 − any): 0 … weight, by steps.
        parts = np.arange(int(np.ceil(weight / step - 1e-9)) + 1) * step
        excess = np.minimum(parts / weight, 1.0)[None, :] - supposed
        player = Player(block.population, supposed, excess)
        if before is not None:
            player.learn(before)
        for draw, name in zip(block.draws, block.names, strict=False):
            player.take(draw, name)
        totals.append(player.estimate_totals())
        worst = _combine(worst, player.capital)
        before = player
    # All blocks together add up to m.
    at = np.arange(len(supposed))
    near = np.clip(at[:, None] + np.arange(-1, len(blocks) + 1)[None, :], 0, worst.shape[1] - 1)
    against = np.take_along_axis(worst, near, axis=1).min(axis=1)
    kept = np.flatnonzero(against < np.log(1 / alpha))
    names = [name for block in blocks for name in block.names]
    least, most = count_limits(size, names)
    low, high = least, most
    if len(kept):
        found = (float(kept[0] - _SLACK) * step, float(kept[-1] + _SLACK) * step)
        if found[0] <= most and found[1] >= least:
            low, high = max(found[0], least), min(found[1], most)
    raw = sum(block.population.mean_score * block.population.size for block in blocks) / size
    fraction = place_fraction(divide_totals(totals, raw), low, high, supposed[:, 0], against)
    return Interval(fraction, low, high, len(names))


def _combine(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the smallest sum of one's (M, J) and other's (M, K), by the sum of their columns' numbers."""
    made = np.full((len(one), one.shape[1] + other.shape[1] - 1), np.inf)
    for at in range(other.shape[1]):
        own = made[:, at : at + one.shape[1]]
        np.minimum(own, one + other[:, at : at + 1], out=own)
    return made
