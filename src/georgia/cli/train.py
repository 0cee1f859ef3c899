"""``georgia train``: labelled images in, a run folder with every deliverable out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.options import (
    ClassNamesOption,
    ConfigOption,
    DataArgument,
    GroupRegexOption,
    JsonOption,
    PartsOption,
    RecipeOption,
    SetOption,
    TimeGapOption,
    TimeRegexOption,
    given,
    parse_folder_names,
    parse_split_folders,
    read_audit_settings,
    read_settings,
)
from georgia.cli.packages import check_packages
from georgia.config import parse_assignments
from georgia.errors import GateError

if TYPE_CHECKING:
    from georgia.evaluate.assessment import Assessment
    from georgia.metrics.classification import Metrics
    from georgia.train import TrainingRun


def run(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", help="The run folder to make.")],
    recipe: RecipeOption = None,
    weights: Annotated[
        str | None, typer.Option(help="imagenet, none, or a weight file.", metavar="NAME|PATH")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or gpu.  [auto]")] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Three epochs on a tenth of the images.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out after a stop.")] = False,
    class_names: ClassNamesOption = None,
    parts: PartsOption = None,
    group_regex: GroupRegexOption = None,
    time_gap: TimeGapOption = None,
    time_regex: TimeRegexOption = None,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Train, export, evaluate the exported file, and write the report.

    \b
    Examples:
      georgia train data/crops --out runs/first
      georgia train data/crops --out runs/study --recipe georgia --device gpu
      georgia train data/crops --out runs/mine --set epochs=20 --set dropout=0.4
    Settings for --set and their meaning: docs/train.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    typed: dict[str, Any] = {"weights": weights, "device": device, "rehearse": rehearse or None}
    audit = read_audit_settings(config, group_regex, time_gap, time_regex)
    settings = read_settings(config, "train", is_required=not audit)
    names = parse_folder_names(class_names)
    changed = parse_assignments(changes or ())
    layers = (settings, changed, given(typed))
    console.load_keras()
    from georgia.train import recipe_config, train_model

    name = str({"recipe": "fast", **settings, **changed, **given({"recipe": recipe})}["recipe"])
    chosen = recipe_config(name, *layers)
    if chosen.int8:
        check_packages("Cannot export an 8-bit file", ["nncf"])
    told = parse_split_folders(parts)
    with console.ConsoleProgress() as progress:
        try:
            result = train_model(data, out, chosen, resume, names, progress, audit=audit, parts=told)
        except GateError as error:
            result = _take_finished(error)
    if as_json:
        console.show_json(result.to_json_dict())
    else:
        _show(result)
    code = console.end_with(result.failures)
    if result.gate:
        console.show_note(f"quality gate failed: {result.gate}")
        return console.GATE_FAILED
    return code


def _take_finished(error: GateError) -> TrainingRun:
    """Return the run that was finished though its quality gate failed; raise where the data was not sound."""
    from georgia.train import TrainingRun

    if isinstance(error.result, TrainingRun):
        return error.result
    raise error


def _show(run: TrainingRun) -> None:
    show_metrics(run.metrics, run.assessment)
    console.show_line(f"training {run.describe_stop()}")
    for kind, file in run.files.items():
        console.show_line(f"{kind}: {file}")


def show_metrics(metrics: Metrics, assessment: Assessment) -> None:
    """Print what is wrong, a table of metrics with 95 % confidence intervals, and the counts behind them."""
    from georgia.evaluate.assessment import describe_errors

    for reason in assessment.reasons:
        console.show_line(f"{reason.level.upper()}: {reason.text}")
    rows = []
    for name, row in metrics.per_class.items():
        low, high = row.f1_ci95
        values = [f"{value:.4f}" for value in (row.precision, row.recall, row.f1)]
        rows.append([name, *values, f"{low:.4f}–{high:.4f}", f"{row.support:,}"])
    console.show_table(["class", "precision", "recall", "F1", "F1 95 %", "images"], rows)
    console.show_line(
        f"{metrics.n_correct:,} of {metrics.n:,} correct: accuracy {metrics.accuracy:.4f}. "
        f"{describe_errors(metrics)}"
    )
