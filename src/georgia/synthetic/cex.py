"""How needles lie together: networks, broad bundles, sheaves, stars, tangles and lone ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from georgia.synthetic import needles
from georgia.synthetic.needles import FibreBundle
from georgia.synthetic.optics import Tone
from georgia.synthetic.scene import Area, Scene, blur_image

Rng = np.random.Generator
Style = Callable[[Scene, Rng, Area, float], None]


def render_cex(scene: Scene, rng: Rng, area: Area, tone: Tone) -> None:
    """Render the needles of one CEX crop."""
    if tone == "flat":
        if rng.random() < 0.75:
            needles.render_traces(scene, rng, int(rng.integers(2, 14)), rng.uniform(0.1, 0.4))
        else:
            _render_network(scene, rng, area, rng.uniform(0.7, 1.1), opacity=0.5)
        return
    if tone == "split":
        _render_slabs(scene, rng, area, rng.uniform(0.7, 1.1))
        return
    styles = (_render_network, _render_thick, _render_sheaf, _render_stars, _render_tangle, _render_lone)
    # Source: by eye on the probe's public sample images, spread out.
    weights = [0.24, 0.3, 0.13, 0.1, 0.19, 0.04]
    brightness = rng.uniform(0.5, 1.0)
    first, second = (styles[int(index)] for index in rng.choice(len(styles), size=2, p=weights))
    if rng.random() < 0.4:
        render_behind(scene, rng, area, second)
    first(scene, rng, area, brightness)
    # However hazy the rest, at least one needle or two can be made out.
    top = brightness * float(rng.uniform(0.8, 1.2)) + 0.15
    for _ in range(int(rng.integers(1, 4))):
        clear = replace(random_needle(scene, rng, area, top, rng.uniform(0, np.pi), 1.2), blur=0.0)
        needles.render_bundle(scene, rng, clear)


def render_behind(scene: Scene, rng: Rng, area: Area, style: Style | None = None) -> None:
    """Render needles farther away: an arrangement that the blur of depth then goes over."""
    style = style or (_render_network, _render_thick, _render_tangle)[int(rng.integers(3))]
    style(scene, rng, area, rng.uniform(0.3, 0.7))
    scene.light[:] = blur_image(scene.light, rng.uniform(0.6, 2.5))


def random_needle(
    scene: Scene, rng: Rng, area: Area, brightness: float, angle: float, opacity: float = 0.8
) -> FibreBundle:
    """Return a needle or a narrow bundle somewhere on the canvas, mostly running off it."""
    size = area.size
    x, y = area.random_place(rng, 0.55)
    n_fibres = 1 if rng.random() < 0.6 else int(rng.integers(2, 7))
    width_px = rng.uniform(3, 9) if n_fibres == 1 else rng.uniform(6, 22)
    return FibreBundle(
        x,
        y,
        angle,
        size * rng.uniform(0.25, 1.0),
        0.5 * width_px * scene.px,
        n_fibres,
        bend=rng.normal(0, 0.03) * size,
        brightness=brightness * rng.uniform(0.35, 1.15),
        opacity=min(1.0, opacity * rng.uniform(0.4, 1.0)),
        beads=rng.uniform(0, 1),
        blur=float(rng.choice([0.0, 0.0, 0.7, 1.5, 3.0])),
    )


def render_needles(
    scene: Scene,
    rng: Rng,
    area: Area,
    brightness: float,
    count: tuple[int, int],
    direction: Callable[[], float] | None = None,
    opacity: float = 0.8,
) -> None:
    """Render ``count[0]`` to ``count[1]`` − 1 needles; without ``direction`` they lie in any."""
    for _ in range(int(rng.integers(*count))):
        angle = direction() if direction else rng.uniform(0, np.pi)
        needles.render_bundle(scene, rng, random_needle(scene, rng, area, brightness, angle, opacity))


def _render_network(scene: Scene, rng: Rng, area: Area, brightness: float, opacity: float = 0.8) -> None:
    """Single needles and narrow bundles that cross, some in focus."""
    angle, spread = rng.uniform(0, np.pi), rng.choice([0.15, 0.5, 1.6])
    render_needles(
        scene, rng, area, brightness, (4, 14), lambda: angle + rng.uniform(-spread, spread), opacity
    )
    if rng.random() < 0.2:
        x, y = area.random_place(rng)
        needles.render_hub(
            scene, rng, x, y, rng.uniform(0.04, 0.16) * area.size, brightness * rng.uniform(0.2, 0.9)
        )


def _render_thick(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Broad bundles of many parallel fibres, one over another, ends broken off."""
    size = area.size
    angle = rng.uniform(0, np.pi)
    spread = float(rng.choice([0.04, 0.12, 0.6]))
    for _ in range(int(rng.integers(1, 12))):
        x, y = area.random_place(rng)
        width = size * float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
        bundle = FibreBundle(
            x,
            y,
            angle + rng.normal(0, spread),
            size * rng.uniform(0.35, 1.0),
            width,
            n_fibres=int(np.clip(2 * width / (scene.px * rng.uniform(4, 10)), 2, 40)),
            spread=rng.choice([0.0, 0.0, rng.uniform(0, 0.6)]),
            bend=rng.normal(0, 0.04) * size,
            brightness=brightness * rng.uniform(0.4, 1.2),
            opacity=rng.uniform(0.6, 1.0),
            beads=rng.uniform(0.2, 1),
            raggedness=rng.uniform(0, 0.8),
            blur=float(rng.choice([0.0, 0.0, 0.6, 1.5])),
        )
        needles.render_bundle(scene, rng, bundle)
    render_needles(scene, rng, area, brightness, (0, 5), lambda: angle + rng.normal(0, 0.6))


