"""``georgia monitor``: frames of a live probe in, fraction over time and alarm out."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.log_file import LogOption, check_log_apart, logging_to, make_log_config
from georgia.cli.models import open_model
from georgia.cli.options import (
    ConfigOption,
    ProbeModelArgument,
    SetOption,
    StoreOption,
    make_config,
    read_settings,
)
from georgia.cli.verify import open_store_named
from georgia.errors import GeorgiaError, InputError, mask_credentials

if TYPE_CHECKING:
    from georgia.model.bundle import Bundle
    from georgia.monitor.model_watch import ModelPlace
    from georgia.monitor.records import MonitorEvent
    from georgia.monitor.settings import MonitorConfig
    from georgia.monitor.store import Store
    from georgia.monitor.supervisor import Supervisor
    from georgia.monitor.tile import FrameAnalyzer
    from georgia.process.moments.settings import MomentsConfig
    from georgia.process.settings import SourceConfig


# Who confirms limits; who goes on with frames unlike the training images, and why.
_People = tuple[str | None, tuple[str, str] | None]
# How many frames are compared, and where page and JSON go.
FramesOption = Annotated[int, typer.Option("--frames", help="How many, with --commission.", min=1)]
OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for page and JSON of --commission.", metavar="DIR")
]
OverrideOption = Annotated[
    str | None,
    typer.Option(
        "--override",
        help="Who goes on with frames unlike the training images, and why.",
        metavar="NAME: REASON",
    ),
]


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
    limits_from: Annotated[
        str | None,
        typer.Option("--limits-from", help="An ended batch whose limits are taken.", metavar="NUMBER|NAME"),
    ] = None,
    confirm_limits: Annotated[
        str | None,
        typer.Option(
            "--confirm-limits",
            help="Who confirms limits that the running batch learned at a mean that is not plausible.",
            metavar="NAME",
        ),
    ] = None,
    override: OverrideOption = None,
    commission: Annotated[
        bool,
        typer.Option("--commission", help="Compare the first frames with the training images, and stop."),
    ] = False,
    frames: FramesOption = 30,
    out: OutOption = Path("commissioning"),
    log_file: LogOption = None,
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
      georgia monitor runs/first --watch probe --commission
    Settings for --set and their meaning: docs/monitor.md. Ctrl-C stops; the batch can be resumed.
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.monitor.settings import MonitorConfig

    typed = {"watch": watch, "db": db, "batch": batch, "operator": operator, "limits_from": limits_from}
    settings = make_config(MonitorConfig, config, "monitor", typed, changes)
    settings = replace(settings, operator=settings.operator or read_user())
    settings = _check_folder(settings, watch is not None, once)
    log = make_log_config(read_settings(config, "", is_required=False), log_file)
    check_log_apart(log, {}, {"db": settings.db, "anchor": settings.anchor})
    with logging_to(log, has_stdout=not as_json):
        if commission:
            return _commission(model, settings, frames, out, once)
        process, _ = read_beside(config)
        return _watch(model, settings, once, as_json, (confirm_limits, _split_override(override)), process)


def read_beside(config: Path | None) -> tuple[Sequence[SourceConfig], MomentsConfig]:
    """Return what a settings file says of process data and of moments, of which page and report make use.

    Raises:
        InputError: it cannot be used.
    """
    from georgia.process.moments.settings import read_moments_settings
    from georgia.process.settings import read_process_settings

    return read_process_settings(config), read_moments_settings(config)


def _split_override(text: str | None) -> tuple[str, str] | None:
    """Return name and reason of ``NAME: REASON``."""
    from georgia.monitor.commissioned import check_override

    if text is None:
        return None
    who, _, reason = text.partition(":")
    check_override(who, reason)
    return who.strip(), reason.strip()


def _commission(model: Path | None, settings: Any, n_frames: int, out: Path, once: bool) -> int:
    from georgia.cli.commission import commission
    from georgia.monitor.settings import Windows
    from georgia.monitor.tile import FrameAnalyzer

    bundle = open_model(model, None)
    # A probe is commissioned once: nothing is left out.
    tiles = replace(settings.tiles, windows=Windows.ALL)
    analyzer = FrameAnalyzer.of_monitor(bundle, settings, tiles)
    store = open_store_named(settings.db)
    try:
        return commission(analyzer, settings, store, n_frames, out, once, noting_signals)
    finally:
        show_head(store)
        store.close()


def _check_folder(settings: Any, is_given: bool, once: bool) -> Any:
    if is_given and settings.watch == Path():
        settings = replace(settings, watch=Path.cwd())
    watch = settings.watch
    if watch == Path():
        raise InputError(
            "Cannot watch",
            needs="a folder is needed",
            got="no --watch",
            hint="Example: georgia monitor runs/first --watch probe.",
        )
    if once and not watch.is_dir():
        # Without --once a folder that is not there may be a network folder that comes back.
        raise InputError(
            f"Cannot analyse {str(watch)!r}",
            needs="with --once it must be a folder that is there",
            got="a file" if watch.exists() else "none",
        )
    return settings


def read_who() -> str:
    """Return in whose name a monitor runs: user and machine."""
    return f"{read_user()}@{socket.gethostname()}"


def read_user() -> str:
    """Return the user's name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return "unknown user"


