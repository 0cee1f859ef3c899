"""Verify that a store's record is whole: the chains of hashes, their ends, and every table they cover."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from georgia.errors import InputError
from georgia.monitor import anchors, audit_log, connect, seals, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.people.signatures import verify_signatures
from georgia.monitor.process_record import verify_values
from georgia.monitor.records import AuditAction
from georgia.monitor.rederive import compare_with_audit_log
from georgia.monitor.verify_memory import HashColumn, LastSeals

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Select, Table

    from georgia.monitor.queries import StoreReader

# Faults that are named one by one; more are counted.
MOST_FAULTS = 100
_PAGE, _MAPS_PAGE = 1000, 100
# The audit log's table, as faults name it.
_LOG = tables.audit_log.name


@dataclass(frozen=True)
class Fault:
    """One row that does not hold: in which table, of which number, and what is wrong with it."""

    table: str
    row: int
    fault: str


@dataclass(frozen=True)
class Verification:
    """What was checked and what does not hold.

    ``head`` names the end of the chain over the whole record as ``NUMBER:HASH``, ``log_head`` that of the
    audit log. ``not_covered`` says what no chain can prove here. ``n_images`` counts images that are those
    that were analysed.
    """

    n_entries: int
    n_frames: int
    n_maps: int
    head: str
    n_faults: int
    faults: tuple[Fault, ...]
    n_seals: int = 0
    n_images: int = 0
    log_head: str = ""
    n_process_values: int = 0
    not_covered: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Tell whether every row holds."""
        return self.n_faults == 0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia verify --json``."""
        plain = {**asdict(self), "faults": [asdict(fault) for fault in self.faults]}
        return {"whole": self.is_whole, **plain, "not_covered": list(self.not_covered)}


@dataclass
class _Chains:
    """What was read of the chains: hashes by row number, and what retention has removed."""

    log: HashColumn = field(default_factory=HashColumn)
    frames: HashColumn = field(default_factory=HashColumn)
    seals: HashColumn = field(default_factory=HashColumn)
    frames_removed: int = 0
    maps_removed: int = 0
    # The last frame that was written before there were seals.
    unsealed_frames: int = 0
    extended: tuple[float, Mapping[str, int]] | None = None


class _Faults:
    def __init__(self) -> None:
        self.items: list[Fault] = []
        self.count = 0

    def add(self, table: str, row: int, fault: str) -> None:
        self.count += 1
        if len(self.items) < MOST_FAULTS:
            self.items.append(Fault(table, row, fault))


def verify_store(
    store: StoreReader,
    expected: str = "",
    anchor: anchors.Anchor | None = None,
    images: Path | None = None,
) -> Verification:
    """Check every row of a store's record.

    Args:
        store: opened for reading.
        expected: an earlier head, ``NUMBER:HASH``, kept outside of the store: the record must hold it.
        anchor: a file of earlier heads, kept outside of the store: the record must hold them all.
        images: the folder of the frames' images: their content must be what was analysed.

    Raises:
        InputError: ``expected`` is not of that form, or the anchor cannot be read.
        StoreAwayError: the store cannot be reached.
    """
    heads = [(*_parse_head(expected), "the expected head")] if expected else []
    faults = _Faults()
    not_covered: list[str] = []
    heads += _read_anchor(anchor, faults, not_covered) if anchor is not None else []
    # Before the store: a monitor that runs may note rows that were written after the moment that is read.
    known = anchors.read_head_file(store.head_file)
    with connect.reading(store.engine) as connection:
        chains = _Chains(log=_verify_audit_log(connection, faults))
        _read_removals(connection, chains, faults)
        n_frames = _verify_frames(store, connection, faults, chains)
        if store.has(tables.seals):
            _verify_seals(connection, faults, chains)
        n_maps = _verify_maps(connection, faults, chains)
        _verify_batches(connection, faults)
        n_values = verify_values(connection, faults.add)
        compare_with_audit_log(connection, faults.add)
        signed = verify_signatures(connection, faults.add)
        _verify_head_file(store, connection, known, faults, None if heads else not_covered)
    for number, digest, where in (*heads, *signed):
        if digest not in (chains.seals.get(number), chains.log.get(number)):
            got = "another hash" if number in chains.seals or number in chains.log else "no such row"
            faults.add(_LOG, number, f"{where} names {number}:{digest[:12]}…, the record has {got}")
    n_images = 0
    if images is not None:
        from georgia.monitor.compare_images import compare_images

        n_images = compare_images(store, images, faults.add, not_covered.append)
    log_head = _head_of(chains.log)
    return Verification(
        n_entries=len(chains.log),
        n_frames=n_frames,
        n_maps=n_maps,
        head=_head_of(chains.seals) if chains.seals else log_head,
        n_faults=faults.count,
        faults=tuple(faults.items),
        n_seals=len(chains.seals),
        n_images=n_images,
        log_head=log_head,
        n_process_values=n_values,
        not_covered=(*_describe_old(chains, n_frames), *not_covered),
    )


def _head_of(hashes: HashColumn) -> str:
    return f"{hashes.last}:{hashes.get(hashes.last) or ''}"


def _parse_head(text: str) -> tuple[int, str]:
    number, _, digest = text.strip().partition(":")
    if not number.isdigit() or len(digest) != 64:
        raise InputError(
            "Cannot use the expected head",
            needs="NUMBER:HASH is needed, as 'georgia verify' prints it",
            got=repr(text),
        )
    return int(number), digest


def _read_anchor(
    anchor: anchors.Anchor, faults: _Faults, not_covered: list[str]
) -> list[tuple[int, str, str]]:
    heads, n_unchecked = [], 0
    for note in anchor.notes():
        if note.is_signed is False:
            faults.add("anchor", note.line, "its signature is not that of the key: the line was altered")
            continue
        n_unchecked += note.is_signed is None
        heads.append((*_parse_head(note.head), f"line {note.line} of the anchor, of {note.at},"))
    if not heads:
        faults.add("anchor", 0, "it holds no line that can be used")
    if n_unchecked:
        not_covered.append("the anchor's own signatures: no --key was given")
    return heads


def _verify_head_file(
    store: StoreReader,
    connection: Connection,
    known: audit_log.Head | str | None,
    faults: _Faults,
    not_covered: list[str] | None,
) -> None:
    """Check what the file beside an SQLite store names; without it a cut end would not show.

    ``not_covered`` is None where other heads were given, which take its place.
    """
    if isinstance(known, audit_log.Head) and not anchors.is_empty(known):
        contradiction = anchors.find_contradiction(connection, known, store.has(tables.seals))
        if contradiction:
            table = contradiction.rpartition(" of the ")[2].split(" is ")[0].split(" has ")[0]
            name = {"audit log": _LOG}.get(table, table)
            faults.add(name, 0, f"the head file {str(store.head_file)!r} names it: {contradiction}")
    elif not audit_log.read_head(connection).seq:
        pass
    elif isinstance(known, str):
        faults.add(_LOG, 0, f"the head file {str(store.head_file)!r} cannot be read")
    elif not_covered is None:
        pass
    elif store.head_file is not None:
        what = "is missing" if known is None else "is empty"
        fault = f"the head file {str(store.head_file)!r} {what}: a cut end would not show"
        faults.add(_LOG, 0, f"{fault}. Copy it too, or give --expect or --anchor")
    else:
        not_covered.append(
            "an older copy put in place of the whole database: give an earlier head as --expect or --anchor"
        )


def _describe_old(chains: _Chains, n_frames: int) -> Iterator[str]:
    """Yield what the chains of a store that version 0.1 began do not cover."""
    if chains.extended is not None:
        at_s, counts = chains.extended
        rows = ", ".join(f"{n:,} of {name}" for name, n in counts.items() if n)
        yield (
            f"rows that an earlier version wrote, before {iso_time(at_s)} ({rows}): they were sealed as they "
            f"stood then, and only what the audit log tells of them was compared"
        )
    elif not chains.seals and (chains.log or n_frames):
        yield (
            "the ledger, times of alarms, models, and removed maps: an earlier version wrote this store; "
            "batches, alarms and settings were compared with the audit log"
        )


def _rows(
    connection: Connection, query: Select[Any], key: Column[Any], page: int = _PAGE
) -> Iterator[Mapping[str, Any]]:
    """Yield all rows of a query in the order of a key, a page at a time."""
    last = -1
    while rows := connection.execute(query.where(key > last).order_by(key).limit(page)).mappings().all():
        yield from map(dict, rows)
        last = connect.end_of_page(rows, key.name, last)


def _verify_audit_log(connection: Connection, faults: _Faults) -> HashColumn:
    """Check the audit log's chain; return the hash of each row by its number."""
    hashes = HashColumn()
    previous, expected_seq = audit_log.GENESIS, 1
    for row in _rows(connection, select(tables.audit_log), tables.audit_log.c.seq):
        seq = int(row["seq"])
        if seq != expected_seq:
            faults.add(_LOG, expected_seq, f"rows {expected_seq} to {seq - 1} are missing")
        elif row["previous"] != previous:
            faults.add(_LOG, seq, "it does not follow the row before: one of them was replaced or moved")
        if audit_log.hash_event(row, row["previous"]) != row["hash"]:
            faults.add(_LOG, seq, "its content is not what its hash says: it was altered")
        previous = row["hash"]
        hashes.add(seq, previous)
        expected_seq = seq + 1
    return hashes


