"""Two models on the same files: who is right where the other is not, and whether that is more than chance.

Both answers of one file belong together, and all files of one crystal too, so every figure here is
paired and over groups.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.evaluate.score import Evaluation
from georgia.files import write_text
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.classification import UNKNOWN_INDEX, check_positions
from georgia.metrics.intervals import FloatArray, IntArray, Interval, group_codes

COMPARISON_FILE = "comparison.json"
N_DRAWS = 4000
N_SWAPS = 9999
_AT_ONCE = 4_000_000
# A difference is told from chance at this level.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Difference:
    """One figure in [0, 1] of both models; ``difference`` is this minus other, ``p_value`` two-sided.

    A class's own F1 has no p value: the macro average is what is tested.
    """

    this: float
    other: float
    difference: float
    interval: Interval
    p_value: float | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form."""
        return {**asdict(self), "interval": list(self.interval)}

    @classmethod
    def from_json_dict(cls, values: dict[str, Any]) -> Difference:
        """Read the plain form."""
        low, high = values["interval"]
        return cls(**{**values, "interval": (float(low), float(high))})


@dataclass(frozen=True)
class Comparison:
    """Two models on the same ``n`` files: counts of files and groups, and the differences.

    ``n_groups_better`` groups hold more right answers of this model than of the other. ``level`` is the
    confidence of all intervals. ``f1`` is macro F1; ``f1_by_class`` has no p value of its own.
    """

    this: str
    other: str
    n: int
    n_groups: int
    n_both_right: int
    n_only_this_right: int
    n_only_other_right: int
    n_neither_right: int
    n_groups_better: int
    n_groups_worse: int
    accuracy: Difference
    f1: Difference
    f1_by_class: dict[str, Difference]
    level: float = 0.95

    def describe(self) -> str:
        """Return what the comparison says, in words."""
        accuracy = self.accuracy
        low, high = (f"{100 * value:+.2f}" for value in accuracy.interval)
        counts = (
            f"On {self.n:,} files in {self.n_groups:,} groups, {self.this} alone is right on "
            f"{self.n_only_this_right:,} and {self.other} alone on {self.n_only_other_right:,}. "
            f"Accuracy differs by {100 * accuracy.difference:+.2f} percentage points "
            f"({100 * self.level:g} % interval {low} to {high}), macro F1 by {self.f1.difference:+.4f}."
        )
        p_accuracy, p_f1 = accuracy.p_value or 0.0, self.f1.p_value or 0.0
        values = f"McNemar's p {_format_p(p_accuracy)}, F1's p {_format_p(p_f1)}"
        if p_accuracy >= SIGNIFICANCE:
            return f"{counts} No difference beyond chance is shown ({values})."
        better = self.this if self.n_groups_better > self.n_groups_worse else self.other
        return f"{counts} {better} is better, beyond chance ({values})."

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form, with ``in_words``."""
        nested = ("accuracy", "f1", "f1_by_class")
        plain = {name: value for name, value in vars(self).items() if name not in nested}
        return {
            **plain,
            "accuracy": self.accuracy.to_json_dict(),
            "f1": self.f1.to_json_dict(),
            "f1_by_class": {name: one.to_json_dict() for name, one in self.f1_by_class.items()},
            "in_words": self.describe(),
        }

    def save(self, folder: Path) -> Path:
        """Write ``comparison.json`` and return its path."""
        text = json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(folder / COMPARISON_FILE, text)
        return folder / COMPARISON_FILE

    @classmethod
    def load(cls, folder: Path) -> Comparison:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is not what `save` wrote.
        """
        path = folder / COMPARISON_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            values.pop("in_words")
            for name in ("accuracy", "f1"):
                values[name] = Difference.from_json_dict(values[name])
            by_class = values["f1_by_class"].items()
            values["f1_by_class"] = {name: Difference.from_json_dict(one) for name, one in by_class}
            return cls(**values)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Cannot read {str(path)!r}", needs="a file that a comparison wrote is needed", got=error
            ) from error


def check_same_classes(this: Labels, other: Labels) -> None:
    """Refuse to compare with a model of other classes.

    Raises:
        InputError: the two have different class names.
    """
    if set(this.names) != set(other.names):
        raise InputError(
            "Cannot compare the models",
            needs=f"both models must have the same classes ({', '.join(this.names)})",
            got=", ".join(other.names),
        )


