"""Robustness: do predictions stay the same under perturbations that do not change the crystal?

A model that relies on a shortcut, such as the file size of one class, is exposed here: once all images have
one size, its accuracy drops.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from georgia.config import Config, Seed, at_least
from georgia.errors import InputError, UnreadableImageError
from georgia.evaluate.compare import Difference, compare_predictions
from georgia.evaluate.perturbations import Perturbation, list_perturbations
from georgia.evaluate.score import check_class_names
from georgia.files import check_fields, read_json, reading, write_json
from georgia.images.decode import read_info
from georgia.labels import UNKNOWN
from georgia.metrics.classification import UNKNOWN_INDEX, class_indices
from georgia.metrics.intervals import IntArray
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.progress import QUIET, Progress
from georgia.records import Record
from georgia.text import count_noun

ROBUSTNESS_FILE = "robustness.json"
# Confidence level of all rows together: each interval is widened accordingly (Bonferroni).
LEVEL = 0.95
_N_DRAWS = 8_000
# Nine images in ten have at least the common size, so that few are padded.
_SIZE_QUANTILE = 0.1


@dataclass(frozen=True)
class RobustnessConfig(Config):
    """How many images to perturb: more reveal smaller drops and take longer (18 predictions per image)."""

    n_files: Annotated[int, at_least(1)] = 200
    seed: Seed = 0


@dataclass(frozen=True)
class RobustnessRow:
    """Metrics under one perturbation; differences are perturbed minus original, on the same files.

    ``is_significant``: the interval of the drop in accuracy or macro F1 does not contain 0.
    """

    name: str
    title: str
    accuracy: Difference
    f1: Difference
    n_unknown: int
    is_significant: bool

    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "change": self.name,
            "title": self.title,
            "accuracy": self.accuracy.to_json_dict(),
            "f1": self.f1.to_json_dict(),
            "n_unknown": self.n_unknown,
            "is_marked": self.is_significant,
        }

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> RobustnessRow:
        """Read the JSON form."""
        row = cls(
            name=values["change"],
            title=values["title"],
            accuracy=Difference.from_json_dict(values["accuracy"]),
            f1=Difference.from_json_dict(values["f1"]),
            n_unknown=values["n_unknown"],
            is_significant=values["is_marked"],
        )
        return check_fields(row)


@dataclass(frozen=True)
class Robustness:
    """All perturbations on ``n`` images in ``n_groups`` groups; the intervals hold for all rows together.

    ``accuracy`` and ``f1`` are those of the original images.
    """

    n: int
    n_groups: int
    accuracy: float
    f1: float
    rows: tuple[RobustnessRow, ...]
    level: float = LEVEL
    seconds: float = 0.0

    @property
    def significant(self) -> tuple[RobustnessRow, ...]:
        """The perturbations with a significant drop, the largest drop first."""
        found = [row for row in self.rows if row.is_significant]
        return tuple(sorted(found, key=lambda row: row.accuracy.difference))

    @property
    def has_rejected(self) -> bool:
        """Whether any image was rejected under any perturbation."""
        return any(row.n_unknown for row in self.rows)

    @property
    def undetected_drop(self) -> float:
        """The largest drop of accuracy that the intervals of the rows without a significant drop allow."""
        return max([0.0, *(-row.accuracy.interval[0] for row in self.rows if not row.is_significant)])

    @property
    def min_detectable_groups(self) -> int:
        """The minimum detectable drop, in groups that lose their correct prediction while none gains one.

        A drop is significant if its interval (paired Bayesian bootstrap with two half groups, one better and
        one worse, as in ``compare``) ends below 0. With k groups lost, the better half group outweighs
        them and the worse half with the probability that a Beta(1/2, k + 1/2) exceeds 1/2.
        """
        from scipy.special import betainc

        alpha = (1.0 - self.level) / max(1, len(self.rows)) / 2.0
        return next(k for k in itertools.count(1) if betainc(k + 0.5, 0.5, 0.5) < alpha)

    def describe(self) -> str:
        """Return the table in one or two sentences, or that the images are too few."""
        images, groups = count_noun(self.n, "image"), count_noun(self.n_groups, "group")
        base = f"{images} in {groups}, accuracy {self.accuracy:.4f} without a perturbation."
        if self.significant:
            worst = ", ".join(
                f"{row.title} ({100 * row.accuracy.difference:+.1f} points)" for row in self.significant[:3]
            )
            rest = f" and {len(self.significant) - 3} more" if len(self.significant) > 3 else ""
            return f"{base} The model is significantly worse when images are: {worst}{rest}."
        n, needed = min(self.n, self.n_groups), self.min_detectable_groups
        if round(self.accuracy * n) >= needed:
            return (
                f"{base} No perturbation lowers the metrics significantly. This sample cannot exclude drops "
                f"of up to {100 * self.undetected_drop:.1f} percentage points."
            )
        few = (
            f"{images} {'is' if self.n == 1 else 'are'} too few for a result"
            if n < needed
            else "There are too few correct predictions for a result"
        )
        return (
            f"{base} {few}: with {len(self.rows)} perturbations, a drop of accuracy is significant only if "
            f"{needed} groups or more lose their correct prediction."
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form, with ``in_words``."""
        rows = [row.to_json_dict() for row in self.rows]
        return {**vars(self), "rows": rows, "in_words": self.describe()}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> Robustness:
        """Read the JSON form."""
        rows = tuple(map(RobustnessRow.from_json_dict, values["rows"]))
        rest = {name: value for name, value in values.items() if name != "in_words"}
        found = check_fields(cls(**{**rest, "rows": rows}))
        if not (0 < found.level < 1 and 0 <= found.accuracy <= 1 and 0 <= found.n_groups <= found.n):
            raise ValueError(f"level {found.level}, accuracy {found.accuracy}, {found.n_groups} groups")
        return found

    def save(self, folder: str | Path) -> Path:
        """Write ``robustness.json`` and return its path."""
        folder = Path(folder)
        write_json(folder / ROBUSTNESS_FILE, self.to_json_dict())
        return folder / ROBUSTNESS_FILE

    @classmethod
    def load(cls, folder: str | Path) -> Robustness:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is not what `save` wrote.
        """
        folder = Path(folder)
        path = folder / ROBUSTNESS_FILE
        with reading(f"Cannot read {str(path)!r}", "a file that a robustness test wrote is needed"):
            return cls.from_json_dict(read_json(path))


def measure_robustness(
    bundle: Bundle,
    records: Sequence[Record],
    config: RobustnessConfig = RobustnessConfig(),
    predict: PredictConfig | None = None,
    progress: Progress = QUIET,
) -> Robustness:
    """Return the metrics of a sample of labelled images under each perturbation, and without one.

    Raises:
        InputError: the model cannot be opened, its class names are others, or no image can be read.
    """
    started = time.perf_counter()
    check_class_names({record.class_name for record in records}, bundle.labels)
    sample, sizes = _read_sizes(choose_sample(records, config.n_files, config.seed))
    if not sample:
        raise InputError(
            "Cannot test robustness",
            needs="one labelled image or more that can be read is needed",
            got=f"{len(records)} files",
        )
    perturbations = list_perturbations(find_common_size(sizes))
    progress.start("robustness", len(sample) * (1 + len(perturbations)))
    trial = _Trial(Predictor(bundle, predict or PredictConfig()), sample, progress)
    original, level = trial.predict(None), 1 - (1 - LEVEL) / len(perturbations)
    rows = tuple(trial.compare(item, original, level, config.seed) for item in perturbations)
    groups = {record.group or str(record.path) for record in sample}
    accuracy, f1 = rows[0].accuracy.other, rows[0].f1.other
    seconds = time.perf_counter() - started
    return Robustness(len(sample), len(groups), accuracy, f1, rows, LEVEL, seconds)


def choose_sample(records: Sequence[Record], n: int, seed: int = 0) -> tuple[Record, ...]:
    """Return at most ``n`` records, equally many of each class, one of each group before a second one.

    The choice depends on names and seed, not on the order of the records.
    """

    def key(record: Record) -> bytes:
        name = "/".join(record.path.parts[-2:])
        return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()

    by_class: dict[str, list[tuple[int, bytes, Record]]] = defaultdict(list)
    n_chosen: Counter[tuple[str, str]] = Counter()
    for record in sorted(records, key=key):
        group = (record.class_name, record.group or str(record.path))
        by_class[record.class_name].append((n_chosen[group], key(record), record))
        n_chosen[group] += 1
    queues = [sorted(queue, key=lambda item: item[:2]) for _, queue in sorted(by_class.items())]
    ordered = [(place, at, item[2]) for at, queue in enumerate(queues) for place, item in enumerate(queue)]
    ordered.sort(key=lambda item: item[:2])
    return tuple(record for _, _, record in ordered[:n])


def find_common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the height and width that nine in ten of ``sizes`` (height, width) have at least.

    >>> find_common_size([(100, 200)] * 9 + [(50, 300)])
    (100, 200)
    """
    heights, widths = np.quantile(np.array(sizes), _SIZE_QUANTILE, axis=0, method="higher")
    return int(heights), int(widths)


