"""People by REST: who may call which route, log-in, names, what ends a session, and one user less."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.helpers import people
from tests.helpers.patience import PATIENCE_S
from tests.helpers.service import TOKEN, end_streams_early, noise_png

from georgia.errors import InputError
from georgia.monitor.people import tokens, users
from georgia.monitor.people.roles import MEANINGS, Meaning, Right, Role, may
from georgia.monitor.verify import verify_store
from georgia.web.access import ROUTES, Access
from georgia.web.app import create_app
from georgia.web.config import ServeConfig

ONE = {"frame_id": 1, "batch_id": 1, "alarm_id": 1, "entry_id": 1, "user_id": 1, "position": 1}
# What a role may do, as docs/people.md says it; ROUTES says which route needs which of them.
TABLE: Mapping[Right, tuple[Role, ...]] = {
    Right.OPEN: tuple(Role),
    Right.SELF: tuple(Role),
    Right.READ: tuple(Role),
    Right.OPERATE: (Role.OPERATOR, Role.REVIEWER),
    Right.DECIDE: (Role.REVIEWER,),
    Right.SIGN: (Role.OPERATOR, Role.REVIEWER),
    Right.PROMOTE: (Role.REVIEWER,),
    Right.PEOPLE: (Role.ADMINISTRATOR,),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    people.hash_quickly(monkeypatch)
    end_streams_early(monkeypatch)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """A service with users of every role, and its application."""
    with people.serving(tmp_path) as (service, app):
        yield SimpleNamespace(service=service, app=app, store=service.store)


def routes_of(app: Any) -> set[tuple[str, str]]:
    """Return every route of an application that is a program's own, by method and path."""
    found: set[tuple[str, str]] = set()
    inner = app._app
    for route in inner.routes:
        for each in getattr(route, "routes", None) or [route]:
            if isinstance(each, APIRoute):
                found |= {(method, each.path) for method in each.methods}
    schema = inner.openapi()["paths"]
    found |= {(method.upper(), path) for path, operations in schema.items() for method in operations}
    return found


def call(client: Any, method: str, path: str, **values: Any) -> Any:
    url = path.format(**ONE)
    if path == "/api/predict":
        return client.post(url, files={"file": ("a.png", noise_png())})
    if "/windows/" in path:
        values["params"] = {"check": 1}
    return client.request(method, url, json={} if method == "POST" else None, **values)


# Who may do what


def test_every_route_stands_in_the_table(served: Any) -> None:
    assert routes_of(served.app) == set(ROUTES)
    # One that somebody adds and gives no row is found here, whether or not it is in the schema.
    for is_shown in (True, False):
        path = f"/api/new/{is_shown}"
        served.app._app.get(path, include_in_schema=is_shown)(lambda: {})
        assert routes_of(served.app) - set(ROUTES) >= {("GET", path)}
    assert {(role, right) for right, roles in TABLE.items() for role in roles} == {
        (role, right) for role, right in itertools.product(Role, Right) if may(role, right)
    }


@pytest.mark.slow
def test_every_cell_of_the_table_through_http(served: Any) -> None:
    """Routes × roles: 403 exactly where the role lacks the right, 401 for whoever has not logged in."""
    wrong = []
    # Logging out is last: it ends the session.
    routes = sorted(ROUTES, key=lambda route: (route[1] == "/api/session/end", route))
    clients = {role: people.visit(served.app, role) for role in Role}
    for (method, path), role in itertools.product(routes, Role):
        status = call(clients[role], method, path).status_code
        is_denied = status in (401, 403)
        if is_denied is not (role not in TABLE[ROUTES[method, path]]) or status >= 500:
            wrong.append((method, path, str(role), status))
    nobody = people.visit(served.app)
    for method, path in routes:
        status = call(nobody, method, path).status_code
        if (status == 401) is (ROUTES[method, path] == Right.OPEN):
            wrong.append((method, path, "nobody", status))
    assert wrong == []
    denied = {
        event.detail["what"]
        for event in served.store.audit_log(limit=500, action=("access denied",))
        if event.who == people.NAMES[Role.VIEWER]
    }
    n_closed = sum(Role.VIEWER not in TABLE[right] for right in ROUTES.values())
    assert len(denied) == n_closed, "a denied attempt is not recorded"


