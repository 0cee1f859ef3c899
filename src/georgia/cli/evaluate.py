"""``georgia evaluate``: metrics of an exported model on labelled images."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.findings import Findings, write_findings
from georgia.cli.models import find_images, open_model
from georgia.cli.options import (
    ClassesOption,
    ClassNamesOption,
    ConfigOption,
    DataArgument,
    EngineOption,
    JsonOption,
    ModelArgument,
    PartsOption,
    PreprocessOption,
    make_config,
    parse_layout,
)
from georgia.cli.train import show_metrics
from georgia.errors import InputError, suggest
from georgia.files import check_outside_data, hold_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from georgia.evaluate.overlap import NearOverlap
    from georgia.evaluate.robustness import Robustness
    from georgia.model.bundle import Bundle
    from georgia.progress import Progress
    from georgia.records import Catalog, Record


SplitOption = Annotated[
    str | None,
    typer.Option(help="Split to use: train, valid, test or all.  [test of split folders, else all]"),
]
AgainstOption = Annotated[
    Path | None, typer.Option(help="A second model, compared on the same files.", metavar="MODEL")
]
UnknownOption = Annotated[
    Path | None,
    typer.Option(help="Out-of-distribution images, to measure how many are rejected.", metavar="PATH"),
]
PrecisionOption = Annotated[
    str | None, typer.Option(help="auto, float32, bfloat16, int8, rotations, views or fastest.  [auto]")
]
RobustnessOption = Annotated[
    bool,
    typer.Option(
        "--robustness", help="Also measure on perturbed images: size, scale, light, focus, rotations."
    ),
]


def run(
    model: ModelArgument,
    data: DataArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report and its tables.")] = None,
    part: SplitOption = None,
    against: AgainstOption = None,
    unknown: UnknownOption = None,
    robustness: RobustnessOption = False,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    classes: ClassesOption = None,
    preprocess: PreprocessOption = None,
    class_names: ClassNamesOption = None,
    parts: PartsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Score a model on labelled images, with 95 % confidence intervals.

    \b
    Examples:
      georgia evaluate runs/first data/held-out --out reports/first
      georgia evaluate runs/second data/held-out --against runs/first --robustness
      georgia evaluate runs/first data/held-out --unknown photographs/
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.catalog.read import read_catalog
    from georgia.evaluate.compare import compare_evaluations
    from georgia.evaluate.ood import evaluate_ood
    from georgia.evaluate.robustness import RobustnessConfig, measure_robustness
    from georgia.evaluate.score import EvaluateConfig, evaluate_records

    settings = make_config(EvaluateConfig, config, "evaluate", {"engine": engine, "precision": precision})
    layout = parse_layout(class_names, parts)
    _check_folder(out, data, *([unknown] if unknown else []))
    with hold_folder(out) if out else nullcontext(), console.ConsoleProgress() as progress:
        bundle = open_model(model, classes, preprocess)
        other = _open_other(against, classes, preprocess)
        ood_paths = _check_request(bundle, other, unknown)
        catalog = read_catalog(data, **layout, verify=False, is_for_training=False, progress=progress)
        records = choose_split(catalog, part)
        running = (progress, settings.predict)
        evaluation = evaluate_records(bundle, records, catalog.labels, *running)
        found = Findings(evaluation, bundle.metadata, *_find_overlap(bundle, records, progress))
        if against is not None and other is not None:
            both = _name_models(bundle, other, model, against)
            other_evaluation = evaluate_records(other, records, evaluation.labels, *running)
            found.comparison = compare_evaluations(evaluation, other_evaluation, both)
        if robustness:
            perturbed = RobustnessConfig(settings.robustness_files)
            found.robustness = measure_robustness(bundle, records, perturbed, settings.predict, progress)
        if ood_paths:
            found.unknown = evaluate_ood(bundle, ood_paths, evaluation.predictions.items, *running)
        files = write_findings(out, found, bundle, data, catalog) if out else []
    failures = (*catalog.failures, *found.failed)
    if as_json:
        console.show_json({**found.to_json_dict(), "files": files, "failed": failures})
    else:
        _show(found, files)
    return console.end_with(failures)


def _check_request(bundle: Bundle, other: Bundle | None, unknown: Path | None) -> list[Path]:
    """Reject what cannot be done before any work is; return the out-of-distribution images."""
    from georgia.evaluate.compare import check_same_classes
    from georgia.evaluate.ood import check_has_ood_detector

    if other is not None:
        check_same_classes(bundle.labels, other.labels)
    if unknown is None:
        return []
    check_has_ood_detector(bundle)
    return find_images([unknown])


def _find_overlap(bundle: Bundle, records: Sequence[Record], progress: Progress) -> tuple[int, NearOverlap]:
    """Return how many records the model was trained on, and which are near-duplicates of such images."""
    from georgia.evaluate.overlap import find_near_overlap, find_training_overlap

    overlap = find_training_overlap(bundle, records, progress)
    return len(overlap), find_near_overlap(bundle, records, overlap, progress)


def _check_folder(out: Path | None, *sources: Path) -> None:
    """Reject an output that would overwrite the report and the metrics of a run, or lie in the data."""
    from georgia.model.load import is_model

    if out is None:
        return
    check_outside_data(out, *sources)
    if out.is_dir() and is_model(out):
        raise InputError(
            "Cannot use --out",
            needs="it must not be the folder of a run, which holds the report of the training",
            got=repr(str(out)),
            hint=f"Example: --out {str(out / 'evaluation')!r}.",
        )


def _show(found: Findings, files: list[Path]) -> None:
    overlap = found.describe_training_overlap()
    if overlap:
        console.show_note(overlap)
    show_metrics(found.evaluation.metrics, found.assessment)
    if sets := found.describe_sets():
        console.show_line(sets)
    if found.comparison is not None:
        console.show_line(found.comparison.describe())
    if found.robustness is not None:
        _show_robustness(found.robustness)
    if found.unknown is not None:
        console.show_line(found.unknown.describe())
    for file in files[:1]:
        console.show_line(f"report: {file}")


def _show_robustness(robustness: Robustness) -> None:
    """Print accuracy and F1 under each perturbation, with a star where a change is significant."""
    rows = [["none", f"{robustness.accuracy:.4f}", "", f"{robustness.f1:.4f}", "", ""]]
    for row in robustness.rows:
        change = (f"{row.accuracy.difference:+.4f}", f"{row.f1.this:.4f}", f"{row.f1.difference:+.4f}")
        rows.append([row.title, f"{row.accuracy.this:.4f}", *change, "*" if row.is_significant else ""])
    console.show_table(["perturbation", "accuracy", "change", "F1", "change", "significant"], rows)
    console.show_line(robustness.describe())


def _open_other(path: Path | None, classes: str | None, preprocess: str | None) -> Bundle | None:
    """Open the model to compare with; ``--classes`` and ``--preprocess`` apply only to a Keras file."""
    from georgia.model.bundle import KERAS_SUFFIXES

    if path is None:
        return None
    is_keras = path.suffix.lower() in KERAS_SUFFIXES
    return open_model(path, classes if is_keras else None, preprocess if is_keras else None)


def _name_models(this: Bundle, other: Bundle, path: Path, against: Path) -> tuple[str, str]:
    """Return what to call two models: their names, their files' if they are equal, else first and second."""
    for first, second in ((this.name, other.name), (path.name, against.name)):
        if first and second and first != second:
            return first, second
    return "the first model", "the second model"


def choose_split(catalog: Catalog, split: str | None) -> tuple[Record, ...]:
    """Return the records of one split; without a name the test split of split folders, else all.

    Raises:
        InputError: there is no such split, or the source is not split.
    """
    from georgia.records import SPLITS

    splits = [name for name in SPLITS if catalog.subset(name)]
    if split is None:
        split = "test" if "test" in splits else "all"
    if split == "all":
        return catalog.records
    if split not in splits:
        rule = f"it must be one of {', '.join([*splits, 'all'])}"
        hint = suggest(split, [*splits, "all"]).strip()
        if not splits and split in SPLITS:
            rule, hint = "the data must be split", "Leave --part out to take all of it."
        raise InputError(
            f"Cannot use --part of {str(catalog.root)!r}", needs=rule, got=repr(split), hint=hint
        )
    return catalog.subset(split)
