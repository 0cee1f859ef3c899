"""``georgia spotcheck``: a batch's fraction from a few windows that a person names, whatever the net does."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, given, make_config
from georgia.cli.packages import check_packages
from georgia.errors import InputError
from georgia.files import check_outside_data
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.images.decode import Image
    from georgia.spotcheck import Request, Source, SpotcheckConfig, SpotcheckResult
    from georgia.spotcheck.sync import JoinedCheck

_TABLES = (".csv", ".json", ".jsonl", ".parquet")


_Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of the check. Without it a store's own check is shown."),
]
_Batch = Annotated[str | None, typer.Option(help="A batch of the store, by name or number.  [the newest]")]
_ClassName = Annotated[
    str | None, typer.Option("--class", help="The class asked for.  [the impurity, or the last class]")
]
_Frames = Annotated[Path | None, typer.Option(help="Folder with the batch's frames.  [the watched one]")]
_Width = Annotated[
    float | None,
    typer.Option(help="Wished width of the interval, such as 0.05: how many names it takes."),
]
_Labels = Annotated[
    Path | None, typer.Option(help="CSV to write the named windows into, as labels for training.")
]
_Model = Annotated[
    Path | None, typer.Option(help="The model that predicted: did it learn from these windows?")
]
_Extend = Annotated[
    bool,
    typer.Option(
        "--extend", help="Go on with a store's check: sample windows of the frames that came since."
    ),
]
_Apart = Annotated[
    bool, typer.Option("--apart", help="Only read the store: plan and names are in the folder alone.")
]


def run(
    source: Annotated[
        str, typer.Argument(help="A table of georgia predict, or a monitor's store (SQLite file or URL).")
    ],
    out: _Out = None,
    batch: _Batch = None,
    n: Annotated[int | None, typer.Option("--n", help="Windows to be named.  [60]")] = None,
    class_name: _ClassName = None,
    frames: _Frames = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.  [42]")] = None,
    width: _Width = None,
    labels: _Labels = None,
    model: _Model = None,
    apart: _Apart = False,
    extend: _Extend = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Estimate a batch's fraction with an interval that holds however wrong the net is.

    \b
    Examples:
      georgia spotcheck predictions.csv --out check
      georgia spotcheck batch.db --batch B-117 --n 60 --out check
      georgia spotcheck batch.db --batch B-117
      georgia spotcheck batch.db --batch B-117 --extend
      georgia spotcheck predictions.csv --out check --width 0.05 --labels labels.csv
    The first call draws windows into check/windows and writes check/names.csv. Write a class, "neither"
    or "unclear" into its column "name", in order, as many as you like; then run the same command again.
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.model.load import load_bundle
    from georgia.spotcheck import Request, SpotcheckConfig

    typed = given({"n": n, "class_name": class_name, "seed": seed})
    settings = make_config(SpotcheckConfig, config, "spotcheck", typed)
    if extend:
        own = {"out": out, "class_name": class_name, "width": width, "labels": labels, "model": model}
        hint = "Extend the check first; then run the command with a new --out and without --extend."
        _check_of_folder(given({**own, "apart": apart or None}), " with --extend", hint)
        return _extend_stored(source, batch or "", n, seed, as_json)
    if out is None:
        own = {**typed, **given({"width": width, "labels": labels, "model": model})}
        _check_of_folder(own, "", "Give --out, or leave it out.")
        return _show_stored(source, batch or "", as_json)
    request = Request(width, labels, load_bundle(model) if model is not None else None)
    asked = _Asked(source, batch, frames, out, apart, typed)
    return _check_in_folder(asked, settings, request, as_json)


@dataclass(frozen=True)
class _Asked:
    """What was asked for: a batch or table, the folder of the check, and the settings that were typed."""

    source: str
    batch: str | None
    frames: Path | None
    out: Path
    apart: bool
    typed: Mapping[str, object]


def _check_in_folder(asked: _Asked, settings: SpotcheckConfig, request: Request, as_json: bool) -> int:
    from georgia.spotcheck import plan_size, run_spotcheck

    out, joined = asked.out, None
    found = _read(asked.source, asked.batch, asked.frames)
    check_outside_data(out, *found.find_folders())
    if "n" not in asked.typed:
        settings = plan_size(found, out, settings, request.width)
    if "batch" in found.metadata and not asked.apart:
        joined = _join(asked, found, settings)
    if joined is not None:
        settings, request = joined.config, joined.find_request(request)
        found = _read(asked.source, asked.batch, asked.frames, joined.check.through_frame, joined.after_frame)
        joined.check_source(found)
    with console.ConsoleProgress() as progress:
        measure = joined.measure_all if joined is not None and joined.extends else None
        result = run_spotcheck(found, out, settings, progress, request, measure)
    plot, more = _save_plot(result, out), _save_report(joined, out) if joined is not None else {}
    if as_json:
        console.show_json({**result.to_json_dict(), "folder": out, "plot": plot, **more})
    else:
        _show(result, out, plot)
        if request.labels is not None and not request.labels.exists():
            console.show_note(f"no window has the name of a class yet: {request.labels} was not written")
        for name, value in more.items():
            console.show_line(f"{name}: {value}")
    return console.DONE


def _check_of_folder(options: Mapping[str, object], also: str, hint: str) -> None:
    """Reject options of a check in a folder where the call makes none; ``also`` says what it has besides."""
    for name, value in options.items():
        raise InputError(
            f"Cannot use {name}{also}", needs="it is for a check in a folder", got=value, hint=hint
        )


def _join(asked: _Asked, found: Source, settings: SpotcheckConfig) -> JoinedCheck | None:
    """Return the batch's check in the store, begun here if there is none; None for a folder of its own."""
    from georgia.cli.monitor import read_user
    from georgia.cli.verify import open_store_named
    from georgia.spotcheck.check import PLAN_FILE
    from georgia.spotcheck.sync import join_check

    store = open_store_named(asked.source)
    number = int(str(found.metadata["batch_id"]))
    if (asked.out / PLAN_FILE).exists() and not store.spotchecks(number):
        store.close()
        return None
    if "seed" not in asked.typed:
        settings = replace(settings, seed=secrets.randbelow(2**32))  # that nobody can foresee
    return join_check(store, str(number), settings, read_user(), tuple(asked.typed))


