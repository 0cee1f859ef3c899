"""``georgia study``: variants, repeats and folds, their table and tests between them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.options import (
    ConfigOption,
    DataArgument,
    FoldsOption,
    GroupRegexOption,
    JsonOption,
    PartsOption,
    RecipeOption,
    TimeGapOption,
    TimeRegexOption,
    given,
    parse_folder_names,
    parse_split_folders,
    read_audit_settings,
    read_settings,
)
from georgia.cli.packages import check_packages
from georgia.config import build_config, parse_assignments
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.study import Study, StudyConfig
    from georgia.study.run import Runner


def run(
    data: DataArgument,
    axes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUES]…", help="More of the grid, as for --grid.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder of the study; the same call continues it.")],
    recipe: RecipeOption = None,
    variants: Annotated[
        str | None,
        typer.Option(
            help="Letters A to D, or recipes.  [A,B,C,D; with a grid or folds: the recipe]", metavar="NAME,…"
        ),
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Runs of each variant.  [5; with folds: 1]")] = None,
    folds: FoldsOption = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Settings to combine, such as lr=1e-1,1e-2; repeatable.", metavar="KEY=VALUES"),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A training setting for all runs.", metavar="KEY=VALUE")
    ] = None,
    group_regex: GroupRegexOption = None,
    time_gap: TimeGapOption = None,
    time_regex: TimeRegexOption = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Train the runs in parallel on a Ray cluster.", metavar="HOST:PORT|auto"),
    ] = None,
    parts: PartsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare variants of a training over repeats, as the source study did.

    \b
    Examples:
      georgia study data/crops --out studies/abcd --recipe georgia
      georgia study data/crops --out studies/fast --variants fast --folds 5
      georgia study data/crops --out studies/rates --grid lr=1e-1,1e-2 backbone=resnet18,resnet50
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.study import run_study

    combined, told = (*(grid or ()), *(axes or ())) or None, parse_split_folders(parts)
    typed = {"recipe": recipe, "variants": variants, "repeats": repeats, "folds": folds, "grid": combined}
    settings, training, names = _read_settings(config, parse_assignments(changes or ()), given(typed))
    audit = read_audit_settings(config, group_regex, time_gap, time_regex)
    runner = _choose_runner(ray)
    console.load_keras()
    # Each run compiles its own net, which TensorFlow warns of as slow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with console.ConsoleProgress() as progress:
        study = run_study(data, out, settings, training, names, progress, runner, audit, told)
    if as_json:
        console.show_json(study.to_json_dict())
    else:
        _show(study)
    return _end(study)


def _choose_runner(ray: str | None) -> Runner | None:
    if ray is None:
        return None
    from georgia.study.ray_runner import run_on_ray

    check_packages("Cannot train on a cluster", ["ray"])
    return run_on_ray(ray)


def _read_settings(
    config: Path | None, changes: dict[str, str], typed: dict[str, Any]
) -> tuple[StudyConfig, dict[str, Any], dict[str, str] | None]:
    """Return the settings of the study, those of its trainings, and names for folders.

    A recipe among the training settings is the study's: it means the same wherever it is given.
    """
    from georgia.study import StudyConfig, plan_runs

    file, training = read_settings(config, "study"), read_settings(config, "train", is_required=False)
    names = parse_folder_names(file.pop("class_names", None))
    recipes = [{"recipe": layer.pop("recipe")} if "recipe" in layer else {} for layer in (training, changes)]
    settings = build_config(StudyConfig, recipes[0], file, recipes[1], typed, where="the settings of 'study'")
    training |= changes
    if any(run.config.int8 for run in plan_runs(settings, training)):
        check_packages("Cannot export 8-bit files", ["nncf"])
    return settings, training, names


def _show(study: Study) -> None:
    from georgia.study.rows import table_rows
    from georgia.study.table import describe_best

    rows = table_rows(study.rows)
    hidden = ("failed", "test images", "quality gate")
    shown = [name for name in rows[0] if name not in hidden]
    console.show_table(shown, [[_cell(row[name]) for name in shown] for row in rows])
    console.show_line(describe_best(study.variants, study.comparisons))
    for name in ("study.html", "study.csv", "study.md"):
        console.show_line(f"{name}: {study.out / name}")


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _end(study: Study) -> int:
    for row in study.failed_rows:
        console.show_note(f"run {row.run_name} failed: {row.reason}")
    for row in study.gated_rows:
        console.show_note(f"run {row.run_name}: quality gate failed: {row.gate}")
    if study.failed_rows and not study.variants:
        first = study.failed_rows[0]
        raise InputError(
            "Cannot make the study",
            needs="one run or more must finish",
            got=first.reason,
            hint="Repair that and run the same command again.",
        )
    code = console.end_with(study.failures)
    if len(study.gated_rows) == len(study.rows) - len(study.failed_rows):
        return console.GATE_FAILED
    return console.DONE_IN_PART if study.failed_rows or study.gated_rows else code
