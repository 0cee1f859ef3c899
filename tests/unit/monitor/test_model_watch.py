"""A model that is promoted while a monitor runs: taken between two frames, or rejected by a clear line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.models import write_model
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame
from tests.helpers.people import add_people, hash_quickly

from georgia.config import build_config
from georgia.errors import InputError
from georgia.model.bundle import Bundle
from georgia.model.load import load_bundle
from georgia.model.promotion import Sign, go_back, replace_model
from georgia.monitor import model_watch
from georgia.monitor.limits_in_force import read_limits
from georgia.monitor.model_watch import ModelPlace, ModelWatch
from georgia.monitor.people.promotions import record_promotion
from georgia.monitor.records import MonitorEvent
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

OUTAGE = "model not taken"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("first", "second"):
        write_model(root / name, name)
    return root


def _take_all(_: Bundle) -> None:
    pass


class _Site:
    """A monitor on a folder of frames, with a model in a folder that another may be promoted to."""

    def __init__(self, root: Path, made: Path) -> None:
        shutil.copytree(made, root / "models")
        self.place, self.new = root / "models" / "first", root / "models" / "second"
        self.folder, self.n = root / "probe", 0
        self.folder.mkdir()
        self.store = Store(str(root / "store.db"))
        self.impurity, self.events = "PG", list[MonitorEvent]()
        self.try_out: Callable[[Bundle], None] = _take_all
        self.monitor = self.make()

    def make(self, **changes: Any) -> Monitor:
        values = {"poll_interval_s": 0.05, "min_judged": 1, "baseline_frames": 5, "source": "probe"}
        config = build_config(MonitorConfig, {"watch": self.folder}, values, {"plausible_mean": 0.3}, changes)
        self.impurity = "PG"
        analyzer = self.open(load_bundle(self.place))
        self.monitor = Monitor(analyzer, config, self.store, [self.events.append], "tester")
        return self.monitor

    def open(self, bundle: Bundle) -> Any:
        return BrightnessAnalyzer(impurity=self.impurity, model_sha256=bundle.sha256, bundle=bundle)

    @contextmanager
    def watching(self) -> Iterator[ModelWatch]:
        """Run the monitor; polls are the test's own."""
        with running(self.monitor) as monitor:
            wait_for(lambda: monitor.status().is_running)
            yield ModelWatch(ModelPlace(self.place, self.open, lambda bundle: self.try_out(bundle)), monitor)

    def write(self, count: int) -> None:
        for _ in range(count):
            self.n += 1
            write_frame(self.folder / f"f{self.n:03d}.png", 1, seed=self.n)
        wait_for(lambda: self.store.count_frames() == self.n)

    def poll(self, watch: ModelWatch) -> None:
        """Poll once, and wait until the monitor has dealt with what was found."""
        watch.poll()
        wait_for(lambda: not self.monitor.is_swapping)
        written: list[bool] = []
        write = written.append
        self.monitor._requests.put(lambda: self.monitor._writes.put(lambda: write(True)))
        wait_for(lambda: written)

    def details(self, action: str) -> list[Any]:
        return [event.detail for event in self.store.audit_log(action=action)]

    @property
    def outages(self) -> list[str]:
        return [d["reason"] for d in self.details("outage began") if d["outage"] == OUTAGE]


@pytest.fixture
def site(tmp_path: Path, made: Path) -> Iterator[_Site]:
    site = _Site(tmp_path, made)
    yield site
    assert verify_store(site.store).is_whole
    site.store.close()


def test_promoted_model_is_taken_between_two_frames_and_back(site: _Site) -> None:
    old, new = load_bundle(site.place).sha256, load_bundle(site.new).sha256
    with site.watching() as watch:
        site.write(6)
        learned = json.loads(site.store.batches()[0].chart_state)["charts"]["limits"]
        site.poll(watch)
        assert site.details("model swapped") == []
        replace_model(site.new, site.place, Sign("A. Miller", "more labels"))
        site.poll(watch)
        site.write(1)
        assert site.monitor.bundle.name == "second"
        (swap,) = site.details("model swapped")
        assert (swap["from"], swap["to"], swap["model"]) == (old, new, "second")
        assert (swap["reason"], swap["promotion"]["who"]) == (
            "promoted by A. Miller: more labels",
            "A. Miller",
        )
        (dropped,) = site.details("limits dropped")
        assert (dropped["mean"], site.store.frames(limit=1)[0].state) == (learned["mean"], "warming up")
        go_back(site.place, "B. Jones", "worse at night")
        site.poll(watch)
        site.write(1)
    assert [frame.model_sha256 for frame in site.store.frames(limit=2)] == [old, new]
    assert site.details("model swapped")[0]["reason"] == "brought back by B. Jones: worse at night"
    assert site.outages == []


