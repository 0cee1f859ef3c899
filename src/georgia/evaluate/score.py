"""Score the exported file on labelled images: figures with intervals, and every mistake by name."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.files import atomic_path, write_json
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.classification import (
    UNKNOWN_INDEX,
    Metrics,
    Reliability,
    calibration_interval,
    compute_metrics,
    measure_reliability,
)
from georgia.metrics.intervals import Interval
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.predict.predictor import PredictConfig, predict_files
from georgia.progress import QUIET, Progress
from georgia.records import Failure, Record

EVALUATION_FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions_test.csv"
_Names = tuple[str, ...]


@dataclass(frozen=True)
class EvaluateConfig(PredictConfig):
    """How to run, and how many images a robustness test changes."""

    robustness_files: int = 200


@dataclass(frozen=True)
class Misclassified:
    """One file that got a wrong class name, with the probability of that wrong name."""

    file: Path
    truth: str
    predicted: str
    probability: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Answers with the truth beside them: ``truth`` and ``groups`` stand in the order of the answers."""

    predictions: Predictions
    truth: tuple[str, ...]
    groups: tuple[str, ...]
    metrics: Metrics
    seed: int = 0

    @property
    def labels(self) -> Labels:
        """The model's class names."""
        return self.predictions.labels

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Files that could not be read; they are in no figure."""
        return self.predictions.failed

    @property
    def n_unknown(self) -> int:
        """The number of files that the model refused to name."""
        return self.metrics.n_unknown

    @cached_property
    def mistakes(self) -> tuple[Misclassified, ...]:
        """Files with a wrong class name, the surest first."""
        wrong = [
            Misclassified(item.file, true, item.label, item.probability)
            for item, true in zip(self.predictions.items, self.truth, strict=True)
            if item.label not in (true, UNKNOWN)
        ]
        return tuple(sorted(wrong, key=lambda mistake: (-mistake.probability, str(mistake.file))))

    @cached_property
    def refused(self) -> tuple[tuple[Path, str], ...]:
        """Files that the model refused to name, with their true class, in path order."""
        pairs = zip(self.predictions.items, self.truth, strict=True)
        return tuple(sorted((item.file, true) for item, true in pairs if item.label == UNKNOWN))

    @cached_property
    def reliability(self) -> Reliability | None:
        """How right the answers are at each probability; None if every file was refused."""
        answered = np.array([item.label != UNKNOWN for item in self.predictions.items])
        if not answered.any():
            return None
        truth = self.labels.indices(self.truth)
        return measure_reliability(self.predictions.probability_array()[answered], truth[answered])

    @property
    def ece(self) -> float | None:
        """Expected calibration error in [0, 1] of the answered files; None if there are none."""
        return self.reliability.error if self.reliability else None

    @cached_property
    def ece_ci95(self) -> Interval | None:
        """A 95 % interval of the expected calibration error, over groups; None as above."""
        answered = [at for at, item in enumerate(self.predictions.items) if item.label != UNKNOWN]
        if not answered:
            return None
        truth = self.labels.indices([self.truth[at] for at in answered])
        probabilities = self.predictions.probability_array()[answered]
        groups = [self.groups[at] for at in answered]
        return calibration_interval(probabilities, truth, groups, seed=self.seed)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia evaluate --json`` prints."""
        return {
            **self.metrics.to_json_dict(),
            "ece": self.ece,
            "ece_ci95": list(self.ece_ci95) if self.ece_ci95 else None,
            "engine": self.predictions.engine,
            "mistakes": [{**vars(mistake), "file": str(mistake.file)} for mistake in self.mistakes],
            "refused_files": [str(file) for file, _ in self.refused],
            "failed": [failure.to_json_dict() for failure in self.failed],
        }

    def save(self, folder: Path, predictions_name: str = PREDICTIONS_FILE) -> None:
        """Write ``evaluation.json`` and a CSV with each file's truth, answer and probabilities.

        Raises:
            OSError: the folder cannot be written to.
        """
        document = {**self.to_json_dict(), "seed": self.seed, "predictions": predictions_name}
        write_json(folder / EVALUATION_FILE, document)
        _write_answers(self, folder / predictions_name)

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Read what `save` wrote; the figures are computed anew from the answers.

        Raises:
            InputError: a file is missing or is not what `save` wrote.
        """
        path = folder / EVALUATION_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            labels = Labels(tuple(document["classes"]))
            items, truth, groups = _read_answers(folder / document["predictions"], labels)
            failed = tuple(Failure.from_json_dict(one) for one in document["failed"])
            predictions = Predictions(labels, items, failed, document["engine"])
            return _evaluation(predictions, truth, groups, int(document["seed"]))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Cannot read the evaluation in {str(folder)!r}",
                needs=f"{EVALUATION_FILE} and the CSV that it names are needed, as they were written",
                got=error,
            ) from error


def evaluate_records(
    bundle: Bundle,
    records: Sequence[Record],
    labels: Labels | None = None,
    progress: Progress = QUIET,
    config: PredictConfig | None = None,
    seed: int = 0,
) -> Evaluation:
    """Run the exported file on labelled images and score it; ``labels`` are the data's class names.

    Give ``labels`` to have every class name of the data checked, those without an image included.

    Raises:
        InputError: no image, or class names that the model does not have; said before any work.
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
    """Return the evaluation of answers against the records of the same files, in any order.

    Files that could not be read are in ``predictions.failed`` and stay out of every figure.

    Raises:
        InputError: class names the model does not have, files on one side only, files that stand
            twice, or no answer at all.
    """
    check_class_names(_data_classes(records, labels), predictions.labels)
    by_path = {_key(record.path): record for record in records}
    answered = [_key(item.file) for item in predictions.items]
    seen = {*answered, *(_key(failure.path) for failure in predictions.failed)}
    lost = sorted(seen.symmetric_difference(by_path))
    problems = []
    if len(by_path) != len(records) or len(set(answered)) != len(answered):
        problems.append("each file may stand once")
    if lost:
        problems.append(
            f"records and answers must be of the same files, unlike {lost[0]!r} ({len(lost)} in all)"
        )
    if not answered:
        problems.append("one readable image or more is needed")
    if problems:
        raise InputError(
            "Cannot score the answers",
            needs="; ".join(problems),
            got=f"{len(records)} records, {len(answered)} answers, {len(predictions.failed)} unreadable",
        )
    matched = [by_path[key] for key in answered]
    truth, groups = tuple(one.class_name for one in matched), tuple(one.group for one in matched)
    return _evaluation(predictions, truth, groups, seed)


