"""The one definition of network input: how pixels become the input of a network.

Training, serving and the exported graph all follow it. The resize is a triangle filter: bilinear when
enlarging, area-weighted when shrinking. In Python it is OpenCV's linear resize of floats where both sides
grow, else Pillow's bilinear one, channel by channel. In the graph it is two matrix products
(``resize_weights``), because a graph's own antialiased ``Resize`` differs between engines by up to 142 grey
levels when shrinking. The products agree between engines to 0.007 grey levels (random pixels, ONNX Runtime
1.32 against OpenVINO 2026.4), and with the resize in Python to 0.001.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import reading
from georgia.images.depth import DEPTH_VARIABLE, find_stated_bits
from georgia.images.symmetry import SYMMETRIES, SymmetryMode, orient_images

# The graph tensor where preprocessing ends and the network begins, in every model that Georgia exports.
NETWORK_INPUT = "network_input"
_STRETCH, _WINDOW, _FIT = "triangle", "triangle-window", "triangle-fit"
FloatArray = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)


@lru_cache(maxsize=256)
def resize_weights(n_in: int, n_out: int) -> FloatArray:
    """Return the triangle filter (n_out, n_in), float32, each row summing to 1.

    ``W[o, i] = relu(1 − |i + ½ − (o + ½)·n_in/n_out| / max(1, n_in/n_out))``, rows normalised:
    bilinear when enlarging, area-weighted (antialiased) when shrinking.
    """
    ratio = n_in / n_out
    return _filter_at((np.arange(n_out) + 0.5) * ratio, ratio, n_in)


@lru_cache(maxsize=256)
def window_weights(n_in: int, n_out: int, window_px: float, is_repeated: bool = False) -> FloatArray:
    """Return the triangle filter (n_out, n_in), float32, that shows the middle ``window_px`` pixels.

    The scale is ``n_out / window_px`` whatever the image's size. Beyond its edge an image is
    continued by its mirror image: a plain border would give away how large the image was. Where the window
    is more than three times as wide as the image, that goes on with ``is_repeated``; without it, the first
    pixel follows at both ends, so that a mirrored image gives another window.
    """
    ratio = window_px / n_out
    centres = (np.arange(n_out) + 0.5 - n_out / 2) * ratio + n_in / 2
    centres = centres % (2 * n_in) if is_repeated else np.abs(centres)
    return _filter_at(np.maximum(0.0, n_in - np.abs(n_in - centres)), ratio, n_in)


@lru_cache(maxsize=256)
def _window_taps(
    n_in: int, n_out: int, window_px: float, is_repeated: bool
) -> tuple[tuple[npt.NDArray[np.int64], FloatArray], ...]:
    """Return ``window_weights`` as few pairs of (positions, weights), (n_out,) each: most of it is zeros."""
    dense = window_weights(n_in, n_out, window_px, is_repeated)
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


def _resize_plane(plane: npt.NDArray[np.uint8], height: int, width: int) -> FloatArray:
    """Resize one channel (H, W), uint8, to (height, width), float32, by Pillow's triangle filter."""
    from PIL import Image

    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


@cache
def _find_opencv() -> Any:
    """Return OpenCV, which enlarges faster than Pillow, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def is_grey(image: npt.NDArray[np.uint8]) -> bool:
    """Return whether the three channels of an image (H, W, 3) are equal in every pixel."""
    first, *others = image.reshape(-1, 3).T
    return all(np.array_equal(first, other) for other in others)


def _resize_to(image: npt.NDArray[np.uint8], height: int, width: int) -> FloatArray:
    """Resize an image (H, W, C), uint8, to (height, width, C), float32, by the triangle filter."""
    if image.shape[0] <= height and image.shape[1] <= width and (cv2 := _find_opencv()) is not None:
        # Enlarging, the triangle filter is plain bilinear: two neighbours a side, in float32.
        pixels = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(pixels, dtype=np.float32).reshape(height, width, -1)
    planes = [_resize_plane(image[..., channel], height, width) for channel in range(image.shape[2])]
    return np.stack(planes, axis=2)


def padding_px(side: int, longest: int, size_px: int) -> int:
    """Return the lines of padding at each end of a side, px of the square, where an image keeps its aspect.

    Equal at both ends, so that a mirrored image gives the mirrored square; the graph computes the same from
    whole numbers. Something is left of every side.

    >>> padding_px(100, 200, 224), padding_px(200, 200, 224), padding_px(1, 9000, 224)
    (56, 0, 111)
    """
    return min((size_px * (longest - side) + longest) // (2 * longest), (size_px - 1) // 2)


def border_level(image: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the mean (C,), float32, of an image's (H, W, C) outermost rows and columns: its background."""
    lines = (image[0], image[-1], image[:, 0], image[:, -1])
    total = np.sum([line.sum(axis=0, dtype=np.int64) for line in lines], axis=0)
    return np.asarray(total / sum(len(line) for line in lines), np.float32)


