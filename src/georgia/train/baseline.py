"""A logistic regression on the features that the net's head learns from: what the head has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.labels import Labels
from georgia.metrics.classification import compute_metrics
from georgia.progress import Progress
from georgia.records import Record
from georgia.report.training_run import Baseline
from georgia.train.batches import FixedFeatures
from georgia.train.decoded import ImageSet
from georgia.train.device import find_precision
from georgia.train.frozen import FrozenBackbone
from georgia.train.loop import open_cache
from georgia.train.network import Network
from georgia.train.recipes import TrainConfig

# Inverse strengths of the penalty that are tried, and the folds that choose among them.
STRENGTHS, N_FOLDS = (0.01, 0.1, 1.0), 5
# More images cost minutes and change little.
MOST_IMAGES = 2000


def measure_baseline(
    config: TrainConfig,
    network: Network,
    learned: ImageSet,
    test: ImageSet,
    labels: Labels,
    progress: Progress,
) -> Baseline | None:
    """Return how a logistic regression does on the test images; None where the backbone learns too.

    It sees training and validation images as they are. Its penalty is chosen by cross-validation in which no
    group stands on both sides.
    """
    if network.frozen is None or network.trainable_layers or learned.records == ():
        return None
    precision, on_gpu = find_precision(config.precision, config.device)
    frozen = FrozenBackbone(network.frozen, network.preprocess, precision, on_gpu)
    progress.start("baseline features", len(learned) + len(test))
    chosen = np.sort(np.random.default_rng(config.seed).permutation(len(learned))[:MOST_IMAGES])
    learned = learned.select([learned.records[at] for at in chosen])
    sides = [_compute(images, config, frozen, progress) for images in (learned, test)]
    progress.start("baseline", None)
    groups = _groups(learned.records)
    strength, cross_f1, n_folds = _choose_strength(sides[0], learned.targets, groups, labels)
    model = _make_model(strength).fit(sides[0], learned.targets)
    metrics = compute_metrics(test.targets, model.predict(sides[1]), labels, _groups(test.records))
    return Baseline(
        n_images=len(learned),
        accuracy=metrics.accuracy,
        f1=metrics.macro.f1,
        f1_ci95=metrics.macro.f1_ci95,
        strength=strength,
        n_folds=n_folds,
        cross_f1=cross_f1,
    )


def _compute(
    images: ImageSet, config: TrainConfig, frozen: FrozenBackbone, progress: Progress
) -> npt.NDArray[np.float32]:
    rows = []
    for batch in FixedFeatures(images, frozen, cache=open_cache(config, frozen)).batches():
        rows.append(batch[0])
        progress.advance(len(batch[0]))
    return np.concatenate(rows)


def _groups(records: Sequence[Record]) -> list[str]:
    return [record.group or str(record.path) for record in records]


def _choose_strength(
    features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], groups: Sequence[str], labels: Labels
) -> tuple[float, float | None, int]:
    """Return the strength of the best macro F1 in grouped cross-validation, that F1, and the folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    n_groups = [
        len({groups[at] for at in np.flatnonzero(targets == index).tolist()}) for index in np.unique(targets)
    ]
    n_folds = min(N_FOLDS, *n_groups)
    if n_folds < 2:
        return STRENGTHS[1], None, 0
    folds = list(StratifiedGroupKFold(n_folds).split(features, targets, groups))
    found: list[tuple[float, float]] = []
    for strength in STRENGTHS:
        predicted = np.empty_like(targets)
        for train, held in folds:
            predicted[held] = (
                _make_model(strength).fit(features[train], targets[train]).predict(features[held])
            )
        found.append((compute_metrics(targets, predicted, labels, n_bootstrap=0).macro.f1, -strength))
    f1, negative = max(found)
    return -negative, f1, n_folds


def _make_model(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=500, tol=1e-3)
    return make_pipeline(StandardScaler(), regression)
