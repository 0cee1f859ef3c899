"""Commissioning on the page: begun by a form, followed, its verdict, overridden by name and reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import service as helpers
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.model.load import load_bundled_model
from georgia.monitor.result import FrameInput
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.web.config import ServeConfig
from georgia.web.service import Service

pytestmark = [pytest.mark.slow]


class _Strange(BrightnessAnalyzer):
    def analyze(self, image: Any) -> Any:
        new = FrameInput(100, 60, 1.4, 120.0, 0.0, 0.8, 1.5)
        return replace(super().analyze(image), input=new)


@pytest.fixture
def shown(tmp_path: Path, browser: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a page of a phone, and what writes frames that no model knows."""
    folder, store, bundle = tmp_path / "probe", Store(str(tmp_path / "m.db")), load_bundled_model()
    settings = ServeConfig(token=helpers.TOKEN, port=0, poll_interval_s=0.05)
    analyzer = _Strange(bundle=SimpleNamespace(name="brightness", metadata={"unknown": {"validation": None}}))
    analyzer.model_sha256 = Service(settings, bundle, store).describe_model()["sha256"]
    config = MonitorConfig(watch=folder, poll_interval_s=0.05)
    monitor = Monitor(analyzer, config, store)  # type: ignore[arg-type]

    def write(*numbers: int) -> None:
        for number in numbers:
            write_frame(folder / f"f{number}.png", number, seed=number)
        wait_for(lambda: store.count_frames() == numbers[-1])

    with (
        helpers.serving(settings, bundle, store, monitor) as url,
        running(monitor),
        closing(browser.new_context(viewport={"width": 390, "height": 844})) as context,
    ):
        page, errors = context.new_page(), list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}#token={helpers.TOKEN}")
        yield page, write
        assert errors == []


def test_commissioning_is_begun_followed_and_overridden(shown: tuple[Any, Any]) -> None:
    page, write = shown
    page.locator("#commissioning summary").click()
    expect(page.locator("#commissioning-verdict")).to_contain_text("Nobody has compared")
    form = page.locator("#commissioning-form")
    form.locator("[name=who]").fill("A. Miller")
    form.locator("[name=frames]").fill("3")
    form.get_by_role("button", name="Compare the next frames").click()
    expect(page.locator("#commissioning-running")).to_contain_text("0 of 3")
    write(1, 2)
    expect(page.locator("#commissioning-running")).to_contain_text("A. Miller has the frames since")
    expect(page.locator("#commissioning-running")).to_contain_text("2 of 3")
    expect(form.locator("[name=frames]")).to_be_disabled()
    write(3)
    expect(page.locator("#commissioning-verdict")).to_contain_text("✕ The frames are unlike")
    expect(page.locator("#commissioning-lines")).to_contain_text("rejected windows: 60.0%")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    unlike = page.locator("#unlike")
    expect(unlike).to_be_visible()
    with page.expect_popup() as opened:
        page.locator("#commissioning-page").click()
    expect(opened.value.locator("h1")).to_contain_text("Commissioning")
    expect(opened.value.locator("body")).to_contain_text("60.0%")
    unlike.locator("[name=who]").fill("B. Smith")
    unlike.locator("[name=reason]").fill("water test")
    unlike.get_by_role("button").click()
    write(4)
    expect(unlike).to_be_hidden()
    expect(page.locator("#commissioning-verdict")).to_contain_text("Overridden by B. Smith")
