"""Electronic signatures on batches: who, when, what it means, and which record it is bound to.

Sources: 21 CFR 11.50 (what a signature shows), 11.70 (its link to the record), 11.200 (its components).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, inspect, select

from georgia.errors import InputError
from georgia.monitor import audit_log, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.people.roles import MEANINGS, Meaning, Method, Role
from georgia.monitor.people.users import User
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from georgia.monitor.seals import Change

_SIGNATURES = tables.people_signatures
# Of a batch that ended; a signature may say no more than that somebody ran it while it runs.
_OF_ENDED = frozenset((Meaning.REVIEW, Meaning.APPROVAL, Meaning.RELEASE, Meaning.REJECTION))
_TOLD = ("meaning", "note", "head", "n_frames", "content_sha256", "role", "method")


@dataclass(frozen=True)
class Signature:
    """A signature as the store holds it.

    ``head`` is the end of the whole record when it was given, ``NUMBER:HASH``; ``content_sha256`` is over the
    batch's row, its frames' last hash and all entries of the audit log on it then.
    """

    id: int
    batch_id: int
    user_id: int
    who: str
    role: Role
    meaning: Meaning
    note: str
    signed_at_s: float
    head: str
    n_frames: int
    content_sha256: str
    method: Method = Method.PASSWORD

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        plain = asdict(self)
        return {**plain, "signed_at": iso_time(plain.pop("signed_at_s"))}


@dataclass(frozen=True)
class Proof:
    """How a signer has just proved who they are, and what else the audit log is to tell of that.

    ``content_sha256``: what ``hash_batch`` gave when the signer was asked; the batch must still be that one.
    """

    method: Method = Method.PASSWORD
    detail: Mapping[str, Any] = field(default_factory=dict)
    content_sha256: str = ""


BY_PASSWORD = Proof()


def sign_batch(
    change: Change,
    batch_id: int,
    user: User,
    meaning: Meaning,
    note: str = "",
    proof: Proof = BY_PASSWORD,
) -> Signature:
    """Write a signature of a user who has just proved who they are.

    Raises:
        InputError: the user's role gives no such signature, there is no such batch, it has not ended, it was
            changed since the signer was asked, or the last release stands already.
    """
    connection = change.connection
    batch = check_signable(connection, batch_id, user.role, meaning, note)
    content = hash_batch(connection, batch_id)
    if proof.content_sha256 and meaning in _OF_ENDED and proof.content_sha256 != content:
        needs = "the batch as it was when the signature was asked for is needed"
        raise InputError(f"Cannot sign batch {batch_id}", needs=needs, got="one that was changed since")
    for last in list_signatures(connection, batch_id)[-1:]:
        if (last.user_id, last.meaning, last.content_sha256) == (user.id, meaning, content):
            needs = "a signature that does not stand already is needed"
            raise InputError(
                f"Cannot sign batch {batch_id}", needs=needs, got=f"{meaning} by {user.name!r} twice"
            )
    change.expects(tables.batches, batch_id)
    values: dict[str, Any] = {
        "batch_id": batch_id,
        "user_id": user.id,
        "who": user.name,
        "role": str(user.role),
        "meaning": str(meaning),
        "note": note.strip(),
        "signed_at_s": change.at_s,
        "head": _find_head(connection),
        "n_frames": batch["n_frames"],
        "content_sha256": content,
        "method": str(proof.method),
    }
    query = insert(_SIGNATURES).values(**values).returning(_SIGNATURES.c.id)
    number = int(connection.execute(query).scalar_one())
    change.touch(_SIGNATURES, number, is_new=True)
    detail = {"signature": number, **{name: values[name] for name in _TOLD}, **proof.detail}
    audit_log.write_event(connection, change.at_s, user.name, AuditAction.BATCH_SIGNED, detail, batch_id)
    return signature_of({"id": number, **values})


def check_signable(
    connection: Connection, batch_id: int, role: Role, meaning: Meaning, note: str
) -> Mapping[Any, Any]:
    """Return the row of a batch that a role may sign so.

    Raises:
        InputError: the role gives no such signature, there is no such batch, it has not ended, or a rejection
            has no reason.
    """
    query = select(tables.batches).where(tables.batches.c.id == batch_id)
    batch = connection.execute(query).mappings().first()
    needs = ""
    if meaning not in MEANINGS[role]:
        needs, got = f"the role {_name_roles(meaning)} is needed for {meaning}", str(role)
    elif batch is None:
        needs, got = "a batch of the store is needed", "none"
    elif meaning in _OF_ENDED and batch["ended_at_s"] is None:
        needs, got = "a batch that has ended is needed", "one that runs"
    elif meaning == Meaning.REJECTION and not note.strip():
        needs, got = "a reason is needed as note", "none"
    if needs or batch is None:
        raise InputError(f"Cannot sign batch {batch_id}", needs=needs, got=got)
    return batch


def _name_roles(meaning: Meaning) -> str:
    return " or ".join(role for role in Role if meaning in MEANINGS[role])


def _find_head(connection: Connection) -> str:
    seals = tables.seals.c
    last = connection.execute(select(seals.seq, seals.hash).order_by(seals.seq.desc()).limit(1)).first()
    return f"{last.seq}:{last.hash}" if last is not None else str(audit_log.read_head(connection))


def hash_batch(connection: Connection, batch_id: int, before_seq: int | None = None) -> str:
    """Return the sha256 (hex) over a batch: its row, frames and entries of the audit log.

    ``before_seq``: only entries with a lower number count, and of signatures none: so what was signed can be
    compared later.
    """
    batches, frames, log = tables.batches.c, tables.frames.c, tables.audit_log.c
    names = ("id", "source", "name", "operator", "note", "impurity", "started_at_s", "ended_at_s", "n_frames")
    row = connection.execute(select(*(batches[name] for name in names)).where(batches.id == batch_id)).first()
    last = select(frames.chain).where(frames.batch_id == batch_id).order_by(frames.id.desc()).limit(1)
    chain = connection.execute(last).scalar() or ""
    entries = select(log.hash).where(log.batch_id == batch_id, log.action != AuditAction.BATCH_SIGNED)
    if before_seq is not None:
        entries = entries.where(log.seq < before_seq)
    digest = hashlib.sha256(audit_log.canonical([list(row or ()), chain]).encode("utf-8", "surrogateescape"))
    for (entry,) in connection.execute(entries.order_by(log.seq)):
        digest.update(str(entry).encode())
    return digest.hexdigest()


def list_signatures(connection: Connection, batch_id: int | None = None) -> list[Signature]:
    """Return the signatures of a batch, or all, in the order in which they were given."""
    query = _select(connection).order_by(_SIGNATURES.c.id)
    if batch_id is not None:
        query = query.where(_SIGNATURES.c.batch_id == batch_id)
    return [signature_of(row) for row in connection.execute(query).mappings()]


def signature_of(row: Mapping[Any, Any]) -> Signature:
    """Return a row of the table as a signature."""
    method = Method(row.get("method") or Method.PASSWORD)
    kinds = {"role": Role(row["role"]), "meaning": Meaning(row["meaning"]), "method": method}
    return Signature(**{**row, **kinds})


def _select(connection: Connection) -> Select[Any]:
    """Return a query for the signatures, with the columns that the store has."""
    known = {column["name"] for column in inspect(connection).get_columns(_SIGNATURES.name)}
    return select(*(column for column in _SIGNATURES.columns if column.name in known))


def find_decision(signatures: Sequence[Signature]) -> Signature | None:
    """Return the signature that releases or rejects a batch: the last one of the two counts."""
    decisions = (Meaning.RELEASE, Meaning.REJECTION)
    return next((each for each in reversed(signatures) if each.meaning in decisions), None)


def count_later(connection: Connection, signature: Signature) -> int:
    """Return how many entries of the audit log on its batch came after a signature, signatures aside."""
    log = tables.audit_log.c
    seq = _read_signed(connection, signature.batch_id).get(signature.id, _Signed()).seq
    query = select(func.count()).where(
        log.batch_id == signature.batch_id, log.seq > seq, log.action != AuditAction.BATCH_SIGNED
    )
    return int(connection.execute(query).scalar_one())


@dataclass(frozen=True)
class _Signed:
    """What the audit log holds of a signature."""

    seq: int = 0
    who: str = ""
    batch_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def _read_signed(connection: Connection, batch_id: int | None = None) -> dict[int, _Signed]:
    log = tables.audit_log.c
    query = select(log.seq, log.who, log.batch_id, log.detail).where(log.action == AuditAction.BATCH_SIGNED)
    if batch_id is not None:
        query = query.where(log.batch_id == batch_id)
    found: dict[int, _Signed] = {}
    for row in connection.execute(query):
        try:
            detail = json.loads(row.detail)
            found[int(detail["signature"])] = _Signed(row.seq, row.who, row.batch_id, detail)
        except (ValueError, TypeError, KeyError):  # altered: the audit log's own chain says so
            continue
    return found


def verify_signatures(
    connection: Connection, add_fault: Callable[[str, int, str], None]
) -> list[tuple[int, str, str]]:
    """Compare each signature with the audit log and its batch; return the heads that the record must hold."""
    name = _SIGNATURES.name
    if name not in tables.find_columns(connection):
        return []
    told, heads = _read_signed(connection), []
    for row in connection.execute(_select(connection)).mappings().all():
        number, entry = int(row["id"]), told.pop(int(row["id"]), None)
        if entry is None:
            add_fault(name, number, "the audit log does not hold it")
            continue
        other = [key for key in _TOLD if row.get(key) != entry.detail.get(key)]
        if other or (row["who"], row["batch_id"]) != (entry.who, entry.batch_id):
            add_fault(name, number, "it is not what the audit log says was signed")
            continue
        seq, _, digest = str(row["head"]).partition(":")
        if seq.isdigit():
            heads.append((int(seq), digest, f"signature {number} of batch {row['batch_id']}"))
        # What was signed of a batch that went on is another one now, and so is one whose frames were removed.
        is_compared = row["meaning"] in _OF_ENDED and _has_frames(connection, row["batch_id"])
        if is_compared and hash_batch(connection, row["batch_id"], entry.seq) != row["content_sha256"]:
            add_fault(name, number, "its batch is not the one that was signed")
    for number in told:
        add_fault(name, number, "it is missing: the audit log holds it")
    return heads


def _has_frames(connection: Connection, batch_id: int) -> bool:
    frames, batches = tables.frames.c, tables.batches.c
    last = select(func.max(frames.ordinal)).where(frames.batch_id == batch_id).scalar_subquery()
    query = select(batches.n_frames, last.label("last")).where(batches.id == batch_id)
    row = connection.execute(query).first()
    return row is not None and row.n_frames == (row.last or 0)
