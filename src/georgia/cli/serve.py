"""``georgia serve``: the live page and the REST service."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import georgia
from georgia.cli import console
from georgia.cli.log_file import LogOption, check_log_apart, logging_to, make_log_config
from georgia.cli.models import open_model
from georgia.cli.options import (
    ConfigOption,
    JsonOption,
    ProbeModelArgument,
    StoreOption,
    given,
    read_settings,
)
from georgia.cli.verify import open_store_named
from georgia.config import build_config, parse_assignments
from georgia.errors import InputError, mask_credentials
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle
    from georgia.monitor.run import Monitor
    from georgia.monitor.settings import MonitorConfig
    from georgia.monitor.store import Store
    from georgia.monitor.supervisor import Supervisor
    from georgia.process.moments.settings import MomentsConfig
    from georgia.process.settings import SourceConfig
    from georgia.web.config import ServeConfig

    # What is watched, the files of process data that are followed beside it, and the model's path.
    _Probe = tuple[MonitorConfig | None, Sequence[SourceConfig], Path | None]


def run(
    model: ProbeModelArgument = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="Also watch this folder, as georgia monitor does.")
    ] = None,
    db: StoreOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.  [8420]")] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Needed to change something; better given as GEORGIA_TOKEN.  [a new one]"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting, also of the monitor; repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    log_file: LogOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Serve the live page, the REST service, and predictions for single images.

    \b
    Examples:
      georgia serve runs/first --watch //probe/frames --db batch.db
      georgia serve runs/first --db postgresql://georgia@db/plant --set frames=/mnt/probe
      GEORGIA_TOKEN=… georgia serve runs/first --host 0.0.0.0 --port 8080
    Only this machine can reach it unless --host says otherwise. Ctrl-C stops.
    Settings for --set and their meaning: docs/serve.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    assigned, document = parse_assignments(changes or ()), read_settings(config, "", is_required=False)
    log, typed = make_log_config(document, log_file), _typed(db, host, port, token)
    check_log_apart(log, document, {**assigned, **given(typed)})
    with logging_to(log, has_stdout=not as_json):
        if "probes" in document:
            from georgia.cli.serve_probes import serve_settings

            options, sorted_changes = {"watch": watch, **typed}, sort_changes(assigned, is_watching=True)
            return serve_settings(model, document, sorted_changes, options, as_json, token is not None)
        return _serve_one(model, watch, (assigned, config), typed, as_json, token is not None)


def _serve_one(
    model: Path | None,
    watch: Path | None,
    given_settings: tuple[Mapping[str, str], Path | None],
    typed: Mapping[str, Any],
    as_json: bool,
    is_shown: bool,
) -> int:
    """Serve one probe; ``is_shown``: the token was typed, so it is no secret."""
    from georgia.web.config import ServeConfig, make_token

    assigned, config = given_settings
    of_monitor = read_settings(config, "monitor", is_required=False)
    # A folder in the settings file, or after --set, is watched as well as one after --watch.
    folder = watch or assigned.get("watch") or of_monitor.get("watch")
    own, others = sort_changes(assigned, bool(folder))
    file = read_settings(config, "serve", is_required=False)
    shared = {"db": of_monitor["db"]} if folder and "db" in of_monitor else {}
    settings = build_config(ServeConfig, shared, file, own, given(typed), where="the settings of 'serve'")
    is_secret = not is_shown and bool(settings.token)
    settings = settings if settings.token else replace(settings, token=make_token())
    probe = None
    if folder:
        from georgia.cli.monitor import read_user
        from georgia.monitor.settings import MonitorConfig

        layers = ({"operator": read_user()}, of_monitor, others, {"watch": folder, "db": settings.db})
        probe = build_config(MonitorConfig, *layers, where="the settings of 'monitor'")
    from georgia.cli.monitor import read_beside

    return serve_probe(model, settings, probe, as_json, is_secret, *read_beside(config))


def _typed(db: str | None, host: str | None, port: int | None, token: str | None) -> dict[str, Any]:
    """Return what was given on the command line, the token in the environment too."""
    return {"db": db, "host": host, "port": port, "token": token or os.environ.get("GEORGIA_TOKEN")}


def sort_changes(changes: Mapping[str, str], is_watching: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return settings of the service and of the monitor; one that both have, such as no_frames_s, is both's.

    Without a folder to watch all are the service's.
    """
    from georgia.web.config import ServeConfig

    if not is_watching:
        return dict(changes), {}
    from georgia.monitor.settings import MonitorConfig

    names = {key: key.replace("-", "_") for key in changes}
    known = {*(field.name for field in fields(ServeConfig)), *ServeConfig.renamed}
    both = known & {*(field.name for field in fields(MonitorConfig)), *MonitorConfig.renamed} - {"db"}
    own = {key: value for key, value in changes.items() if names[key] in known}
    others = {key: value for key, value in changes.items() if key not in own or names[key] in both}
    return own, others


