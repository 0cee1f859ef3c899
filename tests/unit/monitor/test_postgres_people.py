"""People on a real PostgreSQL server: log-in, lock-out, signatures, and a backup to a file and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers import people
from tests.helpers.postgres import PostgresServer, has_postgres

from georgia.monitor.backup import back_up
from georgia.monitor.connect import reading
from georgia.monitor.people import sessions, signatures, tokens, users
from georgia.monitor.people.roles import Meaning, Role
from georgia.monitor.people.sessions import Denial, LoginRules, Visitor
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)"),
]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


def test_people_live_in_postgresql_and_move(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.hash_quickly(monkeypatch)
    clock = people.Clock()
    store = Store(server.make_database("plant"), clock)
    people.add_people(store)
    batch = store.begin_batch("probe", "B-1", "A", "PG", "t")
    store.end_batch(batch.id, "t")
    rules, name = LoginRules(), people.NAMES[Role.REVIEWER]
    for _ in range(5):
        sessions.log_in(store, name, "wrong", Visitor("6.6.6.6"), rules, clock())
    locked = sessions.log_in(store, name, people.PASSWORD, Visitor("6.6.6.6"), rules, clock())
    assert locked.denial == Denial.LOCKED
    found = sessions.log_in(store, name, people.PASSWORD, Visitor("10.0.0.1"), rules, clock())
    assert found.session is not None
    user = found.session.user
    store.write(lambda change: signatures.sign_batch(change, batch.id, user, Meaning.RELEASE))
    secret, _ = store.write(lambda change: tokens.add_token(change, "MES", Role.OPERATOR, "t"))
    assert verify_store(store).is_whole
    assert back_up(server.url.replace("/postgres", "/plant"), str(tmp_path / "copy.db")).is_whole
    assert back_up(str(tmp_path / "copy.db"), server.make_database("restored")).is_whole
    restored = Store(server.url.replace("/postgres", "/restored"), clock)
    with reading(restored.engine) as connection:
        assert tokens.find_token(connection, secret, clock()) is not None
        assert sessions.find_session(connection, found.secret, rules, clock()) is None
    people.add_person(restored, "Otto", Role.OPERATOR)  # numbers go on behind those that were copied
    with reading(restored.engine) as connection:
        assert len(users.list_users(connection)) == 5
    assert verify_store(restored).is_whole
    for each in (store, restored):
        each.close()
