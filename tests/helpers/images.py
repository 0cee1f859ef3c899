"""One scene, in colour and in grey, and files that hold it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np


def make_scene(height: int = 23, width: int = 31, seed: int = 0) -> np.ndarray:
    """Return a colour image (H, W, 3), uint8, that no symmetry maps on itself."""
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 255, height * width).reshape(height, width, 1) * [1.0, 0.6, 0.3]
    return np.clip(smooth + rng.integers(0, 40, (height, width, 3)), 0, 255).astype(np.uint8)


SCENE = make_scene()
GREY = SCENE[:, :, 0]
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)


def save_png16(path: Path, samples: np.ndarray) -> None:
    """Write 16-bit PNG by OpenCV, which keeps all bits; colours in RGB(A) order."""
    if samples.ndim == 3:
        samples = samples[:, :, [2, 1, 0, 3][: samples.shape[2]]]
    path.write_bytes(cv2.imencode(".png", samples)[1].tobytes())


def make_png(width: int, height: int, bits: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    """Write a PNG chunk by chunk; ``extra`` chunks stand before the pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = (header, *extra, b"IDAT" + zlib.compress(rows), b"IEND")
    lengths = (struct.pack(">I", len(chunk) - 4) for chunk in chunks)
    sums = (struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(b"".join(part) for part in zip(lengths, chunks, sums, strict=True))
