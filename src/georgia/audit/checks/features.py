"""Checks by the features of a network: labels that they contradict, and images unlike all others.

The features are those of the frozen backbone of the bundled model (EfficientNet-Lite0, weights from
ImageNet), which is not trained on the audited data. They come from its ONNX file: no Keras is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.audit.check import AuditData, Check, Finding, list_names
from georgia.audit.predictability import Floats, Ints, make_probe_data
from georgia.audit.scan import FeatureExtractor, Features
from georgia.model.engines import open_engine
from georgia.model.load import load_bundled_model

# Directions of the features that are kept: nearly all of their variance, in a tenth of the time.
_N_DIRECTIONS = 64
# Inverse strength of the regression's penalty. Source: 600 synthetic crops with 5 % of the labels swapped.
_INVERSE_PENALTY = 0.03
_N_NEIGHBOURS = 5


def open_feature_extractor() -> FeatureExtractor:
    """Return the network of a deep audit.

    Raises:
        InputError: this installation holds no bundled model.
    """
    bundle = load_bundled_model()
    engine = open_engine(bundle.model_path, bundle.preprocess, precision="float32")

    def extract(prepared: Sequence[npt.NDArray[Any]]) -> Features:
        return np.asarray(engine.run(prepared)["features"], np.float32)

    return FeatureExtractor(engine.prepare, extract)


def reduce_features(features: Features) -> Floats:
    """Return features (N, F), standardized, as their main directions (N, up to 64)."""
    from sklearn.decomposition import PCA

    reducer = PCA(min(_N_DIRECTIONS, *features.shape), svd_solver="randomized", random_state=0)
    return np.asarray(reducer.fit_transform(standardize_features(features)))


def standardize_features(features: Features) -> Floats:
    """Return features (N, F), each with mean 0 and standard deviation 1."""
    from sklearn.preprocessing import StandardScaler

    return np.asarray(StandardScaler().fit_transform(features.astype(np.float64)))


def predict_out_of_fold(
    directions: Floats, labels: Ints, groups: Ints, n_classes: int, seed: int
) -> Floats | None:
    """Return scores (N, C) by a regression fitted without the file's group; None of too few groups."""
    from sklearn.linear_model import LogisticRegression

    probe = make_probe_data(labels, groups, n_classes, seed)
    if probe is None:
        return None
    scores = np.zeros((len(labels), n_classes))
    for fold in np.unique(probe.folds):
        rest = probe.folds != fold
        model = LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=500)
        model.fit(directions[rest], labels[rest])
        scores[np.ix_(~rest, model.classes_)] = model.predict_proba(directions[~rest])
    return scores


@dataclass(frozen=True, eq=False)
class Suspects:
    """Images whose label the others contradict: ``positions`` (S,), the lowest ``scores`` (S,) first.

    ``looks_like`` (S,) are class indices, ``scores`` those of the own label, 0–1.
    """

    positions: Ints
    looks_like: Ints
    scores: Floats


def find_suspects(
    features: Features, labels: Ints, groups: Ints, n_classes: int, seed: int, threshold: float
) -> Suspects:
    """Return the images (N) whose own label scores below ``threshold`` where another class scores as usual.

    Scores are out of fold, over groups; too few groups suspect nothing. Source: see ``LabelSuspect``.
    """
    scores = predict_out_of_fold(reduce_features(features), labels, groups, n_classes, seed)
    if scores is None:
        return Suspects(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    own = scores[np.arange(len(labels)), labels]
    others = scores.copy()
    others[np.arange(len(labels)), labels] = -1.0
    looks_like = others.argmax(axis=1)
    usual = np.array([scores[labels == index, index].mean() for index in range(n_classes)])
    is_suspect = (own < threshold) & (others.max(axis=1) >= usual[looks_like])
    suspects = np.flatnonzero(is_suspect)[np.argsort(own[is_suspect], kind="stable")]
    return Suspects(suspects, looks_like[suspects], own[suspects])


class LabelSuspect(Check):
    """An image looks like another class than its label says."""

    name = "label-suspect"
    severity = "warning"
    is_deep = True
    rule = "score of the own label, where another class scores as high as its own images do on average, below"
    threshold = 0.1
    source = (
        "confident learning, Northcutt et al. 2021, doi 10.1613/jair.1.12125; 1,000 synthetic crops: with "
        "5 % of the labels swapped 62 % of those are found, and 6 % of the found ones are not swapped"
    )
    remedy = (
        "Look at them. If a label is wrong, move the file; if it is correct, they are the hard cases to keep."
    )

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all suspects, the lowest score first."""
        if data.features is None:
            return []
        labels, n_classes = data.labels, len(data.catalog.labels)
        found = find_suspects(data.features, labels, data.groups, n_classes, data.config.seed, self.threshold)
        if not len(found.positions):
            return []
        names = data.names(found.positions)
        classes = [data.catalog.labels.names[index] for index in found.looks_like]
        scores_of_labels = [round(float(score), 4) for score in found.scores]
        evidence = {"looks_like": classes, "score_of_label": scores_of_labels}
        looks = f"{list_names(names, 1)}; the first looks like {classes[0]}"
        return [self.found(f"labels that the images contradict: {looks}", evidence, names)]


class Outlier(Check):
    """An image is unlike all others."""

    name = "outlier"
    severity = "warning"
    is_deep = True
    rule = "distance to its nearest neighbours of other groups, in medians of the set, from"
    threshold = 1.6
    source = "1,600 synthetic crops: the farthest is at 1.51"
    remedy = "Look at them: a whole frame, a test image or another probe's image does not belong here."

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all outliers, the farthest first."""
        if data.features is None or len(data.features) <= 2 * _N_NEIGHBOURS:
            return []
        ratio = measure_distance(standardize_features(data.features), data.groups)
        is_far = ratio >= self.threshold
        outliers = np.flatnonzero(is_far)[np.argsort(-ratio[is_far], kind="stable")]
        if not len(outliers):
            return []
        names = data.names(outliers)
        evidence = {"distance": [round(float(value), 3) for value in ratio[outliers]]}
        return [self.found(f"unlike all other images: {list_names(names, 1)}", evidence, names)]


def measure_distance(points: Floats, groups: Ints) -> Floats:
    """Return the mean distance (N,) to the nearest neighbours of other groups, in medians of the set."""
    from sklearn.neighbors import NearestNeighbors

    largest = int(np.bincount(np.unique(groups, return_inverse=True)[1].reshape(-1)).max())
    n_asked = min(len(points), _N_NEIGHBOURS + min(largest, 50))
    distances, places = NearestNeighbors(n_neighbors=n_asked).fit(points).kneighbors(points)
    distances = np.where(groups[places] == groups[:, None], np.inf, distances)
    nearest = np.sort(distances, axis=1)[:, :_N_NEIGHBOURS]
    nearest[~np.isfinite(nearest)] = 0.0
    mean = nearest.mean(axis=1)
    return np.asarray(mean / max(float(np.median(mean)), 1e-12))
