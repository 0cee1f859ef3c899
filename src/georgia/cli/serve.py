"""``georgia serve``: the live page and the REST service."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from georgia.cli import console
from georgia.cli.models import open_model
from georgia.cli.options import (
    ConfigOption,
    JsonOption,
    ProbeModelArgument,
    StoreOption,
    given,
    read_settings,
)
from georgia.cli.packages import SERVICE, check_packages
from georgia.cli.verify import open_store_named
from georgia.config import build_config, parse_assignments
from georgia.errors import InputError, mask_credentials

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle
    from georgia.monitor.run import Monitor
    from georgia.monitor.settings import MonitorConfig
    from georgia.monitor.store import Store
    from georgia.web.config import ServeConfig


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
    check_packages("Cannot serve", SERVICE)
    from georgia.web.config import ServeConfig, make_token

    own, others = _sort_changes(parse_assignments(changes or ()), watch)
    typed = {"db": db, "host": host, "port": port, "token": token or os.environ.get("GEORGIA_TOKEN")}
    file = read_settings(config, "serve", is_required=False)
    settings = build_config(ServeConfig, file, own, given(typed), where="the settings of 'serve'")
    settings = settings if settings.token else replace(settings, token=make_token())
    probe = None
    if watch is not None:
        from georgia.cli.monitor import read_user
        from georgia.monitor.settings import MonitorConfig

        file = read_settings(config, "monitor", is_required=False)
        layers = ({"operator": read_user()}, file, others, {"watch": watch, "db": settings.db})
        probe = build_config(MonitorConfig, *layers, where="the settings of 'monitor'")
    return serve_probe(model, settings, probe, as_json)


def _sort_changes(changes: Mapping[str, str], watch: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    """Return settings of the service and of the monitor; without a folder to watch all are the service's."""
    from georgia.web.config import ServeConfig

    known = {*(field.name for field in fields(ServeConfig)), *ServeConfig.renamed}
    own = {key: value for key, value in changes.items() if watch is None or key.replace("-", "_") in known}
    return own, {key: value for key, value in changes.items() if key not in own}


def serve_probe(model: Path | None, settings: ServeConfig, probe: MonitorConfig | None, as_json: bool) -> int:
    """Serve until Ctrl-C, with a monitor in a thread where there is a folder to watch."""
    from georgia.web.serve import open_service

    check_port(settings.host, settings.port)
    bundle = open_model(model, None)
    store = open_store_named(settings.db)
    folder = model if model is not None and model.is_dir() else bundle.model_path.parent

    def show_address(address: str) -> None:
        link = f"{address}#token={settings.token}"
        if as_json:
            console.show_json(
                {"url": address, "token": settings.token, "db": mask_credentials(settings.db), "page": link}
            )
        else:
            console.show_line(f"page: {link}")
            console.show_note(
                "Ctrl-C stops. Who has the token in the address can acknowledge alarms and change limits."
            )

    try:
        with _monitoring(bundle, store, probe) as monitor:
            open_service(settings, bundle, store, monitor, folder, show_address).run()
    finally:
        store.close()
    return console.DONE


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
def _monitoring(bundle: Bundle, store: Store, probe: MonitorConfig | None) -> Iterator[Monitor | None]:
    """Run a monitor in a thread while the block runs, if there is a folder to watch."""
    if probe is None:
        yield None
        return
    from georgia.cli.monitor import read_who
    from georgia.monitor.outputs import open_outputs
    from georgia.monitor.run import Monitor
    from georgia.monitor.tile import FrameAnalyzer

    analyzer = FrameAnalyzer(bundle, probe.tiles, probe.impurity, probe.engine, probe.threads)
    monitor = Monitor(analyzer, probe, store, who=read_who())
    stop = threading.Event()
    with open_outputs(probe, store, monitor):
        thread = threading.Thread(target=monitor.run, args=(stop,), name="georgia-monitor")
        thread.start()
        try:
            yield monitor
        finally:
            stop.set()
            thread.join()
