"""Which group goes to which part: whole groups, every class near its wished share in every part.

Groups are dealt out largest first, each to the part that it brings nearest to the wish; then groups are
moved and exchanged for as long as that brings the parts nearer. The distance is
``Σ (n − wish)² / (n_class² · fraction)`` over classes and parts: Pearson's χ² of the counts against the
wish, with every class weighing the same. Finding the true optimum is a partition problem (NP-hard).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A part without a single image of a class is worse than any distance.
_EMPTY_COST = 1e6
# Kinds of groups (equal counts of every class) up to which exchanges are searched, not only moves.
_N_KINDS_EXCHANGED = 300
_N_STEPS = 10_000


def assign_groups(counts: Ints, fractions: Sequence[float], seed: int) -> Ints:
    """Return each group's part (G,) from its number of images of each class, ``counts`` (G, C).

    Parts of fraction 0 stay empty. Among groups of equal counts the seed decides; their order does too,
    so give them in an order that depends on nothing but the data.
    """
    shares = np.asarray(fractions, np.float64)
    used = np.flatnonzero(shares > 0)
    plan = _Plan(counts, shares[used])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    parts = np.zeros(len(counts), np.int64)
    for group in order:
        parts[group] = plan.deal(counts[group])
    _improve(plan, counts, parts, order)
    return used[parts]


class _Plan:
    """The counts (P, C) that each part has so far, and what a change of them costs."""

    def __init__(self, counts: Ints, shares: Floats) -> None:
        totals = counts.sum(axis=0).astype(np.float64)
        self.wish: Floats = shares[:, None] * totals
        self.weight: Floats = 1.0 / (shares[:, None] * np.maximum(totals, 1.0) ** 2)
        self.have: Floats = np.zeros_like(self.wish)
        self.must: npt.NDArray[np.bool_] = totals > 0

    def cost(self, part: int, have: Floats) -> Floats:
        """Return what it costs when a part has ``have`` (…, C)."""
        distance = ((have - self.wish[part]) ** 2 * self.weight[part]).sum(axis=-1)
        return np.asarray(distance + _EMPTY_COST * ((have <= 0) & self.must).sum(axis=-1))

    def deal(self, group: Ints) -> int:
        """Give a group to the part that it brings nearest to the wish."""
        more = (2 * (self.have - self.wish) * group + group**2) * self.weight
        part = int(np.argmin(more.sum(axis=1)))
        self.have[part] += group
        return part


def _improve(plan: _Plan, counts: Ints, parts: Ints, order: Ints) -> None:
    """Move and exchange groups, best change first, until none brings the parts nearer to the wish."""
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    members: dict[tuple[int, int], list[int]] = defaultdict(list)
    for group in order:
        members[int(parts[group]), int(kind_of[group])].append(int(group))
    for _ in range(_N_STEPS):
        change = _best_change(plan, kinds, members)
        if change is None:
            return
        source, kind, target, back = change
        _shift(plan, kinds, members, parts, (source, kind, target))
        if back >= 0:
            _shift(plan, kinds, members, parts, (target, back, source))


def _shift(
    plan: _Plan,
    kinds: Ints,
    members: dict[tuple[int, int], list[int]],
    parts: Ints,
    move: tuple[int, int, int],
) -> None:
    source, kind, target = move
    group = members[source, kind].pop()
    members[target, kind].insert(0, group)
    parts[group] = target
    plan.have[source] -= kinds[kind]
    plan.have[target] += kinds[kind]


def _best_change(
    plan: _Plan, kinds: Ints, members: dict[tuple[int, int], list[int]]
) -> tuple[int, int, int, int] | None:
    """Return (source, kind, target, kind that comes back or -1) of the best change, or None."""
    n_parts = len(plan.have)
    held = [[kind for kind in range(len(kinds)) if members.get((part, kind))] for part in range(n_parts)]
    best, change = -1e-12, None
    for source in range(n_parts):
        for target in range(n_parts):
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
