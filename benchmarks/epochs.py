"""Epochs of recipe ``georgia`` and of the study's way, in wall and processor time: sections of ``speed.py``.

Georgia's epochs are measured whole. The study's are measured on some hundred images of its own loop, stage by
stage and per image; ``study_size.py`` has the arithmetic that makes epochs of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.labels import Labels
from georgia.model.engines import list_capabilities
from georgia.progress import Quiet

if TYPE_CHECKING:
    from sections import Bench

    from georgia.train.loop import LoopInputs
    from georgia.train.recipes import TrainConfig

LABELS = Labels(("CEX", "PG"))
# The net of the study; --net puts another in its place.
TRAINED = "resnet101"
BATCH = 64
# Training and validation images of an epoch: as 9,564 to 3,416 in the study.
FULL, QUICK = (1024, 366), (128, 46)
# Images of each stage of the study's loop.
N_STUDY = 64


@dataclass
class Spent:
    """Seconds since a moment: on the wall, and of all cores together."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def now(cls) -> Spent:
        """Return the clocks as they are."""
        return cls(time.perf_counter(), time.process_time())

    def minus(self, other: Spent) -> Spent:
        """Return what lies between two moments."""
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def per(self, count: int) -> dict[str, float]:
        """Return seconds for one of ``count`` things."""
        return {name: value / count for name, value in vars(self).items()}


@contextmanager
def clock(found: dict[str, dict[str, float]], name: str, count: int = 1) -> Iterator[None]:
    """Put what the block takes, for one of ``count`` things, into ``found``."""
    before = Spent.now()
    yield
    found[name] = Spent.now().minus(before).per(count)


class Moments(Quiet):
    """When each stage of a training began."""

    def __init__(self) -> None:
        self.at: dict[str, Spent] = {}

    def start(self, stage: str, total: int | None) -> None:
        """Note the moment."""
        self.at[stage.split("/")[0]] = Spent.now()


