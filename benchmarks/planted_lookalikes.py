"""Different images that look alike, with known truth: one apparatus, one shape, one plate, one overlay.

Every set of ``LOOKALIKES`` renders scenes that have something in common which is no duplicate, and one
duplicate of every third scene. A search must find these duplicates and join nothing else. ``render_videos``
is the opposite: few scenes with many frames each, which belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from planted_duplicates import change_light, crop_image, pack

from georgia.images.symmetry import SYMMETRIES
from georgia.synthetic import render_crop

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Rendered:
    """One grey image (H, W), the number of its scene, and its change ("" for an original)."""

    pixels: Pixels
    scene: int
    change: str = ""


def _noise(grey: npt.NDArray[np.floating], rng: Rng, sd: float) -> Pixels:
    return np.clip(np.rint(grey + rng.normal(0, sd, grey.shape)), 0, 255).astype(np.uint8)


def _rotate(grey: Pixels, rng: Rng) -> Pixels:
    return np.ascontiguousarray(SYMMETRIES[1 + int(rng.integers(7))].apply(grey))


def _resize(grey: Pixels, rng: Rng) -> Pixels:
    scale = float(rng.uniform(0.5, 1.6))
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


CHANGES: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "jpeg": lambda grey, rng: pack(grey, int(rng.integers(40, 91))),
    "resized": _resize,
    "light": change_light,
    "cropped": crop_image,
    "rotated": lambda grey, rng: pack(_rotate(grey, rng), 85),
    "noise": lambda grey, rng: _noise(grey * rng.uniform(0.95, 1.05), rng, 3),
}


def render_lookalikes(kind: str, n_scenes: int, seed: int) -> Iterator[Rendered]:
    """Yield the scenes of one kind; every third is followed by one duplicate of it."""
    shared = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    draw = LOOKALIKES[kind](shared)
    changes = list(CHANGES)
    for scene in range(n_scenes):
        rng = np.random.default_rng(np.random.SeedSequence([seed, 1, scene]))
        pixels = draw(rng)
        yield Rendered(pixels, scene)
        if scene % 3 == 0:
            change = changes[scene // 3 % len(changes)]
            yield Rendered(CHANGES[change](pixels, rng), scene, change)


def render_videos(n_scenes: int, n_frames: int, seed: int, drift_px: float = 0.4) -> Iterator[Rendered]:
    """Yield few crystals with many frames each, which drift and have noise of their own."""
    room = round(n_frames * drift_px) + 2
    for scene in range(n_scenes):
        rng = np.random.default_rng(np.random.SeedSequence([seed, 2, scene]))
        whole = render_crop(("CEX", "PG")[scene % 2], rng, (150 + room, 150 + room)).image[:, :, 0]
        for frame in range(n_frames):
            down = round(frame * drift_px)
            view = whole[down : down + 150, down : down + 150] * rng.uniform(0.95, 1.05)
            yield Rendered(_noise(view, rng, 2.5), scene, "frame" if frame else "")


def _blotches(rng: Rng, shape: tuple[int, int], grain_px: float) -> Floats:
    """Return smooth noise (H, W) with mean 0 and standard deviation 1."""
    field = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), grain_px)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _frame_of_cell(shared: Rng, is_rounded: bool) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the busbars and fingers of all solar cells (levels to take off), and where the cell is."""
    side = 300
    lines = np.zeros((side, side), np.float32)
    for at in (0.2, 0.5, 0.8):
        middle = round(at * side)
        lines[middle - 4 : middle + 4] = 70
    lines[:, ::12] += 6
    inside = np.zeros((side, side), np.uint8)
    cv2.rectangle(inside, (6, 6), (side - 7, side - 7), 1, -1)
    if is_rounded:
        disc = np.zeros_like(inside)
        cv2.circle(disc, (side // 2, side // 2), round(0.64 * side), 1, -1)
        inside &= disc
    return lines, inside > 0


def _cells(shared: Rng, is_rounded: bool) -> Callable[[Rng], Pixels]:
    lines, inside = _frame_of_cell(shared, is_rounded)
    side = len(lines)

    def draw(rng: Rng) -> Pixels:
        if is_rounded:
            body = 8 * _blotches(rng, (side, side), 40) + 3 * _blotches(rng, (side, side), 6)
        else:
            seeds = rng.uniform(0, side, (140, 2))
            y, x = np.mgrid[:side:2, :side:2]
            nearest = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(axis=-1)
            grains = cv2.resize(rng.normal(0, 14, 140)[nearest].astype(np.float32), (side, side))
            body = grains + 6 * _blotches(rng, (side, side), 5)
        for _ in range(int(rng.integers(0, 4))):
            start, step = rng.uniform(20, side - 20, 2), rng.normal(0, 50, 2)
            end = start + step
            crack = np.zeros((side, side), np.float32)
            ends = [tuple(int(v) for v in point) for point in (start, end)]
            cv2.line(crack, ends[0], ends[1], 1.0, 2)
            body = body - 40 * cv2.GaussianBlur(crack, (0, 0), 1.0)
        cell = np.where(inside, rng.uniform(120, 170) + body - lines, 15)
        shift = np.array([[1, 0, rng.uniform(-1.5, 1.5)], [0, 1, rng.uniform(-1.5, 1.5)]], np.float32)
        cell = cv2.warpAffine(cell.astype(np.float32), shift, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return _noise(cell, rng, 2)

    return draw


def _silhouettes(shared: Rng) -> Callable[[Rng], Pixels]:
    def draw(rng: Rng) -> Pixels:
        height, width = rng.uniform(60, 130), rng.uniform(50, 120)
        post, bar = rng.uniform(0.14, 0.34) * width, rng.uniform(0.1, 0.4) * height
        corners = []
        for x0, x1, y0, y1 in (
            (-width / 2, -width / 2 + post, -height / 2, height / 2),
            (width / 2 - post, width / 2, -height / 2, height / 2),
            (-width / 2, width / 2, -bar / 2, bar / 2),
        ):
            corners.append(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
        angle = rng.normal(0, 0.06)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = rng.uniform(80, 120, 2)
        image = np.zeros((200, 200), np.uint8)
        for part in corners:
            cv2.fillPoly(image, [np.rint(part @ rotation.T + middle).astype(np.int32)], 255)
        return image

    return draw


def _plates(shared: Rng) -> Callable[[Rng], Pixels]:
    """Return hexagonal silhouettes, dark on white, of any size and place."""

    def draw(rng: Rng) -> Pixels:
        angles = np.arange(6) * np.pi / 3 + rng.uniform(0, np.pi / 3)
        reach = rng.uniform(40, 75) * (1 + rng.normal(0, 0.08, 6))
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None] + rng.uniform(
            85, 115, 2
        )
        image = np.full((200, 200), 255, np.uint8)
        cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], 0)
        return image

    return draw


def _crystal(rng: Rng, side: int = 150) -> Floats:
    class_name = ("CEX", "PG")[int(rng.integers(2))]
    return np.asarray(render_crop(class_name, rng, (side, side)).image[:, :, 0], np.float32)


def _dirty_window(shared: Rng) -> Callable[[Rng], Pixels]:
    side = 150
    dirt = np.zeros((side, side), np.float32)
    for _ in range(26):
        at = tuple(int(v) for v in shared.integers(0, side, 2))
        axes = tuple(int(v) for v in shared.integers(2, 10, 2))
        cv2.ellipse(
            dirt, at, axes, float(shared.uniform(0, 180)), 0, 360, float(shared.uniform(0.2, 0.7)), -1
        )
    for _ in range(8):
        points = np.cumsum(shared.normal(0, 14, (6, 2)), axis=0) + shared.uniform(0, side, 2)
        cv2.polylines(dirt, [points.astype(np.int32)], False, float(shared.uniform(0.3, 0.7)), 2)
    window = 1 - cv2.GaussianBlur(dirt, (0, 0), 1.2)
    return lambda rng: _noise(_crystal(rng) * window, rng, 1.5)


def _stamped(shared: Rng) -> Callable[[Rng], Pixels]:
    """Return crystals with a scale bar, a legend and a time burnt in."""

    def draw(rng: Rng) -> Pixels:
        image = _crystal(rng).astype(np.uint8)
        cv2.rectangle(image, (0, 128), (149, 149), 0, -1)
        cv2.rectangle(image, (100, 138), (140, 141), 255, -1)
        cv2.putText(image, "100 um", (98, 135), cv2.FONT_HERSHEY_PLAIN, 0.7, 255, 1)
        stamp = f"{rng.integers(24):02d}:{rng.integers(60):02d}:{rng.integers(60):02d}"
        cv2.putText(image, stamp, (3, 145), cv2.FONT_HERSHEY_PLAIN, 0.9, 255, 1)
        cv2.putText(image, "PROBE 2 CH1", (2, 10), cv2.FONT_HERSHEY_PLAIN, 0.8, 255, 1)
        return image

    return draw


def _vignette(shared: Rng) -> Callable[[Rng], Pixels]:
    """Return crystals seen through one round stop: black corners with a sharp rim, dark towards it."""
    y, x = np.mgrid[-1:1:150j, -1:1:150j]
    radius = np.sqrt(x * x + y * y)
    stop = np.where(radius < 1.05, 1 - 0.5 * radius**3, 0.04)
    return lambda rng: _noise(_crystal(rng) * stop, rng, 1.5)


def _plate_behind(shared: Rng) -> Callable[[Rng], Pixels]:
    """Return small crystals, each at its own place before one scratched plate."""
    side = 180
    plate = 150 + 10 * _blotches(shared, (side, side), 3)
    for _ in range(30):
        ends = [tuple(int(v) for v in shared.integers(0, side, 2)) for _ in range(2)]
        scratch = np.zeros((side, side), np.float32)
        cv2.line(scratch, ends[0], ends[1], 1.0, 1)
        plate = plate - 45 * cv2.GaussianBlur(scratch, (0, 0), 0.8)

    def draw(rng: Rng) -> Pixels:
        image = plate.copy()
        for _ in range(int(rng.integers(2, 5))):
            crystal = _crystal(rng, 70)[8:62, 8:62]
            top, left = rng.integers(0, side - 54, 2)
            image[top : top + 54, left : left + 54] = crystal
        return _noise(image * rng.uniform(0.9, 1.1), rng, 2)

    return draw


# By name: what draws one scene, given what all scenes have in common.
LOOKALIKES: dict[str, Callable[[Rng], Callable[[Rng], Pixels]]] = {
    "solar cells, grains": lambda shared: _cells(shared, is_rounded=False),
    "solar cells, smooth": lambda shared: _cells(shared, is_rounded=True),
    "H silhouettes": _silhouettes,
    "hexagon silhouettes": _plates,
    "dirty window": _dirty_window,
    "time and scale bar": _stamped,
    "round stop": _vignette,
    "one plate behind": _plate_behind,
}
