"""Accuracy, precision, recall, F1 and calibration error, each with its count and 95 % interval."""

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
    ece_interval,
    f1_from_counts,
    f1_wilson_interval,
    group_codes,
    percentile_interval,
    upper_error_limit,
    wilson_interval,
)

Positions = npt.NDArray[np.integer]
UNKNOWN_INDEX = -1
N_BOOTSTRAP = 2000


@dataclass(frozen=True)
class ClassMetrics:
    """One class's figures, fractions in [0, 1]: ``support`` files are of it, ``n_predicted`` named so."""

    precision: float
    recall: float
    f1: float
    support: int
    n_predicted: int
    n_right: int
    precision_ci95: Interval
    recall_ci95: Interval
    f1_ci95: Interval

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


@dataclass(frozen=True)
class AverageMetrics:
    """Precision, recall and F1 averaged over classes; ``support`` is the number of files."""

    precision: float
    recall: float
    f1: float
    support: int
    precision_ci95: Interval
    recall_ci95: Interval
    f1_ci95: Interval

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Metrics:
    """How well files were named; ``confusion`` (C, C) has the truth in rows and holds no refused file.

    A refused file counts against accuracy and against its class's recall, and never as a false
    positive; ``refused`` (C,) counts them by true class.
    """

    classes: tuple[str, ...]
    n: int
    n_groups: int
    n_effective: float
    n_right: int
    n_wrong: int
    n_unknown: int
    refused_ci95: Interval
    accuracy: float
    accuracy_ci95: Interval
    error_rate_upper95: float
    per_class: dict[str, ClassMetrics]
    macro: AverageMetrics
    weighted: AverageMetrics
    confusion: IntArray
    refused: IntArray

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form, with the keys that ``georgia evaluate --json`` promises."""
        return {
            "n": self.n,
            "n_groups": self.n_groups,
            "n_effective": self.n_effective,
            "n_right": self.n_right,
            "n_wrong": self.n_wrong,
            "n_unknown": self.n_unknown,
            "refused_ci95": list(self.refused_ci95),
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "mistake_limit95": self.error_rate_upper95,
            "classes": list(self.classes),
            "per_class": {name: one.to_json_dict() for name, one in self.per_class.items()},
            "macro": self.macro.to_json_dict(),
            "weighted": self.weighted.to_json_dict(),
            "confusion": self.confusion.tolist(),
            "refused": self.refused.tolist(),
        }

    def to_history_row(self) -> dict[str, float]:
        """Return precision, recall and F1 of each class and both averages under ``history.csv``'s names."""
        averages = {"macro": self.macro, "weighted": self.weighted}
        named: list[tuple[str, ClassMetrics | AverageMetrics]] = [*self.per_class.items(), *averages.items()]
        keys = ("precision", "recall", "f1")
        return {f"{name}_{key}": getattr(one, key) for name, one in named for key in keys}


def compute_metrics(
    truth: Positions,
    predicted: Positions,
    labels: Labels,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    n_bootstrap: int = N_BOOTSTRAP,
) -> Metrics:
    """Return all figures of class positions ``truth`` (N,) in [0, C) and ``predicted`` (N,), −1 = refused.

    Intervals are over ``groups`` (files of one crystal), never over copies: proportions take
    Wilson's interval with the effective number of groups; F1 takes the percentile bootstrap over
    groups, or its Wilson form where errors are too rare to resample (`intervals.FEW_GROUPS`) or
    ``n_bootstrap`` is 0. ``error_rate_upper95`` is the one-sided upper limit of the share of wrong
    names. Averages run over the classes that have files; an undefined ratio is 0 with interval (0, 1).

    >>> metrics = compute_metrics(np.array([0, 0, 1, 1]), np.array([0, 0, 1, -1]), Labels(("CEX", "PG")))
    >>> metrics.accuracy, metrics.per_class["PG"].recall, metrics.per_class["PG"].precision, metrics.n_unknown
    (0.75, 0.5, 1.0, 1)

    Raises:
        InputError: no file, lengths that differ, or positions that are no class.
    """
    true, named = check_positions(truth, predicted, len(labels), groups)
    # Classes in the order of their names: the order of the net's outputs must not touch the draws.
    order = np.argsort(np.array(labels.names))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ranked = np.where(named < 0, UNKNOWN_INDEX, rank[named])
    table = GroupTable(rank[true], ranked, group_codes(groups, len(true)), len(labels))
    draws = table.resample(n_bootstrap, seed) if n_bootstrap else None
    classes = {name: _class_metrics(table, int(rank[i]), draws) for i, name in enumerate(labels.names)}
    confusion, refused = _confusion(true, named, len(labels))
    n, n_right, n_unknown = len(true), int(np.trace(confusion)), int(refused.sum())
    n_wrong, effective = n - n_right - n_unknown, table.effective(table.counts[:, 2].sum(axis=1))
    accuracy_ci95 = wilson_interval(n_right / n, effective)
    return Metrics(
        classes=labels.names,
        n=n,
        n_groups=table.n_groups,
        n_effective=effective,
        n_right=n_right,
        n_wrong=n_wrong,
        n_unknown=n_unknown,
        refused_ci95=wilson_interval(n_unknown / n, effective),
        accuracy=n_right / n,
        accuracy_ci95=accuracy_ci95,
        error_rate_upper95=upper_error_limit(n_wrong * effective / n, effective),
        per_class=classes,
        macro=_average(table, classes, draws, is_weighted=False),
        # The weighted recall is the accuracy.
        weighted=replace(_average(table, classes, draws, is_weighted=True), recall_ci95=accuracy_ci95),
        confusion=confusion,
        refused=refused,
    )


