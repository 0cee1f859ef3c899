"""The spot check on the page: named by keys, predictions hidden, undo, a kill, frames that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers.patience import PATIENCE_MS, PATIENCE_S
from tests.helpers.ports import free_port
from tests.helpers.service import TOKEN, read_start
from tests.helpers.spotcheck import add_frame, fill_batch

from georgia.monitor.spotchecks import find_standing
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.spotcheck.in_store import extend_check, list_windows
from georgia.spotcheck.plan import SpotcheckConfig

pytestmark = [pytest.mark.slow]


class Served:
    """``georgia serve`` in a process of its own, over a store that the test reads as well."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self.port = port or free_port()  # where another one may start after it
        options = ["--db", str(root / "m.db"), "--port", str(self.port), "--token", TOKEN, "--json"]
        command = [sys.executable, "-m", "georgia", "serve", *options, "--set", f"frames={root / 'frames'}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ, cwd=root)
        self.url = read_start(self.process)["url"]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start services over one store; none outlives its test."""
    started: list[Served] = []

    def start(port: int = 0) -> Served:
        started.append(Served(tmp_path, port))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.kill()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store, _, _ = fill_batch(str(tmp_path / "m.db"), tmp_path / "frames", 40)
    yield store
    store.close()


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def page(store: Store, serve: Callable[..., Served], browser: Any, errors: list[str]) -> Iterator[Any]:
    served = serve()
    with closing(browser.new_context(viewport={"width": 1100, "height": 900})) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{served.url}#token={TOKEN}")
        page.served = served
        yield page


def plan(page: Any, n: int, who: str = "A. Miller") -> None:
    form = page.locator("#spotcheck-plan")
    form.locator("[name=who]").fill(who)
    form.locator("[name=n]").fill(str(n))
    form.get_by_role("button").click()
    shown(page, 1)


def shown(page: Any, position: int) -> None:
    """Wait for a window, and for the moment from which on keys count."""
    page.wait_for_selector(f'#spotcheck-image[data-position="{position}"]')
    page.wait_for_timeout(120)


def names_of(store: Store, check: int = 1) -> list[str]:
    return [row.name for row in find_standing(store.spotcheck_names(check))]


def test_windows_are_named_with_one_key_each(page: Any, store: Store, errors: list[str]) -> None:
    expect(page.locator("#spotcheck-result")).to_contain_text("No person has checked this batch yet")
    plan(page, 10)
    expect(page.locator("#spotcheck-tray")).to_contain_text("Window 1 of 10")
    assert "%" not in page.inner_text("#spotcheck-tray"), "nothing of what the model says"
    for position, key in enumerate("1220u", start=1):
        shown(page, position)
        page.keyboard.press(key)
    shown(page, 6)
    assert names_of(store) == ["CEX", "PG", "PG", "neither", "unclear"]
    page.keyboard.press("z")
    expect(page.locator("#spotcheck-told")).to_contain_text("“unclear” of window 5 was taken back")
    shown(page, 5)
    for position in range(5, 11):
        shown(page, position)
        page.keyboard.press("1")
    expect(page.locator("#spotcheck-image")).to_contain_text("All windows of this check are named")
    expect(page.locator("#spotcheck-result")).to_contain_text("from 10 names")
    expect(page.locator("#spotcheck-metric dd")).to_contain_text("%")
    page.keyboard.press("Escape")
    expect(page.locator("#batches")).to_contain_text("PG")
    assert {row.who for row in store.spotcheck_names(1)} == {"A. Miller"}
    assert verify_store(store).is_whole
    assert errors == []


def test_kill_between_names_loses_none(
    page: Any, store: Store, serve: Callable[..., Served], errors: list[str]
) -> None:
    plan(page, 40)
    for position in range(1, 8):
        shown(page, position)
        page.keyboard.press("2")
    shown(page, 8)
    page.served.kill()
    assert names_of(store) == ["PG"] * 7, "each was in the record before the next window was shown"
    page.keyboard.press("1")
    expect(page.locator("#spotcheck-told")).to_contain_text("Not in the record: The service does not respond")
    serve(page.served.port)
    page.keyboard.press("1")
    shown(page, 9)
    assert names_of(store) == ["PG"] * 7 + ["CEX"]
    assert verify_store(store).is_whole
    assert errors == []


def test_two_pages_do_not_overwrite_each_other(page: Any, store: Store) -> None:
    plan(page, 10)
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE_MS)
    other.goto(f"{page.served.url}#token={TOKEN}")
    other.locator("#spotcheck-go").click()
    shown(other, 1)
    other.locator("#spotcheck-who").fill("Bob")
    other.locator('#spotcheck-keys [data-name="PG"]').click()
    shown(other, 2)
    page.bring_to_front()
    page.keyboard.press("1")
    expect(page.locator("#spotcheck-told")).to_contain_text("got 'PG' by 'Bob'")
    shown(page, 2)
    page.keyboard.press("1")
    shown(page, 3)
    assert names_of(store) == ["PG", "CEX"]


def test_gone_frame_and_running_batch_are_said(page: Any, store: Store, tmp_path: Path) -> None:
    plan(page, 8)
    # The page holds the images of the next three windows.
    (tmp_path / "frames" / store.spotcheck(1).body["draws"][7]["file"]).unlink()
    for position in range(1, 8):
        shown(page, position)
        page.keyboard.press("u")
    expect(page.locator("#spotcheck-image")).to_contain_text("its file is gone")
    shown(page, 8)
    page.keyboard.press("u")
    expect(page.locator("#spotcheck-result")).to_contain_text("8 of them unclear")
    add_frame(store, 1, tmp_path / "frames", 41, "PPPP", [0.9] * 4)
    page.keyboard.press("Escape")
    expect(page.locator("#spotcheck-text")).to_contain_text("The batch has gone on: this is of its first 40")
    expect(page.locator("#spotcheck-plan [name=reason]")).to_be_hidden()
    expect(page.locator("#spotcheck-plan [name=n]")).to_have_value("")  # as densely as before
    # The check goes on with the four windows that came; its result is of all frames then.
    expect(page.locator("#spotcheck-plan button")).to_have_text("Extend the check by the new frames")
    plan(page, 2)
    assert store.spotchecks(1)[0].body["extends"]["check"] == 1
    for position in (1, 2):
        shown(page, position)
        page.keyboard.press("2")
    expect(page.locator("#spotcheck-result")).to_contain_text("from 10 names")
    expect(page.locator("#spotcheck-text")).to_contain_text("It is of 41 frames: all of the batch")
    expect(page.locator("#checked-text")).to_contain_text(
        "Violet steps with their band: PG as people checked it"
    )
    assert verify_store(store).is_whole


def test_another_check_shows_its_own_windows(page: Any, store: Store, tmp_path: Path) -> None:
    plan(page, 8)
    page.keyboard.press("1")
    shown(page, 2)
    # Bob extends the check while the tray is open: its windows are others than those on the screen.
    add_frame(store, 1, tmp_path / "frames", 41, "PPCC", [0.9] * 4)
    later = extend_check(store, store.batch(1), SpotcheckConfig(seed=5), "Bob", n=3)
    page.keyboard.press("1")
    expect(page.locator("#spotcheck-told")).to_contain_text(
        f"Check {later.id} of this batch was begun by Bob"
    )
    shown(page, 1)
    (box,) = [window.box for window in list_windows(later)[:1]]
    expect(page.locator("#spotcheck-window-text")).to_contain_text("f41.png, ")
    expect(page.locator("#spotcheck-window-text")).to_contain_text(f"at {box[0]}, {box[1]}.")
    page.keyboard.press("2")
    shown(page, 2)
    assert (names_of(store, 1), names_of(store, later.id)) == (["CEX"], ["PG"])


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1600, "light")])
def test_tray_fits_screen_and_is_used_without_keys(
    page: Any, browser: Any, store: Store, width: int, scheme: Any
) -> None:
    with closing(
        browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    ) as context:
        phone = context.new_page()
        phone.set_default_timeout(PATIENCE_MS)
        phone.goto(f"{page.served.url}#token={TOKEN}")
        plan(phone, 4)
        for position, name in enumerate(("CEX", "neither", "unclear", "PG"), start=1):
            shown(phone, position)
            phone.locator(f'#spotcheck-keys [data-name="{name}"]').click()
        expect(phone.locator("#spotcheck-image")).to_contain_text("All windows")
        assert phone.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert names_of(store) == ["CEX", "neither", "unclear", "PG"]
