"""``georgia fetch``: the study's images from Kaggle, counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config


def run(
    dest: Annotated[Path, typer.Argument(help="Folder for the images; call again to continue.")],
    source: Annotated[
        Path | None, typer.Option(help="A zip file or folder already on this machine: no connection needed.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Download the CEX/PG data set (over 1 GB) and check its counts.

    \b
    Needs the package kagglehub (pip install 'georgia[fetch]') and a connection.

    \b
    Examples:
      georgia fetch data/cephalexin
      georgia fetch data/cephalexin --source archive.zip
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.fetch import FetchConfig, fetch_dataset

    settings = make_config(FetchConfig, config, "fetch", {"source": source})
    with console.ConsoleProgress() as progress:
        result = fetch_dataset(dest, settings, progress)
    if as_json:
        console.show_json(result.to_json_dict())
        return console.DONE
    for name, count in result.classes.items():
        console.show_line(f"{name}: {count:,} images")
    console.show_line(str(result.path))
    return console.DONE
