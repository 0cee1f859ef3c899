"""``georgia serve``: the live page and the REST service."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.models import open_model
from georgia.cli.options import (
    ConfigOption,
    JsonOption,
    ProbeModelArgument,
    StoreOption,
    read_optional_settings,
)
from georgia.config import build_config, parse_assignments

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle
    from georgia.monitor.run import Monitor
    from georgia.monitor.settings import MonitorConfig
    from georgia.monitor.store import Store
    from georgia.web.config import ServeConfig


def run(
    model: ProbeModelArgument = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="Watch this folder too, as georgia monitor does.")
    ] = None,
    db: StoreOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.  [8420]")] = None,
    token: Annotated[
        str | None,
        typer.Option(help="For what changes something; better in GEORGIA_TOKEN.  [a new one]"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, of the monitor too; repeat it.", metavar="KEY=VALUE"),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Serve the live page, the REST service and answers for single images.

    \b
    Examples:
      georgia serve runs/first --watch //probe/frames --db batch.db
      georgia serve runs/first --db postgresql://georgia@db/plant --set frames=/mnt/probe
      GEORGIA_TOKEN=… georgia serve runs/first --host 0.0.0.0 --port 8080
    Only this machine can reach it unless --host says otherwise. Ctrl-C stops.
    Settings for --set and their meaning: docs/serve.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.web.config import ServeConfig, make_token

    given = parse_assignments(changes or [])
    own = {field.name for field in fields(ServeConfig)}
    typed = {"db": db, "host": host, "port": port, "token": token or os.environ.get("GEORGIA_TOKEN")}
    layers = ({k: v for k, v in given.items() if _is_own(k, own, watch)}, _without_none(typed))
    settings = build_config(
        ServeConfig, read_optional_settings(config, "serve"), *layers, where="the settings of 'serve'"
    )
    settings = settings if settings.token else replace(settings, token=make_token())
    probe = None
    if watch is not None:
        rest = {key: value for key, value in given.items() if not _is_own(key, own, watch)}
        probe = _read_probe(config, {**rest, "watch": watch, "db": settings.db})
    return serve_probe(model, settings, probe, as_json)


def _is_own(key: str, own: set[str], watch: Path | None) -> bool:
    """Tell whether a setting is the service's; without a folder to watch all are, and wrong ones are told."""
    return key.replace("-", "_") in own or watch is None


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _read_probe(config: Path | None, given: Mapping[str, Any]) -> MonitorConfig:
    from georgia.cli.monitor import read_user
    from georgia.monitor.settings import MonitorConfig

    layers = ({"operator": read_user()}, read_optional_settings(config, "monitor"), given)
    return build_config(MonitorConfig, *layers, where="the settings of 'monitor'")


def serve_probe(model: Path | None, settings: ServeConfig, probe: MonitorConfig | None, as_json: bool) -> int:
    """Serve until Ctrl-C, with a monitor in a thread where there is a folder to watch."""
    from georgia.monitor import open_store
    from georgia.web.serve import open_service

    bundle = open_model(model, None)
    store = open_store(settings.db)
    folder = model if model is not None and model.is_dir() else bundle.model_path.parent

    def tell(address: str) -> None:
        link = f"{address}#token={settings.token}"
        if as_json:
            console.show_json({"url": address, "token": settings.token, "db": settings.db, "page": link})
        else:
            console.show_line(f"page: {link}")
            console.show_note(
                "Ctrl-C stops. The token in the address lets its holder acknowledge and change."
            )

    try:
        with _monitoring(bundle, store, probe) as monitor:
            open_service(settings, bundle, store, monitor, folder, tell).run()
    finally:
        store.close()
    return console.DONE


@contextmanager
def _monitoring(bundle: Bundle, store: Store, probe: MonitorConfig | None) -> Iterator[Monitor | None]:
    """Run a monitor in a thread while the block runs, if there is a folder to watch."""
    if probe is None:
        yield None
        return
    from georgia.cli.monitor import read_who
    from georgia.monitor.outputs import open_outlets
    from georgia.monitor.run import Monitor
    from georgia.monitor.tile import FrameAnalyzer

    judge = FrameAnalyzer(bundle, probe.tiles, probe.impurity, probe.engine, probe.threads)
    monitor = Monitor(judge, probe, store, who=read_who())
    stop = threading.Event()
    with open_outlets(probe, store, monitor):
        thread = threading.Thread(target=monitor.run, args=(stop,), name="georgia-monitor")
        thread.start()
        try:
            yield monitor
        finally:
            stop.set()
            thread.join()
