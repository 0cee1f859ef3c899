"""One image file → pixels, the same way for training, serving and auditing.

Every file becomes uint8 (H, W, 3) RGB, by rules that never look at the content:

- 16-bit samples become ``round(v / 257)``, the whole range; a TIFF that declares a smaller depth
  (MaxSampleValue or SMaxSampleValue of 2^n − 1) is divided by that instead, and where the user states a
  depth (GEORGIA_DEPTH), files that declare none are divided by 2^depth − 1.
- Floats are 0 to 1 and become ``round(255 v)``; any other value is rejected.
- Alpha is composed over black, the colour of no light; where it is opaque it changes nothing. An image that
  is transparent everywhere is rejected; a BMP's fourth byte that is 0 everywhere is no alpha.
- Exif orientation is applied. Colour profiles, gamma and XMP are not.
- One page or frame is needed; reduced versions of it in the same TIFF do not count.
- The path of a window (``frame.png#xywh=10,20,64,64``) gives the frame's pixels in that box.
"""

from __future__ import annotations

import io
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, UnreadableImageError
from georgia.files import is_path_too_long, tell_reason
from georgia.images.containers import (
    DAMAGED,
    MAX_PAGES_COUNTED,
    NOT_AN_IMAGE,
    READERS,
    TRUNCATED,
    Header,
    find_format,
)
from georgia.images.depth import DepthWatch, check_range, find_stated_bits, reduce_depth
from georgia.images.symmetry import EXIF_ORIENTATIONS
from georgia.images.windows import FrameCache, check_box, crop, make_box
from georgia.records import Failure, format_window, split_window

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 200_000_000
# Floats are allowed this much rounding noise outside of 0 to 1.
_FLOAT_NOISE = 1e-6


@dataclass(frozen=True)
class ImageInfo:
    """What an image file says about itself; the size in pixels is that of the image from ``read_image``.

    ``mode`` is "grey", "grey+alpha", "RGB", "RGBA", "palette", "CMYK" or "other"; ``bit_depth`` is per
    sample; ``format`` is found in the content, not the suffix.
    """

    width_px: int
    height_px: int
    mode: str
    bit_depth: int
    format: str
    n_bytes: int


def find_used_bits(path: str | Path) -> int:
    """Return how many bits the largest sample of a 16-bit file needs; 0 for files of another depth.

    Raises:
        UnreadableImageError: the file cannot be read; the message is one clause, without the path.
    """
    with _as_unreadable():
        data = _read_bytes(split_window(path)[0], MAX_PIXELS)
        header = _read_header(data, MAX_PIXELS)
        if header.bit_depth != 16 or header.n_pages != 1:
            return 0
        if header.format == "TIFF":
            from georgia.images.tiff import read_tiff_samples

            samples, top, _, has_alpha = read_tiff_samples(data)
            if top != 65535:
                return 0
            samples = samples[:, :, : samples.shape[2] - has_alpha]
        else:
            samples, _ = _decode_deep_png(header)
        return int(samples.max()).bit_length()


def read_image(
    path: str | Path,
    max_pixels: int = MAX_PIXELS,
    watch: DepthWatch | None = None,
    frames: FrameCache | None = None,
) -> Image:
    """Return a file's pixels (H, W, 3), uint8 RGB, by the rules at the top of this file.

    Raise ``max_pixels`` only for files that you trust: it guards against small files that expand to
    fill the memory. ``watch`` notes how much of 16 bits is in use. ``frames`` keeps the last frames decoded,
    for windows that are read one after the other.

    Raises:
        UnreadableImageError: the file cannot be read; the message is one clause, without the path.
    """
    file, box = split_window(path)
    if box is None:
        return _read_file(file, max_pixels, watch)
    frames = frames or FrameCache()
    return crop(frames.read(file, lambda: _read_file(file, max_pixels, watch)), box)


def _read_file(file: Path, max_pixels: int, watch: DepthWatch | None) -> Image:
    with _as_unreadable():
        data = _read_bytes(file, max_pixels)
    return decode_image(data, max_pixels, watch)


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS, watch: DepthWatch | None = None) -> Image:
    """Return the pixels (H, W, 3), uint8 RGB, of a file's content that is already in memory.

    Raises:
        UnreadableImageError: the content cannot be read; the message is one clause.
    """
    bits = find_stated_bits()
    with _as_unreadable():
        if not data:
            raise UnreadableImageError("the file is empty")
        if find_format(data[:12]) is None:
            raise UnreadableImageError(NOT_AN_IMAGE)
        header = _read_header(data, max_pixels)
        if header.n_pages != 1:
            # Longer lists of pages are not counted to their end.
            more = " or more" if header.n_pages == MAX_PAGES_COUNTED else ""
            raise UnreadableImageError(f"one page is needed; got {header.n_pages}{more}. Split the stack")
        if header.format == "TIFF":
            pixels = _decode_tiff(data, bits, watch)
        else:
            pixels = _decode(header, bits, watch)
        upright = EXIF_ORIENTATIONS[header.orientation - 1].apply(pixels)
        return np.require(upright, np.uint8, ["C", "W"])


