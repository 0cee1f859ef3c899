"""Accuracy, precision, recall, F1 and calibration error, each with its count and 95 % confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.intervals import (
    FloatArray,
    GroupTable,
    IntArray,
    Interval,
    f1_from_counts,
    f1_wilson_interval,
    group_codes,
    percentile_interval,
    upper_error_limit,
    wilson_interval,
)

ClassIndices = npt.NDArray[np.integer]
UNKNOWN_INDEX = -1
N_BOOTSTRAP = 2000


# JSON keys that version 0.1 promised, where the field has another name.
_JSON_KEYS = {
    "n_correct": "n_right",
    "error_rate_upper95": "mistake_limit95",
    "rejected": "refused",
    "rejected_ci95": "refused_ci95",
}


def _to_json(value: Any) -> Any:
    if isinstance(value, (ClassMetrics, AverageMetrics)):
        return value.to_json_dict()
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


class _JsonForm:
    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the keys that ``georgia evaluate --json`` promises."""
        return {_JSON_KEYS.get(name, name): _to_json(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class ClassMetrics(_JsonForm):
    """Metrics of one class, fractions in [0, 1].

    ``support`` counts the images of the class, ``n_predicted`` those predicted as the class, and
    ``n_correct`` those that are both.
    """

    precision: float
    recall: float
    f1: float
    support: int
    n_predicted: int
    n_correct: int
    precision_ci95: Interval
    recall_ci95: Interval
    f1_ci95: Interval


@dataclass(frozen=True)
class AverageMetrics(_JsonForm):
    """Precision, recall and F1 averaged over classes; ``support`` is the number of images."""

    precision: float
    recall: float
    f1: float
    support: int
    precision_ci95: Interval
    recall_ci95: Interval
    f1_ci95: Interval


@dataclass(frozen=True, eq=False)
class Metrics(_JsonForm):
    """All metrics of a test set; ``confusion`` (C, C) has the ground truth in rows, without rejected images.

    A rejected image (label "unknown") counts against accuracy and against the recall of its class, and
    is never a false positive; ``rejected`` (C,) counts them by true class. ``error_rate_upper95`` is the
    one-sided 95 % upper limit of the rate of wrong labels.
    """

    n: int
    n_groups: int
    n_effective: float
    n_correct: int
    n_wrong: int
    n_unknown: int
    rejected_ci95: Interval
    accuracy: float
    accuracy_ci95: Interval
    error_rate_upper95: float
    classes: tuple[str, ...]
    per_class: dict[str, ClassMetrics]
    macro: AverageMetrics
    weighted: AverageMetrics
    confusion: IntArray
    rejected: IntArray

    def to_history_row(self) -> dict[str, float]:
        """Return precision, recall and F1 of classes and averages, named as in ``history.csv``."""
        averages = {"macro": self.macro, "weighted": self.weighted}
        rows: list[tuple[str, ClassMetrics | AverageMetrics]] = [*self.per_class.items(), *averages.items()]
        return {
            f"{name}_{key}": getattr(row, key) for name, row in rows for key in ("precision", "recall", "f1")
        }


def compute_metrics(
    truth: ClassIndices,
    predicted: ClassIndices,
    labels: Labels,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    n_bootstrap: int = N_BOOTSTRAP,
) -> Metrics:
    """Return the metrics of class indices ``truth`` (N,) in [0, C) and ``predicted`` (N,), −1 = rejected.

    Confidence intervals are over ``groups`` (images of one crystal), so that duplicates do not narrow
    them. Proportions use the Wilson interval with the effective number of groups. F1 uses the percentile
    bootstrap over groups, or its Wilson form where errors are too rare to resample
    (`intervals.FEW_GROUPS`) or ``n_bootstrap`` is 0. Averages run over the classes that have images; an
    undefined ratio is 0 with interval (0, 1).

    >>> metrics = compute_metrics(np.array([0, 0, 1, 1]), np.array([0, 0, 1, -1]), Labels(("CEX", "PG")))
    >>> metrics.accuracy, metrics.per_class["PG"].recall, metrics.per_class["PG"].precision, metrics.n_unknown
    (0.75, 0.5, 1.0, 1)

    Raises:
        InputError: no image, lengths that differ, or indices that are no class.
    """
    true, named = check_class_indices(truth, predicted, len(labels), groups)
    rank = rank_classes(labels)
    table = GroupTable(rank[true], rank[named], group_codes(groups, len(true)), len(labels))
    draws = table.resample(n_bootstrap, seed) if n_bootstrap else None
    classes = {name: _class_metrics(table, int(rank[i]), draws) for i, name in enumerate(labels.names)}
    confusion, rejected = _confusion(true, named, len(labels))
    n, n_correct, n_unknown = len(true), int(np.trace(confusion)), int(rejected.sum())
    n_wrong, effective = n - n_correct - n_unknown, table.effective(table.counts[:, 2].sum(axis=1))
    accuracy_ci95 = wilson_interval(n_correct / n, effective)
    return Metrics(
        classes=labels.names,
        n=n,
        n_groups=table.n_groups,
        n_effective=effective,
        n_correct=n_correct,
        n_wrong=n_wrong,
        n_unknown=n_unknown,
        rejected_ci95=wilson_interval(n_unknown / n, effective),
        accuracy=n_correct / n,
        accuracy_ci95=accuracy_ci95,
        error_rate_upper95=upper_error_limit(n_wrong * effective / n, effective),
        per_class=classes,
        macro=_average(table, classes, draws, is_weighted=False),
        # The weighted recall is the accuracy.
        weighted=replace(_average(table, classes, draws, is_weighted=True), recall_ci95=accuracy_ci95),
        confusion=confusion,
        rejected=rejected,
    )


def epoch_metrics(truth: ClassIndices, predicted: ClassIndices, labels: Labels) -> Metrics:
    """Return the metrics of one training epoch: as `compute_metrics`, without groups and bootstrap.

    >>> row = epoch_metrics(np.array([0, 1]), np.array([0, 1]), Labels(("CEX", "PG"))).to_history_row()
    >>> list(row)[:3], row["macro_f1"]
    (['CEX_precision', 'CEX_recall', 'CEX_f1'], 1.0)

    Raises:
        InputError: as `compute_metrics`.
    """
    return compute_metrics(truth, predicted, labels, n_bootstrap=0)


def check_class_indices(
    truth: ClassIndices, predicted: ClassIndices, n_classes: int, groups: Sequence[str] | None
) -> tuple[IntArray, IntArray]:
    """Return truth and prediction as int64 if they are class indices of the same images.

    Raises:
        InputError: no image, lengths that differ, or indices that are no class; all faults in one.
    """
    true, named = np.asarray(truth), np.asarray(predicted)
    problems = []
    if true.ndim != 1 or true.shape != named.shape or true.size == 0:
        problems.append("truth and prediction of the same 1 or more files are needed")
    if groups is not None and len(groups) != true.size:
        problems.append("one group name for each file is needed")
    if true.dtype.kind not in "iu" or named.dtype.kind not in "iu":
        problems.append("class indices are whole numbers")
    elif not (_within(true, 0, n_classes) and _within(named, UNKNOWN_INDEX, n_classes)):
        problems.append(f"indices run from 0 to {n_classes - 1} (prediction: −1 for {UNKNOWN})")
    if problems:
        got = f"truth {true.shape} {true.dtype}, predicted {named.shape} {named.dtype}"
        if groups is not None:
            got += f", {len(groups)} groups"
        raise InputError("Cannot compute metrics", needs="; ".join(problems), got=got)
    return true.astype(np.int64), named.astype(np.int64)


def class_indices(names: Sequence[str], labels: Labels) -> IntArray:
    """Return class indices (N,) of labels, −1 for "unknown".

    >>> class_indices(["PG", "unknown"], Labels(("CEX", "PG"))).tolist()
    [1, -1]
    """
    index = {UNKNOWN: UNKNOWN_INDEX, **{name: at for at, name in enumerate(labels.names)}}
    return np.array([index[name] for name in names], dtype=np.int64)


def rank_classes(labels: Labels) -> IntArray:
    """Return the rank (C + 1,) of each class by name, and −1 for index −1.

    Resampling by rank does not depend on the order of the outputs of the net.
    """
    rank = np.full(len(labels) + 1, UNKNOWN_INDEX, dtype=np.int64)
    rank[np.argsort(np.array(labels.names))] = np.arange(len(labels))
    return rank


def _within(indices: ClassIndices, low: int, stop: int) -> bool:
    return not indices.size or (int(indices.min()) >= low and int(indices.max()) < stop)


def _confusion(truth: IntArray, predicted: IntArray, n_classes: int) -> tuple[IntArray, IntArray]:
    is_accepted = predicted >= 0
    cells = truth[is_accepted] * n_classes + predicted[is_accepted]
    confusion = np.bincount(cells, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
    rejected = np.bincount(truth[~is_accepted], minlength=n_classes)
    for array in (confusion, rejected):
        array.setflags(write=False)
    return confusion.astype(np.int64, copy=False), rejected.astype(np.int64, copy=False)


def _class_metrics(table: GroupTable, column: int, draws: IntArray | None) -> ClassMetrics:
    hits, named, support = (table.counts[:, row, column] for row in range(3))
    n_correct, n_predicted, n_true = (int(counts @ table.repeats) for counts in (hits, named, support))
    precision = n_correct / n_predicted if n_predicted else 0.0
    recall = n_correct / n_true if n_true else 0.0
    involved = named + support - hits
    if draws is None or table.few_events(involved - hits, hits):
        f1_interval = f1_wilson_interval(n_correct, int(involved @ table.repeats), table.effective(involved))
    else:
        resampled = draws[:, :, column]
        f1_interval = percentile_interval(f1_from_counts(*resampled.swapaxes(0, 1)))
    return ClassMetrics(
        precision=precision,
        recall=recall,
        f1=2 * n_correct / (n_predicted + n_true) if n_predicted + n_true else 0.0,
        support=n_true,
        n_predicted=n_predicted,
        n_correct=n_correct,
        precision_ci95=wilson_interval(precision, table.effective(named)),
        recall_ci95=wilson_interval(recall, table.effective(support)),
        f1_ci95=f1_interval,
    )


def _average(
    table: GroupTable, classes: dict[str, ClassMetrics], draws: IntArray | None, *, is_weighted: bool
) -> AverageMetrics:
    present = [row for row in classes.values() if row.support]
    support = np.array([row.support for row in present], dtype=np.float64)
    weights = support / support.sum() if is_weighted else np.full(len(present), 1 / len(present))

    hits, truths = table.counts[:, 0].sum(axis=1), table.counts[:, 2].sum(axis=1)
    is_rare = draws is None or table.few_events(truths - hits, hits)

    def average(key: str) -> float:
        return float(weights @ np.array([getattr(row, key) for row in present]))

    def interval(key: str) -> Interval:
        if draws is not None and not is_rare:
            return percentile_interval(_resampled_average(draws, key, is_weighted))
        # An error of one class is one of another, so the limits of the classes move together: average them.
        lows, highs = np.array([getattr(row, f"{key}_ci95") for row in present]).T
        return float(weights @ lows), float(weights @ highs)

    keys = ("precision", "recall", "f1")
    precision, recall, f1 = (average(key) for key in keys)
    limits = {f"{key}_ci95": interval(key) for key in keys}
    return AverageMetrics(precision, recall, f1, int(support.sum()), **limits)


def _resampled_average(draws: IntArray, key: str, is_weighted: bool) -> FloatArray:
    hits, named, support = draws[:, 0], draws[:, 1], draws[:, 2]
    if key == "f1":
        scores = f1_from_counts(hits, named, support)
    else:
        total = named if key == "precision" else support
        scores = np.divide(hits, total, out=np.zeros(hits.shape), where=total > 0)
    weights = support if is_weighted else (support > 0).astype(np.int64)
    averages: FloatArray = (scores * weights).sum(axis=1) / weights.sum(axis=1)
    return averages
