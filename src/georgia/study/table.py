"""The study's table as CSV and Markdown, in the source study's columns and order, with F1 beside them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from georgia.metrics.intervals import Interval
from georgia.report.tables import format_fraction, format_interval, format_percent
from georgia.study.compare import MissedImage, PairedTest, VariantSummary
from georgia.study.rows import COLUMNS, StudyRow, format_time, table_rows
from georgia.text import RowWriter, count_noun
from georgia.text import format_csv as format_rows

if TYPE_CHECKING:
    from georgia.study.result import Study


def format_csv(rows: Sequence[StudyRow]) -> str:
    """Return the table as CSV, fractions with six digits."""
    stream = io.StringIO()
    writer = RowWriter(stream)
    writer.write_row(COLUMNS)
    for row in table_rows(rows):
        values = (row.get(name, "") for name in COLUMNS)
        writer.write_row(f"{value:.6f}" if isinstance(value, float) else value for value in values)
    return stream.getvalue()


def format_missed(missed: Sequence[MissedImage]) -> str:
    """Return the test images that runs did not classify correctly as CSV, a row for each run."""
    heads = ("variant", "run name", "file", "truth", "label", "probability")
    return format_rows(
        [heads, *((*list(vars(image).values())[:-1], f"{image.probability:.6f}") for image in missed)]
    )


def format_markdown(study: Study) -> str:
    """Return the whole study as Markdown: variants best first, tests between them, and every run."""
    parts = [f"# Study of {study.source}", describe_best(study.variants, study.comparisons)]
    parts += ["## Variants, best first", _variant_table(study.variants)]
    for variant in study.variants:
        if variant.pooled:
            parts += [f"## Classes of {variant.variant}, all its runs pooled", _class_table(variant.pooled)]
    if study.comparisons:
        parts += ["## Pairs on the same test images", _comparison_table(study.comparisons), TEST_NOTE]
    parts += ["## Runs", _run_table(study.rows)]
    if study.gated_rows:
        gated = [f"- {row.run_name}: {row.gate}" for row in study.gated_rows]
        parts += ["## Runs whose quality gate failed: their models cannot be used", "\n".join(gated)]
    if study.failed_rows:
        parts += ["## Runs that failed", *(f"- {row.run_name}: {row.reason}" for row in study.failed_rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


TEST_NOTE = (
    "F1 is the mean of the runs. Differences are the first minus the second, in percentage points, with 95 % "
    "confidence intervals over independent groups. p: both variants' predictions are swapped in random "
    "groups, two-sided, for F1; p, all pairs: by Holm's rule. Groups: where the first is correct more often, "
    "against less often. Repeats: where it missed fewer, against more."
)


def describe_best(variants: Sequence[VariantSummary], comparisons: Sequence[PairedTest]) -> str:
    """Return one or two sentences: the best variant, and from which others it differs significantly.

    >>> describe_best([], [])
    'No run was finished.'
    """
    if not variants:
        return "No run was finished."
    best = variants[0]
    mean = "mean F1 of its runs" if best.n_runs > 1 else "F1"
    lead = f"Best: {best.variant}, {mean} {format_fraction(best.f1)} ({format_interval(best.f1_ci95)}), "
    lead += (
        f"{sum(best.missed)} of {best.n_test} test predictions missed in {count_noun(best.n_runs, 'run')}."
    )
    if best.n_gated:
        runs = "its run" if best.n_runs == 1 else f"{best.n_gated} of its {best.n_runs} runs"
        lead += f" The quality gate of {runs} failed: such a model cannot be used."
    own = [pair for pair in comparisons if best.variant in (pair.first, pair.second)]
    alike = [_other(pair, best.variant) for pair in own if not pair.is_clear]
    clear = [_other(pair, best.variant) for pair in own if pair.is_clear]
    if clear:
        lead += f" It differs significantly from {_join(clear)} (p < 0.05, all pairs considered)."
    if alike:
        lead += f" It does not differ significantly from {_join(alike)} on these test images."
    return lead


def format_p(value: float) -> str:
    """Return a p value as text that never says 0.

    >>> format_p(0.00004), format_p(0.0312)
    ('< 0.0001', '0.0312')
    """
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def format_difference(value: float, limits: Interval) -> str:
    """Return a difference of fractions with its interval, in percentage points.

    >>> format_difference(0.0125, (-0.01, 0.035))
    '+1.25 (−1.00 to +3.50)'
    """
    low, middle, high = (f"{100 * number:+.2f}".replace("-", "−") for number in (limits[0], value, limits[1]))
    return f"{middle} ({low} to {high})"


def _run_table(rows: Sequence[StudyRow]) -> str:
    heads = [*COLUMNS[:11], "F1 (95 %)"]
    lines = []
    for row, values in zip(rows, table_rows(rows), strict=True):
        cells = [_cell(values[name], signed=name == "acc delta") for name in COLUMNS[:11]]
        f1 = "failed"
        if row.f1 is not None and row.f1_ci95 is not None:
            f1 = f"{format_fraction(row.f1)} ({format_interval(row.f1_ci95)})"
        lines.append([*cells, f1])
    return _markdown(heads, lines)


def _variant_table(variants: Sequence[VariantSummary]) -> str:
    heads = ["", "variant", "F1 (95 %)", "test acc (95 %)", "test missed, each run", "epochs", "time a run"]
    lines = [
        [
            str(variant.rank),
            variant.variant,
            f"{format_fraction(variant.f1)} ({format_interval(variant.f1_ci95)})",
            f"{format_percent(variant.accuracy)} ({format_interval(variant.accuracy_ci95)})",
            ", ".join(map(str, variant.missed)) + f" of {variant.n_test // variant.n_runs}",
            ", ".join(map(str, variant.epochs)),
            format_time(variant.seconds / variant.n_runs),
        ]
        for variant in variants
    ]
    return _markdown(heads, lines)


def _class_table(pooled: Mapping[str, Any]) -> str:
    """Return metrics of each class and its row of the confusion matrix, truth in rows."""
    classes = list(pooled["per_class"])
    heads = [
        "class",
        "F1 (95 %)",
        "precision",
        "recall",
        "images",
        *(f"as {name}" for name in classes),
        "unknown",
    ]
    lines = [
        [
            name,
            f"{format_fraction(row['f1'])} ({format_interval(tuple(row['f1_ci95']))})",
            format_fraction(row["precision"]),
            format_fraction(row["recall"]),
            *map(str, (row["support"], *counts, rejected)),
        ]
        for (name, row), counts, rejected in zip(
            pooled["per_class"].items(), pooled["confusion"], pooled["refused"], strict=True
        )
    ]
    return _markdown(heads, lines)


def _comparison_table(comparisons: Sequence[PairedTest]) -> str:
    heads = ["pair", "F1, difference (95 %)", "p", "p, all pairs", "accuracy, difference (95 %)"]
    lines = [
        [
            f"{pair.first} − {pair.second}",
            format_difference(pair.f1_difference, pair.f1_difference_ci95),
            format_p(pair.p_value),
            format_p(pair.p_adjusted),
            format_difference(pair.accuracy_difference, pair.accuracy_difference_ci95),
            f"{pair.n_groups_better} : {pair.n_groups_worse} of {pair.n_groups}",
            f"{pair.n_better} : {pair.n_worse}",
        ]
        for pair in comparisons
    ]
    return _markdown([*heads, "groups", "repeats"], lines)


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _cell(value: Any, signed: bool = False) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:+.4f}".replace("-", "−") if signed else format_fraction(value)
    return str(value)


def _other(pair: PairedTest, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
