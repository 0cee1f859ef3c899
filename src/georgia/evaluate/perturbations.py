"""Perturbations of images under which the predictions of a robust model stay the same."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from georgia.images.symmetry import Symmetry

Image = npt.NDArray[np.uint8]

# Strengths that a probe meets within a week: another working distance, an ageing lamp, a dirty lens, a
# compressed stream. They are milder than the first severity of
# Hendrycks and Dietterich 2019, arXiv 1903.12261 (noise of 20 grey levels, JPEG at 25).
SCALE, LIGHT, CONTRAST = 0.2, 0.2, 0.2
NOISE_LEVELS, JPEG_QUALITY = 8.0, 50
# Blur in pixels of an image with a shorter side of 224 px, so that it is relative to the size.
BLUR_PX, BLUR_SIDE_PX = 1.5, 224
_SYMMETRIES = {
    Symmetry.ROTATE_90: "rotated by 90°",
    Symmetry.ROTATE_180: "rotated by 180°",
    Symmetry.ROTATE_270: "rotated by 270°",
    Symmetry.FLIP_LEFT_RIGHT: "mirrored, left to right",
    Symmetry.TRANSPOSE: "mirrored and rotated by 90°",
    Symmetry.FLIP_TOP_BOTTOM: "mirrored, top to bottom",
    Symmetry.ANTI_TRANSPOSE: "mirrored and rotated by 270°",
}


@dataclass(frozen=True)
class Perturbation:
    """One perturbation: name, description, and the function from image to image (H, W, 3), both uint8."""

    name: str
    title: str
    apply: Callable[[Image], Image]


def list_perturbations(size_px: tuple[int, int]) -> tuple[Perturbation, ...]:
    """Return all perturbations; ``size_px`` (height, width) is the common size to crop to."""
    height, width = size_px
    return (
        Perturbation(
            "one_size", f"cropped to one size, {width}×{height} px", partial(crop_to, size_px=size_px)
        ),
        Perturbation("larger", "20 % larger", partial(scale, factor=1 + SCALE)),
        Perturbation("smaller", "20 % smaller", partial(scale, factor=1 - SCALE)),
        *(Perturbation(item.short_name, text, item.apply) for item, text in _SYMMETRIES.items()),
        Perturbation("brighter", "20 % brighter", partial(brighten, factor=1 + LIGHT)),
        Perturbation("darker", "20 % darker", partial(brighten, factor=1 - LIGHT)),
        Perturbation("more_contrast", "20 % more contrast", partial(stretch, factor=1 + CONTRAST)),
        Perturbation("less_contrast", "20 % less contrast", partial(stretch, factor=1 - CONTRAST)),
        Perturbation("blur", "blurred", blur),
        Perturbation("noise", f"noise of {NOISE_LEVELS:.0f} grey levels", add_noise),
        Perturbation("jpeg", f"saved as JPEG, quality {JPEG_QUALITY}", compress),
    )


def crop_to(image: Image, size_px: tuple[int, int]) -> Image:
    """Return the centre of an image at ``size_px`` (height, width), padded by reflection if it is smaller."""
    for axis, size in enumerate(size_px):
        have = image.shape[axis]
        if have >= size:
            start = (have - size) // 2
            image = np.take(image, range(start, start + size), axis=axis)
    return _extend(image, size_px)


def scale(image: Image, factor: float) -> Image:
    """Return an image of the same size, magnified ``factor`` times about its centre."""
    height, width = image.shape[:2]
    if factor >= 1:
        inner = (max(1, round(height / factor)), max(1, round(width / factor)))
        return _as_image(cv2.resize(crop_to(image, inner), (width, height), interpolation=cv2.INTER_LINEAR))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = _as_image(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return _extend(small, (height, width))


def brighten(image: Image, factor: float) -> Image:
    """Return an image with ``factor`` times the light."""
    return _to_bytes(image * np.float32(factor))


def stretch(image: Image, factor: float) -> Image:
    """Return an image with ``factor`` times the contrast about its mean."""
    mean = np.float32(image.mean())
    return _to_bytes(mean + (image - mean) * np.float32(factor))


def blur(image: Image) -> Image:
    """Return an image blurred by ``BLUR_PX`` at a shorter side of 224 px."""
    sigma = BLUR_PX * min(image.shape[:2]) / BLUR_SIDE_PX
    return _as_image(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1), borderType=cv2.BORDER_REPLICATE))


def add_noise(image: Image, levels: float = NOISE_LEVELS) -> Image:
    """Return an image with Gaussian noise, equal in all channels; equal images get equal noise."""
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    noise = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    return _to_bytes(image + noise * np.float32(levels))


def compress(image: Image) -> Image:
    """Return an image as it comes back from a JPEG file."""
    blue_first = np.ascontiguousarray(image[:, :, ::-1])
    data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.ascontiguousarray(_as_image(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1])


def _extend(image: Image, size_px: tuple[int, int]) -> Image:
    more = [max(0, size - have) for size, have in zip(size_px, image.shape[:2], strict=True)]
    if not any(more):
        return np.ascontiguousarray(image)
    (top, left), (bottom, right) = ([n // 2 for n in more], [n - n // 2 for n in more])
    return _as_image(cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT))


def _to_bytes(values: npt.NDArray[np.float32]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _as_image(pixels: object) -> Image:
    return np.asarray(pixels, dtype=np.uint8)
