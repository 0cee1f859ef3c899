"""``georgia demo --live``: a simulated probe, its monitor and the page, together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from georgia.cli import console

# A batch that visibly goes wrong within two minutes on two cores: frames of a third of the
# probe's area, 20 clean ones from which the limits are taken, then 2 % more PG with every frame.
FRAMES = ("--frames", "150", "--every", "1", "--rise", "0.02", "--set", "start=0", "--set", "clean_frames=26")
SIZE = ("--set", "height_px=560", "--set", "width_px=624")
BASELINE_FRAMES = 20


def run_live(folder: Path, port: int, as_json: bool) -> int:
    """Serve until Ctrl-C; frames and store lie in ``folder``."""
    from georgia.cli.monitor import read_user
    from georgia.cli.serve import serve_probe
    from georgia.monitor.settings import ChartConfig, MonitorConfig
    from georgia.web.config import ServeConfig, make_token

    frames, db = folder / "probe", str(folder / "monitor.db")
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
