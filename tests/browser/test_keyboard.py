"""Every page with the keyboard alone: all is reached in both directions, has a name, and shows its focus."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.test_people_page import log_in
from tests.browser.test_people_page import running_service as running_with_people
from tests.browser.test_probes_page import SETTINGS
from tests.helpers import label_page, people
from tests.helpers import monitor as probe
from tests.helpers.keyboard import walk
from tests.helpers.service import TOKEN, fill_store, running_service

from georgia.cli import main
from georgia.monitor.people.roles import Role
from georgia.monitor.process_record import Piece, VariableValues, write_piece

pytestmark = [pytest.mark.slow]
Open = Callable[[ExitStack, Path, Any], None]


def open_live(stack: ExitStack, folder: Path, page: Any) -> None:
    """Open the page of a probe with process data and everything on it unfolded."""
    port, service = stack.enter_context(running_service(folder))
    values = [VariableValues("T_r", "°C", [(1000.0 + k, 20.0 + k, "good") for k in range(4)])]
    service.store.write(lambda change: write_piece(change, Piece("r", "r.csv", "Ann", values, batch_id=1)))
    page.goto(f"http://127.0.0.1:{port}/#token={TOKEN}")
    expect(page.locator("#process-variables li")).to_have_count(1)
    expect(page.locator("#strip button")).not_to_have_count(0)
    for summary in page.locator("details > summary").all():
        if summary.is_visible() and not summary.evaluate("summary => summary.parentElement.open"):
            summary.focus()
            page.keyboard.press("Enter")
    expect(page.locator("#event-form button")).to_be_visible()


def open_error(stack: ExitStack, folder: Path, page: Any) -> None:
    port, _ = stack.enter_context(running_service(folder))
    page.goto(f"http://127.0.0.1:{port}/no/such/page")
    expect(page.locator("a")).to_have_count(1)


def open_log_in(stack: ExitStack, folder: Path, page: Any) -> None:
    page.goto(stack.enter_context(running_with_people(folder, port=0)).url)
    expect(page.locator("#login[open]")).to_have_count(1)


def open_label(stack: ExitStack, folder: Path, page: Any) -> None:
    label_page.write_crops(folder / "crops", 12)
    session = stack.enter_context(label_page.open_session(folder / "crops", folder / "labels.csv"))
    url = stack.enter_context(label_page.serve_page(session))
    page.add_init_script("localStorage.setItem('georgia-name', 'Ann')")
    page.goto(url)
    label_page.Labeller(page).wait()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "georgia", "serve", "--config", "plant.toml"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, text=True, env=os.environ, cwd=folder, **pipes)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("page: ").strip()
    finally:
        process.kill()
        process.communicate()


def open_probes(stack: ExitStack, folder: Path, page: Any) -> None:
    (folder / "plant.toml").write_text(SETTINGS)
    probe.write_frame(folder / "one" / "f1.png", 3, 1)
    (folder / "two").mkdir()
    page.goto(stack.enter_context(serving(folder)))
    expect(page.locator(".tile").nth(0)).to_contain_text("last frame")


def open_batch_report(stack: ExitStack, folder: Path, page: Any) -> None:
    fill_store(folder / "m.db", folder / "frames").close()
    out = folder / "batch.html"
    main(["report", str(folder / "m.db"), "--batch", "B-1", "--out", str(out)])
    page.goto(out.as_uri())


def open_comparison(stack: ExitStack, folder: Path, page: Any) -> None:
    store = fill_store(folder / "m.db", folder / "frames")
    store.begin_batch("probe", "B-2", "Ann", "PG", "tests")
    store.close()
    out = folder / "comparison.html"
    main(["report", str(folder / "m.db"), "--compare", "B-1", "--compare", "B-2", "--out", str(out)])
    page.goto(out.as_uri())


PAGES = (
    open_live,
    open_error,
    open_log_in,
    open_label,
    open_probes,
    open_batch_report,
    open_comparison,
)


@pytest.mark.parametrize("open_page", PAGES)
def test_page_needs_no_mouse(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Open
) -> None:
    people.hash_quickly(monkeypatch)
    with ExitStack() as stack, closing(browser.new_context(reduced_motion="reduce")) as context:
        page = context.new_page()
        open_page(stack, tmp_path, page)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            there, faults = walk(page)
            back, faults_back = walk(page, "Shift+Tab")
            assert [*faults, *faults_back] == []
            assert [each["what"] for each in there] == [each["what"] for each in reversed(back)]


def test_dialog_holds_and_returns_the_focus(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.hash_quickly(monkeypatch)
    with running_with_people(tmp_path, port=0) as running, closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(running.url)
        log_in(page, Role.OPERATOR)
        button = page.locator("#alarms button").first
        for key in ("Enter", " "):
            button.focus()
            page.keyboard.press(key)
            expect(page.locator("#ask[open]")).to_have_count(1)
            there, faults = walk(page)
            assert faults == []
            assert len(there) >= 3
            page.keyboard.press("Escape")
            expect(page.locator("#ask[open]")).to_have_count(0)
            expect(button).to_be_focused()
