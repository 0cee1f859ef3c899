"""The one definition of network input: how pixels become the input of a network.

Training, serving and the exported graph all follow it. The resize is a triangle filter written as
two matrix products, because a graph's own antialiased ``Resize`` differs between engines by up to
142 grey levels when shrinking, while two matrix products agree to 0.007 (measured on random
pixels, ONNX Runtime 1.32 against OpenVINO 2026.4) and within 1 grey level of Pillow's bilinear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import reading
from georgia.images.depth import DEPTH_VARIABLE, find_stated_bits

# The graph tensor where preprocessing ends and the network begins, in every model that Georgia exports.
NETWORK_INPUT = "network_input"
_STRETCH, _WINDOW = "triangle", "triangle-window"
FloatArray = npt.NDArray[np.float32]


@lru_cache(maxsize=256)
def resize_weights(n_in: int, n_out: int) -> FloatArray:
    """Return the triangle filter (n_out, n_in), float32, each row summing to 1.

    ``W[o, i] = relu(1 − |i + ½ − (o + ½)·n_in/n_out| / max(1, n_in/n_out))``, rows normalised:
    bilinear when enlarging, area-weighted (antialiased) when shrinking.
    """
    ratio = n_in / n_out
    return _filter_at((np.arange(n_out) + 0.5) * ratio, ratio, n_in)


@lru_cache(maxsize=256)
def window_weights(n_in: int, n_out: int, window_px: float) -> FloatArray:
    """Return the triangle filter (n_out, n_in), float32, that shows the middle ``window_px`` pixels.

    The scale is ``n_out / window_px`` whatever the image's size. Beyond its edge an image is
    continued by its mirror image: a plain border would give away how large the image was.
    """
    ratio = window_px / n_out
    centres = np.abs((np.arange(n_out) + 0.5 - n_out / 2) * ratio + n_in / 2)
    return _filter_at(np.maximum(0.0, n_in - np.abs(n_in - centres)), ratio, n_in)


@lru_cache(maxsize=256)
def _window_taps(
    n_in: int, n_out: int, window_px: float
) -> tuple[tuple[npt.NDArray[np.int64], FloatArray], ...]:
    """Return ``window_weights`` as few pairs of (positions, weights), (n_out,) each: most of it is zeros."""
    dense = window_weights(n_in, n_out, window_px)
    first = (dense > 0).argmax(axis=1)
    n_taps = int((dense > 0).sum(axis=1).max())
    places = first[:, None] + np.arange(n_taps)
    inside = places < n_in
    places = np.minimum(places, n_in - 1)
    weights = np.where(inside, dense[np.arange(n_out)[:, None], places], np.float32(0))
    return tuple((places[:, tap], weights[:, tap]) for tap in range(n_taps))


def _filter_at(centres: npt.NDArray[np.floating[Any]], ratio: float, n_in: int) -> FloatArray:
    distance = np.abs(np.arange(n_in)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / max(1.0, ratio))
    weights /= weights.sum(axis=1, keepdims=True)
    result = weights.astype(np.float32)
    result.setflags(write=False)
    return result


def _resize_plane(plane: npt.NDArray[np.uint8], size: int) -> FloatArray:
    """Resize one channel (H, W), uint8, to (size, size), float32, by Pillow's triangle filter on floats."""
    from PIL import Image

    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)


