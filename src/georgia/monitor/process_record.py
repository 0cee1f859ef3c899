"""Process data in the record: values by the piece they were read in, events, laboratory results.

A piece is what was read in one go. Its row, which is sealed as those of other tables are (``seals``), holds
the digest of all values that came with it, so ``georgia verify`` finds a value that was altered, removed or
put in. A value is written once: what a file says again is left out, and counted where it says otherwise.
Events and laboratory results are rows of their own, never altered, and withdrawn by name and reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from georgia.errors import InputError
from georgia.monitor import audit_log, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from georgia.monitor.seals import Change

_VARIABLES, _PIECES = tables.process_variables, tables.process_pieces
_VALUES, _ENTRIES = tables.process_values, tables.process_entries
# The quality of a value that is there.
GOOD = "good"
LONGEST_QUALITY = 32
LONGEST_NAME = 120
# A clock of another machine may run ahead of this one so far, s.
_MOST_AHEAD_S = 86_400.0


class EntryKind(StrEnum):
    """What an entry is: an event, or a laboratory result."""

    EVENT = "event"
    LABORATORY = "laboratory"


@dataclass(frozen=True)
class VariableValues:
    """Values of one variable: (time in s since 1970, value or None, quality), in any order."""

    name: str
    unit: str
    rows: Sequence[tuple[float, float | None, str]]


@dataclass(frozen=True)
class Entry:
    """An event or a laboratory result that is to be written; ``sd`` is the result's standard deviation.

    ``batch_id`` None: it belongs to the batch that its time lies in. ``file`` is where it was read, "" if
    somebody typed it.
    """

    kind: EntryKind
    time_s: float
    name: str
    who: str
    value: float | None = None
    unit: str = ""
    sd: float | None = None
    note: str = ""
    batch_id: int | None = None
    probe: str = ""
    source: str = ""
    file: str = ""


@dataclass(frozen=True)
class StoredEntry(Entry):
    """An event or a laboratory result of the store."""

    id: int = 0
    entered_at_s: float = 0.0
    withdrawn_at_s: float | None = None
    withdrawn_by: str | None = None
    withdrawn_reason: str | None = None

    @property
    def fraction(self) -> float | None:
        """Return a laboratory result as a fraction, 0–1, None where its unit or size says that it is none."""
        if self.kind != EntryKind.LABORATORY or self.value is None:
            return None
        scale = 0.01 if "%" in self.unit else 1.0 if not self.unit else 0.0
        value = self.value * scale
        return value if scale and 0 <= value <= 1 else None

    @property
    def fraction_sd(self) -> float | None:
        """Return the standard deviation of ``fraction``, None where it is not known."""
        if self.fraction is None or self.sd is None:
            return None
        return self.sd * (0.01 if "%" in self.unit else 1.0)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601; ``time_s`` besides, as charts want it."""
        plain = {**asdict(self), "fraction": self.fraction, "fraction_sd": self.fraction_sd}
        times = {name.removesuffix("_s"): iso_time(plain[name]) for name in plain if name.endswith("_s")}
        kept = {name: value for name, value in plain.items() if not name.endswith("_at_s")}
        return {**kept, **times}


@dataclass(frozen=True)
class Piece:
    """What was read of a file in one go; ``reading`` says how it was understood, as plain JSON."""

    source: str
    file: str
    who: str
    variables: Sequence[VariableValues]
    entries: Sequence[Entry] = ()
    n_rows: int = 0
    first_byte: int = 0
    end_byte: int = 0
    fingerprint: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    probe: str = ""
    batch_id: int | None = None
    # Whether the audit log tells of it: of the first piece of a file, not of each row that is added.
    is_told: bool = True
    # Whether it is kept without any new value, because it says how far the file was read.
    marks_position: bool = False


@dataclass(frozen=True)
class WrittenPiece:
    """What became of a piece: its number, 0 if nothing of it was new; counts of values and entries.

    ``conflict`` names the first value that the store has otherwise; the store's stays.
    """

    id: int = 0
    n_values: int = 0
    n_gaps: int = 0
    n_known: int = 0
    n_conflicts: int = 0
    n_entries: int = 0
    conflict: str = ""


