"""Headers of PNG, JPEG, BMP and WebP files, read without decoding pixels.

The size is known before a decoder allocates memory, and the decoder gets only the chunks that make pixels
(``Header.clean``), so that broken metadata can neither stop a good image nor print warnings.
TIFF has a file of its own, ``tiff.py``.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from georgia.errors import UnreadableImageError

TRUNCATED = "the file is truncated"
DAMAGED = "the file is damaged"
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp"))
# Image formats that are not read: listed as failures where a folder holds them.
_OTHER_NAMES = (
    "gif apng jp2 j2k j2c jpx jxl jxr jls avif heic heif ppm pgm pbm pnm ico psd exr hdr tga pcx"
    # Raw files of cameras.
    " dng cr2 cr3 crw nef nrw arw sr2 orf rw2 raf pef srw"
    # Microscopes, detectors and clinics.
    " dcm dicom ima czi lif lof nd2 oib oif oir vsi lsm stk ims zvi dm3 dm4 mrc fits fit fts nii"
)
_OTHER_SUFFIXES = frozenset(f".{name}" for name in _OTHER_NAMES.split())
# A longer list of pages is not counted to its end.
MAX_PAGES_COUNTED = 10_000
NOT_AN_IMAGE = "not a PNG, JPEG, TIFF, BMP or WebP image"


def is_image_name(name: str) -> bool:
    """Tell whether a file's suffix is that of an image, of a format that is read or not.

    >>> is_image_name("a.PNG"), is_image_name("a.gif"), is_image_name("notes.txt")
    (True, True, False)
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - no object a file
    return suffix in SUFFIXES or suffix in _OTHER_SUFFIXES


def tell_other_suffix(path: Path) -> str:
    """Return why a file among class folders is left out: its suffix, also where its content is an image.

    Folders are read by suffix; a file that a command names is read by its content.
    """
    kind, suffix = _find_content(path), repr(path.suffix)
    if kind is None:
        return f"not an image file (suffix {suffix})"
    return f"its suffix {suffix} is none of an image that is read, though its content is {kind}; rename it"


def holds_image(path: Path) -> bool:
    """Tell whether a file's content is that of a format that is read, whatever its suffix."""
    return _find_content(path) is not None


def _find_content(path: Path) -> str | None:
    start = b""
    with suppress(OSError):
        if path.is_file():  # a pipe would not end
            with path.open("rb") as stream:
                start = stream.read(12)
    return find_format(start)


@dataclass(frozen=True)
class Header:
    """One image's size in pixels as stored, kind of samples, and the bytes that make its pixels.

    ``mode`` is "grey", "grey+alpha", "RGB", "RGBA", "palette", "CMYK" or "other"; ``bit_depth`` is per
    sample; ``orientation`` is Exif's 1–8; ``n_pages`` counts pages or frames.
    """

    format: str
    width_px: int
    height_px: int
    mode: str
    bit_depth: int
    clean: bytes
    orientation: int = 1
    n_pages: int = 1


def find_format(start: bytes) -> str | None:
    """Return the format of a file from its first 12 bytes, or None; the suffix does not count.

    >>> find_format(b"BM" + bytes(10))
    'BMP'
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if len(start) >= 12 and int.from_bytes(start[:4], "little") in _DIB_SIZES and any(start[4:12]):
        return "BMP"
    return next((name for magic, name in _MAGICS if start.startswith(magic)), None)


# Source: the formats' specifications; TIFF in both byte orders, classic (42) and BigTIFF (43).
_MAGICS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
# A BMP without its file header, as .dib holds it, begins with the size of the header that follows.
_DIB_SIZES = (12, 40, 52, 56, 64, 108, 124)


_EXIF_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


def read_orientation(exif: bytes) -> int:
    """Return Exif's orientation 1–8 from a block of Exif bytes, 1 where it is absent or damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", exif, 4)
        (n_entries,) = struct.unpack_from(order + "H", exif, offset)
        for index in range(n_entries):
            position = offset + 2 + 12 * index
            tag, kind = struct.unpack_from(order + "HH", exif, position)
            if tag == 0x0112:
                # SHORT by the standard; some programs write it in another width.
                (value,) = struct.unpack_from(order + _EXIF_INTEGERS.get(kind, "H"), exif, position + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


_PNG_MODES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey+alpha", 6: "RGBA"}
_PNG_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Exif data as text, as ImageMagick and others wrote it before PNG had a chunk for it: a few kilobytes.
_PNG_EXIF_KEYS = (b"Raw profile type exif", b"Raw profile type APP1")
_PNG_TEXT_BYTES = 2**20


def _read_text_exif(name: bytes, body: bytes) -> bytes:
    """Return the Exif data in a PNG's chunk of text (tEXt, zTXt, iTXt); none is empty."""
    key, _, text = body.partition(b"\0")
    if key not in _PNG_EXIF_KEYS:
        return b""
    is_packed = name == b"zTXt"
    if name == b"iTXt":
        is_packed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]
    try:
        if is_packed:
            text = zlib.decompressobj().decompress(text[name == b"zTXt" :], _PNG_TEXT_BYTES)
        # A line with the kind, a line with the number of bytes, and the bytes as hexadecimal digits.
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def read_png(data: bytes) -> Header:
    """Return a PNG's header, its checksums verified.

    sBIT is ignored: by the specification the samples fill the whole range whatever it says.

    Raises:
        UnreadableImageError: the file is cut off, or a checksum does not fit.
    """
    position, kept, orientation, n_frames, ended = 8, [data[:8]], 0, 1, False
    text_orientation = 1
    while position + 12 <= len(data) and not ended:
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        body = data[position + 8 : end - 4]
        if name in _PNG_PIXEL_CHUNKS:
            if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise UnreadableImageError(f"{DAMAGED} (a checksum does not fit)")
            kept.append(data[position:end])
        elif name == b"eXIf":
            orientation = read_orientation(body)
        elif name in (b"tEXt", b"zTXt", b"iTXt") and body.startswith(_PNG_EXIF_KEYS):
            text_orientation = read_orientation(_read_text_exif(name, body))
        elif name == b"acTL" and length >= 4:
            n_frames = max(1, int.from_bytes(body[:4], "big"))
        ended = name == b"IEND"
        position = end
    if not ended:
        raise UnreadableImageError(TRUNCATED)
    if len(kept) < 2 or kept[1][4:8] != b"IHDR" or len(kept[1]) != 25:
        raise UnreadableImageError(f"{DAMAGED} (no header)")
    width, height, bits, color = struct.unpack_from(">IIBB", kept[1], 8)
    mode = _PNG_MODES.get(color, "other")
    return Header("PNG", width, height, mode, bits, b"".join(kept), orientation or text_orientation, n_frames)


