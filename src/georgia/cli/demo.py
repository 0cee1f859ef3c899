"""``georgia demo``: the whole way on synthetic images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config
from georgia.cli.packages import SERVICE, check_packages
from georgia.cli.train import show_metrics
from georgia.config import build_config
from georgia.errors import InputError

# A batch that visibly goes wrong within two minutes on two cores: frames of a third of the
# probe's area, 20 clean ones from which the limits are taken, then 2 % more PG with every frame.
FRAMES = ("--frames", "150", "--every", "1", "--rise", "0.02", "--set", "start=0", "--set", "clean_frames=26")
SIZE = ("--set", "height_px=560", "--set", "width_px=624")
BASELINE_FRAMES = 20


def run(
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder for images and run.  [georgia-demo/<time>]")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Watch a simulated probe on the live page instead.")
    ] = False,
    label: Annotated[
        bool, typer.Option("--label", help="From unlabelled frames to a checked figure instead.")
    ] = False,
    port: Annotated[int, typer.Option(help="The page's port, with --live; 0: any free one.")] = 8420,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Go the whole way on synthetic images, offline, in minutes.

    Renders them, trains, exports, evaluates the exported file, and writes the report. With --live: starts a
    simulated probe, its monitor and the page, until Ctrl-C. With --label: a scripted person names windows of
    frames, a model is learned from them and monitors a batch, and a spot check says how far its figure holds.

    \b
    Examples:
      georgia demo --out demo
      georgia demo --live
      georgia demo --label
    """  # noqa: D301 - \b keeps the lines apart in the help
    folder = out or Path("georgia-demo") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if live and label:
        raise InputError("Cannot use --label", needs="it is another demonstration", got="--live as well")
    if live:
        check_packages("Cannot serve", SERVICE)
        return _serve_simulated(folder, port, as_json)
    console.load_keras()
    if label:
        return _label(folder, config, as_json)
    from georgia.demo import DemoConfig, run_demo

    settings = make_config(DemoConfig, config, "demo", {})
    with console.ConsoleProgress() as progress:
        result = run_demo(folder, settings, progress)
    if as_json:
        console.show_json(result.to_json_dict())
        return console.DONE
    show_metrics(result.trained.metrics, result.trained.assessment)
    console.show_line(f"Done in {result.seconds:.0f} s. The report: {result.report}")
    return console.DONE


def _label(folder: Path, config: Path | None, as_json: bool) -> int:
    """Go from unlabelled frames to a checked figure, with a scripted person."""
    check_packages("Cannot monitor a batch", ["sqlalchemy"])
    from georgia.demo import DemoConfig, LabelDemoConfig
    from georgia.label.demo import run_label_demo

    own = make_config(DemoConfig, config, "demo", {}).label
    settings = build_config(LabelDemoConfig, own, where="the settings of 'demo.label'")
    with console.ConsoleProgress() as progress:
        result = run_label_demo(folder, settings, progress)
    if as_json:
        console.show_json(result.to_json_dict())
        return console.DONE
    console.show_line(result.summary())
    console.show_line(f"Done in {result.seconds:.0f} s. The report of the check: {result.report}")
    return console.DONE


def _serve_simulated(folder: Path, port: int, as_json: bool) -> int:
    """Serve a simulated probe, its monitor and the page until Ctrl-C; frames and store lie in ``folder``."""
    from georgia.cli.monitor import read_user
    from georgia.cli.serve import check_port, serve_probe
    from georgia.files import check_new_folder
    from georgia.monitor.settings import ChartConfig, MonitorConfig
    from georgia.web.config import ServeConfig, make_token

    check_port("127.0.0.1", port)
    frames, db = folder / "probe", str(folder / "monitor.db")
    check_new_folder(folder, "probe", *(f"monitor.db{end}" for end in ("", "-wal", "-shm", ".head")))
    frames.mkdir(parents=True, exist_ok=True)
    probe = MonitorConfig(
        watch=frames,
        db=db,
        batch="simulated",
        operator=read_user(),
        poll_interval_s=0.5,
        charts=ChartConfig(baseline_frames=BASELINE_FRAMES),
    )
    settings = ServeConfig(port=port, db=db, token=make_token(), poll_interval_s=0.5)
    console.show_note(f"a simulated probe writes to {str(frames)!r}; PG grows in after some 30 frames.")
    with _simulating(frames):
        return serve_probe(None, settings, probe, as_json)


@contextmanager
def _simulating(frames: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "georgia", "simulate", "--out", str(frames), *FRAMES, *SIZE, "--json"]
    quiet = subprocess.DEVNULL
    simulator = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        simulator.terminate()
        simulator.wait()