Row = tuple[int, float, float | None, str]


def hash_values(rows: Iterable[Row]) -> str:
    """Return the sha256 (hex) of values, (variable, time in s, value, quality), by variable and time.

    >>> hash_values([]) == hashlib.sha256().hexdigest()
    True
    """
    digest = hashlib.sha256()
    for variable_id, time_s, value, quality in rows:
        digest.update(f"{variable_id},{time_s!r},{value!r},{quality}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def write_piece(change: Change, piece: Piece) -> WrittenPiece:
    """Write what is new of a piece: values, then events and laboratory results.

    Raises:
        InputError: a variable has another unit in the store.
    """
    ids = {item.name: _find_variable(change, piece.source, item) for item in piece.variables}
    rows, found = _leave_out_known(change.connection, piece, ids)
    piece_id = 0
    if rows or piece.marks_position:
        piece_id = _insert_piece(change, piece, rows)
    n_entries = sum(write_file_entry(change, entry) for entry in piece.entries)
    n_gaps = sum(value is None for _, _, value, _ in rows)
    written = WrittenPiece(
        piece_id, len(rows) - n_gaps, n_gaps, found.n_known, found.n_conflicts, n_entries, found.conflict
    )
    if piece_id and piece.is_told:
        counts = {"values": written.n_values, "gaps": n_gaps, "entries": n_entries}
        detail = {"source": piece.source, "file": piece.file, "piece": piece_id, **counts}
        told = {**detail, "reading": dict(piece.reading)}
        audit_log.write_event(
            change.connection, change.at_s, piece.who, AuditAction.PROCESS_READ, told, piece.batch_id
        )
    return written


def _find_variable(change: Change, source: str, item: VariableValues) -> int:
    """Return the number of a variable; one that is new is written."""
    known = change.connection.execute(
        select(_VARIABLES.c.id, _VARIABLES.c.unit).where(
            _VARIABLES.c.source == source, _VARIABLES.c.name == item.name
        )
    ).first()
    if known is not None:
        if known.unit != item.unit:
            raise InputError(
                f"Cannot add values of {item.name!r}",
                needs=f"the unit that it has in the store, {known.unit or 'none'}, is needed",
                got=item.unit or "none",
                hint="Give it another source, or the unit that it has.",
            )
        return int(known.id)
    values = {"source": source, "name": item.name, "unit": item.unit, "added_at_s": change.at_s}
    query = insert(_VARIABLES).values(**values).returning(_VARIABLES.c.id)
    number = int(change.connection.execute(query).scalar_one())
    change.touch(_VARIABLES, number, is_new=True)
    return number


def _leave_out_known(
    connection: Connection, piece: Piece, ids: Mapping[str, int]
) -> tuple[list[Row], WrittenPiece]:
    """Return the rows that the store lacks, and what was left out; of two at one time the first counts."""
    rows: list[Row] = []
    n_known = n_conflicts = 0
    conflict = ""
    for item in piece.variables:
        if not item.rows:
            continue
        number = ids[item.name]
        known = _read_known(connection, number, [row[0] for row in item.rows])
        for time_s, value, quality in item.rows:
            if time_s not in known:
                known[time_s] = value
                rows.append((number, float(time_s), value, quality[:LONGEST_QUALITY]))
                continue
            n_known += 1
            if known[time_s] != value:
                n_conflicts += 1
                was = (
                    f"{item.name} at {iso_time(time_s)} is {known[time_s]} in the store, {value} in the file"
                )
                conflict = conflict or was
    return rows, WrittenPiece(n_known=n_known, n_conflicts=n_conflicts, conflict=conflict)


def _read_known(connection: Connection, variable_id: int, times: Sequence[float]) -> dict[float, Any]:
    query = select(_VALUES.c.time_s, _VALUES.c.value).where(
        _VALUES.c.variable_id == variable_id, _VALUES.c.time_s.between(min(times), max(times))
    )
    return {row.time_s: row.value for row in connection.execute(query)}


def _insert_piece(change: Change, piece: Piece, rows: list[Row]) -> int:
    rows.sort(key=lambda row: row[:2])
    n_gaps = sum(value is None for _, _, value, _ in rows)
    times = [row[1] for row in rows]
    values: dict[str, Any] = {
        name: getattr(piece, name)
        for name in (
            "source",
            "probe",
            "batch_id",
            "file",
            "who",
            "first_byte",
            "end_byte",
            "fingerprint",
            "n_rows",
        )
    }
    values |= {
        "read_at_s": change.at_s,
        "reading": json.dumps(dict(piece.reading), sort_keys=True, ensure_ascii=False),
        "n_values": len(rows) - n_gaps,
        "n_gaps": n_gaps,
        "first_time_s": min(times, default=None),
        "last_time_s": max(times, default=None),
        "values_sha256": hash_values(rows),
    }
    number = int(
        change.connection.execute(insert(_PIECES).values(**values).returning(_PIECES.c.id)).scalar_one()
    )
    change.touch(_PIECES, number, is_new=True)
    if rows:
        names = ("variable_id", "time_s", "value", "quality")
        change.connection.execute(
            insert(_VALUES), [{**dict(zip(names, row, strict=True)), "piece_id": number} for row in rows]
        )
    return number


# Events and laboratory results


def write_entry(change: Change, entry: Entry) -> int:
    """Write an event or a laboratory result that somebody typed; return its number.

    Raises:
        InputError: nobody is named, it has no name or no value, or its time lies in the future.
    """
    _check_entry(entry, change.at_s)
    values = {**asdict(entry), "kind": str(entry.kind), "entered_at_s": change.at_s}
    values |= {name: getattr(entry, name).strip() for name in ("name", "who", "note")}
    connection = change.connection
    number = int(connection.execute(insert(_ENTRIES).values(**values).returning(_ENTRIES.c.id)).scalar_one())
    change.touch(_ENTRIES, number, is_new=True)
    is_event = entry.kind == EntryKind.EVENT
    action = AuditAction.PROCESS_EVENT if is_event else AuditAction.LABORATORY_RESULT
    told: dict[str, Any] = {"entry": number, "name": values["name"], "time": iso_time(entry.time_s)}
    told |= {
        name: getattr(entry, name)
        for name in ("value", "unit", "sd", "note", "file")
        if getattr(entry, name) not in (None, "")
    }
    audit_log.write_event(connection, change.at_s, values["who"], action, told, entry.batch_id)
    return number


def _check_entry(entry: Entry, now_s: float) -> None:
    what = "the event" if entry.kind == EntryKind.EVENT else "the laboratory result"
    needs = ""
    if not entry.who.strip():
        needs, got = "the name of a person is needed", "none"
    elif not entry.name.strip() or len(entry.name.strip()) > LONGEST_NAME:
        needs, got = f"a name of 1 to {LONGEST_NAME} letters is needed", repr(entry.name[:LONGEST_NAME])
    elif entry.kind == EntryKind.LABORATORY and entry.value is None:
        needs, got = "a value is needed", "none"
    elif entry.time_s > now_s + _MOST_AHEAD_S:
        needs, got = "a time that has been is needed", str(iso_time(entry.time_s))
    if needs:
        raise InputError(f"Cannot write {what}", needs=needs, got=got)


def write_file_entry(change: Change, entry: Entry) -> bool:
    """Write what was read from a file, unless the store has it; return whether it was new."""
    same = ("kind", "source", "name", "time_s", "file")
    query = select(_ENTRIES.c.id).where(*(_ENTRIES.c[name] == getattr(entry, name) for name in same))
    if change.connection.execute(query.limit(1)).first() is not None:
        return False
    write_entry(change, entry)
    return True


def withdraw_entry(change: Change, entry_id: int, who: str, reason: str) -> None:
    """Withdraw an event or a laboratory result: it stays in the record, and is shown no more.

    Raises:
        InputError: there is none of that number, it is withdrawn already, or a name or reason is missing.
    """
    if not who.strip() or not reason.strip():
        got = "no name" if not who.strip() else "no reason"
        raise InputError(
            f"Cannot withdraw entry {entry_id}", needs="a person's name and a reason are needed", got=got
        )
    change.expects(_ENTRIES, entry_id)
    row = change.connection.execute(select(_ENTRIES).where(_ENTRIES.c.id == entry_id)).mappings().first()
    if row is None or row["withdrawn_at_s"] is not None:
        got = "none" if row is None else f"one that {row['withdrawn_by']!r} withdrew"
        raise InputError(
            f"Cannot withdraw entry {entry_id}", needs="one of the store that stands is needed", got=got
        )
    values = {"withdrawn_at_s": change.at_s, "withdrawn_by": who.strip(), "withdrawn_reason": reason.strip()}
    change.connection.execute(update(_ENTRIES).where(_ENTRIES.c.id == entry_id).values(**values))
    change.touch(_ENTRIES, entry_id)
    detail = {"entry": entry_id, "name": row["name"], "reason": reason.strip()}
    audit_log.write_event(
        change.connection, change.at_s, who.strip(), AuditAction.ENTRY_WITHDRAWN, detail, row["batch_id"]
    )


# Age


def remove_old_values(change: Change, who: str, before_s: float) -> int:
    """Remove the values of pieces that end before a time; return how many.

    Pieces go from the oldest on and never out of the middle, and their rows stay: only values go.
    """
    connection = change.connection
    kept = select(func.min(_PIECES.c.id)).where(_PIECES.c.last_time_s >= before_s).scalar_subquery()
    query = select(func.max(_PIECES.c.id)).where(kept.is_(None) | (_PIECES.c.id < kept))
    through = connection.execute(query).scalar() or 0
    n_values = connection.execute(delete(_VALUES).where(_VALUES.c.piece_id <= through)).rowcount
    if n_values:
        detail = {"through": through, "n_values": n_values, "before": iso_time(before_s)}
        audit_log.write_event(connection, change.at_s, who, AuditAction.PROCESS_REMOVED, detail)
    return n_values


# Verification


def verify_values(connection: Connection, add_fault: Callable[[str, int, str], None]) -> int:
    """Compare the values of each piece with its digest; return the number of values that are there."""
    known = tables.find_columns(connection)
    if _VALUES.name not in known or _PIECES.name not in known:
        return 0
    removed = _read_removed(connection)
    query = select(_PIECES.c.id, _PIECES.c.values_sha256).where(_PIECES.c.id > removed)
    expected = {row.id: row.values_sha256 for row in connection.execute(query)}
    n_values, order = 0, (_VALUES.c.piece_id, _VALUES.c.variable_id, _VALUES.c.time_s)
    columns = (_VALUES.c[name] for name in ("piece_id", "variable_id", "time_s", "value", "quality"))
    stream = connection.execution_options(stream_results=True).execute(select(*columns).order_by(*order))
    for number, rows in groupby(stream, key=lambda row: row.piece_id):
        content = [(row.variable_id, row.time_s, row.value, row.quality) for row in rows]
        n_values += len(content)
        digest = expected.pop(number, None)
        if digest is None:
            where = "before that were removed with age" if number <= removed else "past the record"
            add_fault(_VALUES.name, int(number), f"values of piece {number} were put in {where}")
        elif digest != hash_values(content):
            fault = f"the values of piece {number} are not those that were read: one was altered or removed"
            add_fault(_VALUES.name, int(number), fault)
    empty = hash_values(())
    for number, digest in expected.items():
        if digest != empty:
            add_fault(_VALUES.name, int(number), f"the values of piece {number} are missing")
    return n_values


def _read_removed(connection: Connection) -> int:
    log = tables.audit_log.c
    query = select(log.detail).where(log.action == AuditAction.PROCESS_REMOVED).order_by(log.seq.desc())
    text = connection.execute(query.limit(1)).scalar()
    try:
        return int(json.loads(text)["through"]) if text else 0
    except (ValueError, TypeError, KeyError):  # altered: the audit log's own chain says so
        return 0
