"""The probe's optics: uneven light, tone, sharpness, sensor noise; one distribution for all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from georgia.synthetic.scene import Light, as_light, blur_image, coordinate_grid, sample_noise

Rng = np.random.Generator
Tone = Literal["rich", "split", "flat"]

# How often each tone occurs. Source: by eye on the probe's public sample images, rounded.
TONES: tuple[tuple[Tone, float], ...] = (("rich", 0.66), ("split", 0.18), ("flat", 0.16))
_PROBABILITIES = np.array([0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0])
# Source: standard normal quantiles at those probabilities (ends cut at 0.1 % and 99.9 %).
_NORMAL = np.array([-3.09, -2.326, -1.645, -0.674, 0.0, 0.674, 1.645, 2.326, 3.09])


# Sharpness (variance of the Laplacian) per variance of the grey levels.
# Source: the probe's public sample images: 0.024–0.042, 0.008 and 0.11.
_SHARPNESS: dict[Tone, float] = {"rich": 0.035, "split": 0.011, "flat": 0.1}
# Fraction of the wanted sharpness that grain may add: beyond it the grain itself becomes visible.
_MOST_GRAIN = 0.3


@dataclass(frozen=True)
class Target:
    """What a finished image should measure, sampled before its class is known.

    ``quantiles`` are grey levels 0–255 at nine probabilities; ``sharpness`` is the variance of the
    Laplacian, grey levels squared; ``px`` is canvas pixels per image pixel (how far it is enlarged).
    """

    size_px: tuple[int, int]
    px: float
    tone: Tone
    quantiles: npt.NDArray[np.float64]
    sharpness: float
    noise: float
    jpeg_quality: int | None


def sample_size(rng: Rng) -> tuple[int, int]:
    """Return (height, width) of a crop, px. Source: the sample's 151–211 px, widened on both sides."""
    if rng.random() < 0.15:
        return 151, 151
    side = float(np.exp(rng.uniform(np.log(125), np.log(225))))
    aspect = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
    return round(side * np.sqrt(aspect)), round(side / np.sqrt(aspect))


def sample_target(rng: Rng, size_px: tuple[int, int] | None = None, tone: Tone | None = None) -> Target:
    """Sample what an image should measure; it depends on the generator only, never on a class."""
    sampled_size = sample_size(rng)
    choice = rng.random()
    cumulative = np.cumsum([frequency for _, frequency in TONES])
    tone = tone or TONES[min(int(np.searchsorted(cumulative, choice)), len(TONES) - 1)][0]
    quantiles = {"rich": _sample_rich_tone, "split": _sample_split_tone, "flat": _sample_flat_tone}[tone](rng)
    variance = float(measure_spread(quantiles)[1] ** 2)
    sharpness = variance * _SHARPNESS[tone] * float(np.exp(rng.normal(0, 0.4)))
    px = float(rng.uniform(0.36, 0.58))
    noise = float(rng.choice([0.0, 0.4, 0.9, 1.6], p=[0.55, 0.25, 0.13, 0.07]))
    jpeg = int(rng.integers(35, 95))
    return Target(
        size_px or sampled_size, px, tone, quantiles, sharpness, noise, jpeg if rng.random() < 0.3 else None
    )


def _sample_rich_tone(rng: Rng) -> npt.NDArray[np.float64]:
    """One broad hump, skewed to the bright side. Source: sample crops, median 81–125, sigma 31–48."""
    middle, sigma, skew = (
        rng.uniform(55, 150),
        np.exp(rng.uniform(np.log(16), np.log(52))),
        rng.uniform(-0.15, 0.55),
    )
    scaled = _NORMAL if abs(skew) < 1e-3 else np.expm1(skew * _NORMAL) / skew
    quantiles: npt.NDArray[np.float64] = np.clip(middle + sigma * scaled, rng.uniform(0, 40), 255)
    return quantiles


def _sample_split_tone(rng: Rng) -> npt.NDArray[np.float64]:
    """A dark hump and a bright one. Source: sample crop with 5 % at 36 and 95 % at 244."""
    bright_fraction = rng.uniform(0.2, 0.65)
    dark, bright = rng.uniform(15, 70), rng.uniform(150, 250)
    fine = np.linspace(0, 1, 101)
    cut = 1 - bright_fraction
    low = dark + rng.uniform(20, 60) * (fine / cut - 0.5)
    high = bright + rng.uniform(20, 70) * ((fine - cut) / bright_fraction - 0.5)
    blend = 1 / (1 + np.exp(-(fine - cut) / 0.025))
    quantiles: npt.NDArray[np.float64] = np.clip(
        np.interp(_PROBABILITIES, fine, low + (high - low) * blend), 3, 255
    )
    return quantiles


def _sample_flat_tone(rng: Rng) -> npt.NDArray[np.float64]:
    """Nearly one grey, with a dark tail. Source: sample crop, median 109, sigma 8, 1 % at 76."""
    middle, sigma, skew = rng.uniform(60, 170), rng.uniform(3, 12), rng.uniform(0.1, 0.7)
    scaled = -np.expm1(-skew * _NORMAL) / skew
    quantiles: npt.NDArray[np.float64] = np.clip(middle + sigma * scaled, 3, 255)
    return quantiles


