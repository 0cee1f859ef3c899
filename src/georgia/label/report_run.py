"""The report page and the model card of a model that was learned from labels, as a training run has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from georgia.evaluate.out_of_fold import OUT_OF_FOLD_FILE
from georgia.evaluate.score import Evaluation
from georgia.evaluate.training_hashes import TRAINED_FILE
from georgia.evaluate.unseen import HASHES_FILE as SOURCES_FILE
from georgia.label.cross_validation import CrossValidation
from georgia.label.learned import LearnedRun, LearnResult
from georgia.label.records import NEITHER, UNCLEAR, ChoiceReason, Label
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.report.card import CARD_FILE, save_card
from georgia.report.inputs import ReportInputs
from georgia.report.learning import CurvePlace, Learning, Namer
from georgia.report.page import REPORT_FILE, save_report
from georgia.split.make import MANIFEST_CSV

# What a learning leaves in its folder beside the weights and what every run leaves.
_FILES = (CARD_FILE, MANIFEST_CSV, SOURCES_FILE, OUT_OF_FOLD_FILE, TRAINED_FILE)


@dataclass(frozen=True, eq=False)
class LearnedFrom:
    """The labels given to a learning: the item of each image by its path, and why each image was chosen."""

    labels: Sequence[Label]
    names: Mapping[Path, str]
    reasons: Mapping[Path, ChoiceReason]


def report_learning(run: LearnedRun, result: LearnResult, cross: CrossValidation, given: LearnedFrom) -> None:
    """Write ``report.html`` and ``MODEL_CARD.md`` into the run's folder.

    Raises:
        UnwritableFileError: the folder cannot be written to.
    """
    evaluation = make_evaluation(run, result, cross)
    run = replace(run, evaluation=evaluation)
    inputs = replace(
        ReportInputs.of_run(run), split="labelled", learning=describe_learning(run, result, given)
    )
    save_card(inputs, run.folder / CARD_FILE)
    # The description is written when all else is there.
    files = [path for path in inputs.files if path != run.files.get("bundle")]
    files += [path for name in _FILES if (path := run.folder / name).is_file()]
    save_report(replace(inputs, files=tuple(files)), run.folder / REPORT_FILE)


def make_evaluation(run: LearnedRun, result: LearnResult, cross: CrossValidation) -> Evaluation:
    """Return the cross-validated predictions with their truth, whose metrics are those of ``result``."""
    labels, records = run.split.labels, run.split.records
    items = []
    for at, record in enumerate(records):
        by_class = {name: float(cross.probabilities[at, index]) for index, name in enumerate(labels.names)}
        name = labels.name(int(cross.predicted[at]))
        items.append(Prediction(record.path, name, by_class[name], by_class))
    truth = tuple(record.class_name for record in records)
    groups = tuple(record.group for record in records)
    return Evaluation(Predictions(labels, tuple(items), (), ""), truth, groups, result.metrics)


def describe_learning(run: LearnedRun, result: LearnResult, given: LearnedFrom) -> Learning:
    """Return whose labels they are, why these images were named, and the learning curve."""
    by_item = {label.path: label for label in given.labels}
    own = [(by_item[given.names[record.path]], record) for record in run.split.records]
    namers = []
    for who in sorted({label.who for label, _ in own}):
        of_one = [(label, record) for label, record in own if label.who == who]
        times = sorted(label.at for label, _ in of_one)
        counts = Counter(record.class_name for _, record in of_one)
        first, last = (time[:16].replace("T", " ") for time in (times[0], times[-1]))
        namers.append(Namer(who, first, last, counts))
    reasons = Counter(str(given.reasons[record.path]) for _, record in own)
    others = Counter(label.name for label in given.labels)
    curve = result.curve
    places = [CurvePlace(point.n, point.f1, point.f1_ci95) for point in curve.points]
    places += [CurvePlace(point.n, point.f1, point.f1_ci95, is_forecast=True) for point in curve.forecast]
    return Learning(
        even=result.even,
        n_even_without_class=result.n_even_without_class,
        n_even_missing=result.n_even_missing,
        namers=tuple(namers),
        reasons=dict(reasons.most_common()),
        n_neither=others[NEITHER],
        n_unclear=others[UNCLEAR],
        curve=tuple(places),
        curve_text=curve.describe(),
    )
