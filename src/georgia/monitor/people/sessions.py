"""Logging in and out, sessions that end by themselves, and what stands against guessing passwords."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from sqlalchemy import delete, func, insert, select, update

from georgia.config import Config, above, at_least
from georgia.monitor import audit_log, tables
from georgia.monitor.connect import naming_damage, reading
from georgia.monitor.people.failure_age import count_recent, describe_age, is_younger
from georgia.monitor.people.passwords import is_password
from georgia.monitor.people.tokens import hash_secret
from georgia.monitor.people.users import User, find_row, user_of
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from georgia.monitor.seals import Change
    from georgia.monitor.store import Store

_USERS, _SESSIONS, _FAILURES = tables.people_users, tables.people_sessions, tables.people_failures
# A browser in which somebody has logged in is known for so long.
_DEVICE_S = 90 * 86_400.0
# A session begun in the future by more than this: the clock was set back, and nobody knows how old it is.
_MOST_AHEAD_S = 120.0
# When it was last used is written at most so often.
_USE_EVERY_S = 20.0
# Attempts with names that nobody has are told in the audit log once in this time, counted or not.
_TELL_EVERY_S = 60.0
_MOST_FAILURES = 10_000
# What is too old to count is kept so much longer: another program's clock may be behind.
_KEPT_S = 86_400.0


@dataclass(frozen=True)
class LoginRules(Config):
    """When a session ends, and when somebody is locked out.

    ``login_failures`` lock one user out for one address or browser; ``login_failures_of_address`` lock out an
    address whatever the user, ``login_failures_of_user`` a user for all addresses. A browser in which the
    user had logged in before counts by itself, so that nobody is locked out there by others.
    """

    session_idle_min: Annotated[float, above(0)] = 15.0
    session_longest_h: Annotated[float, above(0)] = 12.0
    lockout_min: Annotated[float, above(0)] = 15.0
    login_failures: Annotated[int, at_least(1)] = 5
    login_failures_of_address: Annotated[int, at_least(1)] = 20
    login_failures_of_user: Annotated[int, at_least(1)] = 20
    one_time_password_h: Annotated[float, above(0)] = 72.0


class Denial(StrEnum):
    """Why a log-in was denied, for the audit log; whoever tries is not told."""

    UNKNOWN = "unknown name"
    DISABLED = "disabled"
    WRONG = "wrong password"
    EXPIRED = "one-time password too old"
    LOCKED = "locked out"
    CHANGED = "changed meanwhile"


@dataclass(frozen=True)
class Session:
    """Who is logged in, since when, and when that was last used, seconds since 1970."""

    id: str
    user: User
    begun_at_s: float
    used_at_s: float


@dataclass(frozen=True)
class LogIn:
    """What became of an attempt: the session and the secrets for the browser, or why it was denied."""

    session: Session | None = None
    secret: str = ""
    device: str = ""
    denial: Denial | None = None


@dataclass(frozen=True)
class Visitor:
    """Who tries to log in: the address, and what the browser holds of an earlier log-in, "" without."""

    address: str
    device: str = ""
    session: str = ""


def log_in(
    store: Store, name: str, password: str, visitor: Visitor, rules: LoginRules, now_s: float
) -> LogIn:
    """Begin a session, or say why not. An attempt takes as long whether or not there is such a user.

    ``now_s`` is that of a ``SteadyClock`` where many attempts come.

    Raises:
        StoreAwayError: the store cannot be reached now.
    """
    with reading(store.engine) as connection, naming_damage():
        row = find_row(connection, name)
        origin = _find_origin(connection, row, visitor, now_s)
        is_locked = _find_lock(connection, row, origin, rules, now_s) != ""
    hashed = "" if row is None or is_locked else row["password_hash"]
    is_correct = is_password(password, hashed)
    denial = _find_denial(row, is_locked, is_correct, rules, now_s)
    if denial is None and row is not None:
        return store.write(lambda change: begin_session(change, row, visitor))
    if denial == Denial.LOCKED:
        return LogIn(denial=denial)
    store.write(
        lambda change: note_failure(
            change, row, origin, visitor.address, denial or Denial.WRONG, rules, now_s
        )
    )
    return LogIn(denial=denial)


def _find_denial(
    row: Mapping[Any, Any] | None, is_locked: bool, is_correct: bool, rules: LoginRules, now_s: float
) -> Denial | None:
    if is_locked:
        return Denial.LOCKED
    if row is None:
        return Denial.UNKNOWN
    if row["disabled_at_s"] is not None:
        return Denial.DISABLED
    if not is_correct:
        return Denial.WRONG
    if row["is_temporary"] and now_s - row["password_at_s"] > rules.one_time_password_h * 3600:
        return Denial.EXPIRED
    return None


def begin_session(change: Change, row: Mapping[Any, Any], visitor: Visitor) -> LogIn:
    """Write a session of a user whose row was read and whose identity was proved.

    The session that the browser had before ends. A user who was changed meanwhile is denied.
    """
    connection = change.connection
    now = connection.execute(select(_USERS).where(_USERS.c.id == row["id"])).mappings().first()
    same = ("password_hash", "disabled_at_s", "role")
    if now is None or any(now[name] != row[name] for name in same):
        return LogIn(denial=Denial.CHANGED)
    if visitor.session:
        _end(change, hash_secret(visitor.session))
    user, secret = user_of(now), secrets.token_urlsafe(32)
    device = visitor.device or secrets.token_urlsafe(32)
    values = {
        "id": hash_secret(secret),
        "user_id": user.id,
        "device": hash_secret(device),
        "address": visitor.address,
        "begun_at_s": change.at_s,
        "used_at_s": change.at_s,
    }
    connection.execute(insert(_SESSIONS).values(**values))
    for origin in (visitor.address, f"browser {values['device']}"):
        same_origin = (_FAILURES.c.user_id == user.id) & (_FAILURES.c.origin == origin)
        connection.execute(delete(_FAILURES).where(same_origin))
    connection.execute(delete(_SESSIONS).where(_SESSIONS.c.begun_at_s < change.at_s - _DEVICE_S))
    detail = {"address": visitor.address, "session": str(values["id"])[:12]}
    audit_log.write_event(connection, change.at_s, user.name, AuditAction.LOGGED_IN, detail)
    return LogIn(Session(str(values["id"]), user, change.at_s, change.at_s), secret, device)


def end_session(change: Change, session: Session, reason: str = "") -> None:
    """End a session by its user's wish or for a reason."""
    if _end(change, session.id):
        detail = {"session": session.id[:12], "reason": reason}
        audit_log.write_event(
            change.connection, change.at_s, session.user.name, AuditAction.LOGGED_OUT, detail
        )


