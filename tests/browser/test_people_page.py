"""Logging in, signing and an expired session in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import people
from tests.helpers import service as helpers
from tests.helpers.oidc import NOW, Provider, providing
from tests.helpers.patience import PATIENCE_MS
from tests.helpers.ports import free_port

from georgia.monitor.people import users
from georgia.monitor.people.roles import Role

pytestmark = [pytest.mark.slow]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A service with users of every role on a port of its own."""
    people.hash_quickly(monkeypatch)
    with running_service(tmp_path, port=0, sign=("shelve", "limits")) as found:
        yield found


@contextmanager
def running_service(folder: Path, **settings: Any) -> Iterator[Any]:
    service = helpers.make_service(folder, **settings)
    people.add_people(service.store)
    with closing(service), helpers.serving(service.config, service.bundle, service.store) as url:
        yield SimpleNamespace(url=url, store=service.store, errors=[])


@pytest.fixture
def page(running: Any, browser: Any) -> Iterator[Any]:
    with closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: running.errors.append(str(error)))
        page.goto(running.url)
        yield page


@pytest.fixture
def provider() -> Iterator[Provider]:
    # Another site than the service's, so that cookies of one do not come along from the other.
    with providing("localhost") as server:
        yield server


@pytest.fixture
def identified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider, browser: Any
) -> Iterator[Any]:
    """A page of a service whose people log in at a provider."""
    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    port = free_port()
    settings = {"oidc_issuer": provider.issuer, "oidc_client": "georgia", "oidc_roles": "plant-qa=reviewer"}
    settings["oidc_redirect"] = f"http://127.0.0.1:{port}/login/oidc/callback"
    settings["sign"] = ("acknowledge",)
    with (
        running_service(tmp_path, port=port, **settings) as running,
        closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context,
    ):
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: running.errors.append(str(error)))
        page.goto(running.url)
        yield SimpleNamespace(page=page, store=running.store, errors=running.errors)


def log_in(page: Any, role: Role, password: str = people.PASSWORD) -> None:
    page.locator("#login input[name=name]").fill(people.NAMES[role])
    page.locator("#login input[name=password]").fill(password)
    page.keyboard.press("Enter")


def test_log_in_shows_probe_and_log_out_hides_it(page: Any, running: Any) -> None:
    expect(page.locator("#state .word")).to_have_text("log in")
    page.keyboard.press("Escape")
    expect(page.locator("#login[open]")).to_have_count(1)
    log_in(page, Role.OPERATOR, "wrong")
    expect(page.locator("#login-error")).to_contain_text("name or the password is wrong")
    log_in(page, Role.OPERATOR)
    expect(page.locator("#strip button")).to_have_count(24)
    expect(page.locator("#person-name")).to_have_text("Operator One, operator")
    expect(page.locator("#limits-form")).to_be_hidden()  # an operator changes no limits
    page.locator("#alarms button").first.click()
    expect(page.locator("#ask input[name=who]")).to_be_hidden()
    expect(page.locator("#ask-sign-row")).to_be_hidden()
    page.keyboard.press("Enter")
    page.locator("#ask-ok").click()
    expect(page.locator("#alarms")).to_contain_text("acknowledged by Operator One")
    assert running.store.alarm(1).acknowledged_by == "Operator One"
    page.locator("#alarms button").get_by_text("Shelve").click()
    page.locator("#ask textarea[name=note]").fill("known")
    page.locator("#ask-sign-row input").fill("wrong")
    page.locator("#ask-ok").click()
    expect(page.locator("#ask-error")).to_contain_text("password is wrong")
    expect(page.locator("#ask-sign-row input")).to_have_value("")
    page.locator("#ask-sign-row input").fill(people.PASSWORD)
    page.locator("#ask-ok").click()
    expect(page.locator("#alarms")).not_to_contain_text("acknowledged by")
    assert running.store.audit_log(limit=1, action=("action signed",))[0].who == "Operator One"
    page.locator("#log-out").click()
    expect(page.locator("#login-text")).to_contain_text("logged out")
    expect(page.locator("#state .word")).to_have_text("log in")
    # A request on its way at that moment, as of a redraw or a poll, is rejected too: no fault of the page.
    page.evaluate(
        """import(new URL("static/js/api.js", document.baseURI))
        .then(({ get }) => { get("api/frames?batch=1"); })"""
    )
    page.evaluate("fetch('api/session')")
    assert running.errors == []


def test_batch_is_released_with_the_password(page: Any, running: Any) -> None:
    running.store.end_batch(1, "tests")
    log_in(page, Role.REVIEWER)
    page.get_by_role("heading", name="Signatures").click()
    expect(page.locator("#sign-decision")).to_have_text("Not released.")
    page.locator("#sign-form select[name=meaning]").select_option("release")
    page.locator("#sign-form input[name=password]").fill("wrong")
    page.locator("#sign-form button").click()
    expect(page.locator("#sign-told")).to_contain_text("password is wrong")
    page.locator("#sign-form input[name=password]").fill(people.PASSWORD)
    page.locator("#sign-form button").click()
    expect(page.locator("#sign-decision")).to_contain_text("Released by Reviewer One")
    expect(page.locator("#sign-rows tr")).to_have_count(1)
    expect(page.locator("#sign-form input[name=password]")).to_have_value("")
    assert running.errors == []


