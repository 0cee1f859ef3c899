"""The style of every figure, and how it becomes a PNG, through matplotlib's objects only.

No pyplot and no rcParams are touched, so that figures can be made in any thread.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from georgia.report.fonts import use_fonts
from georgia.report.thumbnails import data_url
from georgia.text import make_printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# Source: Okabe and Ito 2008, "Color universal design": told apart by all common kinds of sight.
BLUE, ORANGE, VERMILION = "#0072B2", "#E69F00", "#D55E00"
INK, MUTED, RULE = "#1f2933", "#5f6b7a", "#d5dae1"
_LONGEST_NAME = 22

Draw = Callable[[Any, "Axes"], dict[str, Any]]
Size = tuple[float, float]


def make_figure(draw: Draw, result: Any, size_in: Size = (6.4, 4.4), title: str = "") -> Figure:
    """Return a figure of ``size_in`` inches; ``title`` (a study's name) stands above it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    draw(result, figure.add_subplot())
    for axes in figure.axes:
        _dress(axes)
    if title:
        style = {"fontsize": 12.5, "fontweight": "bold", "color": INK}
        figure.suptitle(shorten(title, 64), parse_math=False, **style)
    use_fonts(figure)
    return figure


def figure_png(draw: Draw, result: Any, size_in: Size = (6.4, 4.4), title: str = "") -> bytes:
    """Return a figure as PNG bytes; the same result gives the same bytes."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # Characters that no installed font has show as boxes: `use_fonts` names them once.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = make_figure(draw, result, size_in, title)
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def figure_url(draw: Draw, result: Any, size_in: Size) -> str:
    """Return a figure as a PNG inside a URL, for a page that holds everything."""
    return data_url(figure_png(draw, result, size_in), "image/png")


def shorten(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a text on one line of at most ``longest`` characters, cut in its middle.

    >>> shorten("argillaceous limestone with veins", 15)
    'argilla…h veins'
    """
    line = make_printable(" ".join(text.split()))
    if len(line) <= longest:
        return line
    n_last = (longest - 1) // 2
    return f"{line[: longest - 1 - n_last]}…{line[-n_last:]}"


def mark_interval(
    axes: Axes, place: float, values: tuple[float, float, float], color: str, marker: str = "o"
) -> None:
    """Draw one row of a chart: (low, value, high) as a bar with a dot."""
    low, value, high = values
    axes.plot([low, high], [place, place], color=color, linewidth=2.6, solid_capstyle="butt")
    axes.plot([value], [place], marker=marker, markersize=8, color=color)


def stack_below(axes: Axes) -> tuple[Axes, Axes]:
    """Split one panel into two, the lower one smaller and with the same horizontal axis."""
    place, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    if place is None or figure is None:
        return axes, axes.inset_axes((0.0, -0.75, 1.0, 0.6), sharex=axes)
    grid = place.subgridspec(2, 1, height_ratios=(3, 2))
    axes.set_subplotspec(grid[0])
    axes.tick_params(labelbottom=False)
    return axes, figure.add_subplot(grid[1], sharex=axes)


def _dress(axes: Axes) -> None:
    axes.tick_params(labelsize=9.5, colors=INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=10.5, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.set_axisbelow(True)
    if legend := axes.get_legend():
        for text in legend.get_texts():
            text.set(fontsize=9.5, color=INK)
