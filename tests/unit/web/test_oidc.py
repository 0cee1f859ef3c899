"""Log-in through a provider that the test starts itself: who is let in, and who signs by a new log-in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.helpers import people
from tests.helpers.monitor import wait_for
from tests.helpers.oidc import NOW, Provider, providing

from georgia.errors import InputError
from georgia.monitor.people.roles import Role
from georgia.monitor.people.users import disable_user
from georgia.monitor.verify import verify_store
from georgia.web import reauthentication
from georgia.web.app import create_app
from georgia.web.oidc import OidcProvider, read_roles

joserfc = pytest.importorskip("joserfc")
pytestmark = [pytest.mark.slow]
ROLES = "plant-qa=reviewer,plant-ops=operator"
SIGNATURES = "/api/batches/1/signatures"
REDIRECT = f"{people.LOCAL}/login/oidc/callback"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as server:
        yield server


@pytest.fixture
def served(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    settings = {"oidc_issuer": provider.issuer, "oidc_client": "georgia", "oidc_redirect": REDIRECT}
    with people.serving(tmp_path, oidc_roles=ROLES, **settings) as (service, app):
        yield service.store, app


def come_back(app: Any, provider: Provider, client: Any = None, **changes: str) -> tuple[Any, Any]:
    """Return a browser that went to the provider and back, and the last response."""
    client = client or people.visit(app)
    client.follow_redirects = False
    asked = go_to(provider, client.get("/login/oidc").headers["location"])
    assert "prompt" not in asked
    query = {"state": asked["state"], "code": "a-code", **changes}
    return client, client.get("/login/oidc/callback", params=query)


def go_to(provider: Provider, place: str) -> dict[str, str]:
    """Let the provider take a browser; return what it was asked for."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(place).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    provider.challenge, provider.nonce = asked["code_challenge"], asked["nonce"]
    return asked


def ask_to_sign(client: Any, provider: Provider, meaning: str = "responsibility", note: str = "") -> str:
    """Begin a signature; return the state that the provider's page was given."""
    response = client.post(f"{SIGNATURES}/reauthenticate", json={"meaning": meaning, "note": note})
    assert response.status_code == 200, response.text
    asked = go_to(provider, response.json()["place"])
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    return asked["state"]


def bring_back(client: Any, state: str, **query: str) -> Any:
    return client.get("/login/oidc/callback", params={"state": state, "code": "a-code", **query})


def test_person_of_provider_logs_in_with_role_of_claim(served: Any, provider: Provider) -> None:
    store, app = served
    client, response = come_back(app, provider)
    assert (response.status_code, response.headers["location"]) == (303, "../../")
    found = client.get("/api/session").json()
    assert (found["user"], found["role"]) == ("Olga Meier", "operator")
    assert (found["meanings"], found["reauthenticates"]) == (["responsibility"], True)
    assert client.post("/api/batches/1/process/events", json={"name": "seeding"}).status_code == 200
    body = {"meaning": "responsibility", "password": ""}
    assert client.post(SIGNATURES, json=body).status_code == 409
    assert people.log_in(people.visit(app), "Olga Meier", "").status_code == 401
    # The keys are replaced, and the role follows the claim.
    provider.rotate()
    provider.claims = {"groups": "plant-qa"}
    client, _ = come_back(app, provider)
    assert client.get("/api/session").json()["role"] == "reviewer"
    store.write(lambda change: disable_user(change, "Olga Meier", "t"))
    assert client.get("/api/status").status_code == 401
    _, response = come_back(app, provider)
    assert (response.status_code, "is disabled" in response.text) == (401, True)


def test_wrong_tokens_are_denied_and_recorded(served: Any, provider: Provider) -> None:
    store, app = served
    now = int(time.time())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"nonce": "another"}, "nonce"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["georgia", "another"]}, "another client"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"exp": now - 3600}, "expired"),
        ({"iat": now + 3600}, "future"),
        ({"groups": ["all"]}, "gives no role"),
        ({"name": "Reviewer One"}, "looks like 'Reviewer One'"),
        ({"name": "=cmd()"}, "begins and ends with"),
    ]
    for claims, fault in cases:
        provider.claims = claims
        client, response = come_back(app, provider)
        assert (response.status_code, fault in response.text) == (401, True), response.text
        assert client.get("/api/status").status_code == 401
        assert store.audit_log(limit=1)[0].action == "log-in failed"
    provider.claims = {}
    kept = provider.published
    provider.rotate()
    provider.published = kept  # signed with a key that the provider does not have
    _, response = come_back(app, provider)
    assert (response.status_code, "not signed by the provider" in response.text) == (401, True)