def _read_removals(connection: Connection, chains: _Chains, faults: _Faults) -> None:
    """Take from the audit log what was removed by rule, and faults that a store noticed while it ran."""
    log = tables.audit_log.c
    wanted = (
        *(AuditAction.FRAMES_REMOVED, AuditAction.MAPS_REMOVED, AuditAction.CHAIN_EXTENDED),
        *(AuditAction.RECORD_ALTERED, AuditAction.RECORD_CUT, AuditAction.HEAD_MISSING),
    )
    query = select(log.seq, log.at_s, log.action, log.detail).where(log.action.in_(wanted)).order_by(log.seq)
    for row in connection.execute(query):
        try:
            detail = json.loads(row.detail)
        except ValueError:  # altered: its hash says so
            continue
        if row.action == AuditAction.FRAMES_REMOVED:
            chains.frames_removed = int(detail["through"])
        elif row.action == AuditAction.MAPS_REMOVED:
            chains.maps_removed = int(detail["through"])
        elif row.action == AuditAction.CHAIN_EXTENDED:
            chains.extended = (row.at_s, detail["rows"])
        elif row.action == AuditAction.RECORD_ALTERED:
            fault = f"row {detail['row']} was altered before {iso_time(row.at_s)}, as the store noticed then"
            faults.add(str(detail["table"]), 0, fault)
        elif row.action == AuditAction.RECORD_CUT:
            fault = f"at {iso_time(row.at_s)} its end was not the one noted beside it: {detail['fault']}"
            faults.add(_LOG, row.seq, fault)
        else:
            fault = f"at {iso_time(row.at_s)} the head file was not there: an end cut before would not show"
            faults.add(_LOG, row.seq, fault)


