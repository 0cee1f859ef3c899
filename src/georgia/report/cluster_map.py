"""The map of clusters as a still image: points by cluster, with names or thumbnails that do not overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.cluster import Assignment, Clustering
from georgia.files import write_bytes
from georgia.images.listing import natural_key
from georgia.records import Failure
from georgia.report.canvas import INK, MUTED, RULE, figure_png, shorten
from georgia.report.thumbnails import read_thumbnails

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

FloatArray = npt.NDArray[np.float64]
Size = tuple[float, float]

# Source: Okabe and Ito 2008, in an order in which neighbours differ most; from the ninth on, each the colour
# that lies farthest (CIEDE2000, also as red-green blind eyes see it: Machado 2009) from all before it.
CLUSTER_COLORS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8a7a00", "#4d4d4d"),
    *("#2211aa", "#880000", "#661155", "#337777", "#bbbb88", "#aa66ff", "#335533", "#bb1166"),
    *("#ee5566", "#7700ff", "#994400", "#886644", "#00ccaa", "#cc11bb", "#664488", "#55ccdd"),
)
# Images of no label, or of one for which no colour is left.
OTHER_COLOR = "#9aa5b1"
# Shapes that are told apart at the size of a dot; more labels than these are not told apart by shape.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "d", (4, 1, 0.0))
_UNLABELLED = "."
MAP_FILE = "cluster_map.png"
_SIZE_IN, _MOST_NAMES, _MOST_LEGEND_ROWS = (11.0, 8.4), 60, 36
_THUMBNAIL_PX, _MOST_THUMBNAILS, _ZOOM = 112, 90, 0.25
# Thumbnails nearer than this in both directions, in cells of the grid, would overlap.
_GAP_CELLS = 0.82
# Room around a name: what the title and the last fonts still move stays below it.
_NAME_GAP_PT, _NAME_PAD_PT, _NUMBER_PT = 3.0, 2.0, 9.0


def save_cluster_map(result: Clustering, folder: str | Path) -> Path:
    """Write the map as a PNG and return its path.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    write_bytes(
        folder / MAP_FILE, figure_png(draw_cluster_map, result, _SIZE_IN, f"Clusters: {result.model}")
    )
    return folder / MAP_FILE


def cluster_color(number: int) -> str:
    """Return the colour of a cluster number from 1; beyond the last colour they repeat."""
    return CLUSTER_COLORS[(number - 1) % len(CLUSTER_COLORS)]


def label_colors(result: Clustering) -> list[str]:
    """Return a colour for each label, in their order; only the commonest have one if there are too many."""
    counts = Counter(row.label for row in result.assignments if row.label)
    by_size = sorted(counts, key=lambda label: (-counts[label], natural_key(label)))
    colored = [label for label in result.labels if label in by_size[: len(CLUSTER_COLORS)]]
    colors = dict(zip(colored, CLUSTER_COLORS, strict=False))
    return [colors.get(label, OTHER_COLOR) for label in result.labels]


def find_centres(result: Clustering) -> dict[int, int]:
    """Return, for each cluster's number, the position of the image nearest to its centre in the plane."""
    points, numbers = _read_points(result), np.array([row.cluster for row in result.assignments])
    centres = {}
    for cluster in result.clusters:
        own = np.flatnonzero(numbers == cluster.number)
        distance = ((points[own] - points[own].mean(axis=0)) ** 2).sum(axis=1)
        centres[cluster.number] = int(own[int(np.argmin(distance))])
    return centres


def draw_cluster_map(result: Clustering, axes: Axes) -> dict[str, Any]:
    """Draw all images in the plane, clusters by colour and number, labels by shape; few have names."""
    rows, points = result.assignments, _read_points(result)
    _draw_dots(axes, result, points)
    centres = find_centres(result)
    shown = choose_apart(points, _MOST_THUMBNAILS, first=list(centres.values()))
    sizes = _draw_thumbnails(axes, rows, shown)
    _draw_numbers(axes, points, centres, sizes)
    _draw_legend(axes, result)
    _dress_axes(axes, result, points)
    n_names = _draw_names(axes, rows, points, centres, sizes) if len(rows) <= _MOST_NAMES else 0
    counts = {"n": len(rows), "thumbnails": len(shown), "names": n_names}
    return {**counts, "sizes": [cluster.size for cluster in result.clusters]}


