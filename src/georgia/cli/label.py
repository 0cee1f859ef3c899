"""``georgia label``: name the crops of a folder, or the windows of whole frames, one key each."""

from __future__ import annotations

import os
import signal
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import open_model
from georgia.cli.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    given,
    make_config,
    parse_classes,
    read_settings,
)
from georgia.cli.packages import SERVICE, TRAINING, check_packages
from georgia.config import build_config, parse_assignments
from georgia.errors import InputError, mask_credentials
from georgia.files import check_outside_data

if TYPE_CHECKING:
    from georgia.label.exchange import Imported
    from georgia.label.journal import Journal
    from georgia.label.result import LabelResult
    from georgia.label.session import LabelSession
    from georgia.label.settings import LabelConfig
    from georgia.monitor.store import Store


# Where a page is found again: the port after that of georgia serve.
_PORT = 8421


SourceArgument = Annotated[
    Path, typer.Argument(help="A folder of crops or of whole frames, or a table that names them.")
]
OutOption = Annotated[
    Path, typer.Option("--out", help="The table of labels (.csv), with its journal beside it.")
]
ModelArgument = Annotated[
    Path | None, typer.Argument(help="A run folder or an exported .onnx, for classes and scale.  [none]")
]
ClassNames = Annotated[
    str | None, typer.Option("--classes", help="Class names in the order of their keys.", metavar="NAME,…")
]
BatchOption = Annotated[
    Path | None,
    typer.Option("--batch-csv", help="Without a page: write what to name next, or read it back."),
]
ImportOption = Annotated[
    Path | None, typer.Option("--import", help="Take labels from COCO, YOLO, Label Studio, CVAT or CSV.")
]
ExportOption = Annotated[
    Path | None, typer.Option("--export", help="Write the labels for another program: .csv, .json, .xml.")
]
FormOption = Annotated[
    str | None, typer.Option(help="csv, coco, yolo, label-studio or cvat.  [by --export's suffix]")
]

TrainOption = Annotated[
    Path | None,
    typer.Option("--train", help="Learn a model from the labels into this folder.", metavar="DIR"),
]


@dataclass(frozen=True)
class _Tasks:
    """What is to be done with the labels; where there is nothing, a page is served."""

    batch_csv: Path | None
    imported: Path | None
    export: Path | None
    form: str
    train: Path | None

    @property
    def is_page(self) -> bool:
        return not (self.batch_csv or self.imported or self.export or self.train)

    @property
    def is_choosing(self) -> bool:
        """Whether a table is to be written."""
        return self.batch_csv is not None and not self.batch_csv.exists()


@dataclass(frozen=True)
class _Page:
    """Where the page is served, whether a browser is opened on it, and what is printed.

    ``who`` is the person that the command names, "" where the page is to ask for it. ``people`` is the store
    whose users log in, None without; the section [serve] of ``config`` says how.
    """

    port: int
    is_opened: bool
    as_json: bool
    who: str = ""
    people: Store | None = None
    config: Path | None = None


@dataclass(frozen=True)
class _Start:
    """What a labelling begins with: source and model, classes if given, and the person."""

    source: Path
    model: Path | None
    classes: tuple[str, ...] | None
    who: str


