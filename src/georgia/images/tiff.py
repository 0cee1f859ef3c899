"""TIFF files: their structure by tifffile, their strips and tiles by imagecodecs."""

from __future__ import annotations

import io
import logging
import math
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import UnreadableImageError
from georgia.images.containers import DAMAGED, MAX_PAGES_COUNTED, TRUNCATED, Header, read_jpeg
from georgia.images.depth import check_range

# Source: TIFF 6.0, its technical notes and registered numbers. Schemes that make bytes of bytes, with
# their decoder in imagecodecs; a deflated segment may hold more rows than the image, which zlib cuts off.
_DEFLATE = (8, 32946)
_BYTE_SCHEMES = {5: "lzw", 32773: "packbits", 34925: "lzma", 50000: "zstd", **dict.fromkeys(_DEFLATE, "zlib")}
_JPEG = 7
# Of no other scheme (JPEG 2000, WebP …) is it known beforehand how much a segment expands to.
_COMPRESSIONS = frozenset((1, 2, 3, 4, _JPEG, *_BYTE_SCHEMES))  # 2 to 4: CCITT
# Colours, alpha and a few extra samples; more would let a small file claim any amount of memory.
_N_SAMPLES_ALLOWED = 8
_MODES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_N_COLORS = {"RGB": 3, "CMYK": 4, "YCbCr": 3}
# Offsets and byte counts of strips and tiles; more would take minutes, and no program writes so many.
_SEGMENT_TAGS = (273, 279, 324, 325)
_N_SEGMENTS_ALLOWED = 100_000
_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
# SubIFDs: pages that belong to a page. Source: Adobe, TIFF Tech Note 1 (1995).
_SUB_PAGES = 330
# tifffile reads no page with more tags.
_N_TAGS_ALLOWED = 4096


def read_tiff(data: bytes) -> Header:
    """Return a TIFF's header; pages that are smaller versions of another do not count, also before it.

    ``clean`` stays empty: the pixels are read by ``read_tiff_samples``.

    Raises:
        UnreadableImageError: its list of pages has no end, it holds a smaller version in place of the image,
            or it has more samples per pixel than any image.
        Exception: whatever tifffile raises on a damaged file; ``decode`` puts it into a clause.
    """
    n_full, first = _find_pages(data)
    with _open(data) as tif:
        page = tif.pages[first]
        if not n_full and _SUB_PAGES in page.tags:
            reason = "it holds a preview, and the image itself as a page within it, which is not read"
            raise UnreadableImageError(f"{reason}. Save it as a TIFF of one page")
        if page.samplesperpixel > _N_SAMPLES_ALLOWED:
            rule = f"at most {_N_SAMPLES_ALLOWED} samples per pixel are allowed"
            raise UnreadableImageError(f"{rule}; got {page.samplesperpixel}")
        n_stacked = int((tif.imagej_metadata or {}).get("images", 1)) if tif.is_imagej else 1
        n_pages = max(1, n_full, n_stacked, int(page.imagedepth))
        mode = _MODES.get(int(page.photometric), "other").replace("YCbCr", "RGB")
        if page.extrasamples and int(page.extrasamples[0]) in (1, 2):
            mode = {"grey": "grey+alpha", "RGB": "RGBA"}.get(mode, mode)
        orientation = _tag(page, 274, 1)
        bits = int(np.max(page.bitspersample))
        return Header(
            "TIFF", page.imagewidth, page.imagelength, mode, bits, b"",
            orientation if orientation in range(1, 9) else 1, n_pages,
        )  # fmt: skip