def _end(change: Change, number: str) -> bool:
    is_running = (_SESSIONS.c.id == number) & _SESSIONS.c.ended_at_s.is_(None)
    query = update(_SESSIONS).where(is_running).values(ended_at_s=change.at_s)
    return change.connection.execute(query).rowcount > 0


def find_session(connection: Connection, secret: str, rules: LoginRules, now_s: float) -> Session | None:
    """Return the session that a browser's secret stands for; None: it ended, or its user is disabled."""
    return find_session_by_id(connection, hash_secret(secret), rules, now_s)


def find_session_by_id(
    connection: Connection, number: str, rules: LoginRules, now_s: float
) -> Session | None:
    """Return a session by what the store calls it; None: it ended, or its user is disabled."""
    query = (
        select(_SESSIONS.c.begun_at_s, _SESSIONS.c.used_at_s, _USERS)
        .join(_USERS, _USERS.c.id == _SESSIONS.c.user_id)
        .where(_SESSIONS.c.id == number, _SESSIONS.c.ended_at_s.is_(None))
    )
    row = connection.execute(query).mappings().first()
    if row is None or row["disabled_at_s"] is not None:
        return None
    begun, used = row["begun_at_s"], row["used_at_s"]
    is_old = now_s - begun > rules.session_longest_h * 3600 or now_s - used > rules.session_idle_min * 60
    if is_old or begun > now_s + _MOST_AHEAD_S or used > now_s + _MOST_AHEAD_S:
        return None
    return Session(number, user_of(row), begun, used)


def use_session(store: Store, session: Session, now_s: float) -> None:
    """Write that somebody did something in a session, so that it does not end; not more often than needed."""
    if 0 <= now_s - session.used_at_s < _USE_EVERY_S:
        return
    is_running = (_SESSIONS.c.id == session.id) & _SESSIONS.c.ended_at_s.is_(None)
    query = update(_SESSIONS).where(is_running).values(used_at_s=now_s)
    store.write(lambda change: change.connection.execute(query))


# What stands against guessing


def _find_origin(
    connection: Connection, row: Mapping[Any, Any] | None, visitor: Visitor, now_s: float
) -> str:
    """Return by what an attempt is counted: a browser that the user had logged in with, or the address.

    Source: OWASP, "Slow down online guessing attacks with device cookies".
    """
    if row is None or not visitor.device:
        return visitor.address
    device = hash_secret(visitor.device)
    known = (
        (_SESSIONS.c.user_id == row["id"])
        & (_SESSIONS.c.device == device)
        & (_SESSIONS.c.begun_at_s > now_s - _DEVICE_S)
    )
    is_known = connection.execute(select(_SESSIONS.c.id).where(known).limit(1)).first() is not None
    return f"browser {device}" if is_known else visitor.address


