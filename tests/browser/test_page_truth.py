"""The page when what it shows is not so any more: service dead or hung, frames missing, values old."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import monitor as probe
from tests.helpers.patience import PATIENCE_MS

pytestmark = [pytest.mark.slow]
# Frames so far apart that the last one counts as of now until the page has been looked at, however slowly.
RARE = [600.0 * age + 1 for age in range(29, -1, -1)]
rarely = pytest.mark.parametrize("served", [RARE], indirect=True, ids=["rare frames"])


@dataclass
class Served:
    """A page of a service in a process of its own, over a batch of fresh frames."""

    page: Any
    process: subprocess.Popen[str]
    folder: Path
    url: str


def _make_fresh_batch(folder: Path, ages_s: list[float]) -> None:
    """Write a store whose frames are so many seconds old."""
    from georgia.monitor.result import ChartPoint
    from georgia.monitor.store import Store

    store = Store(str(folder / "m.db"))
    batch = store.begin_batch("probe", "B-1", "A. Miller", "PG", "tests")
    now = time.time()
    for number, age_s in enumerate(ages_s, start=1):
        at = now - age_s
        limits = {"ewma_limit": 0.1, "p_limit": 0.15, "cusum_limit": 5.0}
        chart = ChartPoint(ewma=0.05, cusum=0.5, ewma_low=0.03, ewma_high=0.08, **limits)
        frame = probe.make_result(number, batch.id, 0.05, frame_time_s=at, judged_at_s=at, chart=chart)
        store.record_frame(frame, "probe", "{}")
    store.close()


def serve_command(folder: Path) -> list[str]:
    """Return the command of a service whose word for the probe's state does not change while a test looks."""
    options = ["--db", str(folder / "m.db"), "--port", "0", "--set", "no_frames_s=86400"]
    return [sys.executable, "-m", "georgia", "serve", *options]


@pytest.fixture
def served(tmp_path: Path, browser: Any, request: pytest.FixtureRequest) -> Iterator[Served]:
    ages_s = getattr(request, "param", [float(age) for age in range(30, 0, -1)])
    if ages_s:
        _make_fresh_batch(tmp_path, ages_s)
    command = serve_command(tmp_path)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ, cwd=tmp_path)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("page: ").strip()
        with closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context:
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.goto(url)
            expect(page.locator("#link")).to_have_text("live")
            yield Served(page, process, tmp_path, url)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@rarely
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_page_of_dead_service_shows_no_connection(served: Served, how: signal.Signals) -> None:
    page = served.page
    expect(page.locator("#metric-age")).to_have_text("now")
    before = page.inner_text("#state .word")
    served.process.send_signal(how)
    expect(page.locator("#state .word")).to_have_text("no connection")
    expect(page.locator("#link")).to_contain_text("no word from the service since")
    expect(page.locator("#metric-age")).to_contain_text("ago")
    expect(page).to_have_title("✕ no connection – Georgia")
    expect(page.locator("#state")).to_have_attribute("data-kind", "bad")
    if how == signal.SIGSTOP:
        served.process.send_signal(signal.SIGCONT)
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#state .word")).to_have_text(before)


@rarely
def test_page_of_service_without_store_says_so(served: Served) -> None:
    page, file = served.page, served.folder / "m.db"
    expect(page.locator("#metric-age")).to_have_text("now")
    before = page.inner_text("#state .word")
    kept = file.rename(served.folder / "kept.db")
    expect(page.locator("#state .word")).to_have_text("store away")
    expect(page.locator("body")).to_have_class("stale")
    expect(page.locator("#metric-age")).to_contain_text("ago")
    expect(page.locator("#fault")).to_contain_text("was removed while it was open")
    expect(page.locator("#begin")).to_be_hidden()
    kept.rename(file)
    expect(page.locator("#state .word")).to_have_text(before)
    expect(page.locator("body")).not_to_have_class("stale")


@pytest.mark.parametrize("served", [[7200.0 + 10 * age for age in range(30, 0, -1)]], indirect=True)
def test_old_values_are_not_shown_as_now(served: Served) -> None:
    expect(served.page.locator("#metric-age")).to_have_text("2 h ago")
    expect(served.page.locator(".metrics")).to_have_class("metrics old")


