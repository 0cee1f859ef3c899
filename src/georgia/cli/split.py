"""``georgia split``: train, validation and test parts, no crystal on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from georgia.cli import console
from georgia.cli.options import ClassNamesOption, ConfigOption, JsonOption, make_config, parse_folder_names
from georgia.errors import InputError, describe_fault, suggest

if TYPE_CHECKING:
    from georgia.placement import Mode, Placement
    from georgia.records import Failure
    from georgia.split import Split

NAMINGS = ("plain", "study")
OrderOption = Annotated[
    str | None,
    typer.Option(
        help="grouped: a crystal's copies stay together; name: the study's cut; given: keep parts.  [grouped]"
    ),
]


def run(
    data: Annotated[Path, typer.Argument(help="Folder per class, or a CSV with path,class[,group,time].")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the parts and the manifest.")],
    mode: Annotated[
        str, typer.Option(help="copy, link, symlink, move, or manifest (the list only).", metavar="MODE")
    ] = "copy",
    order: OrderOption = None,
    fractions: Annotated[
        str | None, typer.Option(help="Shares of train, valid and test.  [0.7,0.25,0.05]", metavar="T,V,T")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, another grouped split.  [42]")] = None,
    naming: Annotated[
        str, typer.Option(help="plain: train/CEX; study: GAtrainBinary/0.", metavar="NAMING")
    ] = "plain",
    class_names: ClassNamesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Split pictures 70/25/5 into train, validation and test parts.

    \b
    Examples:
      georgia split data/cropped --out data/split
      georgia split data/cropped --out data/split --order name --mode link
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.placement import find_unfinished_move, finish_move
    from georgia.split import SplitConfig

    if naming not in NAMINGS:
        rule = f"it must be one of {', '.join(NAMINGS)}"
        raise InputError(
            describe_fault("Unknown --naming", rule, repr(naming), suggest(naming, NAMINGS).strip())
        )
    typed = {"fractions": fractions, "order": order, "seed": seed}
    settings = make_config(SplitConfig, config, "split", typed)
    names = parse_folder_names(class_names)
    failures: Sequence[Failure] = ()
    with console.ConsoleProgress() as progress:
        if mode == "move" and find_unfinished_move(out):
            progress.say(f"Finishing the move into '{out}' that was begun before.")
            split, placement = finish_move(out, progress)
        else:
            split, placement, failures = _split(data, out, mode, settings, (naming, names), progress)
    if as_json:
        described = {**split.to_json_dict(), **vars(placement), "failed": console.list_failures(failures)}
        console.show_json(described)
    else:
        _show(split, placement)
    return console.end_with(failures)


def _split(
    data: Path,
    out: Path,
    mode: str,
    settings: Any,
    names: tuple[str, Mapping[str, str] | None],
    progress: console.ConsoleProgress,
) -> tuple[Split, Placement, Sequence[Failure]]:
    from georgia.catalog import read_catalog
    from georgia.placement import place_files, study_names
    from georgia.split import make_split

    naming, class_names = names
    catalog = read_catalog(data, class_names=class_names, progress=progress)
    split = make_split(catalog, settings)
    folders = study_names(split.labels) if naming == "study" else None
    return split, place_files(split, out, cast("Mode", mode), folders, progress), catalog.failures


def _show(split: Split, placement: Placement) -> None:
    classes = split.labels.names
    rows = [[part, *(f"{counts[name]:,}" for name in classes)] for part, counts in split.counts.items()]
    console.show_table(["part", *classes], rows)
    console.show_line(f"{split.n_groups:,} groups, {len(split.leaks):,} of them in more than one part")
    console.show_line(f"{placement.mode}: {placement.n_placed:,} files into {placement.dest}")
