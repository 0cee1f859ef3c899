"""TIFF files: their structure by tifffile, their strips and tiles by Pillow's libtiff.

tifffile alone cannot expand LZW, and Pillow alone cuts 16-bit colour to its high byte. So the file is
written anew in memory with the tags that make pixels and nothing else: either as it is, for Pillow, or
with its segments expanded, for tifffile.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import UnreadableImageError
from georgia.images.containers import TRUNCATED, Header

# Source: TIFF 6.0 and its technical notes. Schemes that turn bytes into fewer bytes and nothing else:
# none, LZW, deflate (two numbers), PackBits.
_DEFLATE = (8, 32946)
_BYTE_SCHEMES = (1, 5, 32773, *_DEFLATE)
# Colours, alpha and a few extra samples; more would let a small file claim any amount of memory.
_N_SAMPLES_ALLOWED = 8
_MODES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "RGB"}
_SHORT, _LONG, _BYTES = 3, 4, 7
# Tags that tell how stored bytes become pixels; orientation is applied by images.py.
_PIXEL_TAGS = {
    258: _SHORT,  # BitsPerSample
    259: _SHORT,  # Compression
    262: _SHORT,  # PhotometricInterpretation
    266: _SHORT,  # FillOrder
    277: _SHORT,  # SamplesPerPixel
    278: _LONG,  # RowsPerStrip
    284: _SHORT,  # PlanarConfiguration
    292: _LONG,  # T4Options
    293: _LONG,  # T6Options
    317: _SHORT,  # Predictor
    320: _SHORT,  # ColorMap
    322: _LONG,  # TileWidth
    323: _LONG,  # TileLength
    338: _SHORT,  # ExtraSamples
    339: _SHORT,  # SampleFormat
    347: _BYTES,  # JPEGTables
    530: _SHORT,  # YCbCrSubSampling
}


def read_tiff(data: bytes) -> Header:
    """Return a TIFF's header; pages that are smaller copies of another do not count as pages.

    ``clean`` stays empty: the pixels are read by ``read_tiff_samples`` or from ``rewrite_tiff``.

    Raises:
        UnreadableImageError: it has more samples per pixel than any image.
        Exception: whatever tifffile raises on a damaged file; ``images`` turns it into words.
    """
    with _open(data) as tif:
        page = tif.pages.first
        if page.samplesperpixel > _N_SAMPLES_ALLOWED:
            rule = f"at most {_N_SAMPLES_ALLOWED} samples per pixel are allowed"
            raise UnreadableImageError(f"{rule}; got {page.samplesperpixel}")
        n_pages = _count_pages(tif)
        mode = _MODES.get(int(page.photometric), "other")
        if page.extrasamples and int(page.extrasamples[0]) in (1, 2):
            mode = {"grey": "grey+alpha", "RGB": "RGBA"}.get(mode, mode)
        orientation = _tag(page, 274, 1)
        bits = int(np.max(page.bitspersample))
        return Header(
            "TIFF", page.imagewidth, page.imagelength, mode, bits, b"",
            orientation if orientation in range(1, 9) else 1, n_pages,
        )  # fmt: skip


def _open(data: bytes) -> Any:
    import tifffile

    # tifffile logs what it finds odd; without a handler Python would print that on stderr.
    logger = logging.getLogger("tifffile")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    return tifffile.TiffFile(io.BytesIO(data))


def _tag(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _count_pages(tif: Any) -> int:
    n_full = sum(1 for page in tif.pages if not int(_tag(page, 254, 0)) & 1)
    n_stacked = int((tif.imagej_metadata or {}).get("images", 1)) if tif.is_imagej else 1
    return max(1, n_full, n_stacked, int(tif.pages.first.imagedepth))


def needs_pillow(data: bytes) -> bool:
    """Return whether the samples need a colour or bit decoder: JPEG, palette, CMYK, 1-bit and such."""
    with _open(data) as tif:
        page = tif.pages.first
        simple = int(page.photometric) in (0, 1, 2) and page.bitspersample in (8, 16, 32, 64)
        return not simple or int(page.compression) not in _BYTE_SCHEMES


def rewrite_tiff(data: bytes) -> bytes:
    """Return the first page as a TIFF of its own with the tags that make pixels and no other."""
    with _open(data) as tif:
        page = tif.pages.first
        return _write(tif.byteorder, _pixel_tags(page), _segments(data, page), page.is_tiled)


def read_tiff_samples(data: bytes) -> tuple[npt.NDArray[Any], int, bool]:
    """Return the first page's samples (H, W, S) as stored, their largest value, and if alpha is last.

    White-is-zero pages come inverted. The largest value is that of the bit depth, or of the smaller
    depth declared by MaxSampleValue or SMaxSampleValue as 2^n − 1: other values there are statistics of
    the content, which must not change the brightness. Floats have 1.

    Raises:
        UnreadableImageError: the samples are signed or wider than 16 bits.
        Exception: whatever tifffile or Pillow raises on a damaged file.
    """
    with _open(data) as tif:
        page = tif.pages.first
        tags, segments = _pixel_tags(page), _segments(data, page)
        alpha = int(page.extrasamples[0]) if page.extrasamples else 0
        n_colors = 3 if int(page.photometric) == 2 else 1
        inverted = int(page.photometric) == 0
        limit = _declared_limit(page)
        byteorder, is_tiled = tif.byteorder, page.is_tiled
        if int(page.compression) != 1:
            sized = _sized(page, segments)
            segments = [_expand(part, int(page.compression), n_bytes) for part, n_bytes in sized]
            segments = [_undo_predictor(part, page, byteorder) for part in segments]
            tags[259] = tags[317] = (1,)
    with _open(_write(byteorder, tags, segments, is_tiled)) as tif:
        page = tif.pages.first
        samples = page.asarray()
        axes = page.axes
    samples = _as_rows(samples, axes)
    is_float = samples.dtype.kind == "f"
    if not is_float and (samples.dtype.kind != "u" or samples.dtype.itemsize > 2):
        rule = "8 or 16 bits without sign, or floats from 0 to 1, are needed"
        raise UnreadableImageError(f"{rule}; got {samples.dtype}")
    top = 1 if is_float else min(limit, int(np.iinfo(samples.dtype).max))
    # Associated alpha (1) means colours already multiplied: already composed over black.
    has_alpha = alpha == 2 and samples.shape[2] > n_colors
    samples = samples[:, :, : n_colors + has_alpha]
    if inverted:
        samples[:, :, :1] = top - np.minimum(samples[:, :, :1], top)
    return samples, top, has_alpha


def _as_rows(samples: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    if axes == "SYX":
        return np.moveaxis(samples, 0, -1).copy()
    if axes == "YX":
        return samples[:, :, None]
    if axes == "YXS":
        return samples
    raise UnreadableImageError(f"one page of rows and columns is needed; got axes {axes}")


def _declared_limit(page: Any) -> int:
    limits: set[int] = set()
    for code in (281, 341):
        value = _tag(page, code, ())
        limits.update(value if isinstance(value, tuple) else (value,))
    depths = [limit for limit in limits if limit in {2**bits - 1 for bits in range(9, 16)}]
    return int(max(depths)) if depths and page.bitspersample == 16 else 2**64


def _pixel_tags(page: Any) -> dict[int, Sequence[int] | bytes]:
    tags: dict[int, Sequence[int] | bytes] = {256: (page.imagewidth,), 257: (page.imagelength,)}
    for code in _PIXEL_TAGS:
        value = _tag(page, code, None)
        if value is None:
            continue
        if isinstance(value, bytes):
            tags[code] = value
        else:
            tags[code] = [int(part) for part in np.ravel(value)]
    return tags


def _segments(data: bytes, page: Any) -> list[bytes]:
    segments = []
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset + size > len(data):
            raise UnreadableImageError(TRUNCATED)
        segments.append(data[offset : offset + size])
    return segments


def _sized(page: Any, segments: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Pair each segment with the number of bytes that it must expand to."""
    item = page.bitspersample // 8 * (page.samplesperpixel if page.planarconfig == 1 else 1)
    if page.is_tiled:
        return [(part, page.tilewidth * page.tilelength * item) for part in segments]
    height, rows = page.imagelength, min(page.rowsperstrip, page.imagelength)
    n_strips = -(-height // rows)
    sizes = [min(rows, height - rows * (index % n_strips)) for index in range(len(segments))]
    return [(part, n_rows * page.imagewidth * item) for part, n_rows in zip(segments, sizes, strict=True)]


def _expand(segment: bytes, compression: int, n_bytes: int) -> bytes:
    """Expand one segment, LZW and PackBits by reading it as a grey 8-bit image of one row.

    Both ways bound the size. libtiff, behind Pillow, may speak on stderr when the segment is damaged.
    """
    from PIL import TiffImagePlugin

    if compression in _DEFLATE:
        expanded = zlib.decompressobj().decompress(segment, n_bytes)
        if len(expanded) != n_bytes:
            raise UnreadableImageError(TRUNCATED)
        return expanded
    tags: dict[int, Sequence[int] | bytes] = {
        256: (n_bytes,), 257: (1,), 258: (8,), 259: (compression,), 262: (1,), 277: (1,), 278: (1,),
    }  # fmt: skip
    with TiffImagePlugin.TiffImageFile(io.BytesIO(_write("<", tags, [segment], False))) as image:
        return image.tobytes()


def _undo_predictor(segment: bytes, page: Any, byteorder: str) -> bytes:
    """Undo differencing along rows. Source: TIFF 6.0, section 14, and TIFF Technical Note 3."""
    predictor = int(page.predictor)
    if predictor == 1:
        return segment
    width = page.tilewidth if page.is_tiled else page.imagewidth
    n_samples = page.samplesperpixel if page.planarconfig == 1 else 1
    item = page.bitspersample // 8
    if predictor == 2:
        values = np.frombuffer(segment, f"{byteorder}u{item}").reshape(-1, width, n_samples)
        return np.cumsum(values, axis=1, dtype=values.dtype.newbyteorder("=")).astype(values.dtype).tobytes()
    if predictor == 3:
        planes = np.frombuffer(segment, np.uint8).reshape(-1, width * item, n_samples)
        planes = np.cumsum(planes, axis=1, dtype=np.uint8).reshape(-1, item, width * n_samples)
        floats = np.ascontiguousarray(planes.swapaxes(1, 2)).view(f">u{item}")
        return floats.astype(f"{byteorder}u{item}").tobytes()
    raise UnreadableImageError(f"its predictor is unknown ({predictor})")


def _write(
    byteorder: str, tags: Mapping[int, Sequence[int] | bytes], segments: Sequence[bytes], is_tiled: bool
) -> bytes:
    """Return a classic TIFF of one page: header, segments, long values, directory."""
    body = bytearray({"<": b"II*\0", ">": b"MM\0*"}[byteorder] + bytes(4))
    offsets = []
    for segment in segments:
        offsets.append(len(body))
        body += segment + b"\0" * (len(segment) % 2)
    entries = {code: (_PIXEL_TAGS.get(code, _LONG), value) for code, value in tags.items()}
    entries[324 if is_tiled else 273] = (_LONG, offsets)
    entries[325 if is_tiled else 279] = (_LONG, [len(segment) for segment in segments])
    directory = struct.pack(byteorder + "H", len(entries))
    for code, (kind, values) in sorted(entries.items()):
        if isinstance(values, bytes):
            packed = values
        else:
            packed = struct.pack(f"{byteorder}{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(packed) > 4:
            field = struct.pack(byteorder + "I", len(body))
            body += packed + b"\0" * (len(packed) % 2)
        else:
            field = packed.ljust(4, b"\0")
        directory += struct.pack(byteorder + "HHI", code, kind, len(values)) + field
    body[4:8] = struct.pack(byteorder + "I", len(body))
    return bytes(body) + directory + bytes(4)