def read_tiff_samples(data: bytes, stated_bits: int = 0) -> tuple[npt.NDArray[Any], int, str, bool]:
    """Return the image's samples (H, W, S) as stored, their largest value, mode, and if alpha is last.

    The mode is "grey", "RGB", "CMYK" or "YCbCr"; white-is-zero pages come inverted, palettes as RGB. The
    largest value is that of the bit depth, or of the smaller depth declared by MaxSampleValue or
    SMaxSampleValue as 2^n − 1: other values there are statistics of the content, which must not change the
    brightness. Without such a depth, 16-bit samples have the one that the user states. Floats have 1.

    Raises:
        UnreadableImageError: compression, colours or samples are of a kind that is not read, or the file
            is cut off.
        Exception: whatever tifffile or imagecodecs raise on a damaged file.
    """
    _, first = _find_pages(data)
    with _open(data) as tif:
        page = tif.pages[first]
        mode = _check_page(data, page)
        samples = _decode_segments(data, page)
        if samples.shape[2] != page.samplesperpixel:
            raise UnreadableImageError(f"{DAMAGED} (its segments do not make its pixels)")
        if samples.dtype.kind == "b":
            samples = samples.astype(np.uint8)
        is_float = samples.dtype.kind == "f"
        if not is_float and (samples.dtype.kind != "u" or samples.dtype.itemsize > 2):
            rule = "8 or 16 bits without sign, or floats from 0 to 1, are needed"
            raise UnreadableImageError(f"{rule}; got {samples.dtype}")
        if mode == "palette":
            # Source: TIFF 6.0, section 5: colours of 16 bits; of these the high byte is in use.
            colors = np.moveaxis(page.colormap >> 8, 0, -1).astype(np.uint8)
            return colors[samples[:, :, 0]], 255, "RGB", False
        if mode == "YCbCr" and int(page.compression) == _JPEG:
            mode = "RGB"
        top = 1 if is_float else min(_declared_limit(page), 2 ** int(page.bitspersample) - 1)
        if top == 65535 and stated_bits:
            top = 2**stated_bits - 1
            check_range(samples[:, :, : _N_COLORS.get(mode, 1)], stated_bits)
        # Associated alpha (1) means colours already multiplied: already composed over black.
        n_colors = _N_COLORS.get(mode, 1)
        has_alpha = bool(page.extrasamples) and int(page.extrasamples[0]) == 2 and samples.shape[2] > n_colors
        samples = samples[:, :, : n_colors + has_alpha]
        if int(page.photometric) == 0:
            samples = samples.copy()
            samples[:, :, :1] = top - np.minimum(samples[:, :, :1], top)
        return samples, top, mode, has_alpha


def _open(data: bytes) -> Any:
    import tifffile

    # tifffile logs what it finds odd; without a handler Python would print that on stderr.
    logger = logging.getLogger("tifffile")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    # Of these kinds it would make up pages.
    return tifffile.TiffFile(io.BytesIO(data), is_scanimage=False, is_ndpi=False)


def _tag(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _find_pages(data: bytes) -> tuple[int, int]:
    """Return how many pages are not a smaller version of another, and which of all is the first of these.

    Only the first ``MAX_PAGES_COUNTED`` are looked at; where all are smaller versions, the first page counts.

    Raises:
        UnreadableImageError: a page stands in the list twice, which tifffile would follow for ever; or the
            first page has more strips or tiles than any image.
    """
    order, is_big = ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]
    number, count, link = (f"{order}Q", f"{order}Q", 8) if is_big else (f"{order}I", f"{order}H", 4)
    width = struct.calcsize(number)
    entry = np.dtype(
        [
            ("code", f"{order}u2"),
            ("type", f"{order}u2"),
            ("count", f"{order}u{width}"),
            ("value", f"V{width}"),
        ]
    )
    offsets: set[int] = set()
    n_full = first = 0
    while len(offsets) < MAX_PAGES_COUNTED:
        try:
            (offset,) = struct.unpack_from(number, data, link)
            if not offset:
                break
            (n_tags,) = struct.unpack_from(count, data, offset)
            tags = np.frombuffer(data, entry, n_tags, offset + struct.calcsize(count))
        except (struct.error, ValueError, OverflowError):
            break
        if offset in offsets:
            raise UnreadableImageError(f"{DAMAGED} (its list of pages has no end)")
        if n_tags > _N_TAGS_ALLOWED:
            break
        if not offsets and (tags["count"][np.isin(tags["code"], _SEGMENT_TAGS)] > _N_SEGMENTS_ALLOWED).any():
            raise UnreadableImageError(f"at most {_N_SEGMENTS_ALLOWED} strips or tiles are allowed")
        if not _is_reduced(tags, order):
            first = first if n_full else len(offsets)
            n_full += 1
        offsets.add(offset)
        link = offset + struct.calcsize(count) + tags.nbytes
    return n_full, first


def _is_reduced(tags: npt.NDArray[Any], order: str) -> bool:
    """Tell whether a page's tags call it a smaller version of another page (NewSubfileType, bit 0)."""
    for tag in tags[tags["code"] == 254]:
        kind = {3: "H", 4: "I", 16: "Q"}.get(int(tag["type"]), "B")
        return bool(struct.unpack_from(order + kind, bytes(tag["value"]))[0] & 1)
    return False


