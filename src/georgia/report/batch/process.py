"""What a batch's report shows of its process: variables over time, events, laboratory results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.process.moments.temperature import is_temperature
from georgia.report.batch.figures import dress_times, is_axis_of_time
from georgia.report.batch.moments import draw_moments
from georgia.report.canvas import BLUE, INK, ORANGE, VERMILION, shorten
from georgia.text import count_noun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from georgia.process.calibrate import Calibration
    from georgia.process.queries import BatchProcess, ProcessSeries
    from georgia.report.batch.facts import BatchFacts

_COLORS = (BLUE, VERMILION, "#009E73", ORANGE, "#CC79A7", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")
# Panels of the figure, one for each unit, and lines in each; what is more stands in the table alone.
MOST_PANELS, MOST_LINES, MOST_MARKS = 4, 6, 40
_DAY_S = 86_400
_PANEL_IN, _LEGEND_IN = 1.75, 0.7


def group_by_unit(process: BatchProcess) -> list[tuple[str, list[ProcessSeries]]]:
    """Return the variables with a value by their unit, temperatures first; as many as there is room for."""
    groups: dict[str, list[ProcessSeries]] = {}
    for series in process.series:
        if any(value is not None for value in series.value) and _has_axis(series):
            groups.setdefault(series.variable.unit, []).append(series)
    ordered = sorted(groups.items(), key=lambda each: not is_temperature(each[1][0].variable))
    return [(unit, found[:MOST_LINES]) for unit, found in ordered[:MOST_PANELS]]


def _has_axis(series: ProcessSeries) -> bool:
    # A single value is a point beside the others.
    times = np.array([*series.time_s, max(series.time_s) + 1.0])
    return is_axis_of_time(times)


def find_size(process: BatchProcess) -> tuple[float, float]:
    """Return width and height of the figure, inches."""
    return 10.5, _LEGEND_IN + _PANEL_IN * max(1, len(group_by_unit(process)))


def draw_process(result: BatchFacts, axes: Axes) -> dict[str, Any]:
    """Draw each variable over time, one panel a unit, with events as numbered lines.

    Returns the values that are plotted by title.
    """
    process = result.process
    plotted: dict[str, Any] = {}
    if process is None:
        return plotted
    groups = group_by_unit(process)
    panels = _stack(axes, len(groups))
    for panel, (unit, group) in zip(panels, groups, strict=True):
        for at, series in enumerate(group):
            plotted[series.variable.title] = _draw_line(panel, series, at)
        panel.set_ylabel(shorten(unit, 14) or "–")
        panel.legend(loc="upper left", fontsize=8, frameon=False, ncols=3)
        low, high = panel.get_ylim()
        panel.set_ylim(low, high + 0.25 * (high - low))  # room for the legend
    for number, event in enumerate(process.events[:MOST_MARKS], 1):
        for panel in panels:
            panel.axvline(event.time_s / _DAY_S, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        top = panels[0]
        place = event.time_s / _DAY_S
        where: dict[str, Any] = {"transform": top.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        top.text(place, 1.01, f"E{number}", fontsize=8, **where)
    if is_axis_of_time(result.frames.times_s):
        draw_moments(result, panels, lambda times_s: times_s / _DAY_S, lowest=1 if process.events else 0)
    _dress(panels, result)
    return plotted


def _stack(axes: Axes, n: int) -> list[Axes]:
    """Return ``n`` panels below one another with one time axis, in the place of one."""
    place, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    if n <= 1 or place is None or figure is None:
        return [axes]
    grid = place.subgridspec(n, 1)
    axes.set_subplotspec(grid[0])
    return [axes, *(figure.add_subplot(grid[at], sharex=axes) for at in range(1, n))]


def _draw_line(panel: Axes, series: ProcessSeries, at: int) -> list[float]:
    x = np.array(series.time_s) / _DAY_S
    value, low, high = (
        np.array([np.nan if each is None else each for each in column], np.float64)
        for column in (series.value, series.low, series.high)
    )
    color, dash = _COLORS[at % len(_COLORS)], _DASHES[at % len(_DASHES)]
    if series.width_s:
        panel.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    style: dict[str, Any] = {"color": color, "linestyle": dash, "linewidth": 1.4}
    # A single point is no line.
    style["marker"] = "o" if len(x) == 1 else ""
    panel.plot(x, value, label=shorten(series.variable.name, 28), **style)
    return [float(each) for each in value[np.isfinite(value)]]


def _dress(panels: list[Axes], facts: BatchFacts) -> None:
    for panel in panels:
        panel.tick_params(labelbottom=panel is panels[-1])
    dress_times(panels[-1], facts)


def describe_process(facts: BatchFacts) -> dict[str, Any]:
    """Return the tables of a batch's process: variables, events, laboratory results."""
    process = facts.process
    if process is None:
        return {}
    return {
        "since": facts.times(process.since_s),
        "until": facts.times(process.until_s),
        "n_shown": sum(len(group) for _, group in group_by_unit(process)),
        "variables": [_describe_variable(facts, series) for series in process.series],
        "events": [_describe_entry(facts, f"E{at}", each) for at, each in enumerate(process.events, 1)],
        "calibrations": {each.name: _describe_calibration(facts, each) for each in facts.calibrations},
        "laboratory": [
            _describe_entry(facts, f"L{at}", each) for at, each in enumerate(process.laboratory, 1)
        ],
    }


