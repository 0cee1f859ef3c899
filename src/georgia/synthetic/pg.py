"""How plates lie: one that fills most of a crop, needles behind and in front."""

from __future__ import annotations

import cv2
import numpy as np

from georgia.synthetic import cex, needles, plates
from georgia.synthetic.optics import Tone
from georgia.synthetic.scene import Area, Scene, as_light, blur_image, sample_noise

Rng = np.random.Generator


def render_pg(scene: Scene, rng: Rng, area: Area, tone: Tone) -> None:
    """Render the plates of one PG crop, with needles behind and in front."""
    behind = rng.random()
    if behind < 0.25 and tone == "rich":
        cex.render_behind(scene, rng, area)
    elif behind < 0.6 and tone != "flat":
        _render_needles_around(scene, rng, area, rng.uniform(0.15, 0.6), (1, 7))
    for plate in plan_plates(rng, area, tone):
        plates.render_plate(scene, rng, plate)
    if tone == "flat":
        _trace_plate(scene, rng)
    elif rng.random() < 0.5:
        _render_needles_around(scene, rng, area, rng.uniform(0.25, 0.9), (1, 5), rng.uniform(0.2, 0.7))


def _render_needles_around(
    scene: Scene, rng: Rng, area: Area, brightness: float, count: tuple[int, int], opacity: float = 0.7
) -> None:
    angle, spread = rng.uniform(0, np.pi), rng.choice([0.15, 0.6, 1.6])
    cex.render_needles(
        scene, rng, area, brightness, count, lambda: angle + rng.uniform(-spread, spread), opacity
    )


def plan_plates(rng: Rng, area: Area, tone: Tone) -> list[plates.Plate]:
    """Return the plates of one PG crop: one that fills most of it, now and then a second."""
    weights = {
        "rich": [0.12, 0.4, 0.18, 0.12, 0.18],
        "split": [0.7, 0.12, 0.03, 0.15, 0.0],
        "flat": [0, 0, 0.6, 0.0, 0.4],
    }
    style = str(rng.choice(plates.PLATE_STYLES, p=weights[tone]))
    n_plates = int(rng.choice([1, 2, 3], p=[0.86, 0.1, 0.04]))
    plan = []
    for index in range(n_plates):
        fill = rng.uniform(0.68, 1.0) if index == 0 else rng.uniform(0.25, 0.6)
        shift = 0.5 * (1 - fill) + 0.03 if index == 0 else 0.4
        if tone == "flat":
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
                blur=float(rng.choice([0.0, 0.4, 0.8, 1.5], p=[0.5, 0.32, 0.15, 0.03])),
            )
        )
    return plan[::-1]


def _trace_plate(scene: Scene, rng: Rng) -> None:
    """Darken parts of the outline and pits of the plates on a flat field, with a few needle traces."""
    inside = (scene.front == 2).astype(np.float32)
    edge = as_light(cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    noise = sample_noise(rng, scene.shape, rng.uniform(1.5, 4))
    broad = blur_image(edge, rng.uniform(0.4, 2.5))
    eroded = np.clip(noise + broad * 3 - np.float32(rng.uniform(1.6, 2.6)), 0, 1) * (broad > 0.03)
    broken = sample_noise(rng, scene.shape, rng.uniform(4, 10)) > rng.uniform(-1.0, 0.3)
    shadow = np.maximum(eroded, edge * broken * np.float32(rng.uniform(0, 1)))
    pits = np.clip(noise - np.float32(rng.uniform(1.8, 3)), 0, 1) * inside
    scene.light -= blur_image(
        np.maximum(shadow, pits) * np.float32(rng.uniform(0.1, 0.4)), rng.uniform(0.3, 0.8)
    )
    if rng.random() < 0.4:
        front = scene.front.copy()
        needles.render_traces(scene, rng, int(rng.integers(1, 5)), rng.uniform(0.03, 0.2))
        scene.front[:] = np.where(front == 2, 2, scene.front)


def render_single_pg(scene: Scene, rng: Rng, area: Area) -> None:
    """Render one plate or clump of the size of an area."""
    plates.render_plate(scene, rng, plan_plates(rng, area, "rich")[-1])
