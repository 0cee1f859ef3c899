"""Variants compared: the runs of each pooled, and pairs of variants tested on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from georgia.evaluate.compare import compare_predictions, match_files
from georgia.evaluate.score import Evaluation
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.classification import Metrics, class_indices, compute_metrics
from georgia.metrics.intervals import IntArray, Interval
from georgia.metrics.paired import SIGNIFICANCE, adjust_p_values
from georgia.study.rows import StudyRow

# Up to so many variants each pair is tested; of more, the best against each other one.
_ALL_PAIRS_UP_TO = 6


@dataclass(frozen=True)
class VariantSummary:
    """All finished runs of one variant; intervals are over groups; one counts once, whatever runs test it.

    ``f1`` is the mean of the runs' macro F1: predictions of several runs in one pool can make a value that
    no run reached. In ``n_gated`` runs the quality gate failed. ``pooled`` has the metrics of all test
    predictions together, as ``georgia evaluate --json`` prints them: per class and as a confusion matrix.
    ``missed`` has one count a run.
    """

    variant: str
    rank: int
    n_runs: int
    n_failed: int
    n_test: int
    n_groups: int
    missed: tuple[int, ...]
    epochs: tuple[int, ...]
    seconds: float
    accuracy: float
    accuracy_ci95: Interval
    f1: float
    f1_ci95: Interval
    f1_by_class: Mapping[str, float]
    pooled: Mapping[str, Any] = field(default_factory=dict)
    n_gated: int = 0


@dataclass(frozen=True)
class MissedImage:
    """One test image that a run did not classify correctly; ``label`` is "unknown" if it is rejected."""

    variant: str
    run_name: str
    file: str
    truth: str
    label: str
    probability: float


@dataclass(frozen=True)
class PairedTest:
    """Two variants on the same test images, repeat by repeat: metrics of ``first`` minus ``second``.

    F1 is the runs' mean. ``p_value`` is of macro F1, over groups; ``p_adjusted`` is corrected for the number
    of pairs. In ``n_groups_better`` groups, ``first`` has more correct predictions; ``n_better`` and
    ``n_worse`` count the repeats in which it missed fewer or more.
    """

    first: str
    second: str
    n_groups: int
    n_groups_better: int
    n_groups_worse: int
    f1_difference: float
    f1_difference_ci95: Interval
    accuracy_difference: float
    accuracy_difference_ci95: Interval
    p_value: float
    p_adjusted: float
    n_better: int
    n_worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the two differ at 5 %, all pairs considered."""
        return self.p_adjusted < SIGNIFICANCE


def summarize_variants(
    rows: Sequence[StudyRow], evaluations: Mapping[str, Evaluation]
) -> tuple[VariantSummary, ...]:
    """Return the variants with a finished run, best first: by the mean of their runs' F1, then by time."""
    found = []
    for variant in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == variant]
        done = [row for row in own if row.is_done]
        if not done:
            continue
        own_evaluations = [evaluations[row.run_name] for row in done]
        found.append(_summarize(variant, done, len(own) - len(done), own_evaluations))
    found.sort(key=lambda summary: (-summary.f1, summary.seconds / summary.n_runs))
    return tuple(replace(summary, rank=rank) for rank, summary in enumerate(found, start=1))


def compare_variants(
    summaries: Sequence[VariantSummary], rows: Sequence[StudyRow], evaluations: Mapping[str, Evaluation]
) -> tuple[PairedTest, ...]:
    """Return the paired tests: of all pairs, or of the best against each other one where they are many.

    Pairs without a repeat that both finished are left out.
    """
    names = [summary.variant for summary in summaries]
    pairs = list(itertools.combinations(names, 2))
    if len(names) > _ALL_PAIRS_UP_TO:
        pairs = [(names[0], name) for name in names[1:]]
    found = {name: _find_done(name, rows) for name in names}
    tests = [
        _compare(pair, (found[pair[0]], found[pair[1]]), evaluations)
        for pair in pairs
        if found[pair[0]].keys() & found[pair[1]].keys()
    ]
    adjusted = adjust_p_values([test.p_value for test in tests])
    return tuple(replace(test, p_adjusted=value) for test, value in zip(tests, adjusted, strict=True))


def list_missed(rows: Sequence[StudyRow], evaluations: Mapping[str, Evaluation]) -> tuple[MissedImage, ...]:
    """Return what each finished run missed in its test images, the most confident first in each run."""
    missed = []
    for row in rows:
        if not row.is_done:
            continue
        evaluation = evaluations[row.run_name]
        wrong = [
            (item.file, item.truth, item.predicted, item.probability) for item in evaluation.misclassified
        ]
        rejected = [(file, truth, UNKNOWN, 0.0) for file, truth in evaluation.rejected]
        missed += [
            MissedImage(row.variant, row.run_name, str(file), truth, label, probability)
            for file, truth, label, probability in (*wrong, *rejected)
        ]
    return tuple(missed)