def run(
    source: SourceArgument,
    out: OutOption,
    model: ModelArgument = None,
    classes: ClassNames = None,
    who: Annotated[str | None, typer.Option(help="Who names.  [the page asks, else the user's name]")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the page; 0: any free one.  [8421]")] = None,
    batch_csv: BatchOption = None,
    n: Annotated[int | None, typer.Option("--n", help="Rows of --batch-csv.  [60]")] = None,
    imported: ImportOption = None,
    export: ExportOption = None,
    form: FormOption = None,
    train: TrainOption = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Serve the page, and open no browser.")
    ] = False,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Name crops, or windows of whole frames, with one key each, into a table that every command reads.

    \b
    Examples:
      georgia label frames --out labels.csv --classes CEX,PG
      georgia label frames runs/first --out labels.csv --who "A. Miller"
      georgia label frames --out labels.csv --classes CEX,PG --batch-csv next.csv
      georgia label frames --out labels.csv --import coco.json --export labels.xml
      georgia label frames --out labels.csv --train runs/labelled
    Each key is on disk before the next crop appears; run the same command again to go on. Ctrl-C stops.
    Settings for --set and their meaning: docs/label.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.cli.monitor import read_user
    from georgia.label.journal import Journal, check_who

    tasks = _Tasks(batch_csv, imported, export, form or "", train)
    page = _Page(_PORT if port is None else port, not (no_browser or as_json), as_json, who or "")
    _check_tasks(source, out, tasks, page)
    start = _Start(source, model, parse_classes(classes), check_who(who or read_user()))
    with Journal(out) as journal:
        settings = _read_settings(journal, config, changes, n)
        with _open_people(settings, page, tasks.is_page) as people:
            return _label(journal, start, settings, tasks, replace(page, people=people, config=config))


def _read_settings(
    journal: Journal, config: Path | None, changes: list[str] | None, n: int | None
) -> LabelConfig:
    """Return the settings; those of the first start hold where no others are asked for."""
    from georgia.label.settings import LabelConfig
    from georgia.label.start import recall_settings

    file = read_settings(config, "label", is_required=False)
    layers = (recall_settings(journal), file, parse_assignments(changes or ()), given({"n": n}))
    return build_config(LabelConfig, *layers, where="the settings of 'label'")


def _label(journal: Journal, start: _Start, settings: LabelConfig, tasks: _Tasks, page: _Page) -> int:
    with console.ConsoleProgress() as progress:
        for note in journal.notes:
            progress.say(f"note: {note}")
        session, found = _open(journal, start, settings, tasks, progress)
        try:
            if tasks.is_choosing:
                _measure(session, settings, start.model, progress)
            result = _work(session, found, tasks, settings, start.who, progress)
        except BaseException:
            session.close()
            raise
    try:
        if not tasks.is_page:
            return _show(result, page.as_json)
        with _measuring(session, settings, start.model) as measure:
            return _serve(session, result, start, page, settings, measure)
    finally:
        session.close()


def _check_tasks(source: Path, out: Path, tasks: _Tasks, page: _Page) -> None:
    """Reject what cannot be done, before anything is read.

    Raises:
        InputError: an output lies where it would be read as an image, is another one, or has no form.
    """
    from georgia.label.batch_table import find_images_folder
    from georgia.label.catalog_file import find_apart_file
    from georgia.label.exchange import find_form

    check_outside_data(out, source)
    for option, target in (("--batch-csv", tasks.batch_csv), ("--export", tasks.export)):
        if target is not None and target.absolute() in (out.absolute(), find_apart_file(out).absolute()):
            raise InputError(
                f"Cannot use {option}", needs="another file than --out's is needed", got=repr(str(target))
            )
    if tasks.form and tasks.export is None:
        raise InputError("Cannot use --form", needs="it is for --export", got="no --export")
    if tasks.train is not None:
        check_packages("Cannot train", TRAINING)
        check_outside_data(tasks.train, source)
    if tasks.export is not None:
        find_form(tasks.export, tasks.form)
    if tasks.batch_csv is not None:
        check_outside_data(find_images_folder(tasks.batch_csv), source)
    if tasks.is_page:
        from georgia.cli.serve import check_port

        check_packages("Cannot show the page", SERVICE)
        check_port("127.0.0.1", page.port)


def _open(
    journal: Journal, start: _Start, settings: LabelConfig, tasks: _Tasks, progress: console.ConsoleProgress
) -> tuple[LabelSession, Imported | None]:
    """Return a session over the source, and what is to be imported into it."""
    from georgia.label.even import EvenChooser
    from georgia.label.session import LabelSession
    from georgia.label.settings import count_wanted
    from georgia.label.start import choose_classes, open_pool, read_import
    from georgia.monitor.tile import find_tile_px

    bundle = open_model(start.model, None) if start.model is not None else None
    tile_px = 0 if bundle is None else find_tile_px(bundle)
    pool = open_pool(start.source, journal, settings, progress, tile_px)
    found = None
    if tasks.imported is not None:
        found, pool = read_import(tasks.imported, pool)
    known = bundle.labels.names if bundle is not None else found.classes if found is not None else ()
    choose_classes(journal, start.classes, known, start.who)
    chooser = EvenChooser(pool, settings.choice.seed)
    least = settings.learn.least_per_class
    wanted = partial(count_wanted, least_per_class=least)
    return LabelSession(pool, journal, chooser, wanted), found


def _work(
    session: LabelSession,
    found: Imported | None,
    tasks: _Tasks,
    settings: LabelConfig,
    who: str,
    progress: console.ConsoleProgress,
) -> LabelResult:
    """Do what was asked for, in the order import, table, export; return how the labelling stands."""
    from georgia.label.batch_table import run_batch
    from georgia.label.exchange import write_names
    from georgia.label.result import LabelResult
    from georgia.label.start import check_enough, import_names, learn_labels

    imported = batch = exported = None
    if tasks.imported is not None and found is not None:
        for note in found.notes:
            progress.say(f"note: {note}")
        imported = import_names(session, found, tasks.imported, who)
    if tasks.batch_csv is not None:
        batch = run_batch(session, tasks.batch_csv, settings.n, who, progress)
    if tasks.export is not None:
        exported = write_names(session.list_named(), session.classes, tasks.export, tasks.form)
    session.write()
    result = LabelResult.of(session, imported=imported, batch=batch, n_exported=exported)
    if tasks.train is None:
        return result
    check_enough(session, settings)
    console.load_keras()
    return replace(result, learned=learn_labels(session, tasks.train, settings, progress))


def _measure(
    session: LabelSession, settings: LabelConfig, model: Path | None, progress: console.ConsoleProgress
) -> None:
    """Have what comes next chosen by what the images show; without the packages for it evenly."""
    from georgia.label.background import MeasuringProcess, use_features

    try:
        check_packages("Cannot choose by features", TRAINING)
        use_features(session, MeasuringProcess(session.pool, settings, model), settings, progress)
    except InputError as error:
        progress.say(f"note: what comes next is chosen evenly: {error}")


@contextmanager
def _measuring(
    session: LabelSession, settings: LabelConfig, model: Path | None
) -> Iterator[Callable[[Path], None]]:
    """Measure the pool while a page is served; until that is done, what comes next is chosen evenly.

    Yields what measures it with a newer model.
    """
    from georgia.label.background import MeasuringProcess, use_features

    processes: list[MeasuringProcess] = []

    def measure(model: Path | None) -> None:
        processes.append(MeasuringProcess(session.pool, settings, model))
        try:
            check_packages("Cannot choose by features", TRAINING)
            use_features(session, processes[-1], settings)
        except InputError as error:
            console.show_note(f"what comes next is chosen as before: {error}")

    thread = threading.Thread(target=measure, args=[model], name="georgia-measure", daemon=True)
    thread.start()
    try:
        yield measure
    finally:
        for process in processes:
            process.stop()
        thread.join()


def _serve(
    session: LabelSession,
    result: LabelResult,
    start: _Start,
    page: _Page,
    settings: LabelConfig,
    measure: Callable[[Path], None],
) -> int:
    """Serve the page until a signal comes; show how the labelling stands then."""
    from georgia.cli.monitor import noting_signals
    from georgia.label.result import LabelResult
    from georgia.web.config import ServeConfig
    from georgia.web.label_app import PageHooks, let_log_in, make_label_config, open_label_page

    # What cannot be read is said before one begins to name.
    code = _end(result)
    # With a token of one's own a page goes on after a new start; it is not shown.
    own_token = os.environ.get("GEORGIA_TOKEN", "")
    config = make_label_config(page.port, own_token)
    if page.people is not None:
        service = make_config(ServeConfig, page.config, "serve", {})
        config = let_log_in(config, service, settings.oidc_redirect)

    def show_address(address: str) -> None:
        token = "" if own_token or page.people is not None else config.token
        link = f"{address}#token={token}" if token else address
        if page.as_json:
            console.show_json({**result.to_json_dict(), "url": address, "token": token, "page": link})
        else:
            console.show_line(f"page: {link}")
            may = "Who may operate the probe logs in" if page.people else "Who has the address can name"
            console.show_note(f"Ctrl-C stops; every name is kept. {may}.")
            if page.is_opened:
                # A browser of the terminal would hold the server up.
                opened = address if page.people is not None else f"{address}#token={config.token}"
                threading.Thread(target=webbrowser.open, args=[opened], daemon=True).start()

    with noting_signals() as received:
        hooks = PageHooks(show_address, measure)
        server = open_label_page(config, session, page.who, hooks, start.model, settings.learn, page.people)
        server.run()
    session.write()
    if not page.as_json:
        console.show_note(LabelResult.of(session).summary())
    return console.INTERRUPTED if signal.SIGINT in received else code


@contextmanager
def _open_people(settings: LabelConfig, page: _Page, is_page: bool) -> Iterator[Store | None]:
    """Open the store whose users log in to the page, if the settings name one.

    Raises:
        InputError: it cannot be opened or has no user, or a name was typed besides.
    """
    from georgia.cli.verify import open_existing, open_store_named
    from georgia.monitor.connect import reading
    from georgia.monitor.people.users import has_users

    if not settings.people or not is_page:
        yield None
        return
    open_existing(settings.people).close()
    store = open_store_named(settings.people)
    try:
        with reading(store.engine) as connection:
            needs = "" if has_users(connection) else "a store with users is needed"
        hint, got = "See: georgia users add.", "one without"
        if page.who and not needs:
            needs, hint, got = "the log-in says who names", "Leave --who out.", f"--who {page.who!r}"
        if needs:
            what = f"Cannot let the people of {mask_credentials(settings.people)!r} log in"
            raise InputError(what, needs=needs, got=got, hint=hint)
        yield store
    finally:
        store.close()


def _show(result: LabelResult, as_json: bool) -> int:
    if as_json:
        console.show_json(result.to_json_dict())
        return _end(result)
    for line in result.tell_tasks():
        console.show_line(line)
    console.show_line(result.summary())
    return _end(result)


def _end(result: LabelResult) -> int:
    for label in result.conflicts:
        console.show_note(f"not taken: {label}")
    return max(console.end_with(result.failures), console.DONE_IN_PART if result.conflicts else console.DONE)
