"""Which group goes to which split: whole groups, every class near its target fraction in every split.

Groups are assigned largest first, each to the split that it brings nearest to the target; then groups are
moved and exchanged for as long as that brings the splits nearer. The distance is
``Σ (n − target)² / (n_class² · fraction)`` over classes and splits: Pearson's χ² of the counts against the
target, with every class weighing the same. Finding the true optimum is a partition problem (NP-hard).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A split without a single image of a class is worse than any distance.
_EMPTY_COST = 1e6
# Kinds of groups (equal counts of every class) up to which exchanges are searched, not only moves.
_N_KINDS_EXCHANGED = 300
_N_STEPS = 10_000


def assign_groups(counts: Ints, fractions: Sequence[float], seed: int) -> Ints:
    """Return each group's split (G,) from its number of images of each class, ``counts`` (G, C).

    Splits of fraction 0 stay empty. Among groups of equal counts the seed decides; their order does too,
    so give them in an order that depends on nothing but the data.
    """
    wanted = np.asarray(fractions, np.float64)
    used = np.flatnonzero(wanted > 0)
    plan = _Plan(counts, wanted[used])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    splits = np.zeros(len(counts), np.int64)
    for group in order:
        splits[group] = plan.assign(counts[group])
    _improve(plan, counts, splits, order)
    return used[splits]


class _Plan:
    """The counts (S, C) that each split has so far, and what a change of them costs."""

    def __init__(self, counts: Ints, fractions: Floats) -> None:
        totals = counts.sum(axis=0).astype(np.float64)
        self.target: Floats = fractions[:, None] * totals
        self.weight: Floats = 1.0 / (fractions[:, None] * np.maximum(totals, 1.0) ** 2)
        self.have: Floats = np.zeros_like(self.target)
        self.must: npt.NDArray[np.bool_] = totals > 0

    def cost(self, split: int, have: Floats) -> Floats:
        """Return what it costs when a split has ``have`` (…, C)."""
        distance = ((have - self.target[split]) ** 2 * self.weight[split]).sum(axis=-1)
        return np.asarray(distance + _EMPTY_COST * ((have <= 0) & self.must).sum(axis=-1))

    def assign(self, group: Ints) -> int:
        """Assign a group to the split that it brings nearest to the target."""
        more = (2 * (self.have - self.target) * group + group**2) * self.weight
        split = int(np.argmin(more.sum(axis=1)))
        self.have[split] += group
        return split


def _improve(plan: _Plan, counts: Ints, splits: Ints, order: Ints) -> None:
    """Move and exchange groups, best change first, until none brings the splits nearer to the target."""
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    members: dict[tuple[int, int], list[int]] = defaultdict(list)
    for group in order:
        members[int(splits[group]), int(kind_of[group])].append(int(group))
    for _ in range(_N_STEPS):
        change = _best_change(plan, kinds, members)
        if change is None:
            return
        source, kind, target, back = change
        _shift(plan, kinds, members, splits, (source, kind, target))
        if back >= 0:
            _shift(plan, kinds, members, splits, (target, back, source))


def _shift(
    plan: _Plan,
    kinds: Ints,
    members: dict[tuple[int, int], list[int]],
    splits: Ints,
    move: tuple[int, int, int],
) -> None:
    source, kind, target = move
    group = members[source, kind].pop()
    members[target, kind].insert(0, group)
    splits[group] = target
    plan.have[source] -= kinds[kind]
    plan.have[target] += kinds[kind]


def _best_change(
    plan: _Plan, kinds: Ints, members: dict[tuple[int, int], list[int]]
) -> tuple[int, int, int, int] | None:
    """Return (source, kind, target, kind that comes back or -1) of the best change, or None."""
    n_splits = len(plan.have)
    held = [[kind for kind in range(len(kinds)) if members.get((split, kind))] for split in range(n_splits)]
    best, change = -1e-12, None
    for source in range(n_splits):
        for target in range(n_splits):
            if source == target or not held[source]:
                continue
            back = [-1, *held[target]] if len(kinds) <= _N_KINDS_EXCHANGED else [-1]
            returned = np.array([kinds[kind] if kind >= 0 else np.zeros_like(kinds[0]) for kind in back])
            moved = kinds[held[source]][:, None, :] - returned[None, :, :]
            before = plan.cost(source, plan.have[source]) + plan.cost(target, plan.have[target])
            after = plan.cost(source, plan.have[source] - moved) + plan.cost(
                target, plan.have[target] + moved
            )
            gain = after - before
            at = int(np.argmin(gain))
            if gain.flat[at] < best:
                best = float(gain.flat[at])
                row, column = divmod(at, len(back))
                change = (source, held[source][row], target, back[column])
    return change
