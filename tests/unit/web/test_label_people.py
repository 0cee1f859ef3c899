"""The labelling page and people of an identity provider: they log in, and promote by a new log-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from tests.helpers import label_page as helpers
from tests.helpers import people
from tests.helpers.oidc import NOW, Provider, providing

from georgia.errors import InputError
from georgia.monitor import open_store
from georgia.monitor.people.roles import Role
from georgia.monitor.people.users import disable_user
from georgia.monitor.verify import verify_store
from georgia.web.config import ServeConfig
from georgia.web.label_app import create_label_app, let_log_in, make_label_config
from georgia.web.label_training import Trainer

pytest.importorskip("joserfc")
REDIRECT = f"{people.LOCAL}/login/oidc/callback"
USE, BACK = "/api/label/training/use", "/api/label/training/back"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as server:
        server.claims = {"auth_time": NOW, "groups": "plant-qa"}
        yield server


def configure(provider: Provider, redirect: str = REDIRECT) -> ServeConfig:
    service = ServeConfig(
        oidc_issuer=provider.issuer,
        oidc_client="georgia",
        oidc_redirect="https://plant.example/login/oidc/callback",
        oidc_roles="plant-qa=reviewer,plant-ops=operator",
        session_idle_min=7,
    )
    return let_log_in(make_label_config(token=helpers.TOKEN), service, redirect)


@pytest.fixture
def page(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield the application, the store, and what its trainer was asked for."""
    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    helpers.write_crops(tmp_path / "crops", 2, 32)
    with (
        closing(open_store(str(tmp_path / "probe.db"))) as store,
        helpers.open_session(tmp_path / "crops", tmp_path / "labels.csv") as session,
    ):
        people.add_people(store)
        trainer, asked, ends = Trainer(session), list[Any](), list[Any]()

        def use(*given: Any) -> None:
            if given[0] == "model-009":
                raise InputError("Cannot use model 'model-009'", needs="model-001 is needed", got="another")
            asked.append(given)

        monkeypatch.setattr(trainer, "use", use)
        monkeypatch.setattr(trainer, "go_back", lambda *given: asked.append(given))
        app = create_label_app(configure(provider), session, trainer, "", store, ends)
        yield SimpleNamespace(app=app, store=store, asked=asked)
        for end in ends:
            end()


def enter(page: Any, provider: Provider) -> TestClient:
    """Return a browser that was at the provider and is logged in."""
    client = people.visit(page.app)
    client.follow_redirects = False
    response = bring_back(client, provider, client.get("/login/oidc").headers["location"])
    assert (response.status_code, response.headers["location"]) == (303, "../../")
    return client


def bring_back(client: TestClient, provider: Provider, place: str) -> Any:
    """Let the provider take a browser and send it back; return the page's response."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(place).query).items()}
    provider.challenge, provider.nonce = asked["code_challenge"], asked["nonce"]
    return client.get("/login/oidc/callback", params={"state": asked["state"], "code": "a-code"})


def test_model_is_used_once_its_user_has_logged_in_anew(page: Any, provider: Provider) -> None:
    client = enter(page, provider)
    assert client.get("/api/session").json()["reauthenticates"] is True
    response = client.post(USE, json={"model": "model-001", "reason": "new probe", "override": True})
    waits = response.json()
    assert (response.status_code, waits["what"]) == (202, "put a model in use")
    assert waits["content"] == {"model": "model-001", "reason": "new probe", "override": True}
    assert page.asked == [], "nothing begins before the new log-in"
    response = bring_back(client, provider, waits["place"])
    assert response.headers["location"] == "../../#outcome=signed&action=promote"
    assert page.asked == [("model-001", "Olga Meier", "new probe", True)]
    event = page.store.audit_log(limit=1)[0]
    assert (event.who, event.action) == ("Olga Meier", "action signed")
    told = {name: event.detail[name] for name in ("meaning", "method", "what", "role")}
    assert told == {
        **{"meaning": "promotion of a model", "method": "re-authenticated at the identity provider"},
        **{"what": f"POST {USE}", "role": "reviewer"},
    }
    waits = client.post(BACK, json={"reason": "worse"}).json()
    bring_back(client, provider, waits["place"])
    assert page.asked[1:] == [("Olga Meier", "worse")]
    assert verify_store(page.store).is_whole


def test_what_is_not_signed_is_not_begun(page: Any, provider: Provider) -> None:
    client = enter(page, provider)
    place = client.post(USE, json={"model": "model-001"}).json()["place"]
    provider.claims = {"auth_time": NOW, "groups": "plant-qa", "sub": "43", "name": "Another"}
    response = bring_back(client, provider, place)
    assert "outcome=other-user" in response.headers["location"]
    provider.claims = {"auth_time": NOW, "groups": "plant-qa"}
    client.post(USE, json={"model": "model-001"})
    assert client.post("/api/session/reauthentication/cancel", json={}).json() == {"ended": True}
    assert page.asked == []
    assert page.store.audit_log(limit=1)[0].action == "signature denied"
    place = client.post(USE, json={"model": "model-009"}).json()["place"]
    assert "outcome=failed" in bring_back(client, provider, place).headers["location"]
    failed = page.store.audit_log(limit=1)[0]
    assert (failed.action, "model-001 is needed" in failed.detail["reason"]) == ("signed action failed", True)
    place = client.post(USE, json={"model": "model-001"}).json()["place"]
    page.store.write(lambda change: disable_user(change, "Olga Meier", "tests"))
    assert "outcome=logged-out" in bring_back(client, provider, place).headers["location"]
    assert page.asked == []


def test_operator_of_the_provider_promotes_nothing(page: Any, provider: Provider) -> None:
    provider.claims = {"groups": "plant-ops"}
    client = enter(page, provider)
    assert client.post(USE, json={"model": "model-001"}).status_code == 403
    assert page.asked == []


def test_user_with_a_password_uses_a_model_at_once(page: Any) -> None:
    client = people.visit(page.app, Role.REVIEWER)
    assert client.post(USE, json={"model": "model-001"}).json() == {"accepted": True}
    assert page.asked == [("model-001", people.NAMES[Role.REVIEWER], "", False)]


def test_rules_of_the_service_hold_on_the_page(provider: Provider) -> None:
    config = configure(provider)
    assert (config.session_idle_min, config.oidc_redirect) == (7, REDIRECT)
    assert (config.token, config.allowed_hosts) == (helpers.TOKEN, ())
    elsewhere = configure(provider, "https://plant.example/label/login/oidc/callback")
    assert elsewhere.allowed_hosts[0] == "plant.example"
    alone = configure(provider, "")
    assert (alone.oidc_issuer, alone.session_idle_min) == ("", 7)
    with pytest.raises(InputError, match="oidc_issuer in the section"):
        let_log_in(make_label_config(), ServeConfig(), REDIRECT)
