"""The pixels of an item as a page shows them: the item itself, and what surrounds it."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from georgia.errors import InputError
from georgia.images.decode import Image, read_frame_info, read_image, read_info
from georgia.images.windows import FrameCache, crop
from georgia.label.records import Item, Surroundings
from georgia.records import Box

MOST_PX = 4096
# What is shown around a window, in sides of it.
_AROUND = 5
_N_KEPT = 128


class PixelReader:
    """Reads items as PNG; the last ones are kept, and the frames decoded last."""

    def __init__(self) -> None:
        self._frames = FrameCache()
        self._kept: OrderedDict[tuple[str, int, bool], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, item: Item, size: int, around: bool) -> bytes:
        """Return a PNG whose longer side is at most ``size`` px; never larger than the file has it.

        Raises:
            UnreadableImageError: the file cannot be read; one clause.
            InputError: ``size`` is not possible.
        """
        if not 1 <= size <= MOST_PX:
            raise InputError("Cannot show the item", needs=f"a size of 1 to {MOST_PX} px is needed", got=size)
        key = item.path, size, around
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if around and item.box is not None:
            frame = self._frames.read(item.file, lambda: read_image(item.file))
            pixels = crop(frame, find_region(item.box, frame.shape[1], frame.shape[0]))
        else:
            pixels = read_image(item.image_path, frames=self._frames)
        data = encode_png(pixels, size)
        with self._lock:
            self._kept[key] = data
            while len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        return data

    def find_surroundings(self, item: Item) -> Surroundings:
        """Return where the item lies in what is shown around it.

        Raises:
            UnreadableImageError: the file cannot be read; one clause.
        """
        info = read_info(item.image_path) if item.box is None else read_frame_info(item.file)
        if item.box is None:
            return Surroundings(None, info.width_px, info.height_px)
        left, top, width, height = find_region(item.box, info.width_px, info.height_px)
        box = (item.box[0] - left, item.box[1] - top, item.box[2], item.box[3])
        return Surroundings(box, width, height)


def find_region(box: Box, width_px: int, height_px: int) -> Box:
    """Return the part of a frame that is shown around a window: five times its side, within the frame.

    >>> find_region((0, 0, 100, 100), 640, 480)
    (0, 0, 500, 480)
    """
    left, top, width, height = box
    region_width, region_height = min(_AROUND * width, width_px), min(_AROUND * height, height_px)
    region_left = min(max(0, left + width // 2 - region_width // 2), width_px - region_width)
    region_top = min(max(0, top + height // 2 - region_height // 2), height_px - region_height)
    return region_left, region_top, region_width, region_height


def encode_png(pixels: Image, size: int) -> bytes:
    """Return pixels (H, W, 3), uint8, as PNG, made smaller where a side is longer than ``size`` px."""
    from PIL import Image as Pillow

    image = Pillow.fromarray(pixels)
    if max(image.size) > size:
        image.thumbnail((size, size))
    stream = io.BytesIO()
    # Little compression: the page is on the same machine, and each image is awaited.
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
