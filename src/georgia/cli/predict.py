"""``georgia predict``: answers for files, folders and globs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import open_model, take_model
from georgia.cli.options import ClassesOption, ConfigOption, JsonOption, make_config
from georgia.errors import InputError, describe_fault

if TYPE_CHECKING:
    from georgia.predict import Predictions


def run(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] PATH…",
            help="A run folder, .onnx or Keras .h5 (none: the bundled model), then pictures, folders, globs.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write a table: .csv, .json or .parquet.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the pictures with their labels: .png.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.  [auto]")] = None,
    classes: ClassesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Name what pictures show, with probabilities.

    \b
    Examples:
      georgia predict runs/first new-pictures/ --out answers.csv
      georgia predict "probe/*.png" --sheet sheet.png
      georgia predict GAweights.h5 --classes CEX,PG picture.png
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.images import find_images
    from georgia.predict import PredictConfig, predict_files

    settings = make_config(PredictConfig, config, "predict", {"engine": engine})
    _check_outputs(out, sheet)
    model, sources = take_model(words)
    paths = find_images(sources)
    bundle = open_model(model, classes)
    with console.ConsoleProgress() as progress:
        predictions = predict_files(bundle, paths, settings, progress)
        if out is not None:
            predictions.save(out)
        if sheet is not None and predictions.items:
            from georgia.report.contact_sheet import draw_contact_sheet

            draw_contact_sheet(predictions, sheet, progress=progress)
    if as_json:
        console.show_json(predictions.to_json_dict())
    else:
        _show(predictions)
    return console.end_with(predictions.failed)


def _check_outputs(out: Path | None, sheet: Path | None) -> None:
    """Refuse what could not be written before any work is done."""
    from georgia.predict import check_table_path
    from georgia.report.contact_sheet import SHEET_SUFFIXES

    if out is not None:
        check_table_path(out)
    if sheet is not None and sheet.suffix.lower() not in SHEET_SUFFIXES:
        rule = "the suffix must be one of " + ", ".join(SHEET_SUFFIXES)
        raise InputError(describe_fault(f"Cannot write {str(sheet)!r}", rule, repr(sheet.suffix)))


def _show(predictions: Predictions) -> None:
    names = predictions.labels.names
    rows = [
        [
            str(item.file),
            item.label,
            f"{item.probability:.4f}",
            *(f"{item.probabilities[name]:.4f}" for name in names),
        ]
        for item in predictions.items
    ]
    columns = ["file", "label", "probability", *(f"P({name})" for name in names)]
    console.show_table(columns, rows, more="All of them: --out answers.csv.")
