"""The first line of a report: is the data sound, how good is the model, and what was not checked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from georgia.metrics import AverageMetrics, ClassMetrics, Metrics
from georgia.report.inputs import ReportInputs
from georgia.report.tables import (
    count_noun,
    format_fraction,
    format_interval,
    format_percent,
    write_minus,
)
from georgia.robustness import Robustness

# Up to so many classes each one's F1 stands in the verdict; above, the mean and the weakest do.
_CLASSES_IN_WORDS = 3


@dataclass(frozen=True)
class Score:
    """One F1 with its 95 % interval, in words; ``name`` says whose."""

    name: str
    f1: str
    interval: str


@dataclass(frozen=True)
class Verdict:
    """The data, the model with its F1, its answers, what was not checked, and what limits the figures."""

    data: str
    model: str
    scores: tuple[Score, ...]
    answers: str
    not_checked: str
    notes: tuple[str, ...]
    level: Literal["good", "caution", "bad"]


def make_verdict(run: ReportInputs) -> Verdict:
    """Return the verdict; it is "good" only if an audit passed the data and nothing limits the figures."""
    notes = tuple(_notes(run))
    level: Literal["good", "caution", "bad"] = "caution"
    if run.data_gate == "stop":
        level = "bad"
    elif run.data_gate == "pass" and not notes:
        level = "good"
    return Verdict(
        data=run.data_verdict or "The data was not audited.",
        model=run.model or "The model",
        scores=_choose_scores(run.evaluation.metrics),
        answers=_describe_answers(run),
        not_checked="; ".join(run.not_checked),
        notes=notes,
        level=level,
    )


def describe_mistakes(metrics: Metrics, pictures: str) -> str:
    """Return how many pictures got a wrong name, and what is still possible.

    The limit is one-sided and exact, over independent groups.
    """
    n_wrong = f"{metrics.n_wrong:,}" if metrics.n_wrong else "None"
    limit = format_percent(metrics.mistake_limit95)
    still = "" if metrics.n_wrong else "still "
    return (
        f"{n_wrong} of {metrics.n:,} {pictures} got a wrong name; up to {limit} are {still}possible at 95 %."
    )


def describe_robustness(tried: Robustness) -> str:
    """Return what changes of the pictures do, in words, or that the pictures are too few to tell."""
    n_right, needed = round(tried.accuracy * min(tried.n, tried.n_groups)), least_groups_lost(tried)
    if tried.marked or n_right >= needed:
        return write_minus(tried.describe())
    base = f"{count_noun(tried.n, 'picture')} in {count_noun(tried.n_groups, 'group')}, accuracy "
    base += f"{format_fraction(tried.accuracy)} as they are."
    if min(tried.n, tried.n_groups) < needed:
        few = f"{count_noun(tried.n, 'picture')} {'is' if tried.n == 1 else 'are'} too few to tell anything"
    else:
        few = "So few right answers tell nothing"
    return (
        f"{base} {few}: as {len(tried.rows)} changes are tried together, a drop of accuracy is told from "
        f"chance only where {needed} groups or more lose their right answer."
    )


def least_groups_lost(tried: Robustness) -> int:
    """Return how many groups must lose their right answer, with none gained, until a drop is marked.

    A row is marked where its interval (paired Bayesian bootstrap with two half groups, one better and one
    worse, as in `georgia.compare`) ends below 0. With k groups lost the better half group outweighs them
    and the worse half with the probability that a Beta(1/2, k + 1/2) exceeds 1/2.
    """
    from scipy.special import betainc

    tail = (1.0 - tried.level) / max(1, len(tried.rows)) / 2.0
    return next(k for k in itertools.count(1) if betainc(k + 0.5, 0.5, 0.5) < tail)


def _choose_scores(metrics: Metrics) -> tuple[Score, ...]:
    present = [(name, one) for name, one in metrics.per_class.items() if one.support]
    chosen: list[tuple[str, ClassMetrics | AverageMetrics]] = list(present)
    if len(present) > _CLASSES_IN_WORDS:
        weakest = min(present, key=lambda pair: pair[1].f1)
        chosen = [("macro average", metrics.macro), (f"weakest: {weakest[0]}", weakest[1])]
    return tuple(Score(name, format_fraction(one.f1), format_interval(one.f1_ci95)) for name, one in chosen)


def _describe_answers(run: ReportInputs) -> str:
    metrics = run.evaluation.metrics
    groups = f" in {count_noun(metrics.n_groups, 'group')}" if metrics.n_groups != metrics.n else ""
    refused = f" {metrics.n_unknown:,} refused." if metrics.n_unknown else ""
    return describe_mistakes(metrics, run.pictures + groups) + refused


def _notes(run: ReportInputs) -> list[str]:
    metrics = run.evaluation.metrics
    absent = [name for name, one in metrics.per_class.items() if not one.support]
    n_failed = len(run.all_failures)
    notes = []
    if run.recipe.get("rehearse"):
        notes.append("This was a rehearsal on a part of the data: its figures say nothing about the model.")
    if absent:
        notes.append(f"No {run.pictures} of {', '.join(absent)}: nothing is known about that.")
    if n_failed:
        notes.append(f"Not read, and in no figure: {count_noun(n_failed, 'file')}.")
    return notes
