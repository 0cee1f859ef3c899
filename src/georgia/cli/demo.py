"""``georgia demo``: the whole way on synthetic images."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, make_config
from georgia.cli.train import show_metrics


def run(
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder for images and run.  [georgia-demo/<time>]")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Watch a simulated probe on the live page instead.")
    ] = False,
    port: Annotated[int, typer.Option(help="The page's port, with --live; 0: any free one.")] = 8420,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Go the whole way on synthetic images, offline, in minutes.

    Renders them, trains, exports, evaluates the exported file, and writes the report. With --live: starts a
    simulated probe, its monitor and the page, until Ctrl-C.

    \b
    Examples:
      georgia demo --out demo
      georgia demo --live
    """  # noqa: D301 - \b keeps the lines apart in the help
    folder = out or Path("georgia-demo") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if live:
        from georgia.cli.live import run_live

        return run_live(folder, port, as_json)
    console.load_keras()
    from georgia.demo import DemoConfig, run_demo

    settings = make_config(DemoConfig, config, "demo", {})
    with console.ConsoleProgress() as progress:
        result = run_demo(folder, settings, progress)
    if as_json:
        console.show_json(result.to_json_dict())
        return console.DONE
    show_metrics(result.trained.metrics.to_json_dict())
    console.show_line(f"Done in {result.seconds:.0f} s. The report: {result.report}")
    return console.DONE
