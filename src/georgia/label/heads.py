"""A linear head on stored features, its settings chosen by cross-validation over groups.

With a few hundred labels a linear head on standardised features is as good as one with a hidden layer, and is
fitted in a fraction of a second, so every figure can be cross-validated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from georgia.config import Config, above, at_least
from georgia.errors import InputError
from georgia.metrics.intervals import group_codes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MAX_FOLDS = 5
# Standard deviations below this are those of a feature that is the same in all images.
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class HeadConfig(Config):
    """A linear head: its ``kind``, inverse ``strength`` of its L2 penalty, ``views`` of each image."""

    kind: Literal["logistic", "ridge"] = "logistic"
    strength: Annotated[float, above(0)] = 0.03
    views: Annotated[int, at_least(1)] = 1

    def describe(self) -> str:
        """Return the settings in a few words."""
        views = f", {self.views} views" if self.views > 1 else ""
        return f"{self.kind} head, C = {self.strength:g}{views}"


# Chosen on synthetic crops (benchmarks/labelling.py): weaker penalties fit noise, stronger ones underfit.
CANDIDATES: tuple[HeadConfig, ...] = (
    *(HeadConfig("logistic", strength) for strength in (0.01, 0.03, 0.1, 1.0)),
    *(HeadConfig("ridge", strength) for strength in (0.001, 0.01)),
)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """``logits = ((x − mean) / sqrt(variance)) @ weights + bias``: mean, variance (F,), weights (F, C)."""

    mean: Floats
    variance: Floats
    weights: Floats
    bias: Floats

    def logits(self, features: npt.NDArray[np.floating]) -> Floats:
        """Return the logits (N, C) of features (N, F)."""
        points = (np.asarray(features, np.float64) - self.mean) / np.sqrt(self.variance)
        return np.asarray(points @ self.weights + self.bias)


@dataclass(frozen=True, eq=False)
class HeadData:
    """Labelled images as stored features.

    ``learned`` (N, V, F): the views to learn from. ``served`` (N, F): what the exported file sees.
    ``targets`` (N,): class indices, ``codes`` (N,): group numbers.
    """

    learned: npt.NDArray[np.float32]
    served: npt.NDArray[np.float32]
    targets: Ints
    codes: Ints
    n_classes: int

    def select(self, kept: Flags) -> HeadData:
        """Return the data of some of the images."""
        return HeadData(
            self.learned[kept], self.served[kept], self.targets[kept], self.codes[kept], self.n_classes
        )

    def count_groups(self) -> Ints:
        """Return how many groups have an image of each class (C,)."""
        return np.array(
            [len(np.unique(self.codes[self.targets == index])) for index in range(self.n_classes)],
            dtype=np.int64,
        )


def make_head_data(
    learned: npt.NDArray[np.float32],
    served: npt.NDArray[np.float32],
    targets: Ints,
    groups: Sequence[str],
    n_classes: int,
) -> HeadData:
    """Return labelled features; an image without a group is a group of its own."""
    return HeadData(learned, served, targets, group_codes(groups, len(targets)), n_classes)


def fit_head(data: HeadData, config: HeadConfig) -> LinearHead:
    """Return the head; classes count alike however many images each has.

    Raises:
        InputError: a class has no image.
    """
    if len(np.unique(data.targets)) < data.n_classes:
        present = np.unique(data.targets).tolist()
        raise InputError("Cannot fit a head", needs="an image of each class", got=f"classes {present}")
    n_views = min(config.views, data.learned.shape[1])
    rows = data.learned[:, :n_views].reshape(len(data.targets) * n_views, -1).astype(np.float64)
    targets = np.repeat(data.targets, n_views)
    mean, variance = rows.mean(axis=0), rows.var(axis=0) + _LEAST_VARIANCE
    points = (rows - mean) / np.sqrt(variance)
    counts = np.bincount(data.targets, minlength=data.n_classes)
    sample_weight = (len(data.targets) / (data.n_classes * counts))[targets] / n_views
    fit = _fit_logistic if config.kind == "logistic" else _fit_ridge
    # So small a problem is slower in several threads, on a busy machine by far.
    with threadpool_limits(1):
        weights, bias = fit(points, targets, sample_weight, config.strength)
    return LinearHead(mean, variance, weights, bias)


def _fit_logistic(points: Floats, targets: Ints, weight: Floats, strength: float) -> tuple[Floats, Floats]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=500, tol=1e-3).fit(points, targets, sample_weight=weight)
    coefficients, intercept = model.coef_.T, model.intercept_
    if coefficients.shape[1] == 1:  # of two classes scikit-learn gives one difference
        return np.hstack([-coefficients, coefficients]) / 2, np.array([-intercept[0], intercept[0]]) / 2
    return coefficients, intercept


def _fit_ridge(points: Floats, targets: Ints, weight: Floats, strength: float) -> tuple[Floats, Floats]:
    from sklearn.linear_model import Ridge

    wanted = 2.0 * np.eye(int(targets.max()) + 1)[targets] - 1.0
    model: Any = Ridge(alpha=1 / strength).fit(points, wanted, sample_weight=weight)
    # Of scores from −1 to 1; the temperature brings them to probabilities.
    return np.asarray(model.coef_).T, np.asarray(model.intercept_)


def make_folds(data: HeadData, seed: int, most: int = MAX_FOLDS) -> Ints | None:
    """Return a fold (N,) of each image, no group in two; None where a class has fewer than two groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    n_folds = min(most, int(data.count_groups().min()))
    if n_folds < 2:
        return None
    folds = np.zeros(len(data.targets), np.int64)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(data.served, data.targets, data.codes)):
        folds[held] = number
    learns = [np.unique(data.targets[folds != number]) for number in range(n_folds)]
    return folds if all(len(each) == data.n_classes for each in learns) else None


def choose_head(
    data: HeadData,
    seed: int,
    candidates: Sequence[HeadConfig] = CANDIDATES,
    n_folds: int = 3,
    stop: Callable[[], None] = lambda: None,
) -> HeadConfig:
    """Return the settings of the lowest cross-validated error, first of the head, then how many views.

    Heads are compared by their mean error over classes, and by log loss where these are equal. Too few groups
    for folds leave the middle one.
    """
    folds = make_folds(data, seed, n_folds)
    if folds is None:
        return HeadConfig()

    def score(config: HeadConfig) -> tuple[float, float]:
        stop()
        return _score(predict_folds(data, folds, lambda _: config), data)

    best = min(candidates, key=score)
    n_views = data.learned.shape[1]
    more = HeadConfig(best.kind, best.strength, n_views)
    return best if n_views == 1 or score(best) < score(more) else more


def predict_folds(data: HeadData, folds: Ints, choose: Callable[[HeadData], HeadConfig]) -> Floats:
    """Return logits (N, C) by heads that did not learn the image's group.

    ``choose`` gives the settings for what each of them learns from.
    """
    logits = np.zeros((len(data.targets), data.n_classes))
    for number in np.unique(folds):
        held = folds == number
        rest = data.select(~held)
        logits[held] = fit_head(rest, choose(rest)).logits(data.served[held])
    return logits


def _score(logits: Floats, data: HeadData) -> tuple[float, float]:
    """Return the mean error over classes, 0–1, and the log loss with each class at the same weight."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    own = -log_probability[np.arange(len(logits)), data.targets]
    is_wrong = logits.argmax(axis=1) != data.targets
    each = [data.targets == index for index in range(data.n_classes)]
    error = float(np.mean([is_wrong[own_class].mean() for own_class in each]))
    return error, float(np.mean([own[own_class].mean() for own_class in each]))
