"""``georgia simulate``: synthetic frames of a batch in which PG grows in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, SetOption, make_config


def run(
    out: Annotated[Path, typer.Option("--out", help="The folder that the frames are written to.")],
    frames: Annotated[int | None, typer.Option(help="Number of frames.  [120]")] = None,
    every: Annotated[
        float | None, typer.Option("--every", help="Seconds from frame to frame; 0: at once.  [0.5]")
    ] = None,
    rise: Annotated[
        float | None, typer.Option(help="Increase of PG's fraction from frame to frame.  [0.01]")
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(help="slurry, clear, fouling, bubbles, dark or frozen (camera).  [slurry]"),
    ] = None,
    changes: SetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write synthetic frames as a probe would, to try the monitor without a probe.

    \b
    Examples:
      georgia simulate --out probe --frames 200 --every 1
      georgia simulate --out probe --scene fouling --set scene_from=30 --set scene_frames=20
      georgia simulate --out probe --set start=0 --set clean_frames=60 --set write=pieces
    Settings for --set and their meaning: docs/simulate.md
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.synthetic.simulate import SimulateConfig, simulate_batch

    typed = {"frames": frames, "every_s": every, "rise": rise, "scene": scene}
    settings = make_config(SimulateConfig, config, "simulate", typed, changes)
    with console.ConsoleProgress() as progress:
        simulation = simulate_batch(out, settings, progress)
    if as_json:
        console.show_json(simulation.to_json_dict())
    else:
        console.show_line(f"{len(simulation.files)} frames in {simulation.folder}")
    return console.DONE