def _check_page(data: bytes, page: Any) -> str:
    """Return the page's mode; what would expand to much more than its pixels is rejected."""
    mode = _MODES.get(int(page.photometric))
    if mode is None:
        raise UnreadableImageError(f"its colours are not read ({page.photometric.name})")
    if int(page.compression) not in _COMPRESSIONS:
        raise UnreadableImageError(f"its compression is not read ({page.compression.name})")
    _check_samples(page, mode)
    n_in_segment = math.prod(page.chunks[:2])
    is_whole = len(page.dataoffsets) == len(page.databytecounts) == math.prod(page.chunked)
    if not is_whole or n_in_segment > 4 * page.imagewidth * page.imagelength + 2**24:
        raise UnreadableImageError(f"{DAMAGED} (its segments do not make its pixels)")
    for position, (offset, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        if int(page.compression) == 1:
            # A byte count may be too large, if the bytes that are needed stand in the file.
            needed = _n_bytes(page, position)
            size = needed if size >= needed else 0
        if not size or offset < 8 or offset + size > len(data):
            raise UnreadableImageError(TRUNCATED)
        if int(page.compression) == _JPEG:
            frame = read_jpeg(data[offset : offset + size])
            if frame.width_px * frame.height_px > 2 * n_in_segment + 2**16:
                raise UnreadableImageError(f"{DAMAGED} (a segment is larger than the image)")
    return mode


def _check_samples(page: Any, mode: str) -> None:
    """Raise where samples have no stated meaning: to take the first for grey would lose the others unsaid."""
    n_samples, n_colors = page.samplesperpixel, _N_COLORS.get(mode, 1)
    if n_samples < n_colors:
        raise UnreadableImageError(f"{DAMAGED} ({mode} needs {n_colors} samples per pixel; got {n_samples})")
    has_alpha = bool(page.extrasamples) and int(page.extrasamples[0]) in (1, 2)
    if n_colors == 1 and n_samples > 1 + has_alpha:
        reason = f"its {n_samples} samples per pixel have no colours"
        raise UnreadableImageError(f"{reason}. Save it as RGB or grey")


def _n_bytes(page: Any, position: int) -> int:
    """Return how many bytes the samples of a strip or tile take; the last strip may hold fewer rows."""
    rows, *row = page.chunks
    if not page.is_tiled:
        rows = min(rows, page.imagelength - position % -(-page.imagelength // rows) * rows)
    return int(rows * -(-math.prod(row) * page.bitspersample // 8))


def _decode_segments(data: bytes, page: Any) -> npt.NDArray[Any]:
    """Return the page's samples (H, W, S) from its strips or tiles, one after the other."""
    segments = [
        data[offset : offset + size]
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    options = {"jpegtables": page.jpegtables} if int(page.compression) == _JPEG else {}
    if int(page.compression) in _BYTE_SCHEMES:
        if int(page.fillorder) == 2:
            # The bits of the packed bytes are mirrored; tifffile would mirror those of the unpacked ones.
            segments = [segment.translate(_MIRRORED) for segment in segments]
            page.fillorder = 1
        segments = [_expand(segment, page) for segment in segments]
        page.compression = 1
        if not page.is_tiled and any(len(item) < _n_bytes(page, i) for i, item in enumerate(segments)):
            raise UnreadableImageError(TRUNCATED)
    height, width = page.imagelength, page.imagewidth
    planes: list[npt.NDArray[Any]] = []
    for position, segment in enumerate(segments):
        part, (plane, _, top, left, _), _ = page.decode(segment, position, **options)
        if plane == len(planes):
            planes.append(np.zeros((height, width, part.shape[-1]), part.dtype))
        part = part[0, : height - top, : width - left]
        planes[plane][top : top + part.shape[0], left : left + part.shape[1]] = part
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def _expand(segment: bytes, page: Any) -> bytes:
    """Return a segment's bytes, of which there are never more than a whole strip or tile."""
    import imagecodecs

    rows, *row = page.chunks
    n_bytes = rows * -(-math.prod(row) * page.bitspersample // 8)
    if int(page.compression) in _DEFLATE:
        return zlib.decompressobj().decompress(segment, n_bytes)
    decode = getattr(imagecodecs, f"{_BYTE_SCHEMES[int(page.compression)]}_decode")
    return bytes(decode(segment, out=n_bytes))


def _declared_limit(page: Any) -> int:
    limits: set[int] = set()
    for code in (281, 341):
        value = _tag(page, code, ())
        limits.update(value if isinstance(value, tuple) else (value,))
    depths = [limit for limit in limits if limit in {2**bits - 1 for bits in range(9, 16)}]
    return int(max(depths)) if depths and page.bitspersample == 16 else 2**64
