"""Who decides about a model: whoever says so, or with a store that has users, one who proves the right to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from georgia.errors import InputError
from georgia.monitor.people.promotions import record_promotion
from georgia.monitor.people.roles import Method

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle
    from georgia.monitor.people.users import User
    from georgia.monitor.store import Store


@dataclass(frozen=True)
class Decider:
    """A name, and by address the stores that are told of what was decided, each with the role there."""

    name: str
    roles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, stores: Sequence[str], who: str | None) -> Decider:
        """Return who decides; where a store has users, the password is asked for, or GEORGIA_PASSWORD read.

        Raises:
            InputError: the name or the password is wrong, or the role has not the right, which is recorded.
        """
        from georgia.cli.monitor import read_user
        from georgia.cli.verify import open_existing

        for db in stores:
            open_existing(db).close()
        name, password, roles = who or read_user(), "", {}
        for db in stores:
            with closing(_open(db)) as store:
                if not _has_users(store):
                    roles[db] = ""
                    continue
                _check_has_password(store, who or "")
                password = password or _ask_password(who or "")
                user = _prove(store, who or "", password)
            name, roles[db] = user.name, str(user.role)
        return cls(name, roles)

    def record(self, bundle: Bundle) -> Bundle:
        """Write into the stores' audit logs which model took another one's place; return it."""
        for db, role in self.roles.items():
            with closing(_open(db)) as store:
                record_promotion(store, self.name, bundle, role, str(Method.PASSWORD) if role else "")
        return bundle


def _open(db: str) -> Store:
    from georgia.cli.verify import open_store_named

    return open_store_named(db)


def _has_users(store: Store) -> bool:
    from georgia.cli.serve import count_users

    return count_users(store) > 0


def _check_has_password(store: Store, who: str) -> None:
    """Say what to do instead where another service identifies a user: there is no password to ask for."""
    from georgia.monitor.connect import reading
    from georgia.monitor.people.users import find_row

    with reading(store.engine) as connection:
        row = find_row(connection, who) if who.strip() else None
    subject = row["subject"] if row is not None else None
    if subject is not None:
        raise InputError(
            "Cannot promote",
            needs="a user with a password in this store is needed",
            got=f"{who!r}, whom {subject.partition(' ')[0]} identifies",
            hint="Promote on the page of georgia label --set people=STORE, which asks for a log-in there.",
        )


def _ask_password(who: str) -> str:
    if not who.strip():
        needs = "the name of a user of the store is needed, as --who"
        raise InputError("Cannot promote", needs=needs, got="none")
    password = os.environ.get("GEORGIA_PASSWORD", "")
    if not password and sys.stdin.isatty():
        password = str(typer.prompt(f"Password of {who}", hide_input=True, err=True))
    return password


def _prove(store: Store, who: str, password: str) -> User:
    from georgia.cli.monitor import read_who
    from georgia.monitor.people.roles import Right, may, name_roles
    from georgia.monitor.people.sessions import LoginRules, Visitor, end_session, log_in
    from georgia.monitor.records import AuditAction

    found = log_in(store, who, password, Visitor(f"command of {read_who()}"), LoginRules(), time.time())
    session = found.session
    if session is None:
        got = "another password, name, or a lock-out" if password else "no password"
        needs = f"the password of {who!r} is needed"
        raise InputError("Cannot promote", needs=needs, got=got, hint="Type it, or set GEORGIA_PASSWORD.")
    store.write(lambda change: end_session(change, session, "a promotion"))
    user = session.user
    if may(user.role, Right.PROMOTE) and not user.is_temporary:
        return user
    got = "a one-time password" if user.is_temporary else str(user.role)
    detail = {"what": "georgia promote", "needs": str(Right.PROMOTE), "role": str(user.role)}
    store.append_event(user.name, AuditAction.ACCESS_DENIED, detail)
    needs = f"the role {name_roles(Right.PROMOTE)}, with a password of one's own, is needed"
    raise InputError("Cannot promote", needs=needs, got=got, hint="The attempt was recorded.")
