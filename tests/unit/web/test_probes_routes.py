"""The overview's routes over two probes: whose people log in, at one or at all; one whose record hangs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.helpers import people
from tests.helpers import service as helpers
from tests.helpers.patience import PATIENCE_S

from georgia.monitor.health import HealthState, ProbeHealth
from georgia.monitor.people.roles import Role
from georgia.process.moments.settings import MomentsConfig
from georgia.web import probe_site
from georgia.web.app import create_app
from georgia.web.probe_site import ProbeSite, describe_tile
from georgia.web.probes_app import ProbesApp, make_overview
from georgia.web.probes_metrics import ProbesMetrics

MANY = {"logins_per_minute": 10**6}


def make_site(name: str, service: Any) -> ProbeSite:
    health = ProbeHealth(HealthState.RUNNING, n_waiting=3)
    probe = SimpleNamespace(name=name, moments=MomentsConfig())
    runner: Any = SimpleNamespace(probe=probe, health=lambda: health, is_store_away=False)
    site = ProbeSite(runner, service.config, service.bundle, Path())
    site.take_store(service.store)
    site._tile = (probe_site.time.monotonic(), describe_tile(service.describe_status()))
    return site


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[dict[str, ProbeSite]]:
    made = {name: make_site(name, helpers.make_service(tmp_path / name, 25, **MANY)) for name in ("a", "b")}
    yield made
    for site in made.values():
        site.close()


def ask(sites: dict[str, ProbeSite]) -> TestClient:
    app = ProbesApp(sites, next(iter(sites.values()))._config)
    return TestClient(app, base_url="http://localhost")  # its life is not begun: no thread works


def test_tile_shows_fraction_alarm_and_backlog(sites: dict[str, ProbeSite]) -> None:
    tile = ask(sites).get("/api/probes").json()["probes"][0]
    assert (tile["name"], tile["path"], tile["alarm"], tile["backlog"]) == ("a", "probes/a/", True, 3)
    assert 0 < tile["low"] < tile["fraction"] < tile["high"]
    assert ask(sites).get("/probes/c/").status_code == 404
    assert ask(sites).get("/probes/a", follow_redirects=False).headers["location"] == "a/"
    assert ask(sites).post("/probes/a/api/limits", json={}).status_code == 503


def test_who_is_not_known_sees_only_whether_it_works(sites: dict[str, ProbeSite]) -> None:
    assert sites["a"].service is not None
    sites["a"].service.access._is_on = True  # people log in there
    closed, other = ask(sites).get("/api/probes").json()["probes"]
    assert (closed["state"], closed["fraction"], closed["alarm"], closed["health"]) == (
        *("log in", None, None),
        "running",
    )
    assert other["fraction"] is not None
    text = ask(sites).get("/metrics").text
    assert 'georgia_monitor_up{probe="a"} 1.0' in text
    assert 'georgia_fraction{bound="value",class="PG",probe="b"}' in text
    assert 'class="PG",probe="a"' not in text


def log_in(client: TestClient, name: str, password: str = people.PASSWORD) -> Any:
    return client.post("/api/session", json={"name": name, "password": password})


def add_people(sites: dict[str, ProbeSite]) -> None:
    """Ann operates one probe and reviews the other; Bob is known at one alone."""
    for site, role in zip(sites.values(), (Role.OPERATOR, Role.REVIEWER), strict=True):
        assert site.service is not None
        people.add_person(site.service.store, "Ada", Role.ADMINISTRATOR)
        people.add_person(site.service.store, "Ann", role)
        site.service.access._asked_at = -1e9
        site.app = create_app(site.service)
    service = sites["b"].service
    assert service is not None
    people.add_person(service.store, "Bob", Role.VIEWER)


def test_one_log_in_is_for_all_probes(sites: dict[str, ProbeSite], monkeypatch: pytest.MonkeyPatch) -> None:
    people.hash_quickly(monkeypatch)
    client = ask(sites)
    client.headers["Origin"] = "http://localhost"
    assert client.get("/api/session").json() == {"people": False, "probes": {"a": None, "b": None}}
    assert log_in(client, "Ann").status_code == 409
    add_people(sites)
    assert log_in(client, "Ann", "wrong").status_code == 401
    found = log_in(client, "Ann").json()["probes"]
    assert {name: (each["user"], each["role"]) for name, each in found.items()} == {
        "a": ("Ann", "operator"),
        "b": ("Ann", "reviewer"),
    }
    assert client.get("/api/session").json()["probes"] == found
    assert [tile["state"] for tile in client.get("/api/probes").json()["probes"]] != ["log in", "log in"]
    # Each probe has its own role: limits are changed by a reviewer alone.
    body = {"limit": 0.1, "reason": "r"}
    assert [client.post(f"/probes/{name}/api/limits", json=body).status_code for name in "ab"] == [403, 409]
    assert client.post("/api/session/end").json() == {"ended": True}
    assert [client.get(f"/probes/{name}/api/status").status_code for name in "ab"] == [401, 401]
    assert log_in(client, "Bob").json()["probes"] == {
        "a": None,
        "b": {"user": "Bob", "role": "viewer", "needs_password": False},
    }


def test_names_that_no_probe_has_lock_the_address_out(
    sites: dict[str, ProbeSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    people.hash_quickly(monkeypatch)
    add_people(sites)
    client = ask(sites)
    client.headers["Origin"] = "http://localhost"
    texts = {log_in(client, f"n {number}", "x").text for number in range(20)}
    assert len(texts) == 1, "one message for all"
    assert log_in(client, "Bob", "x").text in texts
    first, second = (site.service for site in sites.values())
    assert first is not None
    assert second is not None
    told = first.store.audit_log(limit=50, action=("locked out", "log-in failed"))
    assert [event.detail.get("locked") for event in told].count("address") <= 1
    # Ann is locked out where that was counted, and comes in where it was not.
    found = log_in(client, "Ann").json()["probes"]
    assert (found["a"], found["b"]["role"]) == (None, "reviewer")


def test_overview_has_no_route_that_nobody_thought_of(sites: dict[str, ProbeSite]) -> None:
    """Each of these asks by itself who may see what; a new one must be thought of, and stand here."""
    routes = make_overview(sites, ProbesMetrics(sites)).routes
    found = {(method, route.path) for route in routes for method in getattr(route, "methods", None) or ()}
    assert {(method, path) for method, path in found if method != "HEAD"} == {
        *(("GET", path) for path in ("/", "/openapi.json", "/api/probes", "/api/health", "/metrics")),
        *(("GET", "/api/session"), ("POST", "/api/session"), ("POST", "/api/session/end")),
        *(
            ("GET", "/probes/{name}"),
            ("GET", "/probes/{name}/{rest:path}"),
            ("POST", "/probes/{name}/{rest:path}"),
        ),
    }


def test_record_that_hangs_keeps_no_other_probe(
    sites: dict[str, ProbeSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_site, "_PATIENCE_S", 0.05)
    goes_on = threading.Event()
    assert sites["a"].service is not None
    monkeypatch.setattr(sites["a"].service.access, "is_on", lambda: goes_on.wait(PATIENCE_S))
    assert sites["a"]._tile is not None
    sites["a"]._tile = (sites["a"]._tile[0] - 60, sites["a"]._tile[1])
    response = ask(sites).get("/api/health")
    assert response.status_code == 503
    assert re.fullmatch(r"a: store: it has not responded for 6\d s", response.json()["reason"])
    monkeypatch.setattr("georgia.web.probes_people._PATIENCE_S", 0.05)
    assert ask(sites).get("/api/session").json()["probes"] == {"a": None, "b": None}
    hung, other = ask(sites).get("/api/probes").json()["probes"]
    assert (hung["fraction"], hung["alarm"]) == (None, None)
    assert other["fraction"] is not None
    goes_on.set()