def epoch_metrics(truth: Positions, predicted: Positions, labels: Labels) -> Metrics:
    """Return the figures of one training epoch: as `compute_metrics`, each file alone, no bootstrap.

    >>> row = epoch_metrics(np.array([0, 1]), np.array([0, 1]), Labels(("CEX", "PG"))).to_history_row()
    >>> list(row)[:3], row["macro_f1"]
    (['CEX_precision', 'CEX_recall', 'CEX_f1'], 1.0)

    Raises:
        InputError: as `compute_metrics`.
    """
    return compute_metrics(truth, predicted, labels, n_bootstrap=0)


def check_positions(
    truth: Positions, predicted: Positions, n_classes: int, groups: Sequence[str] | None
) -> tuple[IntArray, IntArray]:
    """Return truth and prediction as int64, if they are class positions of the same files.

    Raises:
        InputError: no file, lengths that differ, or positions that are no class; all faults in one.
    """
    true, named = np.asarray(truth), np.asarray(predicted)
    problems = []
    if true.ndim != 1 or true.shape != named.shape or true.size == 0:
        problems.append("truth and prediction of the same 1 or more files are needed")
    if groups is not None and len(groups) != true.size:
        problems.append("one group name for each file is needed")
    if true.dtype.kind not in "iu" or named.dtype.kind not in "iu":
        problems.append("class positions are whole numbers")
    elif not (_within(true, 0, n_classes) and _within(named, UNKNOWN_INDEX, n_classes)):
        problems.append(f"positions run from 0 to {n_classes - 1} (prediction: −1 for {UNKNOWN})")
    if problems:
        got = f"truth {true.shape} {true.dtype}, predicted {named.shape} {named.dtype}"
        if groups is not None:
            got += f", {len(groups)} groups"
        raise InputError("Cannot compute metrics", needs="; ".join(problems), got=got)
    return true.astype(np.int64), named.astype(np.int64)


def _within(positions: Positions, low: int, stop: int) -> bool:
    return not positions.size or (int(positions.min()) >= low and int(positions.max()) < stop)


