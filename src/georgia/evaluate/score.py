"""Evaluation of the exported file on labelled images: metrics with confidence intervals, and each error."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from georgia.config import Config, at_least
from georgia.errors import InputError
from georgia.files import read_json, read_table, reading, write_json, write_text
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.classification import Metrics, class_indices, compute_metrics
from georgia.metrics.intervals import FloatArray, IntArray, Interval
from georgia.metrics.reliability import Reliability, calibration_interval, measure_reliability
from georgia.model.bundle import Bundle
from georgia.predict.prediction import flatten_outcome, read_prediction
from georgia.predict.predictions import Predictions
from georgia.predict.predictor import PredictConfig, predict_files
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record, Result
from georgia.text import count_noun, format_csv, read_rows

EVALUATION_FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions_test.csv"
_Names = tuple[str, ...]


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """How to predict, and how many images a robustness test perturbs."""

    predict: PredictConfig = field(default_factory=PredictConfig)
    robustness_files: Annotated[int, at_least(1)] = 200


@dataclass(frozen=True)
class Misclassified:
    """One image with a wrong label, and the probability of that label."""

    file: Path
    truth: str
    predicted: str
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Result):
    """Predictions with the ground truth: ``truth`` and ``groups`` are in the order of the predictions."""

    predictions: Predictions
    truth: tuple[str, ...]
    groups: tuple[str, ...]
    metrics: Metrics
    seed: int = 0

    @property
    def labels(self) -> Labels:
        """The class names of the model."""
        return self.predictions.labels

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Files that could not be read; no metric counts them."""
        return self.predictions.failed

    @property
    def n_unknown(self) -> int:
        """The number of rejected images."""
        return self.metrics.n_unknown

    def summary(self) -> str:
        """Return accuracy and macro F1 with its 95 % confidence interval."""
        low, high = self.metrics.macro.f1_ci95
        return (
            f"{count_noun(self.metrics.n, 'image')}, accuracy {self.metrics.accuracy:.4f}, macro F1 "
            f"{self.metrics.macro.f1:.4f} ({low:.4f} to {high:.4f}), {self.n_unknown:,} unknown"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the metrics of each class."""
        by_class = self.metrics.per_class.items()
        return [{"class": name, **values.to_json_dict()} for name, values in by_class]

    @cached_property
    def misclassified(self) -> tuple[Misclassified, ...]:
        """Images with a wrong label, the most confident first."""
        wrong = [
            Misclassified(item.file, true, item.label, item.probability)
            for item, true in zip(self.predictions.items, self.truth, strict=True)
            if item.label not in (true, UNKNOWN)
        ]
        return tuple(sorted(wrong, key=lambda item: (-item.probability, str(item.file))))

    @cached_property
    def rejected(self) -> tuple[tuple[Path, str], ...]:
        """Rejected images with their true class, in path order."""
        pairs = zip(self.predictions.items, self.truth, strict=True)
        return tuple(sorted((item.file, true) for item, true in pairs if item.label == UNKNOWN))

    @cached_property
    def _accepted(self) -> tuple[FloatArray, IntArray, list[str]] | None:
        """Probabilities (N, C), true class indices (N,) and groups of accepted images; None without any."""
        kept = [at for at, item in enumerate(self.predictions.items) if item.label != UNKNOWN]
        if not kept:
            return None
        truth = self.labels.indices([self.truth[at] for at in kept])
        return self.predictions.probability_array()[kept], truth, [self.groups[at] for at in kept]

    @cached_property
    def reliability(self) -> Reliability | None:
        """The fraction of correct predictions at each probability; None if every image was rejected."""
        return measure_reliability(*self._accepted[:2]) if self._accepted else None

    @property
    def ece(self) -> float | None:
        """Expected calibration error in [0, 1] of the accepted images; None if there are none."""
        return self.reliability.error if self.reliability else None

    @cached_property
    def ece_ci95(self) -> Interval | None:
        """The 95 % confidence interval of the expected calibration error, over groups; None as above."""
        return calibration_interval(*self._accepted, seed=self.seed) if self._accepted else None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia evaluate --json`` prints."""
        return {
            **self.metrics.to_json_dict(),
            "ece": self.ece,
            "ece_ci95": list(self.ece_ci95) if self.ece_ci95 else None,
            **self.predictions.computation.to_json_dict(),
            "mistakes": [{**vars(item), "file": str(item.file)} for item in self.misclassified],
            "refused_files": [str(file) for file, _ in self.rejected],
            "failed": [failure.to_json_dict() for failure in self.failed],
        }

    def save(self, folder: str | Path, predictions_name: str = PREDICTIONS_FILE) -> None:
        """Write ``evaluation.json`` and a CSV with truth, prediction and probabilities of each file.

        Raises:
            OSError: the folder cannot be written to.
        """
        folder = Path(folder)
        document = {**self.to_json_dict(), "seed": self.seed, "predictions": predictions_name}
        write_json(folder / EVALUATION_FILE, document)
        _write_predictions(self, folder / predictions_name)

    @classmethod
    def load(cls, folder: str | Path) -> Evaluation:
        """Read what `save` wrote; the metrics are computed from the predictions.

        Raises:
            InputError: a file is missing or is not what `save` wrote.
        """
        folder = Path(folder)
        needs = f"{EVALUATION_FILE} and the CSV that it names are needed, as they were written"
        with reading(f"Cannot read the evaluation in {str(folder)!r}", needs):
            document = read_json(folder / EVALUATION_FILE)
            labels = Labels(tuple(document["classes"]))
            table = read_table(folder / document["predictions"])
            rows = read_rows(table)
            items = tuple(read_prediction(row, labels) for row in rows)
            failed = tuple(map(Failure.from_json_dict, document["failed"]))
            truth, groups = (tuple(row[column] for row in rows) for column in ("truth", "group"))
            # Version 0.1 wrote neither precision nor processor.
            precision, processor = (str(document.get(key, "")) for key in ("precision", "processor"))
            engine = document["engine"]
            predictions = Predictions(labels, items, failed, engine, 0.0, precision, processor)
            return _evaluate(predictions, truth, groups, int(document["seed"]))


def evaluate_records(
    bundle: Bundle,
    records: Sequence[Record],
    labels: Labels | None = None,
    progress: Progress = QUIET,
    config: PredictConfig | None = None,
    seed: int = 0,
) -> Evaluation:
    """Predict labelled images with the exported file and score the predictions.

    Give the class names of the data as ``labels`` to have all of them checked, also those without an image.

    Raises:
        InputError: no image, or class names that the model does not have; raised before any work.
    """
    check_class_names(_data_classes(records, labels), bundle.labels)
    if not records:
        raise InputError("Cannot evaluate", needs="one labelled image or more is needed", got="none")
    paths = [record.path for record in records]
    predictions = predict_files(bundle, paths, config or PredictConfig(), progress)
    return score_predictions(predictions, records, seed=seed)


def score_predictions(
    predictions: Predictions, records: Sequence[Record], labels: Labels | None = None, seed: int = 0
) -> Evaluation:
    """Return the evaluation of predictions against the records of the same files, in any order.

    Files that could not be read are in ``predictions.failed``; no metric counts them.

    Raises:
        InputError: class names that the model does not have, files on one side only, a file that is
            listed twice, or no prediction at all.
    """
    check_class_names(_data_classes(records, labels), predictions.labels)
    by_path = {_key(record.path): record for record in records}
    predicted = [_key(item.file) for item in predictions.items]
    both = {*predicted, *(_key(failure.path) for failure in predictions.failed)}
    unmatched = sorted(both.symmetric_difference(by_path))
    problems = []
    if len(by_path) != len(records) or len(set(predicted)) != len(predicted):
        problems.append("each file may be listed once")
    if unmatched:
        problems.append(
            f"records and predictions must be of the same files, unlike {unmatched[0]!r} "
            f"({len(unmatched)} in all)"
        )
    if not predicted:
        problems.append("one readable image or more is needed")
    if problems:
        n_failed = len(predictions.failed)
        raise InputError(
            "Cannot score the predictions",
            needs="; ".join(problems),
            got=f"{len(records)} records, {len(predicted)} predictions, {n_failed} unreadable",
        )
    matched = [by_path[key] for key in predicted]
    truth, groups = tuple(record.class_name for record in matched), tuple(record.group for record in matched)
    return _evaluate(predictions, truth, groups, seed)


def check_class_names(names: Collection[str], labels: Labels) -> None:
    """Reject data whose class names the model does not have.

    Raises:
        InputError: names them all, with the nearest known names and how to map them.
    """
    missing = sorted(set(names) - set(labels.names))
    if not missing:
        return
    guesses = {name: _guess(name, labels) for name in missing}
    near = [guess for guess in dict.fromkeys(guesses.values()) if guess]
    hint = f"Did you mean {' and '.join(map(repr, near))}? " if near else ""
    example = ",".join(f"{name}={guess or 'CLASS'}" for name, guess in guesses.items())
    raise InputError(
        "Cannot evaluate",
        needs=f"the data's class names must be the model's ({', '.join(labels.names)})",
        got=", ".join(map(repr, missing)),
        hint=f"{hint}Map the data's names: --class-names {example}.",
    )


def _data_classes(records: Sequence[Record], labels: Labels | None) -> set[str]:
    return {record.class_name for record in records}.union(labels.names if labels else ())


def _guess(name: str, labels: Labels) -> str:
    folded = {known.casefold(): known for known in labels.names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else ""


def _key(path: Path) -> str:
    return str(path.absolute())


def _evaluate(predictions: Predictions, truth: _Names, groups: _Names, seed: int) -> Evaluation:
    labels = predictions.labels
    predicted = class_indices([item.label for item in predictions.items], labels)
    metrics = compute_metrics(labels.indices(truth), predicted, labels, groups, seed)
    return Evaluation(predictions, truth, groups, metrics, seed)


def _write_predictions(evaluation: Evaluation, path: Path) -> None:
    by_class = [f"p_{name}" for name in evaluation.labels.names]
    columns = ["file", "truth", "label", "probability", *by_class, "unknown_score", "set", "group"]
    rows: list[list[object]] = [[*columns]]
    images = zip(evaluation.predictions.items, evaluation.truth, evaluation.groups, strict=True)
    for item, true, group in images:
        values = {**flatten_outcome(item, evaluation.labels), "truth": true, "group": group}
        rows.append([values.get(column, "") for column in columns])
    write_text(path, format_csv(rows))
