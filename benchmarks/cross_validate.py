"""Recipe `fast`, before and after its refit, and logistic regression, in the same grouped folds of one set.

    .venv/bin/python benchmarks/cross_validate.py DATA [--folds 5] [--only 1,2] [--set key=value …]
    .venv/bin/python benchmarks/cross_validate.py DATA --seeds 0,1,2,3 [--fractions 0.7,0.15,0.15]

All see the same test folds; `fast` gives some of the rest to validation until its refit (settings `refit` and
`heads`), the regression takes it all. ``--only`` runs some of the folds, counted from 1. With ``--seeds``
there are no folds, but a grouped split of the given fractions, and a training, for each seed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from georgia.catalog.read import read_catalog
from georgia.config import parse_assignments
from georgia.records import Catalog
from georgia.split.make import Split, SplitConfig, kfold_split, make_split
from georgia.train import TrainConfig, recipe_config
from georgia.train.batches import FixedFeatures
from georgia.train.decoded import ImageSet, load_images
from georgia.train.frozen import FrozenBackbone
from georgia.train.loop import LoopInputs, copy_weights, run_loop
from georgia.train.network import Network, build_network
from georgia.train.refit import needs_refit, refit_head
from georgia.train.state import TrainState

METHODS = ("fast", "before refit", "regression")


def main() -> None:
    """Print one JSON object: macro-F1 of each over all test images together, split by split, and the mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", default="", help="of splits, in place of folds; of the training too")
    parser.add_argument("--fractions", default="0.7,0.15,0.15")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    changes = parse_assignments(options.changes)
    config = recipe_config("fast", changes)
    catalog = read_catalog(options.data, verify=False)
    n_classes = len(catalog.labels)
    plain = {"weights": config.weights, "size_px": config.size_px, "head_features": "last"}
    last = build_network(recipe_config("fast", {**plain, "standardize": False}), n_classes)
    place_of_images = tempfile.TemporaryDirectory()
    store = Path(place_of_images.name) / "images.npy"
    images, _ = load_images(catalog.records, catalog.labels, last.preprocess, store)
    frozen = FrozenBackbone(last.frozen, last.preprocess)
    features = np.concatenate([batch[0] for batch in FixedFeatures(images, frozen).batches()])
    place = {record.path: number for number, record in enumerate(images.records)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("truth", *METHODS)}
    rows, started = [], time.perf_counter()
    for seed, split in choose_splits(catalog, options):
        own = config if seed is None else recipe_config("fast", {**changes, "seed": seed})
        at = {
            part: np.array([place[r.path] for r in split.subset(part)]) for part in ("train", "valid", "test")
        }
        rest = np.concatenate([at["train"], at["valid"]])
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        regression.fit(features[rest], images.targets[rest])
        predicted = {
            "truth": images.targets[at["test"]],
            "regression": regression.predict(features[at["test"]]),
            **train_and_classify(own, images, split),
        }
        for name, classes in predicted.items():
            found[name].append(classes)
        rows.append({name: score(predicted["truth"], predicted[name]) for name in METHODS})
        print(rows[-1], flush=True)
    together = {name: np.concatenate(classes) for name, classes in found.items()}
    result = {
        "macro_f1": {name: score(together["truth"], together[name]) for name in METHODS},
        "mean": {name: round(float(np.mean([row[name] for row in rows])), 4) for name in METHODS},
        "folds": rows,
        "seconds": time.perf_counter() - started,
    }
    place_of_images.cleanup()
    print(json.dumps(result))


def choose_splits(catalog: Catalog, options: argparse.Namespace) -> list[tuple[int | None, Split]]:
    """Return the folds asked for, or a split for each seed, with that seed."""
    if options.seeds:
        fractions = tuple(float(number) for number in options.fractions.split(","))
        seeds = [int(number) for number in options.seeds.split(",")]
        return [(seed, make_split(catalog, SplitConfig(fractions, seed=seed))) for seed in seeds]
    only = {int(number) for number in options.only.split(",") if number}
    splits = kfold_split(catalog, options.folds, options.seed, valid_fraction=0.15)
    return [(None, split) for number, split in enumerate(splits, 1) if not only or number in only]


def train_and_classify(config: TrainConfig, images: ImageSet, split: Split) -> dict[str, np.ndarray]:
    """Return the classes that `fast` gives the test images, before its refit and after it."""
    network = build_network(config, len(split.labels))
    parts = [images.select(split.subset(part)) for part in ("train", "valid")]
    tested = images.select(split.subset("test"))
    with tempfile.TemporaryDirectory() as folder:
        inputs = LoopInputs(network, parts[0], parts[1], split.labels, Path(folder))
        initial = copy_weights(network)
        history = run_loop(config, inputs, TrainState("benchmark"))
        before = classify(network, tested.images(np.arange(len(tested))))
        if needs_refit(config, len(images)):
            refit = replace(inputs, train=images.select([*parts[0].records, *parts[1].records]))
            found = refit_head(config, refit, initial, history.marked_epoch, is_calibrated=False)
            network = found.network
    return {"before refit": before, "fast": classify(network, tested.images(np.arange(len(tested))))}


def score(truth: np.ndarray, classes: np.ndarray) -> float:
    """Return macro F1, to four places."""
    return round(float(f1_score(truth, classes, average="macro")), 4)


def classify(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the class index of each image."""
    pixels = network.preprocess.normalize(images.astype(np.float32))
    return np.asarray(network.model.predict(pixels, verbose=0).argmax(axis=1))


if __name__ == "__main__":
    main()
