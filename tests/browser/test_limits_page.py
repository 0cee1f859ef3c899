"""The limits on the page: which counts, whose they are, marks on the chart, confirmation, and a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import service as helpers
from tests.helpers.monitor import BrightnessAnalyzer, wait_for, write_frame
from tests.helpers.monitor import running as running_monitor
from tests.helpers.patience import PATIENCE_MS, PATIENCE_S

from georgia.config import build_config
from georgia.model.load import load_bundled_model
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.web.config import ServeConfig

pytestmark = [pytest.mark.slow]


@dataclass
class Shown:
    """A page over a monitor that runs in the service."""

    page: Any
    monitor: Monitor
    store: Store
    folder: Path
    errors: list[str] = field(default_factory=list)
    n: int = 0

    def write(self, count: int, n_pg: int) -> None:
        for _ in range(count):
            self.n += 1
            write_frame(self.folder / f"f{self.n:03d}.png", n_pg, seed=self.n)
        wait_for(lambda: self.store.count_frames() == self.n)


@pytest.fixture
def shown(tmp_path: Path, browser: Any, request: pytest.FixtureRequest) -> Iterator[Shown]:
    folder = tmp_path / "probe"
    folder.mkdir()
    store = Store(str(tmp_path / "m.db"))
    values = {"watch": folder, "poll_interval_s": 0.05, "min_judged": 1, "baseline_frames": 5, "batch": "B1"}
    changes = getattr(request, "param", {})
    config = build_config(MonitorConfig, values, changes)
    monitor = Monitor(BrightnessAnalyzer(), config, store, who="tester")  # type: ignore[arg-type]
    settings = ServeConfig(token=helpers.TOKEN, port=0, poll_interval_s=0.05)
    with (
        helpers.serving(settings, load_bundled_model(), store, monitor) as url,
        running_monitor(monitor),
        closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context,
    ):
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        made = Shown(page, monitor, store, folder)
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.write(1, 1)
        page.goto(f"{url}#token={helpers.TOKEN}")
        page.wait_for_selector("#strip button")
        yield made
        assert made.errors == []


@pytest.mark.parametrize("shown", [{"plausible_mean": 0.3}], indirect=True)
def test_limit_is_changed_with_reason_and_marked(shown: Shown) -> None:
    page = shown.page
    page.get_by_text("Change the limit or the batch").click()
    form = page.locator("#limits-form")
    form.locator("[name=limit]").fill("5")
    form.locator("[name=who]").fill("A. Miller")
    form.get_by_role("button").click()
    assert shown.store.audit_log(action="limits changed") == [], "a reason is asked for"
    form.locator("[name=reason]").fill("new recipe")
    form.get_by_role("button").click()
    expect(page.locator("#marks")).to_contain_text("limit none → 5 % (A. Miller: new recipe)")
    expect(page.locator("#limits-text")).to_contain_text("limit 5 %, set by A. Miller")
    (changed,) = shown.store.audit_log(action="limits changed")
    assert (changed.detail["changes"], changed.detail["reason"]) == ({"limit": [None, 0.05]}, "new recipe")
    shown.write(3, 4)
    expect(page.locator("#metric-limit-name")).to_have_text("limit (fixed)")
    legend = page.locator("#chart .u-legend .u-series")
    expect(legend.filter(has_text="fixed limit")).to_be_visible()
    expect(legend.filter(has_text="limit of the EWMA")).to_be_hidden()
    expect(page.locator("#metric-limit")).to_have_text("5.0 %")
    expect(page.locator("#alarms")).to_contain_text("at or over the limit of 0.05")


@pytest.mark.parametrize("shown", [{"plausible_mean": 0.3}], indirect=True)
def test_other_model_is_marked_with_limits_dropped(shown: Shown) -> None:
    shown.write(5, 1)
    expect(shown.page.locator("#marks")).to_contain_text("limits learned")
    expect(shown.page.locator("#limits-text")).to_contain_text("Mean in control 6.3 %")
    shown.write(1, 1)
    legend = shown.page.locator("#chart .u-legend .u-series")
    for name in ("limit of the EWMA", "limit of one frame (p-chart)"):
        expect(legend.filter(has_text=name)).to_be_visible()
    expect(shown.page.locator("#chart-cusum .u-legend")).to_contain_text("limit of the CUSUM")
    shown.monitor.swap_model("Ann", BrightnessAnalyzer(model_sha256="d" * 64))  # type: ignore[arg-type]
    expect(shown.page.locator("#marks")).to_contain_text("limits dropped")
    expect(shown.page.locator("#marks")).to_contain_text("model (Ann)")
    shown.write(1, 1)
    expect(shown.page.locator("#state .word")).to_have_text("warming up")
    expect(shown.page.locator("#limits-text")).to_contain_text(
        "Limits are being learned, from 5 analysed frames"
    )


def test_implausible_limits_are_confirmed_by_name(shown: Shown) -> None:
    page = shown.page
    shown.write(5, 4)
    expect(page.locator("#state .word")).to_have_text("limits unconfirmed")
    expect(page.locator("#unconfirmed-text")).to_contain_text("up to 5.0 % is plausible")
    form = page.locator("#confirm-form")
    form.locator("[name=who]").fill("A. Miller")
    form.locator("[name=note]").fill("seeded batch")
    form.get_by_role("button").click()
    expect(page.locator("#unconfirmed")).to_be_hidden()
    expect(page.locator("#limits-text")).to_contain_text("confirmed by A. Miller")
    (confirmed,) = shown.store.audit_log(action="limits confirmed")
    assert (confirmed.who, confirmed.detail["note"]) == ("A. Miller", "seeded batch")


@pytest.mark.parametrize("shown", [{"plausible_mean": 0.3, "limit": 0.1}], indirect=True)
def test_alarm_of_ended_batch_leaves_page(shown: Shown) -> None:
    shown.write(4, 8)
    expect(shown.page.locator("#alarms")).to_contain_text("Batch B1")
    shown.monitor.next_batch("Ann", "B2")
    expect(shown.page.locator("#batch-now")).to_contain_text("batch B2")
    expect(shown.page.locator("#alarms")).to_be_empty()
    shown.write(3, 9)
    expect(shown.page.locator("#alarms")).to_contain_text("Batch B2")
    expect(shown.page.locator("#alarms")).not_to_contain_text("B1")


@pytest.mark.parametrize("shown", [{"plausible_mean": 0.3, "limit": 0.2}], indirect=True)
def test_two_browsers_do_not_overrule_each_other(shown: Shown) -> None:
    shown.write(3, 8)
    bob, ann = shown.page, shown.page.context.new_page()
    ann.goto(f"{bob.url}#token={helpers.TOKEN}")
    for page in (ann, bob):
        expect(page.locator("#alarms")).to_contain_text("Batch B1")
        page.get_by_text("Change the limit or the batch").click()
        page.get_by_role("button", name="Acknowledge").click()
    for page, who in ((ann, "Ann"), (bob, "Bob")):
        page.locator("#ask [name=who]").fill(who)
        page.locator("#ask-ok").click()
        expect(page.locator("#alarms")).to_contain_text("acknowledged by Ann")
    expect(bob.locator("#alarms")).to_contain_text("It was acknowledged before you did; Bob was not written.")
    # Bob's forms are filled in before Ann sends hers.
    _fill(bob.locator("#limits-form"), limit="8", who="Bob", reason="old recipe")
    _fill(bob.locator("#batch-form"), name="B2-Bob", who="Bob")
    form = _fill(ann.locator("#limits-form"), limit="5", who="Ann", reason="new recipe")
    form.get_by_role("button").click()
    expect(bob.locator("#limits-text")).to_contain_text("limit 5 %, set by Ann")
    send = bob.locator("#limits-form").get_by_role("button")
    send.click()
    expect(bob.locator("#change-text")).to_contain_text("got 0.05, which Ann has set meanwhile")
    assert len(shown.store.audit_log(action="limits changed")) == 1
    send.click()
    expect(ann.locator("#limits-text")).to_contain_text("limit 8 %, set by Bob")
    _fill(ann.locator("#batch-form"), name="B2-Ann", who="Ann").get_by_role("button").click()
    expect(bob.locator("#batch-now")).to_contain_text("batch B2-Ann")
    bob.locator("#batch-form").get_by_role("button").click()
    expect(bob.locator("#change-text")).to_contain_text("another one, 'B2-Ann'")
    assert [batch.name for batch in shown.store.batches()] == ["B2-Ann", "B1"]


def _fill(form: Any, **values: str) -> Any:
    for name, value in values.items():
        form.locator(f"[name={name}]").fill(value)
    return form


# A real process, stopped and started with the same command


class _Served:
    def __init__(self, root: Path, *more: str) -> None:
        options = ["--db", str(root / "m.db"), "--port", "0", "--token", helpers.TOKEN, "--json", *more]
        command = [sys.executable, "-m", "georgia", "serve", "--watch", str(root / "probe"), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ, cwd=root)
        self.url = helpers.read_start(self.process)["url"]

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {helpers.TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, data, headers), timeout=PATIENCE_S
        ) as response:
            return json.load(response)

    def limits(self) -> Any:
        batch = self.ask("api/status")["batch"]
        return self.ask(f"api/batches/{batch['id']}/limits") if batch else {}

    def wait_for_carried(self, name: str) -> Any:
        wait_for(lambda: self.limits().get("changed", {}).get(name, {}).get("is_carried"))
        return self.limits()["changed"][name]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., _Served]]:
    """Start services one after the other; none outlives its test."""
    started: list[_Served] = []

    def start(*more: str) -> _Served:
        started.append(_Served(tmp_path, *more))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop(signal.SIGKILL)


def test_limit_of_page_survives_real_restart(
    tmp_path: Path, browser: Any, serve: Callable[..., _Served]
) -> None:
    (tmp_path / "probe").mkdir()
    command = ("--set", "limit=0.10")
    served = serve(*command)
    wait_for(lambda: served.limits().get("limit") == 0.1)
    served.ask("api/limits", {"who": "A. Miller", "limit": 0.05, "reason": "new recipe"})
    wait_for(lambda: served.limits()["limit"] == 0.05)
    served.stop()
    # Stopped, then killed: neither forgets.
    for how in (signal.SIGKILL, signal.SIGTERM):
        served = serve(*command)
        found = served.wait_for_carried("limit")
        assert (found["value"], found["given"], found["who"]) == (0.05, 0.1, "A. Miller")
        with closing(browser.new_context()) as context:
            page = context.new_page()
            page.goto(served.url)
            expect(page.locator("#limits-text")).to_contain_text("limit 5 %, set by A. Miller")
            expect(page.locator("#limits-text")).to_contain_text(
                "carried over the restart, whose command gives 10 %"
            )
        served.stop(how)
    served = serve("--set", "limit=0.08")
    wait_for(lambda: served.limits().get("limit") == 0.08)
    (changed,) = served.ask("api/trail?action=settings+changed")["entries"]
    assert changed["detail"]["changes"] == {"limit": [0.05, 0.08]}
