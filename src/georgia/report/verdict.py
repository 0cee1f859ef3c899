"""The first lines of a report: the state of the data, how good the model is, and what was not checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from georgia.evaluate.assessment import Acceptance, Assessment, Level, Orientation, assess, describe_errors
from georgia.evaluate.coverage import measure_stated
from georgia.evaluate.robustness import Robustness
from georgia.metrics.classification import AverageMetrics, ClassMetrics, Metrics
from georgia.report.inputs import ReportInputs
from georgia.report.learning import BASIS
from georgia.report.tables import format_fraction, format_interval, write_minus
from georgia.text import count_noun

# Up to so many classes each one's F1 stands in the verdict; above, the mean and the weakest do.
_MOST_SCORES = 3


@dataclass(frozen=True)
class Score:
    """One F1 with its 95 % confidence interval as text; ``name`` says whose."""

    name: str
    f1: str
    interval: str


@dataclass(frozen=True)
class Verdict:
    """The data, the model with its F1, its errors, what was not checked, and what limits the metrics.

    ``reasons`` stand first: why the model or its metrics cannot be relied on.
    """

    reasons: tuple[str, ...]
    data: str
    model: str
    scores: tuple[Score, ...]
    errors: str
    not_checked: str
    notes: tuple[str, ...]
    level: Literal["good", "caution", "bad"]


def make_verdict(run: ReportInputs) -> Verdict:
    """Return the verdict; it is "good" only if an audit passed the data and nothing limits the metrics."""
    notes, assessment = tuple(_notes(run)), assess_run(run)
    level: Literal["good", "caution", "bad"] = "caution"
    if run.data_gate == "stop" or assessment.level is Level.BAD:
        level = "bad"
    elif run.data_gate == "pass" and not notes and assessment.level is Level.OK:
        level = "good"
    return Verdict(
        reasons=tuple(reason.text for reason in assessment.reasons),
        data=run.data_verdict or "The data was not audited.",
        model=run.model or "The model",
        scores=_choose_scores(run.evaluation.metrics),
        errors=_describe_errors(run),
        not_checked="; ".join(run.not_checked),
        notes=notes,
        level=level,
    )


def assess_run(run: ReportInputs) -> Assessment:
    """Return what is wrong with the model or its test images, from all that was measured."""
    return assess(
        run.evaluation.metrics,
        run.robustness,
        Acceptance.from_metadata(run.metadata),
        Orientation.from_metadata(run.metadata),
        None if run.learning else measure_stated(run.evaluation, run.metadata),
    )


def describe_robustness(tried: Robustness) -> str:
    """Return what perturbations of the images do, with minus signs."""
    return write_minus(tried.describe())


def _choose_scores(metrics: Metrics) -> tuple[Score, ...]:
    present = [(name, scores) for name, scores in metrics.per_class.items() if scores.support]
    chosen: list[tuple[str, ClassMetrics | AverageMetrics]] = list(present)
    if len(present) > _MOST_SCORES:
        weakest = min(present, key=lambda pair: pair[1].f1)
        chosen = [("macro average", metrics.macro), (f"weakest: {weakest[0]}", weakest[1])]
    return tuple(
        Score(name, format_fraction(scores.f1), format_interval(scores.f1_ci95)) for name, scores in chosen
    )


def _describe_errors(run: ReportInputs) -> str:
    metrics = run.evaluation.metrics
    groups = f" in {count_noun(metrics.n_groups, 'group')}" if metrics.n_groups != metrics.n else ""
    return describe_errors(metrics, run.images + groups)


def _notes(run: ReportInputs) -> list[str]:
    metrics = run.evaluation.metrics
    absent = [name for name, scores in metrics.per_class.items() if not scores.support]
    n_failed = len(run.all_failures)
    notes = [BASIS, run.learning.describe_validity()] if run.learning else []
    if run.settings.get("rehearse"):
        notes.append("This was a rehearsal on part of the data: its metrics say nothing about the model.")
    if absent:
        notes.append(f"No {run.images} of {', '.join(absent)}: nothing is known about that.")
    if n_failed:
        notes.append(f"Not read, and in no metric: {count_noun(n_failed, 'file')}.")
    return notes
