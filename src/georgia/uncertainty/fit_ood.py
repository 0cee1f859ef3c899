"""Fits the unknown score: on what a model must accept, class by class, with limits that hold for new groups.

Known images come as they are and in views: rotated or mirrored, larger or smaller, in other light, noisy. The
features of a class do not lie around one point (images are sharp or not, bright or not, noisy or not): each
class has several means. Means and whitening are fitted on some groups, the others are scored, and the limits
are those of these scores (cross-fitting over groups); the detector that ships is then fitted on all. So the
stated acceptance is one of new groups, not of those that the distance was fitted on.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.metrics.intervals import FloatArray, group_codes, group_weights
from georgia.uncertainty.ood import LIGHT, N_LIGHT, TRUE_ACCEPTANCE, MaterialNet, OodDetector, Part

IntArray = npt.NDArray[np.int64]
# Lowest spread of a feature, as a fraction of the median spread of its part, and of the image statistics
# (fractions or logarithms): what hardly varies in training may vary a little later.
_LOWEST_SPREAD, _LOWEST_LIGHT_SPREAD = 0.05, 0.01
# The fractions of black and of white pixels stand in the features for older models. They are left out: a few
# known images with much of either set the limit for all (of the fitted half of foreign material, 65 % instead
# of 48 % are rejected without them).
_BLACK = 2
N_FOLDS = 5
# Means of a class: one for so many of its groups, and no more than that.
# Source: foreign material of the fitted half, docs/measurements/uncertainty.md.
_GROUPS_A_MEAN, _MOST_MEANS = 25, 12
_N_ROUNDS = 20
# Fewer groups than this do not determine the last per cent: see `_find_reach`.
ENOUGH_GROUPS = 300
# So many groups of all classes together stand beside those of a class for the spread of its scores, and so
# many for its middle.
_PRIOR_SPREAD, _PRIOR_MIDDLE = 20.0, 2.0
# The net that tells other material: units of its hidden layer, weight decay, passes over the images.
_UNITS, _DECAY, _PASSES = 32, 1.0, 20
_FARTHEST = 20.0


@dataclass(frozen=True, eq=False)
class Measured:
    """Image features (N, D), the groups of the images, and their classes (N,) as numbers from 0.

    Several views of an image are as many rows of one group.
    """

    features: npt.NDArray[np.floating]
    groups: Sequence[str] | None = None
    classes: npt.NDArray[np.integer] | None = None


@dataclass(frozen=True, eq=False)
class _Rows:
    """Known rows: features (N, D), group, class and fold of each; fold −1 is fitted on and never scored."""

    features: FloatArray
    groups: IntArray
    classes: IntArray
    folds: IntArray
    n_classes: int

    @property
    def weights(self) -> FloatArray:
        return group_weights(np.unique(self.groups, return_inverse=True)[1])

    def select(self, rows: npt.NDArray[np.bool_]) -> _Rows:
        return _Rows(
            self.features[rows], self.groups[rows], self.classes[rows], self.folds[rows], self.n_classes
        )


def fit_ood_detector(
    train: Measured,
    valid: Measured,
    widths: Mapping[str, int],
    true_acceptance: float = TRUE_ACCEPTANCE,
    material: npt.NDArray[np.floating] | None = None,
    is_frozen: bool = True,
) -> OodDetector | None:
    """Return the detector fitted on training and validation images.

    Args:
        train: images that the net learned from.
        valid: images of other groups; those of the same group as a training image count as training images.
        widths: the parts of the features in order, with their numbers of columns.
        true_acceptance: fraction of images of new groups to accept, class by class; each group has weight 1.
        material: features (M, D) of images of other material, to be rejected.
        is_frozen: the layers behind the features learned nothing from ``train``; otherwise its scores say
            nothing of new groups, and the limits are those of ``valid`` alone.

    Returns:
        None if there are too few groups: two for training and two for validation are needed.

    Raises:
        InputError: the parts' widths are not those of the features.
    """
    codes = [group_codes(measured.groups, len(measured.features)) for measured in (train, valid)]
    if min(len(np.unique(numbers)) for numbers in codes) < 2:
        return None
    if any(measured.features.shape[1] != sum(widths.values()) for measured in (train, valid)):
        raise InputError(
            "Cannot fit the unknown score",
            needs=f"features of {sum(widths.values())} columns are needed",
            got=f"{train.features.shape[1]} and {valid.features.shape[1]}",
        )
    rows = _gather_rows((train, valid), codes, is_frozen)
    if rows is None:
        return None
    scored = rows.select(rows.folds >= 0)
    metadata = {
        "true_acceptance": true_acceptance,
        "n_train": len(train.features),
        "n_valid": len(valid.features),
        "n_valid_groups": len(np.unique(codes[1])),
        "n_scored_groups": len(np.unique(scored.groups)),
    }
    by_part = _measure_held_out(rows, widths)
    scales = _find_scales(by_part, scored)
    distances = np.concatenate([_nearest(found, scales, owners) for found, owners in by_part])
    limits = _find_limits(distances, scored, true_acceptance)
    parts, owners = _fit_parts(rows, widths)
    shrunk = [
        replace(part, whitening=part.whitening / (len(parts) * scale))
        for part, scale in zip(parts, scales, strict=True)
    ]
    detector = OodDetector(tuple(shrunk), metadata, limits[owners])
    if material is None or not len(material):
        return detector
    ratios = (distances / limits).min(axis=1)
    return _add_material(detector, rows, ratios, np.asarray(material, np.float64))


def _join_codes(train: Measured, valid: Measured, codes: list[IntArray]) -> IntArray:
    """Return the group numbers of both: a group that stands in both, as in a split that leaks, has one."""
    joined = codes[1] + int(codes[0].max()) + 1
    known = dict(zip(_names(train), codes[0].tolist(), strict=False))
    for at, name in enumerate(_names(valid)):
        if name and name in known:
            joined[at] = known[name]
    return np.concatenate([codes[0], joined])


def _names(measured: Measured) -> Sequence[str]:
    return () if measured.groups is None else measured.groups


def _gather_rows(measured: tuple[Measured, Measured], codes: list[IntArray], is_frozen: bool) -> _Rows | None:
    """Return the rows in the order of their folds; None if fewer than two groups can be scored."""
    first_valid = int(codes[0].max()) + 1
    groups = _join_codes(*measured, codes)
    features = np.concatenate([part.features for part in measured]).astype(np.float64)
    classes = np.concatenate(
        [
            np.zeros(len(part.features), np.int64) if part.classes is None else part.classes
            for part in measured
        ]
    ).astype(np.int64)
    names, places = np.unique(groups, return_index=True)
    order = np.lexsort((np.random.default_rng(0).permutation(len(names)), classes[places]))
    order = order[names[order] >= (0 if is_frozen else first_valid)]
    if len(order) < 2:
        return None
    fold_of = np.full(len(names), -1, np.int64)
    fold_of[order] = np.arange(len(order)) % N_FOLDS
    folds = fold_of[groups]
    order = np.argsort(folds, kind="stable")
    present, classes = np.unique(classes, return_inverse=True)
    return _Rows(features[order], groups[order], classes[order], folds[order], len(present))


def _split(features: FloatArray, widths: Mapping[str, int]) -> list[FloatArray]:
    return np.split(features, np.cumsum(list(widths.values()))[:-1], axis=1)


def _measure_held_out(rows: _Rows, widths: Mapping[str, int]) -> list[tuple[FloatArray, IntArray]]:
    """Return, fold by fold, the distances (P, N, M) of its rows to the means fitted without it.

    Beside them stand the class numbers (M,) of these means.
    """
    found = []
    for fold in np.unique(rows.folds[rows.folds >= 0]):
        held = rows.folds == fold
        parts, owners = _fit_parts(rows.select(~held), widths)
        columns = _split(rows.features[held], widths)
        found.append((np.stack([part.distance(x) for part, x in zip(parts, columns, strict=True)]), owners))
    return found


def _find_scales(by_part: list[tuple[FloatArray, IntArray]], scored: _Rows) -> FloatArray:
    """Return each part's median distance (P,) to the nearest mean: it makes parts of any width alike."""
    nearest = np.concatenate([found.min(axis=2) for found, _ in by_part], axis=1)
    return np.array([_quantile(distances, scored.weights, 0.5) for distances in nearest])


