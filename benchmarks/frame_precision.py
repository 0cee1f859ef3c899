"""What a cheaper precision changes in frames of known truth, and what a frame costs in each.

python benchmarks/frame_precision.py                           # costs: 12 frames of 1112×1000 px
python benchmarks/frame_precision.py --frames 200 --side 640   # what the fraction loses
python benchmarks/frame_precision.py --ways views views:half   # with half of the windows, in turns

Every frame is analysed in each way in turns, with one thread, so that a busy moment affects all alike. Times
are CPU seconds of a frame from its decoded pixels to its fractions, and of decoding it. PG rises from 2 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from georgia.images.decode import read_image
from georgia.model.engines import PRECISION_VARIABLE, describe_processor
from georgia.model.load import load_bundled_model
from georgia.monitor.result import UNKNOWN_CODE, FrameAnalysis
from georgia.monitor.settings import TileConfig, Windows
from georgia.monitor.tile import FrameAnalyzer
from georgia.synthetic.simulate import SimulateConfig, simulate_batch

FULL = "float32"


@dataclass
class Way:
    """A precision, its analyzer, and what it found in each frame."""

    name: str
    analyzer: FrameAnalyzer
    cpu_s: list[float] = field(default_factory=list)
    found: list[FrameAnalysis] = field(default_factory=list)

    def analyze(self, image: Any) -> None:
        """Analyse a frame, and note the CPU time."""
        started = time.process_time()
        self.found.append(self.analyzer.analyze(image))
        self.cpu_s.append(time.process_time() - started)

    def fractions(self) -> np.ndarray:
        """Return the fraction of the impurity with its interval (frames, 3), NaN where there is none."""
        rows = []
        for each in self.found:
            item = next((c for c in each.classes if c.name == self.analyzer.impurity), None)
            rows.append((np.nan,) * 3 if item is None else (item.fraction, item.low, item.high))
        return np.array(rows)


def open_way(name: str) -> Way:
    """Open the bundled model in a precision, as a monitor does by its environment.

    Behind a colon stands which windows go through the net, ``views:half``.
    """
    precision, _, windows = name.partition(":")
    os.environ[PRECISION_VARIABLE] = precision
    tiles = TileConfig(windows=Windows(windows or "all"))
    analyzer = FrameAnalyzer(load_bundled_model(), tiles, threads=1)
    if analyzer.precision != precision and precision != "fastest":
        raise SystemExit(f"{precision} does not serve here: {analyzer.precision} does")
    return Way(name, analyzer)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return what each way costs, and what it changes against float32."""
    ways = [open_way(name) for name in (FULL, *options.ways)]
    decode_s: list[float] = []
    with tempfile.TemporaryDirectory() as root:
        rise = 0.48 / max(1, options.frames - 1)
        size = {"width_px": options.side, "height_px": round(options.side * 1000 / 1112)}
        config = SimulateConfig(
            frames=options.frames, every_s=0.0, clean_frames=0, rise=rise, seed=options.seed, **size
        )
        truth = np.array(simulate_batch(Path(root) / "probe", config).fractions)
        for number, path in enumerate(sorted((Path(root) / "probe").glob("*.png"))):
            started = time.process_time()
            image = read_image(path)
            decode_s.append(time.process_time() - started)
            # In turn, so that neither always finds the caches warm.
            for way in ways if number % 2 else reversed(ways):
                way.analyze(image)
    full = ways[0]
    n_windows = [each.n_judged + each.n_unknown for each in full.found]
    return {
        "processor": describe_processor(),
        "frames": options.frames,
        "size_px": [config.width_px, config.height_px],
        "windows_analysed": sum(n_windows),
        "decode_cpu_s": round(statistics.median(decode_s), 4),
        "windows_of_a_frame": statistics.mean(n_windows),
        "ways": {way.name: describe(way, full, truth) for way in ways},
    }


def gather(way: Way, full: Way, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one column of the windows that a way took in all frames, and the same windows in float32."""
    own, reference = [], []
    for each, whole in zip(way.found, full.found, strict=True):
        place = {tuple(box): at for at, box in enumerate(whole.map.boxes.tolist())}
        own.append(getattr(each.map, name))
        reference.append(getattr(whole.map, name)[[place[tuple(box)] for box in each.map.boxes.tolist()]])
    return np.concatenate(own), np.concatenate(reference)


def describe(way: Way, full: Way, truth: np.ndarray) -> dict[str, Any]:
    """Return costs, changes against float32, and how often the interval holds the truth."""
    (codes, codes_full), (p, p_full) = (gather(way, full, name) for name in ("codes", "probabilities"))
    is_other = codes != codes_full
    is_rejection = is_other & ((codes == UNKNOWN_CODE) | (codes_full == UNKNOWN_CODE))
    own, reference = way.fractions(), full.fractions()
    moved = np.abs(own[:, 0] - reference[:, 0])
    error = own[:, 0] - truth
    is_held = (own[:, 1] <= truth) & (truth <= own[:, 2])
    known = ~np.isnan(own[:, 0])
    engine = getattr(way.analyzer, "_engine", None)
    return {
        "precision": way.analyzer.precision,
        "cpu_s": round(statistics.median(way.cpu_s[1:]), 3),
        "cpu_s_least": round(min(way.cpu_s[1:]), 3),
        "labels_changed": int((is_other & ~is_rejection).sum()),
        "rejections_changed": int(is_rejection.sum()),
        "largest_probability": round(float(np.abs(p.astype(np.float64) - p_full).max()), 4),
        "status_changed": sum(a.status != b.status for a, b in zip(way.found, full.found, strict=True)),
        "fraction_moved_mean": round(float(np.nanmean(moved)), 6),
        "fraction_moved_largest": round(float(np.nanmax(moved)), 6),
        "fraction_error_mean": round(float(error[known].mean()), 5),
        "fraction_error_abs": round(float(np.abs(error[known]).mean()), 5),
        "interval_holds_truth": round(float(is_held[known].mean()), 4),
        "frames_with_fraction": int(known.sum()),
        "interval_width": round(float((own[known, 2] - own[known, 1]).mean()), 4),
        "windows_taken": len(codes),
        "views_per_window": find_views(engine),
    }


def find_views(engine: Any) -> float | None:
    """Return how many views a window took in the mean, where the net counts them."""
    for each in getattr(engine, "_engines", {}).values():
        if getattr(each, "n_views", 0):
            return round(float(each.n_views / each.n_images), 2)
    return None


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--side", type=int, default=1112)
    parser.add_argument("--seed", type=int, default=640_000)
    parser.add_argument("--ways", nargs="*", default=["rotations", "views"])
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