def choose_apart(points: FloatArray, most: int, cells: int = 15, first: Sequence[int] = ()) -> list[int]:
    """Return positions of points for thumbnails: one of each cell of a grid, near its middle, kept apart.

    Those of ``first`` come first, then the fullest cells, up to ``most``.
    """
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-12)
    shape = np.array([cells, max(2, round(cells * 0.72))])
    at = np.minimum(((points - low) / span * shape).astype(int), shape - 1)
    by_cell: dict[tuple[int, int], list[int]] = {}
    for index, (column, row) in enumerate(at.tolist()):
        by_cell.setdefault((column, row), []).append(index)
    chosen: list[int] = []

    def find_free(members: Sequence[int]) -> list[int]:
        gaps = np.abs(points[members][:, None] - points[chosen][None]) / span * shape
        is_free = ~(gaps < _GAP_CELLS).all(axis=2).any(axis=1)
        return [member for member, free in zip(members, is_free.tolist(), strict=True) if free]

    for position in first:
        chosen += find_free([position])
    for cell, members in sorted(by_cell.items(), key=lambda item: (-len(item[1]), item[0])):
        if free := find_free(members):
            middle = low + (np.array(cell) + 0.5) / shape * span
            distance = (((points[free] - middle) / span) ** 2).sum(axis=1)
            chosen.append(free[int(np.argmin(distance))])
    chosen = chosen[:most]
    return sorted(chosen)


def _read_points(result: Clustering) -> FloatArray:
    return np.array([(row.x, row.y) for row in result.assignments])


def _choose_shapes(result: Clustering) -> dict[str, Any]:
    """Return the shape of each label; none where there are more labels than shapes."""
    labels = result.labels
    if not 1 < len(labels) <= len(MARKERS):
        return {}
    shapes: dict[str, Any] = dict(zip(labels, MARKERS, strict=False))
    return {**shapes, "": _UNLABELLED} if any(not row.label for row in result.assignments) else shapes


