"""One synthetic crop of one crystal, with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest
from georgia.synthetic import needles
from georgia.synthetic.cex import render_cex
from georgia.synthetic.optics import Tone, develop, light_unevenly, sample_target
from georgia.synthetic.pg import render_pg
from georgia.synthetic.scene import CLASS_NAMES, Area, Mask, Scene, blur_image, sample_noise

Rng = np.random.Generator
# Below it a crop holds too few canvas pixels to show a crystal.
MIN_SIZE_PX = 32
Seed = int | np.random.SeedSequence | np.random.Generator


@dataclass(frozen=True)
class Crop:
    """One synthetic crop: ``image`` (H, W, 3), uint8, grey as RGB, and where each class stands in front."""

    image: npt.NDArray[np.uint8]
    class_name: str
    mask_cex: Mask
    mask_pg: Mask


def render_crop(class_name: str, seed: Seed, size_px: tuple[int, int] | None = None) -> Crop:
    """Return one crop of a class; the same seed gives the same bytes.

    ``size_px`` is (height, width); without it the size is sampled, from one distribution for both
    classes. A generator given as ``seed`` is used up further by each call.

    >>> crop = render_crop("PG", seed=7)
    >>> crop.image.shape == (*crop.mask_pg.shape, 3), bool(crop.mask_pg.mean() > 0.2)
    (True, True)

    Raises:
        InputError: the class cannot be rendered, or the size is too small.
    """
    if class_name not in CLASS_NAMES:
        raise InputError(
            "Cannot render a crop",
            needs="classes are " + ", ".join(CLASS_NAMES),
            got=repr(class_name),
            hint=suggest(class_name, CLASS_NAMES).strip(),
        )
    if size_px is not None and min(size_px) < MIN_SIZE_PX:
        raise InputError(
            "Cannot render a crop", needs=f"{MIN_SIZE_PX} px or more each way are needed", got=size_px
        )
    rng = make_generator(seed)
    target = sample_target(rng, size_px)
    scene = Scene.blank(target.size_px, target.px)
    render_background(scene, rng, target.tone)
    (render_cex if class_name == "CEX" else render_pg)(scene, rng, Area.whole(scene), target.tone)
    light = light_unevenly(rng, scene.light, rng.uniform(0, 0.6))
    light = blur_image(light, rng.choice([0.5, 0.8, 1.2], p=[0.4, 0.4, 0.2]))
    image = develop(rng, light, target)
    mask_cex, mask_pg = enlarge_front(scene, target.size_px)
    return Crop(image, class_name, mask_cex, mask_pg)


def make_generator(seed: Seed) -> Rng:
    """Return the generator of a seed; a generator is returned as it is."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def enlarge_front(scene: Scene, size_px: tuple[int, int]) -> tuple[Mask, Mask]:
    """Return the masks (H, W) of CEX and PG at the image's size; no pixel is in both."""
    front = cv2.resize(scene.front, (size_px[1], size_px[0]), interpolation=cv2.INTER_NEAREST)
    return front == 1, front == 2


def render_background(scene: Scene, rng: Rng, tone: Tone, haze: float = 1.0) -> None:
    """Lay the ground: grey, with needles far out of focus; the same for both classes.

    ``haze`` is how strongly the needles show, 0–1: few crystals in the solution make little of it.
    """
    if tone == "flat":
        scene.light[:] = 0.5
        scene.light += np.float32(rng.uniform(0.002, 0.02)) * sample_noise(
            rng, scene.shape, rng.uniform(10, 40)
        )
        return
    scene.light[:] = rng.uniform(0.05, 0.25)
    dimmer = haze * (0.3 if tone == "split" else 1.0)
    scene.light += np.float32(dimmer * rng.uniform(0.0, 0.025)) * sample_noise(
        rng, scene.shape, rng.uniform(8, 40)
    )
    # More needles on a larger field: the haze is as dense in a frame as in a crop.
    density = max(1.0, scene.front.size / 100**2) ** 0.75
    for _ in range(int(rng.integers(1, 5))):
        n_needles = int(rng.integers(2, 20) * density)
        needles.render_haze(scene, rng, n_needles, rng.uniform(0.6, 3.5), dimmer * rng.uniform(0.05, 0.35))
