"""``georgia frames``: what a live probe's store holds, as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config
from georgia.cli.verify import cannot_open, open_existing
from georgia.config import Config, at_least
from georgia.files import check_target

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch, FrameFilter
    from georgia.monitor.result import FrameResult


@dataclass(frozen=True)
class FramesConfig(Config):
    """``limit`` is the number of newest frames that are shown."""

    limit: Annotated[int, at_least(1)] = 20


def run(
    db: Annotated[str, typer.Argument(help="The store: an SQLite file or a postgresql://… URL.")],
    batch: Annotated[
        str | None, typer.Option(help="A batch's number or name.  [all of them]", metavar="NUMBER|NAME")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only frames taken at this time or later.", metavar="TIME")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only frames taken before.", metavar="TIME")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only frames in this state, such as alarm; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write all its frames as a table: .csv, .json, .jsonl or .parquet."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Newest frames that are shown.  [20]")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show or export the frames of a live probe, and its batches.

    \b
    Examples:
      georgia frames batch.db
      georgia frames batch.db --batch B-117 --out B-117.csv
      georgia frames batch.db --state alarm --since 2026-03-01T06:00 --out alarms.parquet
    A TIME is ISO 8601; one without a zone is this machine's.
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.monitor.frames import TABLE_SUFFIXES, export_frames, find_batch, make_filter
    from georgia.predict.tables import check_table_path

    shown = make_config(FramesConfig, config, "frames", {"limit": limit}).limit
    wanted = make_filter(since, until, tuple(state or ()))
    if out is not None:
        check_table_path(out, TABLE_SUFFIXES)
        check_target(out)
    store = open_existing(db)
    try:
        chosen = find_batch(store, batch) if batch is not None else None
        wanted = replace(wanted, batch_id=chosen.id if chosen else None)
        if out is not None:
            export_frames(store, out, wanted=wanted)
        return _report(store, chosen, wanted, shown, out, as_json)
    except ConnectionError as error:
        raise cannot_open(db, error) from error
    finally:
        store.close()


def _report(
    store: StoreReader,
    chosen: Batch | None,
    wanted: FrameFilter,
    shown: int,
    out: Path | None,
    as_json: bool,
) -> int:
    n_frames = store.count_frames(wanted=wanted)
    frames = store.frames(wanted.batch_id, limit=shown, wanted=wanted)
    batches = [chosen] if chosen else store.batches()
    if as_json:
        console.show_json(
            {
                "n_frames": n_frames,
                "batches": [item.to_json_dict() for item in batches],
                "frames": [frame.to_json_dict() for frame in frames],
                "path": str(out) if out else None,
            }
        )
        return console.DONE
    if out is not None:
        console.show_line(f"{n_frames:,} frames in {out}")
        return console.DONE
    for item in batches:
        end = "running" if item.ended_at_s is None else "ended"
        console.show_note(
            f"batch {item.id} {item.name!r} by {item.operator!r}: {item.n_frames:,} frames, {end}"
        )
    _show(frames, n_frames)
    return console.DONE


def _show(frames: list[FrameResult], n_frames: int) -> None:
    rows = []
    for frame in frames:
        plain = frame.to_json_dict()
        numbers = [
            "–" if plain[name] is None else f"{plain[name]:.4f}" for name in ("fraction", "low", "high")
        ]
        rows.append([frame.file, str(plain["frame_time"]), *numbers, str(frame.n_judged), frame.state])
    columns = ["file", "time", "fraction", "low", "high", "n", "state"]
    console.show_table(columns, rows, more=f"All {n_frames:,}: --out frames.csv.")
