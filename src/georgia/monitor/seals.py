"""Seals: one chain of hashes over every table that the audit log's and the frames' own chains leave out.

Each transaction that changes the record ends with one row of ``seals``. It holds the sha256 of every row
that was written (batches, alarms, settings and models, the ledger, spot checks), the ends of the audit log's
and the frames' chains, and the hash of the seal before. So the newest seal's hash stands for the whole
record: a row that was altered, removed or put in past the program no longer is what its last seal says. A row
that was altered between two of the program's own writes is noticed before it is sealed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, insert, select

from georgia.monitor import audit_log, tables
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

# The tables whose rows are sealed one by one, by name.
SEALED: Mapping[str, Table] = {
    table.name: table
    for table in (
        *(tables.batches, tables.alarms, tables.documents, tables.ledger),
        *(tables.spotchecks, tables.spotcheck_names),
        # The values of a piece are sealed by its digest over them: see process_record.
        *(tables.process_variables, tables.process_pieces, tables.process_entries),
        *(tables.people_users, tables.people_tokens, tables.people_signatures),
    )
}
# Rows of an earlier version's store that one seal takes over.
_ROWS_PER_SEAL = 500
# A store that another process is beginning to write has as many seals at most.
_YOUNG = 5
_CONTENT = ("seq", "at_s", "rows", "trail_seq", "trail_hash", "frame_id", "chain")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Entry:
    """What a seal says of one row: its hash, or None where it was removed; ``is_new`` if it was inserted."""

    table: str
    key: Key
    sha256: str | None
    is_new: bool


def hash_row(table: Table, row: Mapping[Any, Any]) -> str:
    """Return the sha256 (hex) of a row. What is empty is left out: a column that is added changes no hash."""
    content = {name: row[name] for name in table.columns.keys() if row.get(name) is not None}  # noqa: SIM118
    return hashlib.sha256(audit_log.canonical(content).encode("utf-8", "surrogateescape")).hexdigest()


def hash_seal(values: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of a seal's content and the hash of the seal before."""
    content = [values[name] for name in _CONTENT]
    text = values["previous"] + audit_log.canonical(content)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def key_of(table: Table, row: Mapping[Any, Any]) -> Key:
    """Return the values of a row's primary key."""
    return tuple(row[column.name] for column in table.primary_key)


def entries_of(seal: Mapping[Any, Any]) -> Iterator[Entry]:
    """Yield what a row of the table says of each row that was written."""
    for table, key, sha256, is_new in json.loads(seal["rows"]):
        if not (isinstance(table, str) and isinstance(key, list) and isinstance(sha256, str | None)):
            raise ValueError(f"seal {seal['seq']} holds an entry of another kind")
        yield Entry(table, tuple(key), sha256, bool(is_new))


class Change:
    """One transaction: what it writes to sealed tables is told to it, and ``seal`` is its last step.

    ``expects`` is called before an existing row is changed, ``touch`` after one was inserted or changed.
    """

    def __init__(self, connection: Connection, at_s: float) -> None:
        self.connection, self.at_s = connection, float(at_s)
        self._touched: dict[tuple[str, Key], bool] = {}
        self.head = audit_log.GENESIS_HEAD
        # The entry of the audit log after which the record's end is to be noted outside, if there is one.
        self.noted = ""

    @property
    def is_young(self) -> bool:
        """Tell whether the store has a few seals only: its head file may not have been written yet."""
        last = _read_last(self.connection)
        return last is None or last["seq"] <= _YOUNG

    def touch(self, table: Table, *key: Any, is_new: bool = False) -> None:
        """Note a row, by its primary key."""
        place = (table.name, key)
        self._touched[place] = is_new or self._touched.get(place, False)

    def expects(self, table: Table, *key: Any) -> None:
        """Compare a row with its last seal; write into the audit log if it was altered in between."""
        if (table.name, key) in self._touched:
            return
        row = self._read(table, key)
        if row is None:
            return
        last = self._find_last(table, key)
        if last is None or last.sha256 != hash_row(table, row):
            detail = {"table": table.name, "row": list(key)}
            audit_log.write_event(self.connection, self.at_s, "georgia", AuditAction.RECORD_ALTERED, detail)
            self.touch(table, *key)

    def seal(self) -> None:
        """Write the seal, if there is anything to seal."""
        head, last = audit_log.read_head(self.connection), _read_last(self.connection)
        same = last is not None and (head.seq, head.frame_id) == (last["trail_seq"], last["frame_id"])
        if self._touched or not (same or head.seq == head.frame_id == 0):
            entries = [
                [name, list(key), self._hash(SEALED[name], key), int(is_new)]
                for (name, key), is_new in self._touched.items()
            ]
            last = _write(self.connection, self.at_s, entries, head, last)
        self._touched = {}
        self.head = audit_log.Head(
            *(head.seq, head.hash, head.frame_id, head.chain),
            *((int(last["seq"]), str(last["hash"])) if last else (0, audit_log.GENESIS)),
        )

    def adopt(self) -> None:
        """Seal all rows of a store that an earlier version wrote, as they stand now."""
        if _read_last(self.connection) is not None or not audit_log.read_head(self.connection).seq:
            return
        counts: dict[str, int] = {}
        for name, table in SEALED.items():
            keys = self.connection.execute(select(*table.primary_key)).all()
            counts[name] = len(keys)
            for number, key in enumerate(keys, 1):
                self.touch(table, *key, is_new=True)
                if number % _ROWS_PER_SEAL == 0:
                    self.seal()
        audit_log.write_event(
            self.connection, self.at_s, "georgia", AuditAction.CHAIN_EXTENDED, {"rows": counts}
        )
        self.seal()

    def _read(self, table: Table, key: Key) -> Mapping[Any, Any] | None:
        return self.connection.execute(select(table).where(_is_row(table, key))).mappings().first()

    def _hash(self, table: Table, key: Key) -> str | None:
        row = self._read(table, key)
        return None if row is None else hash_row(table, row)

    def _find_last(self, table: Table, key: Key) -> Entry | None:
        seals = tables.seals.c
        start = audit_log.canonical([table.name, list(key)])[:-1]
        contains = func.instr if self.connection.dialect.name == "sqlite" else func.strpos
        query = select(seals.rows).where(contains(seals.rows, start) > 0).order_by(seals.seq.desc()).limit(5)
        for row in self.connection.execute(query).mappings():
            for entry in entries_of(row):
                if (entry.table, entry.key) == (table.name, key):
                    return entry
        return None


def _is_row(table: Table, key: Key) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in zip(table.primary_key, key, strict=True)))


def _read_last(connection: Connection) -> Mapping[Any, Any] | None:
    query = select(tables.seals).order_by(tables.seals.c.seq.desc()).limit(1)
    return connection.execute(query).mappings().first()


def _write(
    connection: Connection,
    at_s: float,
    entries: list[list[Any]],
    head: audit_log.Head,
    last: Mapping[Any, Any] | None,
) -> Mapping[str, Any]:
    values: dict[str, Any] = {
        "seq": last["seq"] + 1 if last else 1,
        "at_s": round(at_s, 6),
        "rows": audit_log.canonical(entries),
        "trail_seq": head.seq,
        "trail_hash": head.hash,
        "frame_id": head.frame_id,
        "chain": head.chain,
        "previous": last["hash"] if last else audit_log.GENESIS,
    }
    values["hash"] = hash_seal(values)
    connection.execute(insert(tables.seals).values(values))
    return values