@pytest.mark.parametrize("served", [[]], indirect=True)
def test_empty_page_says_what_to_do(served: Served) -> None:
    expect(served.page.locator("#begin-text")).to_contain_text("georgia serve MODEL --watch FOLDER")


def test_smoothed_fraction_has_its_interval(served: Served) -> None:
    page = served.page
    expect(page.locator("#metric-ewma")).to_have_text("5.0 %")
    expect(page.locator("#metric-ewma-interval")).to_have_text("3.0–8.0 %")
    expect(page.locator("#chart .u-over")).to_be_visible()
    bands = page.evaluate("uPlot.sync('course').plots[0].bands.map((band) => band.series)")
    labels = page.evaluate("uPlot.sync('course').plots[0].series.map((one) => one.label)")
    assert [[labels[at] for at in band] for band in bands] == [
        ["high", "low"],
        ["smoothed, high", "smoothed, low"],
    ]


def test_line_breaks_where_frames_are_missing(served: Served) -> None:
    made = served.page.evaluate(
        """async () => {
            const { withGaps } = await import("/static/js/chart.js");
            const seconds = [1, 2, 3, 4, 60, 61, 62];
            return withGaps({ stride: 1, frame_time_s: seconds, fraction: seconds.map(() => 0.1) });
        }"""
    )
    assert made["frame_time_s"] == [1, 2, 3, 4, 32, 60, 61, 62]
    assert made["fraction"][4] is None


def test_rows_that_an_earlier_choice_brings_late_are_not_shown(served: Served) -> None:
    page, held, late = served.page, list[Any](), re.compile(r"/api/frames\?state=in")
    rows, states = page.locator("#record-rows tr"), "#record-form select[name=state]"
    page.get_by_text("Frames as a table").click()
    expect(rows).to_have_count(30)
    page.route(late, lambda route: held.append(route))
    page.select_option(states, "in control")
    while not held:
        page.wait_for_timeout(20)
    page.select_option(states, "alarm")
    expect(page.locator("#record-text")).to_have_text("No frame of that kind.")
    with page.expect_response(late):
        held[0].continue_()
    page.evaluate("fetch('api/health').then((response) => response.text())")
    expect(rows).to_have_count(0)


def test_zoom_survives_new_frames(served: Served) -> None:
    page = served.page
    expect(page.locator("#strip button")).to_have_count(24)  # what comes later moves the chart
    over = page.locator("#chart .u-over")
    box = over.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 50, steps=5)
    page.mouse.up()
    expect(page.locator("#chart-reset")).to_be_visible()
    span = "uPlot.sync('course').plots.map((plot) => plot.scales.x.max - plot.scales.x.min)"
    probe.wait_for(lambda: max(page.evaluate(span)) < 15)
    zoomed = page.evaluate(span)
    assert len(zoomed) == 2
    expect(page.locator("#demonstration")).to_be_visible()  # of the model that is served
    _append_frame(served.folder)
    expect(page.locator("#chart-text")).to_contain_text("31 points")
    expect(page.locator("#model-name")).to_have_text("plant-7")  # that analysed the frame
    expect(page.locator("#demonstration")).to_be_hidden()
    expect(page.locator("#model-text")).to_contain_text("the frames shown were analysed by plant-7")
    assert page.evaluate(span) == zoomed
    page.locator("#chart-reset").click()
    expect(page.locator("#chart-reset")).to_be_hidden()
    probe.wait_for(lambda: min(page.evaluate(span)) > 25)


def _append_frame(folder: Path) -> None:
    from georgia.monitor.store import Store

    store = Store(str(folder / "m.db"))
    now = time.time()
    store.save_document("model", {"name": "plant-7", "is_demonstration": False}, "a" * 64)
    frame = probe.make_result(31, 1, 0.06, frame_time_s=now, judged_at_s=now, model_sha256="a" * 64)
    store.record_frame(frame, "probe", "{}")
    store.close()