def _render_sheaf(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Sheaves tied in the middle and fans opening from one end."""
    size = area.size
    for _ in range(int(rng.integers(1, 4))):
        x, y = area.random_place(rng)
        sheaf = FibreBundle(
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
        needles.render_bundle(scene, rng, sheaf)
        if rng.random() < 0.5:
            needles.render_hub(
                scene, rng, x, y, size * rng.uniform(0.05, 0.15), brightness * rng.uniform(0.3, 1.2)
            )
    render_needles(scene, rng, area, brightness, (0, 5))


def _render_stars(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Stars with a bright hub, needles around."""
    render_needles(scene, rng, area, brightness, (0, 4))
    for _ in range(int(rng.choice([1, 1, 2]))):
        x, y = area.random_place(rng, 0.35)
        needles.render_star(scene, rng, x, y, area.size * rng.uniform(0.3, 0.8), brightness)
    render_needles(scene, rng, area, brightness, (0, 4))


def _render_tangle(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """A dense mass of short fibres, speckled and half out of focus: granular, and yet CEX."""
    size = area.size
    middle = area.random_place(rng, 0.35)
    for _ in range(int(rng.integers(5, 14))):
        x, y = middle[0] + rng.normal(0, 0.2) * size, middle[1] + rng.normal(0, 0.2) * size
        sheaf = FibreBundle(
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
        needles.render_bundle(scene, rng, sheaf)
    for _ in range(int(rng.integers(1, 4))):
        x, y = middle[0] + rng.normal(0, 0.2) * size, middle[1] + rng.normal(0, 0.2) * size
        needles.render_hub(
            scene, rng, x, y, size * rng.uniform(0.03, 0.2), brightness * rng.uniform(0.15, 0.9)
        )
    render_needles(scene, rng, area, brightness, (1, 5))


def _render_slabs(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """Bundles so bright that they are nearly saturated, on a dark ground: elongated, with fibrous edges."""
    size = area.size
    angle = rng.uniform(0, np.pi)
    hub = area.random_place(rng, 0.3)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (hub[0] + rng.normal(0, 0.1) * size, hub[1] + rng.normal(0, 0.1) * size)
        width = size * rng.uniform(0.04, 0.2)
        slab = FibreBundle(
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
        needles.render_bundle(scene, rng, slab)
    if rng.random() < 0.5:
        needles.render_hub(
            scene, rng, *hub, size * rng.uniform(0.08, 0.2), brightness * rng.uniform(0.5, 1.5)
        )
    render_needles(scene, rng, area, brightness, (0, 4), lambda: angle + rng.normal(0, 0.8))


def _render_lone(scene: Scene, rng: Rng, area: Area, brightness: float) -> None:
    """One needle or bundle, or two, on an empty ground."""
    size = area.size
    for _ in range(int(rng.integers(1, 3))):
        x, y = area.random_place(rng, 0.15)
        needles.render_bundle(
            scene,
            rng,
            FibreBundle(
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


def render_single_cex(scene: Scene, rng: Rng, area: Area) -> None:
    """Render one needle, bundle, sheaf or star of the size of an area."""
    size = area.size
    row, column = (
        int(np.clip(at, 0, limit - 1)) for at, limit in zip((area.y, area.x), scene.shape, strict=True)
    )
    # Brighter than the haze it lies in, or it could not be seen.
    brightness = max(rng.uniform(0.5, 1.0), float(scene.light[row, column]) + rng.uniform(0.25, 0.6))
    kind = rng.random()
    if kind < 0.12:
        needles.render_star(scene, rng, area.x, area.y, size * rng.uniform(0.4, 0.8), brightness)
        return
    n_fibres = 1 if kind < 0.5 else int(rng.integers(2, 24))
    half_width = scene.px * (rng.uniform(1.5, 5) if n_fibres == 1 else n_fibres * rng.uniform(1.2, 3))
    bundle = FibreBundle(
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
    needles.render_bundle(scene, rng, bundle)