@pytest.mark.slow
def test_start_behind_a_swap_writes_it_no_second_time(site: _Site) -> None:
    with site.watching() as watch:
        site.write(1)
        replace_model(site.new, site.place, Sign("A"))
        site.poll(watch)
    with running(site.make()) as monitor:
        wait_for(lambda: monitor.status().is_running)
        site.write(1)
    assert len(site.details("model swapped")) == 1


def test_mean_set_for_the_model_before_does_not_hold_on(site: _Site) -> None:
    """As at a start: what the command gives by hand stays, what the page set for another model does not."""
    with site.watching() as watch:
        site.write(1)
        site.monitor.change_limits("Ann", {"mean": 0.02, "sigma": 0.01, "limit": 0.2}, "by hand")
        wait_for(lambda: site.details("limits changed"))
        replace_model(site.new, site.place, Sign("A"))
        site.poll(watch)
        site.write(1)
        charts = site.monitor.config.charts
        assert (charts.mean, charts.sigma, charts.limit) == (None, None, 0.2)
        (changed,) = site.details("settings changed")
        assert changed["changes"] == {"mean": [0.02, None], "sigma": [0.01, None]}
        assert changed["set_before"]["mean"]["who"] == "Ann"
        frame = site.store.frames(limit=1)[0]
        assert (frame.state, site.store.document(frame.settings_id)["mean"]) == ("warming up", None)
        shown = read_limits(site.store, site.store.batches()[0])
        assert (list(shown["changed"]), shown["mean"]) == (["limit"], None)
    with running(site.make()) as monitor:
        wait_for(lambda: monitor.status().is_running)
        assert monitor.config.charts == charts
    assert len(site.details("settings changed")) == 1


def test_mean_of_the_command_stays(site: _Site) -> None:
    site.make(mean=0.02, sigma=0.01)
    with site.watching() as watch:
        site.write(1)
        replace_model(site.new, site.place, Sign("A"))
        site.poll(watch)
        site.write(1)
    assert site.details("model swapped")[0]["limits"] == "mean 0.02 and sigma 0.01 by hand stay"
    assert site.store.frames(limit=1)[0].chart.centre == 0.02


def test_damaged_model_is_told_and_the_old_one_goes_on(site: _Site) -> None:
    old = load_bundle(site.place).sha256
    with site.watching() as watch:
        site.write(1)
        bundle = replace_model(site.new, site.place, Sign("A"))
        whole = bundle.model_path.read_bytes()
        bundle.model_path.write_bytes(whole[:-1])
        site.poll(watch)
        site.write(1)
        (reason,) = site.outages
        assert "first goes on: Cannot use model" in reason
        assert "must be the file that bundle.json describes" in reason
        told = [event.detail["reason"] for event in site.events if event.kind == "outage"]
        assert told == [reason]  # as the webhook and the mail have it
        wait_for(lambda: site.monitor.status().fault == reason == site.monitor.health().reason)
        assert site.monitor.health().is_ok
        assert site.store.frames(limit=1)[0].model_sha256 == old
        bundle.model_path.write_bytes(whole)
        os.utime(site.place / "bundle.json")
        site.poll(watch)
        assert site.monitor.bundle.name == "second"
        wait_for(lambda: site.monitor.status().fault == "")
    (ended,) = [each for each in site.details("outage ended") if each["outage"] == OUTAGE]
    assert ended["reason"] == reason


