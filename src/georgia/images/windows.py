"""Windows of frames: boxes checked against their frame, cut out of it, each frame decoded once.

A window's path, ``frame.png#xywh=10,20,64,64``, is written and read by ``records``; a box counts px of the
frame as ``read_image`` returns it, with Exif orientation applied.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.errors import UnreadableImageError
from georgia.records import Box, split_window

Image = npt.NDArray[np.uint8]
# Programs round a box's corner and its size on their own: so far it may reach beyond its frame.
_ROUNDING_PX = 1
# No image is that wide: 200 million pixels are allowed.
_MOST_PX = 200_000_000
# Frames that stay decoded: windows come in order, so threads are at the last of one frame or in the next.
_N_FRAMES_KEPT = 2


def make_box(values: Sequence[float], size: tuple[int, int] | None = None) -> Box:
    """Return left, top, width and height as whole px: edges are rounded to the nearest (half up).

    With the ``size`` (width, height) of the frame, px, an edge up to 1 px beyond it is set onto it.

    >>> make_box([9.6, 20.4, 64, 64]), make_box([-0.7, 0, 10, 10.4], (640, 10))
    ((10, 20, 64, 64), (0, 0, 9, 10))

    Raises:
        ValueError: a number is not finite, the box is empty or lies beyond the frame; one clause.
    """
    said = ",".join(f"{value:g}" for value in values)
    if len(values) != 4 or not all(math.isfinite(value) and abs(value) <= _MOST_PX for value in values):
        raise ValueError(f"has no box: x, y, width and height must be numbers of px; got {said}")
    x, y, width, height = values
    if width <= 0 or height <= 0:
        raise ValueError(f"has the empty box {said}: width and height must be above 0")
    left, top, right, bottom = (math.floor(edge + 0.5) for edge in (x, y, x + width, y + height))
    most_right, most_bottom = size or (_MOST_PX, _MOST_PX)
    over = max(-x, -y, x + width - most_right, y + height - most_bottom)
    if over > _ROUNDING_PX:
        frame = f"its frame of {size[0]}×{size[1]} px" if size else "0"
        raise ValueError(f"has the box {said}, which lies beyond {frame}")
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, most_right), min(bottom, most_bottom)
    if right <= left or bottom <= top:
        raise ValueError(f"has the box {said}, which holds no whole pixel")
    return left, top, right - left, bottom - top


def check_box(box: Box, width_px: int, height_px: int) -> None:
    """Reject a box that is empty or does not lie within its frame.

    Raises:
        UnreadableImageError: it does not; one clause.
    """
    left, top, width, height = box
    if width < 1 or height < 1 or left + width > width_px or top + height > height_px:
        said = ",".join(map(str, box))
        raise UnreadableImageError(
            f"its box {said} does not lie within the frame of {width_px}×{height_px} px"
        )


def crop(frame: Image, box: Box) -> Image:
    """Return the pixels (height, width, 3) of a box of a frame (H, W, 3), uint8; a copy.

    Raises:
        UnreadableImageError: the box does not lie within the frame.
    """
    check_box(box, frame.shape[1], frame.shape[0])
    left, top, width, height = box
    return frame[top : top + height, left : left + width].copy()


def name_crop(path: Path) -> str:
    """Return the name that an image has as a file of its own: a window's is new, and that of a PNG.

    >>> name_crop(Path("no/such/f.tif#xywh=10,0,64,64")), name_crop(Path("run/f.tif"))
    ('f_10_0_64_64.png', 'f.tif')
    """
    file, box = split_window(path)
    return path.name if box is None else f"{file.stem}_{'_'.join(map(str, box))}.png"


class FrameCache:
    """The frames decoded last, for threads that read windows in the order of their frames."""

    def __init__(self) -> None:
        self._frames: OrderedDict[Path, Future[Image]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, file: Path, decode: Callable[[], Image]) -> Image:
        """Return a frame's pixels, which are not to be written to; whoever comes first decodes it.

        Raises:
            UnreadableImageError: ``decode`` does, for the first and for all that wait.
        """
        with self._lock:
            found = self._frames.get(file)
            mine: Future[Image] = Future()
            if found is None:
                self._frames[file] = mine
                while len(self._frames) > _N_FRAMES_KEPT:
                    self._frames.popitem(last=False)
        if found is not None:
            return found.result()
        try:
            mine.set_result(decode())
        except BaseException as error:
            mine.set_exception(error)
            raise
        return mine.result()
