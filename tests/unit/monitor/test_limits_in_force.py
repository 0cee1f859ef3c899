"""Limits over a restart, another batch and another model: whose they are, and which are not used silently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame
from tests.helpers.postgres import PostgresServer, has_postgres

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.limits_in_force import read_limits
from georgia.monitor.pending import ConflictError
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store


class _Probe:
    def __init__(self, root: Path, url: str = "") -> None:
        self.folder, self.n = root / "probe", 0
        self.folder.mkdir()
        self.store = Store(url or str(root / "store.db"))
        self.reasons: list[str] = []

    def monitor(self, model: str = "b", **changes: Any) -> Monitor:
        values = {"poll_interval_s": 0.05, "min_judged": 1, "baseline_frames": 5, "source": "probe"}
        config = build_config(MonitorConfig, {"watch": self.folder}, values, {"plausible_mean": 0.3}, changes)
        analyzer = BrightnessAnalyzer(model_sha256=model * 64)
        monitor = Monitor(analyzer, config, self.store, [self._note], "tester")  # type: ignore[arg-type]
        return monitor

    def _note(self, event: Any) -> None:
        if event.kind == "state" and event.detail:
            self.reasons.append(event.detail["reason"])

    def write(self, count: int, n_pg: int = 1) -> None:
        for _ in range(count):
            self.n += 1
            write_frame(self.folder / f"f{self.n:03d}.png", n_pg, seed=self.n)

    def run(self, monitor: Monitor, work: Callable[[Monitor], None] = lambda _: None) -> None:
        with running(monitor):
            wait_for(lambda: monitor.status().is_running)
            work(monitor)
            wait_for(lambda: self.store.count_frames() == self.n)

    def change(
        self, who: str = "Ann", reason: str = "new recipe", **changes: Any
    ) -> Callable[[Monitor], None]:
        """Return what changes limits on the page, and waits until they are in the record."""
        known = len(self.store.audit_log(action="limits changed"))

        def work(monitor: Monitor) -> None:
            monitor.change_limits(who, changes, reason)
            wait_for(lambda: len(self.store.audit_log(action="limits changed")) == known + 1)

        return work

    def details(self, action: str) -> list[Any]:
        return [event.detail for event in self.store.audit_log(action=action)]


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[_Probe]:
    made = _Probe(tmp_path)
    yield made
    assert verify_store(made.store).is_whole
    made.store.close()


def test_limit_of_page_survives_restarts(probe: _Probe) -> None:
    probe.run(probe.monitor(limit=0.1), probe.change(limit=0.05))
    for batch in ("", "", "next"):
        monitor = probe.monitor(limit=0.1, batch=batch)
        probe.run(monitor)
        assert monitor.config.charts.limit == 0.05
        carried = probe.details("monitor started")[0]["carried"]["limit"]
        assert (carried["value"], carried["given"], carried["who"], carried["reason"]) == (
            *(0.05, 0.1, "Ann"),
            "new recipe",
        )
    assert probe.details("settings changed") == [{"changes": {"batch": ["", "next"]}}]
    assert probe.reasons[-1].startswith("limit 0.05 of Ann, 20")
    assert probe.reasons[-1].endswith("is carried over; this start gives 0.1")


def test_ended_batch_keeps_limits_of_its_end(probe: _Probe) -> None:
    probe.run(probe.monitor(batch="B1", limit=0.1), probe.change(limit=0.05))
    probe.run(probe.monitor(batch="B2", limit=0.1), probe.change("Bob", limit=0.07))
    second, first = (read_limits(probe.store, batch) for batch in probe.store.batches())
    assert (first["limit"], first["changed"]["limit"]["who"], first["is_running"]) == (0.05, "Ann", False)
    assert (second["limit"], second["changed"]["limit"]["who"], second["is_running"]) == (0.07, "Bob", True)


def test_limit_given_anew_replaces_that_of_page(probe: _Probe) -> None:
    probe.run(probe.monitor(limit=0.1), probe.change(limit=0.05))
    monitor = probe.monitor(limit=0.08)
    probe.run(monitor)
    assert monitor.config.charts.limit == 0.08
    (changed,) = probe.details("settings changed")
    assert changed["changes"] == {"limit": [0.05, 0.08]}
    assert changed["set_before"]["limit"]["who"] == "Ann"
    assert "carried" not in probe.details("monitor started")[0]
    probe.run(probe.monitor(limit=0.08))
    assert len(probe.details("settings changed")) == 1


def test_limit_without_one_before_survives(probe: _Probe) -> None:
    probe.run(probe.monitor(), probe.change(limit=0.05, raise_after=3))
    monitor = probe.monitor()
    probe.run(monitor)
    assert (monitor.config.charts.limit, monitor.config.charts.raise_after) == (0.05, 3)


def test_mean_and_spread_stay_together(probe: _Probe) -> None:
    probe.run(probe.monitor(), probe.change(mean=0.03, sigma=0.01))
    monitor = probe.monitor()
    probe.run(monitor)
    assert (monitor.config.charts.mean, monitor.config.charts.sigma) == (0.03, 0.01)
    monitor = probe.monitor(mean=0.03, sigma=0.02)
    probe.run(monitor)
    assert (monitor.config.charts.mean, monitor.config.charts.sigma) == (0.03, 0.02)


def test_limits_set_for_other_model_are_left(probe: _Probe) -> None:
    probe.run(probe.monitor(), probe.change(mean=0.03, sigma=0.01, limit=0.2))
    monitor = probe.monitor("c")
    probe.run(monitor)
    assert (monitor.config.charts.mean, monitor.config.charts.limit) == (None, 0.2)
    start = probe.details("monitor started")[0]
    assert set(start["replaced"]) == {"mean", "sigma"}
    assert set(start["carried"]) == {"limit"}


def test_two_changes_at_once_both_hold(probe: _Probe) -> None:
    monitor = probe.monitor()
    monitor.change_limits("Ann", {"limit": 0.05}, "first")
    monitor.change_limits("Bob", {"raise_after": 4}, "second")
    probe.run(monitor, lambda _: wait_for(lambda: len(probe.details("limits changed")) == 2))
    assert (monitor.config.charts.limit, monitor.config.charts.raise_after) == (0.05, 4)


def test_change_of_limits_from_old_value_is_conflict(probe: _Probe) -> None:
    monitor = probe.monitor(limit=0.2)
    monitor.change_limits("Ann", {"limit": 0.05}, "first", {"limit": 0.2})
    with pytest.raises(ConflictError, match=r"you saw, 0\.2, .* got 0\.05, which Ann has set"):
        monitor.change_limits("Bob", {"limit": 0.08}, "second", {"limit": 0.2})
    probe.run(monitor, lambda _: wait_for(lambda: len(probe.details("limits changed")) == 1))
    assert monitor.config.charts.limit == 0.05
    with pytest.raises(ConflictError, match="which Ann has set"):
        monitor.change_limits("Bob", {"limit": 0.08}, "second", {"limit": 0.2})
    monitor.change_limits("Bob", {"limit": 0.08}, "second", {"limit": 0.05})


def test_batch_begun_by_another_is_conflict(probe: _Probe) -> None:
    monitor = probe.monitor()

    def act(_: Any) -> None:
        number = monitor.status().batch_id
        monitor.next_batch("Ann", "B-Ann", expected=number)
        with pytest.raises(ConflictError, match="another one, 'B-Ann'"):
            monitor.next_batch("Bob", "B-Bob", expected=number)
        wait_for(lambda: monitor.status().batch_name == "B-Ann")
        with pytest.raises(ConflictError, match="another one, 'B-Ann'"):
            monitor.next_batch("Bob", "B-Bob", expected=number)

    probe.run(monitor, act)
    assert [batch.name for batch in probe.store.batches()].count("B-Ann") == 1
    assert probe.store.batches()[0].name == "B-Ann"


def test_other_model_learns_limits_anew(probe: _Probe) -> None:
    probe.write(6)
    probe.run(probe.monitor())
    learned = json.loads(probe.store.batches()[0].chart_state)["charts"]["limits"]
    probe.run(probe.monitor("c"))
    (dropped,) = probe.details("limits dropped")
    assert dropped["reason"] == "they were learned with another model; they are learned anew"
    assert dropped["mean"] == learned["mean"]
    probe.run(probe.monitor("c"))
    assert len(probe.details("limits dropped")) == 1, "said once"
    probe.write(2, n_pg=2)
    probe.run(probe.monitor("c"))
    assert [frame.state for frame in probe.store.frames(limit=2)] == ["warming up"] * 2


def test_swap_while_running_drops_baseline_too(probe: _Probe) -> None:
    probe.write(3)

    def swap(monitor: Monitor) -> None:
        wait_for(lambda: probe.store.count_frames() == 3)
        monitor.swap_model("Ann", BrightnessAnalyzer(model_sha256="d" * 64))  # type: ignore[arg-type]
        wait_for(lambda: probe.details("limits dropped"))
        probe.write(4)

    monitor = probe.monitor()
    probe.run(monitor, swap)
    assert probe.details("limits dropped")[0]["baseline"] == 3
    assert probe.store.frames(limit=1)[0].state == "warming up"
    assert probe.details("model swapped")[0]["to"] == "d" * 64


def test_limits_by_hand_stay_for_other_model(probe: _Probe) -> None:
    probe.write(1)
    probe.run(probe.monitor(mean=0.02, sigma=0.01))
    probe.write(1)
    probe.run(probe.monitor("c", mean=0.02, sigma=0.01))
    assert probe.details("limits dropped") == []
    assert [frame.chart.centre for frame in probe.store.frames()] == [0.02, 0.02]
    assert probe.details("model swapped")[0]["limits"] == "mean 0.02 and sigma 0.01 by hand stay"


def test_limits_no_longer_given_are_learned(probe: _Probe) -> None:
    probe.write(1)
    probe.run(probe.monitor(mean=0.02, sigma=0.01))
    assert read_limits(probe.store, probe.store.batches()[0])["origin"] == "by hand"
    probe.write(1)
    probe.run(probe.monitor())
    assert probe.store.frames(limit=1)[0].state == "warming up"
    (dropped,) = probe.details("limits dropped")
    assert dropped["reason"] == "they were given by hand, and are not any more; they are learned anew"


def test_other_windows_learn_limits_anew(probe: _Probe) -> None:
    probe.write(6)
    probe.run(probe.monitor())
    probe.run(probe.monitor(overlap=0.5, min_detail=3))
    assert "another overlap and another min_detail" in probe.details("limits dropped")[0]["reason"]


def test_other_class_learns_limits_anew(probe: _Probe) -> None:
    probe.write(6)
    probe.run(probe.monitor())
    monitor = probe.monitor()
    monitor._analyzer.impurity = "CEX"  # type: ignore[misc]
    probe.run(monitor)
    assert "another class" in probe.details("limits dropped")[0]["reason"]


def _end_batch(probe: _Probe, name: str) -> int:
    batch = next(item for item in probe.store.batches() if item.name == name)
    probe.store.end_batch(batch.id, "tester")
    return batch.id


def test_limits_of_ended_batch_are_taken(probe: _Probe) -> None:
    probe.write(6)
    probe.run(probe.monitor(batch="B1"))
    learned = json.loads(probe.store.batches()[0].chart_state)["charts"]["limits"]
    number = _end_batch(probe, "B1")
    probe.write(1)
    probe.run(probe.monitor(batch="B2", limits_from="B1"))
    newest = probe.store.frames(limit=1)[0]
    assert (newest.state, newest.chart.centre) == ("in control", learned["mean"])
    taken = probe.details("limits set")[0]
    assert (taken["from_batch"], taken["dispersion"]) == (number, learned["dispersion"])
    assert taken["reason"].startswith("taken from batch 'B1' (number 1), which ended 20")
    probe.write(1)
    probe.run(probe.monitor(batch="B2", limits_from=str(number)))
    assert len(probe.details("limits set")) == 2, "learned by B1, taken by B2"
    assert read_limits(probe.store, probe.store.batches()[0])["origin"] == f"batch {number}"
    probe.write(1)
    probe.run(probe.monitor(batch="B2"))
    assert probe.store.frames(limit=1)[0].chart.centre == learned["mean"], "they are the batch's own now"


def test_unfit_batch_gives_no_limits(probe: _Probe) -> None:
    probe.write(6)
    probe.run(probe.monitor(batch="B1"))
    with pytest.raises(InputError, match="a batch that has ended is needed; got one that runs"):
        probe.monitor(limits_from="B1").run()
    _end_batch(probe, "B1")
    with pytest.raises(InputError, match=r"got another model \(sha256 bbbb.*, now cccc"):
        probe.monitor("c", limits_from="B1").run()
    with pytest.raises(InputError, match="Did you mean 'B1'"):
        probe.monitor(limits_from="B11").run()
    with pytest.raises(InputError, match="both: mean, sigma and limits_from"):
        probe.monitor(limits_from="B1", mean=0.1, sigma=0.1).run()
    probe.run(probe.monitor(batch="empty"))
    _end_batch(probe, "empty")
    with pytest.raises(InputError, match="ended before they were learned"):
        probe.monitor(limits_from="empty").run()
    assert [batch.name for batch in probe.store.batches()] == ["empty", "B1"], "nothing was begun"
    probe.monitor(limits_from="B1").run(once=True)


def test_unconfirmed_limits_are_not_taken(probe: _Probe) -> None:
    probe.write(6, n_pg=8)
    probe.run(probe.monitor(batch="B1"))
    _end_batch(probe, "B1")
    with pytest.raises(InputError, match="a mean of 50.0% that nobody confirmed"):
        probe.monitor(limits_from="B1").run()


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        "7",
        "{",
        '{"charts": []}',
        '{"charts": {"limits": {"mean": "low"}}}',
        '{"charts": {"baseline": 3}}',
    ],
)
def test_altered_chart_state_is_named_and_no_crash(tmp_path: Path, state: str) -> None:
    store = Store(str(tmp_path / "m.db"))
    batch = replace(store.begin_batch("probe", "B-1", "Ann", "PG", "Ann"), chart_state=state)
    with pytest.raises(InputError, match="One was altered: see 'georgia verify'"):
        read_limits(store, batch)


def test_limits_in_force_name_their_origin(probe: _Probe) -> None:
    probe.write(6)
    probe.run(probe.monitor(limit=0.4), probe.change("Bob", limit=0.35))
    probe.run(probe.monitor(limit=0.4))
    found = read_limits(probe.store, probe.store.batches()[0])
    assert (found["limit"], found["chart"], found["origin"]) == (0.35, "ewma", "learned")
    changed = found["changed"]["limit"]
    assert (changed["who"], changed["given"], changed["is_carried"]) == ("Bob", 0.4, True)
    assert found["mean"] == pytest.approx(1 / 16)


@pytest.mark.slow
@pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)")
def test_postgres_carries_limits_over(tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        probe = _Probe(tmp_path, server.make_database("limits"))
        probe.write(6)
        probe.run(probe.monitor(batch="B1", limit=0.4), probe.change(limit=0.35))
        assert len(probe.store.models_of(probe.store.batches()[0].id)) == 1
        _end_batch(probe, "B1")
        probe.run(probe.monitor(batch="B2", limit=0.4, limits_from="B1"))
        second, first = (read_limits(probe.store, batch) for batch in probe.store.batches())
        assert (first["limit"], second["limit"]) == (0.35, 0.35)
        assert second["changed"]["limit"]["is_carried"]
        assert (second["origin"], second["mean"]) == ("batch B1", first["mean"])
        assert verify_store(probe.store).is_whole
        probe.store.close()
    finally:
        server.close()


def test_swap_at_the_start_holds_the_promotion(probe: _Probe) -> None:
    probe.write(1)
    probe.run(probe.monitor())
    probe.write(1)
    monitor = probe.monitor("c")
    record = {"decision": "overridden", "who": "A. Miller", "reason": "new probe"}
    monitor._analyzer.bundle.metadata["promotion"] = record
    probe.run(monitor)
    (swap,) = probe.details("model swapped")
    assert (swap["to"], swap["promotion"]) == ("c" * 64, record)
