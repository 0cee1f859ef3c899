"""Which items of a pool each tab has before it, and which wait for one.

An item that is before one tab is not given to another until its lease ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from georgia.errors import InputError
from georgia.label.journal import Chosen, Journal, make_choice_entries
from georgia.label.records import Choice, Pool
from georgia.label.standing import StandingLabels

# An item that a tab has before it is given to nobody else for so long after that tab's last call.
LEASE_S = 600.0
# How the tab of a table begins: what it holds is held until it is named.
TABLE_TAB = "table "
LONGEST_TAB = 100


@dataclass
class _Lease:
    tab: str
    until: float


class Leases:
    """What each tab has before it; whoever holds it keeps threads apart.

    ``positions`` are those of the pool's paths; ``now`` gives seconds of a clock that never jumps.
    """

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        standing: StandingLabels,
        positions: Mapping[str, int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool, self._journal, self._standing = pool, journal, standing
        self._positions, self._now = positions, now
        self._leases: dict[int, _Lease] = {}

    def take(self, tab: str, n: int, is_last: bool = False) -> list[int]:
        """Return up to ``n`` items for a tab: its own, then those that were chosen and are free.

        ``is_last``: nothing else can be chosen; those held for other tables come too, and skipped ones.
        """
        self._expire()
        mine = [at for at, lease in self._leases.items() if lease.tab == tab]
        names = self._journal.names
        own: list[int] = []
        of_others: list[int] = []
        for path, choice in names.chosen.items() if len(mine) < n else ():
            if path in self._positions and path not in names.skipped:
                is_own = choice.tab in ("", tab)
                (own if is_own else of_others).append(self._positions[path])
        # No chooser knows of these.
        apart = self._standing.list_apart()
        skipped = [self._positions[path] for path in names.skipped if path in self._positions]
        waiting = [*own, *apart, *(of_others if is_last else ()), *(skipped if is_last else ())]
        free = [at for at in dict.fromkeys(waiting) if self._is_free(at)]
        found = [*mine, *free[: max(n - len(mine), 0)]]
        for at in found:
            self._leases[at] = self._make_lease(tab)
        if tab.startswith(TABLE_TAB):
            self._hold(found, tab)
        return found[:n]

    def put_first(self, at: int, tab: str) -> None:
        """Put an item before a tab, ahead of what it has."""
        self._leases = {at: self._make_lease(tab), **self._leases}

    def end(self, at: int) -> None:
        """Give an item back; it may have been before nobody."""
        self._leases.pop(at, None)

    def end_all(self, tab: str) -> None:
        """Give back what a tab has before it."""
        self._leases = {at: lease for at, lease in self._leases.items() if lease.tab != tab}

    def find_held(self) -> set[int]:
        """Return the items that are not to be chosen again: chosen before, skipped, or before a tab."""
        names = self._journal.names
        waiting = (*names.chosen, *names.skipped)
        return {self._positions[path] for path in waiting if path in self._positions} | self._leases.keys()

    def keep_chosen(self, choices: Iterable[Choice]) -> None:
        """Let what was chosen wait until a tab asks; the journal knows of it."""
        names = self._journal.names
        # Whichever of several duplicates was chosen, the first of them is shown.
        shown = {self._standing.find_shown(choice.index): choice for choice in choices}
        paths = {at: self._pool.items[at].path for at in shown if at not in self._standing.labels}
        entries = [
            (paths[at], Chosen(order, choice.reason, choice.probability))
            for order, (at, choice) in enumerate(shown.items(), start=names.last_order + 1)
            if at in paths and paths[at] not in names.chosen
        ]
        if entries:
            self._journal.append(*make_choice_entries(entries), sync=False)

    def _make_lease(self, tab: str) -> _Lease:
        return _Lease(tab, self._now() + LEASE_S)

    def _expire(self) -> None:
        now = self._now()
        self._leases = {at: lease for at, lease in self._leases.items() if lease.until > now}

    def _hold(self, positions: Sequence[int], tab: str) -> None:
        """Keep items for a table, which a person may bring back in a week; a lease would have ended."""
        names = self._journal.names
        paths = [self._pool.items[at].path for at in positions]
        held = {path: names.chosen.get(path, Chosen()) for path in paths}
        entries = [(path, replace(choice, tab=tab)) for path, choice in held.items() if choice.tab != tab]
        if entries:
            self._journal.append(*make_choice_entries(entries))

    def _is_free(self, at: int) -> bool:
        is_named = at in self._standing.labels
        return not is_named and at not in self._leases and not self._standing.is_hidden(at)


def check_tab(tab: str) -> None:
    """Reject a text that cannot be the name of a tab.

    Raises:
        InputError: it is empty, too long, or cannot be shown.
    """
    if not tab or len(tab) > LONGEST_TAB or not tab.isprintable():
        raise InputError(
            "Cannot tell the tab",
            needs=f"a name of 1 to {LONGEST_TAB} signs is needed",
            got=repr(tab[: LONGEST_TAB + 1]),
        )
