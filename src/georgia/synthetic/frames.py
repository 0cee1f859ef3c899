"""A whole synthetic probe image with many crystals and its exact fraction of PG."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.synthetic.cex import render_single_cex
from georgia.synthetic.crops import Seed, enlarge_front, make_generator, render_background
from georgia.synthetic.optics import develop, light_unevenly, sample_target
from georgia.synthetic.pg import render_single_pg
from georgia.synthetic.scene import CLASS_NAMES, Area, Mask, Scene, blur_image

Rng = np.random.Generator

# No frame needs more; it only ends the search where crystals keep hiding one another.
_MOST_CRYSTALS = 400


@dataclass(frozen=True)
class Box:
    """Where one crystal lies, px within the frame; later crystals may hide parts of it."""

    class_name: str
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Frame:
    """One synthetic frame: ``image`` (H, W, 3), uint8, grey as RGB, with exact truth.

    The masks (H, W) say which class stands in front; no pixel is in both. ``fraction`` is the area of PG
    in the area of all crystals, 0–1, counted on the masks (0 where there is no crystal).
    """

    image: npt.NDArray[np.uint8]
    mask_cex: Mask
    mask_pg: Mask
    fraction: float
    boxes: tuple[Box, ...]


def render_frame(
    seed: Seed,
    size_px: tuple[int, int] = (1000, 1112),
    pg_fraction: float | None = None,
    coverage: float | None = None,
    haze: float = 1.0,
) -> Frame:
    """Return one frame; ``fraction`` of the result is exact, ``pg_fraction`` only what is aimed at.

    ``pg_fraction`` (0–1) is sampled evenly where not given; 0 and 1 are met exactly. ``coverage`` is the
    fraction of the frame that crystals cover, 0–0.9, sampled from 0.25–0.6 where not given; 0 leaves an
    empty field with out-of-focus haze only. ``haze`` is how much of that there is, 0–1.

    >>> render_frame(5, (300, 330), pg_fraction=0.0).fraction
    0.0

    Raises:
        InputError: a fraction is out of range, or the frame is smaller than 64 px.
    """
    _check_frame(size_px, pg_fraction, coverage)
    rng = make_generator(seed)
    sampled_fraction, sampled_coverage = rng.random(), rng.uniform(0.25, 0.6)
    fraction = sampled_fraction if pg_fraction is None else pg_fraction
    cover = sampled_coverage if coverage is None else coverage
    target = sample_target(rng, size_px, tone="rich")
    scene = Scene.blank(size_px, target.px)
    render_background(scene, rng, "rich", haze)
    boxes = _fill(scene, rng, fraction, cover)
    light = blur_image(light_unevenly(rng, scene.light, rng.uniform(0, 0.6)), rng.uniform(0.5, 1.0))
    image = develop(rng, light, target)
    mask_cex, mask_pg = enlarge_front(scene, size_px)
    n_pg, n_cex = int(mask_pg.sum()), int(mask_cex.sum())
    return Frame(image, mask_cex, mask_pg, n_pg / max(1, n_pg + n_cex), boxes)


def _check_frame(size_px: tuple[int, int], pg_fraction: float | None, coverage: float | None) -> None:
    faults = []
    if min(size_px) < 64:
        faults.append(f"size_px must be 64 px or more each way; got {size_px}")
    for name, value, most in (("pg_fraction", pg_fraction, 1), ("coverage", coverage, 0.9)):
        if value is not None and not 0 <= value <= most:
            faults.append(f"{name} must be from 0 to {most}; got {value}")
    if faults:
        raise InputError("Cannot render a frame: " + " · ".join(faults))


def _fill(scene: Scene, rng: Rng, fraction: float, coverage: float) -> tuple[Box, ...]:
    """Render crystals, always of the class that lacks most area, until the wanted fraction is covered."""
    wanted = np.array([1 - fraction, fraction]) * coverage * scene.front.size
    boxes: list[Box] = []
    while len(boxes) < _MOST_CRYSTALS:
        have = np.array([np.count_nonzero(scene.front == 1), np.count_nonzero(scene.front == 2)])
        missing = (wanted - have) / (coverage * scene.front.size + 1)
        if missing.max() <= 0.01:
            break
        index = int(np.argmax(missing))
        box = _render_individual(scene, rng, CLASS_NAMES[index])
        if box is not None:
            boxes.append(box)
    return tuple(boxes)


def _render_individual(scene: Scene, rng: Rng, class_name: str) -> Box | None:
    """Render one crystal at a random spot; return its box, or None where nothing of it is on the frame."""
    height, width = scene.shape
    side = scene.px * rng.uniform(120, 230)
    area = Area(rng.uniform(0, width), rng.uniform(0, height), side * rng.uniform(0.85, 1.15), side)
    layer = replace(scene, front=np.zeros_like(scene.front))
    (render_single_cex if class_name == "CEX" else render_single_pg)(layer, rng, area)
    covered = layer.front == CLASS_NAMES.index(class_name) + 1
    scene.front[covered] = layer.front[covered]
    left, top, box_width, box_height = cv2.boundingRect(covered.astype(np.uint8))
    if box_width == 0:
        return None
    scale = 1 / scene.px
    return Box(class_name, *(round(value * scale) for value in (left, top, box_width, box_height)))
