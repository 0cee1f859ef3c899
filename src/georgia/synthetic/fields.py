"""Images without a crystal: what the probe sees between crystals or when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest
from georgia.synthetic.crops import Seed, make_generator
from georgia.synthetic.optics import grey_to_rgb, light_unevenly, sample_size
from georgia.synthetic.scene import Light, blur_image, sample_noise

Rng = np.random.Generator


@dataclass(frozen=True)
class Field:
    """One field without crystals: ``image`` (H, W, 3), uint8, grey as RGB, and its ``kind``."""

    image: npt.NDArray[np.uint8]
    kind: str


def _paint_uneven(rng: Rng, shape: tuple[int, int]) -> Light:
    """A ground that is lit from one side, with a soft spot."""
    return light_unevenly(rng, np.full(shape, rng.uniform(60, 190), np.float32), rng.uniform(0.3, 1.2))


def _paint_noise(rng: Rng, shape: tuple[int, int]) -> Light:
    """Sensor noise on one grey."""
    grain = float(rng.choice([1.0, 2.0, 4.0]))
    return rng.uniform(30, 200) + np.float32(rng.uniform(4, 30)) * sample_noise(rng, shape, grain)


def _paint_dark(rng: Rng, shape: tuple[int, int]) -> Light:
    """No light: near black, with read-out noise."""
    noise = np.abs(sample_noise(rng, shape, 1.0))
    return np.float32(rng.uniform(0, 12)) + np.float32(rng.uniform(0.3, 3)) * noise


def _paint_saturated(rng: Rng, shape: tuple[int, int]) -> Light:
    """Too much light: near white, mostly clipped."""
    return rng.uniform(245, 275) + np.float32(rng.uniform(1, 12)) * sample_noise(
        rng, shape, rng.uniform(1, 40)
    )


def _paint_unfocused(rng: Rng, shape: tuple[int, int]) -> Light:
    """So far out of focus that only slow clouds are left."""
    clouds = sample_noise(rng, shape, rng.uniform(0.3, 0.8) * min(min(shape), 300))
    return rng.uniform(50, 190) + np.float32(rng.uniform(5, 35)) * blur_image(clouds, 4.0)


_PAINTERS: dict[str, Callable[[Rng, tuple[int, int]], Light]] = {
    "uneven": _paint_uneven,
    "noise": _paint_noise,
    "dark": _paint_dark,
    "saturated": _paint_saturated,
    "unfocused": _paint_unfocused,
}
FIELD_KINDS = tuple(_PAINTERS)


def render_empty(seed: Seed, size_px: tuple[int, int] | None = None, kind: str | None = None) -> Field:
    """Return one field without crystals; without ``kind`` one of FIELD_KINDS is chosen at random.

    >>> render_empty(3, (64, 80), "dark").image.shape
    (64, 80, 3)

    Raises:
        InputError: the kind is not one of FIELD_KINDS.
    """
    if kind is not None and kind not in _PAINTERS:
        raise InputError(
            "Cannot render a field",
            needs="kinds are " + ", ".join(FIELD_KINDS),
            got=repr(kind),
            hint=suggest(kind, FIELD_KINDS).strip(),
        )
    rng = make_generator(seed)
    sampled_size, sampled_kind = sample_size(rng), FIELD_KINDS[int(rng.integers(len(FIELD_KINDS)))]
    kind = kind or sampled_kind
    light = _PAINTERS[kind](rng, size_px or sampled_size)
    light = light + np.float32(rng.uniform(0, 1.5)) * sample_noise(rng, (light.shape[0], light.shape[1]), 1.0)
    grey = np.clip(light + np.float32(0.5), 0, 255).astype(np.uint8)
    return Field(grey_to_rgb(grey), kind)