def _verify_frames(store: StoreReader, connection: Connection, faults: _Faults, chains: _Chains) -> int:
    """Check the frames' chain, and that the audit log is as long as each frame records."""
    longest, previous = 0, audit_log.read_start(connection)[1]
    for row in _rows(connection, store.select(tables.frames), tables.frames.c.id):
        if audit_log.hash_frame(row, previous) != row["chain"]:
            fault = "it does not follow the frame before: it or that one was altered, removed or moved"
            faults.add("frames", int(row["id"]), fault)
        previous = row["chain"]
        chains.frames.add(int(row["id"]), previous)
        longest = max(longest, int(row["trail_seq"]))
    if longest > chains.log.last:
        fault = f"rows up to {longest} are missing: frames were written when they were there"
        faults.add(_LOG, chains.log.last + 1, fault)
    return len(chains.frames)


def _verify_seals(connection: Connection, faults: _Faults, chains: _Chains) -> None:
    """Check the seals' chain, and every row of the sealed tables against its last seal."""
    latest = LastSeals()
    try:
        _follow_seals(connection, faults, chains, latest)
    finally:
        latest.close()


def _follow_seals(connection: Connection, faults: _Faults, chains: _Chains, latest: LastSeals) -> None:
    name = tables.seals.name
    previous, expected, last = audit_log.GENESIS, 1, None
    for row in _rows(connection, select(tables.seals), tables.seals.c.seq):
        seq = int(row["seq"])
        if seq != expected:
            faults.add(name, expected, f"rows {expected} to {seq - 1} are missing")
        elif row["previous"] != previous:
            faults.add(name, seq, "it does not follow the row before: one of them was replaced or moved")
        if seals.hash_seal(row) != row["hash"]:
            faults.add(name, seq, "its content is not what its hash says: it was altered")
        _verify_ends(row, chains, faults)
        if last is None and chains.extended is not None:
            chains.unsealed_frames = int(row["frame_id"])
        for entry in _read_entries(row, faults):
            if entry.is_new and latest.find(entry.table, entry.key)[1] is not None:
                fault = f"row {list(entry.key)} was written anew: the earlier one of that number was removed"
                faults.add(entry.table, _number(entry.key), fault)
            latest.set(entry.table, entry.key, entry.sha256)
        previous = row["hash"]
        chains.seals.add(seq, previous)
        expected, last = seq + 1, row
    if last is None:
        if len(chains.log) and _began_sealed(connection):
            faults.add(name, 1, "all of them are missing: this store was sealed from its beginning")
        return
    if chains.log.last > last["trail_seq"]:
        faults.add(_LOG, last["trail_seq"] + 1, "it was written past the seals")
    if chains.frames.last > last["frame_id"]:
        faults.add("frames", last["frame_id"] + 1, "it was written past the seals")
    known = tables.find_columns(connection)
    for table in seals.SEALED.values():
        # An earlier version's store lacks the newest tables; one that was removed has entries in the seals.
        _verify_sealed(connection, table, known.get(table.name), latest, faults)


