"""Damage image files at random and read them, in a process with little memory: ``python FILE N SEED``.

Prints one line of JSON: how many were read, and how many were refused for each kind of reason. A crash, a
hang, or an exception that is no UnreadableImageError ends the process with another exit code than 0.
"""

from __future__ import annotations

import faulthandler
import io
import json
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from georgia.errors import UnreadableImageError
from georgia.images.decode import decode_image, describe_image

MAX_PIXELS = 1_000_000
MEMORY_BYTES = 2 * 2**30
# A file of at most a million pixels is read in milliseconds; this is a hang on any machine.
HANG_S = 60


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def save_tiff(samples: np.ndarray, byteorder: str = "<", bigtiff: bool = False, **options: object) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder=byteorder, bigtiff=bigtiff) as tif:
        tif.write(samples, **options)
    return stream.getvalue()


def make_sound_files() -> list[bytes]:
    """Return one small file of each kind that is read."""
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (40, 52, 3), np.uint8)
    color[10:30, 10:40] = [90, 160, 220]
    grey, alpha = color[:, :, 0], np.dstack([color, color[:, :, 1]])
    wide, floats = grey.astype(np.uint16) * 257, (grey / 255).astype(np.float32)
    rgb, one = Image.fromarray(color), Image.fromarray(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    notes = PngImagePlugin.PngInfo()
    profile = exif.tobytes().hex()
    notes.add_text("Raw profile type exif", f"\nexif\n{len(profile) // 2:8d}\n{profile}\n", zip=True)
    png = [
        save(rgb, "PNG", exif=exif),
        save(one, "PNG", pnginfo=notes),
        save(rgb.quantize(16), "PNG", transparency=3),
    ]
    png += [
        save(Image.fromarray(alpha), "PNG"),
        save(one.convert("1"), "PNG"),
        save(Image.fromarray(wide), "PNG"),
    ]
    png.append(cv2.imencode(".png", np.dstack([wide, wide, wide]))[1].tobytes())
    jpeg = [save(rgb, "JPEG", exif=exif), save(one, "JPEG"), save(rgb, "JPEG", progressive=True)]
    jpeg += [save(rgb.convert("CMYK"), "JPEG"), save(rgb, "JPEG", restart_marker_blocks=3)]
    webp = [save(rgb, "WebP"), save(Image.fromarray(alpha), "WebP", lossless=True, exif=exif.tobytes())]
    bmp = [
        save(rgb, "BMP"),
        save(one, "BMP"),
        save(Image.fromarray(alpha), "BMP"),
        save(rgb.quantize(8), "BMP"),
    ]
    bmp += [save(one.convert("1"), "BMP"), save(rgb, "DIB")]
    schemes = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma")
    tiff = [save(image, "TIFF", compression=scheme) for scheme in schemes for image in (rgb, one)]
    tiff += [save_tiff(color, compression="zstd"), save_tiff(grey, compression="zstd")]
    tiff += [save(one.convert("1"), "TIFF", compression="group4"), save(rgb.quantize(16), "TIFF")]
    tiff += [save(rgb.convert("YCbCr"), "TIFF", compression="jpeg"), save(rgb.convert("CMYK"), "TIFF")]
    for options in ({}, {"byteorder": ">"}, {"bigtiff": True}, {"byteorder": ">", "bigtiff": True}):
        tiff += [save_tiff(color, **options), save_tiff(wide, rowsperstrip=7, **options)]
        tiff += [save_tiff(floats, compression="zlib", predictor=3, tile=(16, 16), **options)]
    tiff += [save_tiff(grey.astype(np.uint16) * 16, bitspersample=12), save_tiff(grey // 16, bitspersample=4)]
    tiff += [save_tiff(np.moveaxis(color, -1, 0), photometric="rgb", planarconfig="separate", rowsperstrip=9)]
    tiff += [
        save_tiff(alpha, photometric="rgb", extrasamples=["unassalpha"], compression="zlib", predictor=2)
    ]
    return [*png * 2, *jpeg * 3, *webp * 5, *bmp * 2, *tiff]


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with a few of its bytes changed, lost, doubled or replaced by telling numbers."""
    broken = bytearray(data)
    # Most of what matters stands near the beginning; TIFF keeps its tags anywhere.
    reach = len(data) if rng.random() < 0.6 else min(len(data), 200)
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(2, max(3, reach)))
        match int(rng.integers(6)):
            case 0 | 1:
                broken[place : place + 1] = bytes([int(rng.integers(256))])
            case 2:
                number = int(rng.choice([0, 1, 2, 8, 72, 255, 4096, 65535, 2**31 - 1, 2**31, 2**32 - 1]))
                order = "<I" if rng.random() < 0.7 else ">I"
                broken[place : place + 4] = struct.pack(order, number)
            case 3:
                del broken[place : place + int(rng.integers(1, 40))]
            case 4:
                start = int(rng.integers(len(data)))
                broken[place:place] = data[start : start + int(rng.integers(1, 40))]
            case 5 if rng.random() < 0.3:
                del broken[place:]
    return mend_checksums(bytes(broken)) if rng.random() < 0.8 else bytes(broken)


def mend_checksums(data: bytes) -> bytes:
    """Return a PNG whose checksums fit, so that its damage is not seen by them; other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    mended, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            break
        mended[end - 4 : end] = struct.pack(">I", zlib.crc32(data[position + 4 : end - 4]))
        position = end
    return bytes(mended)


def read_mutations(n_files: int, seed: int) -> Iterator[str]:
    """Yield "read" or the beginning of the reason, for each damaged file."""
    sound, rng = make_sound_files(), np.random.default_rng(seed)
    for data in sound:
        decode_image(data)
    for position in range(n_files):
        data = damage(sound[position % len(sound)], rng)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            info = describe_image(data, MAX_PIXELS)
            image = decode_image(data, MAX_PIXELS)
            if image.shape != (info.height_px, info.width_px, 3) or image.dtype != np.uint8:
                raise ValueError(
                    f"file {position} of seed {seed}: {image.shape} {image.dtype} against {info}"
                )
            yield "read"
        except UnreadableImageError as error:
            yield str(error).split(" (")[0].split(";")[0]
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(Counter(read_mutations(int(sys.argv[1]), int(sys.argv[2])))))