def _save_report(joined: JoinedCheck, out: Path) -> dict[str, object]:
    """Write the report of a check that is in a store, and let go of the store; return what to show of it."""
    from georgia.images.decode import read_image
    from georgia.spotcheck.sync import list_images

    try:
        measured = joined.measure()
        head: dict[str, object] = {"check": joined.check.id, "head": joined.store.newest_head()}
        images: list[Image | str] = [
            f"its image is in the folder of check {part.check.id}"
            for part in measured.before
            for _ in part.names
        ]
        images += [read_image(path) for path in list_images(out, len(measured.names))]
        if not measured.names or find_spec("jinja2") is None:
            return head
        from georgia.report.spotcheck_page import save_spotcheck_page

        page = save_spotcheck_page(measured, joined.batch, str(head["head"]), images, out)
        return {**head, "report": page}
    finally:
        joined.store.close()


def _extend_stored(source: str, batch: str, n: int | None, seed: int | None, as_json: bool) -> int:
    """Plan the extension of a check in a store, and say where to go on."""
    if _is_table(source):
        needs = "the store of a monitor is needed"
        raise InputError(
            "Cannot extend the check of a table", needs=needs, got=source, hint="Check it again."
        )
    check_packages("Cannot open the store", ["sqlalchemy"])
    from georgia.cli.monitor import read_user
    from georgia.cli.verify import open_store_named
    from georgia.spotcheck.sync import begin_extension

    store = open_store_named(source)
    try:
        check = begin_extension(store, batch, n, seed, read_user())
    finally:
        store.close()
    body = check.body
    if as_json:
        told = {
            name: body[name] for name in ("extends", "n_windows", "n_frames", "n_frames_without", "through")
        }
        console.show_json({"check": check.id, "class": check.target, "n_sampled": check.n_sampled, **told})
        return console.DONE
    windows, frames = (count_noun(body[name], name[2:-1]) for name in ("n_windows", "n_frames"))
    of = f"{windows} of {frames} that came since"
    console.show_line(
        f"Check {check.id} goes on with check {body['extends']['check']}: {check.n_sampled} of {of}."
    )
    console.show_line(
        "Name them on the page of georgia serve, or run this again with a new --out in place of --extend."
    )
    return console.DONE


def _show_stored(source: str, batch: str, as_json: bool) -> int:
    """Show what the check in a store says; it is only read."""
    if _is_table(source):
        raise InputError(
            "Cannot check a table without a folder", needs="--out is needed", got="none", hint="--out check"
        )
    check_packages("Cannot open the store", ["sqlalchemy"])
    from georgia.spotcheck.sync import read_checked

    found, of = read_checked(source, batch)
    if as_json:
        console.show_json({**found.to_json_dict(), "batch": of.name})
        return console.DONE
    console.show_line(found.result.summary())
    _show_error(found.result)
    if found.is_part:
        console.show_note(
            f"the batch has gone on: this is of its first {found.check.body['through']['ordinal']:,} frames"
        )
    console.show_line(f"check {found.check.id} of batch {of.name}, named by {', '.join(found.named_by)}")
    return console.DONE