def _began_sealed(connection: Connection) -> bool:
    log = tables.audit_log.c
    query = select(log.detail).where(log.action == AuditAction.BATCH_BEGAN)
    # Version 0.1 did not write a batch's start into the audit log.
    return any('"started_at_s"' in detail for (detail,) in connection.execute(query))


def _verify_ends(seal: Mapping[str, Any], chains: _Chains, faults: _Faults) -> None:
    """Check the ends of the audit log and of the frames that a seal names."""
    number = int(seal["trail_seq"])
    if number and chains.log.get(number) != seal["trail_hash"]:
        got = "is missing" if number not in chains.log else "has another hash"
        faults.add(_LOG, number, f"seal {seal['seq']} names it, and it {got}")
    number = int(seal["frame_id"])
    if number > chains.frames_removed and chains.frames.get(number) != seal["chain"]:
        got = "is missing" if number not in chains.frames else "has another hash"
        faults.add("frames", number, f"seal {seal['seq']} names it, and it {got}")


def _read_entries(row: Mapping[Any, Any], faults: _Faults) -> list[seals.Entry]:
    try:
        return list(seals.entries_of(row))
    except (ValueError, TypeError):
        faults.add(tables.seals.name, int(row["seq"]), "what it says of rows cannot be read: it was altered")
        return []


def _verify_sealed(
    connection: Connection,
    table: Table,
    known: frozenset[str] | None,
    latest: LastSeals,
    faults: _Faults,
) -> None:
    """Check every row of a table against its last seal; ``known`` are its columns in the store, if any."""
    name = table.name
    if known is not None:
        query = select(*(column for column in table.columns if column.name in known))
        for found in connection.execution_options(stream_results=True).execute(query).mappings():
            key = seals.key_of(table, found)
            is_sealed, digest = latest.find(name, key)
            if not is_sealed:
                faults.add(name, _number(key), f"row {list(key)} was put in past the seals")
            elif digest != seals.hash_row(table, found):
                faults.add(name, _number(key), f"row {list(key)} is not what its seal says: it was altered")
            latest.forget(name, key)
    for text in latest.list_left(name):
        left = json.loads(text)
        faults.add(name, _number(left), f"row {left} is missing: it was removed")


def _number(key: Sequence[Any]) -> int:
    return key[0] if len(key) == 1 and isinstance(key[0], int) else 0


def _verify_maps(connection: Connection, faults: _Faults, chains: _Chains) -> int:
    maps, frames = tables.maps, tables.frames
    joined = maps.outerjoin(frames, frames.c.id == maps.c.frame_id)
    query = select(maps.c.frame_id, maps.c.npz, frames.c.map_sha256).select_from(joined)
    n_maps = 0
    for row in _rows(connection, query, maps.c.frame_id, _MAPS_PAGE):
        n_maps += 1
        npz = row["npz"] if isinstance(row["npz"], bytes) else str(row["npz"]).encode()
        if hashlib.sha256(npz).hexdigest() != row["map_sha256"]:
            faults.add("maps", row["frame_id"], "it is not the map that its frame was written with")
    if chains.seals:
        covered = max(chains.maps_removed, chains.unsealed_frames)
        lacks = (frames.c.map_sha256 != "") & maps.c.frame_id.is_(None) & (frames.c.id > covered)
        without = frames.outerjoin(maps, frames.c.id == maps.c.frame_id)
        for (number,) in connection.execute(select(frames.c.id).select_from(without).where(lacks)):
            faults.add("maps", number, "it is missing, and the audit log does not hold its removal")
    return n_maps


def _verify_batches(connection: Connection, faults: _Faults) -> None:
    """Check that each batch ends with the frame that it counts as its last."""
    frames, batches = tables.frames.c, tables.batches.c
    last = (
        select(frames.batch_id, func.max(frames.ordinal).label("last")).group_by(frames.batch_id).subquery()
    )
    query = (
        select(batches.id, batches.n_frames, last.c.last)
        .join(last, last.c.batch_id == batches.id, isouter=True)
        .order_by(batches.id)
    )
    removed = select(func.count()).where(tables.audit_log.c.action == AuditAction.FRAMES_REMOVED)
    may_be_empty = bool(connection.execute(removed).scalar())
    for row in connection.execute(query):
        if row.n_frames != (row.last or 0) and not (row.last is None and may_be_empty):
            faults.add("batches", row.id, f"it counts {row.n_frames} frames, and its last one is {row.last}")
