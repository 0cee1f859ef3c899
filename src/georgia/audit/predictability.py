"""Predictability test: how well one property, or several, predict the class of groups that were held out.

One property: its values are cut into bins, each bin predicts the class that is commonest in it (every class
with the same weight), and the predictions are scored on the held-out groups. That is a decision tree of depth
1; as it needs counts only, a thousand permutations take a second. Several properties: a decision tree of
depth 3 by scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.split.assign import assign_groups

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# An exact value with this fraction of the groups, and two of them or more, gets a bin of its own.
_COMMON_FRACTION = 0.05
# As many groups a bin, and at most so many bins: enough for a bent curve, few enough not to follow noise.
_GROUPS_PER_BIN, _MAX_BINS = 20, 8
_MAX_FOLDS = 5
# So many files tell a tree's balanced accuracy to about ±0.01, and keep its permutations within seconds.
_MAX_FILES_IN_TREE = 4000
# The test ends once so many permutations score as well as the data.
_ENOUGH_EXCEEDANCES = 10
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class ProbeData:
    """Data of a predictability test: ``labels`` (class positions), ``groups`` and ``folds``, each (N,)."""

    labels: Ints
    groups: Ints
    folds: Ints
    n_classes: int

    @property
    def chance(self) -> float:
        """The balanced accuracy of guessing."""
        return 1 / max(1, len(np.unique(self.labels)))

    def permute(self, rng: np.random.Generator) -> ProbeData:
        """Return the data with permuted classes; files of one group and class keep one class."""
        units = self.groups * self.n_classes + self.labels
        _, first, unit = np.unique(units, return_index=True, return_inverse=True)
        permuted = self.labels[first][rng.permutation(len(first))]
        return replace(self, labels=permuted[unit.reshape(-1)])

    def select(self, kept: npt.NDArray[np.bool_]) -> ProbeData:
        """Return the data of some of the files."""
        return ProbeData(self.labels[kept], self.groups[kept], self.folds[kept], self.n_classes)


def make_probe_data(labels: Ints, groups: Ints, n_classes: int, seed: int) -> ProbeData | None:
    """Return two to five grouped, stratified folds; None if a class has fewer than two groups."""
    _, groups = np.unique(groups, return_inverse=True)
    groups = groups.reshape(-1).astype(np.int64)
    counts = np.bincount(groups * n_classes + labels, minlength=(int(groups.max()) + 1) * n_classes)
    counts = counts.reshape(-1, n_classes).astype(np.int64)
    fewest = int((counts > 0).sum(axis=0).min())
    if fewest < 2:
        return None
    n_folds = min(_MAX_FOLDS, fewest)
    return ProbeData(labels, groups, assign_groups(counts, [1 / n_folds] * n_folds, seed)[groups], n_classes)


def cut_bins(values: npt.NDArray[Any], groups: Ints, is_exact: bool) -> Ints:
    """Return each file's bin (N,): one for each common exact value or text, quantiles for the others.

    >>> cut_bins(np.array([151.0, 151, 151, 160, 170]), np.arange(5), is_exact=True).tolist()
    [1, 1, 1, 0, 0]
    """
    is_number = values.dtype.kind in "fiu"
    one_per_group = values[np.unique(groups, return_index=True)[1]]
    bins = np.zeros(len(values), np.int64)
    rest = np.ones(len(values), np.bool_)
    common = find_common(one_per_group) if is_exact or not is_number else []
    for place, value in enumerate(common, start=1):
        bins[values == value] = place
        rest &= values != value
    if is_number and rest.any():
        sample = values[rest]
        n_bins = int(np.clip(len(np.unique(groups[rest])) // _GROUPS_PER_BIN, 1, _MAX_BINS))
        edges = np.unique(np.quantile(sample, np.linspace(0, 1, n_bins + 1)[1:-1]))
        place_of = np.searchsorted(edges, sample, side="right")
        bins[rest] = np.where(place_of > 0, len(common) + place_of, 0)
    return bins


def find_common(values: npt.NDArray[Any]) -> list[Any]:
    """Return the values that many groups have, the commonest first; ``values`` has one entry per group."""
    found, counts = np.unique(values, return_counts=True)
    needed = max(2, int(np.ceil(_COMMON_FRACTION * len(values))))
    return [found[index] for index in np.argsort(-counts, kind="stable") if counts[index] >= needed]


def score_bins(bins: Ints, probe: ProbeData) -> float:
    """Return the cross-validated balanced accuracy, 0–1, of predicting each bin's commonest class."""
    n_bins, n_folds, n_classes = int(bins.max()) + 1, int(probe.folds.max()) + 1, probe.n_classes
    cells = (probe.folds * n_classes + probe.labels) * n_bins + bins
    held_out = np.bincount(cells, minlength=n_folds * n_classes * n_bins).astype(np.float64)
    held_out = held_out.reshape(n_folds, n_classes, n_bins)
    learned = held_out.sum(axis=0)[None] - held_out
    sizes = learned.sum(axis=2, keepdims=True)
    fraction = np.divide(learned, sizes, out=np.zeros_like(learned), where=sizes > 0)
    # Classes that tie for the first place split the prediction.
    best = (fraction == fraction.max(axis=1, keepdims=True)) & (sizes > 0)
    credit = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    correct, total = (held_out * credit).sum(axis=(0, 2)), held_out.sum(axis=(0, 2))
    return float((correct[total > 0] / total[total > 0]).mean())


