"""How well the class can be told from one property, or from several, over groups that were never seen.

One property: its values are cut into bins, each bin answers with the class that is commonest in it (every
class weighing the same), and the answer is scored on the groups that were left out. That is a tree of one
question; as it needs counts only, a thousand permutations take a second. Several properties: a shallow tree
of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.split.assign import assign_groups

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# An exact value held by this share of the groups, and by two of them or more, gets a bin of its own.
_COMMON_SHARE = 0.05
# As many groups a bin, and at most so many bins: enough for a bent curve, few enough not to follow noise.
_GROUPS_PER_BIN, _MOST_BINS = 20, 8
_MOST_FOLDS = 5
# So many files tell a tree's balanced accuracy to about ±0.01, and keep its permutations within seconds.
_MOST_FILES_IN_TREE = 4000
# When chance has done as well so often, the answer is known.
_ENOUGH_BEATEN = 10


@dataclass(frozen=True)
class ProbeData:
    """What a probe learns from and is scored on: ``labels`` (class positions), ``groups``, ``folds`` (N,)."""

    labels: Ints
    groups: Ints
    folds: Ints
    n_classes: int

    @property
    def chance(self) -> float:
        """The balanced accuracy of guessing."""
        return 1 / max(1, len(np.unique(self.labels)))

    def permute(self, rng: np.random.Generator) -> ProbeData:
        """Return the set with classes dealt out anew; files of one group and class keep sharing it."""
        units = self.groups * self.n_classes + self.labels
        _, first, unit = np.unique(units, return_index=True, return_inverse=True)
        dealt = self.labels[first][rng.permutation(len(first))]
        return ProbeData(dealt[unit.reshape(-1)], self.groups, self.folds, self.n_classes)

    def select(self, kept: npt.NDArray[np.bool_]) -> ProbeData:
        """Return the set of some of the files."""
        return ProbeData(self.labels[kept], self.groups[kept], self.folds[kept], self.n_classes)


def make_probe_set(labels: Ints, groups: Ints, n_classes: int, seed: int) -> ProbeData | None:
    """Return the set in two to five grouped, stratified folds; None if a class has fewer than two groups."""
    _, groups = np.unique(groups, return_inverse=True)
    groups = groups.reshape(-1).astype(np.int64)
    counts = np.bincount(groups * n_classes + labels, minlength=(int(groups.max()) + 1) * n_classes)
    held = counts.reshape(-1, n_classes).astype(np.int64)
    fewest = int((held > 0).sum(axis=0).min())
    if fewest < 2:
        return None
    n_folds = min(_MOST_FOLDS, fewest)
    return ProbeData(labels, groups, assign_groups(held, [1 / n_folds] * n_folds, seed)[groups], n_classes)


def cut_bins(values: npt.NDArray[Any], groups: Ints, is_exact: bool) -> Ints:
    """Return each file's bin (N,): common exact values and words have one each, others share quantiles.

    >>> cut_bins(np.array([151.0, 151, 151, 160, 170]), np.arange(5), is_exact=True).tolist()
    [1, 1, 1, 0, 0]
    """
    is_number = values.dtype.kind in "fiu"
    one_each = values[np.unique(groups, return_index=True)[1]]
    bins = np.zeros(len(values), np.int64)
    rest = np.ones(len(values), np.bool_)
    common = find_common(one_each) if is_exact or not is_number else []
    for place, value in enumerate(common, start=1):
        bins[values == value] = place
        rest &= values != value
    if is_number and rest.any():
        sample = values[rest]
        n_bins = int(np.clip(len(np.unique(groups[rest])) // _GROUPS_PER_BIN, 1, _MOST_BINS))
        edges = np.unique(np.quantile(sample, np.linspace(0, 1, n_bins + 1)[1:-1]))
        place_of = np.searchsorted(edges, sample, side="right")
        bins[rest] = np.where(place_of > 0, len(common) + place_of, 0)
    return bins


def find_common(values: npt.NDArray[Any]) -> list[Any]:
    """Return the values that many groups share, the commonest first; ``values`` holds one a group."""
    found, counts = np.unique(values, return_counts=True)
    least = max(2, int(np.ceil(_COMMON_SHARE * len(values))))
    return [found[at] for at in np.argsort(-counts, kind="stable") if counts[at] >= least]


def score_bins(bins: Ints, probe: ProbeData) -> float:
    """Return the cross-validated balanced accuracy, 0–1, of answering with each bin's class."""
    n_bins, n_folds, n_classes = int(bins.max()) + 1, int(probe.folds.max()) + 1, probe.n_classes
    cells = (probe.folds * n_classes + probe.labels) * n_bins + bins
    held = np.bincount(cells, minlength=n_folds * n_classes * n_bins).astype(np.float64)
    held = held.reshape(n_folds, n_classes, n_bins)
    learned = held.sum(axis=0)[None] - held
    sizes = learned.sum(axis=2, keepdims=True)
    share = np.divide(learned, sizes, out=np.zeros_like(learned), where=sizes > 0)
    # Where no class stands out, those that do not fall behind share the answer.
    best = (share == share.max(axis=1, keepdims=True)) & (sizes > 0)
    credit = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    right, total = (held * credit).sum(axis=(0, 2)), held.sum(axis=(0, 2))
    return float((right[total > 0] / total[total > 0]).mean())


