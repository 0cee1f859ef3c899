"""One probe of several: its loop begins anew after a failure, and never beside one that hangs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.helpers import monitor as probe
from tests.helpers.patience import PATIENCE_S
from tests.helpers.postgres import PostgresServer, has_postgres
from tests.unit.monitor.test_outputs import Receiver

from georgia.monitor.health import HealthState
from georgia.monitor.outputs import ProbeOutputs
from georgia.monitor.probe_runner import ProbeRunner, RunnerCalls
from georgia.monitor.probes import make_probes
from georgia.monitor.run import Monitor
from georgia.monitor.verify import verify_store

pytestmark = [pytest.mark.slow]


def make_runner(tmp_path: Path, analyzer: Any, calls: RunnerCalls, **settings: Any) -> ProbeRunner:
    common = {"poll_interval_s": 0.05, "exit_after_s": 0, "hung_after_s": 60, "db": str(tmp_path / "p.db")}
    tables = {"r-1": {"watch": str(tmp_path / "frames"), **settings}}
    (made,) = make_probes({"monitor": common, "probes": tables}, {})
    return ProbeRunner(made, analyzer, ProbeOutputs("r-1", lambda _: None), "tests", calls=calls)


def count_frames(runner: ProbeRunner) -> int:
    return 0 if runner.store is None else sum(batch.n_frames for batch in runner.store.batches())


def test_loop_that_failed_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    is_broken = threading.Event()
    check = Monitor._check_clock

    def fail(monitor: Monitor) -> None:
        if is_broken.is_set():
            raise RuntimeError("broken for a while")
        check(monitor)

    monkeypatch.setattr(Monitor, "_check_clock", fail)
    probe.write_frame(tmp_path / "frames" / "f1.png", 3)
    begun: list[Monitor] = []
    calls = RunnerCalls(say=said.append, on_monitor=begun.append, on_dead=lambda reason: said.append(reason))
    runner = make_runner(tmp_path, probe.BrightnessAnalyzer(), calls)
    runner.start()
    try:
        probe.wait_for(lambda: count_frames(runner) == 1)
        is_broken.set()
        probe.wait_for(lambda: "broken for a while" in runner.fault)
        # The fault holds until a loop works again: it is not taken back while one is tried.
        assert runner.health().state == HealthState.NOT_RUNNING
        probe.write_frame(tmp_path / "frames" / "f2.png", 5)
        is_broken.clear()
        probe.wait_for(lambda: count_frames(runner) == 2)
        probe.wait_for(lambda: runner.health().state == HealthState.RUNNING)
        assert len(begun) >= 2
        assert runner.fault == ""
        assert any("broken for a while" in text for text in said)
    finally:
        runner.stop()
    assert runner.health().state == HealthState.NOT_RUNNING


def test_loop_that_hangs_ends_the_service_and_has_no_second(tmp_path: Path) -> None:
    goes_on, hung = threading.Event(), threading.Event()

    class Hanging(probe.BrightnessAnalyzer):
        def analyze(self, image: Any) -> Any:
            goes_on.wait(PATIENCE_S)
            return super().analyze(image)

    probe.write_frame(tmp_path / "frames" / "f1.png", 3)
    begun: list[Monitor] = []
    runner = make_runner(
        tmp_path, Hanging(), RunnerCalls(on_monitor=begun.append, on_hang=hung.set), hung_after_s=0.5
    )
    runner.start()
    try:
        assert hung.wait(PATIENCE_S)
        assert runner.is_hung
        probe.wait_for(lambda: runner.health().state == HealthState.NOT_RUNNING)
        assert len(begun) == 1
    finally:
        goes_on.set()
        runner.stop()


def test_store_that_is_away_is_tried_until_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("a file in the way")
    opened: list[Any] = []
    dead: list[str] = []
    runner = make_runner(
        tmp_path,
        probe.BrightnessAnalyzer(),
        RunnerCalls(on_store=opened.append, on_dead=dead.append),
        db=str(tmp_path / "place" / "p.db"),
    )
    probe.write_frame(tmp_path / "frames" / "f1.png", 3)
    runner.start()
    try:
        probe.wait_for(lambda: runner.is_store_away and dead)
        assert not opened
        (tmp_path / "place").unlink()
        probe.wait_for(lambda: count_frames(runner) == 1)
        assert runner.health().is_alive
    finally:
        runner.stop()


@pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)")
def test_three_probes_on_postgres_tell_one_webhook_which_they_are(tmp_path: Path) -> None:
    """Each has a database of its own; what one of them tells, also of a folder that is away, is its own."""
    server, receiver = PostgresServer(), Receiver(0)
    names = ("r-1", "r-2", "r-3")
    common = {"poll_interval_s": 0.05, "min_judged": 1, "limit": 0.3, "raise_after": 1}
    common |= {"webhook": receiver.address, "folder_away_after_s": 0.1}
    tables = {
        name: {"watch": str(tmp_path / name), "db": server.make_database(name.replace("-", "_"))}
        for name in names
    }
    for number, name in enumerate(names[:2], 1):
        probe.write_frame(tmp_path / name / f"{name}.png", 14, seed=number)
    runners = {
        made.name: ProbeRunner(made, probe.BrightnessAnalyzer(), ProbeOutputs(made.name, lambda _: None), "t")
        for made in make_probes({"monitor": common, "probes": tables}, {})
    }
    try:
        for runner in runners.values():
            runner.start()
        probe.wait_for(lambda: len({(m["probe"], m["change"]) for m in receiver.taken}) >= 3)
        told = {(message["probe"], message["change"]) for message in receiver.taken}
        assert told == {("r-1", "raised"), ("r-2", "raised"), ("r-3", "outage began")}
        for name, runner in runners.items():
            assert runner.store is not None
            files = [frame.file for frame in runner.store.frames()]
            assert files == ([] if name == "r-3" else [f"{name}.png"])
            assert [batch.source for batch in runner.store.batches()] == [str((tmp_path / name).resolve())]
            sent = [message for message in receiver.taken if message["probe"] == name]
            assert {message["alarm"] is None for message in sent} == {name == "r-3"}
        (tmp_path / "r-3").mkdir()
        probe.write_frame(tmp_path / "r-3" / "late.png", 1)
        probe.wait_for(lambda: count_frames(runners["r-3"]) == 1)
        probe.wait_for(lambda: ("r-3", "outage ended") in {(m["probe"], m["change"]) for m in receiver.taken})
        for runner in runners.values():
            assert runner.store is not None
            assert verify_store(runner.store).is_whole
    finally:
        for runner in runners.values():
            runner.stop()
        receiver.server.shutdown()
        receiver.server.server_close()
        server.close()