def serve_probe(
    model: Path | None,
    settings: ServeConfig,
    probe: MonitorConfig | None,
    as_json: bool,
    is_secret: bool = False,
    process: Sequence[SourceConfig] = (),
    moments: MomentsConfig | None = None,
) -> int:
    """Serve until Ctrl-C, with a monitor in a thread where there is a folder to watch.

    ``is_secret``: the token came from the environment or a file, and is not shown. ``process`` are files that
    are followed beside the monitor, ``moments`` how those of batches are found.
    """
    from georgia.cli.monitor import end_if_hung, noting_signals
    from georgia.monitor.notify import ServiceNotifier

    check_port(settings.host, settings.port)
    bundle = open_model(model, None)
    store = open_store_named(settings.db)
    folder = bundle.model_path.parent  # of a promoted model a folder of its own

    def show_address(address: str) -> None:
        n_users = count_users(store)
        token = "" if is_secret or n_users else settings.token
        link = f"{address}#token={token}" if token else address
        if probe is None:  # else the monitor's loop says when it is ready
            ServiceNotifier().say_ready()
        if as_json:
            console.show_json(
                {
                    **{"url": address, "token": token, "db": mask_credentials(settings.db), "page": link},
                    "users": n_users,
                }
            )
            return
        console.show_line(f"page: {link}")
        if n_users:
            show_people(n_users, settings)
            return
        console.show_note(
            "Ctrl-C stops. Who has the token in the address can acknowledge alarms and change limits."
            if token
            else "Ctrl-C stops. To change something, put #token=… with your token behind the address."
        )
        console.show_note("Nobody logs in: the store has no user. See: georgia users.")
        if settings.sign:
            names = ", ".join(settings.sign)
            console.show_note(f"Until somebody does, nobody can do what 'sign' names: {names}.")

    with _recording(store), noting_signals() as received:
        surroundings = show_address, received
        failure = _serve(settings, bundle, store, (probe, process, model), folder, surroundings, moments)
    if failure is not None:
        end_if_hung(failure)
        failure.raise_failure()
    return console.INTERRUPTED if signal.SIGINT in received else console.DONE


def _serve(
    settings: ServeConfig,
    bundle: Bundle,
    store: Store,
    probe: _Probe,
    folder: Path,
    surroundings: tuple[Callable[[str], None], Collection[int]],
    moments: MomentsConfig | None,
) -> Supervisor | None:
    """Serve until a signal comes; return the supervisor of a monitor that failed meanwhile.

    ``surroundings``: who shows the address, and the signals to stop that came before the server takes them.
    """
    from georgia.web.serve import open_service

    show_address, received = surroundings

    ends: list[Callable[[], None]] = []

    def end_service() -> None:
        for end in ends:
            end()

    def begin(address: str) -> None:
        show_address(address)
        if received:  # it came while the service started
            end_service()

    with _monitoring(bundle, store, probe, end_service) as (monitor, supervisor):
        server = open_service(settings, bundle, store, monitor, folder, begin, moments)
        ends.append(lambda: setattr(server, "should_exit", True))
        if supervisor is not None:
            supervisor.start()
        server.run()
    return supervisor


def count_users(store: Store) -> int:
    """Return how many users a store has; where there is none, nobody logs in."""
    from georgia.monitor.connect import reading
    from georgia.monitor.people.users import list_users

    with reading(store.engine) as connection:
        return len(list_users(connection))


def show_people(n_users: int, settings: ServeConfig) -> None:
    """Say that people log in, and whether others in the network could read their passwords."""
    users = count_noun(n_users, "user")
    console.show_note(
        f"Ctrl-C stops. People log in: the store has {users}, and the service's token is not taken."
    )
    if not settings.is_loopback:
        console.show_note(
            "The service itself has no TLS: put a proxy with it in front, or passwords can be read."
        )


@contextmanager
def _recording(store: Store) -> Iterator[None]:
    """Write into the audit log when the service starts and ends, however it ends."""
    from georgia.cli.monitor import read_who, show_head
    from georgia.monitor.connect import StoreAwayError
    from georgia.monitor.records import AuditAction

    def write(action: AuditAction, detail: dict[str, Any]) -> None:
        with suppress(StoreAwayError):
            store.append_event(read_who(), action, {"process": describe_process(), **detail})

    from georgia.monitor.health import describe_process

    write(AuditAction.SERVICE_STARTED, {"version": georgia.__version__})
    show_head(store)
    reason = "stopped"
    try:
        yield
    except BaseException as error:
        reason = f"failed: {type(error).__name__}: {error}"
        raise
    finally:
        write(AuditAction.SERVICE_STOPPED, {"reason": reason})
        show_head(store)
        store.close()


def check_port(host: str, port: int) -> None:
    """Reject an address that cannot be listened on, before anything is begun.

    Raises:
        InputError: the port is taken or not allowed, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            if os.name != "nt":  # there it would allow a port that another program listens on
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host.strip("[]"), port))
    except (OSError, UnicodeError) as error:
        is_taken = getattr(error, "errno", None) == errno.EADDRINUSE
        raise InputError(
            f"Cannot serve on {host} port {port}",
            needs="a free port of this machine is needed",
            got="one that another program listens on" if is_taken else getattr(error, "strerror", error),
            hint="Take another --port; 0 is any free one." if is_taken else "Look at --host and --port.",
        ) from error


@contextmanager
def _monitoring(
    bundle: Bundle, store: Store, settings: _Probe, on_failure: Callable[[], None]
) -> Iterator[tuple[Monitor | None, Supervisor | None]]:
    """Yield a monitor and what runs it in a thread, if there is a folder to watch; end both."""
    probe, process, model = settings
    if probe is None:
        yield None, None
        return
    from georgia.cli.monitor import find_place, read_who
    from georgia.monitor.model_watch import watching_model
    from georgia.monitor.outputs import open_outputs
    from georgia.monitor.run import Monitor
    from georgia.monitor.supervisor import Supervisor
    from georgia.monitor.tile import FrameAnalyzer
    from georgia.process.follow import following_process

    analyzer = FrameAnalyzer.of_monitor(bundle, probe)
    monitor = Monitor(analyzer, probe, store, who=read_who())
    supervisor = Supervisor(monitor, on_failure=on_failure, exit_after_s=probe.health.exit_after_s)
    with (
        open_outputs(probe, store, monitor),
        following_process(process, store, monitor),
        watching_model(find_place(model, probe), monitor),
    ):
        try:
            yield monitor, supervisor
        finally:
            supervisor.stop()