def _confusion(truth: IntArray, predicted: IntArray, n_classes: int) -> tuple[IntArray, IntArray]:
    answered = predicted >= 0
    cells = truth[answered] * n_classes + predicted[answered]
    confusion = np.bincount(cells, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
    refused = np.bincount(truth[~answered], minlength=n_classes)
    for array in (confusion, refused):
        array.setflags(write=False)
    return confusion.astype(np.int64, copy=False), refused.astype(np.int64, copy=False)


def _class_metrics(table: GroupTable, column: int, draws: IntArray | None) -> ClassMetrics:
    hits, named, support = (table.counts[:, row, column] for row in range(3))
    right, n_predicted, n_true = (int(part @ table.repeats) for part in (hits, named, support))
    precision = right / n_predicted if n_predicted else 0.0
    recall = right / n_true if n_true else 0.0
    involved = named + support - hits
    if draws is None or table.few_events(involved - hits, hits):
        f1_interval = f1_wilson_interval(right, int(involved @ table.repeats), table.effective(involved))
    else:
        drawn = draws[:, :, column]
        f1_interval = percentile_interval(f1_from_counts(drawn[:, 0], drawn[:, 1], drawn[:, 2]))
    return ClassMetrics(
        precision=precision,
        recall=recall,
        f1=2 * right / (n_predicted + n_true) if n_predicted + n_true else 0.0,
        support=n_true,
        n_predicted=n_predicted,
        n_right=right,
        precision_ci95=wilson_interval(precision, table.effective(named)),
        recall_ci95=wilson_interval(recall, table.effective(support)),
        f1_ci95=f1_interval,
    )


def _average(
    table: GroupTable, classes: dict[str, ClassMetrics], draws: IntArray | None, *, is_weighted: bool
) -> AverageMetrics:
    present = [one for one in classes.values() if one.support]
    support = np.array([one.support for one in present], dtype=np.float64)
    weights = support / support.sum() if is_weighted else np.full(len(present), 1 / len(present))

    hits, truths = table.counts[:, 0].sum(axis=1), table.counts[:, 2].sum(axis=1)
    is_rare = draws is None or table.few_events(truths - hits, hits)

    def average(key: str) -> float:
        return float(weights @ np.array([getattr(one, key) for one in present]))

    def interval(key: str) -> Interval:
        if draws is not None and not is_rare:
            return percentile_interval(_drawn_average(draws, key, is_weighted))
        # Errors of one class are those of another, so the class limits move together: average them.
        lows, highs = np.array([getattr(one, f"{key}_ci95") for one in present]).T
        return float(weights @ lows), float(weights @ highs)

    keys = ("precision", "recall", "f1")
    precision, recall, f1 = (average(key) for key in keys)
    limits = {f"{key}_ci95": interval(key) for key in keys}
    return AverageMetrics(precision, recall, f1, int(support.sum()), **limits)


def _drawn_average(draws: IntArray, key: str, is_weighted: bool) -> FloatArray:
    hits, named, support = draws[:, 0], draws[:, 1], draws[:, 2]
    if key == "f1":
        scores = f1_from_counts(hits, named, support)
    else:
        total = named if key == "precision" else support
        scores = np.divide(hits, total, out=np.zeros(hits.shape), where=total > 0)
    weights = support if is_weighted else (support > 0).astype(np.int64)
    averages: FloatArray = (scores * weights).sum(axis=1) / weights.sum(axis=1)
    return averages


@dataclass(frozen=True, eq=False)
class Reliability:
    """Answers sorted into bins of probability: how sure (mean) and how right (share), each (K,).

    Empty bins hold NaN; ``edges`` (K + 1,) run from 0 to 1.
    """

    edges: FloatArray
    n: IntArray
    mean_probability: FloatArray
    share_right: FloatArray

    @property
    def error(self) -> float:
        """The expected calibration error in [0, 1]: mean distance of sure from right, by files."""
        filled = self.n > 0
        gaps = np.abs(self.mean_probability[filled] - self.share_right[filled])
        return float(gaps @ self.n[filled] / self.n.sum())


def measure_reliability(
    probabilities: npt.NDArray[np.floating], truth: Positions, n_bins: int = 15
) -> Reliability:
    """Return how often answers of each sureness are right, from probabilities (N, C) and truth (N,).

    Raises:
        InputError: no file, rows that are no probabilities, or lengths that differ.
    """
    what = "Cannot measure calibration"
    table, true = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    if table.ndim != 2 or true.shape != table.shape[:1] or not true.size or n_bins < 1:
        raise InputError(
            what,
            needs="probabilities (N, C), truth (N,) of 1 or more files and 1 bin or more are needed",
            got=f"{table.shape}, {true.shape}, {n_bins} bins",
        )
    totals = table.sum(axis=1)
    if not (np.isfinite(table).all() and table.min() >= 0 and np.allclose(totals, 1, atol=1e-3)):
        raise InputError(
            what,
            needs="each row must hold numbers in [0, 1] that sum to 1",
            got=f"values from {table.min():.3g}, sums {totals.min():.3g} to {totals.max():.3g}",
        )
    best = np.clip(table.max(axis=1), 0.0, 1.0)
    is_right = table.argmax(axis=1) == true
    bins = np.clip(np.ceil(best * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)

    def mean(values: FloatArray) -> FloatArray:
        total = np.bincount(bins, weights=values, minlength=n_bins)
        result: FloatArray = np.divide(total, n, out=np.full(n_bins, np.nan), where=n > 0)
        return result

    edges = np.linspace(0, 1, n_bins + 1)
    return Reliability(edges, n.astype(np.int64), mean(best), mean(is_right.astype(np.float64)))


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating], truth: Positions, n_bins: int = 15
) -> float:
    """Return the expected calibration error in [0, 1] of probabilities (N, C) against truth (N,).

    Answers fall into ``n_bins`` equal bins of their own probability; fewer bins suit fewer files.
    Source: Guo et al. 2017, arXiv 1706.04599 (15 bins, top answer).

    >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0

    Raises:
        InputError: as `measure_reliability`.
    """
    return measure_reliability(probabilities, truth, n_bins).error


def calibration_interval(
    probabilities: npt.NDArray[np.floating],
    truth: Positions,
    groups: Sequence[str] | None = None,
    n_bins: int = 15,
    seed: int = 0,
) -> Interval:
    """Return a 95 % interval of the expected calibration error, over groups; see `ece_interval`.

    Raises:
        InputError: as `measure_reliability`.
    """
    measure_reliability(probabilities, truth, n_bins)
    table = np.asarray(probabilities, dtype=np.float64)
    is_right = table.argmax(axis=1) == np.asarray(truth)
    codes = group_codes(groups, len(table))
    return ece_interval(np.clip(table.max(axis=1), 0, 1), is_right, codes, n_bins, seed)