_JPEG_MODES = {1: "grey", 3: "RGB", 4: "CMYK"}
# Start-of-frame markers; C4, C8 and CC are tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# APP1–APP13, APP15 and comments hold metadata only; APP0 (JFIF) and APP14 (Adobe) describe the colours.
_JPEG_DROPPED = (frozenset(range(0xE1, 0xF0)) - {0xEE}) | {0xFE}

# Bytes before a marker are passed over: cameras and broken editors leave some there.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_JPEG_LS = 0xF7
# A colour profile takes at most 255; millions of empty ones would only take time.
_JPEG_N_SEGMENTS_ALLOWED = 10_000
# Markers that no length follows: TEM, restarts and another start of image.
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))


def read_jpeg(data: bytes) -> Header:
    """Return a JPEG's header; of a multi-image file the first image counts.

    Raises:
        UnreadableImageError: the file is cut off or holds no frame.
    """
    position, kept, orientation, frame = 2, [data[:2]], 0, (0, 0, 0, 0)
    for _ in range(_JPEG_N_SEGMENTS_ALLOWED):
        found = _JPEG_MARKER.search(data, position)
        if found is None or found.end() + 2 > len(data):
            raise UnreadableImageError(TRUNCATED)
        marker, position = found[1][0], found.end() - 2
        if marker in _JPEG_ALONE:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            break
        if marker == _JPEG_LS:
            raise UnreadableImageError("its kind is not read (JPEG-LS)")
        if length < 2 or marker == 0xD9:
            raise UnreadableImageError(DAMAGED)
        segment = data[position : position + 2 + length]
        if marker in _JPEG_FRAMES and len(segment) >= 10:
            frame = struct.unpack_from(">BHHB", segment, 4)
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            orientation = orientation or read_orientation(segment[4:])
        if marker not in _JPEG_DROPPED:
            kept.append(segment)
        position += 2 + length
    else:
        raise UnreadableImageError(f"{DAMAGED} (too many segments)")
    bits, height, width, n_components = frame
    if not n_components:
        raise UnreadableImageError(f"{DAMAGED} (no header)")
    mode = _JPEG_MODES.get(n_components, "other")
    return Header("JPEG", width, height, mode, bits, b"".join(kept) + data[position:], orientation or 1)


_BMP_MODES = {24: "RGB", 16: "RGB", 32: "RGB"}


def read_bmp(data: bytes) -> Header:
    """Return a BMP's header.

    Raises:
        UnreadableImageError: the file ends within its header.
    """
    start = 14 if data[:2] == b"BM" else 0
    if len(data) < start + 16:
        raise UnreadableImageError(TRUNCATED)
    if data[start : start + 4] == b"\x0c\0\0\0":
        width, height, _, bits = struct.unpack_from("<HHHH", data, start + 4)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, start + 4)
    return Header("BMP", abs(width), abs(height), _BMP_MODES.get(bits, "palette"), 8, data)


def read_webp(data: bytes) -> Header:
    """Return a WebP's header.

    Raises:
        UnreadableImageError: the file is shorter than it says, or holds no image.
    """
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise UnreadableImageError(TRUNCATED)
    position, size, has_alpha, orientation, n_frames = 12, (0, 0), False, 1, 0
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if name == b"VP8X" and length >= 10:
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
            has_alpha = bool(body[0] & 0x10)
        elif name == b"VP8 " and not size[0] and len(body) >= 10:
            width, height = struct.unpack_from("<HH", body, 6)
            size = (width & 0x3FFF, height & 0x3FFF)
        elif name == b"VP8L" and not size[0] and len(body) >= 5:
            bits = int.from_bytes(body[1:5], "little")
            size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
            has_alpha = bool(bits >> 28 & 1)
        elif name == b"EXIF":
            orientation = read_orientation(body)
        n_frames += name == b"ANMF"
        position += 8 + length + (length & 1)
    if not size[0]:
        raise UnreadableImageError(f"{DAMAGED} (no image in it)")
    mode = "RGBA" if has_alpha else "RGB"
    return Header("WebP", *size, mode, 8, data, orientation, max(1, n_frames))


READERS: dict[str, Callable[[bytes], Header]] = {
    "PNG": read_png,
    "JPEG": read_jpeg,
    "BMP": read_bmp,
    "WebP": read_webp,
}
