"""Verify that a store's record is whole: both chains of hashes, their ends, and the maps of the frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from georgia.errors import InputError
from georgia.files import read_json, reading
from georgia.monitor import audit_log, connect, tables
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Select

    from georgia.monitor.store import Store

# Faults that are named one by one; more are counted.
MOST_FAULTS = 100
_PAGE, _MAPS_PAGE = 5000, 500
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
    """What was checked and what does not hold; ``head`` names the audit log's end as ``NUMBER:HASH``."""

    n_entries: int
    n_frames: int
    n_maps: int
    head: str
    n_faults: int
    faults: tuple[Fault, ...]

    @property
    def is_whole(self) -> bool:
        """Tell whether every row holds."""
        return self.n_faults == 0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia verify --json``."""
        return {"whole": self.is_whole, **asdict(self), "faults": [asdict(fault) for fault in self.faults]}


class _Faults:
    def __init__(self) -> None:
        self.items: list[Fault] = []
        self.count = 0

    def add(self, table: str, row: int, fault: str) -> None:
        self.count += 1
        if len(self.items) < MOST_FAULTS:
            self.items.append(Fault(table, row, fault))


def verify_store(store: Store, expected: str = "") -> Verification:
    """Check every row of a store's audit log and frames.

    ``expected`` is an earlier head, ``NUMBER:HASH``, kept outside of the store: the audit log must hold it.

    Raises:
        InputError: ``expected`` is not of that form.
        StoreAwayError: the store cannot be reached.
    """
    anchors = [_parse_head(expected)] if expected else []
    faults = _Faults()
    with connect.reading(store.engine) as connection:
        hashes = _verify_audit_log(connection, faults)
        n_frames = _verify_frames(connection, faults, hashes)
        n_maps = _verify_maps(connection, faults)
        _verify_batches(connection, faults)
        anchors += _read_head_file(connection, store.head_file, faults)
    for number, digest, where in anchors:
        if hashes.get(number) != digest:
            got = "is missing" if number not in hashes else "has another hash"
            faults.add(_LOG, number, f"the row that {where} names {got}")
    last = max(hashes, default=0)
    head = f"{last}:{hashes.get(last, '')}"
    return Verification(len(hashes), n_frames, n_maps, head, faults.count, tuple(faults.items))


def _parse_head(text: str) -> tuple[int, str, str]:
    number, _, digest = text.partition(":")
    if not number.isdigit() or len(digest) != 64:
        raise InputError(
            "Cannot use the expected head",
            needs="NUMBER:HASH is needed, as 'georgia verify' prints it",
            got=repr(text),
        )
    return int(number), digest, "the expected head"


def _read_head_file(connection: Connection, file: Path | None, faults: _Faults) -> list[tuple[int, str, str]]:
    """Check the frame that the file beside an SQLite store names; return its end of the audit log."""
    if file is None or not file.is_file():
        return []
    try:
        with reading("Cannot read the head file", "two rows and their hashes are needed"):
            values = read_json(file)
            number, digest = int(values["seq"]), str(values["hash"])
            frame_id, chain = int(values["frame_id"]), str(values["chain"])
    except InputError:
        faults.add(_LOG, 0, f"the head file {str(file)!r} cannot be read")
        return []
    frames = tables.frames.c
    first = connection.execute(select(func.min(frames.id))).scalar()
    found = connection.execute(select(frames.chain).where(frames.id == frame_id)).scalar()
    if frame_id and found != chain and (found is not None or (first is not None and first < frame_id)):
        faults.add("frames", frame_id, "the head file names it with another hash, or it is missing")
    return [(number, digest, f"the head file {file.name!r}")] if number else []


def _rows(
    connection: Connection, query: Select[Any], key: Column[Any], page: int = _PAGE
) -> Iterator[Mapping[str, Any]]:
    """Yield all rows of a query in the order of a key, a page at a time."""
    last = -1
    while rows := connection.execute(query.where(key > last).order_by(key).limit(page)).mappings().all():
        yield from map(dict, rows)
        last = rows[-1][key.name]


def _verify_audit_log(connection: Connection, faults: _Faults) -> dict[int, str]:
    """Check the audit log's chain; return the hash of each row by its number."""
    hashes: dict[int, str] = {}
    previous, expected_seq = audit_log.GENESIS, 1
    for row in _rows(connection, select(tables.audit_log), tables.audit_log.c.seq):
        seq = int(row["seq"])
        if seq != expected_seq:
            faults.add(_LOG, expected_seq, f"rows {expected_seq} to {seq - 1} are missing")
        elif row["previous"] != previous:
            faults.add(_LOG, seq, "it does not follow the row before: one of them was replaced or moved")
        if audit_log.hash_event(row, row["previous"]) != row["hash"]:
            faults.add(_LOG, seq, "its content is not what its hash says: it was altered")
        hashes[seq] = previous = row["hash"]
        expected_seq = seq + 1
    return hashes


def _verify_frames(connection: Connection, faults: _Faults, hashes: Mapping[int, str]) -> int:
    """Check the frames' chain, and that the audit log is as long as each frame records."""
    n_frames, previous, longest = 0, audit_log.read_start(connection), 0
    for row in _rows(connection, select(tables.frames), tables.frames.c.id):
        n_frames += 1
        if audit_log.hash_frame(row, previous) != row["chain"]:
            fault = "it does not follow the frame before: it or that one was altered, removed or moved"
            faults.add("frames", int(row["id"]), fault)
        previous = row["chain"]
        longest = max(longest, int(row["trail_seq"]))
    if longest > max(hashes, default=0):
        fault = f"rows up to {longest} are missing: frames were written when they were there"
        faults.add(_LOG, max(hashes, default=0) + 1, fault)
    return n_frames


def _verify_maps(connection: Connection, faults: _Faults) -> int:
    maps, frames = tables.maps, tables.frames
    joined = maps.outerjoin(frames, frames.c.id == maps.c.frame_id)
    query = select(maps.c.frame_id, maps.c.npz, frames.c.map_sha256).select_from(joined)
    n_maps = 0
    for row in _rows(connection, query, maps.c.frame_id, _MAPS_PAGE):
        n_maps += 1
        if hashlib.sha256(row["npz"]).hexdigest() != row["map_sha256"]:
            faults.add("maps", row["frame_id"], "it is not the map that its frame was written with")
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
