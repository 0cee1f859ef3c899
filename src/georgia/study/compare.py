"""Variants compared: the runs of each pooled, and pairs of variants tested on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from georgia.evaluate.compare import compare_predictions, match_files
from georgia.evaluate.score import Evaluation
from georgia.metrics.classification import Metrics, class_indices, compute_metrics
from georgia.metrics.intervals import Interval
from georgia.metrics.paired import SIGNIFICANCE, adjust_p_values
from georgia.study.rows import StudyRow

# Up to so many variants each pair is tested; of more, the best against each other one.
_ALL_PAIRS_UP_TO = 6


@dataclass(frozen=True)
class VariantSummary:
    """All finished runs of one variant; metrics pool their test predictions, intervals are over groups.

    A group counts once however many runs tested it. ``missed`` has one count a run.
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


@dataclass(frozen=True)
class PairedTest:
    """Two variants on the same test images, repeat by repeat: metrics of ``first`` minus ``second``.

    ``p_value`` is of macro F1, over groups; ``p_adjusted`` is corrected for the number of pairs.
    In ``n_groups_better`` groups, ``first`` has more correct predictions; ``n_better`` and ``n_worse``
    count the repeats in which it missed fewer or more.
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
    """Return the variants with a finished run, best first: by pooled F1, then by time."""
    found = []
    for variant in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == variant]
        done = [row for row in own if row.is_done]
        if not done:
            continue
        metrics = pool_metrics([evaluations[row.run_name] for row in done])
        found.append(_summarize(variant, done, len(own) - len(done), metrics))
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


def pool_metrics(evaluations: Sequence[Evaluation]) -> Metrics:
    """Return the metrics of all predictions together; a group counts once however many runs tested it."""
    labels = evaluations[0].labels
    rows = [
        (true, item.label, group or str(item.file))
        for evaluation in evaluations
        for item, true, group in zip(
            evaluation.predictions.items, evaluation.truth, evaluation.groups, strict=True
        )
    ]
    truth, predicted, groups = zip(*rows, strict=True)
    return compute_metrics(labels.indices(truth), class_indices(predicted, labels), labels, groups)


def _summarize(variant: str, done: Sequence[StudyRow], n_failed: int, metrics: Metrics) -> VariantSummary:
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
        f1=metrics.macro.f1,
        f1_ci95=metrics.macro.f1_ci95,
        f1_by_class={name: row.f1 for name, row in metrics.per_class.items()},
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
    for key in both:
        first, second = (evaluations[side[key].run_name] for side in done)
        for here, there in match_files(first, second):
            item, other = first.predictions.items[here], second.predictions.items[there]
            rows.append((first.truth[here], item.label, other.label, first.groups[here] or str(item.file)))
    truth, named, other_named, groups = zip(*rows, strict=True)
    predicted = (class_indices(named, labels), class_indices(other_named, labels))
    result = compare_predictions(labels.indices(truth), predicted, labels, groups, pair)
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
