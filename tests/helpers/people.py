"""Users of every role in a store, and clients of a service that are logged in as one of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.helpers import service as helpers

from georgia.monitor.people import passwords
from georgia.monitor.people.roles import Role
from georgia.monitor.people.users import add_user, change_password, find_row, user_of
from georgia.monitor.store import Store
from georgia.web.app import create_app

LOCAL = "http://127.0.0.1:8420"
ORIGIN = {"Origin": LOCAL}
PASSWORD = "correct horse battery staple"
NAMES = {role: f"{role.capitalize()} One" for role in Role}


def hash_quickly(patch: pytest.MonkeyPatch) -> None:
    """Let hashes take no time; how they are made is that of the library all the same."""
    for name, value in (("MEMORY_KIB", 8), ("PASSES", 1), ("LANES", 1)):
        patch.setattr(passwords, name, value)


def add_person(store: Store, name: str, role: Role, password: str = PASSWORD) -> None:
    """Write a user who has chosen a password."""
    store.write(lambda change: add_user(change, name, role, passwords.make_password(), "tests"))

    def choose(change: Any) -> None:
        row = find_row(change.connection, name)
        assert row is not None
        change_password(change, user_of(row), row["password_hash"], password)

    store.write(choose)


def add_people(store: Store) -> None:
    """Write one user of each role, the administrator first."""
    for role in reversed(Role):
        add_person(store, NAMES[role], role)


def log_in(client: TestClient, name: str, password: str = PASSWORD) -> Any:
    return client.post("/api/session", json={"name": name, "password": password}, headers=ORIGIN)


@contextmanager
def serving(folder: Path, n: int = 3, is_on: bool = True, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a service over a store, with users of every role if ``is_on``, and its application."""
    many = dict.fromkeys(("logins_per_minute", "changes_per_minute", "uploads_per_minute"), 10**6)
    service = helpers.make_service(folder, n, **{**many, **settings})
    if is_on:
        add_people(service.store)
    try:
        yield service, create_app(service)
    finally:
        service.close()
        service.store.close()


def visit(app: Any, role: Role | None = None) -> TestClient:
    """Return a browser, logged in with a role; its requests come from the service's own pages."""
    client = TestClient(app, base_url=LOCAL, raise_server_exceptions=False, headers=ORIGIN)
    if role is not None:
        response = log_in(client, NAMES[role])
        assert response.status_code == 200, response.text
    return client


class Clock:
    """A clock that is set by hand, beginning now."""

    def __init__(self) -> None:
        self.at_s = time.time()

    def __call__(self) -> float:
        return self.at_s
