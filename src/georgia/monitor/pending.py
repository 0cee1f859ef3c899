"""Changes that people asked for and that are not done yet, so that two people do not overrule each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from georgia.errors import InputError


class ConflictError(InputError):
    """Somebody else has changed the same meanwhile; the message says who, and to what."""


@dataclass
class PendingChanges:
    """Changes that wait for the end of a frame; ``asking`` is held while one is checked and queued."""

    asking: threading.Lock = field(default_factory=threading.Lock)
    # By name of the setting: the value that is coming, and who asked for it.
    _limits: dict[str, tuple[Any, str]] = field(default_factory=dict)
    _batch: tuple[str, str] | None = None

    def add_limits(
        self,
        who: str,
        changes: Mapping[str, Any],
        expected: Mapping[str, Any],
        held: Mapping[str, Any],
        find_author: Callable[[str], str],
    ) -> None:
        """Note a change of settings of the charts, made by somebody who saw certain values of them.

        Args:
            who: who asks.
            changes: the new values by name.
            expected: the values that ``who`` saw; nothing is checked of names that are missing.
            held: the values that hold now.
            find_author: returns who set the value that holds, "" where nobody is known.

        Raises:
            ConflictError: one of them holds another value by now, or is about to.
        """
        for name, value in expected.items():
            now, author = self._limits.get(name) or (held.get(name), "")
            if now != value:
                author = author or find_author(name) or "somebody"
                raise ConflictError(
                    f"Cannot change {name}",
                    needs=f"the value that you saw, {_tell(value)}, must still hold",
                    got=f"{_tell(now)}, which {author} has set meanwhile",
                    hint="Look at it, and ask again if yours is to hold.",
                )
        self._limits.update({name: (value, who) for name, value in changes.items()})

    def end_limits(self, who: str, changes: Mapping[str, Any]) -> None:
        """Forget changes that are done, or have failed."""
        for name, value in changes.items():
            if self._limits.get(name) == (value, who):
                del self._limits[name]

    def add_batch(self, who: str, name: str, expected: int | None, running: int, running_name: str) -> None:
        """Note that a batch is to begin, asked for by somebody who saw the batch ``expected`` run.

        Raises:
            ConflictError: another one runs by now, or is about to.
        """
        coming = self._batch
        if expected is not None and (coming is not None or expected != running):
            other = f"{coming[0]!r}, which {coming[1]} is beginning" if coming else repr(running_name)
            raise ConflictError(
                f"Cannot begin batch {name!r}",
                needs="the batch that you saw must still run",
                got=f"another one, {other}",
                hint="Look at the page, and ask again if that one is to end.",
            )
        self._batch = (name, who)

    def end_batch(self) -> None:
        """Forget a batch that has begun, or could not."""
        self._batch = None


def _tell(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
