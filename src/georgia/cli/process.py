"""``georgia process``: process data beside the images: a reactor's export, events, laboratory results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, SetOption, StoreOption
from georgia.cli.packages import check_packages
from georgia.config import build_config, parse_assignments, read_toml_section
from georgia.errors import InputError
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch
    from georgia.process.export import ExportSummary
    from georgia.process.queries import BatchProcess
    from georgia.process.settings import ProcessConfig


_File = Annotated[
    str | None,
    typer.Argument(
        help="An export: CSV with a time and numbers; or opc.tcp://HOST:PORT/…  [none: what the store has]"
    ),
]
_Event = Annotated[str | None, typer.Option(help="An event to write, such as seeding.", metavar="NAME")]
_Result = Annotated[
    str | None, typer.Option(help="A laboratory result to write.", metavar='"NAME [UNIT]=VALUE"')
]
_Withdraw = Annotated[int | None, typer.Option(help="The number of an event or a result to withdraw.", min=1)]
_Calibrate = Annotated[
    str | None,
    typer.Option(help="Laboratory results to calibrate the image fraction against.", metavar="NAME"),
]
_Out = Annotated[
    Path | None,
    typer.Option("--out", help="Write frames with the values of their time: .csv, .json, .jsonl, .parquet."),
]


def run(
    file: _File = None,
    db: StoreOption = None,
    show: Annotated[
        bool, typer.Option("--show", help="Only show how the file is understood; as without --db.")
    ] = False,
    batch: Annotated[
        str | None, typer.Option(help="A batch's number or name.  [by time; to show: the newest]")
    ] = None,
    event: _Event = None,
    result: _Result = None,
    at: Annotated[str | None, typer.Option(help="When that was, ISO 8601.  [now]", metavar="TIME")] = None,
    who: Annotated[str | None, typer.Option(help="Who says so.  [the user's name]")] = None,
    note: Annotated[str | None, typer.Option(help="A note to it, or why it is withdrawn.")] = None,
    withdraw: _Withdraw = None,
    calibrate: _Calibrate = None,
    out: _Out = None,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Read process data into a monitor's store: a reactor's export, events, laboratory results.

    \b
    Examples:
      georgia process reactor.csv
      georgia process reactor.csv --db batch.db --set time_zone=Europe/Berlin
      georgia process opc.tcp://dcs.plant:4840/reactor
      georgia process --db batch.db --event seeding --at 2026-03-01T10:15 --who Ann
      georgia process --db batch.db --result "PG [%]=12.5" --at 2026-03-01T11:00 --who Bob
      georgia process --db batch.db --batch B-117 --out B-117.csv
      georgia process --db batch.db --calibrate "PG by HPLC"
    Without --db it only shows how a file is understood. Settings for --set: docs/process.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    asked = _Asked(db or "", batch, who or _read_user(), note or "", as_json)
    if file is not None and file.startswith("opc.tcp:"):
        return _show_server(file, config, parse_assignments(changes or ()), as_json, has_store=bool(db))
    path = None if file is None else Path(file)
    settings = _read_settings(config, path, parse_assignments(changes or ()))
    if path is not None and (show or not db):
        return _show_file(path, settings, as_json)
    if not db:
        raise InputError(
            "Cannot read process data",
            needs="a file or a store is needed",
            got="neither",
            hint="Example: georgia process reactor.csv, or georgia process --db batch.db.",
        )
    check_packages("Cannot open the store", ["sqlalchemy"])
    if path is not None:
        return _import(path, settings, asked)
    if event is not None or result is not None:
        return _write(asked, event, result, at)
    if withdraw is not None:
        return _withdraw(asked, withdraw)
    if calibrate is not None:
        return _calibrate(asked, calibrate)
    return _show_store(asked, out, settings.max_age_s)


@dataclass(frozen=True)
class _Asked:
    """What holds for all that is done with a store."""

    db: str
    batch: str | None
    who: str
    note: str
    as_json: bool


def _read_user() -> str:
    from georgia.cli.monitor import read_user

    return read_user()


def _read_settings(config: Path | None, file: Path | None, changes: dict[str, str]) -> ProcessConfig:
    """Return the settings of one file: of [process], of the table in it that names the file, and of --set."""
    from georgia.process.settings import ProcessConfig

    section = read_toml_section(config, "process") if config is not None else {}
    layers: list[dict[str, Any]] = [{k: v for k, v in section.items() if not isinstance(v, dict)}]
    for name, table in section.items():
        if (
            isinstance(table, dict)
            and file is not None
            and Path(str(table.get("file", ""))).name == file.name
        ):
            layers += [{"source": name}, table]
    return build_config(ProcessConfig, *layers, changes, where="the settings of 'process'")


def _show_server(
    address: str, config: Path | None, changes: dict[str, str], as_json: bool, has_store: bool
) -> int:
    from georgia.cli.process_server import show_server

    return show_server(address, config, changes, as_json, has_store)


def _show_file(file: Path, settings: ProcessConfig, as_json: bool) -> int:
    from georgia.process.export import summarize_export

    summary = summarize_export(file, settings)
    if as_json:
        console.show_json(summary.to_json_dict())
    else:
        _show_summary(summary)
        console.show_note("nothing was read into a store: give --db once this is as it should be.")
    return console.DONE_IN_PART if summary.n_faults else console.DONE


def _show_summary(summary: ExportSummary) -> None:
    shown = summary.to_json_dict()
    for label, text in (
        ("file", f"{shown['file']}: {shown['encoding']}, {shown['delimiter']!r} between cells"),
        ("numbers", f"decimal {'comma' if shown['decimal'] == ',' else 'point'}"),
        ("header", f"{count_noun(shown['header_rows'], 'row')} before the first of data"),
        ("time", f"column {shown['time_column']!r}: {shown['time_format']}, {shown['time_zone']}"),
        (
            "rows",
            f"{shown['n_rows']:,} from {shown['first_time']} to {shown['last_time']}, "
            f"one in {shown['step_s']} s",
        ),
        (
            "left out",
            f"{count_noun(shown['n_faults'], 'row')} whose time cannot be read" if shown["n_faults"] else "",
        ),
        (
            "order",
            f"{count_noun(shown['n_backwards'], 'row')} "
            f"{'is' if shown['n_backwards'] == 1 else 'are'} earlier than the one above"
            if shown["n_backwards"]
            else "",
        ),
        (
            "same time",
            f"{shown['n_repeated']:,} rows have the time of the one above, and are left out"
            if shown["n_repeated"]
            else "",
        ),
        ("events", f"{shown['n_events']:,} in {shown['event_column']!r}" if shown["event_column"] else ""),
        ("texts", f"not read: {', '.join(shown['texts'])}" if shown["texts"] else ""),
    ):
        if text:
            console.show_line(f"{label}: {text}")
    for fault in shown["faults"][:5]:
        console.show_note(
            f"row {fault['row']} is left out: its time in the column {shown['time_column']!r} cannot be read "
            f"as {shown['time_format']}: {fault['content']!r}"
        )
    for note in shown["notes"]:
        console.show_note(note)
    rows = []
    for column in shown["columns"]:
        gaps = ", ".join(f"{n} × {text!r}" for text, n in column["gaps"].items())
        low, high = (f"{column[name]:g}" if column[name] is not None else "–" for name in ("low", "high"))
        unit = f"{column['unit'] or '–'}{', in its cells' if column['is_unit_in_cells'] else ''}"
        rows.append([column["name"], unit, f"{column['n_values']:,}", low, high, gaps or "–"])
    console.show_table(["variable", "unit", "values", "lowest", "highest", "gaps"], rows)


def _import(file: Path, settings: ProcessConfig, asked: _Asked) -> int:
    from georgia.cli.verify import open_store_named
    from georgia.process.export import summarize_export
    from georgia.process.follow import import_file

    summary = summarize_export(file, settings)
    store = open_store_named(asked.db)
    try:
        chosen = _find_batch(store, asked.batch)
        done = import_file(store, file, settings, asked.who, chosen.id if chosen else None)
        batches = _name_batches(store, summary, chosen)
    finally:
        store.close()
    if asked.as_json:
        console.show_json({**summary.to_json_dict(), "imported": done.to_json_dict(), "batches": batches})
    else:
        _show_summary(summary)
        console.show_line(
            f"into the store: {count_noun(done.n_values, 'value')}, {count_noun(done.n_gaps, 'gap')}, "
            f"{done.n_entries:,} events or results; "
            f"{done.n_known:,} were there already"
        )
        console.show_line(f"of {', '.join(batches)}" if batches else "of no batch: none lies in this time")
        if done.n_conflicts:
            console.show_note(
                f"{done.n_conflicts:,} say otherwise than the store, which stays: {done.conflict}"
            )
    return console.DONE_IN_PART if done.n_faults or done.n_conflicts else console.DONE


def _name_batches(store: StoreReader, summary: ExportSummary, chosen: Batch | None) -> list[str]:
    """Return the names of the batches that have values of the file."""
    from georgia.process.queries import list_variables

    if chosen is not None:
        return [f"batch {chosen.name!r}"]
    return [f"batch {each.name!r}" for each in store.batches() if list_variables(store, each, None, False)]


def _find_batch(store: StoreReader, wanted: str | None) -> Batch | None:
    from georgia.monitor.frames import find_batch

    return None if wanted is None else find_batch(store, wanted)


def _write(asked: _Asked, event: str | None, result: str | None, at: str | None) -> int:
    from georgia.cli.verify import open_store_named
    from georgia.monitor.columns import iso_time
    from georgia.monitor.frames import parse_time
    from georgia.monitor.process_record import Entry, EntryKind, write_entry

    at_s = parse_time(at) if at else time.time()
    kind, name, value, unit = EntryKind.EVENT, event or "", None, ""
    if result is not None:
        kind = EntryKind.LABORATORY
        name, value, unit = _split_result(result)
    store = open_store_named(asked.db)
    try:
        chosen = _find_batch(store, asked.batch)
        entry = Entry(
            kind, at_s or 0.0, name, asked.who, value, unit, None, asked.note, chosen.id if chosen else None
        )
        number = store.write(lambda change: write_entry(change, entry))
    finally:
        store.close()
    if asked.as_json:
        shown = {"entry": number, "kind": kind, "name": name, "value": value, "unit": unit}
        console.show_json({**shown, "at": iso_time(at_s), "who": asked.who})
    else:
        amount = "" if value is None else f" {value:g} {unit}".rstrip()
        console.show_line(f"{kind} {number}: {name}{amount} at {iso_time(at_s)} by {asked.who}")
    return console.DONE


def _split_result(text: str) -> tuple[str, float, str]:
    """Return name, value and unit of ``NAME [UNIT]=VALUE``."""
    from georgia.process.cells import parse_number, split_unit

    title, _, number = text.rpartition("=")
    value = parse_number(number, ".") if title else None
    if value is None:
        raise InputError(
            "Cannot use --result", needs='NAME=VALUE or "NAME [UNIT]=VALUE" is needed', got=repr(text)
        )
    name, unit = split_unit(title)
    return name, value, unit


def _withdraw(asked: _Asked, number: int) -> int:
    from georgia.cli.verify import open_store_named
    from georgia.monitor.process_record import withdraw_entry

    store = open_store_named(asked.db)
    try:
        store.write(lambda change: withdraw_entry(change, number, asked.who, asked.note))
    finally:
        store.close()
    if asked.as_json:
        console.show_json({"entry": number, "withdrawn_by": asked.who, "reason": asked.note})
    else:
        console.show_line(f"entry {number} is withdrawn; the record keeps it.")
    return console.DONE


def _calibrate(asked: _Asked, name: str) -> int:
    from georgia.cli.verify import cannot_open, open_existing
    from georgia.process.calibrate import calibrate_fraction

    store = open_existing(asked.db)
    try:
        found = calibrate_fraction(store, name, _find_batch(store, asked.batch))
    except ConnectionError as error:
        raise cannot_open(asked.db, error) from error
    finally:
        store.close()
    if asked.as_json:
        console.show_json(found.to_json_dict())
        return console.DONE
    if found.reason:
        console.show_line(f"{found.name}: cannot say: {found.reason}.")
    else:
        console.show_line(
            f"{found.name} = {found.intercept:.4f} + {found.slope:.3f} × image fraction "
            f"(slope {found.slope_low:.3f} to {found.slope_high:.3f}), for image fractions of "
            f"{found.low_x:.1%} to {found.high_x:.1%}; standard deviation {found.residual_sd:.4f}"
        )
    rows = []
    for pair in found.pairs:
        predicted = found.predict(pair.image)
        told = "–" if predicted is None else f"{predicted[0]:.4f} ({predicted[1]:.4f}–{predicted[2]:.4f})"
        rows.append([pair.batch, f"{pair.image:.4f}", f"{pair.laboratory:.4f}", told])
    console.show_table(["batch", "image", "laboratory", "predicted, 95 % of new results"], rows)
    for text in (*found.notes, *(f"left out: {each}" for each in found.left_out)):
        console.show_line(text)
    return console.DONE


def _show_store(asked: _Asked, out: Path | None, max_age_s: float) -> int:
    from georgia.cli.verify import cannot_open, open_existing
    from georgia.process.join import export_joined
    from georgia.process.queries import read_batch_process

    store = open_existing(asked.db)
    try:
        chosen = _find_batch(store, asked.batch) or next(iter(store.batches(limit=1)), None)
        if chosen is None:
            raise InputError("Cannot show process data", needs="a batch is needed", got="a store without any")
        n_frames = export_joined(store, out, chosen.id, max_age_s) if out is not None else None
        found = read_batch_process(store, chosen.id)
    except ConnectionError as error:
        raise cannot_open(asked.db, error) from error
    finally:
        store.close()
    if asked.as_json:
        console.show_json({**found.to_json_dict(), "path": str(out) if out else None, "n_frames": n_frames})
    elif out is not None:
        console.show_line(f"{n_frames:,} frames in {out}")
    else:
        _show_process(found, chosen)
    return console.DONE


def _show_process(found: BatchProcess, batch: Batch) -> None:
    from georgia.monitor.columns import iso_time

    console.show_note(f"batch {batch.id} {batch.name!r}")
    for item in (*found.events, *found.laboratory):
        amount = "" if item.value is None else f" {item.value:g} {item.unit}".rstrip()
        console.show_line(
            f"{item.kind} {item.id}: {item.name}{amount} at {iso_time(item.time_s)} by {item.who}"
        )
    rows = []
    for series in found.series:
        variable = series.variable
        newest = "–" if variable.last_value is None else f"{variable.last_value:g}"
        counts = (f"{variable.n_values:,}", f"{variable.n_gaps:,}")
        rows.append(
            [
                variable.name,
                variable.unit or "–",
                variable.source,
                *counts,
                newest,
                str(iso_time(variable.last_time_s)),
            ]
        )
    console.show_table(["variable", "unit", "source", "values", "gaps", "newest", "at"], rows)
