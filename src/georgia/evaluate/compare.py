"""Comparison of two models on the same files: which is correct where the other is not, and is it significant.

The predictions for one file are a pair, and files of one crystal belong to one group, so every value is
paired and over groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.evaluate.score import Evaluation
from georgia.files import check_fields, read_json, reading, write_json
from georgia.labels import Labels
from georgia.metrics.classification import check_class_indices, class_indices
from georgia.metrics.intervals import IntArray, Interval, group_codes
from georgia.metrics.paired import N_DRAWS, SIGNIFICANCE, PairTable, mcnemar_p_value

COMPARISON_FILE = "comparison.json"
# JSON keys of version 0.1, where the field has another name.
_JSON_KEYS = {
    "n_both_correct": "n_both_right",
    "n_only_this_correct": "n_only_this_right",
    "n_only_other_correct": "n_only_other_right",
    "n_neither_correct": "n_neither_right",
}


@dataclass(frozen=True)
class Difference:
    """One metric in [0, 1] of both models: ``difference`` is this minus other, ``p_value`` two-sided.

    The F1 of one class has no p value: the macro average is tested.
    """

    this: float
    other: float
    difference: float
    interval: Interval
    p_value: float | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "interval": list(self.interval)}

    @classmethod
    def from_json_dict(cls, values: dict[str, Any]) -> Difference:
        """Read the JSON form."""
        low, high = values["interval"]
        return check_fields(cls(**{**values, "interval": (float(low), float(high))}))


@dataclass(frozen=True)
class Comparison:
    """Two models on the same ``n`` files: counts of files and groups, and the differences.

    In ``n_groups_better`` groups this model has more correct predictions than the other. ``level`` is the
    confidence of all intervals. ``f1`` is macro F1.
    """

    this: str
    other: str
    n: int
    n_groups: int
    n_both_correct: int
    n_only_this_correct: int
    n_only_other_correct: int
    n_neither_correct: int
    n_groups_better: int
    n_groups_worse: int
    accuracy: Difference
    f1: Difference
    f1_by_class: dict[str, Difference]
    level: float = 0.95

    def describe(self) -> str:
        """Return the comparison as sentences."""
        accuracy = self.accuracy
        low, high = (f"{100 * value:+.2f}" for value in accuracy.interval)
        counts = (
            f"On {self.n:,} files in {self.n_groups:,} groups, {self.this} alone is correct on "
            f"{self.n_only_this_correct:,} and {self.other} alone on {self.n_only_other_correct:,}. "
            f"Accuracy differs by {100 * accuracy.difference:+.2f} percentage points "
            f"({100 * self.level:g} % confidence interval {low} to {high}), "
            f"macro F1 by {self.f1.difference:+.4f}."
        )
        p_accuracy, p_f1 = accuracy.p_value or 0.0, self.f1.p_value or 0.0
        values = f"McNemar's p {_format_p(p_accuracy)}, F1's p {_format_p(p_f1)}"
        if p_accuracy >= SIGNIFICANCE:
            return f"{counts} No difference beyond chance is shown ({values})."
        better = self.this if self.n_groups_better > self.n_groups_worse else self.other
        return f"{counts} {better} is better, beyond chance ({values})."

    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form, with ``in_words``."""
        values = {_JSON_KEYS.get(name, name): value for name, value in vars(self).items()}
        return {
            **values,
            "accuracy": self.accuracy.to_json_dict(),
            "f1": self.f1.to_json_dict(),
            "f1_by_class": {name: value.to_json_dict() for name, value in self.f1_by_class.items()},
            "in_words": self.describe(),
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``comparison.json`` and return its path."""
        folder = Path(folder)
        write_json(folder / COMPARISON_FILE, self.to_json_dict())
        return folder / COMPARISON_FILE

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is not what `save` wrote.
        """
        folder = Path(folder)
        path = folder / COMPARISON_FILE
        with reading(f"Cannot read {str(path)!r}", "a file that a comparison wrote is needed"):
            values = read_json(path)
            values.pop("in_words")
            values |= {name: values.pop(key) for name, key in _JSON_KEYS.items()}
            for name in ("accuracy", "f1"):
                values[name] = Difference.from_json_dict(values[name])
            by_class = values["f1_by_class"].items()
            values["f1_by_class"] = {name: Difference.from_json_dict(plain) for name, plain in by_class}
            return check_fields(cls(**values))


def check_same_classes(this: Labels, other: Labels) -> None:
    """Reject the comparison with a model of other classes.

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
    """Compare two evaluations of the same files; a file that one of them could not read is left out.

    Raises:
        InputError: class names differ, the truth of a file differs, or no file is in both.
    """
    check_same_classes(this.labels, other.labels)
    pairs = match_files(this, other)
    n_differing = sum(this.truth[here] != other.truth[there] for here, there in pairs)
    if not pairs or n_differing:
        raise InputError(
            "Cannot compare the models",
            needs="both must have been scored on the same files with the same truth",
            got=f"{len(pairs)} files in both, {n_differing} of them with another truth",
        )
    labels = this.labels
    first = class_indices([this.predictions.items[here].label for here, _ in pairs], labels)
    second = class_indices([other.predictions.items[there].label for _, there in pairs], labels)
    truth = labels.indices([this.truth[here] for here, _ in pairs])
    groups = [this.groups[here] for here, _ in pairs]
    return compare_predictions(truth, (first, second), labels, groups, names, seed)


def match_files(this: Evaluation, other: Evaluation) -> list[tuple[int, int]]:
    """Return the positions of each file that both evaluations have a prediction for."""
    places = {str(item.file.absolute()): at for at, item in enumerate(other.predictions.items)}
    keys = [str(item.file.absolute()) for item in this.predictions.items]
    return [(at, places[key]) for at, key in enumerate(keys) if key in places]


def compare_predictions(
    truth: IntArray,
    predicted: tuple[IntArray, IntArray],
    labels: Labels,
    groups: Sequence[str] | None = None,
    names: tuple[str, str] = ("this model", "the other"),
    seed: int = 0,
    level: float = 0.95,
    n_draws: int = N_DRAWS,
    n_runs: int = 1,
) -> Comparison:
    """Return how the class indices (N,) of two models, −1 = rejected, differ on ``truth`` (N,).

    Intervals: paired Bayesian bootstrap over groups. p value of accuracy: exact McNemar test, over groups.
    p value of F1: predictions swapped in random groups (randomisation test). A higher ``level`` needs more
    ``n_draws``. ``n_runs`` as in ``PairTable``.

    >>> truth = np.array([0] * 10 + [1] * 10)
    >>> wrong = np.where(np.arange(20) < 6, 1 - truth, truth)
    >>> result = compare_predictions(truth, (truth, wrong), Labels(("CEX", "PG")))
    >>> result.n_only_this_correct, round(result.accuracy.difference, 2), round(result.accuracy.p_value, 3)
    (6, 0.3, 0.031)

    Raises:
        InputError: no file, lengths that differ, or indices that are no class.
    """
    for indices in predicted:
        check_class_indices(truth, indices, len(labels), groups)
    table = PairTable(truth, predicted, labels, group_codes(groups, len(truth)), n_runs)
    correct = [(truth == indices).tolist() for indices in predicted]
    counts = Counter(zip(*correct, strict=True))
    quantiles = [(1 - level) / 2, (1 + level) / 2]
    values, resampled = table.measure(), table.measure(table.resample(seed, n_draws))

    def differ(row: int, p_value: float | None = None) -> Difference:
        this, other = (float(value) for value in values[row])
        low, high = np.quantile(resampled[row, 0] - resampled[row, 1], quantiles)
        interval = (min(float(low), this - other), max(float(high), this - other))
        return Difference(this, other, this - other, interval, p_value)

    better, worse = table.count_groups()
    return Comparison(
        this=names[0],
        other=names[1],
        n=len(truth),
        n_groups=int(table.repeats.sum()),
        n_both_correct=counts[True, True],
        n_only_this_correct=counts[True, False],
        n_only_other_correct=counts[False, True],
        n_neither_correct=counts[False, False],
        n_groups_better=better,
        n_groups_worse=worse,
        accuracy=differ(0, mcnemar_p_value(better, worse)),
        f1=differ(1, table.swap_p_value(seed)),
        f1_by_class={name: differ(2 + row) for row, name in enumerate(table.classes)},
        level=level,
    )


def _format_p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
