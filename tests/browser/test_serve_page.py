"""The page in a real browser: what it shows, live, by keyboard, on a phone, and without foreign requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import expect
from tests.helpers import monitor as probe
from tests.helpers import service as helpers
from tests.helpers.contrast import find_faint_texts
from tests.helpers.patience import PATIENCE_MS, PATIENCE_S

from georgia.web.app import create_app

pytestmark = [pytest.mark.slow]


@dataclass
class Running:
    """A service on a port of its own, and the errors that the browser reported."""

    url: str
    service: Any
    browser_errors: list[str] = field(default_factory=list)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    service = helpers.make_service(tmp_path, port=0)
    with closing(service), helpers.serving(service.config, service.bundle, service.store) as url:
        yield Running(url, service)


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
    expect(page.locator("#state .word")).to_have_text("no frames")
    expect(page.locator("#metric-fraction")).to_have_text("22.0 %")
    expect(page.locator("#metric-interval")).to_have_text("11.0–44.0 %")
    expect(page.locator("#chart canvas")).to_have_count(1)
    expect(page.locator("#strip button")).to_have_count(24)
    assert "token" not in page.url
    expect(page.locator("#frame-text")).to_contain_text("f30.png")
    expect(page.locator("#frame-key")).to_contain_text("PG: 1 windows")
    assert running.browser_errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_is_read_in_the_light_and_in_the_dark(page: Any, running: Running, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.reload()
    expect(page.locator("#chart-text")).to_contain_text("30 points")
    page.evaluate("document.querySelectorAll('details:not([hidden])').forEach((each) => (each.open = true))")
    assert find_faint_texts(page) == [], "the values are old"
    kinds = page.evaluate(
        "import('./static/js/format.js').then(({ STATES }) => Object.values(STATES).map(([, kind]) => kind))"
    )
    assert {"calm", "care", "bad", "plain"} == set(kinds)
    for kind in set(kinds):
        page.evaluate("kind => (document.getElementById('state').dataset.kind = kind)", kind)
        assert find_faint_texts(page) == [], kind
    page.evaluate("document.body.classList.add('stale')")
    assert find_faint_texts(page) == [], "no connection"


@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_last_time_of_a_chart_is_whole(page: Any) -> None:
    expect(page.locator("#chart .u-over")).to_be_visible()
    over, whole = (page.locator(f"#chart {part}").first.bounding_box() for part in (".u-over", ".u-wrap"))
    # Half of "12:17:10 AM" at 12 px.
    assert whole["x"] + whole["width"] - over["x"] - over["width"] >= 36


def test_new_frame_appears_by_itself(page: Any, running: Running) -> None:
    result = probe.make_result(31, 1, 0.33, state="alarm", alarm=True, n_judged=40)
    running.service.store.record_frame(result, "probe", "{}")
    expect(page.locator("#metric-fraction")).to_have_text("33.0 %")
    expect(page.locator("#chart-text")).to_contain_text("31 points")


def test_alarm_is_acknowledged_by_keyboard(page: Any, running: Running) -> None:
    page.locator("#alarms button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask[open]")
    page.locator("#ask input[name=who]").fill("A. Miller")
    page.keyboard.press("Enter")
    expect(page.locator("#alarms")).to_contain_text("acknowledged by A. Miller")
    assert running.service.store.alarm(1).acknowledged_by == "A. Miller"


def test_alarm_is_shelved_with_a_reason(page: Any, running: Running) -> None:
    page.get_by_role("button", name="Shelve …").click()
    page.locator("#ask input[name=who]").fill("A. Miller")
    page.locator("#ask input[name=minutes]").fill("20")
    page.locator("#ask-ok").click()
    expect(page.locator("#ask[open]")).to_have_count(1)  # a reason is asked for
    page.locator("#ask textarea").fill("Probe is rinsed")
    page.locator("#ask-ok").click()
    expect(page.locator("#alarms button")).to_have_count(0)
    alarm = running.service.store.alarm(1)
    assert (alarm.shelved_by, alarm.shelved_reason) == ("A. Miller", "Probe is rinsed")


def test_record_is_filtered_by_state(page: Any, running: Running) -> None:
    page.get_by_text("Frames as a table").click()
    expect(page.locator("#record-rows tr")).to_have_count(30)
    page.select_option("#record-form select[name=state]", "alarm")
    expect(page.locator("#record-rows tr")).to_have_count(11)
    link = page.locator("#record-files a").first.get_attribute("href")
    assert "state=alarm" in link
    response = page.request.get(running.url + link)
    assert response.status == 200
    assert len(response.text().splitlines()) == 12
    assert running.browser_errors == []


def test_wrong_token_is_asked_for_again(page: Any, running: Running) -> None:
    page.evaluate("sessionStorage.setItem('georgia-token', 'wrong')")
    page.locator("#alarms button").first.click()
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
    expect(page.locator("#try-prediction meter")).to_have_count(2)
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"no image")
    page.set_input_files("#try-file", str(wrong))
    page.wait_for_selector("#try-prediction .fault")
    expect(page.locator("#try-prediction")).to_contain_text("Cannot read 'wrong.png'")


def test_whole_frame_is_shown_with_windows(page: Any, running: Running, tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    frame.write_bytes(helpers.noise_png(400))
    page.set_input_files("#try-file", str(frame))
    expect(page.locator("#try-prediction")).to_contain_text("taken as a whole frame")
    expect(page.locator("#try-prediction canvas")).to_have_count(1)
    assert running.browser_errors == []


def test_batches_are_compared_in_one_chart(page: Any) -> None:
    page.locator("#batches input").first.check()
    page.wait_for_selector("#compare canvas")
    expect(page.locator("#compare")).to_contain_text("B-1")


@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_phone_needs_no_sideways_scrolling(page: Any, running: Running) -> None:
    expect(page.locator("#strip button")).to_have_count(24)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 30)"
        ".map(b => b.textContent)"
    )
    assert small == []
    assert running.browser_errors == []


def test_page_works_below_a_path(running: Running, browser: Any) -> None:
    """A reverse proxy that takes the path off, as nginx does with a slash behind its ``proxy_pass``."""
    with below_a_path(running.service) as url, closing(browser.new_context()) as context:
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("response", lambda got: faults.append(got.url) if got.status >= 400 else None)
        page.goto(url)
        page.wait_for_selector("#strip button")
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#frame-text")).to_contain_text("f30.png")
        page.get_by_text("Frames as a table").click()
        expect(page.locator("#record-rows tr")).to_have_count(30)
        assert faults == []


@contextmanager
def below_a_path(service: Any) -> Iterator[str]:
    """Run the service behind a proxy at ``/plant/probe/``; yield that address."""
    app = create_app(service)

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith("/plant/probe/"), scope["path"]
            path = scope["path"].removeprefix("/plant/probe")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(proxy, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/plant/probe/"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


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
