"""Users in the store: added, given another role, disabled, their passwords reset. None is ever removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from georgia.config import Config
from georgia.errors import InputError
from georgia.monitor import audit_log, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.people.names import check_name, make_key
from georgia.monitor.people.passwords import check_password, hash_password
from georgia.monitor.people.roles import Role
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from georgia.monitor.seals import Change

_USERS, _SESSIONS, _FAILURES = tables.people_users, tables.people_sessions, tables.people_failures


class UsersAction(StrEnum):
    """What ``georgia users`` does."""

    ADD = "add"
    LIST = "list"
    ROLE = "role"
    RESET = "reset"
    UNLOCK = "unlock"
    DISABLE = "disable"
    TOKEN = "token"
    REVOKE = "revoke"


@dataclass(frozen=True)
class UsersConfig(Config):
    """Whose people: the monitor's store, an SQLite file or ``postgresql://…``."""

    db: str = "georgia-monitor.db"


@dataclass(frozen=True)
class User:
    """A user as the store holds it, without the hash of the password.

    ``is_temporary``: the password is a one-time one. ``subject`` is that of OpenID Connect, None without.
    """

    id: int
    name: str
    role: Role
    is_temporary: bool
    password_at_s: float
    added_at_s: float
    disabled_at_s: float | None
    subject: str | None

    @property
    def is_enabled(self) -> bool:
        """Tell whether the user may log in."""
        return self.disabled_at_s is None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id,
            "name": self.name,
            "role": str(self.role),
            "is_enabled": self.is_enabled,
            "is_temporary": self.is_temporary,
            "added_at": iso_time(self.added_at_s),
            "disabled_at": iso_time(self.disabled_at_s),
            "is_external": self.subject is not None,
        }


def user_of(row: Mapping[Any, Any]) -> User:
    """Return a row of the table as a user.

    Raises:
        ValueError: its role is none of ours: the row was altered.
    """
    names = ("id", "name", "is_temporary", "password_at_s", "added_at_s", "disabled_at_s", "subject")
    return User(**{name: row[name] for name in names}, role=Role(row["role"]))


def list_users(connection: Connection) -> list[User]:
    """Return all users, in the order in which they were added."""
    return [user_of(row) for row in connection.execute(select(_USERS).order_by(_USERS.c.id)).mappings()]


def has_users(connection: Connection) -> bool:
    """Tell whether people log in to this store: it has a user, enabled or not."""
    return connection.execute(select(_USERS.c.id).limit(1)).first() is not None


def find_row(connection: Connection, name: str) -> Mapping[Any, Any] | None:
    """Return the row of the user that a name stands for, in any case, None where there is none."""
    key = make_key(name)
    query = select(_USERS).where(_USERS.c.key == key, _USERS.c.key != "")
    return connection.execute(query).mappings().first()


def find_by_subject(connection: Connection, subject: str) -> Mapping[Any, Any] | None:
    """Return the row of the user whom another service calls so, None where nobody of it was here."""
    return connection.execute(select(_USERS).where(_USERS.c.subject == subject)).mappings().first()


def find_user(connection: Connection, name: str) -> User:
    """Return a user by name.

    Raises:
        InputError: there is none.
    """
    row = find_row(connection, name)
    if row is None:
        names = ", ".join(user.name for user in list_users(connection)[:10])
        raise InputError(
            f"Cannot find the user {name!r}", needs="one of the store is needed", got=names or "none at all"
        )
    return user_of(row)


def add_user(
    change: Change, name: str, role: Role, password: str, who: str, subject: str | None = None
) -> User:
    """Write a new user, whose password is a one-time one; with a ``subject`` there is no password.

    Raises:
        InputError: the name is not allowed, or another user has it or one that looks alike.
    """
    found = check_name(name)
    connection = change.connection
    known = find_row(connection, found)
    if known is not None:
        raise InputError(
            f"Cannot add the user {found!r}",
            needs="a name that cannot be taken for another user's is needed",
            got=f"one that looks like {known['name']!r}",
        )
    if subject is None and not has_users(connection) and role != Role.ADMINISTRATOR:
        raise InputError(
            f"Cannot add the user {found!r}",
            needs="the first user must be an administrator",
            got=str(role),
            hint="From then on people log in, and the service's token is not taken any more.",
        )
    values: dict[str, Any] = {
        "name": found,
        "key": make_key(found),
        "role": str(role),
        "password_hash": "" if subject is not None else hash_password(check_password(password, found)),
        "is_temporary": subject is None,
        "password_at_s": change.at_s,
        "added_at_s": change.at_s,
        "subject": subject,
    }
    number = int(connection.execute(insert(_USERS).values(**values).returning(_USERS.c.id)).scalar_one())
    change.touch(_USERS, number, is_new=True)
    detail = {"user": found, "role": str(role), **({"subject": subject} if subject else {})}
    _log(change, who, AuditAction.USER_ADDED, detail)
    return find_user(connection, found)


