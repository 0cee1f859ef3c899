"""Pictures per second of each step, on this machine: median of several rounds, written as JSON.

Source of the yardstick ``predict_one_by_one``: the Georgia Project's inference loop, which opens, resizes and
answers one file at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from georgia.atomic import write_text
from georgia.bundle import Bundle, load_bundle, load_bundled_model
from georgia.engines import open_engine
from georgia.images import iter_images, read_image
from georgia.predict import PredictConfig, predict_files
from georgia.synthetic import draw_crop, draw_dataset

ROUNDS = 5
N_PER_CLASS = 128


@dataclass(frozen=True)
class Bed:
    """What is measured on: drawn files and the model that comes with the package."""

    paths: list[Path]
    bundle: Bundle


def draw(bed: Bed) -> int:
    """Draw crops in memory, one core."""
    for seed in range(64):
        draw_crop("PG" if seed % 2 else "CEX", seed)
    return 64


def decode_one_thread(bed: Bed) -> int:
    """Read files, one thread."""
    for path in bed.paths:
        read_image(path)
    return len(bed.paths)


def decode(bed: Bed) -> int:
    """Read files, as many threads as there are cores."""
    return sum(1 for _ in iter_images(bed.paths))


def prepare(bed: Bed) -> int:
    """Turn pixels into network input, one thread."""
    image = read_image(bed.paths[0])
    for _ in bed.paths:
        bed.bundle.preprocess.apply(image)
    return len(bed.paths)


def predict_openvino(bed: Bed) -> int:
    """Answer for files with OpenVINO, from disk to label."""
    return len(predict_files(bed.bundle, bed.paths, PredictConfig(engine="openvino")).items)


def predict_onnxruntime(bed: Bed) -> int:
    """Answer for files with ONNX Runtime, from disk to label."""
    return len(predict_files(bed.bundle, bed.paths, PredictConfig(engine="onnxruntime")).items)


def predict_one_by_one(bed: Bed) -> int:
    """Answer file by file, as the study's loop does, with ONNX Runtime and the same model."""
    engine = open_engine(bed.bundle.model_path, bed.bundle.preprocess, "onnxruntime")
    paths = bed.paths[:64]
    for path in paths:
        engine.run([engine.prepare(read_image(path))])
    return len(paths)


MEASURED: tuple[Callable[[Bed], int], ...] = (
    draw,
    decode_one_thread,
    decode,
    prepare,
    predict_openvino,
    predict_onnxruntime,
    predict_one_by_one,
)


def measure(step: Callable[[Bed], int], bed: Bed) -> list[float]:
    """Return pictures per second of each round; one round before them is not counted."""
    step(bed)
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        n_done = step(bed)
        rates.append(n_done / (time.perf_counter() - started))
    return rates


def main() -> int:
    """Measure what was asked for, print it and write it down."""
    names = [step.__name__ for step in MEASURED]
    parser = argparse.ArgumentParser(description="Measure pictures per second of each step.")
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    parser.add_argument("--model", type=Path, help="instead of the bundled model")
    chosen = parser.parse_args()
    bundle = load_bundle(chosen.model) if chosen.model else load_bundled_model()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        records = draw_dataset(Path(folder) / "crops", N_PER_CLASS, seed=1)
        bed = Bed([record.path for record in records], bundle)
        for step in MEASURED:
            if step.__name__ not in chosen.only:
                continue
            rates = measure(step, bed)
            results[step.__name__] = {
                "images_per_s": round(statistics.median(rates), 1),
                "slowest": round(min(rates), 1),
                "fastest": round(max(rates), 1),
            }
            print(f"{step.__name__:22} {statistics.median(rates):8.1f} images/s   {step.__doc__}")
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    about = {
        "model": bundle.name,
        "machine": machine,
        "n_files": 2 * N_PER_CLASS,
        "rounds": ROUNDS,
        "results": results,
    }
    write_text(chosen.out, json.dumps(about, indent=2) + "\n")
    print(chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
