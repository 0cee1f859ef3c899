"""``georgia predict``: predictions for files, folders and globs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console, predict_ray
from georgia.cli.models import check_not_read, open_model, take_model
from georgia.cli.options import (
    ClassesOption,
    ConfigOption,
    JsonOption,
    ModelAndImagesArgument,
    PreprocessOption,
    make_config,
)
from georgia.cli.packages import check_packages
from georgia.cli.show_predictions import FailedFiles, show_predictions
from georgia.errors import InputError
from georgia.files import check_outside_data, check_target

if TYPE_CHECKING:
    from georgia.predict.prediction import Prediction
    from georgia.predict.predictor import Predictor
    from georgia.progress import Progress


def run(
    args: ModelAndImagesArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write a table: .csv, .json, .jsonl or .parquet.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a sheet of the images with their labels: .png.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="auto, openvino, onnxruntime or ray.  [auto]")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.  [auto]")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the table in --out after a stop.")
    ] = False,
    classes: ClassesOption = None,
    preprocess: PreprocessOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Classify images, with probabilities.

    \b
    Examples:
      georgia predict runs/first new-images/ --out predictions.csv
      georgia predict runs/first new-images/ --out predictions.csv --resume
      georgia predict "probe/*.png" --sheet sheet.png
      georgia predict runs/first archive/ --engine ray --out predictions.parquet
      georgia predict GAweights.h5 --classes CEX,PG image.png
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.images.listing import FoundImages
    from georgia.model.engines import Computation
    from georgia.predict import PredictConfig, Prediction, Predictor, for_few
    from georgia.predict.resume import predict_to_table

    settings = make_config(PredictConfig, config, "predict", {"engine": engine, "precision": precision})
    check_packages("Cannot predict", ["cv2"])
    _check_outputs(out, sheet, resume, settings.engine)
    model, sources = take_model(args)
    if settings.engine == "ray":
        bundle = open_model(model, classes, preprocess)
        return predict_ray.run(bundle, sources, out, settings, resume, as_json)
    paths = check_not_read(FoundImages(sources), {"--sheet": sheet, "--out": out})
    if sheet is not None:
        check_outside_data(sheet, *sources)
    bundle = open_model(model, classes, preprocess)
    failed, kept = FailedFiles(), list[Prediction]()
    with console.ConsoleProgress() as progress:
        predictor = Predictor(bundle, settings if out else for_few(settings, paths))
        outcomes = predictor.iterate(paths, progress)
        if out is not None:
            outcomes = predict_to_table(predictor, paths, out, resume, progress)
        computation = Computation.of(predictor.engine)
        with show_predictions(bundle.labels, computation, as_json, failed) as show:
            for outcome in outcomes:
                show(outcome)
                if sheet is not None and isinstance(outcome, Prediction):
                    kept.append(outcome)
            if sheet is not None and kept:
                _draw_sheet(predictor, kept, sheet, progress)
    return console.end_with(failed.first, failed.count)


def _draw_sheet(predictor: Predictor, items: list[Prediction], sheet: Path, progress: Progress) -> None:
    from georgia.predict.predictions import Predictions
    from georgia.report.contact_sheet import draw_contact_sheet

    predictions = Predictions(predictor.bundle.labels, tuple(items), (), predictor.engine.name)
    draw_contact_sheet(predictions, sheet, progress=progress)


def _check_outputs(out: Path | None, sheet: Path | None, resume: bool, engine: str) -> None:
    """Reject outputs that cannot be written, before any work is done."""
    from georgia.predict.tables import check_table_path

    if sheet is not None and engine == "ray":
        raise InputError(
            "Cannot draw --sheet",
            needs="one machine must make all predictions",
            got="--engine ray",
            hint="Leave --sheet out, or predict some of the images here.",
        )
    if out is not None and engine != "ray":  # Ray takes a folder or a URL as well
        check_table_path(out)
        check_target(out)
    if out is None and resume:
        raise InputError(
            "Cannot resume",
            needs="--resume continues the table in --out",
            got="no --out",
            hint="Name the unfinished table.",
        )
    if sheet is None:
        return
    check_target(sheet)
    from georgia.report.contact_sheet import SHEET_SUFFIXES

    if sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise InputError(
            f"Cannot write {str(sheet)!r}",
            needs="the suffix must be one of " + ", ".join(SHEET_SUFFIXES),
            got=repr(sheet.suffix),
        )
