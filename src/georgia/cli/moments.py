"""``georgia moments``: when crystals appeared and went in a batch, and what people said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, read_settings
from georgia.cli.packages import check_packages
from georgia.cli.verify import cannot_open, open_existing
from georgia.errors import InputError
from georgia.files import check_target, write_bytes

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.process.moments.result import BatchMoments, Moment

_SUFFIXES = (".csv", ".json")


def run(
    store: Annotated[str, typer.Argument(help="The store: an SQLite file or a postgresql://… URL.")],
    batch: Annotated[
        str, typer.Option(help="The batch, by name or number.  [the newest]", metavar="NUMBER|NAME")
    ] = "",
    temperature: Annotated[
        str,
        typer.Option(help="The variable that is the solution's temperature.  [the settings', or the only]"),
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write them as a table too: .csv or .json.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Tell the moments of a batch: first crystals, cloud and clear point, growth, first impurity.

    \b
    Examples:
      georgia moments batch.db
      georgia moments batch.db --batch B-117 --temperature T_r --out B-117.csv
      georgia moments postgresql://me@host/plant --batch 12 --json
    The store is only read. Settings are those of --config, else those that the last service wrote into it.
    """  # noqa: D301 - \b keeps the lines apart in the help
    check_packages("Cannot read the moments", ["sqlalchemy"])
    if out is not None:
        _check_out(out)
    reader = open_existing(store)
    try:
        found = _find(reader, batch, temperature, config)
    except ConnectionError as error:  # the store went away meanwhile
        raise cannot_open(store, error) from error
    finally:
        reader.close()
    if out is not None:
        from georgia.process.moments.export import write_csv, write_json

        text = write_csv(found) if out.suffix.lower() == ".csv" else write_json(found)
        write_bytes(out, text.encode("utf-8", "backslashreplace"))
    if as_json:
        console.show_json({**found.to_json_dict(), "path": str(out) if out else None})
    else:
        _show(found)
    return console.DONE


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"Cannot write {str(out)!r}",
            needs=f"a name that ends in {' or '.join(_SUFFIXES)} is needed",
            got=out.suffix or "none",
        )
    check_target(out)


def _find(reader: StoreReader, wanted: str, temperature: str, config: Path | None) -> BatchMoments:
    from georgia.process.moments.in_store import read_moments, read_recorded_settings
    from georgia.process.moments.settings import read_moments_settings
    from georgia.spotcheck.sources import choose_batch

    settings = read_moments_settings(config)
    has_own = bool(read_settings(config, "moments", is_required=False))
    batches = reader.batches(limit=100_000)
    chosen = choose_batch(batches, wanted, "tell moments of")
    if not has_own:
        settings = read_recorded_settings(reader)
    if temperature:
        settings = replace(settings, temperature=temperature)
    return read_moments(reader, chosen, settings, must_have=bool(temperature) or has_own)


def _show(found: BatchMoments) -> None:
    if not found.n_frames:
        console.show_line("no frames: nothing can be told")
        return
    rows = [[_name(moment), *_tell(moment)] for moment in found.moments]
    console.show_table(["moment", "time", "interval", "temperature", "state"], rows)
    for moment in found.moments:
        console.show_line(f"{_name(moment)}: {'; '.join([moment.text, *moment.notes])}")
    for zone in found.zones:
        span = f"{zone.low:.1f} to {zone.high:.1f}"
        console.show_line(f"metastable zone width: {zone.width:.1f} {zone.unit} ({span})")
    if not found.zones:
        console.show_line(f"no metastable zone width: {found.no_zone}")
    temperature = found.temperature or f"none: {found.no_temperature}"
    console.show_line(f"temperature: {temperature}")


def _name(moment: Moment) -> str:
    number = f" ({moment.number})" if moment.number > 1 else ""
    return f"{moment.point or moment.kind}{number}"


def _tell(moment: Moment) -> list[str]:
    from georgia.monitor.columns import iso_time

    low, high = (iso_time(end) or "open" for end in moment.shown_interval)
    is_shown = moment.shown_s is not None
    at = moment.temperature
    is_own = at is not None and moment.shown_s == moment.time_s
    return [
        iso_time(moment.shown_s) or "–",
        f"{low} to {high}" if is_shown else "–",
        f"{at.value:.2f} {at.unit} ({at.low:.2f} to {at.high:.2f})" if at and is_own and is_shown else "–",
        str(moment.state) or str(moment.finding),
    ]
