"""The overview of several probes: tiles, an alarm in the title, and what is shown when nothing is heard."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import monitor as probe
from tests.helpers import people
from tests.helpers.patience import PATIENCE_MS

from georgia.monitor.people.roles import Role
from georgia.monitor.store import Store

pytestmark = [pytest.mark.slow]
SETTINGS = """
[serve]
port = 0
token = "a-token-of-the-tests-0123456789"
[monitor]
poll_interval_s = 0.1
tile_px = 16
[probes.reactor-1]
watch = "one"
[probes.mill]
watch = "two"
db = "away/two.db"
"""


@pytest.fixture
def served(tmp_path: Path, browser: Any) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    (tmp_path / "plant.toml").write_text(SETTINGS)
    (tmp_path / "away").write_text("a file where the store's folder is to be")
    probe.write_frame(tmp_path / "one" / "f1.png", 3, 1)
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "georgia", "serve", "--config", "plant.toml"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, text=True, env=os.environ, cwd=tmp_path, **pipes)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("page: ").strip()
        with closing(browser.new_context(viewport={"width": 1100, "height": 800})) as context:
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.goto(url)
            yield page, process
    finally:
        process.kill()
        process.communicate()


def test_each_probe_has_its_tile_and_page(served: tuple[Any, subprocess.Popen[str]]) -> None:
    page, process = served
    await_ = {"timeout": PATIENCE_MS}
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(2, **await_)
    expect(tiles.nth(0)).to_contain_text("last frame", **await_)
    expect(tiles.nth(1).locator(".state")).to_contain_text("store away", **await_)
    expect(tiles.nth(1)).to_contain_text("the store cannot be opened", **await_)
    expect(page.locator("#link")).to_have_text("live", **await_)
    tiles.nth(0).click()
    expect(page.locator("#link")).to_have_text("live", **await_)
    expect(page.locator("#probe")).to_contain_text("reactor-1", **await_)
    page.locator("#probe a").click()
    expect(tiles).to_have_count(2, **await_)
    process.kill()
    expect(page.locator("#state .word")).to_have_text("no connection", **await_)
    expect(page).to_have_title(re.compile("no connection"))
    expect(page.locator("body")).to_have_class(re.compile(r"\bstale\b"))


def test_alarm_of_one_probe_is_in_head_and_title(served: tuple[Any, subprocess.Popen[str]]) -> None:
    page, _ = served

    def raise_alarm(route: Any) -> None:
        response = route.fetch()
        found = response.json()
        found["probes"][0] |= {"state": "alarm", "alarm": True, "fraction": 0.31, "low": 0.2, "high": 0.4}
        found["probes"][1] |= {"read_s": 60.0, "is_live": True, "alarm": False}
        route.fulfill(response=response, body=json.dumps(found))

    page.route("**/api/probes", raise_alarm)
    page.reload()
    expect(page.locator("#alarms")).to_contain_text("reactor-1", timeout=PATIENCE_MS)
    expect(page.locator("#state .word")).to_have_text("alarm: reactor-1", timeout=PATIENCE_MS)
    expect(page).to_have_title(re.compile("^■ alarm: reactor-1"))
    tiles = page.locator(".tile")
    expect(tiles.nth(0).locator(".value")).to_have_text("31.0 %")
    expect(tiles.nth(0).locator(".range")).to_contain_text("20.0–40.0 %")
    expect(tiles.nth(1)).to_contain_text("its record did not respond for 60 s")
    expect(tiles.nth(1)).to_have_class(re.compile(r"\bold\b"))


def test_one_log_in_opens_all_tiles(
    served: tuple[Any, subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, _ = served
    tile = page.locator(".tile").first
    expect(tile).to_contain_text("last frame", timeout=PATIENCE_MS)
    people.hash_quickly(monkeypatch)
    with closing(Store(str(next(tmp_path.glob("*reactor-1.db"))))) as store:
        people.add_people(store)
    expect(tile.locator(".state")).to_contain_text("log in", timeout=PATIENCE_MS)
    page.reload()
    page.locator("#log-in").click()
    page.locator("#login input[name=name]").fill(people.NAMES[Role.OPERATOR])
    page.locator("#login input[name=password]").fill("wrong")
    page.locator("#login-ok").click()
    expect(page.locator("#login-error")).to_contain_text("wrong", timeout=PATIENCE_MS)
    page.locator("#login input[name=password]").fill(people.PASSWORD)
    page.locator("#login-ok").click()
    expect(page.locator("#people-text")).to_have_text(
        "reactor-1: Operator One, operator", timeout=PATIENCE_MS
    )
    expect(tile).to_contain_text("last frame", timeout=PATIENCE_MS)
    page.locator("#log-out").click()
    expect(tile.locator(".state")).to_contain_text("log in", timeout=PATIENCE_MS)
