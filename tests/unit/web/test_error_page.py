"""An address that ends in an error: a page for whoever goes there in a browser, JSON for everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import people
from tests.helpers.oidc import Provider, providing

from georgia.monitor.connect import StoreAwayError
from georgia.web.error_page import make_error_page, wants_page

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    people.hash_quickly(monkeypatch)
    with people.serving(tmp_path) as found:
        yield found


def make_scope(path: str, **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": pairs}


def test_only_a_browser_that_goes_there_sees_a_page() -> None:
    html = "text/html,*/*"
    assert wants_page(make_scope("/x", accept=html))
    assert wants_page(make_scope("/x", accept=html, sec_fetch_mode="navigate"))
    assert not wants_page(make_scope("/x", accept=html, sec_fetch_mode="cors"))
    assert not wants_page(make_scope("/x", accept="*/*"))
    assert not wants_page(make_scope("/x"))
    assert not wants_page({**make_scope("/x", accept=html), "method": "POST"})


@pytest.mark.parametrize(
    ("path", "home"), [("/x", "./"), ("/api/frames/9", "../../"), ("/login/oidc/callback", "../../")]
)
def test_links_hold_below_any_path_of_a_proxy(path: str, home: str) -> None:
    text = bytes(make_error_page(make_scope(path), 404, "gone").body).decode()
    assert f'href="{home}static/app.css"' in text
    assert f'<a href="{home}">' in text


def test_message_is_text_and_no_markup() -> None:
    text = bytes(make_error_page(make_scope("/x"), 404, "<script>alert(1)</script> \"'").body).decode()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_every_kind_of_error_is_a_page_in_a_browser_and_json_elsewhere(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, app = served
    anybody = people.visit(app)
    cases = [
        ("/nothing", 404, "There is nothing at &#x27;/nothing&#x27;."),
        ("/static/nothing.css", 404, "There is nothing"),
        ("/api/frames", 401, "Log in first."),
        ("/login/oidc", 404, "do not log in here through another service"),
        ("/api/session/end", 405, "Method Not Allowed"),
    ]
    for path, status, text in cases:
        plain, page = anybody.get(path), anybody.get(path, headers=BROWSER)
        assert (plain.status_code, page.status_code) == (status, status), path
        assert plain.json()["error"]["message"]
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert text in page.text, path
        assert "default-src 'none'" in page.headers["content-security-policy"]
    viewer = people.visit(app, people.Role.VIEWER)
    for path, status in (
        ("/api/users", 403),
        ("/api/batches/x/report", 422),
        ("/api/batches/99/report", 404),
    ):
        page = viewer.get(path, headers=BROWSER)
        assert (page.status_code, page.text[:15]) == (status, "<!doctype html>"), path
    page = viewer.get("/api/users", headers={**BROWSER, "Host": "evil.example"})
    assert (page.status_code, "does not respond to the name" in page.text) == (421, True)

    def fail(*_: Any, **__: Any) -> None:
        raise StoreAwayError("the store is away")

    monkeypatch.setattr(service.store, "batches", fail)
    page = viewer.get("/api/batches", headers=BROWSER)
    assert (page.status_code, "the store is away" in page.text) == (503, True)
    assert page.headers["retry-after"] == "5"


@pytest.mark.slow
def test_failed_log_in_at_a_provider_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("joserfc")
    people.hash_quickly(monkeypatch)
    monkeypatch.setenv("GEORGIA_OIDC_SECRET", "a-secret")
    with providing() as provider:
        settings = {"oidc_issuer": provider.issuer, "oidc_client": "georgia"}
        settings |= {
            "oidc_redirect": f"{people.LOCAL}/login/oidc/callback",
            "oidc_roles": "plant-qa=reviewer",
        }
        with people.serving(tmp_path, **settings) as (_, app):
            _check_pages(app, provider)


def _check_pages(app: Any, provider: Provider) -> None:
    from tests.unit.web.test_oidc import come_back

    for claims, query, text in (
        ({}, {}, "the claim &#x27;groups&#x27; gives no role"),
        ({}, {"state": "made-up"}, "this browser did not begin this log-in"),
        ({}, {"code": "", "error": "access_denied"}, "the provider let nobody in: &#x27;access_denied&#x27;"),
        ({"nonce": "another"}, {}, "the token does not hold"),
    ):
        provider.claims = claims
        client = people.visit(app)
        client.headers.update(BROWSER)
        _, response = come_back(app, provider, client=client, **query)
        assert (response.status_code, response.headers["content-type"][:9]) == (401, "text/html")
        for part in (text, "You are not logged in", "begin the log-in there once more", 'href="../../"'):
            assert part in response.text, text