def _describe_calibration(facts: BatchFacts, found: Calibration) -> str:
    """Return the line from the image's fraction to the laboratory's, with what it predicts at the end."""
    others = (*found.notes, *(f"left out is {each}" for each in found.left_out))
    more = "".join(f". {each[0].upper()}{each[1:]}" for each in others)
    if found.reason:
        return f"none: {found.reason}{more}"
    ewma = facts.frames.numbers["ewma"]
    ewma = ewma[np.isfinite(ewma)]
    predicted = found.predict(float(ewma[-1])) if len(ewma) else None
    at_end = "outside of the range that the results cover"
    if predicted is not None:
        value, low, high = (100 * each for each in predicted)
        at_end = f"{value:.1f} % ({low:.1f}–{high:.1f} %, of 95 % of single results)"
    reach = f"{100 * found.low_x:.1f} to {100 * found.high_x:.1f} %"
    return (
        f"{100 * found.intercept:.2f} % + {found.slope:.3f} × image, slope {found.slope_low:.3f} to "
        f"{found.slope_high:.3f}, σ about the line {100 * found.residual_sd:.2f} points; from "
        f"{count_noun(len(found.pairs), 'result')} at {reach} in the image. At the end of the batch: "
        f"{at_end}{more}"
    )


def _describe_variable(facts: BatchFacts, series: ProcessSeries) -> dict[str, str]:
    lows = [value for value in series.low if value is not None]
    highs = [value for value in series.high if value is not None]
    values = [(at, value) for at, value in zip(series.time_s, series.value, strict=True) if value is not None]
    first, last = (values[0], values[-1]) if values else ((None, None), (None, None))
    return {
        "name": series.variable.title,
        "source": series.variable.source,
        "n": f"{series.variable.n_values:,}",
        "gaps": f"{series.variable.n_gaps:,}",
        "first": "–" if first[1] is None else f"{first[1]:.6g}",
        "last": "–" if last[1] is None else f"{last[1]:.6g}",
        "range": f"{min(lows):.6g} to {max(highs):.6g}" if lows and highs else "–",
        "from": facts.times(first[0]),
        "to": facts.times(last[0]),
    }


def _describe_entry(facts: BatchFacts, number: str, entry: Any) -> dict[str, str]:
    spread = "" if entry.sd is None else f" ± {entry.sd:.4g} (sd)"
    unit = f" {entry.unit}" if entry.unit else ""
    return {
        "number": number,
        "at": facts.times(entry.time_s),
        "name": entry.name,
        "value": "–" if entry.value is None else f"{entry.value:.6g}{spread}{unit}",
        "who": entry.who,
        "note": entry.note or (f"from {entry.file}" if entry.file else "–"),
    }
