"""The one random order of a pool: what to label next as long as no features are known, and what is honest.

Each item's place follows from its path and the seed alone (a permanent random number), so that images which
come later change the places of none that are there; the pool's order goes through all parts of its time, and
these take turns. Source: Ohlsson 1995, in Business Survey Methods,
doi 10.1002/9781118150504.ch9.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.catalog.read import relative_name
from georgia.images.listing import natural_key
from georgia.label.records import Choice, ChoiceReason, Label, Pool

Ints = npt.NDArray[np.int64]
# Parts of a pool's time that the even sample goes through.
N_PARTS = 10


def order_evenly(paths: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Return the positions (N,) of paths in a random order.

    >>> wider = order_evenly(["a", "b", "c", "new"], 1)
    >>> order_evenly(["a", "b", "c"], 1).tolist() == [position for position in wider if position < 3]
    True
    """
    keys = [_digest(f"{seed}/{path}") for path in paths]
    return np.array(sorted(range(len(paths)), key=keys.__getitem__), np.int64)


@dataclass(frozen=True)
class EvenSample:
    """The evenly sampled ones among the labels: positions ``labelled``, in their order.

    ``missing`` were sampled and have no label, such as skipped ones: hard items, so figures lack them.
    """

    labelled: tuple[int, ...]
    missing: tuple[int, ...]


def order_pool(pool: Pool, seed: int) -> Ints:
    """Return the positions (N,) of a pool's items in a random order that goes through all parts of its time.

    Within a part the places are those of ``order_evenly``. Parts take turns: so many first places hold of
    each part what is its fraction of the pool, within one item. Each item is as likely as any other to stand
    before a place. Source: systematic interleaving with a random start in each stratum; Cochran 1977,
    Sampling Techniques, 3rd ed., ch. 5 and 8.
    """
    order = order_evenly([item.path for item in pool.items], seed)
    parts = find_parts(pool)
    if not parts.any():
        return order
    keys = np.empty(len(order))
    for part in np.unique(parts):
        own = order[parts[order] == part]
        start = int(_digest(f"{seed}/part {part}")[:8].hex(), 16) / 2.0**64
        keys[own] = (np.arange(len(own)) + start) / len(own)
    return order[np.argsort(keys[order], kind="stable")]


def find_parts(pool: Pool) -> Ints:
    """Return the number (N,) of the part of time that each item lies in, by its file's name."""
    edges = [natural_key(name) for name in pool.time_parts]
    if not edges:
        return np.zeros(len(pool.items), np.int64)
    part_of: dict[Path, int] = {}
    for item in pool.items:
        if item.file not in part_of:
            part_of[item.file] = bisect_right(edges, natural_key(relative_name(item.file, pool.root)))
    return np.array([part_of[item.file] for item in pool.items], np.int64)


def choose_time_parts(pool: Pool) -> tuple[str, ...]:
    """Return the files with which the second, third, … tenth of a pool's time begins.

    They are names, which hold where the files' times change with a copy. Where names do not sort in the order
    of time, or there is one time only, there are none.
    """
    times: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for item in pool.items:
        name = relative_name(item.file, pool.root)
        counts[name] += 1
        if item.time_s is not None:
            times[name] = item.time_s
    names = sorted(counts, key=natural_key)
    known = [times[name] for name in names if name in times]
    if len(known) < len(names) or len(set(known)) < 2 or known != sorted(known):
        return ()
    ends = np.cumsum([counts[name] for name in names]) / len(pool.items)
    firsts = np.searchsorted(ends, np.arange(1, N_PARTS) / N_PARTS, side="left") + 1
    return tuple(names[at] for at in sorted(set(firsts.tolist())) if at < len(names))


def find_even_sample(pool: Pool, labels: Mapping[int, Label], seed: int) -> EvenSample:
    """Return the items that are an even random sample of the pool.

    They are all that stand in the random order up to the last one that was chosen for it, whatever they were
    named for: one that was asked for another reason before its turn would else be missing.
    """
    order = order_pool(pool, seed)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    sets = pool.find_duplicates()
    passed = -1
    for at, label in labels.items():
        if label.reason is ChoiceReason.EVEN:
            # Of several duplicates the first one in the order was chosen, whichever is shown.
            members = sets.get(pool.items[at].duplicates, (at,))
            passed = max(passed, int(place[list(members)].min()))
    sampled = sorted(order[: passed + 1].tolist())
    return EvenSample(
        tuple(at for at in sampled if at in labels), tuple(at for at in sampled if at not in labels)
    )


def number_units(n_items: int, duplicates: npt.NDArray[np.integer] | None) -> npt.NDArray[np.int64]:
    """Return a number (N,) for each item; items that are labelled together have the same one.

    ``duplicates`` (N,) are the numbers of such sets, −1 for none.

    >>> number_units(3, np.array([-1, 0, 0])).tolist()
    [1, 0, 0]
    """
    if duplicates is None:
        return np.arange(n_items)
    own = np.arange(n_items) + int(duplicates.max(initial=-1)) + 1
    return np.where(duplicates >= 0, duplicates, own)


class EvenOrder:
    """A random order (N,) of positions, down which items are chosen.

    ``unit`` numbers what is labelled together, ``parts`` the strata that the order goes through, none by
    default; both are by position.
    """

    def __init__(self, order: Ints, unit: Ints, parts: Ints | None = None) -> None:
        self._order, self._unit = order, unit[order]
        self._part = np.zeros(len(order), np.int64) if parts is None else parts[order]
        self._n_units = int(unit.max(initial=-1)) + 1

    def __len__(self) -> int:
        return len(self._order)

    def first(self, n: int) -> list[int]:
        """Return the positions at the first ``n`` places."""
        return [int(at) for at in self._order[:n]]

    def next(self, taken: Collection[int], n_places: int | None = None) -> Choice | None:
        """Return the first item whose unit is not taken, within so many places; None where there is none.

        Its probability is that of its unit among all that were left of its part: within a part each order is
        as likely as any other. A unit of several items has as many chances.
        """
        is_taken = np.zeros(self._n_units, np.bool_)
        is_taken[list(taken)] = True
        is_free = ~is_taken[self._unit]
        free = np.flatnonzero(is_free[:n_places])
        if not len(free):
            return None
        place = free[0]
        is_left = is_free & (self._part == self._part[place])
        chances = int((is_left & (self._unit == self._unit[place])).sum())
        return Choice(int(self._order[place]), ChoiceReason.EVEN, chances / int(is_left.sum()))


class EvenChooser:
    """Goes down the random order of the pool."""

    def __init__(self, pool: Pool, seed: int) -> None:
        duplicates = np.array([item.duplicates for item in pool.items], np.int64)
        self._unit = number_units(len(pool.items), duplicates)
        self._order = EvenOrder(order_pool(pool, seed), self._unit, find_parts(pool))

    def next(
        self,
        n: int,
        labelled: Mapping[int, str],
        probabilities: npt.NDArray[np.floating] | None = None,
        held: Collection[int] = (),
    ) -> list[Choice]:
        """Return up to ``n`` items; see ``Chooser`` for the arguments."""
        taken = {int(self._unit[at]) for at in (*labelled, *held)}
        chosen: list[Choice] = []
        while len(chosen) < n and (choice := self._order.next(taken)) is not None:
            taken.add(int(self._unit[choice.index]))
            chosen.append(choice)
        return chosen


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape")).digest()
