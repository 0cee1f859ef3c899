"""Cephalexin: needles alone, in bundles and sheaves, as stars, as haze behind, and as dark traces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from georgia.synthetic.scene import Light, Scene, as_light, blur_image, coordinate_grid, sample_noise

Rng = np.random.Generator


@dataclass(frozen=True)
class FibreBundle:
    """Parallel or fanning fibres, in canvas pixels; ``spread`` 0 = parallel, above 0 = widening.

    ``origin`` 0 measures the spread from the middle (a bow tie), −1 from one end (a fan).
    ``n_fibres`` 1 is a single needle. ``fullness`` 1 fills the gaps between fibres with light.
    """

    x: float
    y: float
    angle: float
    half_length: float
    half_width: float
    n_fibres: int = 8
    spread: float = 0.0
    origin: float = 0.0
    bend: float = 0.0
    brightness: float = 0.6
    opacity: float = 0.8
    beads: float = 0.5
    raggedness: float = 0.3
    blur: float = 0.0
    fullness: float = 0.0


def sample_fibre_texture(rng: Rng, bundle: FibreBundle) -> tuple[Light, Light]:
    """Return (light, alpha) of straightened fibres, (across, along), float32 0–1, speckled along."""
    along = int(np.clip(bundle.half_length * 0.9, 12, 96))
    if bundle.n_fibres == 1:
        profile = _sample_needle_profile(rng)
    else:
        across = int(np.clip(bundle.n_fibres * 2, 4, 96))
        strength = rng.random(across, np.float32) ** rng.uniform(0.6, 2.2)
        # Every second row stays darker in part: gaps between fibres.
        strength[::2] *= np.float32(rng.uniform(0.1, 0.8))
        # A full bundle is bright all across, its gaps mere lines.
        profile = (strength + np.float32(bundle.fullness) * (1 - strength)).astype(np.float32)
    across = profile.size
    grain = sample_noise(rng, (across, along), 1.0)
    if rng.random() < 0.6:
        grain = cv2.GaussianBlur(grain, (0, 0), sigmaX=rng.uniform(0.6, 2.5), sigmaY=0.4) * np.float32(1.5)
    beads = np.maximum(grain, 0) ** np.float32(rng.uniform(1.0, 2.5))
    slow = sample_noise(rng, (across, along), rng.uniform(6, 20)) * np.float32(rng.uniform(0.2, 0.6))
    light = profile[:, None] * (1 - 0.6 * bundle.beads + 0.5 * slow + bundle.beads * beads)
    alpha = _sample_ragged_ends(rng, across, along, bundle.raggedness)
    return np.clip(light, 0, 1.8).astype(np.float32), alpha


def _sample_needle_profile(rng: Rng) -> Light:
    """Return brightness across one needle: solid, two bright edges, or one."""
    kind = rng.random()
    if kind < 0.45:
        low = rng.uniform(0.1, 0.6)
        return np.array([0.2, 1.0, low, low, rng.uniform(0.5, 1.0), 0.2], np.float32)
    if kind < 0.65:
        return np.array([0.2, 1.0, 0.6, 0.35, 0.25, 0.1], np.float32)
    return np.array([0.3, 0.8, 1.0, 1.0, 0.8, 0.3], np.float32)


def _sample_ragged_ends(rng: Rng, across: int, along: int, raggedness: float) -> Light:
    position = np.linspace(0, 1, along, dtype=np.float32)[None, :]
    start = rng.random((across, 1), np.float32) * np.float32(0.5 * raggedness)
    stop = 1 - rng.random((across, 1), np.float32) * np.float32(0.5 * raggedness)
    ramp = np.float32(along / 2)
    return as_light(np.clip(np.minimum(position - start, stop - position) * ramp, 0, 1))


def _bounds(bundle: FibreBundle, shape: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return (top, left, height, width) that the bundle can touch, or None outside the canvas."""
    reach_width = bundle.half_width * (1 + bundle.spread * (1 + abs(bundle.origin))) + abs(bundle.bend) + 2
    cos, sin = abs(np.cos(bundle.angle)), abs(np.sin(bundle.angle))
    reach_x = bundle.half_length * cos + reach_width * sin + 3 * bundle.blur
    reach_y = bundle.half_length * sin + reach_width * cos + 3 * bundle.blur
    left, right = max(0, int(bundle.x - reach_x)), min(shape[1], int(bundle.x + reach_x) + 2)
    top, bottom = max(0, int(bundle.y - reach_y)), min(shape[0], int(bundle.y + reach_y) + 2)
    if right - left < 2 or bottom - top < 2:
        return None
    return top, left, bottom - top, right - left