@pytest.mark.slow
def test_every_meaning_of_a_signature_through_http(served: Any) -> None:
    served.store.end_batch(1, "t")
    for role, meaning in itertools.product(Role, Meaning):
        client = people.visit(served.app, role)
        body = {"meaning": meaning, "password": people.PASSWORD, "note": "a reason"}
        status = client.post("/api/batches/1/signatures", json=body).status_code
        assert status == (201 if meaning in MEANINGS[role] else 403), (role, meaning)
    found = people.visit(served.app, Role.VIEWER).get("/api/batches/1/signatures").json()
    assert len(found["signatures"]) == 6
    assert found["decision"]["meaning"] == "rejection"
    assert verify_store(served.store).is_whole


@pytest.mark.slow
def test_tokens_have_the_rights_of_their_role(served: Any) -> None:
    wrong = []
    for role in tokens.CLIENT_ROLES:
        secret, _ = served.store.write(
            lambda change, role=role: tokens.add_token(change, f"T {role}", role, "t")
        )
        client = people.visit(served.app)
        client.headers["Authorization"] = f"Bearer {secret}"
        for (method, path), right in ROUTES.items():
            is_denied = call(client, method, path).status_code in (401, 403)
            may_not = role not in TABLE[right] or right == Right.SELF
            # It may ask for a signature, and has no password to give.
            if right != Right.SIGN and right != Right.OPEN and is_denied is not may_not:
                wrong.append((method, path, str(role)))
        secret_of = client.get("/api/session").json()
        assert (secret_of["user"], secret_of["meanings"]) == (f"T {role}", [])
        served.store.write(lambda change, role=role: tokens.revoke_token(change, f"T {role}", "t"))
        assert client.get("/api/status").status_code == 401
    assert wrong == []