def try_each(
    columns: Sequence[Ints], probe: ProbeData, n_permutations: int, seed: int
) -> tuple[Floats, Floats]:
    """Return balanced accuracy (P,) of each column of bins alone, and p-values (P,) corrected for all P.

    Classes are dealt out anew over groups; a p-value is the share of draws whose *best* column does as well.
    Source: Westfall and Young 1993, "Resampling-Based Multiple Testing", the single-step maximum.
    """
    observed = np.array([score_bins(bins, probe) for bins in columns])

    def best(drawn: ProbeData) -> float:
        return max(score_bins(bins, drawn) for bins in columns)

    rng = np.random.default_rng(seed)
    by_chance = np.array([best(probe.permute(rng)) for _ in range(n_permutations)])
    beaten = (by_chance[None] >= observed[:, None] - 1e-9).sum(axis=1)
    return observed, (1 + beaten) / (1 + n_permutations)


def try_together(
    matrix: Floats, probe: ProbeData, n_permutations: int, seed: int, least: float
) -> tuple[float, float]:
    """Return balanced accuracy and p-value of a shallow tree on all columns of ``matrix`` (N, P).

    Below ``least`` the test against chance is saved, and the p-value is 1; it ends early once chance has done
    as well too often. Source: Besag and Clifford 1991, doi 10.1093/biomet/78.2.301, sequential p-values.
    """
    kept = thin_groups(probe.groups, _MOST_FILES_IN_TREE, seed)
    matrix, probe = matrix[kept], probe.select(kept)
    observed = score_tree(matrix, probe)
    if observed < least:
        return observed, 1.0
    rng, n_beaten, n_drawn = np.random.default_rng(seed), 0, 0
    while n_drawn < n_permutations and n_beaten < _ENOUGH_BEATEN:
        n_beaten += score_tree(matrix, probe.permute(rng)) >= observed - 1e-9
        n_drawn += 1
    if n_beaten == _ENOUGH_BEATEN:
        return observed, n_beaten / n_drawn
    return observed, (1 + n_beaten) / (1 + n_drawn)


def thin_groups(groups: Ints, most: int, seed: int) -> npt.NDArray[np.bool_]:
    """Return which files (N,) to keep so that whole groups with about ``most`` files remain."""
    if len(groups) <= most:
        return np.ones(len(groups), np.bool_)
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return np.isin(groups, names[: max(2, round(len(names) * most / len(groups)))])


def score_tree(matrix: Floats, probe: ProbeData) -> float:
    """Return the cross-validated balanced accuracy, 0–1, of a tree of three questions on columns (N, P)."""
    from sklearn.tree import DecisionTreeClassifier

    answers = np.full(len(matrix), -1, np.int64)
    for fold in np.unique(probe.folds):
        rest = probe.folds != fold
        if len(np.unique(probe.labels[rest])) < 2:
            continue
        smallest = max(1, len(matrix) // 100)
        tree = DecisionTreeClassifier(
            max_depth=3, min_samples_leaf=smallest, class_weight="balanced", random_state=0
        )
        answers[~rest] = tree.fit(matrix[rest], probe.labels[rest]).predict(matrix[~rest])
    present = np.unique(probe.labels)
    return float(np.mean([(answers[probe.labels == one] == one).mean() for one in present]))