def render_bundle(scene: Scene, rng: Rng, bundle: FibreBundle, class_name: str | None = "CEX") -> None:
    """Render one bundle over the scene; with ``class_name=None`` it does not count as a crystal."""
    bounds = _bounds(bundle, scene.shape)
    light_texture, alpha_texture = sample_fibre_texture(rng, bundle)
    if bounds is None:
        return
    top, left, height, width = bounds
    x, y = coordinate_grid(height, width)
    dx, dy = x + np.float32(left - bundle.x), y + np.float32(top - bundle.y)
    cos, sin = np.float32(np.cos(bundle.angle)), np.float32(np.sin(bundle.angle))
    along = (dx * cos + dy * sin) * np.float32(1 / bundle.half_length)
    across = dy * cos - dx * sin - np.float32(bundle.bend) * along * along
    half_width = np.float32(bundle.half_width)
    if bundle.spread:
        half_width = half_width * (1 + np.float32(bundle.spread) * np.abs(along - np.float32(bundle.origin)))
    across /= half_width
    rows, columns = light_texture.shape
    map_x = (along + 1) * np.float32(0.5 * (columns - 1))
    map_y = (across + 1) * np.float32(0.5 * (rows - 1))
    light, alpha = (
        as_light(cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))
        for texture in (light_texture, alpha_texture)
    )
    light *= bundle.brightness
    alpha *= bundle.opacity
    if bundle.blur:
        light, alpha = blur_image(light, bundle.blur), blur_image(alpha, bundle.blur)
    window = scene.window(*bounds)
    # Needles scatter light: what lies behind is dimmed where it is brighter, never blacked out.
    window.cover(np.maximum(light, np.float32(rng.uniform(0.75, 1.0)) * window.light), alpha, class_name)


def render_haze(scene: Scene, rng: Rng, n_needles: int, sigma_px: float, strength: float) -> None:
    """Add needles far out of focus: a streaky glow that counts as background."""
    height, width = scene.shape
    layer = np.zeros((height, width), np.uint8)
    size = float(max(height, width))
    main_angle = rng.uniform(0, np.pi)
    spread = rng.choice([0.15, 0.5, 1.6])
    for x, y, a, w, b in rng.random((n_needles, 5)):
        angle = main_angle + (2 * a - 1) * spread
        dx, dy = np.cos(angle) * size, np.sin(angle) * size
        start, stop = (
            (round(x * width - dx), round(y * height - dy)),
            (round(x * width + dx), round(y * height + dy)),
        )
        cv2.line(layer, start, stop, float(60 + 195 * b), 1 + int(w * 0.05 * min(size, 100)), cv2.LINE_AA)
    glow = blur_image(layer.astype(np.float32) * np.float32(strength / 255), sigma_px)
    patches = sample_noise(rng, (height, width), 0.25 * min(size, 200))
    scene.glow(glow * np.clip(0.8 + 0.35 * patches, 0, 2))


def render_star(scene: Scene, rng: Rng, x: float, y: float, radius: float, brightness: float) -> None:
    """Render fibres radiating from a bright hub: round and bright, and yet CEX."""
    n_arms = int(rng.integers(4, 13))
    start, sweep = rng.uniform(0, 2 * np.pi), rng.choice([0.8, 1.6, np.pi, 2 * np.pi])
    for arm in range(n_arms):
        angle = start + sweep * (arm + rng.uniform(-0.4, 0.4)) / n_arms
        length = radius * rng.uniform(0.5, 1.3)
        fan = FibreBundle(
            x + 0.5 * length * np.cos(angle),
            y + 0.5 * length * np.sin(angle),
            angle,
            0.5 * length,
            half_width=radius * rng.uniform(0.02, 0.1) + 1,
            n_fibres=int(rng.integers(2, 9)),
            spread=rng.uniform(0, 1.2),
            origin=-1.0,
            bend=rng.normal(0, 0.04) * length,
            brightness=brightness * rng.uniform(0.4, 1.0),
            opacity=rng.uniform(0.4, 0.9),
            beads=rng.uniform(0.2, 1.0),
            raggedness=0.6,
            blur=rng.choice([0.0, 0.0, 0.8, 1.6]),
        )
        render_bundle(scene, rng, fan)
    render_hub(scene, rng, x, y, radius * rng.uniform(0.1, 0.4), brightness * rng.uniform(0.3, 1.4))


