"""The audit log and the chains of hashes: who did what, in rows that hold the hash of the row before.

A store has two chains. Each row of the audit log (table ``trail``) holds the sha256 of its content and of
the row before; each row of ``frames`` does the same, and names the last row of the audit log at its time.
An altered, missing or reordered row breaks its chain from there on. A chain that was cut off at its end is
shorter than the frames, or the head file beside an SQLite store, record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from georgia.files import check_fields
from georgia.monitor import tables
from georgia.monitor.columns import STORED
from georgia.monitor.records import AuditAction, AuditEvent

if TYPE_CHECKING:
    from sqlalchemy import Connection

# The hash before the first row of a chain.
GENESIS = "0" * 64
# Columns of a frame that its chain does not cover: the row's own number, and the hash itself.
_OUTSIDE = ("id", "chain")


@dataclass(frozen=True)
class Head:
    """The last rows of the chains: numbers and hashes, 0 and zeros before there is any.

    ``seq`` is the audit log's, ``frame_id`` the frames', ``seal`` that of the chain over both and all else.
    """

    seq: int
    hash: str
    frame_id: int
    chain: str
    seal: int = 0
    seal_hash: str = GENESIS

    def __str__(self) -> str:
        """Return ``NUMBER:HASH`` of the chain over everything, as ``georgia verify --expect`` takes it."""
        return f"{self.seal}:{self.seal_hash}" if self.seal else f"{self.seq}:{self.hash}"


GENESIS_HEAD = Head(0, GENESIS, 0, GENESIS)


def canonical(value: Any) -> str:
    """Return JSON that is the same text for the same value: sorted keys, no spaces.

    >>> canonical({"b": 1.5, "a": [None, True]})
    '{"a":[null,true],"b":1.5}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def hash_event(values: Mapping[str, Any], previous: str) -> str:
    """Return the sha256 (hex) of an event's content and the hash of the row before."""
    content = [values[name] for name in ("seq", "at_s", "who", "action", "batch_id", "detail")]
    return hashlib.sha256((previous + canonical(content)).encode("utf-8", "surrogateescape")).hexdigest()


def hash_frame(values: Mapping[str, Any], previous: str) -> str:
    """Return the sha256 (hex) of a frame row's content and the hash of the frame before."""
    content = {
        column.name: column.to_stored(values.get(column.name))
        for column in STORED
        if column.name not in _OUTSIDE and not (column.added and values.get(column.name) is None)
    }
    return hashlib.sha256((previous + canonical(content)).encode("utf-8", "surrogateescape")).hexdigest()


def read_head(connection: Connection) -> Head:
    """Return the last row of the audit log and of the frames; the seals' is not read.

    Where all frames were removed, the last of them counts.
    """
    log, frames = tables.audit_log.c, tables.frames.c
    event = connection.execute(select(log.seq, log.hash).order_by(log.seq.desc()).limit(1)).first()
    frame = connection.execute(select(frames.id, frames.chain).order_by(frames.id.desc()).limit(1)).first()
    seq, digest = (event.seq, event.hash) if event else (0, GENESIS)
    return Head(seq, digest, *((frame.id, frame.chain) if frame else read_start(connection)))


def read_start(connection: Connection) -> tuple[int, str]:
    """Return number and hash of the last frame that was removed, before the oldest one that is kept."""
    removed = connection.execute(
        select(tables.audit_log.c.detail)
        .where(tables.audit_log.c.action == AuditAction.FRAMES_REMOVED)
        .order_by(tables.audit_log.c.seq.desc())
        .limit(1)
    ).scalar()
    if not removed:
        return 0, GENESIS
    detail = json.loads(removed)
    return int(detail["through"]), str(detail["chain"])


def write_event(
    connection: Connection,
    at_s: float,
    who: str,
    action: str,
    detail: Mapping[str, Any],
    batch_id: int | None = None,
) -> AuditEvent:
    """Write one event behind the last; the caller's transaction must hold the store's write lock."""
    head = read_head(connection)
    values: dict[str, Any] = {
        "seq": head.seq + 1,
        "at_s": round(float(at_s), 6),
        "who": who,
        "action": str(action),
        "batch_id": batch_id,
        "detail": canonical(detail),
    }
    digest = hash_event(values, head.hash)
    connection.execute(insert(tables.audit_log).values(**values, previous=head.hash, hash=digest))
    return AuditEvent(**{**values, "detail": dict(detail)}, previous=head.hash, hash=digest)


def event_of(row: Mapping[Any, Any]) -> AuditEvent:
    """Return a row of the table as an event."""
    return check_fields(AuditEvent(**{**row, "detail": json.loads(row["detail"])}))
