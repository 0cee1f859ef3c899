"""``georgia predict``: predictions for files, folders and globs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console, predict_ray
from georgia.cli.models import check_not_read, check_references, open_model, show_others, take_model
from georgia.cli.options import (
    ClassesOption,
    ConfigOption,
    JsonOption,
    ModelAndImagesArgument,
    PreprocessOption,
    ReferenceOption,
    make_config,
)
from georgia.cli.packages import check_packages
from georgia.cli.show_predictions import FailedFiles, show_predictions
from georgia.errors import InputError
from georgia.files import check_outside_data, check_target

if TYPE_CHECKING:
    from georgia.predict.prediction import Outcome, Prediction
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
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16, int8, rotations, views or fastest.  [auto]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the table in --out after a stop.")
    ] = False,
    prior: Annotated[
        str | None,
        typer.Option(
            help="Class frequencies to correct for: CEX=0.9,PG=0.1, or estimate.", show_default=False
        ),
    ] = None,
    classes: ClassesOption = None,
    preprocess: PreprocessOption = None,
    reference: ReferenceOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Classify images, with probabilities.

    \b
    Examples:
      georgia predict runs/first new-images/ --out predictions.csv
      georgia predict runs/first new-images/ --out predictions.csv --resume
      georgia predict runs/first new-images/ --prior estimate
      georgia predict "probe/*.png" --sheet sheet.png
      georgia predict runs/first archive/ --engine ray --out predictions.parquet
      georgia predict GAweights.h5 --classes CEX,PG image.png
      georgia predict GAweights.h5 --classes CEX,PG --reference CEX:0.93=known.png image.png
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.catalog.sources import find_sources
    from georgia.predict import PredictConfig, Predictor, for_few

    settings = make_config(PredictConfig, config, "predict", {"engine": engine, "precision": precision})
    _check_outputs(out, sheet, resume, settings.engine)
    _check_prior(prior, resume, settings.engine)
    model, sources = take_model(args)
    if settings.engine == "ray":
        bundle = open_model(model, classes, preprocess)
        check_references(bundle, model, reference or ())
        return predict_ray.run(bundle, sources, out, settings, resume, as_json)
    paths = check_not_read(find_sources(sources), {"--sheet": sheet, "--out": out}, sources)
    if sheet is not None:
        check_packages("Cannot draw the sheet", ("matplotlib",))
        check_outside_data(sheet, *sources)
    bundle = open_model(model, classes, preprocess)
    check_references(bundle, model, reference or ())
    predictor = Predictor(bundle, settings if out else for_few(settings, paths))
    code = _predict_here(predictor, paths, (out, resume, prior), sheet, as_json)
    show_others(paths)
    return code


def _predict_here(
    predictor: Predictor,
    paths: Iterable[Path],
    options: tuple[Path | None, bool, str | None],
    sheet: Path | None,
    as_json: bool,
) -> int:
    """Predict and show on this machine; ``options`` are --out, --resume and --prior."""
    from georgia.model.engines import Computation

    bundle, failed = predictor.bundle, FailedFiles()
    with console.ConsoleProgress() as progress:
        outcomes, metadata = _predict(predictor, paths, options, progress)
        computation, details = Computation.of(predictor.engine), {**predictor.describe(), **metadata}
        with show_predictions(bundle.labels, computation, as_json, failed, details) as show:
            kept = [outcome for outcome in _show_all(outcomes, show) if sheet is not None]
            details |= predictor.describe()
            _draw_sheet(predictor, kept, sheet, progress)
    return _end(failed, details["notices"])


def _predict(
    predictor: Predictor,
    paths: Iterable[Path],
    options: tuple[Path | None, bool, str | None],
    progress: Progress,
) -> tuple[Iterable[Outcome], dict[str, Any]]:
    """Return the outcomes, and what is to be said of them; ``options`` are --out, --resume and --prior."""
    from georgia.predict.prior import predict_with_prior
    from georgia.predict.resume import predict_to_table

    out, resume, prior = options
    if prior is not None:
        return predict_with_prior(predictor, paths, prior, out, progress)
    if out is not None:
        return predict_to_table(predictor, paths, out, resume, progress), {}
    return predictor.iterate(paths, progress), {}


def _check_prior(prior: str | None, resume: bool, engine: str) -> None:
    """Reject what a prior does not go together with: all predictions are needed at once."""
    if prior is not None and (resume or engine == "ray"):
        raise InputError(
            "Cannot use --prior",
            needs="one run on one machine must make all predictions",
            got="--resume" if resume else "--engine ray",
            hint="Leave one of them out.",
        )


def _show_all(outcomes: Iterable[Outcome], show: Callable[[Outcome], None]) -> Iterator[Prediction]:
    """Show every outcome, and yield the predictions among them."""
    from georgia.predict.prediction import Prediction

    for outcome in outcomes:
        show(outcome)
        if isinstance(outcome, Prediction):
            yield outcome


def _end(failed: FailedFiles, notices: list[str]) -> int:
    for notice in notices:
        console.show_note(notice)
    return console.end_with(failed.first, failed.count)


def _draw_sheet(
    predictor: Predictor, items: list[Prediction], sheet: Path | None, progress: Progress
) -> None:
    if sheet is None or not items:
        return
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