def _find_lock(
    connection: Connection, row: Mapping[Any, Any] | None, origin: str, rules: LoginRules, now_s: float
) -> str:
    """Return what is locked out: "browser", "user and address", "address", "user", or "" if nothing is."""

    def count(*conditions: Any) -> int:
        return int(connection.execute(count_recent(rules.lockout_min * 60, now_s, *conditions)).scalar_one())

    user_id = row["id"] if row is not None else None
    is_user, is_origin = _FAILURES.c.user_id == user_id, _FAILURES.c.origin == origin
    if origin.startswith("browser "):
        return "browser" if count(is_user, is_origin) >= rules.login_failures else ""
    if user_id is not None and count(is_user, is_origin) >= rules.login_failures:
        return "user and address"
    if count(is_origin) >= rules.login_failures_of_address:
        return "address"
    others = ~_FAILURES.c.origin.like("browser %")
    if user_id is not None and count(is_user, others) >= rules.login_failures_of_user:
        return "user"
    return ""


def count_failures(connection: Connection, user: User, rules: LoginRules, now_s: float) -> int:
    """Return how many failed log-ins count against a user now, from anywhere."""
    query = count_recent(rules.lockout_min * 60, now_s, _FAILURES.c.user_id == user.id)
    return int(connection.execute(query).scalar_one())


def note_failure(
    change: Change,
    row: Mapping[Any, Any] | None,
    origin: str,
    address: str,
    reason: str,
    rules: LoginRules,
    now_s: float,
    action: AuditAction = AuditAction.LOGIN_FAILED,
) -> str:
    """Write that somebody failed to prove who they are; return what that locks out, "" if nothing.

    The audit log holds each attempt on a user. What is tried with names that nobody has is in it once a
    minute at most, without the name: it might be a password.
    """
    connection, at_s = change.connection, change.at_s
    is_told = row is not None or not _told_lately(connection, now_s)
    user_id = row["id"] if row is not None else None
    values = {"user_id": user_id, "origin": origin, "at_s": now_s, **describe_age()}
    connection.execute(insert(_FAILURES).values(**values))
    keep = rules.lockout_min * 60
    connection.execute(delete(_FAILURES).where(_FAILURES.c.at_s < now_s - keep - _KEPT_S))
    newest = connection.execute(select(func.max(_FAILURES.c.id))).scalar() or 0
    connection.execute(delete(_FAILURES).where(_FAILURES.c.id <= newest - _MOST_FAILURES))
    detail = {"address": address, "reason": str(reason)}
    who = row["name"] if row is not None else "georgia"
    if is_told:
        audit_log.write_event(connection, at_s, who, action, detail)
    locked = _find_lock(connection, row, origin, rules, now_s)
    if locked and is_told:
        told = {"address": address, "locked": locked, "minutes": rules.lockout_min}
        audit_log.write_event(connection, at_s, who, AuditAction.LOCKED_OUT, told)
    return locked


def _told_lately(connection: Connection, now_s: float) -> bool:
    of_nobody = _FAILURES.c.user_id.is_(None) & is_younger(_TELL_EVERY_S, now_s)
    return connection.execute(select(_FAILURES.c.id).where(of_nobody).limit(1)).first() is not None


def confirm_password(
    store: Store, session: Session, password: str, visitor: Visitor, rules: LoginRules, now_s: float
) -> Mapping[Any, Any] | None:
    """Return the user's row if the password is the user's own, None if not, which counts as a failed log-in.

    Whoever is locked out by that loses the session too.
    """
    with reading(store.engine) as connection, naming_damage():
        row = find_row(connection, session.user.name)
        origin = _find_origin(connection, row, visitor, now_s)
        is_locked = _find_lock(connection, row, origin, rules, now_s) != ""
    hashed = "" if row is None or is_locked else row["password_hash"]
    if is_password(password, hashed) and row is not None and row["disabled_at_s"] is None:
        return row

    def write(change: Change) -> None:
        action = AuditAction.SIGNATURE_DENIED
        locked = note_failure(change, row, origin, visitor.address, Denial.WRONG, rules, now_s, action)
        if locked:
            end_session(change, session, f"locked out: {locked}")

    store.write(write)
    return None
