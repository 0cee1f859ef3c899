"""Images as they stand in a page or on a sheet: scaled, encoded, and as URLs that hold them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from georgia.images.decode import iter_images
from georgia.records import Failure

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_QUALITY = 82


def read_thumbnails(paths: Sequence[Path], size_px: int) -> Iterable[tuple[int, Image | Failure]]:
    """Yield the position and the image, no side longer than ``size_px`` pixels, of every file.

    Images of less than half the size are enlarged without smoothing: their own pixels stay visible.
    """
    from PIL import Image

    for position, pixels in iter_images(paths):
        if isinstance(pixels, Failure):
            yield position, pixels
            continue
        image = Image.fromarray(pixels)
        ratio = size_px / max(image.size)
        size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        method = Image.Resampling.LANCZOS if ratio < 2 else Image.Resampling.NEAREST
        yield position, image.resize(size, method)


def encode_image(image: Image, suffix: str) -> bytes:
    """Return an image as the bytes of a PNG, or of a JPEG for any other suffix."""
    return _encode(image, "PNG") if suffix == ".png" else _encode(image, "JPEG", quality=90)


def image_url(image: Image, quality: int = JPEG_QUALITY) -> str:
    """Return an image as a JPEG inside a URL, for pages that must stay small and hold everything."""
    return data_url(_encode(image, "JPEG", quality=quality), "image/jpeg")


def data_url(data: bytes, kind: str) -> str:
    """Return bytes as a URL that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encode(image: Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, optimize=True, **options)
    return stream.getvalue()
