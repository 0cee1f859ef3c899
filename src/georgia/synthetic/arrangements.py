"""How crystals lie together: networks, bundles, sheaves and stars of CEX; plates of PG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from georgia.synthetic import needles, plates
from georgia.synthetic.needles import Bundle
from georgia.synthetic.optics import Look
from georgia.synthetic.scene import Scene, as_light, draw_noise, soften

Rng = np.random.Generator


@dataclass(frozen=True)
class Area:
    """The part of a canvas that an arrangement fills, in canvas pixels: a whole crop or one spot."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def whole(cls, scene: Scene) -> Area:
        """Return the area of the whole canvas."""
        height, width = scene.shape
        return cls(width / 2, height / 2, float(width), float(height))

    @property
    def size(self) -> float:
        """Return the longer side."""
        return max(self.width, self.height)

    def random_place(self, rng: Rng, spread: float = 0.4) -> tuple[float, float]:
        """Return a point within ``spread`` times the sides of the middle."""
        return self.x + self.width * rng.uniform(-spread, spread), self.y + self.height * rng.uniform(
            -spread, spread
        )


def draw_cex(scene: Scene, rng: Rng, area: Area, look: Look) -> None:
    """Draw the needles of one CEX crop."""
    if look == "flat":
        if rng.random() < 0.75:
            needles.draw_traces(scene, rng, int(rng.integers(2, 14)), rng.uniform(0.1, 0.4))
        else:
            _draw_network(scene, rng, area, rng.uniform(0.5, 0.62), opacity=0.35)
        return
    if look == "split":
        _draw_slabs(scene, rng, area, rng.uniform(0.7, 1.1))
        return
    styles: tuple[Callable[..., None], ...] = (
        _draw_network,
        _draw_thick,
        _draw_sheaf,
        _draw_stars,
        _draw_tangle,
        _draw_lone,
    )
    shares = [0.25, 0.27, 0.15, 0.11, 0.17, 0.05]
    brightness = rng.uniform(0.5, 1.0)
    styles[int(rng.choice(len(styles), p=shares))](scene, rng, area, brightness)
    # However hazy the rest, at least one needle or two can be made out.
    top = brightness * float(rng.uniform(0.8, 1.2)) + 0.15
    for _ in range(int(rng.integers(1, 4))):
        clear = replace(random_needle(scene, rng, area, top, rng.uniform(0, np.pi), 1.2), blur=0.0)
        needles.draw_bundle(scene, rng, clear)


def random_needle(
    scene: Scene, rng: Rng, area: Area, brightness: float, angle: float, opacity: float = 0.8
) -> Bundle:
    """Return a needle or a narrow bundle somewhere on the canvas, mostly running off it."""
    size = area.size
    x, y = area.random_place(rng, 0.55)
    n_fibres = 1 if rng.random() < 0.6 else int(rng.integers(2, 7))
    width_px = rng.uniform(3, 9) if n_fibres == 1 else rng.uniform(6, 22)
    return Bundle(
        x,
        y,
        angle,
        size * rng.uniform(0.25, 1.0),
        0.5 * width_px * scene.px,
        n_fibres,
        bend=rng.normal(0, 0.03) * size,
        brightness=brightness * rng.uniform(0.35, 1.15),
        opacity=opacity * rng.uniform(0.4, 1.0),
        beads=rng.uniform(0, 1),
        blur=float(rng.choice([0.0, 0.0, 0.7, 1.5, 3.0])),
    )


def _draw_network(scene: Scene, rng: Rng, area: Area, brightness: float, opacity: float = 0.8) -> None:
    """Single needles and narrow bundles that cross, some in focus."""
    angle, turn = rng.uniform(0, np.pi), rng.choice([0.15, 0.5, 1.6])
    for _ in range(int(rng.integers(4, 14))):
        each = angle + rng.uniform(-turn, turn)
        needles.draw_bundle(scene, rng, random_needle(scene, rng, area, brightness, each, opacity))
    if rng.random() < 0.2:
        x, y = area.random_place(rng)
        needles.draw_hub(
            scene, rng, x, y, rng.uniform(0.04, 0.16) * area.size, brightness * rng.uniform(0.2, 0.9)
        )