def compare_evaluations(
    this: Evaluation, other: Evaluation, names: tuple[str, str] = ("this model", "the other"), seed: int = 0
) -> Comparison:
    """Compare two evaluations of the same files; files that one of them could not read stay out.

    Raises:
        InputError: class names differ, a file's truth does, or no file is in both.
    """
    check_same_classes(this.labels, other.labels)
    answers = {str(item.file.absolute()): at for at, item in enumerate(other.predictions.items)}
    pairs = [
        (at, answers[key])
        for at, item in enumerate(this.predictions.items)
        if (key := str(item.file.absolute())) in answers
    ]
    strays = sum(this.truth[here] != other.truth[there] for here, there in pairs)
    if not pairs or strays:
        raise InputError(
            "Cannot compare the models",
            needs="both must have been scored on the same files with the same truth",
            got=f"{len(pairs)} files in both, {strays} of them with another truth",
        )
    labels = this.labels
    position = {UNKNOWN: UNKNOWN_INDEX, **{name: index for index, name in enumerate(labels.names)}}
    named = [
        np.array([position[one.predictions.items[pair[side]].label] for pair in pairs], dtype=np.int64)
        for side, one in enumerate((this, other))
    ]
    truth = labels.indices([this.truth[here] for here, _ in pairs])
    groups = [this.groups[here] for here, _ in pairs]
    return compare_answers(truth, (named[0], named[1]), labels, groups, names, seed)


def compare_answers(
    truth: IntArray,
    answers: tuple[IntArray, IntArray],
    labels: Labels,
    groups: Sequence[str] | None = None,
    names: tuple[str, str] = ("this model", "the other"),
    seed: int = 0,
    level: float = 0.95,
    n_draws: int = N_DRAWS,
) -> Comparison:
    """Return how two models' answers (N,), −1 = refused, differ on files with known ``truth`` (N,).

    Intervals: paired Bayesian bootstrap over groups. p of accuracy: McNemar's exact test, over groups.
    p of F1: both models' answers change places in random groups (randomisation test). Raise
    ``n_draws`` with ``level``.

    >>> truth = np.array([0] * 10 + [1] * 10)
    >>> wrong = np.where(np.arange(20) < 6, 1 - truth, truth)
    >>> result = compare_answers(truth, (truth, wrong), Labels(("CEX", "PG")))
    >>> result.n_only_this_right, round(result.accuracy.difference, 2), round(result.accuracy.p_value, 3)
    (6, 0.3, 0.031)

    Raises:
        InputError: no file, lengths that differ, or positions that are no class.
    """
    for named in answers:
        check_positions(truth, named, len(labels), groups)
    table = _PairTable(truth, answers, labels, group_codes(groups, len(truth)))
    right = [truth == named for named in answers]
    counts = Counter(zip(right[0].tolist(), right[1].tolist(), strict=True))
    drawn = table.draw(seed, n_draws)
    tails = [(1 - level) / 2, (1 + level) / 2]
    figures = table.figures(table.counts.T @ table.repeats)
    draws = table.figures(drawn.T)

    def differ(row: int, p_value: float | None = None) -> Difference:
        this, other = (float(value) for value in figures[row])
        low, high = np.quantile(draws[row, 0] - draws[row, 1], tails)
        interval = (min(float(low), this - other), max(float(high), this - other))
        return Difference(this, other, this - other, interval, p_value)

    better, worse = table.count_groups()
    return Comparison(
        this=names[0],
        other=names[1],
        n=len(truth),
        n_groups=int(table.repeats.sum()),
        n_both_right=counts[True, True],
        n_only_this_right=counts[True, False],
        n_only_other_right=counts[False, True],
        n_neither_right=counts[False, False],
        n_groups_better=better,
        n_groups_worse=worse,
        accuracy=differ(0, mcnemar_p_value(better, worse)),
        f1=differ(1, table.swap_p_value(seed)),
        f1_by_class={name: differ(2 + row) for row, name in enumerate(table.shown)},
        level=level,
    )


def mcnemar_p_value(n_better: int, n_worse: int) -> float:
    """Return the exact two-sided p of so many trials better and so many worse, ties left out.

    Source: McNemar 1947, doi 10.1007/BF02295996, in its exact (binomial) form.

    >>> round(mcnemar_p_value(10, 2), 4), mcnemar_p_value(0, 0)
    (0.0386, 1.0)
    """
    from scipy.special import bdtr

    return min(1.0, 2.0 * float(bdtr(min(n_better, n_worse), n_better + n_worse, 0.5)))


