"""The map of clusters as a still picture: points by cluster, with names or thumbnails that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.cluster import Assignment, Clustering
from georgia.records import Failure
from georgia.report.canvas import INK, MUTED, RULE, figure_png, save_png, shorten
from georgia.report.contact_sheet import read_thumbnails

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Source: Okabe and Ito 2008, in an order in which neighbours differ most; then shapes tell apart.
CLUSTER_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8a7a00", "#4d4d4d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MAP_FILE = "cluster_map.png"
_SIZE_IN, _MOST_NAMES = (11.0, 8.4), 60
_THUMBNAIL_PX, _MOST_THUMBNAILS = 112, 90
# Thumbnails nearer than this in both directions, in cells of the grid, would overlap.
_GAP_CELLS = 0.78


def save_cluster_map(result: Clustering, folder: Path) -> Path:
    """Write the map as a PNG and return its path.

    Raises:
        OSError: the folder cannot be written to.
    """
    save_png(folder / MAP_FILE, figure_png(draw_cluster_map, result, _SIZE_IN, f"Clusters: {result.model}"))
    return folder / MAP_FILE


def cluster_color(number: int) -> str:
    """Return the colour of a cluster number from 1."""
    return CLUSTER_COLORS[(number - 1) % len(CLUSTER_COLORS)]


def draw_cluster_map(result: Clustering, axes: Axes) -> dict[str, Any]:
    """Draw all pictures in the plane, clusters by colour, labels by shape; few have names."""
    rows = result.assignments
    points = np.array([(one.x, one.y) for one in rows])
    labels = result.labels
    area = float(np.clip(2400 / np.sqrt(len(rows)) / 3, 9, 60))
    for summary in result.clusters:
        for at, label in enumerate(labels or ("",)):
            own = [i for i, one in enumerate(rows) if one.cluster == summary.number and one.label == label]
            style: dict[str, Any] = {"color": cluster_color(summary.number), "linewidth": 0.3}
            alpha = 0.85 if len(rows) < 400 else 0.55
            marker = MARKERS[at % len(MARKERS)]
            axes.scatter(
                points[own, 0], points[own, 1], s=area, marker=marker, alpha=alpha, edgecolor="white", **style
            )
    shown = choose_apart(points, _MOST_THUMBNAILS)
    _draw_thumbnails(axes, [rows[at] for at in shown])
    if len(rows) <= _MOST_NAMES:
        for one in rows:
            axes.annotate(
                shorten(one.file.name, 18),
                (one.x, one.y),
                (0, -7),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6.5,
                color=MUTED,
                parse_math=False,
            )
    _draw_legend(axes, result)
    first, second = (f"principal component ({100 * share:.0f} % of the spread)" for share in result.explained)
    axes.set_xlabel(f"first {first}")
    axes.set_ylabel(f"second {second}")
    axes.grid(color=RULE, linewidth=0.7)
    axes.margins(0.07)
    return {"n": len(rows), "thumbnails": len(shown), "sizes": [one.size for one in result.clusters]}


def choose_apart(points: npt.NDArray[np.float64], most: int, cells: int = 15) -> list[int]:
    """Return positions of points for thumbnails: the middle one of each cell of a grid, kept apart.

    The fullest cells come first, up to ``most``.
    """
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-12)
    shape = np.array([cells, max(2, round(cells * 0.72))])
    at = np.minimum(((points - low) / span * shape).astype(int), shape - 1)
    by_cell: dict[tuple[int, int], list[int]] = {}
    for index, (column, row) in enumerate(at.tolist()):
        by_cell.setdefault((column, row), []).append(index)
    chosen: list[int] = []
    for cell, members in sorted(by_cell.items(), key=lambda item: (-len(item[1]), item[0])):
        middle = low + (np.array(cell) + 0.5) / shape * span
        distance = (((points[members] - middle) / span) ** 2).sum(axis=1)
        best = members[int(np.argmin(distance))]
        gaps = np.abs(points[chosen] - points[best]) / span * shape
        if len(chosen) < most and not (gaps < _GAP_CELLS).all(axis=1).any():
            chosen.append(best)
    return sorted(chosen)


def _draw_thumbnails(axes: Axes, rows: Sequence[Assignment]) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    for position, image in read_thumbnails([one.file for one in rows], _THUMBNAIL_PX):
        if isinstance(image, Failure):
            continue
        one = rows[position]
        style = {"edgecolor": cluster_color(one.cluster), "linewidth": 1.6, "boxstyle": "square,pad=0.04"}
        picture = OffsetImage(np.asarray(image), zoom=0.25)
        box = AnnotationBbox(picture, (one.x, one.y), frameon=True, pad=0.0, bboxprops=style)
        axes.add_artist(box)


def _draw_legend(axes: Axes, result: Clustering) -> None:
    from matplotlib.lines import Line2D

    handles, texts = [], []
    for one in result.clusters:
        handles.append(
            Line2D([], [], marker="o", linestyle="", color=cluster_color(one.number), markersize=8)
        )
        common = next(iter(one.labels), "")
        share = f", {100 * one.purity:.0f} % {shorten(common, 20)}" if one.purity is not None else ""
        texts.append(f"cluster {one.number}: {one.size:,}{share}")
    for at, label in enumerate(result.labels if len(result.labels) > 1 else ()):
        marker = MARKERS[at % len(MARKERS)]
        style: dict[str, Any] = {"color": INK, "markersize": 7, "markerfacecolor": "none"}
        handles.append(Line2D([], [], marker=marker, linestyle="", **style))
        texts.append(shorten(label, 28).replace("$", r"\$"))
    axes.legend(handles, texts, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
