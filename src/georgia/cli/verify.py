"""``georgia verify``: is the record of a live probe whole?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config
from georgia.cli.packages import check_packages
from georgia.config import Config
from georgia.errors import GateError, InputError, MissingDependencyError

if TYPE_CHECKING:
    from georgia.monitor.store import Store


@dataclass(frozen=True)
class VerifyConfig(Config):
    """``expect`` is a head, ``NUMBER:HASH``, that the audit log must hold; "" is none."""

    expect: str = ""


def run(
    db: Annotated[str, typer.Argument(help="The store: an SQLite file or a postgresql://… URL.")],
    expect: Annotated[
        str | None, typer.Option(help="A head that was printed before; the audit log must still hold it.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find every altered, missing or reordered row of a store's record; exit 4 if there is one.

    \b
    Examples:
      georgia verify georgia-monitor.db
      georgia verify georgia-monitor.db --expect 17:3f2a…
    Write the head that it prints into the batch's protocol: with --expect it proves later that nothing was
    cut off at the end.
    """  # noqa: D301 - \b keeps the lines apart in the help
    settings = make_config(VerifyConfig, config, "verify", {"expect": expect})
    check_packages("Cannot open the store", ["sqlalchemy"])
    store = open_existing(db)
    from georgia.monitor.verify import verify_store  # needs what the store needs

    try:
        verification = verify_store(store, settings.expect)
    finally:
        store.close()
    if as_json:
        console.show_json(verification.to_json_dict())
    else:
        console.show_line(
            f"audit log: {verification.n_entries:,} rows, frames: {verification.n_frames:,}, "
            f"maps: {verification.n_maps:,}"
        )
        console.show_line(f"head: {verification.head}")
        for fault in verification.faults:
            console.show_line(f"{fault.table} {fault.row}: {fault.fault}")
    if not verification.is_whole:
        raise GateError(f"The record of {db!r} is not whole: {verification.n_faults} faults.")
    return console.DONE


def open_existing(db: str) -> Store:
    """Open a store that is there; a mistyped name must not make a new one.

    Raises:
        InputError: there is no such file, or it is no store.
    """
    path = db.removeprefix("sqlite:///")
    if "://" not in path and not Path(path).is_file():
        raise InputError(
            f"Cannot open the store {db!r}",
            needs="it must exist",
            got="no such file",
            hint="Give the file that 'georgia monitor --db' wrote.",
        )
    return open_store_named(db)


def open_store_named(db: str) -> Store:
    """Open or make a store, or say which one cannot be opened.

    Raises:
        InputError: it is no store, or it cannot be reached or written to.
    """
    from georgia.monitor import open_store
    from georgia.monitor.connect import StoreAwayError

    try:
        return open_store(db)
    except MissingDependencyError:
        raise
    except (StoreAwayError, OSError) as error:
        if isinstance(error, StoreAwayError):
            got = str(error).removeprefix("The store cannot be used now: ")
        else:
            got = error.strerror or str(error)
        raise InputError(
            f"Cannot open the store {db!r}",
            needs="a database that can be reached and written to is needed",
            got=got,
        ) from error
    except InputError as error:
        raise InputError(
            str(error).replace("Cannot open the store:", f"Cannot open the store {db!r}:")
        ) from error
