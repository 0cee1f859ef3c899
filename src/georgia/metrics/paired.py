"""Paired comparison of two models on the same images: intervals and p values over independent groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georgia.labels import Labels
from georgia.metrics.classification import rank_classes
from georgia.metrics.intervals import FloatArray, IntArray, group_patterns

# A difference is significant below this p value.
SIGNIFICANCE = 0.05
N_DRAWS, N_SWAPS = 4000, 9999
_VALUES_AT_ONCE = 4_000_000


def mcnemar_p_value(n_better: int, n_worse: int) -> float:
    """Return the exact two-sided p value of so many trials better and so many worse, without ties.

    Source: McNemar 1947, doi 10.1007/BF02295996, in its exact (binomial) form.

    >>> round(mcnemar_p_value(10, 2), 4), mcnemar_p_value(0, 0)
    (0.0386, 1.0)
    """
    from scipy.special import bdtr

    return min(1.0, 2.0 * float(bdtr(min(n_better, n_worse), n_better + n_worse, 0.5)))


def adjust_p_values(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by the step-down rule of Holm.

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


class PairTable:
    """Predictions of two models as groups, equal groups counted: ``counts`` (U, 5·C), ``repeats`` (U,).

    The five blocks of columns are: support, correct and predicted of this model, correct and predicted of
    the other. ``classes`` names the classes that have images. Where the classes, by name, are those of
    several runs, ``n_runs``, each image has a class of its own run and macro F1 is the runs' mean.
    """

    def __init__(
        self,
        truth: IntArray,
        predicted: tuple[IntArray, IntArray],
        labels: Labels,
        codes: IntArray,
        n_runs: int = 1,
    ) -> None:
        rank = rank_classes(labels)
        self.n_classes, self._n_of_run = len(labels), len(labels) // n_runs
        triples = [rank[truth], rank[predicted[0]], rank[predicted[1]]]
        patterns, self.repeats = group_patterns(codes, triples)
        self.counts: FloatArray = np.array([self._count(cell) for cell in patterns])
        support = self.counts[:, : self.n_classes].T @ self.repeats
        self.present = np.flatnonzero(support)
        names = sorted(labels.names)
        self.classes = [names[int(at)] for at in self.present]

    def _count(self, cell: Sequence[Sequence[int]], weight: float = 1.0) -> FloatArray:
        row = np.zeros((5, self.n_classes))
        for true, *predicted in cell:
            row[0, true] += weight
            for model, index in enumerate(predicted):
                if index >= 0:
                    row[2 + 2 * model, index] += weight
                    row[1 + 2 * model, true] += weight * (index == true)
        return row.ravel()

    def count_groups(self) -> tuple[int, int]:
        """Return in how many groups this model is correct more often, and less often."""
        correct = self.counts.reshape(-1, 5, self.n_classes)[:, (1, 3)].sum(axis=2)
        gain = np.sign(correct[:, 0] - correct[:, 1])
        return int(self.repeats[gain > 0].sum()), int(self.repeats[gain < 0].sum())

    def measure(self, sums: FloatArray | None = None) -> FloatArray:
        """Return accuracy, macro F1 and F1 of each present class (2 + P, 2, …); ``sums`` (5·C, …) or all."""
        sums = self.counts.T @ self.repeats if sums is None else sums
        blocks = sums.reshape(5, self.n_classes, *sums.shape[1:])[:, self.present]
        support = blocks[0]
        rows = []
        for correct, predicted in ((blocks[1], blocks[2]), (blocks[3], blocks[4])):
            scores = 2.0 * correct / np.maximum(predicted + support, 1e-300)
            accuracy = correct.sum(axis=0) / support.sum(axis=0)
            rows.append(np.stack([accuracy, scores.mean(axis=0), *scores]))
        return np.stack(rows, axis=1)

    def resample(self, seed: int, n_draws: int) -> FloatArray:
        """Return sums (5·C, B) over groups with random weights.

        Two half groups are added in which one model is correct and the other is not, so that the interval
        keeps its coverage where no such group was observed.
        Source: Rubin 1981, doi 10.1214/aos/1176345338 (Bayesian bootstrap); half groups as in Agresti
        and Min 2005, doi 10.1002/sim.1781 (matched pairs).
        """
        present = self.present.tolist()
        pairs = [
            (own, else_)
            for own in present
            for else_ in range(self.n_classes)
            if own != else_ and own // self._n_of_run == else_ // self._n_of_run
        ]
        size = float(self.counts[:, : self.n_classes].sum(axis=1) @ self.repeats / self.repeats.sum())
        extra = [
            self._count([(own, *predicted)], size)
            for own, else_ in pairs
            for predicted in ((own, else_), (else_, own))
        ]
        shapes = np.concatenate([self.repeats, np.full(len(extra), 0.5 / len(pairs))])
        counts = np.vstack([self.counts, extra])
        rng = np.random.default_rng(seed)
        step = max(1, _VALUES_AT_ONCE // len(shapes))
        sums = [
            rng.standard_gamma(shapes, (min(step, n_draws - done), len(shapes))) @ counts
            for done in range(0, n_draws, step)
        ]
        return np.concatenate(sums).T

    def swap_p_value(self, seed: int) -> float:
        """Return the two-sided p value of the difference in macro F1: predictions swapped in random groups.

        Source: Fisher 1935, The Design of Experiments, chapter III; p never 0 as in Phipson and Smyth
        2010, doi 10.2202/1544-6115.1585.
        """
        blocks = self.counts.reshape(-1, 5, self.n_classes)
        change = (blocks[:, (0, 3, 4, 1, 2)] - blocks).reshape(len(blocks), -1)
        moving = np.flatnonzero(np.abs(change).any(axis=1))
        if not len(moving):
            return 1.0
        base = self.counts.T @ self.repeats
        measured = self.measure()[1]
        limit = abs(float(measured[0] - measured[1])) - 1e-12
        rng = np.random.default_rng(seed)
        repeats, step = self.repeats[moving], max(1, _VALUES_AT_ONCE // len(moving))
        n_beyond = 0
        for done in range(0, N_SWAPS, step):
            swapped = rng.binomial(repeats, 0.5, (min(step, N_SWAPS - done), len(moving)))
            macro = self.measure((base + swapped @ change[moving]).T)[1]
            n_beyond += int((np.abs(macro[0] - macro[1]) >= limit).sum())
        return (1 + n_beyond) / (1 + N_SWAPS)
