"""Measurements of one image file, as numbers and texts: properties of the file, and statistics of its pixels.

All statistics are of the 8-bit grey image that ``images.read_image`` returns, so 8 and 16 bit files of one
scene measure the same. Nothing here depends on a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from georgia.errors import UnreadableImageError
from georgia.images.decode import Image, drop_equal_channels, read_info
from georgia.records import split_window

Grey = npt.NDArray[np.uint8]
Kind = Literal["file", "picture"]
KINDS: tuple[Kind, ...] = ("file", "picture")

# Outer lines whose grey levels differ by no more than this are a border, not an image.
_BORDER_LEVELS = 2
# From this grey level on a pixel is saturated.
_WHITE_LEVEL = 254
# Source: Exif 2.32; the fields that tell one camera or program from another.
_EXIF_FIELDS = {0x010F: "Make", 0x0110: "Model", 0x0131: "Software", 0x013B: "Artist"}


@dataclass(frozen=True)
class Property:
    """One thing that is measured of every file; ``label`` is its name in messages and plots.

    ``kind`` "file" is a property of the file or of how it was acquired (no crystal can cause it); the other
    kind is a statistic of the pixels, in which classes may differ for a good reason.
    ``is_text`` values have no order; ``is_exact`` numbers are set, not measured: equality is no accident.
    """

    name: str
    label: str
    kind: Kind
    unit: str = ""
    is_text: bool = False
    is_exact: bool = False

    @property
    def has_exact_values(self) -> bool:
        """Whether equal values of two files mean something."""
        return self.is_text or self.is_exact


PROPERTIES: tuple[Property, ...] = (
    Property("width_px", "width", "file", "px", is_exact=True),
    Property("height_px", "height", "file", "px", is_exact=True),
    Property("aspect", "width/height", "file", is_exact=True),
    Property("mode", "colour mode", "file", is_text=True),
    Property("bit_depth", "bit depth", "file", "bit", is_exact=True),
    Property("format", "file format", "file", is_text=True),
    Property("exif", "Exif data", "file", is_text=True),
    Property("border_px", "border", "file", "px", is_exact=True),
    Property("bytes_per_pixel", "bytes per pixel", "picture"),
    Property("brightness", "mean brightness", "picture", "grey levels"),
    Property("contrast", "spread of brightness", "picture", "grey levels"),
    Property("sharpness", "sharpness", "picture", "grey levels²"),
    Property("noise", "noise level", "picture", "grey levels"),
)
TEXT_COLUMNS = frozenset(entry.name for entry in PROPERTIES if entry.is_text)
# Measured for the checks of image quality only; no predictability test uses them.
QUALITY_COLUMNS = ("brightest", "white_share", "color", "detail")
# The input size of a network: detail finer than that does not matter.
_DETAIL_SIZE_PX = 224
Row = dict[str, float | str]
# What a PNG holds where it has Exif data: its own chunk, text of older programs, or XMP with an orientation.
_PNG_EXIF_MARKS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")


def measure_pixels(image: Image) -> Row:
    """Return the statistics of an image (H, W, 3), uint8 RGB; pure, for any thread.

    ``brightness`` and ``contrast`` are mean and standard deviation in grey levels, ``sharpness`` is the
    variance of the Laplacian, ``brightest`` the 99th percentile, ``white_share`` the fraction of pixels at
    the top, ``color`` the mean difference between a pixel's channels; ``detail`` is sharpness over variance,
    at the input size of a network.

    >>> row = measure_pixels(np.full((8, 9, 3), 40, np.uint8))
    >>> row["brightness"], row["contrast"], row["color"], row["border_px"]
    (40.0, 0.0, 0.0, 8.0)
    """
    import cv2

    content = drop_equal_channels(image)
    is_grey = content.ndim == 2
    grey = np.asarray(content if is_grey else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    mean, spread = cv2.meanStdDev(grey)
    counts = _count_levels(grey)
    total = np.cumsum(counts) / grey.size
    laplacian = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1]
    return {
        "brightness": float(mean[0, 0]),
        "contrast": float(spread[0, 0]),
        "sharpness": float(laplacian[0, 0]) ** 2,
        "noise": measure_noise(grey),
        "border_px": float(measure_border(grey)),
        "brightest": float(np.searchsorted(total, 0.99)),
        "white_share": float(counts[_WHITE_LEVEL:].sum() / grey.size),
        "color": 0.0 if is_grey else measure_color(image),
        "detail": measure_detail(grey),
    }


def _count_levels(grey: Grey) -> npt.NDArray[np.int64]:
    """Return how many pixels have each of the 256 levels; rows at a time, since its counts are float32."""
    import cv2

    rows = max(1, 2**24 // max(1, grey.shape[1]))
    parts = [
        cv2.calcHist([grey[start : start + rows]], [0], None, [256], [0, 256])
        for start in range(0, grey.shape[0], rows)
    ]
    return np.sum(parts, axis=0, dtype=np.int64).ravel()


def measure_detail(grey: Grey) -> float:
    """Return the variance of the Laplacian per variance of the grey levels, of an image (H, W); 0 is blank.

    Larger images are first reduced to the input size of a network, so that fine sampling is no blur.
    """
    import cv2

    ratio = _DETAIL_SIZE_PX / max(grey.shape)
    if ratio < 1:
        size = (max(1, round(grey.shape[1] * ratio)), max(1, round(grey.shape[0] * ratio)))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    laplacian, spread = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1], cv2.meanStdDev(grey)[1]
    variance = float(spread[0, 0]) ** 2
    return float(laplacian[0, 0]) ** 2 / variance if variance > 0 else 0.0


def measure_noise(grey: Grey) -> float:
    """Return the noise's standard deviation in grey levels, for an image (H, W).

    Source: Immerkær 1996, doi 10.1006/cviu.1996.0060: ``√(π/2) / 6`` times the mean of ``|I * N|``, N the
    difference of two Laplacians, which is zero on flat ground and slopes.
    """
    import cv2

    if min(grey.shape) < 3:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(grey, cv2.CV_32F, kernel)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(response).mean())


def measure_border(grey: Grey) -> int:
    """Return how many outer rows and columns of one grey level surround an image (H, W), all sides together.

    >>> measure_border(np.pad(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, 2))
    8
    """
    rows = np.ptp(grey, axis=1) <= _BORDER_LEVELS
    columns = np.ptp(grey, axis=0) <= _BORDER_LEVELS
    if rows.all() or columns.all():
        return int(min(grey.shape))
    return sum(int(np.argmin(side)) for side in (rows, rows[::-1], columns, columns[::-1]))


def measure_color(image: Image) -> float:
    """Return the mean difference of a pixel's largest and smallest channel, in grey levels; 0 is grey."""
    if np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 1], image[..., 2]):
        return 0.0
    return float(np.ptp(image, axis=2).mean())


