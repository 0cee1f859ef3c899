"""Variants beside one another: their runs pooled, and pairs of them tested on the same pictures."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georgia.evaluate import Evaluation
from georgia.intervals import Z95, Interval
from georgia.labels import UNKNOWN
from georgia.metrics import UNKNOWN_INDEX, Metrics, compute_metrics
from georgia.study.rows import StudyRow

# With so few differing groups or fewer, every way to flip their signs is counted; else some are drawn.
_EXACT_UP_TO = 16
_N_FLIPS = 20_000
# Up to so many variants each pair is tested; of more, the best against each other one.
_ALL_PAIRS_UP_TO = 6


@dataclass(frozen=True)
class VariantSummary:
    """All finished runs of one variant; figures pool their test answers, intervals are over groups.

    A group counts once however many runs saw it. ``missed`` has one number a run.
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
class Comparison:
    """Two variants on the same test pictures: ``difference`` is accuracy of ``first`` minus ``second``.

    ``p_value`` is of the paired test over groups; ``p_adjusted`` is corrected for the number of pairs.
    ``n_better`` and ``n_worse`` count the repeats in which ``first`` missed fewer or more.
    """

    first: str
    second: str
    n_groups: int
    n_differing: int
    difference: float
    difference_ci95: Interval
    p_value: float
    p_adjusted: float
    n_better: int
    n_worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the two differ at 5 %, all pairs considered."""
        return self.p_adjusted < 0.05


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
    found.sort(key=lambda one: (-one.f1, one.seconds / one.n_runs))
    return tuple(_ranked(one, rank) for rank, one in enumerate(found, start=1))


def compare_variants(
    summaries: Sequence[VariantSummary], rows: Sequence[StudyRow], evaluations: Mapping[str, Evaluation]
) -> tuple[Comparison, ...]:
    """Return the paired tests: of all pairs, or of the best against each other one where they are many."""
    names = [one.variant for one in summaries]
    pairs = list(itertools.combinations(names, 2))
    if len(names) > _ALL_PAIRS_UP_TO:
        pairs = [(names[0], name) for name in names[1:]]
    wrong = {name: _count_wrong(name, rows, evaluations) for name in names}
    tests = [_compare(pair, wrong, rows) for pair in pairs]
    adjusted = adjust_p_values([test.p_value for test in tests])
    return tuple(
        Comparison(**{**vars(test), "p_adjusted": value}) for test, value in zip(tests, adjusted, strict=True)
    )


def pool_metrics(evaluations: Sequence[Evaluation]) -> Metrics:
    """Return the figures of all answers together; a group is one group in whichever run it was tested."""
    labels = evaluations[0].labels
    position = {UNKNOWN: UNKNOWN_INDEX, **{name: at for at, name in enumerate(labels.names)}}
    truth, named, groups = [], [], []
    for one in evaluations:
        for item, true, group in zip(one.predictions.items, one.truth, one.groups, strict=True):
            truth.append(position[true])
            named.append(position[item.label])
            groups.append(group or str(item.file))
    return compute_metrics(np.array(truth), np.array(named), labels, groups)


def paired_test(differences: npt.NDArray[np.float64], seed: int = 0) -> float:
    """Return the two-sided p of differences (G,), one a group, having mean 0: signs flipped at random.

    Groups that do not differ add nothing. Up to 16 differing groups all flips are counted, so that the
    answer is exact; above, 20,000 are drawn. With one difference a picture of −1, 0 or 1 it is
    McNemar's exact test.
    Source: Fisher 1935, The Design of Experiments, chapter III (randomisation of paired differences).

    >>> paired_test(np.array([1.0, 1, 1, 1, 1, 0, 0]))
    0.0625
    """
    own = differences[differences != 0]
    if not len(own):
        return 1.0
    seen = abs(float(own.sum())) * (1 - 1e-12)
    if len(own) <= _EXACT_UP_TO:
        signs = 1 - 2 * (np.arange(2 ** len(own))[:, None] >> np.arange(len(own)) & 1)
        return float((np.abs(signs @ own) >= seen).mean())
    rng = np.random.default_rng(seed)
    n_beyond = sum(
        int((np.abs(rng.choice((-1.0, 1.0), (1000, len(own))) @ own) >= seen).sum())
        for _ in range(_N_FLIPS // 1000)
    )
    return (n_beyond + 1) / (_N_FLIPS + 1)


def paired_interval(differences: npt.NDArray[np.float64]) -> Interval:
    """Return a 95 % interval of the mean of differences (G,), one a group, each about −1 to 1.

    Two half groups of −1 and 1 and one without difference are added, which keeps it honest where no
    group differs. Source: Agresti and Min 2005, doi 10.1002/sim.1781 (matched pairs).

    >>> low, high = paired_interval(np.zeros(100))
    >>> round(low, 4), round(high, 4)
    (-0.0192, 0.0192)
    """
    n = len(differences) + 2
    mean = float(differences.sum()) / n
    variance = (float(np.square(differences).sum()) + 1.0) / n - mean * mean
    half = Z95 * math.sqrt(max(0.0, variance) / n)
    return mean - half, mean + half


def adjust_p_values(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, by Holm's step-down rule.

    Source: Holm 1979, Scand. J. Statist. 6, 65–70.

    >>> adjust_p_values([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[at]))
        adjusted[at] = highest
    return adjusted


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
        f1_by_class={name: one.f1 for name, one in metrics.per_class.items()},
    )


def _ranked(one: VariantSummary, rank: int) -> VariantSummary:
    return VariantSummary(**{**vars(one), "rank": rank})


_Wrong = dict[str, tuple[str, list[bool]]]


def _count_wrong(variant: str, rows: Sequence[StudyRow], evaluations: Mapping[str, Evaluation]) -> _Wrong:
    """Return, for each test file, its group and whether each run of a variant missed it."""
    found: _Wrong = {}
    for row in rows:
        if row.variant != variant or not row.is_done:
            continue
        one = evaluations[row.run_name]
        for item, true, group in zip(one.predictions.items, one.truth, one.groups, strict=True):
            file = str(item.file)
            found.setdefault(file, (group or file, []))[1].append(item.label != true)
    return found


def _compare(pair: tuple[str, str], wrong: Mapping[str, _Wrong], rows: Sequence[StudyRow]) -> Comparison:
    first, second = (wrong[name] for name in pair)
    sums: dict[str, float] = defaultdict(float)
    common = [file for file in first if file in second]
    for file in common:
        group, missed = first[file]
        sums[group] += float(np.mean(second[file][1]) - np.mean(missed))
    by_group = np.array([sums[group] for group in sorted(sums)])
    # In units of a group of mean size, so that the mean over groups is the mean over pictures.
    scaled = by_group * (len(by_group) / max(1, len(common)))
    n_better, n_worse = _count_repeats(pair, rows)
    return Comparison(
        first=pair[0],
        second=pair[1],
        n_groups=len(by_group),
        n_differing=int((np.abs(by_group) > 1e-12).sum()),
        difference=float(scaled.mean()) if len(scaled) else 0.0,
        difference_ci95=paired_interval(scaled),
        p_value=paired_test(np.where(np.abs(by_group) > 1e-12, by_group, 0.0)),
        p_adjusted=1.0,
        n_better=n_better,
        n_worse=n_worse,
    )


def _count_repeats(pair: tuple[str, str], rows: Sequence[StudyRow]) -> tuple[int, int]:
    """Return in how many repeats, of those that both finished, the first missed fewer and more."""
    missed: dict[str, dict[tuple[int, int], int]] = {name: {} for name in pair}
    for row in rows:
        if row.variant in missed and row.is_done:
            missed[row.variant][row.repeat, row.fold] = int(row.test_missed or 0)
    first, second = (missed[name] for name in pair)
    gains = [second[key] - count for key, count in first.items() if key in second]
    return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
