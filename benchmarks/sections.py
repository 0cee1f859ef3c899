"""One section of ``speed.py``, measured in this process: python sections.py NAME --work DIR --out FILE."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from epochs import LABELS, measure_frozen, measure_stages, measure_train
from served import measure_frames, measure_served

from georgia.images.decode import iter_images, read_image
from georgia.model.bundle import Bundle
from georgia.model.engines import open_engine
from georgia.model.load import load_bundle, load_bundled_model
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.predict.resume import predict_to_table
from georgia.synthetic import render_dataset

# Files of a round, by net: a few seconds each on two cores.
N_FILES = {"resnet101": 48, "resnet50": 96, "efficientnet-lite0": 384}
N_ONE_BY_ONE = {"resnet101": 8, "resnet50": 12, "efficientnet-lite0": 24}
BATCH = 32


# Sections that another file holds; ``main`` finds them here.
__all__ = [
    "Bench",
    "measure_frames",
    "measure_frozen",
    "measure_served",
    "measure_stages",
    "measure_train",
]


class Bench:
    """What all sections use: synthetic files, a working folder, and how thorough to be."""

    def __init__(self, work: Path, net: str, quick: bool, rounds: int) -> None:
        self.work, self.net, self.quick, self.rounds = work, net, quick, rounds

    def crops(self, n_per_class: int) -> list[Path]:
        """Return synthetic crops of both classes, rendered once for all sections."""
        folder = self.work / f"crops-{n_per_class}"
        if not folder.exists():
            render_dataset(folder, n_per_class, seed=1)
        return sorted(folder.rglob("*.png"))

    def many(self, count: int) -> Path:
        """Return a folder with so many file names that lead to 200 synthetic crops."""
        folder = self.work / f"many-{count}"
        if not folder.exists():
            crops = self.crops(100)
            folder.mkdir()
            for number in range(count):
                os.link(crops[number % len(crops)], folder / f"crop ({number}).png")
        return folder

    def alternate(self, steps: dict[str, Callable[[], int]]) -> dict[str, float]:
        """Return images/s of each step: the median of rounds in which every step runs once."""
        rates: dict[str, list[float]] = {name: [] for name in steps}
        for step in steps.values():
            step()
        for _ in range(self.rounds):
            for name, step in steps.items():
                started = time.perf_counter()
                count = step()
                rates[name].append(count / (time.perf_counter() - started))
        return {name: round(statistics.median(found), 2) for name, found in rates.items()}


def export_net(bench: Bench, model: Any) -> Bundle:
    """Return the exported form of a net, as training writes it."""
    from georgia.export.onnx_file import export_onnx
    from georgia.images.preprocess import CAFFE, EFFICIENTNET_LITE

    spec = EFFICIENTNET_LITE if bench.net.startswith("efficientnet") else CAFFE
    file = bench.work / f"{bench.net}.onnx"
    export_onnx(model, spec, LABELS, file, {"name": bench.net})
    return load_bundle(file)


def measure_predict(bench: Bench) -> dict[str, float]:
    """Images/s from files to CSV, beside the study's loop, Keras, ONNX Runtime, engine and decoding alone."""
    import study_loop

    n_files = N_FILES[bench.net] // (4 if bench.quick else 1)
    paths = (bench.crops(200) if not bench.quick else bench.crops(60))[-n_files:]
    model = study_loop.build_net(bench.net, study_loop.LAST_TENTH)
    bundle = export_net(bench, model)
    engine = open_engine(bundle.model_path, bundle.preprocess)
    prepared = [engine.prepare(read_image(path)) for path in paths]
    ready = np.stack([tensor.transpose(1, 2, 0) for tensor in prepared])
    alone = paths[: N_ONE_BY_ONE[bench.net]]
    predictors = {name: Predictor(bundle, PredictConfig(name)) for name in ("auto", "onnxruntime")}

    def write_csv(name: str) -> int:
        return sum(1 for _ in predict_to_table(predictors[name], paths, bench.work / f"{name}.csv"))

    def engine_alone() -> int:
        batches = ((None, prepared[start : start + 16]) for start in range(0, len(prepared), 16))
        return sum(len(outputs["logits"]) for _, outputs in engine.stream(batches))

    return bench.alternate(
        {
            "study: file by file": lambda: len([study_loop.predict_file(model, path) for path in alone]),
            "keras: batch 32": lambda: len(model.predict(ready, batch_size=BATCH, verbose=0)),
            "onnxruntime: files → CSV": lambda: write_csv("onnxruntime"),
            "engine alone": engine_alone,
            "georgia: files → CSV": lambda: write_csv("auto"),
            "decode": lambda: sum(1 for _ in iter_images(paths)),
            "decode and prepare": lambda: sum(1 for _ in iter_images(paths, transform=engine.prepare)),
        }
    )


