"""``georgia report``: a batch of a live probe as one page to read, print, sign and file."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import georgia
from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, given, read_settings
from georgia.cli.packages import check_packages
from georgia.cli.report_comparison import write_comparison
from georgia.cli.verify import cannot_open, open_existing
from georgia.config import Config, build_config
from georgia.errors import GateError, InputError, mask_credentials
from georgia.text import count_noun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch
    from georgia.process.moments.settings import MomentsConfig
    from georgia.report.batch.compare import Comparison
    from georgia.report.batch.facts import BatchFacts

_PAGES = (".html", ".htm")
_Pdf = Annotated[
    bool | None, typer.Option("--pdf", help="Print it too: beside it, by an installed Chromium.")
]
_TimeZone = Annotated[str | None, typer.Option(help="Zone of all times: UTC, local or Europe/Berlin.  [UTC]")]
_Compare = Annotated[
    list[str] | None,
    typer.Option(help="A batch to put over others; again for each.", metavar="NUMBER|NAME"),
]
_By = Annotated[
    str,
    typer.Option(help="With --compare: elapsed, frame, '=TITLE' of a variable, '@EVENT'.", metavar="X"),
]
_Check = Annotated[
    Path | None,
    typer.Option(help="A page that was filed: is it what the store holds?", metavar="PAGE"),
]


@dataclass(frozen=True)
class ReportConfig(Config):
    """What a report is made of, besides the store.

    ``frames`` is the folder of the batch's images, by default the watched one. ``model`` is the folder of
    the model, whose card is shown. ``time_zone`` is that of all times on the page: UTC, local or a name such
    as Europe/Berlin. ``chromium`` is the browser that prints, "" one that is installed; ``paper`` is the size
    that the page prints on.
    """

    pdf: bool = False
    frames: Path | None = None
    model: Path | None = None
    time_zone: str = "UTC"
    chromium: str = ""
    paper: Literal["A4", "letter"] = "A4"


def run(
    store: Annotated[str, typer.Argument(help="The store: an SQLite file or a postgresql://… URL.")],
    batch: Annotated[
        str, typer.Option(help="The batch, by name or number.  [the newest]", metavar="NUMBER|NAME")
    ] = "",
    out: Annotated[
        Path, typer.Option("--out", help="A name that ends in .html, or a folder.  [the current folder]")
    ] = Path(),
    pdf: _Pdf = None,
    frames: Annotated[
        Path | None, typer.Option(help="Folder of the batch's images.  [the watched one]")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The model's run folder: its card is shown.  [the bundled one's]")
    ] = None,
    time_zone: _TimeZone = None,
    check: _Check = None,
    compare: _Compare = None,
    by: _By = "elapsed",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write the report of a batch: verdict, fraction with limits, alarms, images, audit log, signatures.

    \b
    Examples:
      georgia report batch.db
      georgia report batch.db --batch B-117 --out filed --pdf
      georgia report postgresql://me@host/plant --batch 12 --out B-12.html --time-zone Europe/Berlin
      georgia report batch.db --check filed/B-12.html
      georgia report batch.db --compare B-117 --compare B-118 --by "=T_r [°C]" --out both.html
    The store is only read, and a report that is there stays as it is. Exit code 4: the record is not whole.
    """  # noqa: D301 - \b keeps the lines apart in the help
    typed = {"pdf": pdf, "frames": frames, "model": model, "time_zone": time_zone}
    settings, moments = _read_config(config, typed)
    check_packages("Cannot write the report", ["sqlalchemy", "jinja2", "matplotlib"])
    _check_is_store(store)
    if compare:
        return write_comparison(store, compare, by, out, as_json)
    if check is not None:
        return _compare(store, check, settings, as_json)
    target, printed = _name_files(out, settings.pdf), None
    facts = _read(store, batch, settings, moments)
    if target is None:
        target = out / _name_report(facts.batch, facts.read_at_s)
    from georgia.report.batch.page import save_batch_page

    save_batch_page(facts, target, settings.paper)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    fault = ""
    if settings.pdf:
        printed, fault = _print(target, settings.chromium)
    _show(facts, target, printed, digest, fault, as_json)
    if not facts.verification.is_whole:
        n = count_noun(facts.verification.n_faults, "fault")
        raise GateError(f"The record of {mask_credentials(store)!r} is not whole: {n}. The report says so.")
    return console.DONE_IN_PART if fault else console.DONE


