"""Georgia on an NVIDIA GPU: epochs of recipe ``georgia`` with Keras on JAX, and files to predictions.

    KERAS_BACKEND=jax python benchmarks/gpu.py --out gpu.json [--nets resnet101 efficientnet-lite0]

``gpu_peer.py`` measures PyTorch and timm on the same folders: give both the same ``--work`` on one machine.
Weights are random, which compute as long as others. Every value is written as soon as it is known.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from epochs import BATCH, LABELS, Moments, Spent, prepare_training, split_folder
from sections import Bench, export_net

PRECISIONS = ("float32", "bfloat16")
N_TRAIN, N_VALID, EPOCHS = 4096, 1024, 3
# Images of the net alone, and files of a prediction.
N_ALONE, N_FILES = 2048, 8192


class Record:
    """Values by name, in a file that is rewritten with each."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values: dict[str, Any] = {}

    def take(self, name: str, measure: Callable[..., Any], *arguments: Any) -> None:
        """Measure a value, or keep the reason why it is missing."""
        started = time.perf_counter()
        try:
            self.values[name] = measure(*arguments)
        except Exception as error:  # one missing value must not cost the others
            traceback.print_exc()
            self.values[name] = {"failed": f"{type(error).__name__}: {error}"[:600]}
        spent = time.perf_counter() - started
        print(f"[{spent:6.1f} s] {name}: {json.dumps(self.values[name])}", flush=True)
        self.file.write_text(json.dumps(self.values, indent=1), encoding="utf-8")


def time_epochs(bench: Bench, precision: str, fraction: float, n: tuple[int, int]) -> dict[str, float]:
    """Return images/s of the validation features and of each epoch; the first of each compiles."""
    from georgia.train.device import use_device
    from georgia.train.loop import run_loop
    from georgia.train.state import TrainState

    folder = split_folder(bench, *n)
    changes = {"batch_size": BATCH, "epochs": EPOCHS, "precision": precision, "trainable_fraction": fraction}
    with use_device("auto") as device:
        config, inputs, decode_s = prepare_training(bench, folder, changes)
        moments, ends = Moments(), [Spent()]
        run_loop(config, inputs, TrainState("gpu"), moments, lambda *_: ends.append(Spent.now()))
    starts = [moments.at[f"epoch {number}"] for number in range(1, len(ends))]
    first = starts[0].minus(moments.at["validation features"])
    found = {"decode, images/s on one call": 1 / decode_s["wall_s"]}
    found["validation features, compiling included, images/s"] = n[1] / first.wall_s
    for number, (start, end) in enumerate(zip(starts, ends[1:], strict=True), start=1):
        found[f"epoch {number}, images/s of training and validation"] = sum(n) / end.minus(start).wall_s
    return {"device": device, **{name: round(value, 1) for name, value in found.items()}}  # type: ignore[dict-item]


def time_stages(bench: Bench, precision: str, fraction: float, n: tuple[int, int]) -> dict[str, float]:
    """Return images/s of augmenting, of the frozen part and of a step of the trainable part, each alone."""
    from georgia.images.augment import STUDY, augment_batch
    from georgia.train.device import use_device, use_precision
    from georgia.train.frozen import FrozenBackbone
    from georgia.train.head_steps import make_head_steps
    from georgia.train.loop import compile_head

    with use_device("auto"):
        config, inputs, _ = prepare_training(
            bench, split_folder(bench, *n), {"batch_size": BATCH, "trainable_fraction": fraction}
        )
        network, count = inputs.network, min(n[0], N_ALONE)
        frozen = FrozenBackbone(network.frozen, network.preprocess, precision, on_gpu=True)
        compile_head(network.head, config, sigmoid=True)
        images = inputs.train.images(np.arange(count))
        cuts = [slice(start, start + BATCH) for start in range(0, count, BATCH)]
        targets = inputs.train.targets.astype(np.float32)[:, None]
        steps = make_head_steps(network.head)

        def run_frozen() -> list[Any]:
            batches = ((None, images[cut]) for cut in cuts)
            made = [features for _, features in frozen.stream(batches, stays_on_gpu=True)]
            np.asarray(made[-1][0][:1, 0])  # wait for the last
            return made

        def train() -> None:
            steps.begin()
            for features, cut in zip(made, cuts, strict=True):
                steps.train(features, targets[cut], None, 0.01)
            steps.means()

        timed: dict[str, Callable[[], Any]] = {
            "augment": lambda: augment_batch(images, STUDY, [(1, 1, at) for at in range(count)]),
            "frozen part": run_frozen,
            "trainable part": train,
        }
        found = {}
        with use_precision(network.head, precision):
            made = run_frozen()
            train()
            for name, run in timed.items():
                started = time.perf_counter()
                run()
                found[name] = round(count / (time.perf_counter() - started), 1)
            steps.end()
    return found