def test_log_in_that_nobody_began_is_denied(served: Any, provider: Provider) -> None:
    _, app = served
    _, response = come_back(app, provider, state="made-up")
    assert response.status_code == 401
    _, response = come_back(app, provider, code="wrong")
    assert response.status_code == 401
    client, response = come_back(app, provider)
    again = client.get("/login/oidc/callback", params={"state": "x", "code": "a-code"})
    assert (response.status_code, again.status_code) == (303, 401)


def test_without_settings_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people.hash_quickly(monkeypatch)
    with people.serving(tmp_path) as (service, app):
        assert people.visit(app).get("/login/oidc").status_code == 404
        with pytest.raises(InputError, match="oidc_roles"):
            OidcProvider(service.config)
    with pytest.raises(InputError, match="VALUE=ROLE"):
        read_roles("plant-qa=boss")


# Signatures by a new log-in


def now_at(provider: Provider, **claims: Any) -> None:
    """Let the provider's next token be of somebody who logs in now."""
    provider.claims = {"auth_time": NOW, "groups": "plant-qa", **claims}


def test_new_log_in_at_provider_signs(served: Any, provider: Provider) -> None:
    store, app = served
    store.end_batch(1, "t")
    now_at(provider)
    client, _ = come_back(app, provider)
    state = ask_to_sign(client, provider, "release", "as planned")
    response = bring_back(client, state)
    assert (response.status_code, response.headers["location"]) == (303, "../../#outcome=signed&batch=1")
    decision = client.get(SIGNATURES).json()["decision"]
    told = {name: decision[name] for name in ("who", "role", "meaning", "note", "method")}
    assert told == {
        **{"who": "Olga Meier", "role": "reviewer", "meaning": "release", "note": "as planned"},
        "method": "re-authenticated at the identity provider",
    }
    event = store.audit_log(limit=1)[0]
    assert (event.action, event.detail["provider"]) == ("batch signed", provider.issuer)
    assert event.detail["auth_time"] == provider.told["auth_time"]
    assert verify_store(store).is_whole
    # Once: neither the same way back nor another code of it signs again.
    client.cookies["georgia_oidc"] = state
    assert bring_back(client, state).status_code == 401
    assert len(client.get(SIGNATURES).json()["signatures"]) == 1


def test_signature_of_somebody_else_or_not_anew_is_rejected(served: Any, provider: Provider) -> None:
    store, app = served
    store.end_batch(1, "t")
    now_at(provider)
    client, _ = come_back(app, provider)
    now = int(time.time())
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"sub": "43", "name": "Another"}, "other-user", "another person came back than 'Olga Meier'"),
        ({"auth_time": now - 3600}, "not-anew", "asked for no new log-in"),
        ({"auth_time": now - 30}, "not-anew", "asked for no new log-in"),
        ({"auth_time": now + 3600}, "not-anew", "asked for no new log-in"),
        ({"auth_time": None}, "no-time", "has no auth_time"),
        ({"auth_time": True}, "no-time", "is no time"),
        ({"auth_time": "today"}, "no-time", "is no time"),
        ({"nonce": "another"}, "rejected", "nonce"),
        ({"groups": "all"}, "rejected", "gives no role"),
        ({"groups": "plant-ops"}, "other-role", "another role now"),
    ]
    for claims, outcome, reason in cases:
        now_at(provider, **claims)
        response = bring_back(client, ask_to_sign(client, provider, "release"))
        assert response.headers["location"] == f"../../#outcome={outcome}&batch=1", claims
        event = store.audit_log(limit=1)[0]
        assert (event.who, event.action) == ("Olga Meier", "signature denied")
        assert reason in event.detail["reason"]
        assert (event.detail["batch"], event.detail["meaning"]) == (1, "release")
    assert client.get(SIGNATURES).json()["signatures"] == []
    # Another one who came back is not logged in by that, nor added.
    assert client.get("/api/session").json()["user"] == "Olga Meier"
    names = [user["name"] for user in people.visit(app, Role.ADMINISTRATOR).get("/api/users").json()["users"]]
    assert "Another" not in names


