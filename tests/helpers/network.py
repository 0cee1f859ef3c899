"""A net and images that a test trains in a blink."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from georgia.labels import Labels
from georgia.records import Record
from georgia.train.decoded import ImageSet
from georgia.train.loop import LoopInputs
from georgia.train.network import build_network
from georgia.train.recipes import TrainConfig

SMALL = TrainConfig(
    backbone="tiny",
    weights="none",
    size_px=32,
    standardize=False,
    head_units=(),
    dropout=(),
    feature_dropout=0.0,
    trainable_fraction=0.4,
    epochs=3,
    batch_size=8,
    f1_threshold=0.0,
    views=0,
    learning_rate=1e-3,
)
QUICK = replace(
    SMALL,
    trainable_fraction=0.0,
    standardize=True,
    head_units=(32,),
    dropout=(0.3,),
    views=3,
    epochs=40,
    batch_size=20,
)


def make_images(n: int, n_classes: int, seed: int, size: int = 32) -> ImageSet:
    """Return noise images whose class is their brightness."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    base = 40 + 160 * targets / max(1, n_classes - 1)
    store = np.clip(rng.normal(base[:, None, None, None], 25, (n, size, size, 3)), 0, 255).astype(np.uint8)
    records = tuple(Record(Path(f"{seed}-{i}.png"), str(t)) for i, t in enumerate(targets))
    return ImageSet(store, np.arange(n), targets.astype(np.int64), records)


def make_inputs(config: TrainConfig, folder: Path, n_classes: int = 2, n_train: int = 40) -> LoopInputs:
    """Return what a loop needs; 40 images fill whole batches: Keras compiles its step for one shape only."""
    labels = Labels(tuple(str(i) for i in range(n_classes)))
    network = build_network(config, n_classes)
    images = make_images(n_train, n_classes, 1), make_images(21, n_classes, 2)
    return LoopInputs(network, *images, labels, folder)


def predict_validation(inputs: LoopInputs) -> np.ndarray:
    """Return the net's outputs (N, C) for the validation images."""
    spec = inputs.network.preprocess
    return np.asarray(inputs.network.model(spec.normalize(inputs.valid.store.astype(np.float32))))
