"""The plot of a spot check's curve: each span's fraction with its interval, and what the net alone says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.files import write_bytes
from georgia.report.canvas import BLUE, MUTED, figure_png
from georgia.spotcheck.curve import Span
from georgia.text import count_noun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "curve.png"


def save_curve(curve: Sequence[Span], target: str, folder: str | Path) -> Path:
    """Write the plot as a PNG and return its path.

    Raises:
        UnwritableFileError: the folder cannot be written to.
    """
    folder = Path(folder)
    title = f"{target}: fraction over time, as named"
    write_bytes(folder / PLOT_FILE, figure_png(draw_curve, list(curve), (7.2, 4.2), title))
    return folder / PLOT_FILE


def draw_curve(result: Sequence[Span], axes: Axes) -> dict[str, Any]:
    """Draw the spans over minutes since the first window, in percent; return the values."""
    start = result[0].from_s
    # A span of one frame has a width, too.
    least = max(1e-3, (result[-1].to_s - start) / 60) / 100
    values: dict[str, Any] = {"minutes": [], "fraction": [], "low": [], "high": [], "raw": []}
    for at, span in enumerate(result):
        ends = [(span.from_s - start) / 60, (span.to_s - start) / 60]
        if ends[1] - ends[0] < least:
            ends = [sum(ends) / 2 - least, sum(ends) / 2 + least]
        found = span.interval
        low, high, fraction = (100 * value for value in (found.low, found.high, found.fraction))
        name = None if at else "named: fraction, and its interval"
        axes.fill_between(ends, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(ends, [fraction, fraction], color=BLUE, linewidth=2.2, label=name)
        if span.raw_fraction is not None:
            raw = 100 * span.raw_fraction
            axes.plot(ends, [raw, raw], color=MUTED, linewidth=1.4, linestyle="--", label=_name_raw(at))
        place = (sum(ends) / 2, high + 1)
        axes.text(*place, count_noun(found.n, "name"), ha="center", fontsize=8, color=MUTED)
        values["minutes"].append(ends)
        for key, value in (("fraction", fraction), ("low", low), ("high", high)):
            values[key].append(value)
        values["raw"].append(None if span.raw_fraction is None else 100 * span.raw_fraction)
    axes.set_xlabel("time since the first window, min")
    axes.set_ylabel("fraction, %")
    axes.set_ylim(0, min(100.0, 1.15 * max(values["high"]) + 3))
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return values


def _name_raw(at: int) -> str | None:
    return None if at else "the net alone"