def test_account_of_the_site_signs_by_a_new_log_in(identified: Any, provider: Provider) -> None:
    pytest.importorskip("joserfc")
    identified.store.end_batch(1, "tests")
    page, provider.claims = identified.page, {"groups": "plant-qa"}
    page.locator("#login-link a").click()
    expect(page.locator("#person-name")).to_have_text("Olga Meier, reviewer")
    page.get_by_role("heading", name="Signatures").click()
    expect(page.locator("#sign-anew")).to_be_visible()
    expect(page.locator("#sign-form input[name=password]")).to_be_hidden()
    page.locator("#sign-form select[name=meaning]").select_option("release")
    page.locator("#sign-form button").click()
    expect(page.locator("#sign-told")).to_contain_text("does not say when it was")
    expect(page.locator("#sign-decision")).to_have_text("Not released.")
    provider.claims["auth_time"] = NOW
    page.locator("#sign-form select[name=meaning]").select_option("release")
    page.locator("#sign-form button").click()
    expect(page.locator("#sign-told")).to_have_text("Signed.")
    expect(page.locator("#sign-decision")).to_contain_text("Released by Olga Meier")
    expect(page.locator("#sign-rows")).to_contain_text("re-authenticated at the identity provider")
    assert provider.asked["prompt"] == "login"
    expect(page).not_to_have_url(re.compile("outcome="))
    assert identified.errors == []


def test_account_of_the_site_acknowledges_by_a_new_log_in(identified: Any, provider: Provider) -> None:
    pytest.importorskip("joserfc")
    page, store, provider.claims = identified.page, identified.store, {"groups": "plant-qa"}
    page.locator("#login-link a").click()
    expect(page.locator("#person-name")).to_have_text("Olga Meier, reviewer")

    # An address that somebody made up says nothing of the kind.
    page.goto(f"{page.url}#outcome=signed&action=acknowledge")
    page.reload()
    expect(page.locator("#person-name")).to_have_text("Olga Meier, reviewer")
    expect(page.locator("#alarms button").get_by_text("Acknowledge")).to_be_visible()
    expect(page.locator("#signed-told")).to_be_hidden()

    def ask(note: str) -> None:
        page.locator("#alarms button").get_by_text("Acknowledge").click()
        expect(page.locator("#ask-sign-row")).to_be_hidden()
        page.locator("#ask textarea[name=note]").fill(note)
        page.locator("#ask-ok").click()
        expect(page.locator("#anew-what")).to_have_text("Acknowledge an alarm.")
        expect(page.locator("#anew-content")).to_contain_text("EWMA over its limit")
        expect(page.locator("#anew-content")).to_contain_text(note)

    ask("given up")
    page.get_by_role("button", name="Give it up").click()
    expect(page.locator("#ask-error")).to_have_text("Not done: you gave it up.")
    page.locator("#ask button[value=cancel]").click()
    ask("too old a log-in")
    provider.claims["auth_time"] = int(time.time()) - 3600
    page.get_by_role("button", name="Log in anew").click()
    expect(page.locator("#signed-told")).to_contain_text(
        "Not done: the log-in of the site asked for no password"
    )
    assert store.alarm(1).acknowledged_by is None
    ask("seen")
    provider.claims["auth_time"] = NOW
    page.get_by_role("button", name="Log in anew").click()
    expect(page.locator("#signed-told")).to_have_text("Signed and done: the alarm is acknowledged.")
    expect(page.locator("#alarms")).to_contain_text("acknowledged by Olga Meier")
    assert provider.asked["prompt"] == "login"
    expect(page).not_to_have_url(re.compile("outcome="))
    actions = [event.action for event in store.audit_log(limit=20)]
    assert (actions.count("signature denied"), actions.count("action signed")) == (2, 1)
    assert identified.errors == []


def test_expired_session_says_log_in_and_goes_on(page: Any, running: Any) -> None:
    log_in(page, Role.VIEWER)
    expect(page.locator("#metric-fraction")).to_have_text("22.0 %")
    expect(page.locator("#alarms .choices")).to_be_hidden()  # a viewer acknowledges nothing
    name = people.NAMES[Role.VIEWER]
    one_time, own = "one-time password 1", "my own new password"
    running.store.write(lambda change: users.reset_password(change, name, one_time, "tests"))
    # Nothing is touched: the page finds out by itself.
    expect(page.locator("#login-text")).to_contain_text("session has ended")
    expect(page.locator("#state .word")).to_have_text("log in")
    expect(page).to_have_title(re.compile("log in"))
    expect(page.locator("body")).to_have_class(re.compile(r"\bstale\b"))
    log_in(page, Role.VIEWER, one_time)
    expect(page.locator("#login-title")).to_have_text("Choose a password")
    # As a redraw or a poll that is on its way at that moment.
    page.evaluate(
        """import(new URL("static/js/api.js", document.baseURI))
        .then(({ get }) => { get("api/frames?batch=1"); })"""
    )
    page.locator("#login input[name=next]").fill(own)
    page.locator("#login input[name=again]").fill(own)
    page.locator("#login-ok").click()
    expect(page.locator("#login[open]")).to_have_count(0)
    expect(page.locator("#state .word")).to_have_text("no frames")
    expect(page.locator("#link")).to_have_text("live")
    assert running.errors == [], "what was asked for meanwhile is no fault of the page"
