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
import numpy.typing as npt

from georgia.config import Config, at_least, between, flatten_config
from georgia.errors import InputError
from georgia.files import atomic_path, naming_full_disk, write_json
from georgia.progress import QUIET, Progress
from georgia.synthetic import render_frame
from georgia.synthetic.scenes import SceneKind, foul, render_scene

TRUTH_FILE = "truth.json"
# Source: the probe of the study writes 1112×1000 px.
SIZE_PX = (1000, 1112)


@dataclass(frozen=True)
class SimulateConfig(Config):
    """A batch: ``frames`` images, one every ``every_s`` seconds (0: as fast as they are rendered).

    PG stays at ``start`` for ``clean_frames``, then rises evenly by ``rise`` a frame up to ``top`` (all
    fractions of the crystals' area, 0–1). ``write`` says how the instrument writes: whole files moved into
    place, or in pieces under their final name. ``scene`` is in front of the probe for ``scene_frames`` frames
    (0: to the end) from the frame of number ``scene_from`` on, counted from 1; before and after it is a
    slurry. "frozen" gives the frame before again, with another time in the file.

    The solution is clear for ``clear_frames``; then crystals appear, and cover the field to ``coverage``
    after ``growth_frames`` more. From the frame of number ``dissolve_from`` on (0: never) they dissolve,
    within ``dissolve_frames``.
    """

    frames: Annotated[int, between(1, 1_000_000)] = 120
    every_s: Annotated[float, between(0, 86_400)] = 0.5
    clean_frames: Annotated[int, at_least(0)] = 40
    start: Annotated[float, between(0, 1)] = 0.02
    rise: Annotated[float, between(0, 1)] = 0.01
    top: Annotated[float, between(0, 1)] = 0.5
    coverage: Annotated[float, between(0, 0.9)] = 0.4
    clear_frames: Annotated[int, at_least(0)] = 0
    growth_frames: Annotated[int, at_least(1)] = 1
    dissolve_from: Annotated[int, at_least(0)] = 0
    dissolve_frames: Annotated[int, at_least(1)] = 1
    height_px: Annotated[int, between(64, 16_384)] = SIZE_PX[0]
    width_px: Annotated[int, between(64, 16_384)] = SIZE_PX[1]
    write: Literal["whole", "pieces"] = "whole"
    scene: SceneKind = SceneKind.SLURRY
    scene_from: Annotated[int, at_least(1)] = 1
    scene_frames: Annotated[int, at_least(0)] = 0
    seed: Annotated[int, at_least(0)] = 42

    def scene_at(self, index: int) -> SceneKind:
        """Return what is in front of the probe in a frame counted from 0.

        >>> str(SimulateConfig(scene="dark", scene_from=3, scene_frames=2).scene_at(3))
        'dark'
        """
        first, n = self.scene_from - 1, self.scene_frames or self.frames
        return SceneKind(self.scene) if first <= index < first + n else SceneKind.SLURRY

    def coverage_at(self, index: int) -> float:
        """Return the fraction of the field that crystals are to cover in a frame counted from 0.

        >>> config = SimulateConfig(clear_frames=2, growth_frames=4, dissolve_from=9, dissolve_frames=2)
        >>> [config.coverage_at(index) for index in (1, 2, 5, 7, 8, 9)]
        [0.0, 0.1, 0.4, 0.4, 0.2, 0.0]
        """
        grown = (index + 1 - self.clear_frames) / self.growth_frames if self.clear_frames else 1.0
        left = 1 - (index + 2 - self.dissolve_from) / self.dissolve_frames if self.dissolve_from else 1.0
        return round(self.coverage * max(0.0, min(1.0, grown, left)), 12)

    def fraction_at(self, index: int) -> float:
        """Return the fraction of PG that is aimed at in a frame counted from 0.

        >>> SimulateConfig(clean_frames=2, start=0.0, rise=0.1).fraction_at(3)
        0.2
        """
        risen = self.start + self.rise * max(0, index + 1 - self.clean_frames)
        return round(max(self.start, min(risen, self.top)), 12)


@dataclass(frozen=True)
class Simulation:
    """What was written: names in order, each with its scene and the exact fraction of PG.

    ``coverages`` are the fractions of the frames that crystals were to cover.
    """

    folder: Path
    files: tuple[str, ...]
    fractions: tuple[float, ...]
    scenes: tuple[SceneKind, ...] = ()
    coverages: tuple[float, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia simulate --json``."""
        return {
            "path": str(self.folder),
            "files": list(self.files),
            "fractions": list(self.fractions),
            "scenes": [str(scene) for scene in self.scenes],
            "coverages": list(self.coverages),
        }


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
    scenes: list[SceneKind] = []
    image, fraction = np.zeros((config.height_px, config.width_px, 3), np.uint8), 0.0
    next_at = time.monotonic()
    for index in range(config.frames):
        scenes.append(config.scene_at(index))
        if scenes[-1] != SceneKind.FROZEN or index == 0:
            image, fraction = _render(seeds[index], config, index)
        sleep(max(0.0, next_at - time.monotonic()))
        next_at = max(next_at + config.every_s, time.monotonic())
        files.append(f"frame-{index + 1:05d}.png")
        fractions.append(round(fraction, 6))
        _write(folder / files[-1], image, index, config, sleep)
        progress.advance(1, f"{fraction:.1%} PG")
    coverages = tuple(config.coverage_at(index) for index in range(config.frames))
    simulation = Simulation(folder, tuple(files), tuple(fractions), tuple(scenes), coverages)
    write_json(folder / TRUTH_FILE, {"settings": flatten_config(config), **simulation.to_json_dict()})
    return simulation


def _render(seed: Any, config: SimulateConfig, index: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Return a frame (H, W, 3), uint8, and the fraction of PG in it; 0 where there is no slurry."""
    size_px, kind = (config.height_px, config.width_px), config.scene_at(index)
    coverage = config.coverage_at(index)
    if not coverage and config.coverage and kind in (SceneKind.SLURRY, SceneKind.FOULING):
        image = render_scene(seed, SceneKind.CLEAR, size_px)
        return (foul(image) if kind == SceneKind.FOULING else image), 0.0
    if kind in (SceneKind.CLEAR, SceneKind.BUBBLES, SceneKind.DARK):
        return render_scene(seed, kind, size_px), 0.0
    haze = coverage / config.coverage if config.coverage else 1.0
    frame = render_frame(seed, size_px, config.fraction_at(index), coverage, haze)
    return (foul(frame.image) if kind == SceneKind.FOULING else frame.image), frame.fraction


def _write(
    path: Path,
    image: npt.NDArray[np.uint8],
    index: int,
    config: SimulateConfig,
    sleep: Callable[[float], None],
) -> None:
    from PIL import Image, PngImagePlugin

    stream, head = io.BytesIO(), PngImagePlugin.PngInfo()
    if config.scene_at(index) == SceneKind.FROZEN:
        head.add_text("Frame", str(index + 1))  # the file differs, its pixels do not
    Image.fromarray(image[:, :, 0]).save(stream, format="PNG", compress_level=1, pnginfo=head)
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
