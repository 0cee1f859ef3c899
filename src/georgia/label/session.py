"""A labelling: items are handed to tabs, names come back and are on disk before that is confirmed.

Any number of tabs and persons name at the same time. Whoever names an item that somebody else has named since
is told so, and may then say that it is meant.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.catalog.read import relative_name
from georgia.errors import InputError, suggest
from georgia.label.catalog_file import LabelsWriter
from georgia.label.even import find_even_sample
from georgia.label.journal import (
    Chosen,
    Journal,
    Kind,
    check_who,
    make_name_entry,
    tell_time,
)
from georgia.label.leases import LONGEST_TAB, Leases, check_tab
from georgia.label.pixels import PixelReader
from georgia.label.records import (
    NEITHER,
    NOT_CLASSES,
    UNCLEAR,
    ChoiceReason,
    Chooser,
    ConflictError,
    Item,
    Label,
    Pool,
    Progress,
    Surroundings,
    TrayItem,
)
from georgia.label.standing import StandingLabels
from georgia.records import Box

Probabilities = npt.NDArray[np.floating]
# So many items at least are chosen at a time: a choice takes longer than the next crop may.
_AHEAD = 16


class LabelSession:
    """An open labelling of a pool; every method may be called from any thread.

    The journal stays the caller's to close, after ``close``. ``count_wanted`` tells how many more labels each
    class needs before a training, of the numbers by class; ``now`` gives seconds of a clock that never jumps.
    """

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        chooser: Chooser,
        count_wanted: Callable[[Mapping[str, int]], Mapping[str, int]] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool, self.journal = pool, journal
        self._chooser, self._count_wanted = chooser, count_wanted
        self._lock, self._choosing = threading.RLock(), threading.Lock()
        self._positions = pool.find_positions()
        self._standing = StandingLabels(pool, journal)
        self._labels = self._standing.labels
        self._leases = Leases(pool, journal, self._standing, self._positions, now)
        self._probabilities: Probabilities | None = None
        self._suggestions: tuple[tuple[str, ...], Probabilities] | None = None
        self.pixels = PixelReader()
        self._writer = LabelsWriter(journal.out, self.list_named)
        self._writer.wake()
        kept = (path for path, labels in journal.names.names.items() if labels)
        self._n_gone = sum(path not in self._positions for path in kept)

    @property
    def out(self) -> Path:
        """The table of labels."""
        return self.journal.out

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their keys."""
        return self.journal.names.classes

    @property
    def fault(self) -> str:
        """Why the table of labels could not be written, "" where it could; the journal holds the labels."""
        return self._writer.fault

    def tray(self, tab: str, n: int, is_hinting: bool = False) -> list[TrayItem]:
        """Return up to ``n`` items for a tab, those first that it had before; nobody else gets them.

        With ``is_hinting`` they tell what the model suggests, which leads a person.

        Raises:
            InputError: ``tab`` is no name of a tab.
        """
        check_tab(tab)
        n = max(n, 0)
        with self._lock:
            found = self._leases.take(tab, n)
        if len(found) < n:
            # Choosing takes longer than naming may wait, so it is done without the lock of the names.
            with self._choosing:
                with self._lock:
                    found = self._leases.take(tab, n)
                if len(found) < n:
                    self._choose_more(n - len(found))
                with self._lock:
                    found = self._leases.take(tab, n, is_last=True)
        with self._lock:
            return [self._describe(at, is_hinting) for at in found]

    def name(self, path: str, name: str, who: str, tab: str, replaces: int | None = None) -> Progress:
        """Keep a name; it is on disk when this returns. The same name once more changes nothing.

        ``replaces`` is the number of the label that is meant to be replaced, 0 for none. Without it a tab may
        replace its own labels.

        Raises:
            ConflictError: another tab has named the item since; it says who, when and what.
            InputError: there is no such item, class or person.
            UnwritableFileError: the disk does not take it, and nothing is kept.
        """
        who = check_who(who)
        check_tab(tab)
        with self._lock:
            at = self._find(path)
            if name not in self.classes and name not in NOT_CLASSES:
                raise _reject_name(name, self.classes)
            before = self._labels.get(at)
            if before is not None and before.name == name and before.path == path:
                self._leases.end(at)
                return self.progress()
            if replaces is None:
                is_conflict = before is not None and before.tab != tab
            else:
                is_conflict = replaces != (before.number if before else 0)
            if is_conflict:
                raise _make_conflict(path, before)
            self.journal.append(make_name_entry(self._make_label(at, name, who, tab)))
            self._changed(at)
            return self.progress()

    def name_many(
        self, names: Sequence[tuple[str, str]], who: str, tab: str, reason: ChoiceReason
    ) -> list[Label]:
        """Keep many names (path, name) at once, as an import does; return the labels that stood in the way.

        What has a name already keeps it. All are on disk when this returns.

        Raises:
            InputError: one is no item, class or person; nothing is kept.
            UnwritableFileError: the disk does not take it, and nothing is kept.
        """
        who = check_who(who)
        with self._lock:
            entries, kept, changed = [], [], []
            for path, name in names:
                at = self._find(path)
                if name not in self.classes and name not in NOT_CLASSES:
                    raise _reject_name(name, self.classes)
                before = self.journal.names.find(path)
                if before is None:
                    label = self._make_label(at, name, who, tab)
                    entries.append(make_name_entry(replace(label, reason=reason, duplicates=())))
                    changed.append(at)
                elif before.name != name:
                    kept.append(before)
            if entries:
                self.journal.append(*entries)
                self._changed(*changed)
            return kept

    def undo(self, tab: str, who: str) -> TrayItem | None:
        """Take back the last name that a tab gave and that holds; return the item, or None for none.

        It stays in the journal, with a line behind it that takes it back.

        Raises:
            ConflictError: another tab has named the item since.
            UnwritableFileError: the disk does not take it, and the name holds.
        """
        who = check_who(who)
        check_tab(tab)
        with self._lock:
            own = [label for label in self.journal.names.by_number.values() if label.tab == tab]
            last = max(own, key=lambda label: label.number, default=None)
            if last is None or last.path not in self._positions:
                return None
            holds = self.journal.names.find(last.path)
            if holds is not None and holds.number != last.number:
                raise _make_conflict(last.path, holds)
            self.journal.append(
                {"kind": Kind.UNDO, "of": last.number, "at": tell_time(), "who": who, "tab": tab}
            )
            at = self._positions[last.path]
            self._changed(at)
            if at not in self._labels:
                self._leases.put_first(at, tab)
            return self._describe(at, is_hinting=False)

    def skip(self, path: str, tab: str) -> None:
        """Put an item behind all others.

        Raises:
            InputError: there is no such item.
        """
        check_tab(tab)
        with self._lock:
            at = self._find(path)
            self.journal.append({"kind": Kind.SKIP, "path": path, "at": tell_time(), "tab": tab}, sync=False)
            self._leases.end(at)

    def close_tab(self, tab: str) -> None:
        """Give back what a tab has before it."""
        with self._lock:
            self._leases.end_all(tab)

    def progress(self) -> Progress:
        """Return how far the labelling is."""
        with self._lock:
            counts = self._standing.counts
            by_class = {name: counts[name] for name in self.classes}
            wanted = self._count_wanted(by_class) if self._count_wanted else {}
            return Progress(
                n_items=len(self.pool.items),
                n_labelled=sum(by_class.values()),
                n_unclear=counts[UNCLEAR],
                n_neither=counts[NEITHER],
                by_class=by_class,
                n_wanted=wanted,
                n_named=len({label.path for label in self._labels.values()}),
                n_gone=self._n_gone,
                n_left=self._standing.n_left,
            )

    def history(self, n: int) -> list[Label]:
        """Return the last ``n`` names that hold, newest first."""
        with self._lock:
            current = {label.number: label for label in self._labels.values()}
            return [current[number] for number in sorted(current, reverse=True)[: max(n, 0)]]

    def describe_item(self, path: str) -> TrayItem:
        """Return an item as a tray has it, with its name.

        Raises:
            InputError: there is no such item.
        """
        with self._lock:
            return self._describe(self._find(path), is_hinting=False)

    def has(self, path: str) -> bool:
        """Tell whether there is an item of this path."""
        return path in self._positions

    def split_path(self, path: str) -> tuple[str, Box | None]:
        """Return the path of an item's file, relative to the pool's root, and its box.

        Raises:
            InputError: there is no such item.
        """
        item = self._item(path)
        return relative_name(item.file, self.pool.root), item.box

    def find_last_of(self, tab: str) -> dict[str, str]:
        """Return the last name that a tab gave to each path, whatever became of it."""
        with self._lock:
            return {label.path: label.name for label in self.journal.names.every if label.tab == tab}

    def has_chosen_for(self, tab: str) -> bool:
        """Tell whether items were chosen for a tab before."""
        with self._lock:
            return any(choice.tab == tab for choice in self.journal.names.chosen.values())

    def image(self, path: str, size: int, around: bool = False) -> bytes:
        """Return an item as PNG, its longer side at most ``size`` px; ``around``: what surrounds it too.

        Raises:
            UnreadableImageError: its file is gone or cannot be read; one clause.
            InputError: there is no such item.
        """
        return self.pixels.read(self._item(path), size, around)

    def surroundings(self, path: str) -> Surroundings:
        """Return where an item lies in its image ``around``.

        Raises:
            UnreadableImageError: its file is gone or cannot be read; one clause.
            InputError: there is no such item.
        """
        return self.pixels.find_surroundings(self._item(path))

    def list_named(self) -> list[tuple[Item, Label]]:
        """Return all items that have a name, with it, in the order of the pool."""
        with self._lock:
            return [(self.pool.items[at], self._labels[at]) for at in sorted(self._labels)]

    def list_labels(self) -> list[Label]:
        """Return a label for each item that has a name, duplicates too, with the path of the item."""
        return [
            label
            if label.path == item.path
            else replace(label, path=item.path, reason=ChoiceReason.DUPLICATE)
            for item, label in self.list_named()
        ]

    def list_even(self) -> list[str]:
        """Return the paths of the labels that are an even random sample of the pool, for honest figures."""
        with self._lock:
            return self._paths(find_even_sample(self.pool, self._labels, self.journal.seed).labelled)

    def count_even_missing(self) -> int:
        """Return how many items of the even sample have no name: passed over, or not named yet."""
        with self._lock:
            return len(find_even_sample(self.pool, self._labels, self.journal.seed).missing)

    def use_chooser(self, chooser: Chooser) -> None:
        """Have another chooser say from now on what to label next."""
        with self._lock:
            self._chooser = chooser

    def update_probabilities(self, classes: Sequence[str], probabilities: Probabilities) -> None:
        """Take the newest model's probabilities (N, C), 0–1, NaN where not known, for what to label next.

        Raises:
            InputError: they are not of so many items and classes.
        """
        if probabilities.shape != (len(self.pool.items), len(classes)):
            raise InputError(
                "Cannot use the probabilities",
                needs=f"({len(self.pool.items)}, {len(classes)}) is needed",
                got=probabilities.shape,
            )
        with self._lock:
            self._probabilities = np.nan_to_num(probabilities, nan=1 / len(classes))
            self._suggestions = tuple(classes), probabilities

    def write(self) -> None:
        """Write the table of labels now.

        Raises:
            UnwritableFileError: it cannot be written; the journal holds the labels.
        """
        self._writer.write()

    def close(self) -> None:
        """Write the table of labels and end; the journal is closed by whoever opened it.

        Raises:
            UnwritableFileError: it cannot be written; the journal holds the labels.
        """
        self._writer.close()

    def _item(self, path: str) -> Item:
        return self.pool.items[self._find(path)]

    def _find(self, path: str) -> int:
        if path not in self._positions:
            raise InputError(
                "Cannot find the item", needs="a path of the pool is needed", got=repr(path[:200])
            )
        return self._positions[path]

    def _changed(self, *changed: int) -> None:
        """Take in what the journal says now of items and their duplicates."""
        for member in self._standing.take_in(*changed):
            if member in self._labels:
                self._leases.end(member)
        self._writer.wake()

    def _make_label(self, at: int, name: str, who: str, tab: str) -> Label:
        path = self.pool.items[at].path
        others = [self.pool.items[member].path for member in self._standing.members(at) if member != at]
        # One that was named on its own keeps its name.
        own = {label.path for label in self.journal.names.by_number.values()} if others else set()
        chosen = self.journal.names.chosen.get(path, Chosen())
        return Label(
            path,
            name,
            who,
            tell_time(),
            order=chosen.order,
            reason=chosen.reason,
            probability=chosen.probability,
            tab=tab,
            duplicates=tuple(other for other in others if other not in own),
        )

    def _paths(self, positions: Sequence[int]) -> list[str]:
        return [self.pool.items[at].path for at in positions]

    def _choose_more(self, n: int) -> None:
        """Choose ``n`` items, and some more for the next calls; they wait until a tab asks."""
        with self._lock:
            chooser, probabilities, held = self._chooser, self._probabilities, self._leases.find_held()
            labelled = {at: label.name for at, label in self._labels.items()}
        choices = chooser.next(max(n, _AHEAD), labelled, probabilities, held - labelled.keys())
        with self._lock:
            self._leases.keep_chosen(choices)

    def _describe(self, at: int, is_hinting: bool) -> TrayItem:
        item, label = self.pool.items[at], self._labels.get(at)
        chosen = self.journal.names.chosen.get(item.path)
        suggestion = None
        if is_hinting and self._suggestions is not None:
            classes, probabilities = self._suggestions
            if not np.isnan(probabilities[at]).any():
                best = int(probabilities[at].argmax())
                suggestion = (classes[best], float(probabilities[at, best]))
        reason = chosen.reason if chosen else ChoiceReason.ASKED
        return TrayItem(
            item.path, len(self._standing.members(at)) - 1, reason, suggestion, label.name if label else ""
        )


def _reject_name(name: str, classes: Sequence[str]) -> InputError:
    return InputError(
        "Cannot keep the name",
        needs=f"one of {', '.join([*classes, *NOT_CLASSES])} is needed",
        got=repr(name[:LONGEST_TAB]),
        hint=suggest(name, classes).strip(),
    )


def _make_conflict(path: str, label: Label | None) -> ConflictError:
    return ConflictError(
        f"Cannot name {path!r}",
        needs="a label that nobody else has changed meanwhile is needed",
        got=f"{label.name!r} by {label.who}, {label.at}" if label else "none: it was taken back",
        hint="Say that it is meant, to replace it.",
        label=label,
    )
