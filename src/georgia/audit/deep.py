"""What a net sees: labels that its features contradict, and images unlike all others.

The features are those of the frozen backbone inside of the bundled model (EfficientNet-Lite0, weights from
ImageNet): it was not trained on the data that is audited. They come from the ONNX file: no Keras is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.audit.check import Check, Finding, Observed
from georgia.audit.examples import Example, ExampleImage, add, draw_texture
from georgia.audit.predictability import Floats, Ints, make_probe_set
from georgia.audit.scan import Features, Look
from georgia.model.engines import open_engine
from georgia.model.load import load_bundled_model

# Directions of the features that are kept: nearly all of their spread, in a tenth of the time.
_N_DIRECTIONS = 64
# How strongly the regression is held back. Source: 600 drawn crops with 5 % of the labels swapped.
_INVERSE_PENALTY = 0.03
_N_NEIGHBOURS = 5


def open_look() -> Look:
    """Return the net that looks at the images of a deep audit.

    Raises:
        InputError: this installation holds no bundled model.
    """
    bundle = load_bundled_model()
    engine = open_engine(bundle.model_path, bundle.preprocess)

    def extract(prepared: Sequence[npt.NDArray[Any]]) -> Features:
        return np.asarray(engine.run(prepared)["features"], np.float32)

    return Look(engine.prepare, extract)


def reduce_features(features: Features) -> Floats:
    """Return features (N, F), brought to one spread, as their main directions (N, up to 64)."""
    from sklearn.decomposition import PCA

    reducer = PCA(min(_N_DIRECTIONS, *features.shape), svd_solver="randomized", random_state=0)
    return np.asarray(reducer.fit_transform(level_features(features)))


def level_features(features: Features) -> Floats:
    """Return features (N, F), each brought to mean 0 and spread 1."""
    from sklearn.preprocessing import StandardScaler

    return np.asarray(StandardScaler().fit_transform(features.astype(np.float64)))


def predict_out_of_fold(
    directions: Floats, labels: Ints, groups: Ints, n_classes: int, seed: int
) -> Floats | None:
    """Return scores (N, C) by a regression that has not seen the file's group; None of too few groups."""
    from sklearn.linear_model import LogisticRegression

    probe = make_probe_set(labels, groups, n_classes, seed)
    if probe is None:
        return None
    scores = np.zeros((len(labels), n_classes))
    for fold in np.unique(probe.folds):
        rest = probe.folds != fold
        model = LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=500)
        model.fit(directions[rest], labels[rest])
        scores[np.ix_(~rest, model.classes_)] = model.predict_proba(directions[~rest])
    return scores


class LabelSuspect(Check):
    """An image looks like another class than its label says."""

    name = "label-suspect"
    severity = "warning"
    is_deep = True
    rule = "score of the own label, with another class as sure as that class's own images are, below"
    threshold = 0.1
    source = (
        "confident learning, Northcutt et al. 2021, doi 10.1613/jair.1.12125; 1,000 drawn crops: with 5 % of "
        "the labels swapped 62 % of those are named, and 6 % of the named are not swapped"
    )
    todo = (
        "Look at them. If a label is wrong, move the file; if it is right, they are the hard cases to keep."
    )

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with all suspects, the surest first."""
        if seen.features is None:
            return []
        labels, n_classes = seen.labels, len(seen.catalog.labels)
        directions = reduce_features(seen.features)
        scores = predict_out_of_fold(directions, labels, seen.groups, n_classes, seen.config.seed)
        if scores is None:
            return []
        own = scores[np.arange(len(labels)), labels]
        others = scores.copy()
        others[np.arange(len(labels)), labels] = -1.0
        looks_like = others.argmax(axis=1)
        usual = np.array([scores[labels == index, index].mean() for index in range(n_classes)])
        suspect = (own < self.threshold) & (others.max(axis=1) >= usual[looks_like])
        at = np.flatnonzero(suspect)[np.argsort(own[suspect], kind="stable")]
        if not len(at):
            return []
        names = seen.names(at)
        classes = [seen.catalog.labels.names[index] for index in looks_like[at]]
        evidence = {"looks_like": classes, "score_of_label": [round(float(own[p]), 4) for p in at]}
        first = f"{names[0]} (looks like {classes[0]})"
        more = f" and {len(at) - 1:,} more" if len(at) > 1 else ""
        return [self.found(f"labels that the images contradict: {first}{more}", evidence, names)]

    def bad_example(self) -> Example:
        """Return fine and coarse textures, with one coarse one among the fine."""
        return add(self.good_example(), ExampleImage("CEX/wrong.png", draw_texture(900, 48, 48, grain=4)))

    def good_example(self) -> Example:
        """Return fine and coarse textures, each in its folder."""
        return Example(
            tuple(
                ExampleImage(f"{name}/{number}.png", draw_texture(100 * place + number, 48, 48, grain))
                for place, (name, grain) in enumerate((("CEX", 1.0), ("PG", 4.0)))
                for number in range(24)
            )
        )


class Outlier(Check):
    """An image is unlike all others."""

    name = "outlier"
    severity = "warning"
    is_deep = True
    rule = "distance to its nearest neighbours of other groups, in medians of the set, from"
    threshold = 1.6
    source = "1,600 drawn crops: the farthest is at 1.51"
    todo = "Look at them: a whole frame, a test image or another probe's image does not belong here."

    def find(self, seen: Observed) -> list[Finding]:
        """Return one finding with all outliers, the farthest first."""
        if seen.features is None or len(seen.features) <= 2 * _N_NEIGHBOURS:
            return []
        ratio = measure_distance(level_features(seen.features), seen.groups)
        far = ratio >= self.threshold
        at = np.flatnonzero(far)[np.argsort(-ratio[far], kind="stable")]
        if not len(at):
            return []
        names = seen.names(at)
        more = f" and {len(at) - 1:,} more" if len(at) > 1 else ""
        evidence = {"distance": [round(float(ratio[p]), 3) for p in at]}
        return [self.found(f"unlike all other images: {names[0]}{more}", evidence, names)]

    def bad_example(self) -> Example:
        """Return textures, with a chessboard among them."""
        board = np.kron(np.indices((6, 6)).sum(axis=0) % 2, np.ones((8, 8))) * 255
        image = np.repeat(board.astype(np.uint8)[:, :, None], 3, axis=2)
        return add(LabelSuspect().good_example(), ExampleImage("CEX/board.png", image))

    def good_example(self) -> Example:
        """Return textures only."""
        return LabelSuspect().good_example()


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
