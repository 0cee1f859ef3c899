"""``georgia evaluate``: figures of an exported model on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import KERAS_SUFFIXES, open_model
from georgia.cli.options import (
    ClassesOption,
    ClassNamesOption,
    ConfigOption,
    JsonOption,
    make_config,
    parse_folder_names,
)
from georgia.cli.train import show_metrics
from georgia.errors import InputError, describe_fault, suggest

if TYPE_CHECKING:
    from georgia.bundle import Bundle
    from georgia.compare import Comparison
    from georgia.evaluate import Evaluation
    from georgia.records import Catalog, Record
    from georgia.robustness import Robustness


def run(
    model: Annotated[Path, typer.Argument(help="A run folder, an exported .onnx, or a foreign Keras .h5.")],
    data: Annotated[Path, typer.Argument(help="Folder per class, split folders, or a CSV with path,class.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report and its tables.")] = None,
    part: Annotated[
        str | None, typer.Option(help="train, valid, test or all.  [test of split folders, else all]")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A second model: compared on the same files.", metavar="MODEL")
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also on changed pictures: size, scale, light, focus, turns.")
    ] = False,
    engine: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.  [auto]")] = None,
    classes: ClassesOption = None,
    class_names: ClassNamesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score a model on labelled pictures, with intervals.

    \b
    Examples:
      georgia evaluate runs/first data/held-out --out reports/first
      georgia evaluate runs/second data/held-out --against runs/first --robustness
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.catalog import read_catalog
    from georgia.compare import compare_evaluations
    from georgia.evaluate import EvaluateConfig, evaluate_records
    from georgia.robustness import RobustnessConfig, measure_robustness

    settings = make_config(EvaluateConfig, config, "evaluate", {"engine": engine})
    names = parse_folder_names(class_names)
    files: list[Path] = []
    comparison: Comparison | None = None
    tried: Robustness | None = None
    with console.ConsoleProgress() as progress:
        bundle = open_model(model, classes)
        other = open_other(against, classes) if against is not None else None
        catalog = read_catalog(data, class_names=names, verify=False, progress=progress)
        records = choose_part(catalog, part)
        evaluation = evaluate_records(bundle, records, catalog.labels, progress, settings)
        if other is not None:
            beside = evaluate_records(other, records, catalog.labels, progress, settings)
            comparison = compare_evaluations(evaluation, beside, name_models(bundle, other, (model, against)))
        if robustness:
            sample = RobustnessConfig(settings.robustness_files)
            tried = measure_robustness(bundle, records, sample, settings, progress)
        if out is not None:
            files = _write_report(out, evaluation, bundle, (data, catalog), (comparison, tried))
    failures = (*catalog.failures, *evaluation.failed)
    if as_json:
        extra = {"comparison": comparison, "robustness": tried}
        plain = {name: one.to_json_dict() if one else None for name, one in extra.items()}
        failed = console.list_failures(failures)
        console.show_json({**evaluation.to_json_dict(), **plain, "files": files, "failed": failed})
    else:
        _show(evaluation, comparison, tried, files)
    return console.end_with(failures)


def _show(
    evaluation: Evaluation, comparison: Comparison | None, tried: Robustness | None, files: list[Path]
) -> None:
    show_metrics(evaluation.to_json_dict())
    if comparison is not None:
        console.show_line(comparison.describe())
    if tried is not None:
        show_robustness(tried)
    for file in files[:1]:
        console.show_line(f"report: {file}")


def show_robustness(tried: Robustness) -> None:
    """Print accuracy and F1 under each change, with a star where a drop is beyond chance."""
    rows = [["as they are", f"{tried.accuracy:.4f}", "", f"{tried.f1:.4f}", "", ""]]
    for row in tried.rows:
        change = (f"{row.accuracy.difference:+.4f}", f"{row.f1.this:.4f}", f"{row.f1.difference:+.4f}")
        rows.append([row.title, f"{row.accuracy.this:.4f}", *change, "*" if row.is_marked else ""])
    console.show_table(["pictures are", "accuracy", "change", "F1", "change", "beyond chance"], rows)
    console.show_line(tried.describe())


def open_other(path: Path, classes: str | None) -> Bundle:
    """Open the model to compare with; ``--classes`` is for it only if it brings no names itself."""
    return open_model(path, classes if path.suffix.lower() in KERAS_SUFFIXES else None)


def name_models(this: Bundle, other: Bundle, paths: tuple[Path | None, Path | None]) -> tuple[str, str]:
    """Return what to call two models: their names, their files' if they are equal, else first and second."""
    by_path = tuple(path.name if path is not None else "" for path in paths)
    for first, second in ((this.name, other.name), by_path):
        if first and second and first != second:
            return first, second
    return "the first model", "the second model"


def choose_part(catalog: Catalog, part: str | None) -> tuple[Record, ...]:
    """Return the records of one part; without a name the test part of split folders, else all.

    Raises:
        InputError: there is no such part, or the source is not split.
    """
    from georgia.records import PARTS

    parts = [name for name in PARTS if catalog.part(name)]
    if part is None:
        part = "test" if "test" in parts else "all"
    if part == "all":
        return catalog.records
    if part not in parts:
        rule = f"it must be one of {', '.join([*parts, 'all'])}"
        hint = suggest(part, PARTS).strip()
        raise InputError(
            describe_fault(f"Cannot use --part of {str(catalog.root)!r}", rule, repr(part), hint)
        )
    return catalog.part(part)


def _write_report(
    out: Path,
    evaluation: Evaluation,
    bundle: Bundle,
    source: tuple[Path, Catalog],
    extra: tuple[Comparison | None, Robustness | None],
) -> list[Path]:
    """Write the page, the figures as text, the confusion matrix and the tables; return the files."""
    from georgia.explain import explain_files
    from georgia.report.figures import draw_confusion_matrix, save_figure
    from georgia.report.inputs import ReportInputs, ReportLimits
    from georgia.report.page import REPORT_FILE, save_report
    from georgia.report.tables import save_results

    page, results = out / REPORT_FILE, out / "FinalTestResults.txt"
    matrix = out / "final_confusion_matrix.png"
    evaluation.save(out)
    save_results(evaluation, results)
    save_figure(draw_confusion_matrix, evaluation, matrix)
    data, catalog = source
    comparison, tried = extra
    written = [one.save(out) for one in extra if one is not None]
    mistakes = [one.file for one in evaluation.mistakes[: ReportLimits().explained]]
    explained = explain_files(bundle, mistakes) if mistakes else None
    inputs = ReportInputs(
        title=f"Evaluation of {bundle.name}",
        evaluation=evaluation,
        model=bundle.name,
        data=str(data),
        part="",
        bundle=bundle.about,
        failures=(*catalog.failures, *evaluation.failed),
        files=(results, matrix, *written),
        folder=out,
        comparison=comparison,
        robustness=tried,
        explanations=explained,
    )
    save_report(inputs, page)
    return [page, results, matrix, *written]