def check_class_names(names: Collection[str], labels: Labels) -> None:
    """Refuse data whose class names the model does not have.

    Raises:
        InputError: names them all, with the nearest known ones and how to map them.
    """
    strangers = sorted(set(names) - set(labels.names))
    if not strangers:
        return
    guesses = {name: _guess(name, labels) for name in strangers}
    near = [guess for guess in dict.fromkeys(guesses.values()) if guess]
    hint = f"Did you mean {' and '.join(map(repr, near))}? " if near else ""
    example = ",".join(f"{name}={guess or 'CLASS'}" for name, guess in guesses.items())
    raise InputError(
        "Cannot evaluate",
        needs=f"the data's class names must be the model's ({', '.join(labels.names)})",
        got=", ".join(map(repr, strangers)),
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


def _evaluation(predictions: Predictions, truth: _Names, groups: _Names, seed: int) -> Evaluation:
    labels = predictions.labels
    position = {UNKNOWN: UNKNOWN_INDEX, **{name: index for index, name in enumerate(labels.names)}}
    named = np.array([position[item.label] for item in predictions.items], dtype=np.int64)
    metrics = compute_metrics(labels.indices(truth), named, labels, groups, seed)
    return Evaluation(predictions, truth, groups, metrics, seed)


def _write_answers(evaluation: Evaluation, path: Path) -> None:
    names = evaluation.labels.names
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        by_class = [f"p_{name}" for name in names]
        writer.writerow(["file", "truth", "label", "probability", *by_class, "unknown_score", "set", "group"])
        answers = zip(evaluation.predictions.items, evaluation.truth, evaluation.groups, strict=True)
        for item, true, group in answers:
            score = "" if item.unknown_score is None else repr(item.unknown_score)
            numbers = [repr(item.probability), *(repr(item.probabilities[name]) for name in names), score]
            writer.writerow([item.file, true, item.label, *numbers, "|".join(item.set), group])


def _read_answers(path: Path, labels: Labels) -> tuple[tuple[Prediction, ...], _Names, _Names]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    items = tuple(_read_answer(row, labels) for row in rows)
    return items, tuple(row["truth"] for row in rows), tuple(row["group"] for row in rows)


def _read_answer(row: Mapping[str, str], labels: Labels) -> Prediction:
    return Prediction(
        file=Path(row["file"]),
        label=row["label"],
        probability=float(row["probability"]),
        probabilities={name: float(row[f"p_{name}"]) for name in labels.names},
        unknown_score=float(row["unknown_score"]) if row["unknown_score"] else None,
        set=tuple(row["set"].split("|")) if row["set"] else (),
    )