def drop_equal_channels(image: Image) -> Image:
    """Return one channel (H, W), contiguous, of an image (H, W, 3) whose channels are equal, else the image.

    >>> drop_equal_channels(np.zeros((2, 5, 3), np.uint8)).shape
    (2, 5)
    """
    first = image[:, :, 0]
    for part in (image[:8], image):  # most images in colour show it in the first rows
        if not ((part[:, :, 0] == part[:, :, 1]).all() and (part[:, :, 0] == part[:, :, 2]).all()):
            return image
    return np.ascontiguousarray(first)


def image_from_array(array: npt.NDArray[Any]) -> Image:
    """Return an array as an image (H, W, 3), uint8 RGB, by the rules that hold for files.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8, uint16 with its whole range (or the depth
            that GEORGIA_DEPTH states), bool, or floats from 0 to 1.

    >>> image_from_array(np.array([[0.0, 0.5, 1.0]]))[0, :, 0].tolist()
    [0, 128, 255]

    Raises:
        InputError: it has another shape or type, no pixels, or floats outside of 0 to 1.
    """
    samples = array[:, :, None] if array.ndim == 2 else array
    if samples.ndim != 3 or samples.shape[2] not in (1, 3, 4) or not samples.size:
        raise InputError(
            "Cannot use an array as an image", needs="(H, W), (H, W, 3) or (H, W, 4)", got=array.shape
        )
    if samples.dtype == np.uint16:
        samples = reduce_depth(samples, check_range(samples[:, :, :3], find_stated_bits()))
    elif samples.dtype == np.bool_:
        samples = samples * np.uint8(255)
    elif np.issubdtype(samples.dtype, np.floating) and samples.min() >= 0 and samples.max() <= 1:
        samples = _reduce_floats(samples)
    elif samples.dtype != np.uint8:
        value_range = f", {samples.min()} to {samples.max()}"
        raise InputError(
            "Cannot use an array as an image",
            needs="uint8, uint16, bool, or floats from 0 to 1 are needed",
            got=f"{array.dtype}{value_range}",
        )
    if samples.shape[2] == 4:
        return _compose(samples[:, :, :3], samples[:, :, 3:])
    return np.repeat(samples, 3, axis=2) if samples.shape[2] == 1 else np.ascontiguousarray(samples)