@dataclass(frozen=True)
class PreprocessSpec:
    """Network input as numbers: side in pixels, colour order, and ``(value − mean) / scale``.

    ``mean`` and ``scale`` are in the order of ``color_order`` and on the scale 0–255.

    ``sample_bits`` is the depth stated for 16-bit files (GEORGIA_DEPTH) when a model was trained, or 0.

    With ``window_px`` the image is not stretched to the square: its middle ``window_px`` × ``window_px``
    pixels are shown, so that all images have one scale and the size of an image gives nothing away.
    """

    size_px: int = 224
    color_order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    scale: tuple[float, float, float] = (128.0, 128.0, 128.0)
    window_px: float = 0.0
    sample_bits: int = 0

    def resize(self, image: npt.NDArray[np.uint8]) -> FloatArray:
        """Return an image (H, W, 3), uint8, at (size, size, 3), float32, still 0–255 RGB."""
        if image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                "Cannot prepare an image", needs="an image (H, W, 3) is needed", got=f"shape {image.shape}"
            )
        height, width = image.shape[:2]
        size = self.size_px
        if self.window_px:
            tall = np.zeros((size, width, 3), np.float32)
            for places, weights in _window_taps(height, size, self.window_px):
                tall += weights[:, None, None] * image[places].astype(np.float32)
            wide = np.zeros((size, size, 3), np.float32)
            for places, weights in _window_taps(width, size, self.window_px):
                wide += weights[None, :, None] * tall[:, places]
            return wide
        if height <= size and width <= size:
            import cv2

            # Enlarging, the triangle filter is plain bilinear: two neighbours a side, in float32.
            pixels = cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
            return np.asarray(pixels, dtype=np.float32)
        if (image[..., :1] == image[..., 1:]).all():
            return np.repeat(_resize_plane(image[..., 0], size)[:, :, None], 3, axis=2)
        return np.stack([_resize_plane(image[..., channel], size) for channel in range(3)], axis=2)

    def normalize(self, pixels: FloatArray) -> FloatArray:
        """Return RGB pixels (…, 3), float32 0–255, as network input of the same shape."""
        if self.color_order == "BGR":
            pixels = pixels[..., ::-1]
        mean = np.asarray(self.mean, np.float32)
        scale = np.asarray(self.scale, np.float32)
        return np.ascontiguousarray((pixels - mean) / scale, dtype=np.float32)

    def apply(self, image: npt.NDArray[np.uint8]) -> FloatArray:
        """Return an image (H, W, 3), uint8 RGB, as network input (size, size, 3), float32."""
        return self.normalize(self.resize(image))

    def planes(self, pixels: npt.NDArray[Any]) -> FloatArray:
        """Return RGB pixels (…, S, S, 3), 0–255, as network input (…, 3, S, S), float32.

        The numbers of ``normalize``, channels first, several times quicker: the input of the engines.
        """
        *rest, height, width, _ = pixels.shape
        out = np.empty((*rest, 3, height, width), np.float32)
        order = (0, 1, 2) if self.color_order == "RGB" else (2, 1, 0)
        for plane, channel in enumerate(order):
            values = out[..., plane, :, :]
            np.subtract(pixels[..., channel], np.float32(self.mean[plane]), out=values)
            np.divide(values, np.float32(self.scale[plane]), out=values)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that ``bundle.json`` holds."""
        return {
            "size_px": self.size_px,
            "color_order": self.color_order,
            "mean": list(self.mean),
            "scale": list(self.scale),
            **({"resize": _WINDOW, "window_px": self.window_px} if self.window_px else {"resize": _STRETCH}),
            **({"sample_bits": self.sample_bits} if self.sample_bits else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PreprocessSpec:
        """Read the plain form.

        Raises:
            InputError: a value is missing, the resize is not the one defined here, or a depth was stated for
                16-bit files in training and none is now, so that they would come out darker.
        """
        if values.get("resize", _STRETCH) not in (_STRETCH, _WINDOW):
            raise InputError(
                "Cannot use this model",
                needs=f"its resize must be {_STRETCH!r} or {_WINDOW!r}",
                got=values["resize"],
                hint="Use the version of Georgia that wrote the model.",
            )
        with reading(
            "Cannot use this model's preprocessing", "size_px, color_order, mean and scale are needed"
        ):
            window_px = float(values["window_px"]) if values.get("resize") == _WINDOW else 0.0
            mean, scale = _three_floats(values["mean"]), _three_floats(values["scale"])
            bits = int(values.get("sample_bits", 0))
            spec = cls(int(values["size_px"]), values["color_order"], mean, scale, window_px, bits)
        # Asked in any case: a wrong statement stops here, not at the first image.
        stated_bits = find_stated_bits()
        if bits and not stated_bits:
            raise InputError(
                "Cannot use this model",
                needs=f"it was trained with {DEPTH_VARIABLE}={bits} (how many bits 16-bit files use)",
                got="none",
                hint=f"Set {DEPTH_VARIABLE} to the bits of your camera; files of 8 bits stay as they are.",
            )
        return spec


def _three_floats(values: Iterable[Any]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


# Source: Keras' "caffe" mode (keras.applications.resnet.preprocess_input); the study's input.
CAFFE = PreprocessSpec(224, "BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
# Source: torchvision's ImageNet statistics (0.485, 0.456, 0.406) / (0.229, 0.224, 0.225), times 255.
TORCHVISION = PreprocessSpec(224, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# Source: EfficientNet-Lite's reference preprocessing, (x − 127) / 128.
EFFICIENTNET_LITE = PreprocessSpec(224, "RGB", (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
