"""Writes the drawn frames of a batch in which PG grows in, as an instrument would write them."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from georgia.errors import InputError, format_message
from georgia.files import atomic_path, write_text
from georgia.progress import QUIET, Progress
from georgia.synthetic import render_frame
from georgia.synthetic.frames import Frame

TRUTH_FILE = "truth.json"
# Source: the probe of the study writes 1112×1000 px.
SIZE_PX = (1000, 1112)


@dataclass(frozen=True)
class SimulateConfig:
    """A batch: ``frames`` images, one every ``every_s`` seconds (0: as fast as they are drawn).

    PG stays at ``start`` for ``clean_frames``, then rises evenly by ``rise`` a frame up to ``top`` (all
    fractions of the crystals' area, 0–1). ``write`` says how the instrument writes: whole files moved into
    place, or in pieces under their final name.
    """

    frames: int = 120
    every_s: float = 0.5
    clean_frames: int = 40
    start: float = 0.02
    rise: float = 0.01
    top: float = 0.5
    coverage: float = 0.4
    height_px: int = SIZE_PX[0]
    width_px: int = SIZE_PX[1]
    write: Literal["whole", "pieces"] = "whole"
    seed: int = 42

    def __post_init__(self) -> None:
        rules = (
            ("frames", self.frames >= 1, "1 or more is needed"),
            ("every_s", self.every_s >= 0, "0 s or more is needed"),
            ("clean_frames", self.clean_frames >= 0, "0 or more is needed"),
            ("start", 0 <= self.start <= 1, "it lies in 0–1"),
            ("rise", 0 <= self.rise <= 1, "it lies in 0–1"),
            ("top", 0 <= self.top <= 1, "it lies in 0–1"),
            ("coverage", 0 <= self.coverage <= 0.9, "it lies in 0–0.9"),
            ("height_px", self.height_px >= 64, "64 px or more are needed"),
            ("width_px", self.width_px >= 64, "64 px or more are needed"),
            ("seed", self.seed >= 0, "0 or more is needed"),
        )
        faults = [format_message(name, rule, getattr(self, name)) for name, holds, rule in rules if not holds]
        if faults:
            raise InputError("Cannot simulate. " + " ".join(faults))

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
        frame = _draw(config, index, seeds[index])
        sleep(max(0.0, next_at - time.monotonic()))
        next_at = max(next_at + config.every_s, time.monotonic())
        files.append(f"frame-{index + 1:05d}.png")
        fractions.append(round(frame.fraction, 6))
        _write(folder / files[-1], frame, config, sleep)
        progress.advance(1, f"{frame.fraction:.1%} PG")
    simulation = Simulation(folder, tuple(files), tuple(fractions))
    truth = {"settings": asdict(config), **simulation.to_json_dict()}
    write_text(folder / TRUTH_FILE, json.dumps(truth, indent=2) + "\n")
    return simulation


def _draw(config: SimulateConfig, index: int, seed: np.random.SeedSequence) -> Frame:
    size_px = (config.height_px, config.width_px)
    return render_frame(seed, size_px, config.fraction_at(index), config.coverage)


def _write(path: Path, frame: Frame, config: SimulateConfig, sleep: Callable[[float], None]) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame.image[:, :, 0]).save(stream, format="PNG", compress_level=1)
    data = stream.getvalue()
    if config.write == "whole":
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        return
    with path.open("wb") as target:
        for part in range(0, len(data), max(1, len(data) // 4)):
            target.write(data[part : part + max(1, len(data) // 4)])
            target.flush()
            os.fsync(target.fileno())
            sleep(min(0.2, config.every_s / 5))