def render_hub(scene: Scene, rng: Rng, x: float, y: float, radius: float, strength: float) -> None:
    """Add the glow where many needles meet: bright, streaked outwards, a little grainy, without outline."""
    stretch, tilt = rng.uniform(0.45, 1.0), rng.uniform(0, np.pi)
    reach = 3.0 * radius / stretch
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    right, bottom = min(scene.shape[1], int(x + reach) + 1), min(scene.shape[0], int(y + reach) + 1)
    if right - left < 4 or bottom - top < 4:
        return
    window = scene.window(top, left, bottom - top, right - left)
    grid_x, grid_y = coordinate_grid(*window.shape)
    dx, dy = grid_x - np.float32(x - left), grid_y - np.float32(y - top)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    u = (dx * cos + dy * sin) * np.float32(stretch / radius)
    v = (dy * cos - dx * sin) * np.float32(1 / radius)
    distance, angle = cv2.cartToPolar(u, v)
    # Streaks: noise that varies fast over the angle and slowly outwards.
    n_streaks = int(rng.integers(24, 90))
    texture = blur_image(rng.standard_normal((n_streaks, 8), np.float32), 0.5) * np.float32(1.5)
    texture = np.concatenate([texture, texture[:1]])
    map_y = angle * np.float32(n_streaks / (2 * np.pi))
    streaks = cv2.remap(
        texture, distance * np.float32(2.3), map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    grain = sample_noise(rng, window.shape, max(1.6, rng.uniform(4, 9) * scene.px))
    uneven = sample_noise(rng, window.shape, 0.8 * radius)
    modulation = (
        1 + rng.uniform(0.1, 0.7) * streaks + rng.uniform(0, 0.4) * grain + rng.uniform(0, 0.5) * uneven
    )
    glow = np.exp(-0.5 * distance ** np.float32(rng.uniform(1.2, 2.2)))
    glow *= np.clip(2 - distance * np.float32(2 / 3), 0, 1)
    light = (glow * np.maximum(0, modulation) * strength).astype(np.float32)
    window.glow(blur_image(light, float(rng.choice([0.0, 0.8, 1.6, 3.0]))))


def render_traces(scene: Scene, rng: Rng, n_traces: int, depth: float) -> None:
    """Take light away along thin broken lines: needles seen as shadows on a flat field."""
    height, width = scene.shape
    layer = np.zeros((height, width), np.uint8)
    size = float(min(height, width))
    knot = rng.random(2) * (width, height)
    main_angle, spread = rng.uniform(0, np.pi), rng.choice([0.15, 0.35, 1.2])
    for _ in range(n_traces):
        angle = main_angle + rng.normal(0, spread)
        length = size * rng.uniform(0.2, 1.0)
        middle = rng.random(2) * (width, height) * 0.7 + knot * 0.3
        delta = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        start, stop = (
            np.round(middle - delta).astype(int).tolist(),
            np.round(middle + delta).astype(int).tolist(),
        )
        cv2.line(layer, start, stop, float(rng.uniform(120, 255)), int(rng.integers(1, 3)), cv2.LINE_AA)
    broken = np.clip(
        1.5 * sample_noise(rng, (height, width), rng.uniform(2, 8)) - rng.uniform(-1.6, 0.5), 0, 1
    )
    specks = sample_noise(rng, (height, width), rng.uniform(1.5, 4)) - np.float32(rng.uniform(1.6, 3.2))
    lines = layer.astype(np.float32) * np.float32(1 / 255)
    # Dirt gathers where needles are, and a little everywhere.
    near = rng.uniform(0.0, 0.5) + 3 * blur_image(lines, rng.uniform(1.5, 5))
    shadow = lines * broken + np.clip(specks, 0, 0.6) * np.clip(near, 0, 1)
    scene.light -= blur_image(shadow * np.float32(depth), rng.uniform(0.3, 0.8))
    scene.front[layer > 80] = 1
