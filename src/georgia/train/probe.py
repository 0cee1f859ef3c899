"""Fit the output layer alone on frozen features, exactly, before anything else learns.

Fine-tuning from a fitted output layer keeps the features that a random one would tear apart.
Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform
out-of-distribution", doi 10.48550/arXiv.2202.10054.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.augment import AUGMENTATIONS, augment_batch
from georgia.labels import outputs_to_probabilities
from georgia.progress import QUIET, Progress
from georgia.train.network import Network
from georgia.train.pictures import Pictures
from georgia.train.recipes import TrainConfig
from georgia.train.trunk import TRUNK_BATCH, Trunk

# Inverse strengths of the ridge tried, for REFERENCE_COUNT pictures; the validation loss chooses.
STRENGTHS = (3e-3, 3e-2, 3e-1)
# Views are thinned so that no more than this many passes are spent: minutes on two cores.
MAX_PASSES = 3000
MAX_ITERATIONS = 80
REFERENCE_COUNT = 500


def fit_output_layer(
    config: TrainConfig, network: Network, train: Pictures, valid: Pictures, progress: Progress = QUIET
) -> float:
    """Set the output layer's weights by logistic regression; return the strength chosen.

    Features come from ``config.probe_views`` augmented views of each training picture, the first
    being the picture itself, through the whole net as it stands.
    """
    import keras

    output = network.model.get_layer("head_output")
    before = network.model.get_layer("head_features" if config.head_features == "levels" else "head_pool").output
    trunk = Trunk(keras.Model(network.model.input, before, name="probe"), network.preprocess)
    n_views = max(1, min(config.probe_views, MAX_PASSES // max(1, len(train))))
    progress.start("probe", n_views * len(train) + len(valid))
    features = np.concatenate([_features(trunk, train, config, view, progress) for view in range(n_views)])
    held_out = _features(trunk, valid, config, 0, progress)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    strength, fitted = _fit(
        (features - mean) / spread,
        np.tile(train.targets, n_views),
        (held_out - mean) / spread,
        valid.targets,
        "balanced" if config.class_weights else None,
    )
    _set_output(output, fitted, mean, spread)
    return strength


def _fit(
    features: npt.NDArray[Any],
    targets: npt.NDArray[np.int64],
    held_out: npt.NDArray[Any],
    held_out_targets: npt.NDArray[np.int64],
    class_weight: str | None,
) -> tuple[float, Any]:
    """Return the strength with the lowest validation loss, and its model."""
    from sklearn.linear_model import LogisticRegression

    tried: list[tuple[float, float, Any]] = []
    for strength in STRENGTHS:
        inverse = strength * REFERENCE_COUNT / len(targets)
        model = LogisticRegression(C=inverse, max_iter=MAX_ITERATIONS, class_weight=class_weight, warm_start=True)
        if tried:
            model.coef_, model.intercept_ = tried[-1][2].coef_.copy(), tried[-1][2].intercept_.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unfinished fit is still a start
            model.fit(features, targets)
        probabilities = model.predict_proba(held_out)
        right = probabilities[np.arange(len(held_out)), held_out_targets]
        tried.append((float(-np.log(np.clip(right, 1e-7, 1)).mean()), strength, model))
    _, strength, model = min(tried, key=lambda entry: entry[0])
    return strength, model


def _features(
    trunk: Trunk, pictures: Pictures, config: TrainConfig, view: int, progress: Progress
) -> npt.NDArray[np.float32]:
    parts = []
    for start in range(0, len(pictures), TRUNK_BATCH):
        images = pictures.images(slice(start, start + TRUNK_BATCH))
        if view:
            keys = [(config.seed, 0, view, start + number) for number in range(len(images))]
            images = augment_batch(images, AUGMENTATIONS[config.augmentation], keys)
        parts.append(trunk(images)[0])
        progress.advance(len(images))
    return np.concatenate(parts)


def _set_output(layer: Any, model: Any, mean: npt.NDArray[Any], spread: npt.NDArray[Any]) -> None:
    """Fold standardisation and regression into the layer; two classes share one direction."""
    slopes = model.coef_ / spread
    offsets = model.intercept_ - slopes @ mean
    if len(slopes) == 1 and layer.units == 2:
        slopes = np.concatenate([-slopes / 2, slopes / 2])
        offsets = np.concatenate([-offsets / 2, offsets / 2])
    layer.kernel.assign(slopes.T.astype(np.float32))
    layer.bias.assign(offsets.astype(np.float32))
