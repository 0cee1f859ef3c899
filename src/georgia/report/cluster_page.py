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
from georgia.report.contact_sheet import encode_jpeg, read_thumbnails
from georgia.report.gallery import data_url, name_file
from georgia.report.page import open_templates
from georgia.report.tables import format_percent

PAGE_FILE = "cluster_map.html"
# Thumbnails shrink with the number of images, so that 14,000 of them stay below about 10 MB.
_TILE_PX = ((1500, 64), (6000, 40), (1_000_000_000, 28))
_TILES_A_ROW = 32


def save_cluster_page(result: Clustering, folder: Path) -> Path:
    """Write the page whole or not at all and return its path.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_text(folder / PAGE_FILE, render_cluster_page(result))
    return folder / PAGE_FILE


def render_cluster_page(result: Clustering) -> str:
    """Return the page as HTML: the map on a canvas, a table of clusters, and every image's thumbnail."""
    rows = result.assignments
    labels = list(result.labels)
    tile_px = next(size for most, size in _TILE_PX if len(rows) <= most)
    data: dict[str, Any] = {
        "x": _round([one.x for one in rows]),
        "y": _round([one.y for one in rows]),
        "cluster": [one.cluster for one in rows],
        "label": [labels.index(one.label) if one.label else -1 for one in rows],
        "name": [name_file(one.file) for one in rows],
        "labels": labels,
        "colors": list(CLUSTER_COLORS),
        "labelColors": label_colors(result),
        "otherColor": OTHER_COLOR,
        "centres": list(find_centres(result).items()),
        "tile": tile_px,
        "tilesARow": _TILES_A_ROW,
        "sheets": _make_sheets([one.file for one in rows], tile_px),
    }
    # "</" would end the script that holds the data.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = open_templates().get_template("cluster.html.jinja")
    words = {"color_of": cluster_color, "n_colors": len(CLUSTER_COLORS), "percent": format_percent}
    html = template.render(result=result, data=text, **words)
    return html.replace(" %<", "\N{NO-BREAK SPACE}%<")


def _round(values: Sequence[float]) -> list[float]:
    """Return numbers with as many digits as a map needs that is looked at 400 times nearer than whole."""
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
        sheets.append(data_url(encode_jpeg(sheet, 76), "image/jpeg"))
    return sheets