def _nearest(found: FloatArray, scales: FloatArray, owners: IntArray) -> FloatArray:
    """Return the distance (N, C) to the nearest mean of each class, averaged over the parts."""
    averaged = (found / scales[:, np.newaxis, np.newaxis]).mean(axis=0)
    n_classes = int(owners.max()) + 1
    return np.stack([averaged[:, owners == one].min(axis=1) for one in range(n_classes)], axis=1)


def _fit_parts(rows: _Rows, widths: Mapping[str, int]) -> tuple[tuple[Part, ...], IntArray]:
    """Return the parts, and the class (M,) of each of their means."""
    weights, columns = rows.weights, _split(rows.features, widths)
    whitenings = [_find_whitening(x, weights, name == LIGHT) for name, x in zip(widths, columns, strict=True)]
    white = np.concatenate(
        [x @ whitening / np.sqrt(x.shape[1]) for x, whitening in zip(columns, whitenings, strict=True)],
        axis=1,
    )
    memberships, owners = _find_members(white, weights, rows)
    parts = tuple(
        Part(name, memberships @ x, whitening)
        for name, x, whitening in zip(widths, columns, whitenings, strict=True)
    )
    return parts, owners


def _find_members(white: FloatArray, weights: FloatArray, rows: _Rows) -> tuple[FloatArray, IntArray]:
    """Return the weights (M, N) with which rows make the means, and the class (M,) of each mean.

    Within a class, rows (N, D) belong to the nearest of several means (k-means), which start from slices
    along the direction of its largest spread: without chance, and whether or not rows are repeated. A class
    without a row, as one of a single group while that is held out, has the mean of all.
    """
    found, owners = [], []
    for one in range(rows.n_classes):
        own = np.flatnonzero(rows.classes == one)
        if not len(own):
            own = np.arange(len(white))
        n_means = int(np.clip(weights[own].sum() // _GROUPS_A_MEAN, 1, _MOST_MEANS))
        members = _cluster(white[own], weights[own], n_means)
        for mean in np.unique(members):
            row = np.zeros(len(white))
            chosen = own[members == mean]
            row[chosen] = weights[chosen] / weights[chosen].sum()
            found.append(row)
            owners.append(one)
    return np.stack(found), np.array(owners)


def _cluster(white: FloatArray, weights: FloatArray, n_means: int) -> IntArray:
    centred = white - weights @ white / weights.sum()
    direction = np.zeros(white.shape[1])
    direction[np.argmax(weights @ centred**2)] = 1.0
    for _ in range(_N_ROUNDS):  # towards the direction of the largest spread
        direction = (weights * (centred @ direction)) @ centred
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    along = centred @ direction
    order = np.argsort(along)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    members = np.zeros(len(white), np.int64)
    members[order] = np.minimum((n_means * reached / weights.sum()).astype(np.int64), n_means - 1)
    for _ in range(_N_ROUNDS if n_means > 1 else 0):
        means = np.stack(
            [
                np.average(white[members == k], axis=0, weights=weights[members == k])
                for k in np.unique(members)
            ]
        )
        squares = (means**2).sum(axis=1) - 2 * white @ means.T
        nearest = squares.argmin(axis=1)
        if (nearest == members).all():
            break
        members = nearest
    return members


def _find_whitening(columns: FloatArray, weights: FloatArray, is_light: bool) -> FloatArray:
    """Return W (D, D) for which ``‖(x − mean) W‖`` is the Mahalanobis distance of columns (N, D)."""
    normalised = weights / weights.sum()
    drops = is_light and columns.shape[1] > N_LIGHT
    if drops:
        columns = np.delete(columns, [_BLACK, _BLACK + 1], axis=1)
    centred = columns - normalised @ columns
    spread = np.sqrt(normalised @ centred**2)
    least = _LOWEST_LIGHT_SPREAD if is_light else max(_LOWEST_SPREAD * float(np.median(spread)), 1e-6)
    spread = np.maximum(spread, least)
    rows = centred / spread * np.sqrt(normalised)[:, np.newaxis]
    invert = _invert_root_by_rows if len(rows) < rows.shape[1] else _invert_root
    whitening: FloatArray = invert(rows, float(weights.sum())) / spread[:, np.newaxis]
    return np.insert(whitening, [_BLACK, _BLACK], 0.0, axis=0) if drops else whitening


def _invert_root(rows: FloatArray, n: float) -> FloatArray:
    """Return the inverse square root (D, D) of the covariance ``rowsᵀ rows`` (rows N, D), shrunk."""
    covariance = rows.T @ rows
    kept, added = _find_shrinkage(
        float(np.trace(covariance)), float((covariance**2).sum()), len(covariance), n
    )
    powers, directions = np.linalg.eigh(kept * covariance + added * np.eye(len(covariance)))
    inverse: FloatArray = (directions / np.sqrt(powers)) @ directions.T
    return inverse


def _invert_root_by_rows(rows: FloatArray, n: float) -> FloatArray:
    """Return the same for fewer rows than columns: the covariance has no more directions than rows.

    In all others it is what shrinking adds. With u and p the directions and powers of ``rows rowsᵀ``, the
    covariance has the powers p in the directions ``rowsᵀ u / √p``.
    """
    gram = rows @ rows.T
    kept, added = _find_shrinkage(float(np.trace(gram)), float((gram**2).sum()), rows.shape[1], n)
    powers, directions = np.linalg.eigh(gram)
    powers = np.maximum(powers, 0.0)
    roots = np.sqrt(kept * powers + added), np.sqrt(added)
    # (1/√(kept p + added) − 1/√added) / p, without the difference of what is nearly equal.
    gains = -kept / (roots[0] * roots[1] * (roots[0] + roots[1]))
    columns = rows.T @ directions
    inverse: FloatArray = (columns * gains) @ columns.T
    inverse[np.diag_indices(len(inverse))] += 1 / roots[1]
    return inverse


def _find_shrinkage(trace: float, squares: float, size: int, n: float) -> tuple[float, float]:
    """Return how much of a covariance (``size``, ``size``) is kept, and what is added to its diagonal.

    It is shrunk towards its mean variance as far as ``n`` samples call for; ``squares`` is the sum of its
    squared elements.

    Source: oracle approximating shrinkage, Chen et al. 2010, doi 10.1109/TSP.2010.2053029.
    """
    variance, alpha = trace / size, squares / size**2
    shrinkage = min(1.0, (alpha + variance**2) / ((n + 1) * (alpha - variance**2 / size) + 1e-12))
    # Some shrinkage in any case, so that directions without variance keep a finite distance.
    shrinkage = max(shrinkage, 1e-3)
    return 1 - shrinkage, shrinkage * max(variance, 1e-6)


def _find_limits(distances: FloatArray, scored: _Rows, true_acceptance: float) -> FloatArray:
    """Return the limit (C,) of the distance (N, C) to each class.

    An image is accepted if its distance to any class is within the limit of that class. The limits are moved
    until that accepts the stated fraction of the images of each class.
    """
    limits = np.full(distances.shape[1], _quantile(distances.min(axis=1), scored.weights, 0.5))
    for _ in range(_N_ROUNDS):
        limits *= _find_reach((distances / limits).min(axis=1), scored, true_acceptance)
    return limits


def _find_reach(ratios: FloatArray, scored: _Rows, true_acceptance: float) -> FloatArray:
    """Return what the stated fraction of the new ratios (N,) of each class (C,) stays within.

    A class of many groups tells that by itself. Few groups do not determine the last per cent: the logarithms
    of their ratios have a middle and a spread, moved towards those of all classes, and reach as many spreads
    beyond it as those of all classes do, and no fewer than those of a normal distribution.
    Source: prediction limits, Hahn and Meeker 1991, doi 10.1002/9780470316771.
    """
    from scipy.stats import t

    logs, weights = np.log(np.maximum(ratios, 1e-12)), scored.weights
    n_all, n_classes = float(weights.sum()), scored.n_classes
    owns = [scored.classes == one for one in range(n_classes)]
    counts = np.array([weights[own].sum() for own in owns])

    def pool(values: FloatArray, prior: float, n_prior: float) -> FloatArray:
        sums = np.array([weights[own] @ values[own] for own in owns])
        return np.asarray((sums + n_prior * prior) / (counts + n_prior))

    middles = pool(logs, float(weights @ logs / n_all), _PRIOR_MIDDLE)
    squares = (logs - middles[scored.classes]) ** 2
    variance = float(weights @ squares / max(n_all - n_classes, 1.0))
    spreads = np.maximum(np.sqrt(pool(squares, variance, _PRIOR_SPREAD)), 1e-9)
    standard = (logs - middles[scored.classes]) / spreads[scored.classes]
    spreads_out = _quantile(standard, weights, _among_new(true_acceptance, n_all))
    if n_all < ENOUGH_GROUPS:
        normal = float(t.ppf(true_acceptance, max(n_all - n_classes, 1.0))) * np.sqrt(1 + 1 / n_all)
        spreads_out = max(spreads_out, min(normal, 10.0))
    reach = np.exp(middles + spreads_out * spreads * np.sqrt(1 + 1 / np.maximum(counts, 1)))
    for one in np.flatnonzero(counts >= ENOUGH_GROUPS):
        own = owns[one]
        reach[one] = _quantile(ratios[own], weights[own], _among_new(true_acceptance, counts[one]))
    return np.asarray(reach)


def _among_new(fraction: float, n_groups: float) -> float:
    """Return the fraction of ``n_groups`` seen groups below which a new one lies with that probability."""
    return min(1.0, fraction * (n_groups + 1) / n_groups)


def _quantile(values: FloatArray, weights: FloatArray, fraction: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, fraction - 1e-12)), len(values) - 1)])


