"""Foreign material: what a probe may see that is none of the classes, near enough to be taken for one.

Other crystals, bubbles, droplets, fibres, fringes, speckle, dust and grounds, seen in bright field or, as the
probe sees, bright on dark. Never cephalexin needles, never phenylglycine plates. One half of the kinds fits
the unknown score, the other, of other kinds, tests it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest
from georgia.synthetic.crops import MIN_SIZE_PX, Seed, make_generator, render_background
from georgia.synthetic.optics import develop, grey_to_rgb, light_unevenly, sample_size, sample_target
from georgia.synthetic.scene import Light, Scene, as_light, blur_image, coordinate_grid, sample_noise

Rng = np.random.Generator
Points = npt.NDArray[np.float64]
Named = TypeVar("Named", bound=StrEnum)
# Sub-pixel positions of OpenCV's drawing: 4 bits.
_SHIFT = 4


class ForeignKind(StrEnum):
    """What is rendered; the first nine fit the unknown score, the others test it."""

    PRISM = "prism"
    OCTAHEDRON = "octahedron"
    SHARD = "shard"
    DENDRITE = "dendrite"
    BUBBLE = "bubble"
    FIBRE = "fibre"
    BLOB = "blob"
    GROUND = "ground"
    CAKE = "cake"
    RHOMB = "rhomb"
    HEXAGON = "hexagon"
    CUBE = "cube"
    SPHERULITE = "spherulite"
    DROPLET = "droplet"
    HOLOGRAM = "hologram"
    SPECKLE = "speckle"
    DUST = "dust"


FITTED_KINDS = tuple(ForeignKind)[:9]
TESTED_KINDS = tuple(ForeignKind)[9:]
# Those of `TESTED_KINDS` and `FITTED_KINDS` that are crystals.
CRYSTAL_KINDS = (
    *(ForeignKind.PRISM, ForeignKind.OCTAHEDRON, ForeignKind.SHARD, ForeignKind.DENDRITE, ForeignKind.CAKE),
    *(ForeignKind.RHOMB, ForeignKind.HEXAGON, ForeignKind.CUBE, ForeignKind.SPHERULITE),
)


class Lighting(StrEnum):
    """Dark edges on a ground lit from behind, or, as the probe sees, bright edges on a dark ground."""

    BRIGHT_FIELD = "bright-field"
    DARK_FIELD = "dark-field"


@dataclass(frozen=True)
class Foreign:
    """One image of foreign material: ``image`` (H, W, 3), uint8, grey as RGB."""

    image: npt.NDArray[np.uint8]
    kind: ForeignKind
    lighting: Lighting


def render_foreign(
    seed: Seed,
    kind: str | None = None,
    size_px: tuple[int, int] | None = None,
    lighting: str | None = None,
) -> Foreign:
    """Return one image of foreign material; what is not given is chosen at random.

    ``size_px`` is (height, width); without it the size is sampled as that of crops. The same seed gives the
    same bytes.

    >>> render_foreign(3, "bubble", (64, 80)).image.shape
    (64, 80, 3)

    Raises:
        InputError: the kind or the lighting is unknown, or the size is too small.
    """
    rng = make_generator(seed)
    sampled = sample_size(rng), int(rng.integers(len(ForeignKind))), int(rng.integers(len(Lighting)))
    chosen = _choose("kind", kind, tuple(ForeignKind), sampled[1])
    light = _choose("lighting", lighting, tuple(Lighting), sampled[2])
    size = size_px or sampled[0]
    if min(size) < MIN_SIZE_PX:
        raise InputError(
            "Cannot render foreign material",
            needs=f"{MIN_SIZE_PX} px or more each way are needed",
            got=size,
        )
    relief = _Relief.blank(size)
    _PAINTERS[chosen](relief, rng)
    return Foreign(grey_to_rgb(_photograph(relief, rng, light)), chosen, light)


def _choose(name: str, value: str | None, known: tuple[Named, ...], sampled: int) -> Named:
    if value is None:
        return known[sampled]
    if value not in [str(one) for one in known]:
        raise InputError(
            "Cannot render foreign material",
            needs=f"{name} is one of " + ", ".join(known),
            got=repr(value),
            hint=suggest(value, [str(one) for one in known]).strip(),
        )
    return known[[str(one) for one in known].index(value)]


@dataclass
class _Relief:
    """What stands in the light: ``edges`` 0–1, ``faces`` −1–1 and ``mask`` 0–1, (h, w), float32.

    ``glow`` is light of its own: fringes, speckle and what is out of focus.
    """

    edges: Light
    faces: Light
    mask: Light
    glow: Light

    @classmethod
    def blank(cls, size_px: tuple[int, int]) -> _Relief:
        return cls(*(np.zeros(size_px, np.float32) for _ in range(4)))

    @property
    def shape(self) -> tuple[int, int]:
        return self.edges.shape[0], self.edges.shape[1]

    @property
    def side(self) -> float:
        return float(min(self.shape))

    def place(self, rng: Rng, spread: float = 0.4) -> tuple[float, float]:
        """Return a point (x, y) within ``spread`` times the sides of the middle."""
        height, width = self.shape
        return width * (0.5 + rng.uniform(-spread, spread)), height * (0.5 + rng.uniform(-spread, spread))

    def cover(self, outline: Points, shade: float, edge_px: float) -> None:
        """Lay a face (K, 2) over what is there: its shade, and its outline as an edge."""
        layer = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(layer, [_fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        alpha = layer.astype(np.float32) / np.float32(255)
        self.faces += alpha * (np.float32(shade) - self.faces)
        self.edges *= 1 - alpha
        self.mask = np.maximum(self.mask, alpha)
        self.line(outline, edge_px, 1.0, is_closed=True)

    def line(self, points: Points, width_px: float, strength: float, is_closed: bool = False) -> None:
        """Draw a line through points (K, 2) into the edges; thinner than a pixel it is fainter."""
        layer = np.zeros(self.shape, np.uint8)
        width = max(1, round(width_px))
        cv2.polylines(layer, [_fixed(points)], is_closed, 255, width, cv2.LINE_AA, _SHIFT)
        strength *= min(1.0, width_px)
        self.edges = np.maximum(self.edges, layer.astype(np.float32) * np.float32(strength / 255))


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _photograph(relief: _Relief, rng: Rng, lighting: Lighting) -> npt.NDArray[np.uint8]:
    """Return the grey image (H, W), uint8, of a relief in a light."""
    halo = blur_image(relief.edges, rng.uniform(1.5, 5))
    blur = float(rng.choice([0.5, 0.8, 1.2, 2.2], p=[0.3, 0.35, 0.25, 0.1]))
    slow = sample_noise(rng, relief.shape, rng.uniform(10, 60)) * np.float32(rng.uniform(0, 0.05))
    if lighting == Lighting.DARK_FIELD:
        # Every second body lies among needles out of focus, as a foreign crystal in the probe would.
        is_hazy = bool(relief.mask.any()) and rng.random() < 0.5
        light = _render_haze(relief, rng) if is_hazy else np.float32(rng.uniform(0.05, 0.3)) + slow
        light = light + relief.mask * np.float32(rng.uniform(0.05, 0.6)) * (0.6 + 0.4 * relief.faces)
        light += np.float32(rng.uniform(0.3, 1.0)) * relief.edges + np.float32(rng.uniform(0, 0.6)) * halo
        light += np.float32(rng.uniform(0.3, 0.9)) * relief.glow
        light = blur_image(light_unevenly(rng, light, rng.uniform(0, 0.6)), blur)
        if light.max() - light.min() > 0.05:
            return develop(rng, light, sample_target(rng, relief.shape))[:, :, 0]
        light = light / np.float32(max(float(light.max()), 1e-3)) * np.float32(rng.uniform(0.3, 0.9))
        return _expose(rng, 255 * light)
    contrast = np.float32(rng.uniform(0.15, 0.7))
    light = np.float32(rng.uniform(0.45, 0.95)) + slow
    light = light + relief.mask * relief.faces * np.float32(rng.uniform(0.0, 0.5)) * contrast
    light -= relief.mask * np.float32(rng.choice([0.0, 0.0, rng.uniform(0, 0.5)])) * contrast
    light += contrast * (np.float32(rng.uniform(0, 1.2)) * halo - relief.edges)
    light -= contrast * np.float32(rng.choice([-1.0, 1.0])) * relief.glow
    light = blur_image(light_unevenly(rng, light, rng.uniform(0, 0.5)), blur)
    return _expose(rng, 255 * light)


def _render_haze(relief: _Relief, rng: Rng) -> Light:
    """Return the ground (h, w) that crops have: grey, with needles far out of focus."""
    scene = Scene.blank(relief.shape, rng.uniform(0.36, 0.58))
    render_background(scene, rng, "rich")
    return as_light(cv2.resize(scene.light, relief.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _expose(rng: Rng, levels: Light) -> npt.NDArray[np.uint8]:
    noise = sample_noise(rng, (levels.shape[0], levels.shape[1]), float(rng.choice([1.0, 2.0])))
    noisy = levels + np.float32(rng.choice([0.3, 1.0, 2.5])) * noise
    return np.clip(noisy + np.float32(0.5), 0, 255).astype(np.uint8)


def _rotate(points: Points, angle: float, at: tuple[float, float]) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    rotated: Points = points @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(at)
    return rotated


def _ring(n: int, phase: float = 0.0) -> Points:
    angle = phase + 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _edge_px(rng: Rng) -> float:
    return float(rng.uniform(0.7, 3.0))


def _paint_prism(relief: _Relief, rng: Rng) -> None:
    """Straight blocks with smooth long faces and pointed or cut ends."""
    heading, spread = rng.uniform(0, np.pi), rng.choice([0.1, 3.2])
    for _ in range(int(rng.integers(1, 6))):
        half = relief.side * rng.uniform(0.06, 0.2)
        length = half * rng.uniform(1.5, 5)
        tip = half * rng.choice([0.0, rng.uniform(0.3, 1.2)])
        cut = rng.uniform(-0.5, 0.5)
        outline = np.array(
            [
                *((-length - tip, cut * half), (-length, -half), (length, -half)),
                *((length + tip, -cut * half), (length, half), (-length, half)),
            ]
        )
        angle, at = heading + rng.normal(0, spread), relief.place(rng)
        edge = _edge_px(rng)
        relief.cover(_rotate(outline, angle, at), rng.uniform(-0.6, 0.6), edge)
        for offset in rng.uniform(-0.7, 0.7, int(rng.integers(0, 3))) * half:
            ridge = np.array([(-length, offset), (length, offset)])
            relief.line(_rotate(ridge, angle, at), 0.7 * edge, rng.uniform(0.3, 0.9))


def _paint_facets(relief: _Relief, rng: Rng, outline: Points, top: Points) -> None:
    """Lay the faces between an outline (K, 2) and its top (K, 2), then the top itself."""
    edge, n = _edge_px(rng), len(outline)
    lamp = rng.uniform(0, 2 * np.pi)
    for k in range(n):
        corners = np.array([outline[k], outline[(k + 1) % n], top[(k + 1) % n], top[k]])
        normal = corners[:2].mean(axis=0) - outline.mean(axis=0)
        shade = 0.8 * np.cos(np.arctan2(normal[1], normal[0]) - lamp)
        relief.cover(corners, shade, rng.uniform(0.5, 1.0) * edge)
    if np.ptp(top) > 1:
        relief.cover(top, rng.uniform(-0.3, 0.3), 0.8 * edge)


def _paint_octahedron(relief: _Relief, rng: Rng) -> None:
    """Faces that meet in a point or a small cut top, from four or six sides."""
    for _ in range(int(rng.integers(1, 5))):
        radius, n = relief.side * rng.uniform(0.12, 0.45), int(rng.choice([4, 4, 6]))
        squeeze = np.array([1.0, rng.uniform(0.6, 1.0)])
        angle, at = rng.uniform(0, np.pi), relief.place(rng)
        shift = rng.uniform(-0.2, 0.2, 2) * radius
        top = _ring(n) * squeeze * radius * rng.choice([0.0, rng.uniform(0.1, 0.4)]) + shift
        outline = _rotate(_ring(n) * squeeze * radius, angle, at)
        _paint_facets(relief, rng, outline, _rotate(top, angle, at))


def _paint_shard(relief: _Relief, rng: Rng) -> None:
    """Angular fragments with bowed lines of fracture."""
    for _ in range(int(rng.integers(1, 9))):
        n, radius = int(rng.integers(3, 7)), relief.side * rng.uniform(0.06, 0.4)
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))
        reach = radius * rng.uniform(0.5, 1.2, n)
        outline = np.stack([np.cos(angles) * reach, np.sin(angles) * reach], axis=1)
        at, edge = np.array(relief.place(rng, 0.5)), _edge_px(rng)
        relief.cover(outline + at, rng.uniform(-0.8, 0.8), edge)
        arc = np.linspace(-0.6, 0.6, 12) + rng.uniform(0, 2 * np.pi)
        for step in rng.uniform(0.3, 0.9, int(rng.integers(0, 4))):
            bow = np.stack([np.cos(arc), np.sin(arc)], axis=1) * radius * step
            relief.line(bow + at, 0.6 * edge, rng.uniform(0.2, 0.7))


def _paint_dendrite(relief: _Relief, rng: Rng) -> None:
    """A stem with side arms at one angle, and arms on these; four- or six-fold, or one lone branch."""
    n_arms = int(rng.choice([1, 2, 4, 6]))
    angle = float(rng.choice([np.pi / 2, np.pi / 3, rng.uniform(0.6, 1.4)]))
    start, edge = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4.5)
    at, reach = np.array(relief.place(rng, 0.25)), relief.side * rng.uniform(0.4, 1.0)

    def grow(root: Points, heading: float, length: float, depth: int) -> None:
        unit = np.array([np.cos(heading), np.sin(heading)])
        relief.line(np.array([root, root + length * unit]), edge * 0.65**depth, 1.0 - 0.15 * depth)
        if depth == 2 or length < 6:
            return
        n_sides = max(3, int(length / (edge * rng.uniform(1.8, 3.2) + 2)))
        for place in np.linspace(0.12, 0.96, n_sides):
            arm = length * (1 - place) * rng.uniform(0.35, 0.6)
            for sign in (-1, 1):
                grow(root + place * length * unit, heading + sign * angle, arm, depth + 1)

    for k in range(n_arms):
        grow(at, start + 2 * np.pi * k / n_arms, reach * rng.uniform(0.8, 1.0), 0)
    relief.mask, relief.faces = relief.edges.copy(), relief.edges.copy()


def _distance(relief: _Relief, at: tuple[float, float]) -> Light:
    x, y = coordinate_grid(*relief.shape)
    return as_light(np.hypot(x - np.float32(at[0]), y - np.float32(at[1])))


def _paint_bubble(relief: _Relief, rng: Rng) -> None:
    """Round, with a broad dark rim and a bright spot: gas refracts most at its border."""
    for _ in range(int(rng.integers(1, 6))):
        radius, at = relief.side * rng.uniform(0.06, 0.45), relief.place(rng)
        rho = _distance(relief, at) / np.float32(radius)
        inside = np.clip((1 - rho) * np.float32(radius) + 0.5, 0, 1)
        rim = inside * np.clip((rho - np.float32(rng.uniform(0.45, 0.85))) * 6, 0, 1)
        relief.edges = np.maximum(relief.edges * (1 - inside), rim)
        relief.mask = np.maximum(relief.mask, inside)
        relief.faces = relief.faces * (1 - inside) + inside * np.float32(rng.uniform(-0.3, 0.6))
        spot = _distance(relief, tuple(np.asarray(at) + rng.uniform(-0.3, 0.3, 2) * radius))
        relief.faces += np.exp(-((spot / np.float32(radius * rng.uniform(0.08, 0.3))) ** 2))


def _wander(rng: Rng, start: Points, heading: float, step: float, n: int, curl: float) -> Points:
    headings = heading + np.cumsum(np.convolve(rng.normal(0, curl, n + 8), np.ones(9) / 3, mode="valid"))
    return start + np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=1) * step, axis=0)


def _paint_fibre(relief: _Relief, rng: Rng) -> None:
    """Threads of even width that bend smoothly all through the image: hair, lint, polymer."""
    for _ in range(int(rng.choice([1, 1, 2, 3, 6]))):
        heading = rng.uniform(0, 2 * np.pi)
        middle = np.array(relief.place(rng))
        start = middle - relief.side * np.array([np.cos(heading), np.sin(heading)])
        path = _wander(rng, start, heading, 2.0, int(relief.side * 1.3), rng.uniform(0.01, 0.06))
        width = rng.uniform(2, 0.12 * relief.side)
        layer = np.zeros(relief.shape, np.uint8)
        cv2.polylines(layer, [_fixed(path)], False, 255, max(1, round(width)), cv2.LINE_AA, _SHIFT)
        body = layer.astype(np.float32) / np.float32(255)
        rim = as_light(cv2.morphologyEx(body, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
        relief.edges = np.maximum(relief.edges * (1 - body), rim)
        relief.mask = np.maximum(relief.mask, body)
        relief.faces += body * (np.float32(rng.uniform(-0.8, 0.8)) - relief.faces)
        if rng.random() < 0.4:
            relief.line(path, 0.25 * width, rng.uniform(0.3, 0.9))


def _paint_blob(relief: _Relief, rng: Rng) -> None:
    """Soft spots: something far out of focus."""
    for _ in range(int(rng.integers(1, 8))):
        rho = _distance(relief, relief.place(rng, 0.5)) / np.float32(relief.side * rng.uniform(0.05, 0.4))
        relief.glow += np.float32(rng.uniform(-0.6, 1.0)) * np.exp(
            -(rho ** np.float32(rng.choice([2, 2, 6])))
        )


def _paint_ground(relief: _Relief, rng: Rng) -> None:
    """Nothing: a lit ground, even or with slow clouds."""
    clouds = sample_noise(rng, relief.shape, relief.side * rng.uniform(0.1, 0.6))
    relief.glow += np.float32(rng.choice([0.0, rng.uniform(0, 0.2)])) * clouds


def _paint_cake(relief: _Relief, rng: Rng) -> None:
    """Packed grains from border to border, each of its own shade: sediment, or a filter cake."""
    height, width = relief.shape
    seeds = np.full(relief.shape, 255, np.uint8)
    n_grains = int(np.exp(rng.uniform(np.log(15), np.log(900))))
    seeds[rng.integers(0, height, n_grains), rng.integers(0, width, n_grains)] = 0
    _, grain = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    shades = rng.uniform(-1, 1, int(grain.max()) + 1).astype(np.float32)
    relief.faces += shades[grain] * np.float32(rng.uniform(0.2, 0.9))
    relief.faces += np.float32(rng.uniform(0, 0.5)) * sample_noise(rng, relief.shape, rng.uniform(1, 6))
    border = as_light(
        cv2.morphologyEx(grain.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
    )
    relief.edges = np.float32(rng.choice([0.0, rng.uniform(0.2, 1.0)])) * (border > 0)
    relief.mask[:] = 1


def _paint_rhomb(relief: _Relief, rng: Rng) -> None:
    """Parallelograms with steps parallel to their sides, flat or with a side face."""
    for _ in range(int(rng.integers(1, 5))):
        a, b = relief.side * rng.uniform(0.15, 0.5, 2)
        corner, angle, at = rng.uniform(0.9, 1.35), rng.uniform(0, np.pi), relief.place(rng)
        first, second = np.array([a, 0.0]), b * np.array([np.cos(corner), np.sin(corner)])
        outline = np.array([np.zeros(2), first, first + second, second]) - (first + second) / 2
        edge = _edge_px(rng)
        depth = rng.choice([0.0, rng.uniform(0.1, 0.4)]) * np.array([0.5 * a, 0.6 * b])
        if depth.any():
            relief.cover(_rotate(outline + depth, angle, at), rng.uniform(-0.8, 0.0), edge)
            for corner_at in outline[1:]:
                relief.line(_rotate(np.array([corner_at, corner_at + depth]), angle, at), edge, 0.9)
        relief.cover(_rotate(outline, angle, at), rng.uniform(-0.4, 0.8), edge)
        for step in rng.uniform(0.55, 0.95, int(rng.integers(0, 3))):
            relief.line(_rotate(outline * step, angle, at), 0.5 * edge, rng.uniform(0.2, 0.7), is_closed=True)


def _paint_hexagon(relief: _Relief, rng: Rng) -> None:
    """Six-sided plates of sharp corners with a bevel or growth steps inside."""
    for _ in range(int(rng.integers(1, 6))):
        radius, angle, at = relief.side * rng.uniform(0.1, 0.42), rng.uniform(0, np.pi), relief.place(rng)
        outline = _ring(6) * np.array([1.0, rng.uniform(0.7, 1.0)]) * radius
        if rng.random() < 0.5:
            bevel = rng.uniform(0.6, 0.92)
            _paint_facets(relief, rng, _rotate(outline, angle, at), _rotate(outline * bevel, angle, at))
            continue
        edge = _edge_px(rng)
        relief.cover(_rotate(outline, angle, at), rng.uniform(-0.6, 0.6), edge)
        for step in rng.uniform(0.2, 0.9, int(rng.integers(0, 4))):
            relief.line(_rotate(outline * step, angle, at), 0.6 * edge, rng.uniform(0.2, 0.8), is_closed=True)


def _paint_cube(relief: _Relief, rng: Rng) -> None:
    """Cubes and bricks of which three faces show."""
    for _ in range(int(rng.integers(1, 6))):
        axes = _ring(3, rng.uniform(0, 2 * np.pi)) * rng.uniform(0.7, 1.2, (3, 1))
        axes *= relief.side * rng.uniform(0.12, 0.4)
        at, edge = np.array(relief.place(rng)), _edge_px(rng)
        for k, shade in enumerate(rng.permutation([-0.7, 0.0, 0.7])):
            a, b = axes[k], axes[(k + 1) % 3]
            relief.cover(np.array([np.zeros(2), a, a + b, b]) + at, float(shade), edge)


def _paint_spherulite(relief: _Relief, rng: Rng) -> None:
    """Discs of fine rays from one centre, with a dark cross or rings."""
    for _ in range(int(rng.integers(1, 5))):
        at, radius = relief.place(rng), relief.side * rng.uniform(0.15, 0.5)
        x, y = coordinate_grid(*relief.shape)
        angle = as_light(np.arctan2(y - np.float32(at[1]), x - np.float32(at[0])))
        rho = _distance(relief, at) / np.float32(radius)
        n_rays = int(rng.integers(60, 240))
        rays = np.interp(angle, np.linspace(-np.pi, np.pi, n_rays + 1), rng.uniform(0, 1, n_rays + 1))
        cross = np.abs(np.sin(2 * angle + np.float32(rng.uniform(0, 6.28)))) ** np.float32(0.6)
        rings = 0.5 + 0.5 * np.cos(rho * np.float32(rng.choice([0.0, rng.uniform(10, 60)])))
        inside = np.clip((1 - rho) * np.float32(radius) + 0.5, 0, 1)
        texture = as_light((0.4 + 0.6 * rays) * (cross if rng.random() < 0.6 else 1.0) * rings)
        relief.faces += inside * (2 * texture - 1 - relief.faces)
        relief.mask = np.maximum(relief.mask, inside)
        relief.edges = np.maximum(relief.edges * (1 - inside), 0.6 * inside * (rho > 0.96))


def _paint_droplet(relief: _Relief, rng: Rng) -> None:
    """An emulsion: many round drops, small and large, each with a thin edge and a lens's bright middle."""
    largest = relief.side * rng.uniform(0.03, 0.25)
    for _ in range(int(rng.integers(3, 60))):
        radius, at = largest * rng.uniform(0.2, 1.0), relief.place(rng, 0.55)
        rho = _distance(relief, at) / np.float32(radius)
        inside = np.clip((1 - rho) * np.float32(radius) + 0.5, 0, 1)
        ring = np.exp(-(((rho - 1) * np.float32(radius / 1.4)) ** 2))
        relief.edges = np.maximum(relief.edges * (1 - inside), ring)
        relief.mask = np.maximum(relief.mask, inside)
        lens = as_light(0.9 - 1.4 * rho**2) * np.float32(rng.uniform(0.3, 1.0))
        relief.faces += inside * (lens - relief.faces)


