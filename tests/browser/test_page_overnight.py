"""A page that stays open for a night: thousands of frames, hours without a word, and the morning after."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.test_page_truth import _make_fresh_batch, serve_command
from tests.helpers.monitor import wait_for

pytestmark = [pytest.mark.slow]
# Stands in for the browser's own: ``say`` sends what the service would.
STREAM = """
window.streams = [];
window.EventSource = class extends EventTarget {
  static CLOSED = 2;
  constructor() { super(); this.readyState = 1; window.streams.push(this); }
  close() { this.readyState = 2; window.streams = window.streams.filter((one) => one !== this); }
};
window.say = (kind, data) => {
  for (const one of window.streams) one.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }));
};
"""
NIGHT = """async ({ frame, first, n }) => {
  for (let number = first; number < first + n; number += 1) {
    const at = new Date(Date.parse(frame.frame_time) + 6000 * number).toISOString();
    window.say("frame", { ...frame, frame: number, ordinal: number, frame_time: at, judged_at: at });
    if (number % 50 === 0) await new Promise((done) => setTimeout(done, 0));
  }
  await new Promise((done) => setTimeout(done, 500));
}"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("night")
    _make_fresh_batch(folder, [float(age) for age in range(30, 0, -1)])
    pipe, command = subprocess.PIPE, serve_command(folder)
    with subprocess.Popen(command, stdout=pipe, text=True, env=os.environ, cwd=folder) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("page: ").strip()
        process.kill()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """A page that is live and whose clock stands still: what time does to it, a slow machine does not."""
    with closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context:
        page = context.new_page()
        page.clock.install()
        page.add_init_script(STREAM)
        # No file of these frames is there, and none is to be asked for a thousand times.
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setBlockedURLs", {"urls": ["*/api/frames/*/*"]})
        page.goto(url)
        # wait_for_function evaluates a text, which the page's own policy forbids.
        wait_for(lambda: page.evaluate("window.streams.length") == 1)
        page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
        status = page.request.get(f"{page.url.split('#')[0]}api/status").json()
        page.evaluate("(status) => window.say('status', status)", status)
        expect(page.locator("#link")).to_have_text("live")
        yield page


def read_last(page: Any) -> dict[str, Any]:
    return dict(page.request.get(f"{page.url.split('#')[0]}api/frames?limit=1").json()["frames"][0])


def measure(page: Any, most: float = 0.0) -> dict[str, float]:
    """Return what the browser holds for the page, once that is no more than so many nodes or stays so."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    held: dict[str, float] = {}
    for _ in range(60):  # images that are loading, and what waits to be collected, keep their nodes
        session.send("HeapProfiler.collectGarbage")
        before = held
        items = session.send("Performance.getMetrics")["metrics"]
        held = {item["name"]: item["value"] for item in items}
        if held["Nodes"] < most or (not most and before and held["Nodes"] == before["Nodes"]):
            break
        page.wait_for_timeout(500)
    session.detach()
    return {name: held[name] for name in ("Nodes", "JSEventListeners", "JSHeapUsedSize")}


def test_thousands_of_frames_leave_no_more_than_hundreds(page: Any) -> None:
    page.clock.resume()
    frame = read_last(page)
    page.evaluate(NIGHT, {"frame": frame, "first": 100, "n": 200})
    before = measure(page)
    page.evaluate(NIGHT, {"frame": frame, "first": 500, "n": 1500})
    after = measure(page, 1.2 * before["Nodes"] + 500)
    assert page.locator("#strip li").count() == 24
    assert after["Nodes"] < 1.2 * before["Nodes"] + 500, (before, after)
    assert after["JSEventListeners"] < 1.2 * before["JSEventListeners"] + 100, (before, after)
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 3e6, json.dumps([before, after])


def test_hours_without_a_word_are_said_and_the_morning_is_live(page: Any) -> None:
    word = page.inner_text("#state .word")
    page.clock.run_for(8_000)
    expect(page.locator("#state .word")).to_have_text("no connection")
    page.clock.fast_forward("08:00:00")
    page.clock.run_for(60_000)
    expect(page.locator("#link")).to_contain_text("8 h ago")
    expect(page.locator("#metric-age")).to_contain_text("8 h ago")
    expect(page.locator("body")).to_have_class("stale")
    assert page.evaluate("window.streams.length") == 1, "one connection, however often it was made anew"
    # The machine's clock is hours ahead of the service's own by now: ages are by the service's.
    status = page.request.get(f"{page.url.split('#')[0]}api/status").json()
    page.evaluate("(status) => window.say('status', status)", status)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#state .word")).to_have_text(word)
    expect(page.locator("body")).not_to_have_class("stale")


def test_clock_set_back_by_hours_is_no_silence_for_hours(page: Any) -> None:
    page.clock.set_system_time("2020-01-01T00:00:00Z")
    page.clock.run_for(3_000)
    expect(page.locator("#link")).to_have_text("live")
    page.clock.run_for(8_000)
    expect(page.locator("#state .word")).to_have_text("no connection")


def test_token_of_yesterday_is_rejected_with_what_to_do(page: Any) -> None:
    status, message = page.evaluate(
        """async () => {
            const { change, setToken } = await import("/static/js/api.js");
            setToken("of-the-service-that-ran-yesterday");
            const limit = { who: "Ann", reason: "night", limit: 0.1 };
            try {
              await change("api/limits", limit);
              return [200, ""];
            } catch (error) {
              return [error.status, error.message];
            }
        }"""
    )
    assert status == 401, message
    assert "token" in message
    expect(page.locator("#link")).to_have_text("live")
