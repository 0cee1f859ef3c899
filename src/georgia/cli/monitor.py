"""``georgia monitor``: frames of a live probe in, fraction over time and alarm out."""

from __future__ import annotations

import getpass
import json
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.models import open_model
from georgia.cli.options import ConfigOption, ProbeModelArgument, SetOption, StoreOption, make_config
from georgia.cli.packages import check_packages
from georgia.cli.verify import open_store_named
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.monitor.records import MonitorEvent


def run(
    model: ProbeModelArgument = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="The folder that the probe writes to.")
    ] = None,
    db: StoreOption = None,
    batch: Annotated[str | None, typer.Option(help="The batch's name; a running one is resumed.")] = None,
    operator: Annotated[str | None, typer.Option(help="Who runs the batch.  [the user's name]")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Analyse what the folder holds, end the batch, and stop.")
    ] = False,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line on stdout for each frame.")
    ] = False,
) -> int:
    """Watch a live probe: fraction of the impurity over time, alarm, record.

    \b
    Examples:
      georgia monitor runs/first --watch //probe/frames --db batch.db --batch B-117
      georgia monitor --watch probe --set limit=0.10 --set time_from=name --set time_pattern=%Y%m%d_%H%M%S
      georgia monitor runs/first --watch old-frames --once --json
    Settings for --set and their meaning: docs/monitor.md. Ctrl-C stops; the batch can be resumed.
    """  # noqa: D301 - \b keeps the lines apart in the help
    check_packages("Cannot monitor", ("sqlalchemy", "cv2"))
    from georgia.monitor.settings import MonitorConfig

    typed = {"watch": watch, "db": db, "batch": batch, "operator": operator}
    settings = make_config(MonitorConfig, config, "monitor", typed, changes)
    if not settings.operator:
        settings = replace(settings, operator=read_user())
    if watch is not None and settings.watch == Path():
        settings = replace(settings, watch=Path.cwd())
    if settings.watch == Path():
        raise InputError(
            "Cannot watch",
            needs="a folder is needed",
            got="no --watch",
            hint="Example: georgia monitor runs/first --watch probe.",
        )
    if once and not settings.watch.is_dir():
        # Without --once a folder that is not there may be a network folder that comes back.
        raise InputError(
            f"Cannot analyse {str(settings.watch)!r}",
            needs="with --once it must be a folder that is there",
            got="none",
        )
    return _watch(model, settings, once, as_json)


def read_who() -> str:
    """Return in whose name a monitor runs: user and machine."""
    return f"{read_user()}@{socket.gethostname()}"


def read_user() -> str:
    """Return the user's name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return "unknown user"


def _watch(model: Path | None, settings: Any, once: bool, as_json: bool) -> int:
    from georgia.monitor.outputs import open_outputs
    from georgia.monitor.tile import FrameAnalyzer

    bundle = open_model(model, None)
    store = open_store_named(settings.db)
    analyzer = FrameAnalyzer(bundle, settings.tiles, settings.impurity, settings.engine, settings.threads)
    from georgia.monitor.run import Monitor

    monitor = Monitor(analyzer, settings, store, who=read_who())
    lines = _Lines(as_json)
    monitor.add_listener(lines)
    stop, received = threading.Event(), set[int]()

    def end(number: int, _: object) -> None:
        received.add(number)
        stop.set()

    previous = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        with open_outputs(settings, store, monitor):
            console.show_note(
                f"watching {str(settings.watch)!r} for {analyzer.impurity} with {bundle.name}, windows of "
                f"{analyzer.tile_px} px, into {settings.db!r}. Ctrl-C stops."
            )
            monitor.run(stop, once)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        store.close()
    if signal.SIGINT in received:
        return console.INTERRUPTED
    return console.DONE_IN_PART if once and lines.n_left_out else console.DONE


# A service manager stops a service with SIGTERM, which is no failure; Ctrl-C is SIGINT.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Lines:
    """One line on stdout for each frame; alarms, changes of state and faults on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._fault = ""
        self.n_left_out = 0

    def __call__(self, event: MonitorEvent) -> None:
        from georgia.monitor.records import EventKind

        if event.kind == EventKind.FRAME and event.frame is not None:
            plain = event.frame.to_json_dict()
            if not console.show_live_line(json.dumps(plain) if self._as_json else _describe(plain)):
                console.show_note("nobody reads the frames' lines any more; the record goes on.")
        elif event.kind == EventKind.ALARM and event.alarm is not None:
            console.show_note(f"alarm {event.detail.get('change', '')}: {event.alarm.reason}")
        elif event.kind == EventKind.STATE and event.detail:
            console.show_note(f"{event.status.state}: {event.detail.get('reason', '')}")
        elif event.kind == EventKind.UNREADABLE:
            self.n_left_out += 1
            console.show_note(f"left out {event.detail['file']!r}: {event.detail['error']}")
        elif event.kind == EventKind.FAULT and event.status.fault != self._fault:
            self._fault = event.status.fault
            console.show_note(self._fault or "folder and store can be reached again.")


def _describe(frame: dict[str, Any]) -> str:
    if frame["fraction"] is None:
        return f"{frame['frame_time']}  {frame['file']}  {frame['state']}  {frame['error']}".rstrip()
    interval = f"{frame['fraction']:.1%} ({frame['low']:.1%}–{frame['high']:.1%})"
    return (
        f"{frame['frame_time']}  {frame['file']}  {frame['impurity']} {interval} of {frame['n_judged']}  "
        f"{frame['state']}"
    )