def _draw_dots(axes: Axes, result: Clustering, points: FloatArray) -> None:
    rows, shapes = result.assignments, _choose_shapes(result)
    area = float(np.clip(2400 / np.sqrt(len(rows)) / 3, 9, 60))
    style: dict[str, Any] = {"alpha": 0.85 if len(rows) < 400 else 0.55, "linewidth": 0.3}
    groups: dict[tuple[int, str], list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault((row.cluster, row.label if shapes else ""), []).append(position)
    for (number, label), own in sorted(groups.items()):
        marker, color = shapes.get(label, MARKERS[0]), cluster_color(number)
        axes.scatter(
            points[own, 0], points[own, 1], s=area, marker=marker, color=color, edgecolor="white", **style
        )


def _draw_thumbnails(axes: Axes, rows: Sequence[Assignment], shown: Sequence[int]) -> dict[int, Size]:
    """Draw the images at some positions; return width and height, in points, of those that can be read."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    sizes = {}
    for at, image in read_thumbnails([rows[position].file for position in shown], _THUMBNAIL_PX):
        if isinstance(image, Failure):
            continue
        row = rows[shown[at]]
        style = {"edgecolor": cluster_color(row.cluster), "linewidth": 1.6, "boxstyle": "square,pad=0.04"}
        thumbnail = OffsetImage(np.asarray(image), zoom=_ZOOM)
        box = AnnotationBbox(thumbnail, (row.x, row.y), frameon=True, pad=0.0, bboxprops=style)
        axes.add_artist(box)
        sizes[shown[at]] = (image.width * _ZOOM + 2, image.height * _ZOOM + 2)
    return sizes


def _draw_numbers(
    axes: Axes, points: FloatArray, centres: Mapping[int, int], sizes: Mapping[int, Size]
) -> None:
    """Write each cluster's number at its centre: on the corner of the thumbnail there, if there is one."""
    for number, position in centres.items():
        width, height = sizes.get(position, (0.0, 0.0))
        edge = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": cluster_color(number)}
        axes.annotate(
            str(number),
            (points[position, 0], points[position, 1]),
            (-width / 2, height / 2),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_NUMBER_PT,
            fontweight="bold",
            color=INK,
            bbox={**edge, "linewidth": 1.6},
            zorder=6,
        )


def _draw_names(
    axes: Axes,
    rows: Sequence[Assignment],
    points: FloatArray,
    centres: Mapping[int, int],
    sizes: Mapping[int, Size],
) -> int:
    """Write file names below their images, or above; return how many found a free place."""
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    if figure is None:
        return 0
    # Where things lie is known when the layout has been made.
    figure.draw_without_rendering()
    px, places = figure.dpi / 72, axes.transData.transform(points)
    dot = (6.0, 6.0)
    boxes = [_frame(place, sizes.get(at, dot), px) for at, place in enumerate(places)]
    corners = [places[at] + np.array((-0.5, 0.5)) * sizes.get(at, (0, 0)) * px for at in centres.values()]
    numbers = [_frame(place, (2 * _NUMBER_PT, 2 * _NUMBER_PT), px) for place in corners]
    taken, n_names = [*boxes, *numbers], 0
    for at in sorted(range(len(rows)), key=lambda at: (at not in sizes, at)):
        if any(boxes[other].contains(*places[at]) for other in sizes if other != at):
            continue
        others = [*taken[:at], *taken[at + 1 :]]
        for way, anchor in ((-1, "top"), (1, "bottom")):
            text = axes.annotate(
                shorten(rows[at].file.name, 18),
                (points[at, 0], points[at, 1]),
                (0, way * (sizes.get(at, dot)[1] / 2 + _NAME_GAP_PT)),
                textcoords="offset points",
                ha="center",
                va=anchor,
                fontsize=6.5,
                color=MUTED,
                parse_math=False,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                zorder=5,
            )
            box = text.get_window_extent().padded(_NAME_PAD_PT * px)
            if not box.count_overlaps(others) and _lies_in(box, axes.bbox):
                taken.append(box)
                n_names += 1
                break
            text.remove()
    return n_names


def _frame(middle: npt.NDArray[np.float64], size_pt: Size, px: float) -> Bbox:
    """Return the box around a point on the canvas, in pixels."""
    from matplotlib.transforms import Bbox

    half = np.array(size_pt) * px / 2
    return Bbox([middle - half, middle + half])


def _lies_in(inner: Bbox, outer: Any) -> bool:
    return bool(
        outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1
    )


def _dress_axes(axes: Axes, result: Clustering, points: FloatArray) -> None:
    """Name the axes and set their ends; one along which nothing differs shows its zero alone."""
    spans = np.ptp(points, axis=0)
    names = [
        f"{100 * fraction:.0f} % of the variance" if span > 0 else "no variance"
        for fraction, span in zip(result.explained, spans, strict=True)
    ]
    axes.set_xlabel(f"first principal component ({names[0]})")
    axes.set_ylabel(f"second principal component ({names[1]})")
    axes.grid(color=RULE, linewidth=0.7)
    axes.margins(0.07)
    half = float(spans.max()) / 2 or 1.0
    if spans[0] == 0:
        axes.set_xlim(-half, half)
        axes.set_xticks([0])
    if spans[1] == 0:
        axes.set_ylim(-half, half)
        axes.set_yticks([0])


def _draw_legend(axes: Axes, result: Clustering) -> None:
    from matplotlib.lines import Line2D

    shapes, n_labels = _choose_shapes(result), len(result.labels)
    keys = [_make_key(shape, INK, "none") for shape in shapes.values()]
    names = [shorten(label, 28) or "no label" for label in shapes]
    if n_labels > len(MARKERS):
        keys += [Line2D([], [], linestyle="")] * 2
        names += [f"{n_labels:,} labels, too many for shapes;", "cluster_map.html colours by label"]
    handles, texts = [], []
    n_rows = _MOST_LEGEND_ROWS - len(names) - 1
    for cluster in result.clusters[: n_rows if len(result.clusters) > n_rows + 1 else None]:
        color = cluster_color(cluster.number)
        handles.append(_make_key("o", color, color))
        common = shorten(next(iter(cluster.labels), ""), 20)
        purity = f", {100 * cluster.purity:.0f} % {common}" if cluster.purity is not None else ""
        texts.append(f"cluster {cluster.number}: {cluster.size:,}{purity}")
    if len(texts) < len(result.clusters):
        handles.append(Line2D([], [], linestyle=""))
        texts.append(f"and {len(result.clusters) - len(texts):,} smaller ones")
    handles, texts = handles + keys, texts + names
    legend = axes.legend(handles, texts, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _make_key(marker: Any, color: str, face: str) -> Any:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"color": color, "markerfacecolor": face, "markersize": 7.5}
    return Line2D([], [], marker=marker, linestyle="", **style)