def _add_material(
    detector: OodDetector, rows: _Rows, ratios: FloatArray, material: FloatArray
) -> OodDetector:
    """Return the detector with a net that tells other material; ``ratios`` are held-out scores without it.

    Held-out known images bring the net's output to the scale of the ratios: 0 in the middle, 1 where it
    accepts the stated fraction of each class. Then both limits are moved by one factor, so that the larger of
    the two accepts that fraction.
    """
    accepted = float(detector.metadata["true_acceptance"])
    scored = rows.select(rows.folds >= 0)
    outputs = np.empty(len(scored.groups))
    for fold in np.unique(scored.folds):
        held = rows.folds == fold
        outputs[scored.folds == fold] = _fit_material(rows.select(~held), material).score(rows.features[held])
    middle = _quantile(outputs, scored.weights, 0.5)
    reach = max(
        _quantile(outputs[own], scored.weights[own], accepted) - middle
        for own in (scored.classes == one for one in np.unique(scored.classes))
    )
    both = np.maximum(np.maximum(ratios, (outputs - middle) / reach), 1e-6)
    factor = float(_find_reach(both, scored, accepted).max())
    net = _fit_material(rows, material)
    reach *= factor
    return replace(
        detector,
        limits=detector.limits * factor,
        material=replace(net, output=net.output / reach, bias=(net.bias - middle) / reach),
        metadata={**detector.metadata, "n_material": len(material)},
    )


def _fit_material(rows: _Rows, material: FloatArray) -> MaterialNet:
    """Return a net whose output is the log odds of other material (M, D) against known rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    features = np.concatenate([rows.features, material])
    targets = np.repeat([0, 1], [len(rows.features), len(material)])
    mean, spread = rows.features.mean(axis=0), rows.features.std(axis=0)
    scale = 1 / np.maximum(spread, max(_LOWEST_SPREAD * float(np.median(spread)), 1e-6))
    batch = min(128, len(features))
    net = MLPClassifier((_UNITS,), alpha=_DECAY, max_iter=_PASSES, batch_size=batch, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # It takes Ctrl-C for a wish to stop early: a net that learned in part would pass for a whole one.
        warnings.filterwarnings("error", "Training interrupted", UserWarning)
        try:
            net.fit(np.clip((features - mean) * scale, -_FARTHEST, _FARTHEST), targets)
        except UserWarning as error:
            raise KeyboardInterrupt from error
    return MaterialNet(
        mean, scale, net.coefs_[0], net.intercepts_[0], net.coefs_[1][:, 0], net.intercepts_[1][0]
    )
