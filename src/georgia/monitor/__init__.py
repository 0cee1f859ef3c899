"""Watch a live probe: frames in, fraction of each class with its interval out, alarms, a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from georgia.errors import MissingDependencyError

if TYPE_CHECKING:
    from georgia.monitor.store import Store


__all__ = ["open_store"]


def open_store(url: str) -> Store:
    """Open or make a store: a path of an SQLite file, or ``postgresql://…``.

    Raises:
        InputError: the URL cannot be used, or the database is no store of this version.
        MissingDependencyError: the extra ``monitor`` is not installed.
        StoreAwayError: the database cannot be reached now.
    """
    try:
        from georgia.monitor.store import Store
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Cannot open the store",
            needs="SQLAlchemy is needed",
            got=error,
            hint="pip install 'georgia[monitor]'.",
        ) from error
    return Store(url)