def assess_columns(
    columns: Sequence[Ints], probe: ProbeData, n_permutations: int, seed: int
) -> tuple[Floats, Floats]:
    """Return balanced accuracy (P,) of each column of bins alone, and p-values (P,) corrected for all P.

    Classes are permuted over groups; a p-value is the fraction of permutations whose *best* column scores as
    well. Source: Westfall and Young 1993, "Resampling-Based Multiple Testing", the single-step maximum.
    """
    observed = np.array([score_bins(bins, probe) for bins in columns])

    def best(permuted: ProbeData) -> float:
        return max(score_bins(bins, permuted) for bins in columns)

    rng = np.random.default_rng(seed)
    by_chance = np.array([best(probe.permute(rng)) for _ in range(n_permutations)])
    n_exceeding = (by_chance[None] >= observed[:, None] - _TOLERANCE).sum(axis=1)
    return observed, (1 + n_exceeding) / (1 + n_permutations)


def assess_together(
    matrix: Floats, probe: ProbeData, n_permutations: int, seed: int, needed: float
) -> tuple[float, float]:
    """Return balanced accuracy and p-value of a shallow tree on all columns of ``matrix`` (N, P).

    A score below ``needed`` is not tested, and the p-value is 1. The test ends early once enough permutations
    score as well. Source: Besag and Clifford 1991, doi 10.1093/biomet/78.2.301, sequential p-values.
    """
    kept = subsample_groups(probe.groups, _MAX_FILES_IN_TREE, seed)
    matrix, probe = matrix[kept], probe.select(kept)
    observed = score_tree(matrix, probe)
    if observed < needed:
        return observed, 1.0
    rng, n_exceeding, n_tested = np.random.default_rng(seed), 0, 0
    while n_tested < n_permutations and n_exceeding < _ENOUGH_EXCEEDANCES:
        n_exceeding += score_tree(matrix, probe.permute(rng)) >= observed - _TOLERANCE
        n_tested += 1
    if n_exceeding == _ENOUGH_EXCEEDANCES:
        return observed, n_exceeding / n_tested
    return observed, (1 + n_exceeding) / (1 + n_tested)


def subsample_groups(groups: Ints, n_files: int, seed: int) -> npt.NDArray[np.bool_]:
    """Return which files (N,) to keep so that whole groups with about ``n_files`` files remain."""
    if len(groups) <= n_files:
        return np.ones(len(groups), np.bool_)
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: max(2, round(len(names) * n_files / len(groups)))])


def score_tree(matrix: Floats, probe: ProbeData) -> float:
    """Return the cross-validated balanced accuracy, 0–1, of a tree of depth 3 on columns (N, P)."""
    from sklearn.tree import DecisionTreeClassifier

    predicted = np.full(len(matrix), -1, np.int64)
    for fold in np.unique(probe.folds):
        rest = probe.folds != fold
        if len(np.unique(probe.labels[rest])) < 2:
            continue
        smallest = max(1, len(matrix) // 100)
        tree = DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=smallest, class_weight="balanced", random_state=0
        )
        predicted[~rest] = tree.fit(matrix[rest], probe.labels[rest]).predict(matrix[~rest])
    present = np.unique(probe.labels)
    return float(np.mean([(predicted[probe.labels == label] == label).mean() for label in present]))
