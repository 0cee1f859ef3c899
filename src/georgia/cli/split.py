"""``georgia split``: train, validation and test parts, no crystal on two sides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ClassNamesOption, ConfigOption, JsonOption, make_config
from georgia.labels import parse_class_names


def run(
    data: Annotated[Path, typer.Argument(help="Folder per class, or a CSV with path,class[,group,time].")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the parts and the manifest.")],
    mode: Annotated[str, typer.Option(help="copy, link, move or manifest (writes the list only).")] = "copy",
    order: Annotated[
        str | None,
        typer.Option(help="grouped: copies of a crystal stay together; name: the study's cut by name."),
    ] = None,
    fractions: Annotated[
        str | None, typer.Option(help="Shares of train, valid and test.  [0.7,0.25,0.05]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, another grouped split.  [42]")] = None,
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
    from georgia.catalog import read_catalog
    from georgia.split import SplitConfig, make_split, place_files

    settings = make_config(
        SplitConfig, config, "split", {"fractions": fractions, "order": order, "seed": seed}
    )
    names = parse_class_names(class_names) if class_names else None
    with console.ConsoleProgress() as progress:
        catalog = read_catalog(data, class_names=names, progress=progress)
        split = make_split(catalog, settings)
        place_files(split, out, mode, progress=progress)
    if as_json:
        console.show_json(
            {**split.to_json_dict(), "out": out, "failed": console.list_failures(catalog.failures)}
        )
    else:
        classes = split.labels.names
        rows = [[part, *(f"{counts[name]:,}" for name in classes)] for part, counts in split.counts.items()]
        console.show_table(["part", *classes], rows)
        console.show_line(f"{split.n_groups:,} groups, {len(split.leaks)} of them on two sides · {out}")
    return console.end_with(catalog.failures)