def test_model_that_computes_otherwise_is_rejected(site: _Site) -> None:
    def fail(bundle: Bundle) -> None:
        raise InputError(f"Cannot use model {bundle.name!r}", needs="engines must agree", got="0.2")

    site.try_out = fail
    with site.watching() as watch:
        replace_model(site.new, site.place, Sign("A"))
        site.poll(watch)
        assert "Cannot use model 'second': engines must agree" in site.outages[0]
        go_back(site.place, "A")
        site.poll(watch)
        wait_for(lambda: site.monitor.status().fault == "")
    assert site.details("model swapped") == []


def test_model_that_nobody_promoted_is_not_taken(site: _Site) -> None:
    with site.watching() as watch:
        for file in site.new.iterdir():
            shutil.copy(file, site.place)
        site.poll(watch)
        assert (
            "a running monitor takes a promoted model only; got one that was written there" in site.outages[0]
        )
        assert site.monitor.bundle.name == "first"


@pytest.mark.slow
def test_model_with_which_no_start_would_begin_is_rejected(site: _Site) -> None:
    with site.watching():
        site.write(6)
    site.store.end_batch(1, "t")
    site.make(batch="B2", limits_from="1")
    with site.watching() as watch:
        replace_model(site.new, site.place, Sign("A"))
        site.poll(watch)
        assert "measured with this model, class and windows; got another model" in site.outages[0]
        assert site.monitor.bundle.name == "first"
        go_back(site.place, "A")
        site.poll(watch)
        wait_for(lambda: site.monitor.status().fault == "")


def test_model_of_another_class_is_rejected(site: _Site) -> None:
    with site.watching() as watch:
        site.impurity = "CEX"
        replace_model(site.new, site.place, Sign("A"))
        site.poll(watch)
        assert "it must know the class 'PG', which this batch charts; got 'CEX'" in site.outages[0]


def test_store_with_users_wants_a_proof(site: _Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hash_quickly(monkeypatch)
    add_people(site.store)
    with site.watching() as watch:
        bundle = replace_model(site.new, site.place, Sign("Reviewer One"))
        site.poll(watch)
        # The command writes into the store behind the folder: for a while nothing is said.
        assert (site.outages, site.details("model swapped")) == ([], [])
        monkeypatch.setattr(model_watch, "_PROOF_WAIT_S", 0.0)
        site.poll(watch)
        assert "got 'Reviewer One' without a proof. Use georgia promote --db" in site.outages[0]
        # An entry of another promotion of the same model proves nothing.
        sign = {**bundle.metadata["promotion"], "at": "2026-01-01T00:00:00+00:00"}
        other = replace(bundle, metadata={**bundle.metadata, "promotion": sign})
        record_promotion(site.store, "Reviewer One", other, "reviewer", "password")
        os.utime(site.place / "bundle.json")
        site.poll(watch)
        assert site.details("model swapped") == []
        record_promotion(site.store, "Reviewer One", bundle, "reviewer", "password")
        os.utime(site.place / "bundle.json")
        site.poll(watch)
        assert len(site.details("model swapped")) == 1


@pytest.mark.slow
def test_limits_changed_while_the_record_was_asked_hold(site: _Site) -> None:
    with site.watching() as watch:
        site.write(1)
        replace_model(site.new, site.place, Sign("A"))
        monitor, check = site.monitor, site.monitor._check_swap
        calls: list[int] = []

        def change_meanwhile(analyzer: Any) -> None:
            check(analyzer)
            calls.append(1)
            if len(calls) == 1:
                monitor.change_limits("Ann", {"limit": 0.3})

        monitor._check_swap = change_meanwhile  # type: ignore[method-assign]
        site.poll(watch)
        assert (len(calls), monitor.config.charts.limit, monitor.bundle.name) == (2, 0.3, "second")


def test_thread_polls_by_itself_and_ends(site: _Site) -> None:
    with running(site.monitor) as monitor:
        wait_for(lambda: monitor.status().is_running)
        replace_model(site.new, site.place, Sign("A"))
        watch = ModelWatch(ModelPlace(site.place, site.open, _take_all), monitor, poll_s=0.01)
        watch.start()
        wait_for(lambda: monitor.bundle.name == "second")
        watch.close()
        assert not watch._thread.is_alive()