def _paint_hologram(relief: _Relief, rng: Rng) -> None:
    """Fringes around particles, closer outwards, as an inline hologram has them; or plain stripes."""
    if rng.random() < 0.25:
        x, y = coordinate_grid(*relief.shape)
        heading, period = rng.uniform(0, np.pi), rng.uniform(4, 0.25 * relief.side)
        phase = (x * np.float32(np.cos(heading)) + y * np.float32(np.sin(heading))) * np.float32(
            2 * np.pi / period
        )
        relief.glow += 0.5 * np.cos(phase)
        return
    for _ in range(int(rng.integers(1, 7))):
        distance = _distance(relief, relief.place(rng, 0.5))
        first = relief.side * rng.uniform(0.04, 0.15)
        fall = np.exp(-distance / np.float32(relief.side * rng.uniform(0.15, 0.6)))
        relief.glow += np.float32(rng.uniform(0.4, 1.0)) * fall * np.cos((distance / np.float32(first)) ** 2)


def _paint_speckle(relief: _Relief, rng: Rng) -> None:
    """Laser speckle: the intensity of a random field with grains of one size."""
    grain = rng.uniform(1.5, 14)
    fields = [sample_noise(rng, relief.shape, grain) for _ in range(2)]
    relief.glow += np.float32(0.25) * as_light(fields[0] ** 2 + fields[1] ** 2)


