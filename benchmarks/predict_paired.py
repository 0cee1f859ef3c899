"""What predicting files costs beside decoding and the net alone, in turns, by rate and by processor time.

python benchmarks/predict_paired.py                         # EfficientNet-Lite0 and ResNet-50, three rounds
python benchmarks/predict_paired.py --nets resnet101 --rounds 2
python benchmarks/predict_paired.py --nets resnet50 --auto 320   # the automatic choice of threads, end to end

"Both on the same cores" is decoding and preparing, and the engine on tensors that lie ready, one after the
other: ratios are those of the same round, and their medians are printed. "narrow" has all threads at one
batch, "wide" a batch for each. Milliseconds are of one core for one image, by who spent them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import study_loop
from sections import Bench, export_net

from georgia.images import decode
from georgia.images.decode import iter_images, read_image
from georgia.model.bundle import Bundle
from georgia.model.engines import OpenVinoEngine, describe_processor
from georgia.model.load import load_bundled_model
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.predict.resume import predict_to_table

N_FILES = {"resnet101": 16, "resnet50": 64, "efficientnet-lite0": 256, "bundled": 128}
WAYS = ("narrow", "wide")


class Spent:
    """Processor time by who spends it: threads that read files, the caller, and the engine's."""

    def __init__(self) -> None:
        self._lock, self._read_s = threading.Lock(), 0.0
        self._original = decode._read_or_fail
        decode._read_or_fail = self._read  # type: ignore[assignment]

    def _read(self, *arguments: Any) -> Any:
        started = time.thread_time()
        found = self._original(*arguments)
        with self._lock:
            self._read_s += time.thread_time() - started
        return found

    def measure(self, step: Callable[[], int]) -> dict[str, float]:
        """Return seconds of an image: wall, cpu, and of the latter those of readers, caller and engine."""
        self._read_s, before = 0.0, (time.perf_counter(), time.process_time(), time.thread_time())
        n = step()
        after = (time.perf_counter(), time.process_time(), time.thread_time())
        wall, cpu, caller = ((b - a) / n for a, b in zip(before, after, strict=True))
        reading = self._read_s / n
        return {"wall": wall, "cpu": cpu, "read": reading, "caller": caller, "net": cpu - reading - caller}


@dataclass(frozen=True)
class Steps:
    """One net, its files, and what is measured of it."""

    bundle: Bundle
    paths: list[Path]
    out: Path

    def list_all(self) -> dict[str, Callable[[], int]]:
        """Return what runs in each round."""
        steps: dict[str, Callable[[], int]] = {}
        for way in WAYS:
            engine = OpenVinoEngine(self.bundle.model_path, self.bundle.preprocess, is_wide=way == "wide")
            engine._net.chosen = engine._net._first  # as opened, whatever a trial would say
            prepared = [engine.prepare(read_image(path)) for path in self.paths]
            predictor = Predictor(self.bundle, PredictConfig("openvino", precision="float32"))
            predictor.engine = engine
            steps[f"{way}: engine"] = partial(run_ready, engine, prepared)
            steps[f"{way}: files"] = partial(self.write, predictor, self.paths)
        steps["decode"] = partial(run_decoding, self.paths, engine)
        return steps

    def write(self, predictor: Predictor, paths: list[Path]) -> int:
        """Predict files into a table, and return how many."""
        return sum(1 for _ in predict_to_table(predictor, paths, self.out))

    def run_auto(self, n_files: int) -> dict[str, Any]:
        """Return what one long prediction takes from its first file on, and which way it came to."""
        predictor = Predictor(self.bundle, PredictConfig("openvino", precision="float32"))
        paths = [self.paths[number % len(self.paths)] for number in range(n_files)]
        spent = Spent().measure(lambda: self.write(predictor, paths))
        net = predictor.engine._net  # type: ignore[attr-defined]
        chosen = "none yet" if net.chosen is None else WAYS[net.chosen is not net._first]
        return {"files": n_files, "chosen": chosen, **{key: round(1e3 * s, 2) for key, s in spent.items()}}


def run_ready(engine: OpenVinoEngine, prepared: list[Any]) -> int:
    """Run the engine on tensors that lie ready, in the batches of ``predict``."""
    batches = ((None, prepared[start : start + 16]) for start in range(0, len(prepared), 16))
    return sum(len(next(iter(outputs.values()))) for _, outputs in engine.stream(batches))


def run_decoding(paths: list[Path], engine: OpenVinoEngine) -> int:
    """Read and prepare files, without any net."""
    return sum(1 for _ in iter_images(paths, transform=engine.prepare))


def compare(steps: Steps, rounds: int) -> dict[str, Any]:
    """Return the medians of each step, ms of an image, and of the ratios of a round."""
    spent, named = Spent(), steps.list_all()
    for step in named.values():
        step()
    found = []
    for number in range(rounds):
        order = list(named) if number % 2 else list(reversed(named))
        measured = {name: spent.measure(named[name]) for name in order}
        found.append(measured)
    ratios = {
        f"{way}, by {clock}": statistics.median(
            (each[f"{way}: engine"][clock] + each["decode"][clock]) / each[f"{way}: files"][clock]
            for each in found
        )
        for way in WAYS
        for clock in ("wall", "cpu")
    }
    by_step = {
        name: {
            key: round(1e3 * statistics.median(each[name][key] for each in found), 2)
            for key in ("wall", "cpu", "read", "caller", "net")
        }
        for name in named
    }
    return {"ms of an image": by_step, "both / files": {key: round(v, 3) for key, v in ratios.items()}}


def open_nets(names: list[str], root: Path) -> Iterator[tuple[str, Steps]]:
    """Yield nets, each exported as training does, with synthetic files."""
    for name in names:
        bench = Bench(root, name, False, 1)
        if name == "bundled":
            bundle = load_bundled_model()
        else:
            bundle = export_net(bench, study_loop.build_net(name, study_loop.LAST_TENTH))
        yield name, Steps(bundle, bench.crops(128)[: N_FILES[name]], root / "out.csv")


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--nets", nargs="+", choices=list(N_FILES), default=["efficientnet-lite0", "resnet50"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--auto", type=int, default=0, metavar="FILES", help="also the automatic choice")
    options = parser.parse_args()
    result: dict[str, Any] = {"processor": describe_processor()}
    with tempfile.TemporaryDirectory() as root:
        for name, steps in open_nets(options.nets, Path(root)):
            result[name] = compare(steps, options.rounds)
            if options.auto:
                result[name]["auto"] = steps.run_auto(options.auto)
            print(name, file=sys.stderr, flush=True)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
