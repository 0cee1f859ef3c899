"""The frames that tell a batch's story: first, alarms, the highest fraction, last; each with its windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from georgia.errors import UnreadableImageError
from georgia.images.decode import Image, decode_image
from georgia.monitor.file_names import read_recorded_file
from georgia.monitor.result import FrameStatus
from georgia.report.canvas import BLUE, ORANGE, VERMILION
from georgia.report.thumbnails import image_url
from georgia.text import make_printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image as PillowImage

    from georgia.monitor.batch_frames import BatchFrames
    from georgia.monitor.records import Alarm
    from georgia.monitor.result import FrameResult, TileMap

# Pixels of a frame (H, W, 3), uint8, or in one clause why there are none.
FrameImages = Callable[["FrameResult"], "Image | str"]
# The longest side of a frame on the page, px, and how many there are at most.
_FRAME_PX, _MOST_FRAMES, _MOST_ALARMS = 720, 10, 4
_UNKNOWN_RGB = "#8a8a8a"
_OTHERS = (BLUE, "#009E73", ORANGE, "#CC79A7", "#56B4E9")
# States of a field that is not a slurry, of which the first frame is shown.
_FIELDS = (
    *(FrameStatus.UNKNOWN_MATERIAL, FrameStatus.CAMERA_BLIND, FrameStatus.CLEAR),
    *(FrameStatus.DARK, FrameStatus.FOULED),
)


@dataclass(frozen=True)
class KeyFrame:
    """A frame with why it is shown, its image as a URL, and what is to be said of that image.

    ``counts`` are (what a window shows, colour, how many), the charted class first.
    """

    reasons: tuple[str, ...]
    frame: FrameResult
    source: str
    note: str
    counts: tuple[tuple[str, str, int], ...]


def choose_frames(frames: BatchFrames, alarms: Sequence[Alarm]) -> list[tuple[int, tuple[str, ...]]]:
    """Return frames by number, oldest first, each with why it is shown; ten at most."""
    if not len(frames):
        return []
    wanted: dict[int, list[str]] = {}

    def add(index: int, reason: str) -> None:
        wanted.setdefault(int(frames.ids[index]), []).append(reason)

    add(0, "first frame")
    add(len(frames) - 1, "last frame")
    ewma = frames.numbers["ewma"]
    if np.isfinite(ewma).any():
        add(int(np.nanargmax(ewma)), "highest smoothed fraction")
    known = {int(number): at for at, number in enumerate(frames.ids)}
    raised = [alarm for alarm in alarms if alarm.frame_id in known]
    for alarm in raised if len(raised) <= _MOST_ALARMS else [*raised[: _MOST_ALARMS - 1], raised[-1]]:
        add(known[int(alarm.frame_id or 0)], f"alarm {alarm.id} raised")
    statuses = frames.texts["status"]
    for field in (str(FrameStatus.ANALYSED), *map(str, _FIELDS)):
        first = next((at for at, status in enumerate(statuses) if status == field), 0)
        if first and len(wanted) < _MOST_FRAMES:
            is_analysed = field == FrameStatus.ANALYSED
            add(first, "first frame with crystals" if is_analysed else f"first frame in state “{field}”")
    return [(number, tuple(wanted[number])) for number in sorted(wanted)]


def read_images(folder: Path) -> FrameImages:
    """Return what reads frames from a folder: the file that was analysed, and no other."""

    def read(frame: FrameResult) -> Image | str:
        if not folder.is_dir():
            return f"the folder of the frames, {make_printable(folder.name)!r}, is not there"
        try:
            return decode_image(read_recorded_file(folder, frame.file, frame.key.sha256))
        except UnreadableImageError as error:
            return str(error)

    return read


def show_frame(
    frame: FrameResult, tiles: TileMap | None, reasons: tuple[str, ...], images: FrameImages
) -> KeyFrame:
    """Return a frame with its windows laid over it; over grey where its image is not at hand."""
    found = images(frame)
    colors = _choose_colors(tiles, frame.impurity) if tiles is not None else {}
    counts = tuple(
        (name, color, n)
        for name, color in colors.items()
        if tiles is not None and (n := sum(tiles.label(at) == name for at in range(len(tiles.codes))))
    )
    note = ""
    if isinstance(found, str):
        note = f"No image: {found}."
        note += " The windows are those of the record." if tiles is not None else ""
    if tiles is None:
        note += f"{' ' if note else ''}Its windows are not in the store."
        if isinstance(found, str):
            return KeyFrame(reasons, frame, "", note, ())
    canvas = _make_canvas(found, tiles)
    if tiles is not None:
        _draw_windows(canvas, tiles, colors, frame.impurity)
    return KeyFrame(reasons, frame, image_url(canvas, 80), note, counts)


def _choose_colors(tiles: TileMap, impurity: str) -> dict[str, str]:
    others = [name for name in tiles.names if name != impurity]
    colors = {impurity: VERMILION} if impurity in tiles.names else {}
    colors |= {name: _OTHERS[at % len(_OTHERS)] for at, name in enumerate(others)}
    return {**colors, "unknown": _UNKNOWN_RGB}


def _make_canvas(found: Image | str, tiles: TileMap | None) -> PillowImage:
    """Return the frame, or a grey field of its shape, at the size of the page."""
    from PIL import Image as Pillow

    if isinstance(found, str):
        width, height = (tiles.width_px, tiles.height_px) if tiles is not None else (4, 3)
        scale = _FRAME_PX / max(width, height, 1)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return Pillow.new("RGB", size, "#e4e8ec")
    image = Pillow.fromarray(found)
    scale = min(1.0, _FRAME_PX / max(image.size))
    # Small frames are enlarged, so that the lines of windows do not cover them.
    scale = max(scale, min(8.0, 0.5 * _FRAME_PX / max(image.size)))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    shown = image.resize(size, Pillow.Resampling.LANCZOS if scale < 2 else Pillow.Resampling.NEAREST)
    return shown.convert("RGB")


def _draw_windows(canvas: PillowImage, tiles: TileMap, colors: dict[str, str], impurity: str) -> None:
    """Draw a rectangle for each window that is not empty; those of the charted class last, and thicker."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(canvas)
    # The image may be a smaller one of the frame than what was analysed.
    scale = canvas.width / max(1, tiles.width_px)
    labels = [tiles.label(at) for at in range(len(tiles.codes))]
    for at in sorted(range(len(labels)), key=lambda at: labels[at] == impurity):
        color = colors.get(labels[at])
        if color is None:  # empty
            continue
        left, top, width, height = (float(value) * scale for value in tiles.boxes[at])
        inset = 2.0 if min(width, height) > 12 else 0.0
        box = (left + inset, top + inset, left + width - inset - 1, top + height - inset - 1)
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        thick = 4 if labels[at] == impurity else 2
        pen.rectangle(box, outline="white", width=thick + 2)
        pen.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=color, width=thick)
