"""The map of clusters as one page to walk around in: no connection, no other file is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from georgia.cluster import Clustering
from georgia.files import write_text
from georgia.records import Failure
from georgia.report.cluster_map import (
    CLUSTER_COLORS,
    OTHER_COLOR,
    cluster_color,
    find_centres,
    label_colors,
)
from georgia.report.render import name_file, render_template
from georgia.report.thumbnails import image_url, read_thumbnails

PAGE_FILE = "cluster_map.html"
# Thumbnails shrink with the number of images, so that 14,000 of them stay below about 10 MB.
_TILE_PX = ((1500, 64), (6000, 40), (1_000_000_000, 28))
_TILES_A_ROW = 32


def save_cluster_page(result: Clustering, folder: str | Path) -> Path:
    """Write the page whole or not at all and return its path.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    write_text(folder / PAGE_FILE, render_cluster_page(result))
    return folder / PAGE_FILE


def render_cluster_page(result: Clustering) -> str:
    """Return the page as HTML: the map on a canvas, a table of clusters, and every image's thumbnail."""
    rows = result.assignments
    labels = list(result.labels)
    tile_px = next(size for most, size in _TILE_PX if len(rows) <= most)
    data: dict[str, Any] = {
        "x": _round([row.x for row in rows]),
        "y": _round([row.y for row in rows]),
        "cluster": [row.cluster for row in rows],
        "label": [labels.index(row.label) if row.label else -1 for row in rows],
        "name": [name_file(row.file) for row in rows],
        "labels": labels,
        "colors": list(CLUSTER_COLORS),
        "labelColors": label_colors(result),
        "otherColor": OTHER_COLOR,
        "centres": list(find_centres(result).items()),
        "tile": tile_px,
        "tilesARow": _TILES_A_ROW,
        "sheets": _make_sheets([row.file for row in rows], tile_px),
    }
    # "</" would end the script that holds the data; before a percent sign, the page's spaces do not break.
    text = (
        json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace(" %", "\\u0020%")
    )
    return render_template(
        "cluster.html.jinja",
        result=result,
        data=text,
        color_of=cluster_color,
        n_colors=len(CLUSTER_COLORS),
    )


def _round(values: Sequence[float]) -> list[float]:
    """Return numbers with as many digits as a map needs that is enlarged 400 times."""
    span = max(values) - min(values)
    digits = max(0, 5 - math.floor(math.log10(span))) if span > 0 else 4
    return [round(value, digits) for value in values]


def _make_sheets(files: Sequence[Path], tile_px: int) -> list[str]:
    """Return all thumbnails, in order, on a few large JPEGs as data URLs; unreadable ones stay grey."""
    from PIL import Image

    per_sheet = _TILES_A_ROW * _TILES_A_ROW
    sheets = []
    for start in range(0, len(files), per_sheet):
        part = files[start : start + per_sheet]
        n_rows = -(-len(part) // _TILES_A_ROW)
        sheet = Image.new("RGB", (_TILES_A_ROW * tile_px, n_rows * tile_px), "#e9edf1")
        for position, image in read_thumbnails(part, tile_px):
            if isinstance(image, Failure):
                continue
            row, column = divmod(position, _TILES_A_ROW)
            left = column * tile_px + (tile_px - image.width) // 2
            sheet.paste(image, (left, row * tile_px + (tile_px - image.height) // 2))
        sheets.append(image_url(sheet, quality=76))
    return sheets
