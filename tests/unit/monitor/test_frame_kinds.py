"""Frames of another size, or of a second probe, in one batch are told; changes of names with time are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.helpers.monitor import BrightnessAnalyzer, running, wait_for, write_frame

from georgia.config import build_config
from georgia.monitor.frame_kinds import FrameKinds
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store

SIZE = (1112, 1000)


def _add_all(*files: str) -> list[str]:
    kinds = FrameKinds()
    return [kinds.add(file, SIZE) for file in files]


def test_names_of_two_probes_are_told() -> None:
    said = _add_all(*(f"{probe}_{n:03}.png" for n in range(10) for probe in ("A", "B")))
    assert said[4] == ""
    assert said[7] == (
        "frames named 'A_#.png' and 'B_#.png' come in turns, as of two probes: "
        "each needs a folder and batch of its own"
    )
    assert all(said[7:])
    assert any(_add_all(*(f"{folder}/{n}.png" for n in range(10) for folder in ("left", "left", "right"))))


def test_names_that_change_with_time_are_one_probe() -> None:
    assert not any(_add_all(*(f"2026-01-{day}/f{n}.png" for day in (30, 31) for n in range(20))))
    assert not any(_add_all(*(f"{part}_{n}.png" for part in ("dose", "cool", "hold") for n in range(20))))
    assert not any(_add_all(*["latest.png"] * 40))
    assert not any(_add_all(*(f"{'abcdef'[n % 6]}{n:x}{'xyz'[n % 3]}.png" for n in range(60))))


def test_other_size_is_told_until_ten_frames_are_alike() -> None:
    kinds = FrameKinds()
    assert kinds.add("1.png", SIZE) == ""
    reason = kinds.add("2.png", (556, 500))
    assert reason.startswith("frames of 556 × 500 px came into a batch of 1112 × 1000 px")
    assert [bool(kinds.add(f"{n}.png", SIZE)) for n in range(12)] == [True] * 9 + [False] * 3


def test_monitor_says_mixed_frames_also_after_restart(tmp_path: Path) -> None:
    folder, store = tmp_path / "probe", Store(str(tmp_path / "m.db"))
    values = {"watch": folder, "poll_interval_s": 0.05, "min_judged": 1, "batch": "B1"}
    folder.mkdir()

    def start() -> Monitor:
        config = build_config(MonitorConfig, values)
        return Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]

    with running(start()):
        write_frame(folder / "f1.png", 2)
        wait_for(lambda: store.count_frames() == 1)
    with running(start()) as monitor:
        with Image.open(folder / "f1.png") as image:
            image.resize((64, 64)).save(folder / "f2.png")
        wait_for(lambda: store.audit_log(action="outage began"))
        wait_for(lambda: monitor.status().fault)
        assert monitor.status().fault.startswith("frames of 64 × 64 px came into a batch of 32 × 32 px")
        assert monitor.health().is_ok
        monitor.next_batch("Ann", "B2")
        write_frame(folder / "f3.png", 3)
        wait_for(lambda: store.audit_log(action="outage ended"))
        wait_for(lambda: monitor.status().fault == "")
    assert store.audit_log(action="outage ended")[0].detail["outage"] == "mixed frames"
    store.close()


def test_other_depth_after_restart_is_told(tmp_path: Path) -> None:
    folder, store = tmp_path / "probe", Store(str(tmp_path / "m.db"))
    config = build_config(MonitorConfig, {"watch": folder, "poll_interval_s": 0.05, "batch": "B1"})
    folder.mkdir()
    with running(Monitor(BrightnessAnalyzer(), config, store)):  # type: ignore[arg-type]
        write_frame(folder / "f1.png", 2)
        wait_for(lambda: store.count_frames() == 1)
    write_frame(tmp_path / "other.png", 3)
    with Image.open(tmp_path / "other.png") as image:
        deep = np.asarray(image.convert("L"), np.uint16) * 257
    with running(Monitor(BrightnessAnalyzer(), config, store)) as monitor:  # type: ignore[arg-type]
        Image.fromarray(deep).save(folder / "f2.png")
        wait_for(lambda: monitor.status().fault)
        assert monitor.status().fault.startswith("frames of 16 bits came into a batch of 8 bits")
    store.close()


def test_other_depth_is_told_until_ten_frames_are_alike() -> None:
    kinds, depth = FrameKinds(), "1 file of 16 bits uses 12 bits at most. Set GEORGIA_DEPTH=12."
    assert [kinds.add(f"{bits}.png", SIZE, bits) for bits in (8, 8, 1)] == ["", "", ""]
    reason = kinds.add("4.png", SIZE, 16, depth)
    assert reason == (
        "frames of 16 bits came into a batch of 8 bits: 1 file of 16 bits uses 12 bits at most. "
        "Set GEORGIA_DEPTH=12; if that is meant, begin a new batch"
    )
    assert [bool(kinds.add(f"{n}.png", SIZE)) for n in range(5, 17)] == [True] * 9 + [False] * 3
