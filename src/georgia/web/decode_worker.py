"""Decode images in a process of its own: what hangs, crashes or needs much memory ends with that process.

``decode_pool`` starts it and speaks to it over pipes. A task is a line of JSON and the bytes it announces,
and so is the reply. Before an image is decoded, its size is told and a line is waited for.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from georgia.errors import UnreadableImageError
from georgia.images.decode import Image, decode_image, describe_image, read_image, read_info

# The longer side of a frame's image on the page, px.
PREVIEW_PX = 1112
# Source: 16-bit RGBA as samples, as 8 bits and composed over black takes some 22 bytes a pixel at its peak.
_BYTES_A_PIXEL = 24
_SPARE_BYTES = 2**28


def main() -> None:
    """Take tasks from stdin until it ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    # Whatever a decoder prints must not get among the replies.
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)
    _import_decoders()
    reply(target, {"ready": True})
    while line := source.readline():
        task = json.loads(line)
        data = source.read(task["n_bytes"])
        _limit_memory(task["max_pixels"])
        try:
            _work(task, data, source, target)
        except UnreadableImageError as error:
            reply(target, {"error": str(error)})


def _work(task: dict[str, Any], data: bytes, source: BinaryIO, target: BinaryIO) -> None:
    path, most = task.get("path"), task["max_pixels"]
    info = read_info(path, most) if path else describe_image(data, most)
    reply(target, {"pixels": info.width_px * info.height_px})
    if source.readline().strip() != b"go":
        return
    image = read_image(Path(path), most) if path else decode_image(data, most)
    if task["kind"] == "preview":
        reply(target, {"shape": image.shape}, encode_preview(image))
    else:
        reply(target, {"shape": image.shape}, image)


def reply(target: BinaryIO, message: dict[str, Any], data: bytes | Image = b"") -> None:
    """Write one line of JSON, and the bytes that it announces."""
    content = data if isinstance(data, bytes) else data.tobytes()
    target.write(json.dumps({**message, "n_bytes": len(content)}).encode() + b"\n")
    target.write(content)
    target.flush()


def encode_preview(image: Image) -> bytes:
    """Return an image (H, W, 3), uint8 RGB, as JPEG bytes, its longer side at most ``PREVIEW_PX``."""
    from PIL import Image as Pillow

    preview = Pillow.fromarray(image)
    preview.thumbnail((PREVIEW_PX, PREVIEW_PX))
    stream = io.BytesIO()
    preview.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _import_decoders() -> None:
    """Load the libraries before the first task, whose time is limited."""
    import cv2
    import PIL.Image
    import tifffile

    cv2.setNumThreads(1)
    for module in (PIL.Image, tifffile):
        module.__name__  # noqa: B018 - imported for their loading time


def _limit_memory(max_pixels: int) -> None:
    """Let the process grow by what the largest allowed image needs, where the system can limit that."""
    try:
        import resource

        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        most = now + _SPARE_BYTES + _BYTES_A_PIXEL * max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        return
