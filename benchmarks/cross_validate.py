"""Recipe `fast` against logistic regression on frozen features, in the same grouped folds of one data set.

    .venv/bin/python benchmarks/cross_validate.py DATA [--folds 5] [--set key=value …]

Both see the same test folds; `fast` gives some of the rest to validation, the regression takes it all.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
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
from georgia.split.make import kfold_split
from georgia.train import recipe_config
from georgia.train.batches import FixedFeatures
from georgia.train.decoded import load_images
from georgia.train.frozen import FrozenBackbone
from georgia.train.loop import LoopInputs, run_loop
from georgia.train.network import build_network
from georgia.train.state import TrainState


def main() -> None:
    """Print one JSON object: macro-F1 of both over all test folds together, and fold by fold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    config = recipe_config("fast", parse_assignments(options.changes))
    catalog = read_catalog(options.data, verify=False)
    n_classes = len(catalog.labels)
    last = build_network(recipe_config("fast", {"head_features": "last", "standardize": False}), n_classes)
    images, _ = load_images(catalog.records, catalog.labels, last.preprocess, Path("images.npy"))
    frozen = FrozenBackbone(last.frozen, last.preprocess)
    features = np.concatenate([batch[0] for batch in FixedFeatures(images, frozen).batches()])
    place = {record.path: number for number, record in enumerate(images.records)}
    predicted = {name: np.full(len(images), -1) for name in ("fast", "regression")}
    folds, started = [], time.perf_counter()
    for split in kfold_split(catalog, options.folds, options.seed, valid_fraction=0.15):
        at = {
            part: np.array([place[r.path] for r in split.subset(part)]) for part in ("train", "valid", "test")
        }
        rest = np.concatenate([at["train"], at["valid"]])
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        regression.fit(features[rest], images.targets[rest])
        predicted["regression"][at["test"]] = regression.predict(features[at["test"]])
        network = build_network(config, n_classes)
        with tempfile.TemporaryDirectory() as folder:
            parts = [images.select(split.subset(part)) for part in ("train", "valid")]
            inputs = LoopInputs(network, parts[0], parts[1], catalog.labels, Path(folder))
            run_loop(config, inputs, TrainState("benchmark"))
        pixels = network.preprocess.normalize(images.images(at["test"]).astype(np.float32))
        predicted["fast"][at["test"]] = network.model.predict(pixels, verbose=0).argmax(axis=1)
        truth = images.targets[at["test"]]
        chosen = {name: classes[at["test"]] for name, classes in predicted.items()}
        folds.append({name: round(f1_score(truth, a, average="macro"), 4) for name, a in chosen.items()})
        print(folds[-1], flush=True)
    totals = {k: round(f1_score(images.targets, v, average="macro"), 4) for k, v in predicted.items()}
    print(json.dumps({"macro_f1": totals, "folds": folds, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
