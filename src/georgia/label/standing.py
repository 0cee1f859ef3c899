"""Which label stands for each item of a pool, its own or that of its duplicates, and how many have each name.

A keystroke is not to count the pool: what one name changes is taken in at its item and its duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from georgia.label.journal import Journal
from georgia.label.records import Label, Pool


class StandingLabels:
    """The labels that stand, by an item's position in the pool; whoever holds it keeps threads apart.

    ``labels`` has no entry of an item without a name. ``n_left`` are items that are shown and have none.
    """

    def __init__(self, pool: Pool, journal: Journal) -> None:
        self._pool, self._journal = pool, journal
        self._sets = pool.find_duplicates()
        self._left: set[int] = set()
        self.labels: dict[int, Label] = {}
        self.counts: Counter[str] = Counter()
        self.take_in(*range(len(pool.items)))

    @property
    def n_left(self) -> int:
        """How many items are shown and have no name."""
        return len(self._left)

    def members(self, at: int) -> tuple[int, ...]:
        """Return an item with its duplicates, in the order of the pool."""
        return self._sets.get(self._pool.items[at].duplicates, (at,))

    def take_in(self, *changed: int) -> set[int]:
        """Take in what the journal says now of items and their duplicates; return all of these."""
        members = {member for at in changed for member in self.members(at)}
        for member in members:
            self._refresh(member)
        for member in members:
            is_left = member not in self.labels and not self.is_hidden(member)
            (self._left.add if is_left else self._left.discard)(member)
        return members

    def is_hidden(self, at: int) -> bool:
        """Tell whether another duplicate is shown in place of an item; not where they have two names."""
        members = self.members(at)
        if members[0] == at:
            return False
        return not any(member in self.labels for member in members)

    def find_shown(self, at: int) -> int:
        """Return the item that is shown in place of an item: itself, or the first of its duplicates."""
        return self.members(at)[0] if self.is_hidden(at) else at

    def list_apart(self) -> list[int]:
        """Return the items without a name whose duplicates were given two: they are asked for one by one."""
        return [at for members in self._sets.values() for at in members if self._is_apart(at, members)]

    def _is_apart(self, at: int, members: Sequence[int]) -> bool:
        return at not in self.labels and any(member in self.labels for member in members)

    def _refresh(self, at: int) -> None:
        """Find the label that stands for an item: its own, or the one that all its named duplicates have."""
        find, items = self._journal.names.find, self._pool.items
        own = find(items[at].path)
        if own is None:
            found = [find(items[member].path) for member in self.members(at)]
            labels = [label for label in found if label is not None]
            is_one = len({label.name for label in labels}) == 1
            own = max(labels, key=lambda label: label.number) if is_one else None
        before = self.labels.pop(at, None)
        self.counts[before.name if before else ""] -= 1
        self.counts[own.name if own else ""] += 1
        if own is not None:
            self.labels[at] = own
