"""Tokens of clients: programs that read or change something, each with a name and a role of its own."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from georgia.errors import InputError
from georgia.monitor import audit_log, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.people.names import check_name, make_key
from georgia.monitor.people.roles import Role
from georgia.monitor.people.users import has_users
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from georgia.monitor.seals import Change

_TOKENS = tables.people_tokens
# What a token begins with, so that one is known for what it is where it was left lying about.
PREFIX = "georgia_"
# Roles that a program may have: it signs nothing, decides nothing, and manages nobody.
CLIENT_ROLES = (Role.VIEWER, Role.OPERATOR)


@dataclass(frozen=True)
class Token:
    """A client's token as the store holds it; itself it is not in the store."""

    id: int
    name: str
    role: Role
    added_at_s: float
    expires_at_s: float | None
    revoked_at_s: float | None

    def holds(self, now_s: float) -> bool:
        """Tell whether it is taken at that moment, in seconds since 1970."""
        return self.revoked_at_s is None and (self.expires_at_s is None or now_s < self.expires_at_s)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id,
            "name": self.name,
            "role": str(self.role),
            "added_at": iso_time(self.added_at_s),
            "expires_at": iso_time(self.expires_at_s),
            "revoked_at": iso_time(self.revoked_at_s),
        }


def hash_secret(secret: str) -> str:
    """Return the sha256 (hex) of a token or a session's secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def add_token(
    change: Change, name: str, role: Role, who: str, days: float | None = None
) -> tuple[str, Token]:
    """Write a client's token; return the token, which is shown once, and what the store holds of it.

    Raises:
        InputError: the name is not allowed or taken, the role is no client's, or nobody logs in here.
    """
    found, connection = check_name(name, "the token"), change.connection
    needs = ""
    if not has_users(connection):
        needs, got = "a store with users is needed", "one without: the service's own token holds"
    elif role not in CLIENT_ROLES:
        needs, got = f"the role {' or '.join(CLIENT_ROLES)} is needed", str(role)
    elif days is not None and not 0 < days <= 36_500:
        needs, got = "more than 0 and at most 36,500 days are needed", f"{days:g}"
    elif make_key(found) in (
        make_key(token.name) for token in list_tokens(connection) if token.revoked_at_s is None
    ):
        needs, got = "a name that no other token has is needed", found
    if needs:
        raise InputError(f"Cannot add the token {found!r}", needs=needs, got=got)
    secret = PREFIX + secrets.token_urlsafe(32)
    values = {
        "name": found,
        "key": make_key(found),
        "role": str(role),
        "sha256": hash_secret(secret),
        "added_at_s": change.at_s,
        "expires_at_s": None if days is None else change.at_s + days * 86_400,
    }
    number = int(connection.execute(insert(_TOKENS).values(**values).returning(_TOKENS.c.id)).scalar_one())
    change.touch(_TOKENS, number, is_new=True)
    token = next(token for token in list_tokens(connection) if token.id == number)
    detail = {"token": found, "role": str(role), "expires_at": iso_time(token.expires_at_s)}
    audit_log.write_event(connection, change.at_s, who, AuditAction.TOKEN_ADDED, detail)
    return secret, token


def revoke_token(change: Change, name: str, who: str) -> Token:
    """Let a token hold no more.

    Raises:
        InputError: none of that name holds.
    """
    connection = change.connection
    holding = [token for token in list_tokens(connection) if token.revoked_at_s is None]
    found = next((token for token in holding if make_key(token.name) == make_key(name)), None)
    if found is None:
        raise InputError(
            f"Cannot revoke the token {name!r}",
            needs="one that is not revoked is needed",
            got=", ".join(token.name for token in holding[:10]) or "none at all",
        )
    change.expects(_TOKENS, found.id)
    connection.execute(update(_TOKENS).where(_TOKENS.c.id == found.id).values(revoked_at_s=change.at_s))
    change.touch(_TOKENS, found.id)
    audit_log.write_event(connection, change.at_s, who, AuditAction.TOKEN_REVOKED, {"token": found.name})
    return next(token for token in list_tokens(connection) if token.id == found.id)


def list_tokens(connection: Connection) -> list[Token]:
    """Return all tokens, revoked and expired ones too."""
    return [token_of(row) for row in connection.execute(select(_TOKENS).order_by(_TOKENS.c.id)).mappings()]


def find_token(connection: Connection, secret: str, now_s: float) -> Token | None:
    """Return the token that somebody sent, None where there is none that holds."""
    if not secret.startswith(PREFIX):
        return None
    query = select(_TOKENS).where(_TOKENS.c.sha256 == hash_secret(secret))
    row = connection.execute(query).mappings().first()
    token = token_of(row) if row is not None else None
    return token if token is not None and token.holds(now_s) else None


def token_of(row: Mapping[Any, Any]) -> Token:
    """Return a row of the table as a token."""
    names = ("id", "name", "added_at_s", "expires_at_s", "revoked_at_s")
    return Token(**{name: row[name] for name in names}, role=Role(row["role"]))