def set_role(change: Change, name: str, role: Role, who: str) -> User:
    """Give a user another role, which ends the user's sessions.

    Raises:
        InputError: there is no such user, or nobody would be left who manages people.
    """
    user = find_user(change.connection, name)
    if user.role == role:
        return user
    if user.role == Role.ADMINISTRATOR:
        _check_not_last(change.connection, user, "give another role to")
    _update(change, user, role=str(role))
    end_sessions(change, user)
    _log(change, who, AuditAction.USER_ROLE_CHANGED, {"user": user.name, "role": [str(user.role), str(role)]})
    return find_user(change.connection, user.name)


def disable_user(change: Change, name: str, who: str, reason: str = "") -> User:
    """Let a user log in no more, and end the user's sessions. The name stays taken.

    Raises:
        InputError: there is no such user, or nobody would be left who manages people.
    """
    user = find_user(change.connection, name)
    if not user.is_enabled:
        return user
    if user.role == Role.ADMINISTRATOR:
        _check_not_last(change.connection, user, "disable")
    _update(change, user, disabled_at_s=change.at_s)
    end_sessions(change, user)
    _log(change, who, AuditAction.USER_DISABLED, {"user": user.name, "reason": reason})
    return find_user(change.connection, user.name)


def reset_password(change: Change, name: str, password: str, who: str) -> User:
    """Give a user a one-time password, enable the user, end the sessions and what locks the user out.

    Raises:
        InputError: there is no such user, or another service identifies the user.
    """
    user = find_user(change.connection, name)
    if user.subject is not None:
        raise InputError(
            f"Cannot reset the password of {user.name!r}",
            needs="a user with a password is needed",
            got="one that logs in through another service",
        )
    if not user.is_enabled:
        _log(change, who, AuditAction.USER_ENABLED, {"user": user.name})
    hashed = hash_password(check_password(password, user.name))
    _update(
        change, user, password_hash=hashed, is_temporary=True, password_at_s=change.at_s, disabled_at_s=None
    )
    end_sessions(change, user)
    end_lockout(change, user, who, is_told=False)
    _log(change, who, AuditAction.PASSWORD_RESET, {"user": user.name})
    return find_user(change.connection, user.name)


def change_password(change: Change, user: User, hashed_before: str, password: str) -> None:
    """Write a user's own new password, and end the sessions.

    Raises:
        InputError: the password is not allowed, or was changed meanwhile.
    """
    hashed = hash_password(check_password(password, user.name))
    row = find_row(change.connection, user.name)
    if row is None or row["password_hash"] != hashed_before or row["disabled_at_s"] is not None:
        raise InputError(
            "Cannot change the password",
            needs="one that stands is needed",
            got="one that was reset meanwhile",
        )
    _update(change, user, password_hash=hashed, is_temporary=False, password_at_s=change.at_s)
    end_sessions(change, user)
    _log(change, user.name, AuditAction.PASSWORD_CHANGED, {"user": user.name})


def end_sessions(change: Change, user: User) -> None:
    """End all sessions of a user; the browsers that had them are no longer known."""
    running = (_SESSIONS.c.user_id == user.id) & _SESSIONS.c.ended_at_s.is_(None)
    change.connection.execute(update(_SESSIONS).where(running).values(ended_at_s=change.at_s))


def end_lockout(change: Change, user: User, who: str, is_told: bool = True) -> int:
    """Forget a user's failed log-ins; return how many there were."""
    query = delete(_FAILURES).where(_FAILURES.c.user_id == user.id)
    n_failures = change.connection.execute(query).rowcount
    if is_told:
        detail = {"user": user.name, "n_failures": n_failures}
        _log(change, who, AuditAction.LOCKOUT_ENDED, detail)
    return n_failures


def _check_not_last(connection: Connection, user: User, verb: str) -> None:
    others = [
        each
        for each in list_users(connection)
        if each.role == Role.ADMINISTRATOR and each.is_enabled and each.id != user.id
    ]
    if user.is_enabled and not others:
        raise InputError(
            f"Cannot {verb} {user.name!r}",
            needs="an administrator must be left",
            got="the last one",
            hint="Add another one before.",
        )


def _update(change: Change, user: User, **values: Any) -> None:
    change.expects(_USERS, user.id)
    change.connection.execute(update(_USERS).where(_USERS.c.id == user.id).values(**values))
    change.touch(_USERS, user.id)


def _log(change: Change, who: str, action: AuditAction, detail: Mapping[str, Any]) -> None:
    audit_log.write_event(change.connection, change.at_s, who, action, detail)
