"""Frames of one time, of an earlier time, and of another depth, in the real loop: all analysed, and told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.config import build_config
from georgia.monitor.clock_watch import FrameTimes, find_behind
from georgia.monitor.result import FrameAnalysis, FrameStatus
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

HOUR_S = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "m.db"))
    yield store
    store.close()


def start(folder: Path, store: Store) -> Monitor:
    folder.mkdir(exist_ok=True)
    values = {"watch": folder, "poll_interval_s": 0.05, "min_judged": 1, "batch": "B1"}
    return Monitor(BrightnessAnalyzer(), build_config(MonitorConfig, values), store)  # type: ignore[arg-type]


def write_at(path: Path, n_pg: int, at_s: float) -> None:
    written = write_frame(path.with_name("." + path.name), n_pg, seed=n_pg)
    os.utime(written, ns=(0, int(at_s * 1e9)))
    written.rename(path)


def test_frames_of_one_time_keep_the_order_of_names(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "probe"
    names = [f"f{n}.png" for n in (1, 2, 3, 10, 11)]
    folder.mkdir()
    for n, name in enumerate(reversed(names)):
        write_at(folder / name, n + 1, 1_700_000_000.0)
    for _ in range(2):
        with running(start(folder, store)):
            wait_for(lambda: store.count_frames() == len(names))
    frames = list(store.iter_frames())
    assert [frame.file for frame in frames] == names
    assert [frame.ordinal for frame in frames] == [1, 2, 3, 4, 5]
    assert {frame.frame_time_s for frame in frames} == {1_700_000_000.0}
    assert store.audit_log(action="clock jumped") == []


def test_name_moved_over_in_one_tick_makes_frames_of_their_own(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "probe"
    with running(start(folder, store)):
        for n in range(4):
            write_at(folder / "latest.bmp", n, 1_700_000_000.0)
            wait_for(lambda n=n: store.count_frames() == n + 1)
    with running(start(folder, store)):
        write_at(folder / "latest.bmp", 5, 1_700_000_009.0)
        wait_for(lambda: store.count_frames() == 5)
    assert verify_store(store).is_whole
    assert [frame.ordinal for frame in store.iter_frames()] == [1, 2, 3, 4, 5]


def test_clock_behind_the_record_at_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    store = Store(str(tmp_path / "m.db"), clock=lambda: time.time())
    folder = tmp_path / "probe"
    for run, shift_s in enumerate((0.0, -400 * 24 * HOUR_S)):
        shift[0] = shift_s
        with running(start(folder, store)) as monitor:
            write_at(folder / f"f{run}.png", run + 1, time.time())
            wait_for(lambda run=run: store.count_frames() == run + 1)
            assert monitor.health().is_ok
            wait_for(lambda run=run: len(store.audit_log(action="clock jumped")) == 2 * run)
    frame, clock = (event.detail for event in store.audit_log(action="clock jumped"))
    assert "400.0 days behind the record's last entry" in clock["reason"]
    assert frame["reason"].startswith("frame 'f1.png' is 400.0 days older")
    assert [each.file for each in store.iter_frames()] == ["f0.png", "f1.png"]
    assert verify_store(store).is_whole
    store.close()


def test_older_frames_are_told_once() -> None:
    times = FrameTimes(1000.0)
    told = [times.add("f.png", at) for at in (1010.0, 951.0, *([400.0, 1020.0] * 5))]
    assert [jump.seconds for jump in told if jump] == [-610.0]
    assert not any(times.add("f.png", 1030.0 + n) for n in range(10))
    assert times.add("late.png", 100.0)
    assert find_behind(None, 0.0) is find_behind(30.0, 0.0) is None


def test_other_depth_is_told_and_dark_frame_says_why(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "probe"
    monitor = start(folder, store)
    real = monitor._analyzer.analyze

    def analyze(image: np.ndarray) -> FrameAnalysis:
        is_dark = image.max() < 25
        return replace(real(image), status=FrameStatus.DARK, error="it is dark") if is_dark else real(image)

    monkeypatch.setattr(monitor._analyzer, "analyze", analyze)
    with running(monitor):
        write_frame(folder / "f1.png", 4)
        wait_for(lambda: store.count_frames() == 1)
        with Image.open(folder / "f1.png") as image:
            samples = np.asarray(image, np.uint16) * 16
        Image.fromarray(samples).save(folder / "f2.png")
        wait_for(lambda: store.count_frames() == 2)
        wait_for(lambda: monitor.status().fault)
        assert monitor.status().fault.startswith("frames of 16 bits came into a batch of 8 bits: 1 file")
        assert "GEORGIA_DEPTH=12" in monitor.status().fault
    (event,) = store.audit_log(action="outage began")
    assert event.detail["outage"] == "mixed frames"
    light, dark = (frame.error for frame in store.iter_frames())
    assert light == ""
    assert dark.startswith("it is dark; 1 file of 16 bits uses 12 bits at most")


def test_frames_ahead_of_the_clock_are_told_once() -> None:
    times = FrameTimes(1000.0)
    ahead = [times.add("f.png", at, now_s=1010.0) for at in (1009.0, 4610.0, 4611.0)]
    assert [jump.seconds for jump in ahead if jump] == [3600.0]
    assert ahead[1] is not None
    assert ahead[1].reason.startswith("frame 'f.png' is 3,600 s ahead of the clock of this computer")
    # A frame of the right time is not older than one of a wrong time.
    assert times.add("g.png", 1012.0, now_s=1013.0) is None
    assert not any(times.add("g.png", 1013.0 + n, now_s=1013.0 + n) for n in range(10))
    assert times.add("f.png", 9000.0, now_s=1030.0)
