"""Frames per second that a monitor sustains, and how quickly a store of 100,000 frames can be read.

python benchmarks/probe_speed.py --frames 12                  # the bundled model, from file to store
python benchmarks/probe_speed.py --threads 1                  # threads of the net; 0: as the monitor chooses
python benchmarks/probe_speed.py --model runs/resnet          # another one
python benchmarks/probe_speed.py --store 100000               # queries
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from georgia.model.load import load_bundle, load_bundled_model
from georgia.monitor.records import frame_values
from georgia.monitor.result import ChartPoint, ClassFraction, FileKey, FrameResult, FrameStatus, State
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store
from georgia.monitor.thread_choice import N_TRIAL
from georgia.monitor.tile import FrameAnalyzer
from georgia.synthetic.simulate import SimulateConfig, simulate_batch


def measure_frames(model: Path | None, n_frames: int, threads: int = 0) -> dict[str, object]:
    """Return frames per second from file to store at 1112×1000, and where the time goes."""
    bundle = load_bundled_model() if model is None else load_bundle(model)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "probe"
        simulate_batch(folder, SimulateConfig(frames=n_frames, every_s=0.0))
        config = MonitorConfig(watch=folder, poll_interval_s=0.05)
        analyzer = FrameAnalyzer(bundle, config.tiles, threads=threads)
        store = Store(str(Path(root) / "store.db"))
        moments: list[float] = []
        monitor = Monitor(
            analyzer, config, store, [lambda e: moments.append(time.perf_counter()) if e.frame else None]
        )
        monitor.run(once=True)
        frames = store.frames()
        store.close()
    # The first frames wait for the engine to warm up, and are computed both ways.
    n_first = min(N_TRIAL + 1, len(moments) - 2)
    rate = (len(moments) - 1 - n_first) / (moments[-1] - moments[n_first])
    last = frames[: len(frames) - n_first]
    steps = {name: statistics.median(frame.seconds[name] for frame in last) for name in last[0].seconds}
    windows = {"windows_per_frame": float(frames[0].n_tiles), "windows_per_s": rate * frames[0].n_tiles}
    return {
        "model": bundle.name,
        "engine": analyzer.engine_name,
        "frames_per_s": rate,
        **windows,
        **steps,
        **analyzer.describe_threads(),
    }


def fill(store: Store, n_frames: int) -> int:
    """Put so many frames into a store without analysing any, the chain left out; return the batch."""
    from sqlalchemy import insert

    from georgia.monitor import tables
    from georgia.monitor.connect import writing

    batch = store.begin_batch("probe", "long", "bench", "PG", "bench").id
    rng = np.random.default_rng(1)
    classes = (ClassFraction("CEX", 0.9, 0.8, 0.95, 60), ClassFraction("PG", 0.1, 0.05, 0.2, 7))
    for start in range(0, n_frames, 5000):
        rows = []
        for n in range(start, min(start + 5000, n_frames)):
            fraction = float(rng.random())
            result = FrameResult(
                FileKey(f"frame-{n:06d}.png", 500_000, n, f"{n:064x}"),
                1e9 + n,
                "file",
                FrameStatus.ANALYSED,
                State.IN_CONTROL,
                alarm=n % 5000 == 0,
                impurity="PG",
                fraction=fraction,
                low=fraction / 2,
                high=fraction,
                n_tiles=72,
                n_judged=60,
                classes=classes,
                chart=ChartPoint(fraction, 0.5, 1.0, 9.0, 0.5, 0.3, 0.2),
                judged_at_s=1e9 + n,
                model_sha256="a" * 64,
                settings_id="b" * 64,
                seconds={"net": 0.5},
                batch_id=batch,
            )
            row = frame_values(replace(result, ordinal=n + 1), "probe")
            rows.append({**row, "map_sha256": "", "trail_seq": 1, "chain": f"{n:064x}"})
        with writing(store.engine) as connection:
            connection.execute(insert(tables.frames), rows)
    return batch


def measure_store(n_frames: int) -> dict[str, float]:
    """Return milliseconds of processor time, median of 7, of the queries of a page."""
    with tempfile.TemporaryDirectory() as root:
        store = Store(str(Path(root) / "store.db"))
        batch = fill(store, n_frames)
        queries: dict[str, Callable[[], object]] = {
            "newest 50 frames": lambda: store.frames(limit=50),
            "newest 50 of the batch": lambda: store.frames(batch, limit=50),
            "50 from the middle": lambda: store.frames(batch, limit=50, before=n_frames // 2),
            "one frame": lambda: store.frame(n_frames // 3),
            "series, 1,000 points": lambda: store.series(batch, 1000),
            "series of the last 1,000": lambda: store.series(batch, 1000, after_ordinal=n_frames - 1000),
            "count": lambda: store.count_frames(batch),
            "write one frame": lambda: store.append_event("bench", "note", {}),
        }
        result = {}
        for name, run_query in queries.items():
            times = []
            for _ in range(7):
                started = time.process_time()
                run_query()
                times.append(1000 * (time.process_time() - started))
            result[name] = round(statistics.median(times), 2)
        store.close()
    return result


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--store", type=int, default=0)
    options = parser.parse_args()
    result: Mapping[str, object]
    if options.store:
        result = measure_store(options.store)
    else:
        result = measure_frames(options.model, options.frames, options.threads)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
