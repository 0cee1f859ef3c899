"""Writes the synthetic frames of a batch in which PG grows in, as an instrument would write them."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from georgia.config import Config, at_least, between, flatten_config
from georgia.errors import InputError
from georgia.files import atomic_path, naming_full_disk, write_json
from georgia.progress import QUIET, Progress
from georgia.synthetic import render_frame
from georgia.synthetic.frames import Frame

TRUTH_FILE = "truth.json"
# Source: the probe of the study writes 1112×1000 px.
SIZE_PX = (1000, 1112)


@dataclass(frozen=True)
class SimulateConfig(Config):
    """A batch: ``frames`` images, one every ``every_s`` seconds (0: as fast as they are rendered).

    PG stays at ``start`` for ``clean_frames``, then rises evenly by ``rise`` a frame up to ``top`` (all
    fractions of the crystals' area, 0–1). ``write`` says how the instrument writes: whole files moved into
    place, or in pieces under their final name.
    """

    frames: Annotated[int, between(1, 1_000_000)] = 120
    every_s: Annotated[float, between(0, 86_400)] = 0.5
    clean_frames: Annotated[int, at_least(0)] = 40
    start: Annotated[float, between(0, 1)] = 0.02
    rise: Annotated[float, between(0, 1)] = 0.01
    top: Annotated[float, between(0, 1)] = 0.5
    coverage: Annotated[float, between(0, 0.9)] = 0.4
    height_px: Annotated[int, between(64, 16_384)] = SIZE_PX[0]
    width_px: Annotated[int, between(64, 16_384)] = SIZE_PX[1]
    write: Literal["whole", "pieces"] = "whole"
    seed: Annotated[int, at_least(0)] = 42

    def fraction_at(self, index: int) -> float:
        """Return the fraction of PG that is aimed at in a frame counted from 0.

        >>> SimulateConfig(clean_frames=2, start=0.0, rise=0.1).fraction_at(3)
        0.2
        """
        risen = self.start + self.rise * max(0, index + 1 - self.clean_frames)
        return round(max(self.start, min(risen, self.top)), 12)


@dataclass(frozen=True)
class Simulation:
    """What was written: names in order, with the exact fraction of PG in each frame."""

    folder: Path
    files: tuple[str, ...]
    fractions: tuple[float, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia simulate --json``."""
        return {"path": str(self.folder), "files": list(self.files), "fractions": list(self.fractions)}


def simulate_batch(
    folder: Path,
    config: SimulateConfig = SimulateConfig(),
    progress: Progress = QUIET,
    sleep: Callable[[float], None] = time.sleep,
) -> Simulation:
    """Write the frames of a batch into a folder, and ``truth.json`` with their exact fractions at the end.

    Raises:
        InputError: the folder holds frames of an earlier simulation, whose names would be written over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("frame-*.png")):
        raise InputError(
            f"Cannot simulate into {str(folder)!r}",
            needs="a folder without frames of an earlier batch is needed",
            got="some",
            hint="Choose another --out.",
        )
    progress.start("simulate", config.frames)
    seeds = np.random.SeedSequence(config.seed).spawn(config.frames)
    files: list[str] = []
    fractions: list[float] = []
    next_at = time.monotonic()
    for index in range(config.frames):
        size_px = (config.height_px, config.width_px)
        frame = render_frame(seeds[index], size_px, config.fraction_at(index), config.coverage)
        sleep(max(0.0, next_at - time.monotonic()))
        next_at = max(next_at + config.every_s, time.monotonic())
        files.append(f"frame-{index + 1:05d}.png")
        fractions.append(round(frame.fraction, 6))
        _write(folder / files[-1], frame, config, sleep)
        progress.advance(1, f"{frame.fraction:.1%} PG")
    simulation = Simulation(folder, tuple(files), tuple(fractions))
    write_json(folder / TRUTH_FILE, {"settings": flatten_config(config), **simulation.to_json_dict()})
    return simulation


def _write(path: Path, frame: Frame, config: SimulateConfig, sleep: Callable[[float], None]) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame.image[:, :, 0]).save(stream, format="PNG", compress_level=1)
    data = stream.getvalue()
    if config.write == "whole":
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        return
    with naming_full_disk(path), path.open("wb") as target:
        for part in range(0, len(data), max(1, len(data) // 4)):
            target.write(data[part : part + max(1, len(data) // 4)])
            target.flush()
            os.fsync(target.fileno())
            sleep(min(0.2, config.every_s / 5))