def light_unevenly(rng: Rng, light: Light, strength: float) -> Light:
    """Return the scene under a slope and a soft spot of light."""
    height, width = light.shape
    x, y = coordinate_grid(height, width)
    direction, spot = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9, 2)
    u, v = x * np.float32(1 / width), y * np.float32(1 / height)
    slope = (u - 0.5) * np.float32(np.cos(direction)) + (v - 0.5) * np.float32(np.sin(direction))
    radius2 = (u - np.float32(spot[0])) ** 2 + (v - np.float32(spot[1])) ** 2
    falloff = np.exp(radius2 * np.float32(-rng.uniform(0.5, 3)))
    return as_light(light * (1 + strength * slope) * (1 - 0.5 * strength * (1 - falloff)))


def map_tone(light: Light, quantiles: npt.NDArray[np.float64]) -> Light:
    """Return grey levels (float32) by a monotone curve that meets the wanted quantiles, steps limited.

    The slope stays within 1/4 and 2 times the average one: a flat part of the scene is not torn into noise.
    """
    have = np.quantile(light, _PROBABILITIES)
    have = np.maximum.accumulate(have + np.arange(have.size) * 1e-6)
    average = (quantiles[-3] - quantiles[2]) / max(have[-3] - have[2], 1e-4)
    slopes = np.clip(np.diff(quantiles) / np.diff(have), average / 4, average * 2)
    levels = np.concatenate([[0.0], np.cumsum(slopes * np.diff(have))])
    return as_light(np.interp(light, have, levels + quantiles[4] - levels[4]))


def measure_spread(quantiles: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and standard deviation that the nine quantiles imply, grey levels."""
    fine = np.interp((np.arange(40) + 0.5) / 40, _PROBABILITIES, quantiles)
    return float(fine.mean()), float(fine.std())


def match_levels(image: Light, quantiles: npt.NDArray[np.float64]) -> Light:
    """Return the image shifted and scaled to the mean and spread that the quantiles imply."""
    mean, spread = measure_spread(quantiles)
    have_mean, have_spread = cv2.meanStdDev(image)
    gain = spread / max(float(have_spread[0, 0]), 1e-3)
    return (image - np.float32(have_mean[0, 0])) * np.float32(gain) + np.float32(mean)


def measure_sharpness(image: npt.NDArray[np.floating] | npt.NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian, grey levels squared."""
    _, spread = cv2.meanStdDev(cv2.Laplacian(image, cv2.CV_32F))
    return float(spread[0, 0]) ** 2


def match_sharpness(rng: Rng, image: Light, sharpness: float) -> Light:
    """Return the image blurred or crispened until its Laplacian's variance is as wanted."""
    have = measure_sharpness(image)
    if have > sharpness:
        return _blur_to(image, sharpness)
    crisp = image + np.float32(1.5) * (image - blur_image(image, 1.6))
    if measure_sharpness(crisp) >= sharpness:
        return _mix_to(image, crisp, sharpness)
    grain = blur_image(rng.standard_normal(image.shape, np.float32), 1.1)
    missing = min(sharpness - measure_sharpness(crisp), _MOST_GRAIN * sharpness)
    return as_light(crisp + grain * np.float32(np.sqrt(missing / measure_sharpness(grain))))


def _blur_to(image: Light, sharpness: float) -> Light:
    before = image
    for sigma in (0.6, 0.9, 1.3, 1.9, 2.7, 3.8, 5.4):
        after = blur_image(image, sigma)
        if measure_sharpness(after) <= sharpness:
            return _mix_to(after, before, sharpness)
        before = after
    return before


def _mix_to(low: Light, high: Light, sharpness: float) -> Light:
    """Return the blend of two images whose Laplacian's variance is as wanted (it is quadratic)."""
    first = as_light(cv2.Laplacian(low, cv2.CV_32F))
    step = as_light(cv2.Laplacian(high, cv2.CV_32F)) - first
    a, b, c = (
        float((step * step).mean()),
        2 * float((first * step).mean()),
        float((first * first).mean()) - sharpness,
    )
    root = (-b + np.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a) if a > 1e-9 else 0.0
    return as_light(low + np.float32(np.clip(root, 0, 1)) * (high - low))


def develop(rng: Rng, light: Light, target: Target) -> npt.NDArray[np.uint8]:
    """Return the finished image (H, W, 3), uint8, all channels equal, that meets a target."""
    height, width = target.size_px
    image = map_tone(light, target.quantiles)
    image = as_light(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))
    image = match_levels(image, target.quantiles)
    image = match_sharpness(rng, image, target.sharpness)
    image = match_levels(image, target.quantiles)
    if target.noise:
        image = image + np.float32(target.noise) * sample_noise(rng, (height, width), rng.choice([1.0, 2.0]))
    grey = np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)
    if target.jpeg_quality is not None:
        packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, target.jpeg_quality])[1]
        grey = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
    return grey_to_rgb(grey)


def grey_to_rgb(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a grey image (H, W) as (H, W, 3) with equal channels."""
    return np.repeat(grey[:, :, None], 3, axis=2)