def measure_fast(bench: Bench) -> dict[str, float]:
    """Seconds of ``georgia train`` with recipe ``fast``, from crops to the evaluated model, twice."""
    n_per_class = 100 if bench.quick else 500
    data = bench.crops(n_per_class)[0].parents[1]
    seconds = []
    for number in range(2):
        command = ["train", str(data), "--out", str(bench.work / f"fast-{number}")]
        started = time.perf_counter()
        _georgia(command)
        seconds.append(round(time.perf_counter() - started, 1))
    return {"n_crops": 2 * n_per_class, "seconds": seconds[0], "again_s": seconds[1]}


def _georgia(arguments: list[str], cores: set[int] | None = None) -> None:
    """Run the program in a process of its own, on some of the cores."""
    command = [sys.executable, "-m", "georgia", *arguments]
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    )


def _predict_process(folder: Path, model: Path, out: Path, cores: set[int] | None = None) -> dict[str, Any]:
    """Return images/s, peak memory and its curve of predicting a folder to CSV in a process of its own."""
    script = Path(__file__).with_name("predict_process.py")
    command = [sys.executable, str(script), str(model), str(folder), str(out)]
    text = subprocess.run(
        command,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    ).stdout
    return dict(json.loads(text.splitlines()[-1]))


def measure_growth(bench: Bench) -> dict[str, Any]:
    """Images/s and peak memory of the bundled model on more and more files."""
    model = load_bundled_model().model_path.parent
    sizes = (100, 1000) if bench.quick else (100, 1000, 10_000)
    found = {str(n): _predict_process(bench.many(n), model, bench.work / f"growth-{n}.csv") for n in sizes}
    return {n: {key: each[key] for key in ("images_per_s", "peak_mb")} for n, each in found.items()}


def measure_cores(bench: Bench) -> dict[str, float]:
    """Images/s of the bundled model on one core and on two."""
    model = load_bundled_model().model_path.parent
    folder = bench.many(100 if bench.quick else 1000)
    at_hand = sorted(os.sched_getaffinity(0))
    found = {}
    for count in (1, 2):
        cores = set(at_hand[:count])
        found[str(count)] = _predict_process(folder, model, bench.work / "cores.csv", cores)["images_per_s"]
    return found


def measure_memory(bench: Bench) -> dict[str, Any]:
    """Peak memory with few and with many files; a tiny net, so that many are soon done."""
    import keras

    from georgia.export.onnx_file import export_onnx
    from georgia.images.preprocess import PreprocessSpec

    image = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))
    file = bench.work / "tiny.onnx"
    export_onnx(model, PreprocessSpec(32), LABELS, file, {"name": "tiny"})
    few, many = 1000, 10_000 if bench.quick else 100_000
    runs = [_predict_process(bench.many(n), file, bench.work / "memory.csv") for n in (few, many)]
    peaks = {"peak_few_mb": runs[0]["peak_mb"], "peak_many_mb": runs[1]["peak_mb"]}
    return {"n_few": few, "n_many": many, **peaks, "curve_mb": runs[1]["curve_mb"]}


def measure_start(bench: Bench) -> dict[str, float]:
    """Seconds of a fresh process: the import, the help, one file with the bundled model."""
    image = str(bench.crops(60 if bench.quick else 200)[0])
    python = [sys.executable]
    commands = {
        "bare python": [*python, "-c", "pass"],
        "import georgia": [*python, "-c", "import georgia"],
        "georgia --help": [*python, "-m", "georgia", "--help"],
        "georgia predict, one file": [*python, "-m", "georgia", "predict", image],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found[name].append(time.perf_counter() - started)
    return {name: round(statistics.median(seconds), 3) for name, seconds in found.items()}


def main() -> int:
    """Measure one section and write its figures."""
    sections = {
        name.removeprefix("measure_"): value for name, value in globals().items() if "measure_" in name
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=sections)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--net", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    found = sections[chosen.section](Bench(chosen.work, chosen.net, chosen.quick, chosen.rounds))
    chosen.out.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
