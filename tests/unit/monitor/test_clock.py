"""The computer's clock is set, or the machine sleeps: it is said, and nothing else happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.config import build_config
from georgia.monitor.clock_watch import ClockWatch
from georgia.monitor.frametime import FrameClock, TimeFrom
from georgia.monitor.health import BeatWatch, read_health
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

HOUR_S = 3600.0


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how many seconds the wall's clock is wrong; to change."""
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    return shift


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "m.db"))
    yield store
    store.close()


def test_clock_watch_tells_setting_from_sleep() -> None:
    wall, steady, awake = [100.0], [0.0], [0.0]
    watch = ClockWatch(lambda: wall[0], lambda: steady[0], lambda: awake[0])

    def go(wall_s: float, steady_s: float = 1.0, awake_s: float = 1.0) -> str:
        wall[0], steady[0], awake[0] = wall[0] + wall_s, steady[0] + steady_s, awake[0] + awake_s
        jump = watch.check()
        return jump.reason if jump else ""

    assert [go(1.0) for _ in range(3)] == [""] * 3
    assert [go(1.5) for _ in range(50)] == [""] * 50, "slewed"
    assert go(1 + HOUR_S) == "the clock of this computer was set forward by 3,600 s"
    assert go(1 - 2 * HOUR_S) == "the clock of this computer was set back by 7,200 s"
    assert go(5 + HOUR_S, 5.0, 5 + HOUR_S) == "the machine slept for 3,600 s"
    assert go(30.0, 30.0, 30.0) == "", "a step that took long"


def told_of_clock(store: Store) -> list[str]:
    """Return what was told of the computer's clock, newest first; files have the time of a real clock."""
    reasons = [event.detail["reason"] for event in store.audit_log(action="clock jumped")]
    return [reason for reason in reasons if reason.startswith("the clock")]


def test_clock_set_while_monitor_runs_is_said_and_costs_nothing(
    tmp_path: Path, store: Store, shift: list[float]
) -> None:
    folder = tmp_path / "probe"
    folder.mkdir()
    values = {"watch": folder, "poll_interval_s": 0.05, "min_judged": 1, "no_frames_s": 30}
    config = build_config(MonitorConfig, values, {"keep_frames_days": 1.0, "heartbeat_s": 0.05})
    monitor = Monitor(BrightnessAnalyzer(), config, store, who="tester")  # type: ignore[arg-type]
    with running(monitor):
        for n, seconds in enumerate((0.0, HOUR_S, -2 * HOUR_S, 400 * 24 * HOUR_S)):
            shift[0] += seconds
            wait_for(lambda n=n: len(told_of_clock(store)) == n)
            write_frame(folder / f"f{n}.png", n + 1, seed=n)
            wait_for(lambda n=n: store.count_frames() == n + 1)
            assert monitor.health().is_ok
    assert [frame.file for frame in store.iter_frames()] == ["f0.png", "f1.png", "f2.png", "f3.png"]
    reasons = told_of_clock(store)[::-1]
    told = ("forward by 3,600 s", "back by 7,200 s", "forward by 400.0 days")
    assert reasons == [f"the clock of this computer was set {way}" for way in told]
    assert store.audit_log(action="outage began") == []
    assert verify_store(store).is_whole


def test_clock_ahead_at_start_costs_no_record(tmp_path: Path, shift: list[float]) -> None:
    store = Store(str(tmp_path / "m.db"), clock=lambda: time.time())
    folder = tmp_path / "probe"
    folder.mkdir()
    values = {"watch": folder, "poll_interval_s": 0.05, "min_judged": 1, "keep_frames_days": 30}
    config, told = build_config(MonitorConfig, values), list[str]()
    for n in range(2):
        monitor = Monitor(
            BrightnessAnalyzer(),  # type: ignore[arg-type]
            config,
            store,
            [lambda event: told.append(str(event.detail.get("reason", "")))],
        )
        with running(monitor):
            write_frame(folder / f"f{n}.png", n + 1, seed=n)
            wait_for(lambda n=n: store.count_frames() == n + 1)
            wait_for(lambda n=n: not n or any("nothing is removed with age" in text for text in told))
        shift[0] += 400 * 24 * HOUR_S
    assert [frame.file for frame in store.iter_frames()] == ["f0.png", "f1.png"]
    assert store.audit_log(action="frames removed") == []
    store.close()


def test_set_clock_makes_no_dead_monitor_of_one_elsewhere() -> None:
    now, beats = [0.0], BeatWatch(lambda: now[0])
    assert beats.measure("a", 1000.0, 3.0) == 3.0
    now[0] = 1.0
    assert beats.measure("a", 1001.0, 3600.0) == 1.0, "set forward: as old as the last look at most"
    now[0] = 20.0
    assert beats.measure("a", 1001.0, -7000.0) == 20.0, "set back: it is silent all the same"
    now[0] = 21.0
    assert beats.measure("b", 5.0, 40.0) == 40.0, "the first look knows no better"
    now[0] = 51.0
    assert beats.measure("b", 9.0, 16.0) == 16.0, "it may have died between two looks"


def test_future_sign_of_life_of_dead_monitor_grows_old(store: Store, shift: list[float]) -> None:
    from georgia.monitor import tables
    from georgia.monitor.health import claim_source

    claim_source(store, "probe", "tester")
    with store.engine.begin() as connection:
        connection.execute(tables.heartbeats.update().values(host="elsewhere"))
    shift[0] = -HOUR_S
    steady = [0.0]
    beats = BeatWatch(lambda: steady[0])
    assert read_health(store, time.time(), beats=beats).is_ok
    steady[0] = 11.0
    assert read_health(store, time.time(), beats=beats).state == "not running"


@pytest.mark.parametrize("has_file_times", [True, False])
def test_hour_that_clocks_show_twice_keeps_order(has_file_times: bool) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start_s = datetime(2026, 10, 25, 1, 30, tzinfo=zone).timestamp()
    clock = FrameClock(TimeFrom.NAME, "%Y%m%d_%H%M%S", "Europe/Berlin")
    before: Any = None
    for step in range(0, 3 * 3600, 600):
        at = start_s + step
        name = datetime.fromtimestamp(at, zone).strftime("f_%Y%m%d_%H%M%S.png")
        file_s = at + 2 if has_file_times else 2_000_000_000
        found, _ = clock.read(name, int(file_s * 1e9), before_s=before)
        assert found == at, name
        before = found


def test_hour_that_clocks_skip_is_read() -> None:
    clock = FrameClock(TimeFrom.NAME, "%Y%m%d_%H%M%S", "Europe/Berlin")
    after, _ = clock.read("f_20260329_031000.png", 0)
    before, _ = clock.read("f_20260329_015000.png", 0)
    assert after - before == 20 * 60