def _read_sizes(sample: Sequence[Record]) -> tuple[list[Record], list[tuple[int, int]]]:
    readable, sizes = [], []
    for record in sample:
        try:
            info = read_info(record.path)
        except UnreadableImageError:
            continue
        readable.append(record)
        sizes.append((info.height_px, info.width_px))
    return readable, sizes


class _Trial:
    """One model and one sample of images, predicted under any perturbation."""

    def __init__(self, predictor: Predictor, sample: Sequence[Record], progress: Progress) -> None:
        self._predictor, self._sample, self._progress = predictor, sample, progress
        self._labels = predictor.bundle.labels
        self._truth = self._labels.indices([record.class_name for record in sample])

    def predict(self, perturbation: Perturbation | None) -> IntArray:
        """Return class indices (N,), −1 = rejected or not read."""
        names = []
        change = perturbation.apply if perturbation else None
        for outcome in self._predictor.iterate([record.path for record in self._sample], change=change):
            names.append(outcome.label if isinstance(outcome, Prediction) else UNKNOWN)
            self._progress.advance()
        return class_indices(names, self._labels)

    def compare(
        self, perturbation: Perturbation, original: IntArray, level: float, seed: int
    ) -> RobustnessRow:
        """Return one row: predictions under a perturbation against those of the original images."""
        predicted, groups = self.predict(perturbation), [record.group for record in self._sample]
        pair = compare_predictions(
            self._truth, (predicted, original), self._labels, groups, seed=seed, level=level, n_draws=_N_DRAWS
        )
        is_significant = pair.accuracy.interval[1] < 0 or pair.f1.interval[1] < 0
        n_unknown = int((predicted == UNKNOWN_INDEX).sum())
        return RobustnessRow(
            perturbation.name, perturbation.title, pair.accuracy, pair.f1, n_unknown, is_significant
        )