def _save_plot(result: SpotcheckResult, out: Path) -> Path | None:
    """Write the plot of the curve where there is one, and what draws is installed."""
    if result.details is None or not result.details.curve or find_spec("matplotlib") is None:
        return None
    from georgia.report.spotcheck_curve import save_curve

    return save_curve(result.details.curve, result.target, out)


def _is_table(source: str) -> bool:
    return "://" not in source and Path(source).suffix.lower() in _TABLES


def _read(
    source: str, batch: str | None, frames: Path | None, through: int | None = None, after: int = 0
) -> Source:
    from georgia.spotcheck import read_batch, read_predictions

    if _is_table(source):
        if batch is not None or frames is not None:
            raise InputError(
                "Cannot use --batch or --frames",
                needs="they are for a monitor's store",
                got=f"the table {source!r}",
                hint="Leave them out.",
            )
        return read_predictions(Path(source))
    check_packages("Cannot open the store", ["sqlalchemy"])
    return read_batch(source, batch or "", frames, through, after)


def _show(result: SpotcheckResult, out: Path, plot: Path | None) -> None:
    from georgia.spotcheck.check import NAMES_FILE, RESULT_FILE, WINDOWS_FOLDER

    console.show_line(result.summary())
    if result.interval is None:
        console.show_line(
            f"Look at {out / WINDOWS_FOLDER}, write what each shows into {out / NAMES_FILE}, run this again."
        )
        return
    _show_error(result)
    if result.interval.n < result.n_sampled:
        console.show_line(f"Window {result.interval.n + 1} is the next to name, of {result.n_sampled}.")
    _show_details(result)
    if result.n_more is not None and (result.details is None or result.details.width is None):
        console.show_line(
            f"About {count_noun(result.n_more, 'more name')} would halve the interval (a new --out with --n)."
        )
    for name, file in (("result", out / RESULT_FILE), ("plot", plot)):
        if file is not None:
            console.show_line(f"{name}: {file}")


def _show_error(result: SpotcheckResult) -> None:
    if result.error is not None:
        wrong, low, high = (
            f"{100 * value:.1f}" for value in (result.error.fraction, result.error.low, result.error.high)
        )
        console.show_line(f"The net's own label is wrong on {wrong} % ({low}–{high} %) of the windows.")


def _show_details(result: SpotcheckResult) -> None:
    """Print the curve, slips, names for the wished width, labels, and what the model learned from."""
    from georgia.monitor.columns import iso_time

    found, interval = result.details, result.interval
    if found is None or interval is None:
        return
    if found.curve:
        rows = [
            [
                str(iso_time(span.from_s)),
                str(iso_time(span.to_s)),
                f"{100 * span.interval.fraction:.1f}",
                f"{100 * span.interval.low:.1f}–{100 * span.interval.high:.1f}",
                "" if span.raw_fraction is None else f"{100 * span.raw_fraction:.1f}",
                str(span.interval.n),
            ]
            for span in found.curve
        ]
        console.show_table(
            ["from", "to", f"{result.target} %", "all hold at once", "net alone", "names"], rows
        )
    if found.slips is not None and found.with_slips is not None:
        slips, allowed = found.slips, found.with_slips
        end = (
            "too few to say how often one slips; the second person should name more (second_every)."
            if slips.high >= 0.5
            else f"one slips on {100 * slips.low:.1f}–{100 * slips.high:.1f} %. Allowing for that, "
            f"{result.target} is {100 * allowed.low:.1f}–{100 * allowed.high:.1f} %."
        )
        differing = f"{slips.n_differing} of {count_noun(slips.n, 'window')}"
        console.show_line(f"Two persons differ on {differing}: {end}")
    if found.width is not None:
        wished = f"{100 * found.width:g} points"
        if interval.width <= found.width:
            console.show_line(f"The interval is as narrow as {wished}: you can stop.")
        elif found.n_for_width is None:
            console.show_line(f"More than 2,000 names would make it as narrow as {wished}.")
        else:
            console.show_line(
                f"About {count_noun(found.n_for_width, 'name')} in all make it as narrow as {wished}."
            )
    if found.n_later:
        more = count_noun(found.n_later, "window")
        console.show_line(f"The batch has grown by {more} since the first call: they are left out.")
    if found.n_labels:
        console.show_line(f"{count_noun(found.n_labels, 'label')} written for training.")
    if found.n_learned:
        console.show_note(
            f"the model learned from {count_noun(found.n_learned, 'sampled window')}: how often it is wrong "
            "here says nothing of other images and is left out. The fraction and its interval still hold."
        )
