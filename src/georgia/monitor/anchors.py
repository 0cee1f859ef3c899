"""The ends of the chains, noted outside of the store: beside it, and in a signed file somewhere else.

A chain of hashes proves every row but its own end: who restores an older copy of the store shows a whole
record that ends earlier. What was noted elsewhere tells.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from georgia.errors import InputError, mask_credentials
from georgia.files import check_apart, read_json, reading, write_json
from georgia.monitor import tables
from georgia.monitor.audit_log import GENESIS, Head, canonical
from georgia.monitor.columns import iso_time
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logging.getLogger(__name__)

# Entries of the audit log after which an anchor notes the end of the record.
NOTED = frozenset(
    (
        AuditAction.MONITOR_STARTED,
        AuditAction.MONITOR_STOPPED,
        AuditAction.BATCH_BEGAN,
        AuditAction.BATCH_ENDED,
        AuditAction.LIMITS_CHANGED,
        AuditAction.MODEL_SWAPPED,
        AuditAction.FRAMES_REMOVED,
    )
)
# The shortest key, bytes. Source: NIST SP 800-107 rev. 1, section 5.3.4, doi 10.6028/NIST.SP.800-107r1.
_SHORTEST_KEY = 14


def read_head_file(file: Path | None) -> Head | str | None:
    """Return what the file beside a store notes, why it cannot be read, or None where there is none."""
    if file is None or not file.is_file():
        return None
    try:
        with reading("Cannot read the head file", "the rows and hashes of both chains are needed"):
            values = read_json(file)
            return Head(
                *(int(values["seq"]), str(values["hash"]), int(values["frame_id"]), str(values["chain"])),
                *(int(values.get("seal", 0)), str(values.get("seal_hash", GENESIS))),
            )
    except (InputError, OSError) as error:
        return str(error)


def write_head_file(file: Path | None, head: Head) -> None:
    """Note the ends of the chains beside an SQLite store; the store itself holds without the file.

    A store that is new has the file before its first row: who opens it at that moment misses nothing.
    """
    if file is not None and (head.seq or head.frame_id or not file.exists()):
        with suppress(OSError, InputError):
            write_json(file, asdict(head), indent=None)


def is_empty(head: Head) -> bool:
    """Tell whether a head was noted before anything was recorded."""
    return not (head.seq or head.frame_id or head.seal)


def find_contradiction(connection: Connection, head: Head, has_seals: bool = True) -> str:
    """Return what a noted head names that the store does not hold, "" where it holds all of it."""
    log, frames, seals = tables.audit_log.c, tables.frames.c, tables.seals.c
    found = connection.execute(select(log.hash).where(log.seq == head.seq)).scalar()
    if head.seq and found != head.hash:
        return _tell("audit log", head.seq, found)
    if head.seal:
        query = select(seals.hash).where(seals.seq == head.seal)
        found = connection.execute(query).scalar() if has_seals else None
        if found != head.seal_hash:
            return _tell("seals", head.seal, found)
    found = connection.execute(select(frames.chain).where(frames.id == head.frame_id)).scalar()
    first = connection.execute(select(func.min(frames.id))).scalar()
    is_removed = found is None and (first is None or first > head.frame_id)
    if head.frame_id and found != head.chain and not is_removed:
        return _tell("frames", head.frame_id, found)
    return ""


def _tell(what: str, number: int, found: object) -> str:
    return f"row {number} of the {what} {'is missing' if found is None else 'has another hash'}"


@dataclass(frozen=True)
class Note:
    """One line of an anchor: a head, ``NUMBER:HASH``, and whether its signature holds (None: not checked)."""

    line: int
    at: str
    head: str
    is_signed: bool | None


class Anchor:
    """A file that grows by one line whenever the monitor starts, stops, or a batch begins or ends.

    Keep it on another machine than the store. With a key, which the store's administrator must not have, each
    line is signed: HMAC with SHA-256 over the line's content.
    """

    def __init__(self, path: Path, key: bytes = b"", store: str = "") -> None:
        self.path, self._key, self._store = path, key, mask_credentials(store)
        self.error = ""

    def write(self, head: Head, event: str) -> None:
        """Add a line; a file that cannot be written to stops nothing, and is logged."""
        line: dict[str, Any] = {
            "at": iso_time(time.time()),
            "event": str(event),
            "store": self._store,
            "head": str(head),
            "trail": head.seq,
            "frame": head.frame_id,
        }
        if self._key:
            line["signature"] = _sign(line, self._key)
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(canonical(line) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            self.error = f"{self.path}: {error.strerror or error}"
            _log.warning("the end of the record could not be noted in %s", self.error)
        else:
            self.error = ""

    def notes(self) -> Iterator[Note]:
        """Yield the lines of the file.

        Raises:
            InputError: it cannot be read, or holds something else.
        """
        needs = "lines that 'georgia monitor' wrote are needed"
        with reading(f"Cannot read the anchor {str(self.path)!r}", needs):
            for number, text in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
                line = json.loads(text)
                signature = line.pop("signature", None)
                is_signed = None
                if self._key:
                    is_signed = hmac.compare_digest(_sign(line, self._key), str(signature))
                yield Note(number, str(line["at"]), str(line["head"]), is_signed)


def open_anchor(path: str, key_file: str = "", store: str = "") -> Anchor:
    """Return an anchor, with the key that a file holds if one is named.

    Raises:
        InputError: the key cannot be read or is short, or the anchor is the store itself or lies beside it
            as one of its own files.
    """
    from georgia.monitor.connect import find_file

    file = find_file(store) if store else None
    for own in (file, *(Path(f"{file}{end}") for end in (".head", "-wal", "-shm"))) if file else ():
        check_apart({"db": own, "anchor": path})
    return Anchor(Path(path), read_key(Path(key_file)) if key_file else b"", store)


def read_key(file: Path) -> bytes:
    """Return the key in a file, without the white space around it.

    Raises:
        InputError: there is no such file, or the key is short.
    """
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"Cannot read the key {str(file)!r}",
            needs="a file with a secret is needed",
            got=error.strerror or error,
            hint="Make one: openssl rand -hex 32 > anchor.key.",
        ) from error
    if len(key) < _SHORTEST_KEY:
        raise InputError(
            f"Cannot use the key {str(file)!r}",
            needs=f"{_SHORTEST_KEY} bytes or more are needed",
            got=len(key),
            hint="Make one: openssl rand -hex 32 > anchor.key.",
        )
    return key


def sign(content: bytes, key: bytes) -> str:
    """Return the HMAC-SHA256 (hex) of bytes. Source: RFC 2104, doi 10.17487/RFC2104."""
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _sign(line: dict[str, Any], key: bytes) -> str:
    return sign(canonical(line).encode(), key)