def measure_file(path: Path) -> Row:
    """Return the properties in a file's header; empty where it cannot be read."""
    try:
        info = read_info(path)
    except UnreadableImageError:
        return {}
    return {
        "width_px": float(info.width_px),
        "height_px": float(info.height_px),
        "aspect": round(info.width_px / info.height_px, 3),
        "mode": info.mode,
        "bit_depth": float(info.bit_depth),
        "format": info.format,
        "exif": describe_exif(path),
        "bytes_per_pixel": info.n_bytes / (info.width_px * info.height_px),
    }


def describe_exif(path: Path) -> str:
    """Return "none", or camera and program from the Exif data, such as "Make=Acme, Model=P1"."""
    from PIL import Image as PillowImage

    file = split_window(path)[0]
    try:
        with PillowImage.open(file) as image:
            # Of a PNG Pillow decodes all pixels to see what stands behind them.
            if image.format == "PNG" and not any(mark in file.read_bytes() for mark in _PNG_EXIF_MARKS):
                return "none"
            # TIFF keeps its own structure in the same tags: only what names a camera or program counts.
            tags: Mapping[int, Any] = image.getexif()
            named = [
                f"{name}={str(tags[tag]).strip()}" for tag, name in _EXIF_FIELDS.items() if tags.get(tag)
            ]
            has_any = bool(tags) and image.format != "TIFF"
    except Exception:  # Pillow cannot parse the header; the pixels were read by our own rules
        return "none"
    return ", ".join(named)[:200] if named else ("present" if has_any else "none")
