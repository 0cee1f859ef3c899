"""``georgia verify``: is the record of a live probe whole?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config
from georgia.config import Config
from georgia.errors import GateError, InputError, MissingDependencyError

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.store import Store
    from georgia.monitor.verify import Verification


@dataclass(frozen=True)
class VerifyConfig(Config):
    """What the record is compared with besides its own chains; "" and None are nothing.

    ``expect`` is a head, ``NUMBER:HASH``, that it must hold; ``anchor`` is a file of such heads, and ``key``
    the file of the key that signed them. ``frames`` is the folder of the frames' images.
    """

    expect: str = ""
    anchor: str = ""
    key: str = ""
    frames: Path | None = None


def run(
    db: Annotated[str, typer.Argument(help="The store: an SQLite file or a postgresql://… URL.")],
    expect: Annotated[
        str | None, typer.Option(help="A head that was printed before; the record must still hold it.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(help="The file of heads that the monitor's setting anchor names.", metavar="FILE"),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The file of the key that signed the anchor.", metavar="FILE")
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(help="The folder of the frames' images: compare their content too.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find every altered, missing or reordered row of a store's record; exit 4 if there is one.

    \b
    Examples:
      georgia verify georgia-monitor.db
      georgia verify georgia-monitor.db --expect 17:3f2a…
      georgia verify postgresql://me@host/plant --anchor /mnt/other/anchor.jsonl --key anchor.key
      georgia verify batch.db --frames //probe/frames
    The store is only read. Write the head that it prints into the batch's protocol: with --expect it proves
    later that nothing up to there was altered or cut off.
    """  # noqa: D301 - \b keeps the lines apart in the help
    typed = {"expect": expect, "anchor": anchor, "key": key, "frames": frames}
    settings = make_config(VerifyConfig, config, "verify", typed)
    from georgia.monitor.anchors import open_anchor  # needs what the store needs
    from georgia.monitor.verify import verify_store

    if settings.key and not settings.anchor:
        raise InputError("Cannot use the key", needs="--anchor is needed with --key", got="none")
    noted = open_anchor(settings.anchor, settings.key) if settings.anchor else None
    store = open_existing(db)
    try:
        verification = verify_store(store, settings.expect, noted, settings.frames)
    except ConnectionError as error:  # the store went away meanwhile
        raise cannot_open(db, error) from error
    finally:
        store.close()
    if as_json:
        console.show_json(verification.to_json_dict())
    else:
        _show(verification, settings.frames is not None)
    if not verification.is_whole:
        n = verification.n_faults
        raise GateError(f"The record of {db!r} is not whole: {n:,} {'fault' if n == 1 else 'faults'}.")
    return console.DONE


def _show(found: Verification, has_images: bool) -> None:
    images = f", images: {found.n_images:,}" if has_images else ""
    values = f", process values: {found.n_process_values:,}" if found.n_process_values else ""
    console.show_line(
        f"audit log: {found.n_entries:,} rows, frames: {found.n_frames:,}, maps: {found.n_maps:,}, "
        f"seals: {found.n_seals:,}{values}{images}"
    )
    console.show_line(f"head: {found.head}")
    for note in found.not_covered:
        console.show_line(f"not covered by the chain: {note}.")
    for fault in found.faults:
        console.show_line(f"{fault.table} {fault.row}: {fault.fault}")


def open_existing(db: str) -> StoreReader:
    """Open a store that is there, for reading only: nothing is made or changed.

    Raises:
        InputError: there is no such file, it is no store, or it cannot be reached.
    """
    from georgia.monitor.queries import StoreReader

    try:
        return StoreReader.open(db)
    except MissingDependencyError:
        raise
    except OSError as error:  # a store that is away is a ConnectionError
        raise cannot_open(db, error) from error
    except InputError as error:
        raise _naming(db, error) from error


def cannot_open(db: str, error: OSError, also: str = "") -> InputError:
    """Return the error that names a store which cannot be reached."""
    return InputError(
        f"Cannot open the store {db!r}",
        needs=f"a database that can be reached{also} is needed",
        got=error.strerror or str(error).removeprefix("The store cannot be used now: "),
    )


def _naming(db: str, error: InputError) -> InputError:
    return InputError(str(error).replace("Cannot open the store:", f"Cannot open the store {db!r}:"))


def open_store_named(db: str) -> Store:
    """Open or make a store that is written to, or say which one cannot be opened.

    Raises:
        InputError: it is no store, or it cannot be reached or written to.
    """
    from georgia.monitor import open_store

    try:
        return open_store(db)
    except MissingDependencyError:
        raise
    except OSError as error:
        raise cannot_open(db, error, " and written to") from error
    except InputError as error:
        raise _naming(db, error) from error