def compare_with_processor(bench: Bench) -> dict[str, float]:
    """Return how far a GPU's float32 features are from OpenVINO's, in units of their largest value."""
    from georgia.train.device import use_device
    from georgia.train.frozen import FrozenBackbone

    with use_device("auto"):
        _, inputs, _ = prepare_training(bench, split_folder(bench, 64, 16), {})
        network, images = inputs.network, inputs.train.images(np.arange(64))
        parts = {
            kind: FrozenBackbone(network.frozen, network.preprocess, on_gpu=kind == "gpu")(images)
            for kind in ("cpu", "gpu")
        }
        half = FrozenBackbone(network.frozen, network.preprocess, "bfloat16", on_gpu=True)(images)

    def distance(first: Any, second: Any) -> float:
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(first, second, strict=True))

    return {
        "float32": distance(parts["gpu"], parts["cpu"]),
        "bfloat16": distance(half, parts["cpu"]),
    }


def time_predictions(bench: Bench, n_files: int) -> dict[str, Any]:
    """Return files/s to a table with the best engine of the machine, images/s of that engine alone, |Δp|."""
    from georgia.images.decode import read_image
    from georgia.model.engines import Computation, OpenVinoEngine, open_engine
    from georgia.predict.predictor import PredictConfig, Predictor
    from georgia.predict.resume import predict_to_table
    from georgia.train.network import build_network
    from georgia.train.recipes import recipe_config

    config = recipe_config("georgia", {"backbone": bench.net, "weights": "none"})
    bundle = export_net(bench, build_network(config, 2).model)
    files = sorted(bench.many(n_files).glob("*.png"))
    images = [read_image(file) for file in files[:512]]
    engine = open_engine(bundle.model_path, bundle.preprocess)
    processor = OpenVinoEngine(bundle.model_path, bundle.preprocess)
    prepared = [engine.prepare(image) for image in images]
    engine.run(prepared[:64])
    started = time.perf_counter()
    outputs = engine.run(prepared)
    alone = len(images) / (time.perf_counter() - started)
    reference = processor.run([processor.prepare(image) for image in images[:64]])
    predictor = Predictor(bundle, PredictConfig())
    table = bench.work / f"{bench.net}.csv"
    rates = []
    for _ in range(2):
        table.unlink(missing_ok=True)
        started = time.perf_counter()
        deque(predict_to_table(predictor, files, table), maxlen=0)
        rates.append(round(len(files) / (time.perf_counter() - started), 1))
    difference = np.abs(outputs["probabilities"][:64] - reference["probabilities"]).max()
    return {
        "computed with": Computation.of(engine).to_json_dict(),
        "engine alone, images/s": round(alone, 1),
        "files to table, files/s": rates,
        "largest difference from the processor's probabilities": float(difference),
    }


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/gpu"))
    parser.add_argument("--nets", nargs="+", default=["resnet101", "efficientnet-lite0"])
    parser.add_argument("--parts", nargs="+", default=["compare", "stages", "epochs", "whole", "predict"])
    parser.add_argument(
        "--images", type=int, nargs=2, default=[N_TRAIN, N_VALID], help="training, validation"
    )
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--files", type=int, default=N_FILES)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    record = Record(arguments.out)
    record.values["labels"] = list(LABELS.names)
    record.values["cores"] = len(os.sched_getaffinity(0))
    n = tuple(arguments.images)
    for net in arguments.nets:
        bench = Bench(arguments.work, net, n[0] < BATCH, 1)
        if "compare" in arguments.parts:
            record.take(f"{net}: features on GPU and processor", compare_with_processor, bench)
        for precision in arguments.precisions:
            if "stages" in arguments.parts:
                record.take(f"{net}: stages, {precision}", time_stages, bench, precision, 0.1, n)
            if "epochs" in arguments.parts:
                record.take(f"{net}: last tenth, {precision}", time_epochs, bench, precision, 0.1, n)
            if "whole" in arguments.parts and precision == "bfloat16":
                record.take(f"{net}: whole net, {precision}", time_epochs, bench, precision, 1.0, n)
        if "predict" in arguments.parts:
            record.take(f"{net}: predict", time_predictions, bench, arguments.files)


if __name__ == "__main__":
    main()