def _draw_thick(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Broad bundles of many parallel fibres, one over another, ends broken off."""
    size = area.size
    angle = rng.uniform(0, np.pi)
    turn = float(rng.choice([0.04, 0.12, 0.6]))
    for _ in range(int(rng.integers(1, 9))):
        x, y = area.random_place(rng)
        width = size * float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
        bundle = Bundle(
            x,
            y,
            angle + rng.normal(0, turn),
            size * rng.uniform(0.35, 1.0),
            width,
            n_fibres=int(np.clip(2 * width / (scene.px * rng.uniform(4, 10)), 2, 40)),
            spread=rng.choice([0.0, 0.0, rng.uniform(0, 0.6)]),
            bend=rng.normal(0, 0.04) * size,
            brightness=brightness * rng.uniform(0.4, 1.2),
            opacity=rng.uniform(0.6, 1.0),
            beads=rng.uniform(0.1, 1),
            raggedness=rng.uniform(0, 0.8),
            blur=float(rng.choice([0.0, 0.0, 0.6, 1.5])),
        )
        needles.draw_bundle(scene, rng, bundle)
    for _ in range(int(rng.integers(0, 5))):
        needles.draw_bundle(
            scene, rng, random_needle(scene, rng, area, brightness, angle + rng.normal(0, 0.6))
        )


def _draw_sheaf(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Sheaves tied in the middle and fans opening from one end."""
    size = area.size
    for _ in range(int(rng.integers(1, 4))):
        x, y = area.random_place(rng)
        sheaf = Bundle(
            x,
            y,
            rng.uniform(0, 2 * np.pi),
            size * rng.uniform(0.3, 0.8),
            size * rng.uniform(0.03, 0.1),
            n_fibres=int(rng.integers(6, 24)),
            spread=rng.uniform(0.8, 4),
            origin=float(rng.choice([0.0, -0.7, -1.0])),
            bend=rng.normal(0, 0.05) * size,
            brightness=brightness * rng.uniform(0.5, 1.2),
            opacity=rng.uniform(0.5, 0.95),
            beads=rng.uniform(0.2, 1),
            raggedness=rng.uniform(0.2, 1),
            blur=float(rng.choice([0.0, 0.6, 1.5])),
        )
        needles.draw_bundle(scene, rng, sheaf)
        if rng.random() < 0.5:
            needles.draw_hub(
                scene, rng, x, y, size * rng.uniform(0.05, 0.15), brightness * rng.uniform(0.3, 1.2)
            )
    for _ in range(int(rng.integers(0, 5))):
        needles.draw_bundle(scene, rng, random_needle(scene, rng, area, brightness, rng.uniform(0, np.pi)))


def _draw_stars(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Stars with a bright hub, needles around."""
    for _ in range(int(rng.integers(0, 4))):
        needles.draw_bundle(scene, rng, random_needle(scene, rng, area, brightness, rng.uniform(0, np.pi)))
    for _ in range(int(rng.choice([1, 1, 2]))):
        x, y = area.random_place(rng, 0.35)
        needles.draw_star(scene, rng, x, y, area.size * rng.uniform(0.3, 0.8), brightness)
    for _ in range(int(rng.integers(0, 4))):
        needles.draw_bundle(scene, rng, random_needle(scene, rng, area, brightness, rng.uniform(0, np.pi)))


def _draw_tangle(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """A dense mass of short fibres, speckled and half out of focus: granular, and yet CEX."""
    size = area.size
    middle = area.random_place(rng, 0.35)
    for _ in range(int(rng.integers(5, 14))):
        x, y = middle[0] + rng.normal(0, 0.2) * size, middle[1] + rng.normal(0, 0.2) * size
        sheaf = Bundle(
            x,
            y,
            rng.uniform(0, 2 * np.pi),
            size * rng.uniform(0.12, 0.4),
            size * rng.uniform(0.02, 0.09),
            n_fibres=int(rng.integers(3, 16)),
            spread=rng.uniform(0, 2),
            origin=float(rng.choice([0.0, -1.0])),
            bend=rng.normal(0, 0.06) * size,
            brightness=brightness * rng.uniform(0.4, 1.1),
            opacity=rng.uniform(0.3, 0.8),
            beads=rng.uniform(0.4, 1),
            raggedness=rng.uniform(0.3, 1),
            blur=float(rng.choice([0.0, 0.7, 1.5])),
        )
        needles.draw_bundle(scene, rng, sheaf)
    for _ in range(int(rng.integers(1, 4))):
        x, y = middle[0] + rng.normal(0, 0.2) * size, middle[1] + rng.normal(0, 0.2) * size
        needles.draw_hub(scene, rng, x, y, size * rng.uniform(0.03, 0.2), brightness * rng.uniform(0.15, 0.9))
    for _ in range(int(rng.integers(1, 5))):
        needle = random_needle(scene, rng, area, brightness, rng.uniform(0, np.pi))
        needles.draw_bundle(scene, rng, needle)


def _draw_slabs(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Bundles so bright that they are nearly saturated, on a dark ground: elongated, with fibrous edges."""
    size = area.size
    angle = rng.uniform(0, np.pi)
    hub = area.random_place(rng, 0.3)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (hub[0] + rng.normal(0, 0.1) * size, hub[1] + rng.normal(0, 0.1) * size)
        width = size * rng.uniform(0.04, 0.2)
        slab = Bundle(
            x,
            y,
            angle + rng.normal(0, float(rng.choice([0.1, 0.8]))),
            size * rng.uniform(0.5, 1.0),
            width,
            n_fibres=int(np.clip(2 * width / (scene.px * rng.uniform(3, 10)), 2, 40)),
            spread=float(rng.choice([0.0, rng.uniform(0, 0.8)])),
            bend=rng.normal(0, 0.05) * size,
            brightness=brightness,
            opacity=rng.uniform(0.85, 1.0),
            beads=rng.uniform(0.0, 0.4),
            raggedness=rng.uniform(0.1, 1.0),
            fullness=rng.uniform(0.35, 0.75),
        )
        needles.draw_bundle(scene, rng, slab)
    if rng.random() < 0.5:
        needles.draw_hub(scene, rng, *hub, size * rng.uniform(0.08, 0.2), brightness * rng.uniform(0.5, 1.5))
    for _ in range(int(rng.integers(0, 4))):
        needle = random_needle(scene, rng, area, brightness, angle + rng.normal(0, 0.8))
        needles.draw_bundle(scene, rng, needle)


def _draw_lone(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """One needle or bundle, or two, on an empty ground."""
    size = area.size
    for _ in range(int(rng.integers(1, 3))):
        x, y = area.random_place(rng, 0.15)
        needles.draw_bundle(
            scene,
            rng,
            Bundle(
                x,
                y,
                rng.uniform(0, np.pi),
                size * rng.uniform(0.3, 0.7),
                scene.px * rng.uniform(3, 20),
                n_fibres=int(rng.choice([1, 3, 6])),
                brightness=brightness,
                opacity=0.95,
                beads=rng.uniform(0, 1),
                bend=rng.normal(0, 0.05) * size,
                raggedness=rng.uniform(0, 0.6),
                blur=float(rng.choice([0.0, 0.8])),
            ),
        )


def draw_pg(scene: Scene, rng: Rng, area: Area, look: Look) -> None:
    """Draw the plates of one PG crop, with needles behind and in front."""
    behind = rng.random()
    if behind < 0.5 and look != "flat":
        _draw_needles_around(scene, rng, area, rng.uniform(0.15, 0.6), 1, 7)
    for plate in draw_plate_plan(rng, area, look):
        plates.draw_plate(scene, rng, plate)
    if look == "flat":
        _trace_plate(scene, rng)
    elif rng.random() < 0.5:
        _draw_needles_around(scene, rng, area, rng.uniform(0.25, 0.9), 1, 5, opacity=rng.uniform(0.2, 0.7))


def _draw_needles_around(
    scene: Scene, rng: Rng, area: Area, brightness: float, fewest: int, most: int, opacity: float = 0.7
) -> None:
    angle, turn = rng.uniform(0, np.pi), rng.choice([0.15, 0.6, 1.6])
    for _ in range(int(rng.integers(fewest, most))):
        each = angle + rng.uniform(-turn, turn)
        needles.draw_bundle(scene, rng, random_needle(scene, rng, area, brightness, each, opacity))


def draw_plate_plan(rng: Rng, area: Area, look: Look) -> list[plates.Plate]:
    """Return the plates of one PG crop: one that fills most of it, now and then a second."""
    shares = {
        "rich": [0.12, 0.4, 0.18, 0.12, 0.18],
        "split": [0.7, 0.12, 0.03, 0.15, 0.0],
        "flat": [0, 0, 0.6, 0.0, 0.4],
    }
    style = str(rng.choice(plates.PLATE_STYLES, p=shares[look]))
    n_plates = int(rng.choice([1, 2, 3], p=[0.86, 0.1, 0.04]))
    plan = []
    for index in range(n_plates):
        fill = rng.uniform(0.68, 1.0) if index == 0 else rng.uniform(0.25, 0.6)
        shift = 0.5 * (1 - fill) + 0.03 if index == 0 else 0.4
        if look == "flat":
            brightness, opacity = 0.5 + rng.choice([-1, 1]) * rng.uniform(0.01, 0.06), rng.uniform(0.5, 1.0)
        else:
            brightness, opacity = rng.uniform(0.5, 1.1), rng.uniform(0.7, 1.0)
        plan.append(
            plates.Plate(
                *area.random_place(rng, shift),
                0.5 * area.width * fill,
                0.5 * area.height * fill * rng.uniform(0.85, 1.1),
                style,
                brightness,
                opacity,
                blur=float(rng.choice([0.0, 0.4, 0.8, 1.5], p=[0.45, 0.3, 0.18, 0.07])),
            )
        )
    return plan[::-1]


def _trace_plate(scene: Scene, rng: Rng) -> None:
    """Darken parts of the outline and pits of the plates on a flat field, with a few needle traces."""
    inside = (scene.front == 2).astype(np.float32)
    edge = as_light(cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    noise = draw_noise(rng, scene.shape, rng.uniform(1.5, 4))
    broad = soften(edge, rng.uniform(0.4, 2.5))
    eroded = np.clip(noise + broad * 3 - np.float32(rng.uniform(1.6, 2.6)), 0, 1) * (broad > 0.03)
    broken = draw_noise(rng, scene.shape, rng.uniform(4, 10)) > rng.uniform(-1.0, 0.3)
    shadow = np.maximum(eroded, edge * broken * np.float32(rng.uniform(0, 1)))
    pits = np.clip(noise - np.float32(rng.uniform(1.8, 3)), 0, 1) * inside
    scene.light -= soften(np.maximum(shadow, pits) * np.float32(rng.uniform(0.1, 0.4)), rng.uniform(0.3, 0.8))
    if rng.random() < 0.4:
        front = scene.front.copy()
        needles.draw_traces(scene, rng, int(rng.integers(1, 5)), rng.uniform(0.03, 0.2))
        scene.front[:] = np.where(front == 2, 2, scene.front)


# ---- one crystal in a frame


def draw_one_cex(scene: Scene, rng: Rng, area: Area) -> None:
    """Draw one needle, bundle, sheaf or star of the size of an area."""
    size = area.size
    row, column = (
        int(np.clip(at, 0, limit - 1)) for at, limit in zip((area.y, area.x), scene.shape, strict=True)
    )
    # Brighter than the haze it lies in, or it could not be seen.
    brightness = max(rng.uniform(0.5, 1.0), float(scene.light[row, column]) + rng.uniform(0.25, 0.6))
    kind = rng.random()
    if kind < 0.12:
        needles.draw_star(scene, rng, area.x, area.y, size * rng.uniform(0.4, 0.8), brightness)
        return
    n_fibres = 1 if kind < 0.5 else int(rng.integers(2, 24))
    half_width = scene.px * (rng.uniform(1.5, 5) if n_fibres == 1 else n_fibres * rng.uniform(1.2, 3))
    bundle = Bundle(
        area.x,
        area.y,
        rng.uniform(0, np.pi),
        size * rng.uniform(0.5, 1.3),
        half_width,
        n_fibres,
        spread=float(rng.choice([0.0, rng.uniform(0, 2.5)], p=[0.6, 0.4])),
        origin=float(rng.choice([0.0, -1.0])),
        bend=rng.normal(0, 0.04) * size,
        brightness=brightness,
        opacity=rng.uniform(0.6, 1.0),
        beads=rng.uniform(0, 1),
        raggedness=rng.uniform(0, 0.8),
        blur=float(rng.choice([0.0, 0.7, 1.5])),
    )
    needles.draw_bundle(scene, rng, bundle)


def draw_one_pg(scene: Scene, rng: Rng, area: Area) -> None:
    """Draw one plate or clump of the size of an area."""
    plates.draw_plate(scene, rng, draw_plate_plan(rng, area, "rich")[-1])