def _paint_dust(relief: _Relief, rng: Rng) -> None:
    """Many small dark or bright specks, round and ragged, on an even ground."""
    for _ in range(int(rng.integers(8, 90))):
        n, radius = int(rng.integers(5, 9)), rng.uniform(0.8, 0.035 * relief.side + 1)
        outline = _ring(n, rng.uniform(0, 6)) * radius * rng.uniform(0.5, 1.2, (n, 1))
        relief.cover(outline + np.array(relief.place(rng, 0.5)), rng.uniform(-1, -0.2), 0.8)


_PAINTERS: dict[ForeignKind, Callable[[_Relief, Rng], None]] = {
    ForeignKind.PRISM: _paint_prism,
    ForeignKind.OCTAHEDRON: _paint_octahedron,
    ForeignKind.SHARD: _paint_shard,
    ForeignKind.DENDRITE: _paint_dendrite,
    ForeignKind.BUBBLE: _paint_bubble,
    ForeignKind.FIBRE: _paint_fibre,
    ForeignKind.BLOB: _paint_blob,
    ForeignKind.GROUND: _paint_ground,
    ForeignKind.CAKE: _paint_cake,
    ForeignKind.RHOMB: _paint_rhomb,
    ForeignKind.HEXAGON: _paint_hexagon,
    ForeignKind.CUBE: _paint_cube,
    ForeignKind.SPHERULITE: _paint_spherulite,
    ForeignKind.DROPLET: _paint_droplet,
    ForeignKind.HOLOGRAM: _paint_hologram,
    ForeignKind.SPECKLE: _paint_speckle,
    ForeignKind.DUST: _paint_dust,
}