def _read_config(
    config: Path | None, typed: Mapping[str, object]
) -> tuple[ReportConfig, MomentsConfig | None]:
    """Return the settings of the report, and those of moments; a monitor's file may have only the latter.

    None stands for a file without settings of moments: then the store's count.

    Raises:
        InputError: the file or a setting cannot be used.
    """
    from georgia.process.moments.settings import read_moments_settings

    moments = read_moments_settings(config)
    is_monitors = bool(read_settings(config, "moments", is_required=False))
    layers = read_settings(config, "report", is_required=not is_monitors), given(typed)
    settings = build_config(ReportConfig, *layers, where="the settings of 'report'")
    return settings, moments if is_monitors else None


def _compare(store: str, page: Path, settings: ReportConfig, as_json: bool) -> int:
    """Compare a page with its store; exit 4 where a line differs or the record is not whole."""
    from georgia.report.batch.compare import as_of, compare_page, read_page
    from georgia.report.batch.page import render_batch

    text, origin = read_page(page)
    settings = replace(settings, time_zone=origin.zone)
    reader = open_existing(store)
    try:
        batch = reader.batch(origin.batch_id)
        facts = _read_facts(reader, batch, store, settings, origin.moments, origin.frame_id)
        anew = render_batch(as_of(facts, origin), origin.paper)
        anew = anew.encode("utf-8", "backslashreplace").decode("utf-8")
        found = compare_page(text, origin, facts, reader, anew)
    except ConnectionError as error:
        raise cannot_open(store, error) from error
    finally:
        reader.close()
    _show_comparison(found, page, as_json)
    if found.is_same:
        return console.DONE
    faults = [] if found.holds_head else ["the record does not hold its head"]
    faults += [] if found.verification.is_whole else ["the record is not whole"]
    faults += [f"{count_noun(found.n_differences, 'line')} differ"] if found.n_differences else []
    raise GateError(f"The page {str(page)!r} is not what the store holds: {'; '.join(faults)}.")


def _show_comparison(found: Comparison, page: Path, as_json: bool) -> None:
    if as_json:
        console.show_json(
            {
                "file": str(page),
                "same": found.is_same,
                "holds_head": found.holds_head,
                "whole": found.verification.is_whole,
                "n_differences": found.n_differences,
                "differences": [asdict(each) for each in found.differences],
                "written_by": found.origin.georgia,
                "head": found.verification.head,
            }
        )
        return
    if found.origin.georgia != georgia.__version__:
        console.show_note(f"written by Georgia {found.origin.georgia}: another version makes other lines.")
    for each in found.differences:
        console.show_line(f"page:  {each.page or '(no such line)'}")
        console.show_line(f"store: {each.store or '(no such line)'}")
    if found.n_differences > len(found.differences):
        console.show_line(f"and {found.n_differences - len(found.differences):,} more")
    if found.is_same:
        console.show_line("The page is what the store holds, and the record still holds its head.")


def _check_is_store(store: str) -> None:
    """Reject what other commands report on, with the page that it has."""
    path = Path(store)
    if "://" in store or not path.is_dir():
        return
    own = path / "report.html"
    hint = (
        f"Its report is {str(own)!r}." if own.is_file() else "Name a file that 'georgia monitor --db' wrote."
    )
    raise InputError(
        f"Cannot report on {store!r}",
        needs="the store of a live probe is needed",
        got="a run folder" if own.is_file() else "a folder",
        hint=hint,
    )


def _name_files(out: Path, has_pdf: bool) -> Path | None:
    """Return the page that ``--out`` names, None where it is a folder.

    Raises:
        InputError: the page, or its PDF, is there, or it is no name for one.
    """
    from georgia.report.batch.page import check_new

    suffix = out.suffix.lower()
    if suffix == ".pdf":
        raise InputError(
            f"Cannot write {str(out)!r}",
            needs="a name that ends in .html, or a folder, is needed",
            got="one of a PDF",
            hint="--pdf writes that beside the page.",
        )
    if out.is_dir() or suffix not in _PAGES:
        if out.is_file():
            raise InputError(
                f"Cannot write {str(out)!r}",
                needs="a name that ends in .html, or a folder, is needed",
                got="another file, which is left as it is",
            )
        return None
    for path in (out, *([out.with_suffix(".pdf")] if has_pdf else [])):
        check_new(path)
    return out