def _watch(
    model: Path | None, settings: Any, once: bool, as_json: bool, people: _People, process: Sequence[Any]
) -> int:
    from georgia.monitor.model_watch import watching_model
    from georgia.monitor.outputs import open_outputs
    from georgia.monitor.tile import FrameAnalyzer

    bundle = open_model(model, None)
    store = open_store_named(settings.db)
    analyzer = FrameAnalyzer.of_monitor(bundle, settings)
    from georgia.monitor.run import Monitor
    from georgia.monitor.supervisor import Supervisor
    from georgia.process.follow import following_process

    monitor = Monitor(analyzer, settings, store, who=read_who())
    lines = _Lines(as_json)
    monitor.add_listener(lines)
    confirmed_by, override = people
    if confirmed_by is not None:
        monitor.confirm_limits(confirmed_by, "--confirm-limits")
    if override is not None:
        monitor.override_commissioning(*override)
    supervisor = Supervisor(monitor, once)
    try:
        with (
            open_outputs(settings, store, monitor),
            following_process(process, store, monitor),
            watching_model(None if once else find_place(model, settings), monitor),
            noting_signals() as received,
        ):
            console.show_note(
                f"{'demonstration model: ' if bundle.is_demonstration else ''}"
                f"watching {mask_credentials(str(settings.watch))!r} for {analyzer.impurity} with "
                f"{bundle.name}, {analyzer.describe_windows()}, into {mask_credentials(settings.db)!r}. "
                "Ctrl-C stops."
            )
            show_head(store)
            supervisor.start()
            while not received and not supervisor.wait(_SIGNAL_CHECK_S):
                pass
            supervisor.stop()
    finally:
        end_if_hung(supervisor)
        show_head(store)
        store.close()
    supervisor.raise_failure()
    if signal.SIGINT in received:
        return console.INTERRUPTED
    return console.DONE_IN_PART if once and lines.n_left_out else console.DONE


def find_place(
    model: Path | None,
    settings: MonitorConfig,
    open_analyzer: Callable[[Bundle], FrameAnalyzer] | None = None,
) -> ModelPlace | None:
    """Return where another model may be promoted to while a monitor runs; None: not in a folder of its own.

    ``open_analyzer`` opens it where several probes have one net in common.
    """
    from georgia.model.bundle import BUNDLE_FILE
    from georgia.monitor.model_watch import ModelPlace
    from georgia.monitor.tile import FrameAnalyzer
    from georgia.service.qualify.model import try_out

    if model is None:
        return None
    folder = (model.parent if model.name == BUNDLE_FILE else model).absolute()
    if not (folder / BUNDLE_FILE).is_file():
        return None

    def open_own(bundle: Bundle) -> FrameAnalyzer:
        return FrameAnalyzer.of_monitor(bundle, settings)

    return ModelPlace(folder, open_analyzer or open_own, try_out)


def show_head(store: Store) -> None:
    """Print the end of the record's chain, which proves later that nothing up to there was altered."""
    if store.has_head:
        console.show_note(f"head of the record: {store.head()}")


# A service manager stops a service with SIGTERM, which is no failure; Ctrl-C is SIGINT.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How often a signal is asked for: Python's main thread does not wake from every wait by itself.
_SIGNAL_CHECK_S = 0.2


@contextmanager
def noting_signals() -> Iterator[set[int]]:
    """Yield the signals to stop that were received so far, instead of what they would do.

    A terminal that is closed stops the work as SIGTERM does, unless nohup said that it must not.
    """
    received = set[int]()
    previous = {number: signal.signal(number, lambda n, _: received.add(n)) for number in _SIGNALS}
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) == signal.SIG_DFL:
        previous[hang_up] = signal.signal(hang_up, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_if_hung(supervisor: Supervisor) -> None:
    """End the whole program, with exit code 1, where the monitor hangs: its threads could not be ended."""
    if not supervisor.is_hung:
        return
    try:
        supervisor.raise_failure()
    except GeorgiaError as error:
        console.show_note(str(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


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
        elif event.kind == EventKind.OUTAGE:
            self._show_outage(event.detail)
        elif event.kind == EventKind.FAULT and event.status.fault != self._fault:
            before, self._fault = self._fault, event.status.fault
            console.show_note(self._fault or f"over: {before}")

    def _show_outage(self, detail: Mapping[str, Any]) -> None:
        if detail["change"] == "began":
            console.show_note(f"{detail['outage']}: {detail['reason']}")
        elif detail["seconds"] is None:
            console.show_note(f"{detail['reason']}; it is written in the audit log.")
        else:
            console.show_note(f"{detail['outage']} is over after {detail['seconds']:.0f} s.")


def _describe(frame: dict[str, Any]) -> str:
    if frame["fraction"] is None:
        return f"{frame['frame_time']}  {frame['file']}  {frame['state']}  {frame['error']}".rstrip()
    interval = f"{frame['fraction']:.1%} ({frame['low']:.1%}–{frame['high']:.1%})"
    return (
        f"{frame['frame_time']}  {frame['file']}  {frame['impurity']} {interval} of {frame['n_judged']}  "
        f"{frame['state']}"
    )
