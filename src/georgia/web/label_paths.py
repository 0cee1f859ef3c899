"""A labelling session as a page sees it: paths that are no UTF-8 go over the wire as text, and come back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from georgia.label.records import Label, Pool, Progress, Surroundings, TrayItem
from georgia.label.session import LabelSession
from georgia.text import is_utf8


class ShownPaths:
    r"""Names that JSON can hold for the paths of a pool, each another; almost all are the paths themselves.

    >>> paths = ShownPaths(["a.png", "\udcff.png", "\\xff.png"])
    >>> [paths.show(path) for path in ("a.png", "\udcff.png", "\\xff.png")]
    ['a.png', '\\xff.png (2)', '\\xff.png']
    >>> ascii(paths.find("\\xff.png (2)"))
    "'\\udcff.png'"
    """

    def __init__(self, paths: list[str]) -> None:
        known = set(paths)
        self._shown: dict[str, str] = {}
        for path in paths:
            if is_utf8(path):
                continue
            plain = os.fsencode(path).decode("utf-8", "backslashreplace")
            shown, number = plain, 1
            while shown in known:
                number += 1
                shown = f"{plain} ({number})"
            known.add(shown)
            self._shown[path] = shown
        self._paths = {shown: path for path, shown in self._shown.items()}

    def show(self, path: str) -> str:
        """Return what stands for a path."""
        return self._shown.get(path, path)

    def find(self, shown: str) -> str:
        """Return the path that something stands for."""
        return self._paths.get(shown, shown)


class ShownSession:
    """The methods of a session that a page calls, with paths as they are shown."""

    def __init__(self, session: LabelSession) -> None:
        self._session = session
        self._paths = ShownPaths([item.path for item in session.pool.items])

    @property
    def pool(self) -> Pool:
        """The pool itself."""
        return self._session.pool

    @property
    def source(self) -> str:
        """Where the crops are, as text."""
        return str(clean(str(self._session.pool.root)))

    @property
    def out(self) -> str:
        """The table of labels, as text."""
        return str(clean(str(self._session.out)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their keys."""
        return self._session.classes

    @property
    def fault(self) -> str:
        """Why the table of labels could not be written."""
        return str(clean(self._session.fault))

    @property
    def n_damaged(self) -> int:
        """Lines of the journal that are damaged."""
        return len(self._session.journal.failures)

    def progress(self) -> Progress:
        """See ``LabelSession.progress``."""
        return self._session.progress()

    def tray(self, tab: str, n: int, is_hinting: bool) -> list[TrayItem]:
        """See ``LabelSession.tray``."""
        return [self._show_item(item) for item in self._session.tray(tab, n, is_hinting)]

    def name(self, shown: str, name: str, who: str, tab: str, replaces: int | None) -> Progress:
        """See ``LabelSession.name``."""
        return self._session.name(self._paths.find(shown), name, who, tab, replaces)

    def undo(self, tab: str, who: str) -> TrayItem | None:
        """See ``LabelSession.undo``."""
        item = self._session.undo(tab, who)
        return self._show_item(item) if item else None

    def skip(self, shown: str, tab: str) -> None:
        """See ``LabelSession.skip``."""
        self._session.skip(self._paths.find(shown), tab)

    def close_tab(self, tab: str) -> None:
        """See ``LabelSession.close_tab``."""
        self._session.close_tab(tab)

    def history(self, n: int) -> list[Label]:
        """See ``LabelSession.history``."""
        return [self._show_label(label) for label in self._session.history(n)]

    def find_labels(self, shown: str, n: int) -> list[Label]:
        """Return the newest ``n`` labels that hold for an item or were given to it as a duplicate."""
        path = self._paths.find(shown)
        labels = self._session.history(len(self.pool.items))
        found = [label for label in labels if path == label.path or path in label.duplicates]
        return [self._show_label(label) for label in found[:n]]

    def image(self, shown: str, size: int, around: bool) -> bytes:
        """See ``LabelSession.image``."""
        return self._session.image(self._paths.find(shown), size, around)

    def surroundings(self, shown: str) -> Surroundings:
        """See ``LabelSession.surroundings``."""
        return self._session.surroundings(self._paths.find(shown))

    def _show_item(self, item: TrayItem) -> TrayItem:
        return replace(item, path=self._paths.show(item.path))

    def _show_label(self, label: Label) -> Label:
        return replace(label, path=self._paths.show(label.path))


def clean(value: Any) -> Any:
    r"""Return a JSON value in which "?" stands for what UTF-8 cannot hold.

    >>> clean({"failed": ["\udcff.png", 1]})
    {'failed': ['?.png', 1]}
    """
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