def read_info(path: str | Path, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Return a file's size, mode, bit depth and format without decoding it.

    A window has its own size, its part of the frame's bytes, and else what its frame has.

    Raises:
        UnreadableImageError: the header cannot be read; the message is one clause, without the path.
    """
    file, box = split_window(path)
    if box is None:
        with _as_unreadable():
            data = _read_bytes(file, max_pixels)
        return describe_image(data, max_pixels)
    frame = read_frame_info(file, max_pixels)
    check_box(box, frame.width_px, frame.height_px)
    width_px, height_px = box[2:]
    n_bytes = round(frame.n_bytes * width_px * height_px / (frame.width_px * frame.height_px))
    return replace(frame, width_px=width_px, height_px=height_px, n_bytes=n_bytes)


def read_frame_info(file: Path, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Return ``read_info`` of a frame, which is kept for its next windows while the file stays as it is.

    Raises:
        UnreadableImageError: the header cannot be read; the message is one clause, without the path.
    """
    try:
        status = file.stat()
    except OSError:
        return read_info(file, max_pixels)
    return _read_known_info(file, max_pixels, status.st_size, status.st_mtime_ns)


def name_window(file: Path, box: Sequence[float]) -> Path:
    """Return the path of a window of a frame from its box, px, with the edges of ``make_box``.

    The box of a frame that cannot be read is not compared with it: reading the window tells the reason.

    Raises:
        ValueError: the box is none, or does not lie within the frame; one clause.
    """
    try:
        info = read_frame_info(file)
    except UnreadableImageError:
        return Path(format_window(file, make_box(box)))
    return Path(format_window(file, make_box(box, (info.width_px, info.height_px))))


@lru_cache(maxsize=256)
def _read_known_info(file: Path, max_pixels: int, n_bytes: int, changed_ns: int) -> ImageInfo:
    with _as_unreadable():
        data = _read_bytes(file, max_pixels)
    return describe_image(data, max_pixels)


def describe_image(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Return what ``read_info`` does, for a file's content that is already in memory.

    Raises:
        UnreadableImageError: the header cannot be read; the message is one clause.
    """
    with _as_unreadable():
        if find_format(data[:12]) is None:
            raise UnreadableImageError(NOT_AN_IMAGE if data else "the file is empty")
        header = _read_header(data, max_pixels)
    size = (header.width_px, header.height_px)
    width_px, height_px = size[::-1] if header.orientation >= 5 else size
    return ImageInfo(width_px, height_px, header.mode, header.bit_depth, header.format, len(data))


@contextmanager
def _as_unreadable() -> Iterator[None]:
    """Change whatever a decoder raises on a bad file to an UnreadableImageError with a short reason."""
    try:
        yield
    except UnreadableImageError:
        raise
    except MemoryError as error:
        raise UnreadableImageError("there is not enough memory for it") from error
    except Exception as error:
        text = str(error).split("\n")[0].strip().rstrip(".")
        if "truncated" in text.lower():
            raise UnreadableImageError(TRUNCATED) from error
        if text.lower().startswith("unsupported"):
            raise UnreadableImageError(f"its kind is not read ({text})") from error
        # A number or a single name says nothing to a reader.
        raise UnreadableImageError(f"{DAMAGED} ({text})" if " " in text else DAMAGED) from error


def _read_bytes(path: Path, max_pixels: int) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError("it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("it is not a regular file")
        if status.st_size == 0:
            raise UnreadableImageError("the file is empty")
        with path.open("rb") as stream:
            start = stream.read(12)
            if find_format(start) is None:
                raise UnreadableImageError(NOT_AN_IMAGE)
            # 16 bytes a pixel is more than any format here needs, and metadata gets 64 MiB.
            if status.st_size > 16 * max_pixels + 2**26:
                raise UnreadableImageError(f"the file is too large ({status.st_size} bytes)")
            return start + stream.read()
    except FileNotFoundError as error:
        is_long = is_path_too_long(error, path)
        raise UnreadableImageError(tell_reason(error, path) if is_long else "no such file") from error
    except PermissionError as error:
        raise UnreadableImageError("no permission to read it") from error
    except UnreadableImageError:
        raise
    except OSError as error:
        raise UnreadableImageError(f"the system cannot read it ({error.strerror or error})") from error


def _read_header(data: bytes, max_pixels: int) -> Header:
    name = find_format(data[:12])
    if name == "TIFF":
        from georgia.images.tiff import read_tiff

        header = read_tiff(data)
    else:
        header = READERS[str(name)](data)
    size = f"{header.width_px}×{header.height_px}"
    if header.width_px < 1 or header.height_px < 1:
        raise UnreadableImageError(f"it has no pixels ({size})")
    if header.width_px * header.height_px > max_pixels:
        raise UnreadableImageError(f"at most {max_pixels} pixels are allowed; got {size}")
    return header


def _decode(header: Header, bits: int, watch: DepthWatch | None) -> Image:
    if header.format == "PNG" and header.bit_depth == 16:
        colors, alpha = _decode_deep_png(header)
        if watch is not None:
            watch.note(colors)
        pixels = reduce_depth(colors, check_range(colors, bits))
        if alpha is not None:
            # Alpha fills its range whatever the camera does.
            pixels = _compose(pixels, reduce_depth(alpha))
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if header.format == "JPEG" and header.bit_depth != 8:
        raise UnreadableImageError(
            f"JPEG of {header.bit_depth} bits is not read. Save it with 8 bits, or as TIFF"
        )
    return _to_rgb(_open(header.format, header.clean), header.bit_depth)


def _open(name: str, data: bytes) -> Any:
    """Return a Pillow image by its own format's class: ``Image.open`` has global limits and warns."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    classes: dict[str, Any] = {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "BMP": BmpImagePlugin.BmpImageFile if data[:2] == b"BM" else BmpImagePlugin.DibImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }
    return classes[name](io.BytesIO(data))


def _to_rgb(image: Any, bits: int) -> Image:
    """Return the pixels (H, W, 3) of an 8-bit Pillow image of any mode; its file has samples of ``bits``."""
    image.load()
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.mode == "L" and isinstance(image.info.get("transparency"), int) and bits < 8:
        # Pillow spreads grey levels of fewer bits over 0 to 255, and not the one that is transparent.
        image.info["transparency"] = image.info["transparency"] * 255 // (2**bits - 1)
    if image.mode == "1" and image.info.get("transparency") == 1:
        image.info["transparency"] = 255  # what Pillow 11 calls by the file's own number
    if image.mode in ("L", "1") and "transparency" not in image.info:
        return _grey_to_rgb(np.array(image.convert("L")))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        pixels = np.array(image.convert("RGBA"))
        if image.format in ("BMP", "DIB") and not pixels[:, :, 3].any():
            # The fourth byte has a name in the header, and nothing was written there.
            return pixels[:, :, :3]
        return _compose(pixels[:, :, :3], pixels[:, :, 3:])
    return np.array(image.convert("RGB"))


def _grey_to_rgb(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    pixels = np.empty((*grey.shape, 3), grey.dtype)
    for channel in range(3):  # half the time of np.repeat
        pixels[:, :, channel] = grey
    return pixels


def _compose(colors: Image, alpha: Image) -> Image:
    """Compose colours (H, W, 3) over black with alpha (H, W, 1), both uint8.

    Raises:
        UnreadableImageError: alpha is 0 everywhere, so that nothing would be left, whatever the colours.
    """
    if not alpha.any():
        raise UnreadableImageError("all its pixels are transparent (alpha is 0). Save it without alpha")
    return ((colors.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _reduce_floats(samples: npt.NDArray[Any]) -> Image:
    return np.asarray(np.rint(np.clip(samples, 0.0, 1.0) * 255.0), np.uint8)


def _decode_deep_png(header: Header) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16] | None]:
    """Return colours (H, W, 1 or 3) of a 16-bit PNG, and alpha (H, W, 1) if it has any, or None.

    A transparent colour is alpha 0. Pillow keeps the high byte of colours only, and OpenCV prints what it
    finds damaged.
    """
    import imagecodecs

    samples = np.asarray(imagecodecs.png_decode(header.clean), np.uint16)
    samples = samples.reshape(header.height_px, header.width_px, -1)
    has_alpha = samples.shape[2] % 2 == 0
    return (samples[:, :, :-1], samples[:, :, -1:]) if has_alpha else (samples, None)


def _decode_tiff(data: bytes, bits: int, watch: DepthWatch | None) -> Image:
    from georgia.images.tiff import read_tiff_samples

    samples, top, mode, has_alpha = read_tiff_samples(data, bits)
    if watch is not None and top == 65535:
        watch.note(samples[:, :, : samples.shape[2] - has_alpha])
    if samples.dtype.kind == "f":
        lowest, highest = float(samples.min()), float(samples.max())
        # NaN fails both comparisons.
        if not (lowest >= -_FLOAT_NOISE and highest <= 1 + _FLOAT_NOISE):
            rule = f"floats must lie in 0 to 1; got {lowest:g} to {highest:g}"
            raise UnreadableImageError(f"{rule}. Save it with 8 or 16 bits")
        pixels = _reduce_floats(samples)
    else:
        pixels = samples if top == 255 else reduce_depth(samples, top)
    if mode in ("CMYK", "YCbCr"):
        from PIL import Image as PillowImage

        return np.array(PillowImage.fromarray(np.ascontiguousarray(pixels), mode).convert("RGB"))
    colors = _compose(pixels[:, :, :-1], pixels[:, :, -1:]) if has_alpha else pixels
    return np.broadcast_to(colors, (*colors.shape[:2], 3))


def iter_images(
    paths: Iterable[str | Path],
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    transform: Callable[[Image], npt.NDArray[Any]] | None = None,
    watch: DepthWatch | None = None,
) -> Iterator[tuple[int, npt.NDArray[Any] | Failure]]:
    """Yield (position, pixels or failure) in the order of ``paths``, read by threads ahead of use.

    ``transform`` runs on the pixels in the reading thread, and its result is yielded. At most
    two images per thread are held at a time, so a million files need no more memory than ten.
    A frame is decoded once for windows that follow one another.
    ``watch`` notes how much of 16 bits is in use.
    """
    n_threads = workers or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="georgia-images")
    waiting: deque[Future[npt.NDArray[Any] | Failure]] = deque()
    position = 0
    read = partial(read_image, max_pixels=max_pixels, watch=watch, frames=FrameCache())
    try:
        for path in paths:
            waiting.append(pool.submit(_read_or_fail, Path(path), read, transform))
            if len(waiting) >= 2 * n_threads:
                yield position, waiting.popleft().result()
                position += 1
        while waiting:
            yield position, waiting.popleft().result()
            position += 1
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_or_fail(
    path: Path,
    read: Callable[[Path], Image],
    transform: Callable[[Image], npt.NDArray[Any]] | None,
) -> npt.NDArray[Any] | Failure:
    try:
        image = read(path)
    except UnreadableImageError as error:
        return Failure(path, str(error))
    return image if transform is None else transform(image)
