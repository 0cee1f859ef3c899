"""Proves that a store's record is whole: both chains of hashes, their ends, and the maps of the frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from georgia.monitor.store import Store

# Faults that are named one by one; more are counted.
MOST_FAULTS = 100
_PAGE = 5000


@dataclass(frozen=True)
class Fault:
    """One row that does not hold: in which table, of which number, and what is wrong with it."""

    table: str
    row: int
    fault: str


@dataclass(frozen=True)
class Verification:
    """What was checked and what does not hold; ``head`` names the trail's end as ``NUMBER:HASH``."""

    n_entries: int
    n_frames: int
    n_maps: int
    head: str
    faults: tuple[Fault, ...]
    n_faults: int

    @property
    def is_whole(self) -> bool:
        """Tell whether every row holds."""
        return self.n_faults == 0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia verify --json``."""
        faults = [{"table": item.table, "row": item.row, "fault": item.fault} for item in self.faults]
        counts = {"n_entries": self.n_entries, "n_frames": self.n_frames, "n_maps": self.n_maps}
        return {
            "whole": self.is_whole,
            **counts,
            "head": self.head,
            "n_faults": self.n_faults,
            "faults": faults,
        }


class _Faults:
    def __init__(self) -> None:
        self.items: list[Fault] = []
        self.count = 0

    def add(self, table: str, row: int, fault: str) -> None:
        self.count += 1
        if len(self.items) < MOST_FAULTS:
            self.items.append(Fault(table, row, fault))


def verify_store(store: Store, expected: str = "") -> Verification:
    """Check every row of a store's trail and frames.

    ``expected`` is an earlier head, ``NUMBER:HASH``, as kept outside of the store: the trail must hold it.

    Raises:
        InputError: ``expected`` is not of that form.
        StoreAwayError: the store cannot be reached.
    """
    from georgia.monitor.connect import reading

    anchors = [_parse_head(expected)] if expected else []
    faults = _Faults()
    with reading(store.engine) as connection:
        hashes = _verify_trail(connection, faults)
        n_frames = _verify_frames(connection, faults, hashes)
        n_maps = _verify_maps(connection, faults)
        _verify_batches(connection, faults)
        anchors += _read_head_file(connection, store.head_file, faults)
    for number, digest, where in anchors:
        if hashes.get(number) != digest:
            got = "is missing" if number not in hashes else "has another hash"
            faults.add("trail", number, f"the row that {where} names {got}")
    last = max(hashes, default=0)
    head = f"{last}:{hashes.get(last, '')}"
    return Verification(len(hashes), n_frames, n_maps, head, tuple(faults.items), faults.count)


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
    """Check the frame that the file beside an SQLite store names; return its end of the trail."""
    from sqlalchemy import select

    from georgia.monitor import tables

    if file is None or not file.is_file():
        return []
    try:
        head = json.loads(file.read_text(encoding="utf-8"))
        number, digest = int(head["seq"]), str(head["hash"])
        frame_id, chain = int(head["frame_id"]), str(head["chain"])
    except (OSError, ValueError, KeyError, TypeError):
        faults.add("trail", 0, f"the head file {str(file)!r} cannot be read")
        return []
    frames = tables.frames
    first = connection.execute(select(frames.c.id).order_by(frames.c.id).limit(1)).scalar()
    found = connection.execute(select(frames.c.chain).where(frames.c.id == frame_id)).scalar()
    if frame_id and found != chain and (found is not None or (first is not None and first < frame_id)):
        faults.add("frames", frame_id, "the head file names it with another hash, or it is missing")
    return [(number, digest, f"the head file {file.name!r}")] if number else []


def _rows(connection: Connection, table: Any, key: Any) -> Iterator[Mapping[str, Any]]:
    from sqlalchemy import select

    last = -1
    while True:
        query = select(table).where(key > last).order_by(key).limit(_PAGE)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        for row in rows:
            yield dict(row)
        last = rows[-1][key.name]


def _verify_trail(connection: Connection, faults: _Faults) -> dict[int, str]:
    """Check the trail's chain; return the hash of each row by its number."""
    from georgia.monitor import audit_log, tables

    hashes: dict[int, str] = {}
    previous, expected_seq = audit_log.GENESIS, 1
    for row in _rows(connection, tables.trail, tables.trail.c.seq):
        seq = int(row["seq"])
        if seq != expected_seq:
            faults.add("trail", expected_seq, f"rows {expected_seq} to {seq - 1} are missing")
        elif row["previous"] != previous:
            faults.add("trail", seq, "it does not follow the row before: one of them was replaced or moved")
        if audit_log.hash_entry(row, row["previous"]) != row["hash"]:
            faults.add("trail", seq, "its content is not what its hash says: it was altered")
        hashes[seq] = previous = row["hash"]
        expected_seq = seq + 1
    return hashes


def _verify_frames(connection: Connection, faults: _Faults, hashes: Mapping[int, str]) -> int:
    """Check the frames' chain, and that the trail is as long as each frame says."""
    from georgia.monitor import audit_log, tables

    n_frames, previous, longest = 0, audit_log.read_start(connection), 0
    for row in _rows(connection, tables.frames, tables.frames.c.id):
        n_frames += 1
        if audit_log.hash_frame(row, previous) != row["chain"]:
            fault = "it does not follow the frame before: it or that one was altered, removed or moved"
            faults.add("frames", int(row["id"]), fault)
        previous = row["chain"]
        longest = max(longest, int(row["trail_seq"]))
    if longest > max(hashes, default=0):
        fault = f"rows up to {longest} are missing: frames were written when they were there"
        faults.add("trail", max(hashes, default=0) + 1, fault)
    return n_frames


def _verify_maps(connection: Connection, faults: _Faults) -> int:
    from sqlalchemy import select

    from georgia.monitor import tables

    n_maps, last = 0, 0
    joined = tables.maps.outerjoin(tables.frames, tables.frames.c.id == tables.maps.c.frame_id)
    while True:
        query = (
            select(tables.maps.c.frame_id, tables.maps.c.npz, tables.frames.c.map_sha256)
            .select_from(joined)
            .where(tables.maps.c.frame_id > last)
            .order_by(tables.maps.c.frame_id)
            .limit(500)
        )
        rows = connection.execute(query).all()
        if not rows:
            return n_maps
        for row in rows:
            n_maps += 1
            if hashlib.sha256(row.npz).hexdigest() != row.map_sha256:
                faults.add("maps", row.frame_id, "it is not the map that its frame was written with")
        last = rows[-1].frame_id


def _verify_batches(connection: Connection, faults: _Faults) -> None:
    """Check that each batch ends with the frame that it counts as its last."""
    from sqlalchemy import func, select

    from georgia.monitor import tables

    frames, batches = tables.frames, tables.batches
    last = (
        select(frames.c.batch_id, func.max(frames.c.ordinal).label("last"))
        .group_by(frames.c.batch_id)
        .subquery()
    )
    query = (
        select(batches.c.id, batches.c.n_frames, last.c.last)
        .join(last, last.c.batch_id == batches.c.id, isouter=True)
        .order_by(batches.c.id)
    )
    removed = select(func.count()).where(tables.trail.c.action == "frames removed")
    may_be_empty = bool(connection.execute(removed).scalar())
    for row in connection.execute(query):
        if row.n_frames != (row.last or 0) and not (row.last is None and may_be_empty):
            faults.add("batches", row.id, f"it counts {row.n_frames} frames, and its last one is {row.last}")
