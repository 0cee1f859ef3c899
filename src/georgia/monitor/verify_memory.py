"""What ``georgia verify`` remembers of a record of any length: hashes by number, and each row's last seal.

A row takes 40 bytes here for each chain. What the seals say of each row of the sealed tables lies in a
temporary file that SQLite keeps, and takes no memory beyond its cache.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

_DIGEST_BYTES = 32


class HashColumn:
    """The sha256 (hex) of rows whose numbers grow.

    >>> column = HashColumn()
    >>> column.add(7, "ab" * 32)
    >>> column.get(7)[:4], column.get(6), column.last, len(column)
    ('abab', None, 7, 1)
    """

    def __init__(self) -> None:
        self._numbers, self._digests = array("q"), bytearray()
        # What is no hash at all, or out of its order: somebody altered it.
        self._others: dict[int, str] = {}

    def add(self, number: int, digest: str) -> None:
        """Note one row."""
        try:
            plain = bytes.fromhex(digest)
        except (TypeError, ValueError):
            plain = b""
        is_plain = len(plain) == _DIGEST_BYTES and plain.hex() == digest
        if not is_plain or (self._numbers and number <= self._numbers[-1]):
            self._others[number] = digest
            return
        self._numbers.append(number)
        self._digests += plain

    def get(self, number: int) -> str | None:
        """Return the hash of a row, None where there is no such row."""
        if number in self._others:
            return self._others[number]
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            return None
        return bytes(self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES]).hex()

    def __contains__(self, number: object) -> bool:
        """Tell whether there is a row of that number."""
        return isinstance(number, int) and self.get(number) is not None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._numbers) + len(self._others)

    @property
    def last(self) -> int:
        """Return the largest number, 0 where there is no row."""
        return max(self._numbers[-1] if self._numbers else 0, max(self._others, default=0))


class LastSeals:
    """What the last seal says of each row: its sha256, or that it was removed."""

    def __init__(self) -> None:
        # An empty name is a file that SQLite makes, and removes when it is closed.
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute(
            "CREATE TABLE last (place TEXT PRIMARY KEY, name TEXT, key TEXT, sha256 TEXT, n INTEGER)"
        )
        self._file.execute("BEGIN")
        self._n = 0

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def find(self, table: str, key: tuple[Any, ...]) -> tuple[bool, str | None]:
        """Return whether a seal names that row, and its sha256: None where it was removed."""
        query = "SELECT sha256 FROM last WHERE place = ?"
        row = self._file.execute(query, (_place(table, key),)).fetchone()
        return row is not None, row[0] if row else None

    def set(self, table: str, key: tuple[Any, ...], sha256: str | None) -> None:
        """Take in what a seal says of a row."""
        self._n += 1
        clause = "ON CONFLICT (place) DO UPDATE SET sha256 = excluded.sha256"
        values = (_place(table, key), table, _encode(list(key)), sha256, self._n)
        self._file.execute(f"INSERT INTO last VALUES (?, ?, ?, ?, ?) {clause}", values)

    def forget(self, table: str, key: tuple[Any, ...]) -> None:
        """Take a row out: it was met in its table."""
        self._file.execute("DELETE FROM last WHERE place = ?", (_place(table, key),))

    def list_left(self, table: str) -> Iterator[str]:
        """Yield the keys, as JSON, of rows that a seal holds and that were not met, in the seals' order."""
        query = "SELECT key FROM last WHERE name = ? AND sha256 IS NOT NULL ORDER BY n"
        for (key,) in self._file.execute(query, (table,)):
            yield key


def _place(table: str, key: tuple[Any, ...]) -> str:
    return _encode([table, *key])


def _encode(values: list[Any]) -> str:
    # In ASCII: SQLite takes no text with half a surrogate, as an altered record may hold.
    return json.dumps(values)
