"""``georgia backup``: a copy of a store, as a file or in another database, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config
from georgia.cli.verify import cannot_open
from georgia.errors import GateError, mask_credentials


def run(
    db: Annotated[str, typer.Argument(help="The store: an SQLite file or a postgresql://… URL.")],
    out: Annotated[
        str, typer.Option("--out", help="A file that does not exist, or an empty PostgreSQL database.")
    ],
    verify: Annotated[
        bool | None, typer.Option("--verify/--no-verify", help="Check every row of the copy.  [yes]")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Copy a store as it is at this moment, while a monitor writes to it, and prove the copy.

    \b
    Examples:
      georgia backup georgia-monitor.db --out /mnt/backup/2026-03-01.db
      georgia backup postgresql://me@host/plant --out plant.db
      georgia backup plant.db --out postgresql://me@host/restored
    A copy is a store: to restore one, copy it back. The record's faults are copied too, and named: exit 4.
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.monitor.backup import BackupConfig, back_up

    settings = make_config(BackupConfig, config, "backup", {"verify": verify})
    with console.ConsoleProgress() as progress:
        try:
            made = back_up(db, out, settings, progress)
        except ConnectionError as error:
            raise cannot_open(db, error) from error
    if as_json:
        console.show_json(made.to_json_dict())
    else:
        size = "" if made.n_bytes is None else f", {made.n_bytes / 1e6:.1f} MB"
        console.show_line(f"{mask_credentials(made.out)}: {made.n_frames:,} frames{size}")
        console.show_line(f"head: {made.head}")
        for fault in made.to_json_dict()["faults"]:
            console.show_line(fault)
    if made.is_whole is False and made.verification is not None:
        raise GateError(
            f"The record of {mask_credentials(db)!r} was copied, but is not whole: "
            f"{made.verification.n_faults:,} faults. See: georgia verify"
        )
    return console.DONE