def split_folder(bench: Bench, n_train: int, n_valid: int) -> Path:
    """Return a folder with training and validation splits, a folder per class each; crops repeat."""
    folder = bench.work / f"split-{n_train}-{n_valid}"
    crops = bench.crops(60 if bench.quick else 200)
    if not folder.exists():
        for name in LABELS.names:
            own = [path for path in crops if path.parent.name == name]
            for part, start, count in (("train", 0, n_train // 2), ("valid", n_train // 2, n_valid // 2)):
                (folder / part / name).mkdir(parents=True)
                for number in range(start, start + count):
                    os.link(own[number % len(own)], folder / part / name / f"crop {number:05d}.png")
    return folder


def prepare_training(
    bench: Bench, folder: Path, changes: dict[str, Any]
) -> tuple[TrainConfig, LoopInputs, dict[str, float]]:
    """Return settings and inputs of a loop of recipe ``georgia``, and what decoding an image took."""
    from georgia.catalog.read import read_catalog
    from georgia.train.decoded import load_images
    from georgia.train.loop import LoopInputs
    from georgia.train.network import build_network
    from georgia.train.recipes import recipe_config

    settings = {"backbone": bench.net or TRAINED, "weights": "none", "f1_threshold": 0, "patience": 0}
    config = recipe_config("georgia", {**settings, "feature_cache_gb": 0, **changes})
    network = build_network(config, 2)
    records = read_catalog(folder).records
    found: dict[str, dict[str, float]] = {}
    with clock(found, "decode", len(records)):
        images, _ = load_images(records, LABELS, network.preprocess, bench.work / "images.npy")
    train, valid = (
        images.select([record for record in records if record.split == split]) for split in ("train", "valid")
    )
    return config, LoopInputs(network, train, valid, LABELS, bench.work / "run"), found["decode"]


def time_georgia(bench: Bench, folder: Path, changes: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return seconds of the validation split's way through the frozen backbone and of every epoch."""
    from georgia.train.loop import run_loop
    from georgia.train.state import TrainState

    config, inputs, _ = prepare_training(bench, folder, changes)
    moments, ends = Moments(), [Spent()]
    run_loop(config, inputs, TrainState("bench"), moments, lambda *_: ends.append(Spent.now()))
    starts = [moments.at[f"epoch {number}"] for number in range(1, len(ends))]
    found = {"validation features": starts[0].minus(moments.at["validation features"])}
    for number, (start, end) in enumerate(zip(starts, ends[1:], strict=True), start=1):
        found[f"epoch {number}"] = end.minus(start)
    return {name: spent.per(1) for name, spent in found.items()}


def time_study(bench: Bench, folder: Path, n: int) -> dict[str, dict[str, float]]:
    """Return seconds of one image in each stage of the study's loop: training, evaluation, prediction."""
    import study_loop

    model = study_loop.build_net(bench.net or TRAINED, study_loop.LAST_TENTH)
    train, valid = study_loop.open_generators(folder, BATCH)
    study_loop.warm_up(model, train, valid)
    found: dict[str, dict[str, float]] = {}
    for name, step in study_loop.STAGES.items():
        with clock(found, name, n):
            step(model, train, valid, n // BATCH)
    return found


def measure_train(bench: Bench) -> dict[str, Any]:
    """Two epochs of recipe ``georgia``, in float32 and bfloat16, and the study's way on the same images."""
    n_train, n_valid = QUICK if bench.quick else FULL
    folder = split_folder(bench, n_train, n_valid)
    found: dict[str, Any] = {"n_train": n_train, "n_valid": n_valid, "n_study": N_STUDY, "batch": BATCH}
    changes = {"batch_size": BATCH, "epochs": 2}
    found["study"] = time_study(bench, folder, N_STUDY)
    found["float32"] = time_georgia(bench, folder, changes)
    if "BF16" in list_capabilities():
        found["bfloat16"] = time_georgia(bench, folder, {**changes, "precision": "bfloat16"})
    return found


def measure_stages(bench: Bench) -> dict[str, Any]:
    """Seconds of one image in each stage of an epoch: alone, one after another, and overlapped."""
    folder = split_folder(bench, *QUICK)
    precisions = ["float32", *(["bfloat16"] if "BF16" in list_capabilities() else [])]
    return {precision: time_stages(bench, folder, precision) for precision in precisions}


def time_stages(bench: Bench, folder: Path, precision: str) -> dict[str, dict[str, float]]:
    """Return seconds of one image by stage."""
    from georgia.images.augment import STUDY, augment_batch
    from georgia.train.batches import training_batches
    from georgia.train.device import use_precision
    from georgia.train.frozen import FrozenBackbone
    from georgia.train.loop import compile_head

    config, inputs, decode = prepare_training(bench, folder, {"batch_size": BATCH})
    head, n = inputs.network.head, len(inputs.train)
    frozen = FrozenBackbone(inputs.network.frozen, inputs.network.preprocess, precision)
    compile_head(head, config, sigmoid=True)
    targets = inputs.train.targets.astype(np.float32)[:, None]
    images = inputs.train.images(np.arange(n))
    cuts = [slice(start, start + BATCH) for start in range(0, n, BATCH)]

    def train(features: Any, cut: slice) -> None:
        head.train_on_batch(features, targets[cut], return_dict=True)

    def overlap() -> None:
        batches = training_batches(inputs.train, frozen, STUDY, BATCH, (1, 1))
        for cut, (features, _) in zip(cuts, batches, strict=True):
            train(features, cut)

    def follow() -> None:
        for cut in cuts:
            train(frozen(augment_batch(images[cut], STUDY, [(1, 1, at) for at in range(BATCH)])), cut)

    made = frozen(images)
    steps: dict[str, Callable[[], Any]] = {
        "augment": lambda: augment_batch(images, STUDY, [(1, 1, at) for at in range(n)]),
        "frozen backbone": lambda: frozen(images),
        "trainable part, a step": lambda: [train([m[cut] for m in made], cut) for cut in cuts],
        "trainable part, validation": lambda: [head.predict_on_batch([m[cut] for m in made]) for cut in cuts],
        "one after another": follow,
        "overlapped": overlap,
    }
    found = {"decode, once a run": decode}
    with use_precision(head, precision):
        train([m[:BATCH] for m in made], cuts[0])
        head.predict_on_batch([m[:BATCH] for m in made])
        for name, step in steps.items():
            with clock(found, name, n):
                step()
    return found


def measure_frozen(bench: Bench) -> dict[str, float]:
    """Epochs with a frozen base and no augmentation: the study's variant A without its views."""
    import study_loop

    n_train, n_valid = (32, 12) if bench.quick else (64, 24)
    folder = split_folder(bench, n_train, n_valid)
    changes = {"trainable_fraction": 0.0, "augmentation": "none", "dropout": ()}
    mine = time_georgia(bench, folder, {"batch_size": 32, "epochs": 12, **changes})
    later = [mine[f"epoch {number}"]["wall_s"] for number in range(2, 13)]
    model = study_loop.build_net(bench.net or TRAINED, study_loop.NOTHING)
    train, valid = study_loop.open_generators(folder, 32, augmented=False)
    study_loop.warm_up(model, train, valid)
    seconds = []
    for _ in range(bench.rounds):
        started = time.perf_counter()
        study_loop.train_epoch(model, train, valid)
        seconds.append(time.perf_counter() - started)
    return {
        "n_train": n_train,
        "n_valid": n_valid,
        "study_epoch_s": float(np.median(seconds)),
        "later_epoch_s": float(np.median(later)),
    }