def _name_report(batch: Batch, at_s: float) -> str:
    r"""Return a file name that tells the batch and the second of writing.

    >>> from georgia.monitor.records import Batch
    >>> _name_report(Batch(3, "p", "B/117 \u00e4", "", "", "PG", 0.0, None, 0), 0.0)
    'report-3-B-117-19700101T000000Z.html'
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", batch.name).strip("-")[:40]
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
    return "-".join(part for part in ("report", str(batch.id), name, moment) if part) + ".html"


def _read(store: str, wanted: str, settings: ReportConfig, moments: MomentsConfig | None) -> BatchFacts:
    from georgia.process.moments.temperature import choose_temperature
    from georgia.process.queries import list_variables
    from georgia.spotcheck.sources import choose_batch

    reader = open_existing(store)
    try:
        batches = reader.batches(limit=100_000)
        batch = choose_batch(batches, wanted, "report on")
        if moments is not None:
            choose_temperature(list_variables(reader, batch, has_counts=False), moments.temperature)
        return _read_facts(reader, batch, store, settings, moments)
    except ConnectionError as error:  # the store went away meanwhile
        raise cannot_open(store, error) from error
    finally:
        reader.close()


def _read_facts(
    reader: StoreReader,
    batch: Batch,
    store: str,
    settings: ReportConfig,
    moments: MomentsConfig | None,
    through_frame: int | None = None,
) -> BatchFacts:
    from georgia.monitor.connect import name_store
    from georgia.monitor.frametime import find_zone
    from georgia.report.batch.facts import Times, read_facts
    from georgia.report.batch.key_frames import read_images
    from georgia.report.batch.page import add_key_frames

    times, cards = Times(find_zone(settings.time_zone)), _read_cards(settings.model)
    facts = read_facts(reader, batch, name_store(store), cards, times, through_frame, moments)
    folder = settings.frames or Path(str(facts.settings.get("watch") or facts.batch.source))
    return add_key_frames(facts, reader, read_images(folder))


def _read_cards(model: Path | None) -> Mapping[str, str]:
    """Return the cards at hand by the sha256 of their models: the bundled model's, and that of a folder."""
    import georgia
    from georgia.report.card import CARD_FILE

    folders = [Path(georgia.__file__).parent / "bundled"]
    if model is not None:
        folder = model if model.is_dir() else model.parent
        if not (folder / CARD_FILE).is_file():
            raise InputError(
                f"Cannot read the card of {str(model)!r}",
                needs=f"a model's folder with {CARD_FILE} is needed",
                got="none there",
            )
        folders.append(folder)
    cards = {}
    for folder in folders:
        text = (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.glob("*.onnx")):
            cards[hashlib.sha256(path.read_bytes()).hexdigest()] = text
    return cards


def _print(page: Path, chromium: str) -> tuple[Path | None, str]:
    """Return the PDF, or why there is none."""
    from georgia.report.batch.page import hold_new_file
    from georgia.report.batch.pdf import find_chromium, print_pdf

    target = page.with_suffix(".pdf")
    try:
        program = find_chromium(chromium)
        with hold_new_file(target):
            print_pdf(page, target, program)
    except InputError as error:
        return None, str(error)
    return target, ""


def _show(
    facts: BatchFacts, page: Path, printed: Path | None, sha256: str, fault: str, as_json: bool
) -> None:
    from georgia.report.batch.verdict import assess_batch

    verdict = assess_batch(facts)
    if as_json:
        console.show_json(
            {
                "file": str(page),
                "pdf": None if printed is None else str(printed),
                "fault": fault or None,
                "sha256": sha256,
                "batch": facts.batch.to_json_dict(),
                "n_frames": len(facts.frames),
                "verdict": verdict.mark,
                "lines": [{"verdict": line.mark, "text": line.text} for line in verdict.lines],
                "alarms_open": len(facts.open_alarms),
                "whole": facts.verification.is_whole,
                "head": facts.verification.head,
            }
        )
    else:
        for line in verdict.lines:
            console.show_line(f"{line.mark}: {line.text}")
        console.show_line(f"report: {page}")
        console.show_line(f"sha256: {sha256}")
        console.show_line(f"head: {facts.verification.head}")
        if printed is not None:
            console.show_line(f"PDF: {printed}")
    if fault:
        console.show_note(fault)