def test_route_in_no_row_is_closed(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("georgia.web.access.ROUTES", {})
    client = people.visit(served.app)
    assert client.get("/api/status").status_code == 403


# Without users


@pytest.mark.slow
def test_without_users_token_holds_and_nobody_logs_in(tmp_path: Path) -> None:
    with people.serving(tmp_path, is_on=False) as (service, app):
        client = people.visit(app)
        assert client.get("/api/status").status_code == 200
        assert client.get("/api/session").json()["people"] is False
        assert people.log_in(client, "Ada").status_code == 409
        event = {"who": "Ann", "name": "seeding"}
        path, headers = "/api/batches/1/process/events", {"Authorization": f"Bearer {TOKEN}"}
        assert client.post(path, json=event).status_code == 401
        assert client.post(path, json=event, headers=headers).status_code == 200
        assert client.post(path, json={"name": "seeding"}, headers=headers).status_code == 422
        body = {"meaning": "review", "password": "x"}
        assert client.post("/api/batches/1/signatures", json=body, headers=headers).status_code == 409
        # The first user changes that while the service runs.
        people.add_people(service.store)
        service.access._asked_at = -1e9
        assert client.post(path, json=event, headers=headers).status_code == 401
        assert client.get("/api/status").status_code == 401
        assert client.get("/").status_code == client.get("/api/health").status_code == 200


# Names


def test_own_name_is_written_and_no_other(served: Any) -> None:
    client = people.visit(served.app, Role.OPERATOR)
    path, name = "/api/batches/1/process/events", people.NAMES[Role.OPERATOR]
    for who in ({}, {"who": ""}, {"who": f" {name} "}):
        assert client.post(path, json={**who, "name": "seeding"}).status_code == 200
    other = client.post(path, json={"who": people.NAMES[Role.REVIEWER], "name": "seeding"})
    assert other.status_code == 403
    assert f"logged in as '{name}'" in other.json()["error"]["message"]
    event = served.store.audit_log(limit=1)[0]
    assert (event.who, event.action, event.detail["name"]) == (name, "access denied", "Reviewer One")
    found = client.get("/api/batches/1/process").json()["events"]
    assert {entry["who"] for entry in found} == {name}


@pytest.mark.slow
def test_client_stands_beside_the_name_it_gives(served: Any) -> None:
    secret, _ = served.store.write(lambda change: tokens.add_token(change, "MES", Role.OPERATOR, "t"))
    client = people.visit(served.app)
    client.headers["Authorization"] = f"Bearer {secret}"
    for who in ({}, {"who": "A. Miller"}, {"who": people.NAMES[Role.REVIEWER]}):
        body = {**who, "name": "dosing"}
        assert client.post("/api/batches/1/process/events", json=body).status_code == 200
    found = client.get("/api/batches/1/process").json()["events"]
    assert {entry["who"] for entry in found} == {
        "MES",
        "A. Miller (client MES)",
        "Reviewer One (client MES)",
    }


# Log-in


def test_log_in_and_out_by_cookie(served: Any) -> None:
    client = people.visit(served.app)
    response = people.log_in(client, "reviewer ONE")
    assert response.json()["user"] == "Reviewer One"
    cookies = response.headers.get_list("set-cookie")
    assert all("HttpOnly" in line and "SameSite=strict" in line for line in cookies)
    assert not any("Secure" in line for line in cookies)
    assert client.get("/api/status").status_code == 200
    first = dict(client.cookies)
    again = people.log_in(client, "Reviewer One")
    assert again.status_code == 200
    assert client.cookies[served.service.access.cookie] != first[served.service.access.cookie]
    old = people.visit(served.app)
    old.cookies.update(first)
    assert old.get("/api/status").status_code == 401
    assert client.post("/api/session/end").json() == {"ended": True}
    assert client.get("/api/status").status_code == 401


@pytest.mark.slow
def test_cookie_is_secure_behind_tls(tmp_path: Path) -> None:
    with people.serving(tmp_path, allowed_hosts=("plant.example",), trusted_proxies=("10.0.0.1",)) as (
        _,
        app,
    ):
        for headers in (
            {"Origin": "https://plant.example"},
            {"Origin": "https://plant.example", "X-Forwarded-Proto": "https"},
        ):
            client = people.TestClient(app, base_url="http://plant.example")
            body = {"name": "Viewer One", "password": people.PASSWORD}
            response = client.post("/api/session", json=body, headers=headers)
            assert all("Secure" in line for line in response.headers.get_list("set-cookie"))


def test_wrong_log_ins_have_one_message(served: Any) -> None:
    client = people.visit(served.app)
    served.store.write(lambda change: users.disable_user(change, "Viewer One", "t"))
    given = [("Viewer One", people.PASSWORD), ("Reviewer One", "wrong"), ("nobody", "wrong"), ("", "")]
    given += [("Operator One", "x" * 2000), ("Operator One", "y")] * 3 + [("Operator One", people.PASSWORD)]
    responses = [people.log_in(client, *each) for each in given]
    assert {response.status_code for response in responses} == {401}
    assert len({response.text for response in responses}) == 1
    assert people.log_in(client, "Reviewer One", "z" * 2**20).status_code == 413


@pytest.mark.slow
def test_unknown_user_costs_a_hash_as_well(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from argon2 import PasswordHasher

    verified, verify = [], PasswordHasher.verify
    monkeypatch.setattr(
        PasswordHasher,
        "verify",
        lambda self, hashed, given: verified.append(hashed) or verify(self, hashed, given),
    )
    client = people.visit(served.app)
    for name in ("nobody", "Reviewer One"):
        people.log_in(client, name, "wrong")
    assert len(verified) == 2


@pytest.mark.slow
def test_log_ins_are_limited_by_address(tmp_path: Path) -> None:
    with people.serving(tmp_path, logins_per_minute=3) as (_, app):
        client = people.visit(app)
        responses = [people.log_in(client, f"n{number}", "x") for number in range(5)]
        assert [response.status_code for response in responses] == [401, 401, 401, 429, 429]


@pytest.mark.slow
def test_one_time_password_is_replaced_first(served: Any) -> None:
    one_time, own = "one-time password 1", "my own new password"
    served.store.write(lambda change: users.reset_password(change, "Operator One", one_time, "t"))
    client = people.visit(served.app)
    assert people.log_in(client, "Operator One", one_time).json()["needs_password"] is True
    assert client.get("/api/status").status_code == 403
    path = "/api/session/password"
    assert client.post(path, json={"password": "wrong", "new": own}).status_code == 403
    assert client.post(path, json={"password": one_time, "new": one_time}).status_code == 422
    assert client.post(path, json={"password": one_time, "new": "short"}).status_code == 422
    changed = client.post(path, json={"password": one_time, "new": own})
    assert (changed.status_code, changed.json()["needs_password"]) == (200, False)
    assert client.get("/api/status").status_code == 200
    assert people.log_in(people.visit(served.app), "Operator One", one_time).status_code == 401


@pytest.mark.slow
def test_two_log_in_at_once(served: Any) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(people.visit(served.app, Role.VIEWER).get("/api/status").status_code)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert codes == [200] * 4


# Cross-site requests


def test_change_from_elsewhere_is_rejected(served: Any) -> None:
    client = people.visit(served.app, Role.OPERATOR)
    path, body = "/api/batches/1/process/events", {"name": "seeding"}
    assert client.post(path, json=body, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post(path, json=body, headers={"Origin": "null"}).status_code == 403
    del client.headers["Origin"]
    assert client.post(path, json=body).status_code == 403
    assert client.post(path, json=body, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post(path, json=body, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


# What ends a session


def test_session_ends_by_itself(tmp_path: Path) -> None:
    with people.serving(tmp_path) as (service, app):
        clock = people.Clock()
        service.access._now = service.store._clock = clock
        client = people.visit(app, Role.OPERATOR)
        clock.at_s += 14 * 60
        assert client.post("/api/session/use").status_code == 200
        clock.at_s += 14 * 60
        # What a page asks by itself is no sign that somebody is there.
        assert client.get("/api/status").status_code == 200
        clock.at_s += 2 * 60
        response = client.get("/api/status")
        assert response.status_code == 401
        assert "session has ended" in response.json()["error"]["message"]
        assert client.get("/api/session").json()["user"] is None


@pytest.mark.slow
def test_clock_set_back_prolongs_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with people.serving(tmp_path) as (service, app):
        clock, since = people.Clock(), time.monotonic
        service.access._now = service.store._clock = clock
        client = people.visit(app, Role.VIEWER)
        assert client.get("/api/status").status_code == 200
        monkeypatch.setattr("georgia.web.access.time.monotonic", lambda: since() + 16 * 60)
        clock.at_s -= 60
        assert client.get("/api/status").status_code == 401
        monkeypatch.undo()
        assert client.get("/api/status").status_code == 401


class Restarts:
    """A service that begins anew on its store, under clocks that a test sets: wall and uptime."""

    def __init__(self, service: Any, monkeypatch: pytest.MonkeyPatch, slept_s: float) -> None:
        self.service, self.clock, self.since, self.slept_s = service, people.Clock(), time.monotonic, slept_s
        monkeypatch.setattr(
            "georgia.monitor.people.failure_age.time.monotonic", lambda: self.since() + self.slept_s
        )
        service.store._clock = self.clock
        self.begin_anew()

    def begin_anew(self) -> None:
        self.service.access = Access(self.service.store, self.service.config, self.clock)
        self.client = people.visit(create_app(self.service))

    def is_locked(self) -> bool:
        return people.log_in(self.client, "Viewer One").status_code == 401


@pytest.mark.slow
@pytest.mark.parametrize("jump_s", [-86_400.0, -3600.0, -600.0, 600.0, 3600.0, 86_400.0])
def test_clock_that_is_set_neither_unlocks_nor_locks_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    with people.serving(tmp_path) as (service, _):
        run = Restarts(service, monkeypatch, 0.0)
        for _ in range(5):
            assert people.log_in(run.client, "Viewer One", "wrong").status_code == 401

        run.clock.at_s += jump_s
        assert run.is_locked()
        run.begin_anew()  # under the clock that was set
        assert run.is_locked()
        run.slept_s += 14 * 60
        run.clock.at_s += 14 * 60
        assert run.is_locked()
        run.begin_anew()
        assert run.is_locked()
        run.slept_s += 2 * 60
        assert not run.is_locked()


@pytest.mark.slow
@pytest.mark.parametrize("jump_s", [-3600.0, 60.0, 86_400.0])
def test_restart_of_the_machine_unlocks_nobody_and_locks_out_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """What lay within a lock-out before the machine went down counts from its start on, and no more."""
    with people.serving(tmp_path) as (service, _):
        run = Restarts(service, monkeypatch, 10_000.0)
        for _ in range(4):
            people.log_in(run.client, "Operator One", "wrong")
        run.slept_s += 3600
        run.clock.at_s += 3600
        for _ in range(5):
            people.log_in(run.client, "Viewer One", "wrong")
        people.log_in(run.client, "Operator One", "wrong")

        run.slept_s = 5.0 - run.since()
        run.clock.at_s += jump_s
        monkeypatch.setattr("georgia.monitor.people.failure_age.BOOT", "another run")
        run.begin_anew()
        assert run.is_locked()
        assert people.log_in(run.client, "Operator One").status_code == 200, (
            "four of the five are an hour old"
        )
        run.slept_s += 14 * 60
        run.begin_anew()
        assert run.is_locked()
        run.slept_s += 2 * 60
        assert not run.is_locked()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["disable", "role", "reset"])
def test_change_of_user_ends_session_at_once(served: Any, change: str) -> None:
    client = people.visit(served.app, Role.OPERATOR)
    name = people.NAMES[Role.OPERATOR]
    work = {
        "disable": lambda c: users.disable_user(c, name, "t"),
        "role": lambda c: users.set_role(c, name, Role.VIEWER, "t"),
        "reset": lambda c: users.reset_password(c, name, "another one-time 1", "t"),
    }
    assert client.get("/api/status").status_code == 200
    served.store.write(work[change])
    assert client.get("/api/status").status_code == 401
    assert client.post("/api/alarms/1/acknowledge", json={}).status_code == 401


@pytest.mark.slow
def test_stream_ends_with_its_session(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from starlette.datastructures import Headers

    client = people.visit(served.app, Role.VIEWER)
    access = served.service.access
    monkeypatch.setattr("georgia.web.access._ASK_AGAIN_S", -1.0)
    headers = Headers({"cookie": f"{access.cookie}={client.cookies[access.cookie]}"})

    async def listen() -> list[str]:
        async def events() -> Any:
            yield "first"
            served.store.write(lambda change: users.disable_user(change, people.NAMES[Role.VIEWER], "t"))
            yield "second"

        return [text async for text in access.while_known(headers, events())]

    assert asyncio.run(listen()) == ["first", "event: session\ndata: {}\n\n"]


# The store is away


@pytest.mark.slow
def test_store_away_lets_known_people_read_and_nobody_in(served: Any, tmp_path: Path) -> None:
    client, other = people.visit(served.app, Role.OPERATOR), people.visit(served.app)
    assert client.get("/api/status").status_code == 200
    file = next(tmp_path.rglob("m.db"))
    kept = file.rename(tmp_path / "kept.db")
    assert client.get("/api/status").json()["state"] == "store away"
    assert client.post("/api/alarms/1/acknowledge", json={}).status_code == 503
    assert people.log_in(other, "Operator One").status_code == 503
    assert other.get("/api/status").status_code == 401
    other.cookies[served.service.access.cookie] = "made up"
    assert other.get("/api/status").status_code == 503
    kept.rename(file)
    assert client.get("/api/status").status_code == 200
    assert other.get("/api/status").status_code == 401


# Signatures


def test_signature_needs_the_password_anew(served: Any) -> None:
    client = people.visit(served.app, Role.REVIEWER)
    path = "/api/batches/1/signatures"
    running = client.post(path, json={"meaning": "release", "password": people.PASSWORD})
    assert (running.status_code, "has ended is needed" in running.text) == (409, True)
    served.store.end_batch(1, "t")
    wrong = client.post(path, json={"meaning": "release", "password": "wrong"})
    assert wrong.status_code == 403
    assert served.store.audit_log(limit=1)[0].action == "signature denied"
    signed = client.post(path, json={"meaning": "release", "password": people.PASSWORD, "note": "as planned"})
    assert signed.status_code == 201
    decision = signed.json()["decision"]
    assert (decision["who"], decision["meaning"], decision["n_later"]) == ("Reviewer One", "release", 0)
    client.post("/api/batches/1/process/events", json={"name": "sampling"})
    assert client.get(path).json()["decision"]["n_later"] == 1
    assert verify_store(served.store).is_whole


@pytest.mark.slow
def test_wrong_passwords_of_a_signature_end_the_session(served: Any) -> None:
    served.store.end_batch(1, "t")
    client = people.visit(served.app, Role.REVIEWER)
    body = {"meaning": "release", "password": "wrong"}
    codes = [client.post("/api/batches/1/signatures", json=body).status_code for _ in range(6)]
    assert codes == [403] * 5 + [401]


SIGNED = {
    "acknowledge": ("/api/alarms/1/acknowledge", {"note": "seen"}, "acknowledgement of an alarm"),
    "shelve": ("/api/alarms/1/shelve", {"minutes": 5, "reason": "known"}, "shelving of an alarm"),
    "close": ("/api/alarms/1/close", {"reason": "over"}, "closing of an alarm"),
    "limits": ("/api/limits", {"limit": 0.1, "reason": "as tested"}, "limits of the probe"),
    "override": (
        "/api/commissioning/override",
        {"reason": "another camera"},
        "going on against a commissioning",
    ),
}


def stand_in_monitor(store: Any) -> tuple[Any, list[Any]]:
    """Return what routes call of a monitor, and what it was told of limits; alarms are the store's."""
    told: list[Any] = []
    return SimpleNamespace(
        acknowledge=store.acknowledge_alarm,
        shelve_alarm=store.shelve_alarm,
        close_alarm=store.close_alarm,
        change_limits=lambda who, values, *_: told.append((who, values)),
        confirm_limits=lambda *values: told.append(values),
        override_commissioning=lambda *values: told.append(values),
    ), told


@pytest.mark.slow
def test_actions_of_the_setting_are_signed(tmp_path: Path) -> None:
    with people.serving(tmp_path, 30, sign=tuple(SIGNED)) as (service, app):
        service.monitor, told = stand_in_monitor(service.store)
        client, name = people.visit(app, Role.REVIEWER), people.NAMES[Role.REVIEWER]
        assert client.get("/api/session").json()["signed_actions"] == list(SIGNED)
        for path, body, meaning in SIGNED.values():
            newest = service.store.audit_log(limit=1)[0].seq
            missing = client.post(path, json=body)
            assert (missing.status_code, "password is needed once more" in missing.text) == (403, True)
            assert client.post(path, json={**body, "password": "wrong"}).status_code == 403
            events = service.store.audit_log(limit=10)
            denied = [event.action for event in events if event.seq > newest]
            assert denied == ["signature denied"], "nothing was done"
            done = client.post(path, json={**body, "password": people.PASSWORD})
            assert done.status_code in (200, 202, 409), done.text
            signed = service.store.audit_log(limit=1, action=("action signed",))[0]
            assert (signed.who, signed.detail["meaning"]) == (name, meaning)
            assert signed.detail["method"] == "password"
            assert body.items() <= signed.detail["content"].items()
            assert people.PASSWORD not in str(service.store.audit_log(limit=50))
            # Wrong ones would end the session after the fifth.
            service.store.write(lambda change: users.end_lockout(change, signed_user(change, name), "t"))
        # An alarm that is active cannot be closed: signed, and not done.
        failed = service.store.audit_log(limit=5, action=("signed action failed",))
        assert [event.detail["what"] for event in failed] == ["POST /api/alarms/1/close"]
        assert told == [(name, {"limit": 0.1}), (name, "another camera")]
        assert service.store.alarm(1).acknowledged_by == name
        assert verify_store(service.store).is_whole
        _check_others_cannot_sign(service, app)


def signed_user(change: Any, name: str) -> users.User:
    return users.find_user(change.connection, name)


def _check_others_cannot_sign(service: Any, app: Any) -> None:
    """A program signs nothing, and whoever lacks the right is rejected before a password is asked for."""
    secret, _ = service.store.write(lambda change: tokens.add_token(change, "MES", Role.OPERATOR, "t"))
    program = people.visit(app)
    program.headers["Authorization"] = f"Bearer {secret}"
    path, body, _ = SIGNED["acknowledge"]
    response = program.post(path, json={**body, "who": "Ann"})
    assert (response.status_code, "a program signs nothing" in response.text) == (403, True)
    operator = people.visit(app, Role.OPERATOR)
    response = operator.post(SIGNED["limits"][0], json={**SIGNED["limits"][1], "password": people.PASSWORD})
    assert (response.status_code, "needs the role reviewer" in response.text) == (403, True)


@pytest.mark.slow
def test_actions_need_people_where_they_are_to_be_signed(tmp_path: Path) -> None:
    with people.serving(tmp_path, 30, is_on=False, sign=("acknowledge",)) as (service, app):
        client = people.visit(app)
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        response = client.post("/api/alarms/1/acknowledge", json={"who": "Ann"})
        assert (response.status_code, "no user who could give one" in response.text) == (409, True)
        assert service.store.alarm(1).acknowledged_by is None
        assert client.post("/api/alarms/1/shelve", json={"who": "A", "minutes": 5, "reason": "r"}).is_success
    with pytest.raises(InputError, match="acknowledge, shelve, close, limits, override"):
        ServeConfig(sign=("everything",))


@pytest.mark.slow
def test_administrator_unlocks(served: Any) -> None:
    thief = people.visit(served.app)
    for _ in range(6):
        people.log_in(thief, "Viewer One", "wrong")
    client = people.visit(served.app, Role.ADMINISTRATOR)
    found = {user["name"]: user for user in client.get("/api/users").json()["users"]}
    assert found["Viewer One"]["n_failures"] == 5
    assert not any("hash" in key for user in found.values() for key in user)
    assert people.log_in(thief, "Viewer One").status_code == 401
    assert client.post(f"/api/users/{found['Viewer One']['id']}/unlock").status_code == 200
    assert people.log_in(thief, "Viewer One").status_code == 200
    assert client.post("/api/users/99/unlock").status_code == 404


@pytest.mark.slow
def test_logged_in_people_have_limits_of_their_own(tmp_path: Path) -> None:
    with people.serving(tmp_path, changes_per_minute=2) as (_, app):
        client, other = people.visit(app, Role.OPERATOR), people.visit(app)
        assert client.get("/api/status").status_code == 200
        path = "/api/alarms/1/acknowledge"
        assert [other.post(path, json={}).status_code for _ in range(3)] == [401, 401, 429]
        assert client.post(path, json={}).status_code == 404
