"""The page in a real browser: what it shows, live, by keyboard, on a phone, and without foreign requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import monitor as probe
from tests.helpers import service as helpers

pytestmark = [pytest.mark.slow]
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Running:
    """A service on a port of its own, and the errors that the browser reported."""

    url: str
    service: Any
    browser_errors: list[str] = field(default_factory=list)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    from georgia.web.serve import open_service

    service = helpers.make_service(tmp_path, port=0)
    started: list[str] = []
    ready = threading.Event()

    def note_address(url: str) -> None:
        started.append(url)
        ready.set()

    server = open_service(service.config, service.bundle, service.store, on_start=note_address)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(20)
        yield Running(started[0], service)
    finally:
        server.should_exit = True
        thread.join(20)
        service.store.close()


@pytest.fixture
def page(running: Running, browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, height = getattr(request, "param", (1280, 900))
    with closing(browser.new_context(viewport={"width": width, "height": height})) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        note = running.browser_errors.append
        page.on("pageerror", lambda error: note(str(error)))
        page.on("console", lambda line: note(line.text) if line.type == "error" else None)
        page.on(
            "request",
            lambda ask: None if ask.url.startswith((running.url, "blob:", "data:")) else note(ask.url),
        )
        page.goto(f"{running.url}#token={helpers.TOKEN}")
        page.wait_for_selector("#strip button")
        yield page


def test_page_shows_probe_without_foreign_requests(page: Any, running: Running) -> None:
    assert page.inner_text("#state .word") == "no frames"
    assert page.inner_text("#metric-fraction") == "22.0 %"
    assert page.inner_text("#metric-interval") == "11.0–44.0 %"
    assert page.locator("#chart canvas").count() == 1
    assert page.locator("#strip button").count() == 24
    assert "token" not in page.url
    expect(page.locator("#frame-text")).to_contain_text("f30.png")
    assert "PG: 1 windows" in page.inner_text("#frame-key")
    assert running.browser_errors == []


def test_new_frame_appears_by_itself(page: Any, running: Running) -> None:
    result = probe.make_result(31, 1, 0.33, state="alarm", alarm=True, n_judged=40)
    running.service.store.record_frame(result, "probe", "{}")
    expect(page.locator("#metric-fraction")).to_have_text("33.0 %")
    expect(page.locator("#chart-text")).to_contain_text("31 points")


def test_alarm_is_acknowledged_by_keyboard(page: Any, running: Running) -> None:
    page.locator("#alarms button").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask[open]")
    page.locator("#ask input[name=who]").fill("A. Miller")
    page.keyboard.press("Enter")
    expect(page.locator("#alarms")).to_contain_text("acknowledged by A. Miller")
    assert running.service.store.alarm(1).acknowledged_by == "A. Miller"


def test_wrong_token_is_asked_for_again(page: Any, running: Running) -> None:
    page.evaluate("sessionStorage.setItem('georgia-token', 'wrong')")
    page.locator("#alarms button").click()
    page.locator("#ask input[name=who]").fill("B")
    page.locator("#ask button.main").click()
    expect(page.locator("#ask-error")).to_contain_text("got another")
    page.locator("#ask input[name=token]").fill(helpers.TOKEN)
    page.locator("#ask button.main").click()
    expect(page.locator("#alarms")).to_contain_text("acknowledged by B")


def test_strip_moves_with_arrow_keys(page: Any) -> None:
    page.locator("#strip button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#frame-text")).to_contain_text("f28.png")


def test_image_is_classified_broken_one_reported(page: Any, running: Running, tmp_path: Path) -> None:
    crop = probe.write_frame(tmp_path / "crop.png", 5)
    page.set_input_files("#try-file", str(crop))
    page.wait_for_selector("#try-prediction .label")
    assert page.locator("#try-prediction meter").count() == 2
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"no image")
    page.set_input_files("#try-file", str(wrong))
    page.wait_for_selector("#try-prediction .fault")
    assert "Cannot read 'wrong.png'" in page.inner_text("#try-prediction")


def test_batches_are_compared_in_one_chart(page: Any) -> None:
    page.locator("#batches input").first.check()
    page.wait_for_selector("#compare canvas")
    assert "B-1" in page.inner_text("#compare")


@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_phone_needs_no_sideways_scrolling(page: Any, running: Running) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 30)"
        ".map(b => b.textContent)"
    )
    assert small == []
    assert running.browser_errors == []


def test_page_without_scripts_is_one_line(running: Running, browser: Any) -> None:
    with closing(browser.new_context(java_script_enabled=False)) as context:
        page = context.new_page()
        page.goto(running.url)
        text = page.inner_text("body").strip()
        assert text == "This page needs JavaScript. Without it: the state of the probe now."
        assert "\n" not in text
        page.get_by_role("link").click()
        page.wait_for_url("**/api/status")
        expect(page.locator("body")).to_contain_text('"state":')
