"""Three probes on one service: frames per second and latency of each, one of them with a backlog.

python benchmarks/probes.py --seconds 60                    # three probes, a frame a second each
python benchmarks/probes.py --seconds 60 --backlog 1000     # the first has so many frames waiting
python benchmarks/probes.py --side 640                      # frames of so many px
python benchmarks/probes.py --windows half                  # half of each frame's windows, in turns

Latency is from the moment that a frame was written to the moment that it stands in the store.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from georgia.model.load import load_bundled_model
from georgia.monitor.fair_queue import SharedNet
from georgia.monitor.outputs import ProbeOutputs
from georgia.monitor.probe_runner import ProbeRunner
from georgia.monitor.probes import make_probes
from georgia.monitor.queries import StoreReader
from georgia.monitor.settings import Windows
from georgia.monitor.thread_choice import ThreadTrial
from georgia.monitor.tile import FrameAnalyzer, open_probe_engine
from georgia.synthetic.simulate import SimulateConfig, simulate_batch

NAMES = ("first", "second", "third")


def write_on(folder: Path, frames: list[Path], stop: threading.Event, every_s: float) -> None:
    """Write a frame every so many seconds, each under a name and with bytes of its own."""
    next_at, number = time.monotonic(), 0
    while not stop.wait(max(0.0, next_at - time.monotonic())):
        put(folder, frames, number, "live")
        number, next_at = number + 1, next_at + every_s


def put(folder: Path, frames: list[Path], number: int, kind: str) -> None:
    """Write one frame whole: a name that is read has all its bytes."""
    source = frames[number % len(frames)]
    written = folder / f".{kind}-{number:06d}"
    # Bytes behind the end of a PNG make it another file; its pixels are those of the source.
    written.write_bytes(source.read_bytes() + number.to_bytes(8, "big"))
    written.rename(folder / f"{kind}-{number:06d}.png")


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return for each probe its frames per second, latency and what waits, and CPU seconds for a frame."""
    rendered = root / "drawn"
    size = {"width_px": options.side, "height_px": round(0.9 * options.side)}
    simulate_batch(rendered, SimulateConfig(frames=20, every_s=0.0, **size))
    frames = sorted(rendered.glob("*.png"))
    document = {
        "monitor": {"db": str(root / "p.db"), "poll_interval_s": 0.1, "windows": options.windows},
        "probes": {name: {"watch": str(root / name)} for name in NAMES},
    }
    bundle = load_bundled_model()
    net = SharedNet(ThreadTrial(lambda n: open_probe_engine(bundle, "auto", n)))
    runners = []
    for probe in make_probes(document, {}):
        probe.monitor.watch.mkdir()
        net_part = net.for_probe(probe.name)
        analyzer = FrameAnalyzer(bundle, probe.monitor.tiles, engine=net_part)
        outputs = ProbeOutputs(probe.name, lambda _: None)
        runners.append(ProbeRunner(probe, analyzer, outputs, "bench", net_part))
    for number in range(options.backlog):
        put(root / NAMES[0], frames, number, "backlog")
    for runner in runners:
        runner.start()
    time.sleep(options.warm_up)
    stop = threading.Event()
    writers = [
        threading.Thread(target=write_on, args=(root / name, frames, stop, options.every)) for name in NAMES
    ]
    began, cpu = time.time(), time.process_time()
    for writer in writers:
        writer.start()
    time.sleep(options.seconds)
    ended, cpu_s = time.time(), time.process_time() - cpu
    waiting = [runner.health().n_waiting for runner in runners]
    stop.set()
    for runner in runners:
        runner.ask_to_stop()
    for runner in runners:
        runner.stop()
    found = {
        runner.probe.name: {**describe(runner, (began, ended)), "waiting_at_end": n}
        for runner, n in zip(runners, waiting, strict=True)
    }
    n_frames = sum(each["frames"] for each in found.values())
    return {
        **found,
        "threads": net.trial.describe(),
        "cpu_s_per_frame": round(cpu_s / max(1, n_frames), 3),
        "seconds": round(ended - began, 1),
    }


def describe(runner: ProbeRunner, span: tuple[float, float]) -> dict[str, Any]:
    """Return rate and latency of the frames that one probe analysed in a span of time."""
    store = StoreReader.open(runner.probe.monitor.db)
    frames = [each for each in store.frames(limit=5000) if span[0] <= each.judged_at_s < span[1]]
    live = [each for each in frames if each.key.file.startswith("live")]
    late = sorted(each.judged_at_s - each.key.mtime_ns / 1e9 for each in live)
    queued = [each.seconds.get("queued", 0.0) for each in frames]
    return {
        "frames": len(frames),
        "frames_per_s": round(len(frames) / (span[1] - span[0]), 2),
        "live_frames": len(live),
        "latency_s": round(statistics.median(late), 2) if late else None,
        "latency_95_s": round(late[int(0.95 * (len(late) - 1))], 2) if late else None,
        "queued_s": round(statistics.median(queued), 3) if queued else None,
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=15.0)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--backlog", type=int, default=0)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--windows", choices=[str(each) for each in Windows], default="all")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="georgia-probes-"))
    try:
        print(json.dumps(measure(root, options), indent=2))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