@dataclass(frozen=True)
class PreprocessSpec:
    """Network input as numbers: side in pixels, colour order, and ``(value − mean) / scale``.

    ``mean`` and ``scale`` are in the order of ``color_order`` and on the scale 0–255.

    ``sample_bits`` is the depth stated for 16-bit files (GEORGIA_DEPTH) when a model was trained, or 0.

    With ``window_px`` the image is not stretched to the square: its middle ``window_px`` × ``window_px``
    pixels are shown, so that all images have one scale and the size of an image gives nothing away.

    With ``keeps_aspect`` the longer side fills the square and the shorter one is padded at both ends with the
    mean of the image's outermost pixels. The padding shows the aspect of the file: for images cut tightly
    around a particle that is its shape. (Mirror images there would show particles that do not exist.)

    ``symmetry`` decides what the net makes of the eight rotations and reflections of an image: "none" treats
    each as an image of its own; "average" runs the net on all eight and averages its logits and features;
    "canonical" first rotates and reflects every image as ``orient_images`` does.
    """

    size_px: int = 224
    color_order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    scale: tuple[float, float, float] = (128.0, 128.0, 128.0)
    window_px: float = 0.0
    sample_bits: int = 0
    keeps_aspect: bool = False
    symmetry: SymmetryMode = "none"

    @property
    def n_views(self) -> int:
        """How many times the net runs for one image."""
        return len(SYMMETRIES) if self.symmetry == "average" else 1

    @property
    def repeats_mirror(self) -> bool:
        """Whether a window goes on beyond the first mirror image: symmetries need it, 0.1 did not do it."""
        return self.symmetry != "none"

    def resize(self, image: npt.NDArray[np.uint8]) -> FloatArray:
        """Return an image (H, W, 3), uint8, at (size, size, 3), float32, still 0–255 RGB."""
        return np.repeat(pixels, 3, axis=2) if (pixels := self._resize(image)).shape[2] == 1 else pixels

    def _resize(self, image: npt.NDArray[np.uint8]) -> FloatArray:
        """Return what ``resize`` does, of one channel for a grey image that is made smaller: resized once."""
        if image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                "Cannot prepare an image", needs="an image (H, W, 3) is needed", got=f"shape {image.shape}"
            )
        # OpenCV, which only enlarges, is quick with three channels, and rounds each of them differently.
        if (max(image.shape[:2]) > self.size_px or _find_opencv() is None) and is_grey(image):
            image = image[..., :1]
        height, width, n_channels = image.shape
        size = self.size_px
        if self.window_px:
            window = size, self.window_px, self.repeats_mirror
            tall = np.zeros((size, width, n_channels), np.float32)
            for places, weights in _window_taps(height, *window):
                tall += weights[:, None, None] * image[places].astype(np.float32)
            wide = np.zeros((size, size, n_channels), np.float32)
            for places, weights in _window_taps(width, *window):
                wide += weights[None, :, None] * tall[:, places]
            return wide
        if not self.keeps_aspect or height == width:
            return _resize_to(image, size, size)
        top, left = (padding_px(side, max(height, width), size) for side in (height, width))
        square = np.empty((size, size, n_channels), np.float32)
        square[:] = border_level(image)
        inner = _resize_to(image, size - 2 * top, size - 2 * left)
        square[top : size - top, left : size - left] = inner
        return square

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

        The numbers of ``normalize``, channels first, several times quicker: the input of the engines. Grey
        pixels may have one channel, (…, S, S, 1).
        """
        *rest, height, width, n_channels = pixels.shape
        out = np.empty((*rest, 3, height, width), np.float32)
        order = (0, 1, 2) if self.color_order == "RGB" else (2, 1, 0)
        known: dict[tuple[int, float, float], FloatArray] = {}
        for plane, channel in enumerate(order if n_channels == 3 else (0, 0, 0)):
            values, key = out[..., plane, :, :], (channel, self.mean[plane], self.scale[plane])
            if key in known:
                values[:] = known[key]
                continue
            np.subtract(pixels[..., channel], np.float32(self.mean[plane]), out=values)
            np.divide(values, np.float32(self.scale[plane]), out=values)
            known[key] = values
        return out

    def network_input(self, image: npt.NDArray[np.uint8]) -> FloatArray:
        """Return an image (H, W, 3), uint8 RGB, as an engine's input (3, size, size), float32.

        It is ``planes(resize(image))``, in one pass for a grey image.
        """
        return self.planes(self._resize(image))

    def orient(self, pixels: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return resized images (N, S, S, 3), 0–255, in their canonical orientation if the net sees that."""
        return orient_images(pixels) if self.symmetry == "canonical" else pixels

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form that ``bundle.json`` holds."""
        return {
            "size_px": self.size_px,
            "color_order": self.color_order,
            "mean": list(self.mean),
            "scale": list(self.scale),
            "resize": _WINDOW if self.window_px else _FIT if self.keeps_aspect else _STRETCH,
            **({"window_px": self.window_px} if self.window_px else {}),
            **({"sample_bits": self.sample_bits} if self.sample_bits else {}),
            **({"symmetry": self.symmetry} if self.symmetry != "none" else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PreprocessSpec:
        """Read the plain form.

        Raises:
            InputError: a value is missing, resize or symmetry is none of those defined here, or a depth was
                stated for 16-bit files in training and none is now, so that they would come out darker.
        """
        known = {"resize": (_STRETCH, _WINDOW, _FIT), "symmetry": get_args(SymmetryMode)}
        for key, names in known.items():
            if values.get(key, names[0]) not in names:
                raise InputError(
                    "Cannot use this model",
                    needs=f"its {key} must be {', '.join(map(repr, names[:-1]))} or {names[-1]!r}",
                    got=values[key],
                    hint="Use the version of Georgia that wrote the model.",
                )
        with reading(
            "Cannot use this model's preprocessing", "size_px, color_order, mean and scale are needed"
        ):
            window_px = float(values["window_px"]) if values.get("resize") == _WINDOW else 0.0
            mean, scale = _three_floats(values["mean"]), _three_floats(values["scale"])
            bits = int(values.get("sample_bits", 0))
            keeps_aspect, symmetry = values.get("resize") == _FIT, values.get("symmetry", "none")
            spec = cls(
                int(values["size_px"]),
                values["color_order"],
                mean,
                scale,
                window_px,
                bits,
                keeps_aspect,
                symmetry,
            )
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
