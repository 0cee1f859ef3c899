"""What the tests of the monitor have in common: results, frames, and an analyzer that measures brightness."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from tests.helpers.patience import PATIENCE_S

from georgia.monitor.fraction import estimate_fractions
from georgia.monitor.records import MonitorEvent, MonitorStatus
from georgia.monitor.result import (
    ChartPoint,
    FileKey,
    FrameAnalysis,
    FrameResult,
    FrameStatus,
    State,
    TileMap,
)
from georgia.monitor.run import Monitor
from georgia.monitor.tile import place_windows

NAMES = ("CEX", "PG")


def make_map(n: int = 3) -> TileMap:
    boxes = np.arange(4 * n, dtype=np.int32).reshape(n, 4)
    codes = np.array([-2, -1, 1][:n], np.int8)
    return TileMap(100, 80, NAMES, boxes, codes, np.full((n, 2), 0.5, np.float16))


def make_result(number: int, batch_id: int, fraction: float | None = 0.25, **changes: Any) -> FrameResult:
    """Return a frame whose content is its number."""
    values: dict[str, Any] = {
        "key": FileKey(f"f{number}.png", 10 + number, 1_000 + number, f"{number:064x}"),
        "frame_time_s": 1000.0 + number,
        "time_source": "file",
        "status": FrameStatus.ANALYSED,
        "state": State.IN_CONTROL,
        "alarm": False,
        "impurity": "PG",
        "fraction": fraction,
        "low": None if fraction is None else 0.5 * fraction,
        "high": None if fraction is None else min(1.0, 2 * fraction),
        "batch_id": batch_id,
        "judged_at_s": 2000.0 + number,
    }
    return FrameResult(**{**values, **changes})


@dataclass
class BrightnessAnalyzer:
    """Replaces a net: a bright window shows PG, a dark one CEX, black is empty."""

    impurity: str = "PG"
    model_sha256: str = "b" * 64
    engine_name: str = "brightness"
    precision: str = "float32"
    threads: int | None = 1
    n_analyzed: int = 0
    bundle: Any = field(default_factory=lambda: SimpleNamespace(name="brightness", metadata={}))

    def describe(self) -> dict[str, Any]:
        return {"name": "brightness"}

    def describe_threads(self) -> dict[str, Any]:
        return {"threads": self.threads, "reason": "one processor"}

    def note_arrival(self, n_waiting: int) -> None:
        pass

    def analyze(self, image: Any) -> FrameAnalysis:
        self.n_analyzed += 1
        boxes = place_windows(image.shape[0], image.shape[1], 8, 0.0)
        means = np.array([image[t : t + h, x : x + w].mean() for x, t, w, h in boxes])
        codes = np.where(means < 5, -2, (means > 127).astype(int)).astype(np.int8)
        probabilities = np.eye(2, dtype=np.float32)[np.maximum(codes, 0)]
        classes, n_effective = estimate_fractions(boxes, codes, probabilities, NAMES)
        n = int((codes >= 0).sum())
        found = TileMap(image.shape[1], image.shape[0], NAMES, boxes, codes, probabilities.astype(np.float16))
        status = FrameStatus.ANALYSED if n else FrameStatus.NO_CRYSTALS
        return FrameAnalysis(status, classes, len(boxes), n, 0, len(boxes) - n, n_effective, found)


def write_frame(path: Path, n_pg: int, seed: int = 0) -> Path:
    """Write a frame of 16 windows, so many of them bright; ``seed`` makes its bytes differ."""
    rng = np.random.default_rng([seed, n_pg])
    pixels = rng.integers(40, 60, (32, 32), np.uint8)
    for index in range(n_pg):
        top, left = 8 * (index // 4), 8 * (index % 4)
        pixels[top : top + 8, left : left + 8] = 200
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def make_event(kind: Any = "frame", state: Any = "alarm", beat: int = 7, **changes: Any) -> MonitorEvent:
    """Return an event whose last frame has an EWMA beyond its limit."""
    chart = ChartPoint(ewma=0.2, ewma_limit=0.1, leading="ewma")
    frame = make_result(3, 1, fraction=0.25, chart=chart, n_judged=88)
    status = MonitorStatus(*(state, True, 1, 3, 2, 0, 0, 0, "", beat, 0.0, True, frame), batch_name="B-1")
    return MonitorEvent(kind, status, frame, **changes)


@contextmanager
def running(monitor: Monitor, patience_s: float = PATIENCE_S) -> Iterator[Monitor]:
    """Run a monitor in a thread while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=monitor.run, args=(stop,))
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join(patience_s)


def wait_for(is_so: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds; fail if it does not come about."""
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
