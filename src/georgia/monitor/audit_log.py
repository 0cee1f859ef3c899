"""The record that an inspector reads: who did what, in rows that hash the row before them.

Two chains stand in a store. Each row of ``trail`` holds the sha256 of its own content and of the row
before; each row of ``frames`` does the same for the frames, and names the trail's head at its time. An
altered, missing or reordered row breaks its chain from there on; a trail cut off at its end is shorter
than its frames, or than the head file beside an SQLite store, say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select

from georgia.files import write_text
from georgia.monitor import tables

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Row

# What stands before the first row of a chain.
GENESIS = "0" * 64
# Columns of a frame that its chain does not cover: the row's own number, and the hash itself.
_OUTSIDE = ("id", "chain")


@dataclass(frozen=True)
class TrailEntry:
    """One act: who did what at which second (UTC), in which batch, with which particulars."""

    seq: int
    at_s: float
    who: str
    action: str
    batch_id: int | None
    detail: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Head:
    """The last row of both chains: numbers and hashes, "" and 0 before there is any."""

    seq: int
    hash: str
    frame_id: int
    chain: str


def canonical(value: Any) -> str:
    """Return JSON that is the same text for the same value: sorted keys, no spaces.

    >>> canonical({"b": 1.5, "a": [None, True]})
    '{"a":[null,true],"b":1.5}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def hash_entry(values: Mapping[str, Any], previous: str) -> str:
    """Return the sha256 (hex) of a trail row's content and the hash of the row before."""
    content = [values[name] for name in ("seq", "at_s", "who", "action", "batch_id", "detail")]
    return hashlib.sha256((previous + canonical(content)).encode()).hexdigest()


def hash_frame(values: Mapping[str, Any], previous: str) -> str:
    """Return the sha256 (hex) of a frame row's content and the hash of the frame before."""
    content = {
        column.name: _as_stored(column, values[column.name])
        for column in tables.frames.c
        if column.name not in _OUTSIDE
    }
    return hashlib.sha256((previous + canonical(content)).encode()).hexdigest()


def _as_stored(column: Column[Any], value: Any) -> Any:
    """Return a value as the database will give it back: 5 in a column of floats is 5.0."""
    return None if value is None else column.type.python_type(value)


def read_head(connection: Connection) -> Head:
    """Return the last row of both chains."""
    entry = connection.execute(
        select(tables.trail.c.seq, tables.trail.c.hash).order_by(tables.trail.c.seq.desc()).limit(1)
    ).first()
    frame = connection.execute(
        select(tables.frames.c.id, tables.frames.c.chain).order_by(tables.frames.c.id.desc()).limit(1)
    ).first()
    seq, digest = (entry.seq, entry.hash) if entry else (0, GENESIS)
    return Head(seq, digest, *((frame.id, frame.chain) if frame else (0, read_start(connection))))


def read_start(connection: Connection) -> str:
    """Return the hash that stands before the oldest kept frame: that of the last one that was removed."""
    removed = connection.execute(
        select(tables.trail.c.detail)
        .where(tables.trail.c.action == "frames removed")
        .order_by(tables.trail.c.seq.desc())
        .limit(1)
    ).scalar()
    return str(json.loads(removed)["chain"]) if removed else GENESIS


def append_entry(
    connection: Connection,
    at_s: float,
    who: str,
    action: str,
    detail: Mapping[str, Any],
    batch_id: int | None = None,
) -> TrailEntry:
    """Write one act behind the last; the caller's transaction must hold the store's write lock."""
    head = read_head(connection)
    values: dict[str, Any] = {
        "seq": head.seq + 1,
        "at_s": round(at_s, 6),
        "who": who,
        "action": action,
        "batch_id": batch_id,
        "detail": canonical(detail),
    }
    digest = hash_entry(values, head.hash)
    connection.execute(insert(tables.trail).values(**values, previous=head.hash, hash=digest))
    return TrailEntry(**{**values, "detail": dict(detail)}, previous=head.hash, hash=digest)


def entry_of(row: Row[Any]) -> TrailEntry:
    """Return a row of the table as an entry."""
    values = dict(row._mapping)
    return TrailEntry(**{**values, "detail": json.loads(values["detail"])})


def count_rows(connection: Connection) -> tuple[int, int]:
    """Return how many rows the trail and the frames have."""
    return (
        connection.execute(select(func.count()).select_from(tables.trail)).scalar_one(),
        connection.execute(select(func.count()).select_from(tables.frames)).scalar_one(),
    )


def write_head_file(path: Path, head: Head) -> None:
    """Write the heads beside the store; a folder that cannot be written to is no fault of the store's."""
    with suppress(OSError):
        write_text(path, json.dumps(asdict(head)) + "\n")
