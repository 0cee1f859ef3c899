"""The bundled model in each precision that serves: files to CSV, and frames of a monitor.

Sections of ``speed.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

from frame_precision import FULL
from frame_precision import measure as measure_ways

from georgia.model.engines import list_capabilities
from georgia.model.load import load_bundled_model
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.predict.resume import predict_to_table

if TYPE_CHECKING:
    from sections import Bench

# The bundled model averages eight views of an image: "rotations" begins with four of them, "views" with two.
WAYS = ("bfloat16", "rotations", "views")
# Windows of a frame that go through the net stand behind the colon.
FRAME_WAYS = ("bfloat16", "views", "views:half")
N_FILES = 384
N_FRAMES = 6


def can_serve(way: str) -> bool:
    """Tell whether this processor computes in a way."""
    return not way.startswith("bfloat16") or "BF16" in list_capabilities()


def measure_served(bench: Bench) -> dict[str, dict[str, float]]:
    """Return images/s from files to CSV, and processor time of one, in each precision, all in turns."""
    n_files = N_FILES // (4 if bench.quick else 1)
    paths = bench.crops(60 if bench.quick else 200)[-n_files:]
    bundle = load_bundled_model()
    names = (FULL, *filter(can_serve, WAYS))
    predictors = {name: Predictor(bundle, PredictConfig("openvino", precision=name)) for name in names}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(bench.rounds + 1):
        for name in names if number % 2 else reversed(names):
            started, cpu = time.perf_counter(), time.process_time()
            count = sum(1 for _ in predict_to_table(predictors[name], paths, bench.work / f"{name}.csv"))
            spent = time.perf_counter() - started, time.process_time() - cpu
            if number:  # the first warms up
                found[name].append((count / spent[0], 1e3 * spent[1] / count))
    return {
        name: {
            "images_per_s": round(statistics.median(rate for rate, _ in values), 1),
            "cpu_ms": round(statistics.median(cost for _, cost in values), 2),
        }
        for name, values in found.items()
    }


def measure_frames(bench: Bench) -> dict[str, float]:
    """Return the CPU seconds of a frame of 1112×1000 px, from the file to its fractions, in each way."""
    ways = list(filter(can_serve, FRAME_WAYS))
    options = argparse.Namespace(ways=ways, frames=3 if bench.quick else N_FRAMES, side=1112, seed=640_000)
    found: dict[str, Any] = measure_ways(options)
    return {name: found["decode_cpu_s"] + way["cpu_s"] for name, way in found["ways"].items()}
