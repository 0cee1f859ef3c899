"""The page that puts batches over one another, with the band of released ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.monitor.columns import iso_time
from georgia.process.compare import BatchComparison
from georgia.report.canvas import BLUE, MUTED, ORANGE, VERMILION, figure_url, shorten
from georgia.report.render import render_template

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = (BLUE, VERMILION, "#009E73", ORANGE, "#CC79A7", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")
_SIZE_IN = (10.5, 5.0)


def render_comparison(found: BatchComparison, store: str) -> str:
    """Return the page as HTML; ``store`` is what that is called."""
    return render_template(
        "comparison.html.jinja",
        found=found,
        plot=figure_url(draw_comparison, found, _SIZE_IN),
        store=store,
        written=iso_time(time.time()),
        interval=[round(100 * each) for each in found.quantiles],
    )


def draw_comparison(result: BatchComparison, axes: Axes) -> dict[str, Any]:
    """Draw each batch over x, in percent, lines broken at gaps, and the band; return the values."""
    band = result.band
    values: dict[str, Any] = {"band": [], "lines": {}}
    tops = [0.0]
    if band.x:
        low, middle, high = (_percent(column) for column in (band.low, band.median, band.high))
        axes.fill_between(band.x, low, high, color=MUTED, alpha=0.25, linewidth=0)
        axes.plot(band.x, middle, color=MUTED, linewidth=1.0, label=f"median of {result.n_released} released")
        values["band"] = middle.tolist()
        tops.append(float(np.nanmax(high, initial=0.0)))
    for at, line in enumerate(result.lines):
        y = _percent(line.y)
        name = shorten(line.name, 28) + (" (not comparable)" if line.differs else "")
        style: dict[str, Any] = {"color": _COLORS[at % len(_COLORS)], "linewidth": 1.6, "label": name}
        axes.plot(line.x, y, linestyle=_DASHES[at // len(_COLORS) % len(_DASHES)], **style)
        values["lines"][line.batch] = y.tolist()
        tops.append(float(np.nanmax(y, initial=0.0)))
    axes.set_xlabel(result.label)
    axes.set_ylabel("fraction of all windows, %")
    axes.set_ylim(0, min(100.0, 1.15 * max(tops) + 1))
    axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
    return values


def _percent(column: tuple[float | None, ...]) -> Any:
    return np.array([np.nan if value is None else 100 * value for value in column], np.float64)
