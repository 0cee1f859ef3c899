"""Find an entry of a registry by its name, and reject two entries of one name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from georgia.errors import InputError, suggest


class Named(Protocol):
    """Anything with a ``name``."""

    @property
    def name(self) -> str:
        """The name to find the entry by."""


T = TypeVar("T", bound=Named)


def find_by_name(kind: str, name: str, entries: Sequence[T]) -> T:
    """Return the entry called ``name``.

    Raises:
        InputError: no entry has that name; the message lists them and the nearest.
        TypeError: two entries have the same name (a fault of the program, not of the user).
    """
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise TypeError(f"Two entries of the {kind} registry have the same name: {sorted(names)}")
    for entry in entries:
        if entry.name == name:
            return entry
    raise InputError(
        f"Unknown {kind}",
        needs="it must be one of " + ", ".join(names),
        got=repr(name),
        hint=suggest(name, names).strip(),
    )