def test_clock_of_provider_that_is_off_signs(served: Any, provider: Provider) -> None:
    """By its own clock the log-in was just now; ours is 50 s behind, within what tokens are allowed."""
    _, app = served
    now_at(provider)
    client, _ = come_back(app, provider)
    state = ask_to_sign(client, provider)
    at = int(time.time()) + 50
    now_at(provider, auth_time=at, iat=at)
    assert "outcome=signed" in bring_back(client, state).headers["location"]


def test_signature_that_is_cancelled_or_late_is_told(
    served: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, app = served
    store.end_batch(1, "t")
    now_at(provider)
    client, _ = come_back(app, provider)

    def find_reason(state: str, **query: str) -> tuple[str, str]:
        place = bring_back(client, state, **query).headers["location"]
        return place.partition("#")[2], store.audit_log(limit=1)[0].detail["reason"]

    place, reason = find_reason(ask_to_sign(client, provider, "review"), error="access_denied", code="")
    assert (place, "'access_denied'" in reason) == ("outcome=cancelled&batch=1", True)
    state = ask_to_sign(client, provider, "review")
    client.post("/api/batches/1/process/events", json={"name": "sampling"})
    place, reason = find_reason(state)
    assert (place, "was changed since" in reason) == ("outcome=rejected&batch=1", True)
    state = ask_to_sign(client, provider, "review")
    monkeypatch.setattr("georgia.web.oidc.SIGNING_PATIENCE_S", -1.0)
    assert find_reason(state)[0] == "outcome=too-late&batch=1"
    monkeypatch.undo()
    state = ask_to_sign(client, provider, "review")
    client.post("/api/session/end")
    place, reason = find_reason(state)
    assert (place, "has ended" in reason) == ("outcome=logged-out&batch=1", True)
    # A browser that did not begin it brings nothing back.
    now_at(provider)
    client, _ = come_back(app, provider)
    state = ask_to_sign(client, provider, "review")
    assert bring_back(people.visit(app), state).status_code == 401
    assert client.get(SIGNATURES).json()["signatures"] == []


def test_signature_is_not_begun_without_right_or_batch(served: Any, provider: Provider) -> None:
    store, app = served
    now_at(provider, groups="plant-ops")
    client, _ = come_back(app, provider)

    def begin(client: Any, meaning: str, number: int = 1, note: str = "") -> int:
        path = f"/api/batches/{number}/signatures/reauthenticate"
        return client.post(path, json={"meaning": meaning, "note": note}).status_code

    assert begin(client, "release") == 403
    assert store.audit_log(limit=1)[0].action == "access denied"
    assert begin(client, "responsibility", 99) == 404
    now_at(provider)
    client, _ = come_back(app, provider)
    assert begin(client, "release") == 409  # it runs
    store.end_batch(1, "t")
    assert begin(client, "rejection") == 409  # without a reason
    assert begin(people.visit(app, Role.REVIEWER), "release") == 409  # who has a password signs with it
    assert begin(people.visit(app, Role.VIEWER), "release") == 403


# Actions that are signed by a new log-in

ACKNOWLEDGE = "/api/alarms/1/acknowledge"


@pytest.fixture
def acting(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A service with an alarm, whose actions are signed."""
    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    settings = {"oidc_issuer": provider.issuer, "oidc_client": "georgia", "oidc_redirect": REDIRECT}
    settings |= {"sign": ("acknowledge", "shelve", "close", "limits", "override")}
    with people.serving(tmp_path, 30, oidc_roles=ROLES, **settings) as (service, app):
        yield service, app


def begin_action(client: Any, provider: Provider, path: str = ACKNOWLEDGE, **body: Any) -> str:
    """Ask for an action; return the state that the provider's page was given."""
    response = client.post(path, json=body)
    assert response.status_code == 202, response.text
    asked = go_to(provider, response.json()["place"])
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    return asked["state"]


def test_action_is_done_once_after_a_new_log_in(acting: Any, provider: Provider) -> None:
    service, app = acting
    store = service.store
    now_at(provider)
    client, _ = come_back(app, provider)
    response = client.post(ACKNOWLEDGE, json={"note": "seen"})
    shown = response.json()
    assert (response.status_code, shown["what"]) == (202, "acknowledge an alarm")
    assert shown["content"] == {"alarm": "EWMA over its limit", "batch": "B-1", "note": "seen"}
    assert store.alarm(1).acknowledged_by is None, "nothing is done before the log-in"
    state = go_to(provider, shown["place"])["state"]
    place = bring_back(client, state).headers["location"]
    assert place == "../../#outcome=signed&action=acknowledge"
    assert client.get("/api/session").json()["signed"] == {"action": "acknowledge"}
    assert people.visit(app, Role.REVIEWER).get("/api/session").json()["signed"] is None
    assert store.alarm(1).acknowledged_by == "Olga Meier"
    (signed,) = store.audit_log(action=("action signed",))
    assert (signed.who, signed.detail["method"]) == (
        "Olga Meier",
        "re-authenticated at the identity provider",
    )
    assert (signed.detail["provider"], signed.detail["auth_time"]) == (
        provider.issuer,
        provider.told["auth_time"],
    )
    assert (signed.detail["what"], signed.detail["content"]) == (f"POST {ACKNOWLEDGE}", {"note": "seen"})
    client.cookies["georgia_oidc"] = state
    assert bring_back(client, state).status_code == 401
    assert len(store.audit_log(action=("action signed",))) == 1
    assert verify_store(store).is_whole


def test_limits_are_changed_after_a_new_log_in(acting: Any, provider: Provider) -> None:
    from tests.unit.web.test_people_routes import stand_in_monitor

    service, app = acting
    service.monitor, told = stand_in_monitor(service.store)
    now_at(provider)
    client, _ = come_back(app, provider)
    state = begin_action(client, provider, "/api/limits", limit=0.1, reason="new recipe")
    assert told == []
    assert "outcome=signed&action=limits" in bring_back(client, state).headers["location"]
    assert told == [("Olga Meier", {"limit": 0.1})]


def test_action_of_somebody_else_or_not_anew_is_denied(acting: Any, provider: Provider) -> None:
    service, app = acting
    now_at(provider)
    client, _ = come_back(app, provider)
    now = int(time.time())
    for claims, outcome in (
        ({"sub": "43", "name": "Another"}, "other-user"),
        ({"auth_time": now - 3600}, "not-anew"),
        ({"auth_time": None}, "no-time"),
        ({"groups": "plant-ops"}, "other-role"),
        ({"nonce": "another"}, "rejected"),
    ):
        now_at(provider, **claims)
        place = bring_back(client, begin_action(client, provider)).headers["location"]
        assert place == f"../../#outcome={outcome}&action=acknowledge", claims
        event = service.store.audit_log(limit=1)[0]
        assert (event.who, event.action) == ("Olga Meier", "signature denied")
        assert (event.detail["action"], event.detail["what"]) == ("acknowledge", f"POST {ACKNOWLEDGE}")
    assert service.store.alarm(1).acknowledged_by is None


def test_action_that_is_given_up_expired_or_replaced_is_denied_and_recorded(
    acting: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, app = acting
    store = service.store
    now_at(provider)
    client, _ = come_back(app, provider)

    def find_reasons() -> list[str]:
        return [event.detail["reason"] for event in store.audit_log(action=("signature denied",))][::-1]

    state = begin_action(client, provider)
    assert client.post("/api/session/reauthentication/cancel").json() == {"ended": True}
    assert client.post("/api/session/reauthentication/cancel").json() == {"ended": False}
    assert bring_back(client, state).status_code == 401
    state = begin_action(client, provider)
    place = bring_back(client, state, error="access_denied", code="").headers["location"]
    assert place.endswith("#outcome=cancelled&action=acknowledge")
    first = begin_action(client, provider, note="first")
    second = begin_action(client, provider, note="second")
    other = people.visit(app)
    other.cookies["georgia_oidc"] = first
    assert bring_back(other, first).status_code == 401
    assert "outcome=signed" in bring_back(client, second).headers["location"]
    assert store.audit_log(limit=1, action=("action signed",))[0].detail["content"] == {"note": "second"}
    # Nobody comes back in time: it is told by itself, and once.
    monkeypatch.setattr(reauthentication, "SIGNING_PATIENCE_S", 0.0)
    monkeypatch.setattr(reauthentication, "_GRACE_S", 0.0)
    state = begin_action(client, provider)
    wait_for(lambda: len(find_reasons()) == 4)
    monkeypatch.setattr("georgia.web.oidc.SIGNING_PATIENCE_S", -1.0)
    assert "outcome=too-late" in bring_back(client, state).headers["location"]
    told = ("cancelled on the page", "'access_denied'", "something else was begun", "nobody came back within")
    assert [text in reason for text, reason in zip(told, find_reasons(), strict=True)] == [True] * 4
    assert len(store.audit_log(action=("action signed",))) == 1


def test_action_of_a_session_that_has_ended_is_denied(acting: Any, provider: Provider) -> None:
    service, app = acting
    now_at(provider)
    client, _ = come_back(app, provider)
    state = begin_action(client, provider)
    client.post("/api/session/end")
    assert "outcome=logged-out" in bring_back(client, state).headers["location"]
    client, _ = come_back(app, provider)
    state = begin_action(client, provider)
    assert bring_back(people.visit(app), state).status_code == 401, "another browser brings nothing back"
    service.store.write(lambda change: disable_user(change, "Olga Meier", "t"))
    assert "outcome=logged-out" in bring_back(client, state).headers["location"]
    assert service.store.alarm(1).acknowledged_by is None


def test_action_that_fails_after_the_log_in_is_recorded(acting: Any, provider: Provider) -> None:
    service, app = acting
    now_at(provider)
    client, _ = come_back(app, provider)
    state = begin_action(client, provider, "/api/alarms/1/close", reason="done")
    assert "outcome=failed&action=close" in bring_back(client, state).headers["location"]
    (failed,) = service.store.audit_log(action=("signed action failed",))
    assert failed.detail["what"] == "POST /api/alarms/1/close"
    assert service.store.audit_log(action=("signature denied",)) == []


def test_action_is_not_begun_without_right_or_alarm(acting: Any, provider: Provider) -> None:
    service, app = acting
    now_at(provider, groups="plant-ops")
    client, _ = come_back(app, provider)
    assert client.post("/api/alarms/99/acknowledge", json={}).status_code == 404
    assert client.post("/api/limits", json={"limit": 0.1}).status_code == 403
    assert client.post("/api/limits/confirm", json={}).status_code == 403
    assert service.anew._waiting == {}
    # With a password of the store it is as before.
    operator = people.visit(app, Role.OPERATOR)
    assert operator.post(ACKNOWLEDGE, json={}).status_code == 403
    assert operator.post(ACKNOWLEDGE, json={"password": people.PASSWORD}).status_code == 200


def test_way_back_of_several_probes_finds_the_probe(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from georgia.web.probes_app import ProbesApp

    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    settings = {"oidc_issuer": provider.issuer, "oidc_client": "georgia", "oidc_redirect": REDIRECT}
    with people.serving(tmp_path, oidc_roles=ROLES, **settings) as (service, _):
        service.probe = "r-1"
        site = SimpleNamespace(app=create_app(service), close=lambda: None)
        app = ProbesApp({"r-1": site, "r-2": SimpleNamespace(app=None, close=lambda: None)}, service.config)
        client = people.visit(app)
        client.follow_redirects = False
        asked = go_to(provider, client.get("/probes/r-1/login/oidc").headers["location"])
        assert asked["state"].startswith("r-1.")
        response = bring_back(client, asked["state"])
        assert (response.status_code, response.headers["location"]) == (303, "../../probes/r-1/")
        assert client.get("/probes/r-1/api/session").json()["user"] == "Olga Meier"
        for state in ("r-2.x", "r-9.x", "x", ""):
            assert bring_back(client, state).status_code == 404
