"""Process data on the page: nothing without any; then lines by unit, events, results, and true ages."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers.service import TOKEN, running_service

from georgia.monitor.process_record import Piece, VariableValues, write_piece

pytestmark = [pytest.mark.slow]


def write_values(store: Any) -> None:
    """Write T_r, T_j and a stirrer of the batch's own time, long ago, and p until now."""
    values = [
        VariableValues(name, unit, [(1000.0 + k, 20.0 + k, "good") for k in range(4)])
        for name, unit in (("T_r", "°C"), ("T_j", "°C"), ("n", "rpm"))
    ]
    now = time.time()
    values.append(VariableValues("p", "bar", [(now - k, 1.5, "good") for k in range(5)]))
    store.write(lambda change: write_piece(change, Piece("reactor", "r.csv", "Ann", values, batch_id=1)))


def test_page_shows_process_data_once_there_are_any(browser: Any, tmp_path: Path) -> None:
    with running_service(tmp_path) as (port, service):
        page = browser.new_page(viewport={"width": 390, "height": 900})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/#token={TOKEN}")
        expect(page.locator("#chart .u-over")).to_be_visible()
        expect(page.locator("#process")).to_be_hidden()
        expect(page.locator("#process-entries")).to_be_hidden()

        write_values(service.store)
        expect(page.locator("#process-variables li")).to_have_count(4)
        # The two temperatures have one chart and one axis; an old value is none of now.
        expect(page.locator("#process-charts .chart")).to_have_count(1)
        expect(page.locator("#process-charts")).to_contain_text("T_j")
        expect(page.locator("#process-variables li", has_text="T_r")).to_have_class("old")
        expect(page.locator("#process-variables li", has_text="bar")).to_contain_text("p1.5 bar")
        page.locator("#process-variables li", has_text="rpm").locator("input").check()
        expect(page.locator("#process-charts .chart")).to_have_count(2)

        page.locator("#process-entries summary").click()
        form = page.locator("#event-form")
        form.locator("[name=name]").fill("seeding <b>")
        form.locator("[name=who]").fill("Ann")
        form.locator("button").click()
        expect(page.locator("#process-rows")).to_contain_text("seeding <b>")
        result = page.locator("#result-form")
        result.locator("[name=name]").fill("PG by HPLC")
        result.locator("[name=value]").fill("12.5")
        result.locator("[name=who]").fill("Bob")
        result.locator("button").click()
        expect(page.locator("#process-marks")).to_contain_text("PG by HPLC 12.5 % (Bob)")
        expect(page.locator("#process-variables")).to_contain_text("laboratory results")
        page.on("dialog", lambda dialog: dialog.accept("typed twice"))
        page.locator("#process-rows tr", has_text="seeding").locator("button").click()
        expect(page.locator("#process-rows")).not_to_contain_text("seeding")
        page.locator("#batches input").check()
        page.locator("#compare-by select").select_option("=T_r [°C]")
        expect(page.locator("#compare-text")).to_contain_text("in each interval of T_r [°C]")
        # A telephone needs no scrolling sideways.
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not faults
        actions = [event.action for event in service.store.audit_log(limit=3)]
        assert actions == ["entry withdrawn", "laboratory result", "process event"]
        page.close()


def test_process_data_of_another_time_are_told(browser: Any, tmp_path: Path) -> None:
    def write(first_s: float, name: str, batch_id: int | None) -> None:
        values = [VariableValues(name, "°C", [(first_s + k, 20.0 + k, "good") for k in range(600)])]
        piece = Piece("reactor", f"{name}.csv", "Ann", values, batch_id=batch_id)
        service.store.write(lambda change: write_piece(change, piece))

    context = browser.new_context(viewport={"width": 390, "height": 900}, timezone_id="UTC", locale="en-GB")
    with closing(context), running_service(tmp_path) as (port, service):
        page, apart = context.new_page(), "#process-apart"
        write(7200.0, "T_r", None)  # the frames are of 00:16:41 to 00:16:43
        page.goto(f"http://127.0.0.1:{port}/#token={TOKEN}")
        expect(page.locator(apart)).to_contain_text("No process data of this batch's time: they reach from")
        expect(page.locator(apart)).to_contain_text("02:00:00")
        expect(page.locator(apart)).to_contain_text("00:16:43")
        expect(page.locator(apart)).to_contain_text("Frames of that time are not analysed yet")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        write(100.0, "T_j", 1)
        page.reload()
        expect(page.locator(apart)).to_contain_text("T_j is empty here: process data reach from")
        expect(page.locator(apart)).to_contain_text("Process data of that time are not read yet")

        write(1000.0, "T_k", 1)
        page.reload()
        page.locator("#process-variables li", has_text="T_j").locator("input").uncheck()
        expect(page.locator(apart)).to_contain_text("T_k goes on to")
        expect(page.locator(apart)).not_to_contain_text("T_j")
