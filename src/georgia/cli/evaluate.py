"""``georgia evaluate``: figures of an exported model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.findings import Findings, write_findings
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
from georgia.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from georgia.evaluate.compare import Comparison
    from georgia.evaluate.ood import OodEvaluation
    from georgia.evaluate.robustness import Robustness
    from georgia.evaluate.score import EvaluateConfig, Evaluation
    from georgia.model.bundle import Bundle
    from georgia.progress import Progress
    from georgia.records import Catalog, Record


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
    unknown: Annotated[
        Path | None,
        typer.Option("--unknown", help="Images of something else: how many are refused.", metavar="PATH"),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also on changed images: size, scale, light, focus, turns.")
    ] = False,
    engine: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.  [auto]")] = None,
    classes: ClassesOption = None,
    class_names: ClassNamesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score a model on labelled images, with intervals.

    \b
    Examples:
      georgia evaluate runs/first data/held-out --out reports/first
      georgia evaluate runs/second data/held-out --against runs/first --robustness
      georgia evaluate runs/first data/held-out --unknown photographs/
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.catalog.read import read_catalog
    from georgia.evaluate.overlap import find_training_overlap
    from georgia.evaluate.score import EvaluateConfig, evaluate_records

    settings = make_config(EvaluateConfig, config, "evaluate", {"engine": engine})
    names = parse_folder_names(class_names)
    _check_folder(out)
    with console.ConsoleProgress() as progress:
        bundle = open_model(model, classes)
        other = open_other(against, classes) if against is not None else None
        strangers = _check_asked(bundle, other, unknown)
        catalog = read_catalog(data, class_names=names, verify=False, progress=progress)
        records = choose_part(catalog, part)
        evaluation = evaluate_records(bundle, records, catalog.labels, progress, settings)
        found = Findings(evaluation, n_seen=len(find_training_overlap(bundle, records)))
        if other is not None:
            both = name_models(bundle, other, (model, against))
            found.comparison = _compare(evaluation, other, both, records, settings, progress)
        if robustness:
            found.robustness = _change_images(bundle, records, settings, progress)
        if strangers:
            found.unknown = _ask_strangers(bundle, strangers, evaluation, settings, progress)
        files = write_findings(out, found, bundle, data, catalog) if out else []
    failures = (*catalog.failures, *found.failed)
    if as_json:
        console.show_json(found.to_json_dict() | {"files": files, "failed": console.list_failures(failures)})
    else:
        _show(found, files)
    return console.end_with(failures)


def _check_asked(bundle: Bundle, other: Bundle | None, unknown: Path | None) -> list[Path]:
    """Refuse what could not be done before any work is; return the images of something else."""
    from georgia.evaluate.compare import check_same_classes
    from georgia.evaluate.ood import check_refuses
    from georgia.images.listing import find_images

    if other is not None:
        check_same_classes(bundle.labels, other.labels)
    if unknown is None:
        return []
    check_refuses(bundle)
    return find_images([unknown])


def _compare(
    evaluation: Evaluation,
    other: Bundle,
    names: tuple[str, str],
    records: Sequence[Record],
    settings: EvaluateConfig,
    progress: Progress,
) -> Comparison:
    from georgia.evaluate.compare import compare_evaluations
    from georgia.evaluate.score import evaluate_records

    beside = evaluate_records(other, records, evaluation.labels, progress, settings)
    return compare_evaluations(evaluation, beside, names)


def _ask_strangers(
    bundle: Bundle, paths: list[Path], evaluation: Evaluation, settings: EvaluateConfig, progress: Progress
) -> OodEvaluation:
    from georgia.evaluate.ood import evaluate_ood

    return evaluate_ood(bundle, paths, evaluation.predictions.items, progress, settings)


def _change_images(
    bundle: Bundle, records: Sequence[Record], settings: EvaluateConfig, progress: Progress
) -> Robustness:
    from georgia.evaluate.robustness import RobustnessConfig, measure_robustness

    return measure_robustness(
        bundle, records, RobustnessConfig(settings.robustness_files), settings, progress
    )


def _check_folder(out: Path | None) -> None:
    """Refuse to write over the report and the figures of a run."""
    from georgia.model.load import is_model

    if out is not None and out.is_dir() and is_model(out):
        raise InputError(
            "Cannot use --out",
            needs="it must be another folder than a run's: report and figures of the training lie there",
            got=repr(str(out)),
            hint=f"Example: --out {str(out / 'evaluation')!r}.",
        )


def _show(found: Findings, files: list[Path]) -> None:
    show_metrics(found.evaluation.to_json_dict())
    if found.comparison is not None:
        console.show_line(found.comparison.describe())
    if found.robustness is not None:
        show_robustness(found.robustness)
    if found.unknown is not None:
        console.show_line(found.unknown.describe())
    if found.n_seen:
        console.show_note(found.describe_training_overlap())
    for file in files[:1]:
        console.show_line(f"report: {file}")


def show_robustness(tried: Robustness) -> None:
    """Print accuracy and F1 under each change, with a star where a drop is beyond chance."""
    rows = [["as they are", f"{tried.accuracy:.4f}", "", f"{tried.f1:.4f}", "", ""]]
    for row in tried.rows:
        change = (f"{row.accuracy.difference:+.4f}", f"{row.f1.this:.4f}", f"{row.f1.difference:+.4f}")
        rows.append([row.title, f"{row.accuracy.this:.4f}", *change, "*" if row.is_marked else ""])
    console.show_table(["images are", "accuracy", "change", "F1", "change", "beyond chance"], rows)
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
    from georgia.records import SPLITS

    parts = [name for name in SPLITS if catalog.subset(name)]
    if part is None:
        part = "test" if "test" in parts else "all"
    if part == "all":
        return catalog.records
    if part not in parts:
        rule = f"it must be one of {', '.join([*parts, 'all'])}"
        hint = suggest(part, [*parts, "all"]).strip()
        if not parts and part in SPLITS:
            rule, hint = "the data must be split into parts", "Leave --part out to take all of it."
        raise InputError(f"Cannot use --part of {str(catalog.root)!r}", needs=rule, got=repr(part), hint=hint)
    return catalog.subset(part)
