"""Phenylglycine: rounded and polygonal plates, discs full of grains, clumps, bright to faint."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from georgia.synthetic.scene import Light, Scene, as_light, blur_image, coordinate_grid, sample_noise

Rng = np.random.Generator

PLATE_STYLES = ("bright", "granular", "clear", "clump", "dim")
_N_ANGLES = 256


@dataclass(frozen=True)
class Plate:
    """One plate in canvas pixels: half axes, style, brightness 0–1, opacity 0–1 and defocus."""

    x: float
    y: float
    half_width: float
    half_height: float
    style: str
    brightness: float = 0.7
    opacity: float = 0.9
    blur: float = 0.0


def sample_outline(rng: Rng) -> Light:
    """Return the radius (256,) over the angle, float32, mean reach 1: rounded or polygonal."""
    angle: npt.NDArray[np.float64] = np.arange(_N_ANGLES, dtype=np.float64) * (2 * np.pi / _N_ANGLES)
    if rng.random() < 0.5:
        radius = _sample_polygon(rng, angle)
    else:
        radius = np.ones(_N_ANGLES)
        for order in range(2, 8):
            radius += rng.normal(0, 0.16 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    crinkle = rng.choice([0.0, 0.012, 0.025])
    radius += crinkle * np.interp(
        angle, np.linspace(0, 2 * np.pi, 49), rng.standard_normal(49), period=2 * np.pi
    )
    # Fill the box that the half axes span: the mean reach along both axes becomes 1.
    reach_x, reach_y = radius * np.cos(angle), radius * np.sin(angle)
    return as_light(4 * radius / (np.ptp(reach_x) + np.ptp(reach_y)))


def _sample_polygon(rng: Rng, angle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    n_facets = int(rng.integers(4, 9))
    normals = (np.arange(n_facets) + rng.uniform(-0.3, 0.3, n_facets)) * (2 * np.pi / n_facets) + rng.uniform(
        0, 6.28
    )
    distances = rng.uniform(0.72, 1.0, n_facets)
    cosines = np.maximum(np.cos(angle[:, None] - normals[None, :]), 0.2)
    radius = (distances / cosines).min(axis=1)
    window = int(rng.integers(1, 24))
    padded = np.concatenate([radius[-window:], radius, radius[:window]])
    return np.convolve(padded, np.ones(2 * window + 1) / (2 * window + 1), mode="valid")


def measure_depth(scene: Scene, rng: Rng, plate: Plate) -> tuple[Light, Light]:
    """Return (rho, angle): 0 at the centre, 1 on the outline; angle 0–2π; both (h, w), float32."""
    x, y = coordinate_grid(*scene.shape)
    dx = (x - np.float32(plate.x)) * np.float32(1 / plate.half_width)
    dy = (y - np.float32(plate.y)) * np.float32(1 / plate.half_height)
    dx, dy = (np.ascontiguousarray(part) for part in np.broadcast_arrays(dx, dy))
    distance, angle = (as_light(part) for part in cv2.cartToPolar(dx, dy))
    index = (angle * np.float32(_N_ANGLES / (2 * np.pi))).astype(np.int32) & (_N_ANGLES - 1)
    return distance / sample_outline(rng)[index], angle


def render_plate(scene: Scene, rng: Rng, plate: Plate) -> None:
    """Render one plate over the scene in its style; parts outside the canvas are cut off."""
    if plate.style == "clump":
        _render_clump(scene, rng, plate)
        return
    reach = 1.15, 3 * plate.blur + 2
    left = max(0, int(plate.x - reach[0] * plate.half_width - reach[1]))
    top = max(0, int(plate.y - reach[0] * plate.half_height - reach[1]))
    right = min(scene.shape[1], int(plate.x + reach[0] * plate.half_width + reach[1]) + 1)
    bottom = min(scene.shape[0], int(plate.y + reach[0] * plate.half_height + reach[1]) + 1)
    if right - left < 4 or bottom - top < 4:
        return
    scene = scene.window(top, left, bottom - top, right - left)
    plate = replace(plate, x=plate.x - left, y=plate.y - top)
    rho, angle = measure_depth(scene, rng, plate)
    edge = np.float32(0.35 * (plate.half_width + plate.half_height))
    inside = np.clip((1 - rho) * edge + 0.5, 0, 1)
    painter = {"bright": _paint_bright, "granular": _paint_granular, "clear": _paint_clear, "dim": _paint_dim}
    value, alpha = painter[plate.style](scene, rng, plate, rho, angle)
    alpha = alpha * inside
    if plate.blur:
        value, alpha = blur_image(value, plate.blur), blur_image(alpha, plate.blur)
    value = _set_apart(scene, rho, value, alpha)
    before = scene.front.copy()
    scene.cover(value, alpha, None)
    scene.front[:] = np.where(rho <= 1, 2, before)


def _set_apart(scene: Scene, rho: Light, value: Light, alpha: Light) -> Light:
    """Return the plate's light, raised where it would drown in what lies behind it.

    Covering must change the scene's light inside, on average, by as much as its own spread.
    """
    inside = rho <= 1
    opacity = float(alpha[inside].mean()) if inside.any() else 0.0
    if opacity < 0.05:
        return value
    _, spread = cv2.meanStdDev(scene.light)
    wanted = float(spread[0, 0])
    change = float((alpha * (value - scene.light))[inside].mean())
    return value if abs(change) >= wanted else value + np.float32((wanted - change) / opacity)


def _slope(scene: Scene, rng: Rng, strength: float) -> Light:
    """Return a slow brightness ramp (h, w) around 1."""
    height, width = scene.shape
    x, y = coordinate_grid(height, width)
    direction = rng.uniform(0, 2 * np.pi)
    along = (x / width - 0.5) * np.float32(np.cos(direction)) + (y / height - 0.5) * np.float32(
        np.sin(direction)
    )
    return as_light(1 + strength * along)


def _one_side(rng: Rng, angle: Light, sharpness: float = 1.0) -> Light:
    """Return 0–1 over the angle, high on one side of the plate."""
    return as_light((0.5 + 0.5 * np.cos(angle - np.float32(rng.uniform(0, 2 * np.pi)))) ** sharpness)


def _paint_bright(scene: Scene, rng: Rng, plate: Plate, rho: Light, angle: Light) -> tuple[Light, Light]:
    """A nearly saturated face; its border eroded into dark specks, dark pits within."""
    value = np.float32(plate.brightness) * _slope(scene, rng, rng.uniform(0, 0.5))
    grain = max(1.3, rng.uniform(3.0, 7.0) * scene.px)
    noise = sample_noise(rng, scene.shape, grain)
    noise += np.float32(0.6) * sample_noise(rng, scene.shape, 4 * grain)
    reach = np.float32(rng.uniform(0.08, 0.35)) * (0.25 + 0.75 * _one_side(rng, angle))
    near_edge = np.clip((rho - 1 + reach) / reach, 0, 1)
    threshold = np.float32(2.6) - near_edge * np.float32(rng.uniform(1.6, 2.8))
    dark = np.clip((noise - threshold) * 3, 0, 1)
    dark = np.maximum(dark, _render_pits(scene, rng, plate))
    return value * (1 - np.float32(rng.uniform(0.5, 0.95)) * dark), np.full(
        scene.shape, plate.opacity, np.float32
    )


def _render_pits(scene: Scene, rng: Rng, plate: Plate) -> Light:
    """Return dark pits strung along random walks within a plate, (h, w), 0–1."""
    layer = np.zeros(scene.shape, np.uint8)
    for _ in range(int(rng.integers(0, 6))):
        n_steps = int(rng.integers(4, 24))
        heading = np.cumsum(rng.normal(0, 0.7, n_steps)) + rng.uniform(0, 6.28)
        step = np.stack([np.cos(heading), np.sin(heading)], axis=1) * rng.uniform(1, 3, (n_steps, 1))
        where = np.cumsum(step, axis=0) + np.array([plate.x, plate.y])
        where += rng.normal(0, 0.4, 2) * (plate.half_width, plate.half_height)
        keep = rng.random(n_steps) < 0.6
        for px, py in np.round(where[keep]).astype(int).tolist():
            cv2.circle(layer, (px, py), int(rng.integers(0, 2)), 255, -1)
    return blur_image(layer.astype(np.float32) * np.float32(1 / 255), 0.5)


def _paint_granular(scene: Scene, rng: Rng, plate: Plate, rho: Light, angle: Light) -> tuple[Light, Light]:
    """A translucent disc full of bright grains, denser on one side, with part of a bright rim."""
    grain = max(1.3, rng.uniform(3.0, 8.0) * scene.px)
    fine = np.maximum(sample_noise(rng, scene.shape, grain), -0.5)
    coarse = sample_noise(rng, scene.shape, 6 * grain)
    side = np.float32(1) - np.float32(rng.uniform(0.2, 0.9)) * _one_side(rng, angle) * np.minimum(rho, 1)
    texture = np.float32(rng.uniform(0.25, 0.6)) + np.float32(rng.uniform(0.15, 0.4)) * fine
    texture += np.float32(0.15) * coarse
    value = np.float32(plate.brightness) * side * texture
    value += _paint_rim(rng, rho, angle, plate.brightness * rng.uniform(0, 0.6))
    alpha = np.float32(plate.opacity) * np.clip(0.55 + 0.45 * side + 0.2 * coarse, 0, 1)
    return value, alpha


def _paint_rim(rng: Rng, rho: Light, angle: Light, strength: float) -> Light:
    """Return a bright band inside the outline, strong on one side and broken elsewhere."""
    middle, width = np.float32(1 - rng.uniform(0.02, 0.08)), np.float32(rng.uniform(0.015, 0.06))
    band = np.exp(-(((rho - middle) / width) ** 2))
    broken = np.interp(np.arange(_N_ANGLES), np.linspace(0, _N_ANGLES, 25), rng.random(25), period=_N_ANGLES)
    index = (angle * np.float32(_N_ANGLES / (2 * np.pi))).astype(np.int32) & (_N_ANGLES - 1)
    ring = broken.astype(np.float32)[index] * _one_side(rng, angle, rng.uniform(0.3, 2))
    return as_light(strength * band * (0.2 + 1.6 * ring))


def _paint_clear(scene: Scene, rng: Rng, plate: Plate, rho: Light, angle: Light) -> tuple[Light, Light]:
    """A clear plate: its face hardly differs from what is behind; outline, steps and a few grains show."""
    face = np.float32(plate.brightness * rng.uniform(0.15, 0.7)) * _slope(scene, rng, rng.uniform(0, 1.0))
    value = face + _paint_rim(rng, rho, angle, plate.brightness * rng.uniform(0.3, 1.0))
    value += _paint_rim(rng, rho, angle, -plate.brightness * rng.uniform(0, 0.4))
    specks = np.maximum(
        sample_noise(rng, scene.shape, rng.uniform(1.2, 3)) - np.float32(rng.uniform(0.8, 2)), 0
    )
    value += np.float32(plate.brightness * rng.uniform(0.05, 0.35)) * specks
    value += np.float32(0.1 * plate.brightness) * sample_noise(rng, scene.shape, rng.uniform(5, 14))
    alpha = np.float32(plate.opacity * rng.uniform(0.7, 1)) * np.clip(0.6 + 0.4 * rho**2, 0, 1)
    return value, np.maximum(alpha, np.clip(specks, 0, 0.8))


def _paint_dim(scene: Scene, rng: Rng, plate: Plate, rho: Light, angle: Light) -> tuple[Light, Light]:
    """A soft, faint body: only its shape and a slow texture show."""
    slow = sample_noise(rng, scene.shape, rng.uniform(5, 16))
    fine = sample_noise(rng, scene.shape, rng.uniform(1.5, 4))
    body = np.float32(0.6) + np.float32(0.12) * slow + np.float32(rng.uniform(0, 0.15)) * fine
    body = body + np.float32(rng.uniform(-0.3, 0.3)) * rho**2
    value = np.float32(plate.brightness) * body * (1 - 0.4 * _one_side(rng, angle) * np.minimum(rho, 1))
    return value, np.full(scene.shape, plate.opacity, np.float32)


def _render_clump(scene: Scene, rng: Rng, plate: Plate) -> None:
    """Render many small plates packed within one outline."""
    n_parts = int(rng.integers(3, 11))
    size = 1.2 / np.sqrt(n_parts)
    for _ in range(n_parts):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * (1 - 0.8 * size)
        style = ("bright", "granular", "clear", "dim")[int(rng.integers(4))]
        scale = size * rng.uniform(0.7, 1.3)
        part = Plate(
            plate.x + plate.half_width * reach * np.cos(angle),
            plate.y + plate.half_height * reach * np.sin(angle),
            plate.half_width * scale,
            plate.half_height * scale,
            style,
            plate.brightness * rng.uniform(0.5, 1.1),
            plate.opacity * rng.uniform(0.6, 1),
            plate.blur,
        )
        render_plate(scene, rng, part)
