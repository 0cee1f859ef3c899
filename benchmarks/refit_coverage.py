"""Calibration and prediction sets of a refitted head: fitted before the refit, or cross-fitted with it.

    .venv/bin/python benchmarks/refit_coverage.py [--images 270] [--test 900] [--seeds 4] [--set key=value …]

Small sets of synthetic silhouettes (``precision.draw_silhouettes``, 9 classes), a fifth of them for
validation until the refit; other silhouettes are the test images, each a group of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from precision import draw_silhouettes

from georgia.catalog.read import read_catalog
from georgia.config import parse_assignments
from georgia.labels import Labels
from georgia.metrics.reliability import measure_reliability
from georgia.train import recipe_config
from georgia.train.batches import FixedFeatures
from georgia.train.decoded import ImageSet, load_images
from georgia.train.frozen import FrozenBackbone
from georgia.train.loop import EPSILON, LoopInputs, copy_weights, run_loop
from georgia.train.network import Network, build_network
from georgia.train.refit import cross_fit, refit_head
from georgia.train.state import TrainState
from georgia.uncertainty.calibration import fit_temperature, softmax
from georgia.uncertainty.conformal import fit_conformal
from georgia.uncertainty.decision import Uncertainty

RATES = (0.05, 0.10)


def compute_logits(network: Network, features: list[np.ndarray]) -> np.ndarray:
    """Return logits (N, C), but for a number added to a whole row."""
    probabilities = np.asarray(network.head.predict(features, verbose=0), np.float64)
    return np.log(np.clip(probabilities, EPSILON, 1))


def describe(fitted: Uncertainty, logits: np.ndarray, truth: np.ndarray, labels: Labels) -> dict[str, float]:
    """Return calibration error, log loss, coverage and size of the sets on test images."""
    probabilities = softmax(logits, fitted.temperature)
    of_truth = probabilities[np.arange(len(truth)), truth]
    is_correct = probabilities.argmax(axis=1) == truth
    reliability = measure_reliability(probabilities, truth)
    found = {
        "temperature": fitted.temperature,
        "accuracy": float(is_correct.mean()),
        "ece": reliability.error,
        "log_loss": float(-np.log(of_truth).mean()),
    }
    for rate in RATES:
        sets = fitted.conformal.sets(probabilities, labels, rate)
        covered = np.array([labels.names[t] in names for t, names in zip(truth, sets, strict=True)])
        by_class = [covered[truth == k].mean() for k in range(len(labels))]
        found[f"covered_{rate:g}"] = float(covered.mean())
        found[f"lowest_class_{rate:g}"] = float(min(by_class))
        found[f"set_size_{rate:g}"] = float(np.mean([len(names) for names in sets]))
    return found


def main() -> None:
    """Print one JSON object: for each way of fitting, means over the sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=270)
    parser.add_argument("--test", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    config, found = (
        recipe_config("fast", parse_assignments(options.changes)),
        {"before the refit": [], "cross-fitted": []},
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        test, test_features = None, None
        for seed in range(options.seeds + 1):
            draw_silhouettes(place / str(seed), options.test if not seed else options.images, 4000 + seed)
            catalog = read_catalog(place / str(seed), verify=False)
            labels = catalog.labels
            network = build_network(config, len(labels))
            images, _ = load_images(catalog.records, labels, network.preprocess, place / "images.npy")
            if test is None:
                test = images
                features = FixedFeatures(images, FrozenBackbone(network.frozen, network.preprocess))
                test_features = [np.concatenate(parts) for parts in zip(*features.batches(), strict=True)]
                continue
            is_valid = np.random.default_rng(seed).permutation(len(images)) % 5 == 0
            train, valid = (_select(images, chosen) for chosen in (~is_valid, is_valid))
            inputs = LoopInputs(network, train, valid, labels, place / f"run{seed}")
            initial = copy_weights(network)
            history = run_loop(config, inputs, TrainState("benchmark"))
            first = FixedFeatures(valid, FrozenBackbone(network.frozen, network.preprocess))
            parts = [np.concatenate(each) for each in zip(*first.batches(), strict=True)]
            logits = compute_logits(network, parts)
            calibration = fit_temperature(logits, valid.targets)
            limits = fit_conformal(softmax(logits, calibration.temperature), valid.targets, labels)
            before = Uncertainty(calibration, None, limits)
            both = replace(inputs, train=images, folder=place / f"refit{seed}")
            refitted = refit_head(config, both, initial, history.marked_epoch)
            tested = compute_logits(refitted.network, test_features)
            after = cross_fit(refitted, images, labels, before)
            for name, fitted in (("before the refit", before), ("cross-fitted", after)):
                found[name].append(describe(fitted, tested, test.targets, labels))
            print(seed, {name: rows[-1] for name, rows in found.items()}, flush=True)
    means = {
        name: {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
        for name, rows in found.items()
    }
    print(json.dumps(means, indent=1))


def _select(images: ImageSet, chosen: np.ndarray) -> ImageSet:
    return images.select([images.records[at] for at in np.flatnonzero(chosen)])


if __name__ == "__main__":
    main()