class _PairTable:
    """The files as groups, equal groups counted: ``counts`` (U, 5·C), ``repeats`` (U,).

    The five blocks of columns are: support, right and named of this model, right and named of the other.
    """

    def __init__(
        self, truth: IntArray, answers: tuple[IntArray, IntArray], labels: Labels, codes: IntArray
    ) -> None:
        # Classes in the order of their names: the order of the net's outputs must not touch the draws.
        order = sorted(range(len(labels)), key=labels.name)
        rank = np.empty(len(order) + 1, np.int64)
        rank[order], rank[-1] = np.arange(len(order)), UNKNOWN_INDEX
        self.n_classes = len(labels)
        triples = np.stack([rank[truth], rank[answers[0]], rank[answers[1]]], axis=1).tolist()
        cells: dict[int, list[tuple[int, ...]]] = {}
        for code, triple in zip(codes.tolist(), triples, strict=True):
            cells.setdefault(code, []).append(tuple(triple))
        patterns = sorted(Counter(tuple(sorted(cell)) for cell in cells.values()).items())
        self.repeats: FloatArray = np.array([count for _, count in patterns], dtype=np.float64)
        self.counts: FloatArray = np.array([self._count(cell) for cell, _ in patterns])
        support = self.counts[:, : self.n_classes].T @ self.repeats
        self.present = np.flatnonzero(support)
        own = {int(rank[index]): labels.name(index) for index in range(len(labels))}
        self.shown = [own[int(at)] for at in self.present]

    def _count(self, cell: Sequence[Sequence[int]], weight: float = 1.0) -> FloatArray:
        row = np.zeros((5, self.n_classes))
        for true, *named in cell:
            row[0, true] += weight
            for model, answer in enumerate(named):
                if answer >= 0:
                    row[2 + 2 * model, answer] += weight
                    row[1 + 2 * model, true] += weight * (answer == true)
        return row.ravel()

    def count_groups(self) -> tuple[int, int]:
        """Return in how many groups this model is right more often, and less often."""
        right = self.counts.reshape(-1, 5, self.n_classes)[:, (1, 3)].sum(axis=2)
        gain = np.sign(right[:, 0] - right[:, 1])
        return int(self.repeats[gain > 0].sum()), int(self.repeats[gain < 0].sum())

    def figures(self, sums: FloatArray) -> FloatArray:
        """Return accuracy, macro F1 and each present class's F1 (2 + P, 2, …) of sums (5·C, …)."""
        blocks = sums.reshape(5, self.n_classes, *sums.shape[1:])[:, self.present]
        support = blocks[0]
        rows = []
        for right, named in ((blocks[1], blocks[2]), (blocks[3], blocks[4])):
            scores = 2.0 * right / np.maximum(named + support, 1e-300)
            accuracy = right.sum(axis=0) / support.sum(axis=0)
            rows.append(np.stack([accuracy, scores.mean(axis=0), *scores]))
        return np.stack(rows, axis=1)

    def draw(self, seed: int, n_draws: int) -> FloatArray:
        """Return sums (B, 5·C) over groups that are weighted at random.

        Two half groups are added in which one model is right and the other is not, so that the interval
        stays honest where no such group was seen.
        Source: Rubin 1981, doi 10.1214/aos/1176345338 (Bayesian bootstrap); half groups as in Agresti
        and Min 2005, doi 10.1002/sim.1781 (matched pairs).
        """
        present = self.present.tolist()
        pairs = [(own, else_) for own in present for else_ in range(self.n_classes) if own != else_]
        size = float(self.counts[:, : self.n_classes].sum(axis=1) @ self.repeats / self.repeats.sum())
        extra = [
            self._count([(own, *answers)], size)
            for own, else_ in pairs
            for answers in ((own, else_), (else_, own))
        ]
        shapes = np.concatenate([self.repeats, np.full(len(extra), 0.5 / len(pairs))])
        counts = np.vstack([self.counts, extra])
        rng = np.random.default_rng(seed)
        step = max(1, _AT_ONCE // len(shapes))
        return np.concatenate(
            [
                rng.standard_gamma(shapes, (min(step, n_draws - done), len(shapes))) @ counts
                for done in range(0, n_draws, step)
            ]
        )

    def swap_p_value(self, seed: int) -> float:
        """Return the two-sided p of the difference in macro F1, answers swapped in random groups.

        Source: Fisher 1935, The Design of Experiments, chapter III; p never 0 as in Phipson and Smyth
        2010, doi 10.2202/1544-6115.1585.
        """
        blocks = self.counts.reshape(-1, 5, self.n_classes)
        change = (blocks[:, (0, 3, 4, 1, 2)] - blocks).reshape(len(blocks), -1)
        moving = np.flatnonzero(np.abs(change).any(axis=1))
        if not len(moving):
            return 1.0
        base = self.counts.T @ self.repeats
        seen = self.figures(base)[1]
        limit = abs(float(seen[0] - seen[1])) - 1e-12
        rng = np.random.default_rng(seed)
        repeats, step = self.repeats[moving].astype(np.int64), max(1, _AT_ONCE // len(moving))
        n_beyond = 0
        for done in range(0, N_SWAPS, step):
            swapped = rng.binomial(repeats, 0.5, (min(step, N_SWAPS - done), len(moving)))
            macro = self.figures((base + swapped @ change[moving]).T)[1]
            n_beyond += int((np.abs(macro[0] - macro[1]) >= limit).sum())
        return (1 + n_beyond) / (1 + N_SWAPS)


def _format_p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