def pool_metrics(evaluations: Sequence[Evaluation]) -> Metrics:
    """Return the metrics of all predictions together; a group counts once however many runs tested it."""
    truth, predicted, groups = _stack(evaluations)
    return compute_metrics(truth, predicted, evaluations[0].labels, groups)


def average_f1(evaluations: Sequence[Evaluation]) -> tuple[float, Interval]:
    """Return the mean of the runs' macro F1 and its 95 % confidence interval over groups.

    Each run's classes are classes of their own, so that the macro average is that mean.
    """
    labels, offsets = evaluations[0].labels, _count_before(evaluations)
    truth, predicted, groups = _stack(evaluations)
    own = label_runs(labels, len(evaluations))
    coded = truth + offsets, np.where(predicted < 0, predicted, predicted + offsets)
    macro = compute_metrics(*coded, own, groups).macro
    return macro.f1, macro.f1_ci95


def label_runs(labels: Labels, n_runs: int) -> Labels:
    """Return the classes of several runs as classes of their own, run after run."""
    return Labels(tuple(f"{run:06d} {name}" for run in range(n_runs) for name in labels.names))


def _count_before(evaluations: Sequence[Evaluation]) -> IntArray:
    n_classes = len(evaluations[0].labels)
    return np.repeat(np.arange(len(evaluations)) * n_classes, [len(run.truth) for run in evaluations])


def _stack(evaluations: Sequence[Evaluation]) -> tuple[IntArray, IntArray, list[str]]:
    """Return truth, predicted class and group of every prediction, run after run."""
    labels = evaluations[0].labels
    items = [item for run in evaluations for item in run.predictions.items]
    groups = [group for run in evaluations for group in run.groups]
    truth = labels.indices([name for run in evaluations for name in run.truth])
    predicted = class_indices([item.label for item in items], labels)
    return truth, predicted, [group or str(item.file) for group, item in zip(groups, items, strict=True)]


def _summarize(
    variant: str, done: Sequence[StudyRow], n_failed: int, evaluations: Sequence[Evaluation]
) -> VariantSummary:
    metrics = pool_metrics(evaluations)
    f1, f1_ci95 = average_f1(evaluations)
    return VariantSummary(
        variant=variant,
        rank=0,
        n_runs=len(done),
        n_failed=n_failed,
        n_test=metrics.n,
        n_groups=metrics.n_groups,
        missed=tuple(int(row.test_missed or 0) for row in done),
        epochs=tuple(row.epochs for row in done),
        seconds=sum(row.seconds for row in done),
        accuracy=metrics.accuracy,
        accuracy_ci95=metrics.accuracy_ci95,
        f1=f1,
        f1_ci95=f1_ci95,
        f1_by_class={name: row.f1 for name, row in metrics.per_class.items()},
        pooled=metrics.to_json_dict(),
        n_gated=sum(bool(row.gate) for row in done),
    )


_Done = dict[tuple[int, int], StudyRow]


def _find_done(variant: str, rows: Sequence[StudyRow]) -> _Done:
    return {(row.repeat, row.fold): row for row in rows if row.variant == variant and row.is_done}


def _compare(
    pair: tuple[str, str], done: tuple[_Done, _Done], evaluations: Mapping[str, Evaluation]
) -> PairedTest:
    """Compare the predictions of the repeats that both finished; a group counts once in all of them."""
    both = sorted(done[0].keys() & done[1].keys())
    labels = evaluations[done[0][both[0]].run_name].labels
    rows = []
    for run, key in enumerate(both):
        this, that = (evaluations[side[key].run_name] for side in done)
        for here, there in match_files(this, that):
            item, other = this.predictions.items[here], that.predictions.items[there]
            group = this.groups[here] or str(item.file)
            rows.append((run, this.truth[here], item.label, other.label, group))
    runs, truth, *named, groups = zip(*rows, strict=True)
    offsets = np.array(runs) * len(labels)
    indices = [class_indices(names, labels) for names in named]
    first, second = (np.where(own < 0, own, own + offsets) for own in indices)
    own, n_runs = label_runs(labels, len(both)), len(both)
    true = labels.indices(truth) + offsets
    result = compare_predictions(true, (first, second), own, groups, pair, n_runs=n_runs)
    gains = [int(done[1][key].test_missed or 0) - int(done[0][key].test_missed or 0) for key in both]
    return PairedTest(
        first=pair[0],
        second=pair[1],
        n_groups=result.n_groups,
        n_groups_better=result.n_groups_better,
        n_groups_worse=result.n_groups_worse,
        f1_difference=result.f1.difference,
        f1_difference_ci95=result.f1.interval,
        accuracy_difference=result.accuracy.difference,
        accuracy_difference_ci95=result.accuracy.interval,
        p_value=1.0 if result.f1.p_value is None else result.f1.p_value,
        p_adjusted=1.0,
        n_better=sum(gain > 0 for gain in gains),
        n_worse=sum(gain < 0 for gain in gains),
    )
