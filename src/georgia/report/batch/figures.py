"""The figures of a batch: its fraction with all limits, and what its images were like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.monitor.batch_frames import GAP_STEPS, find_columns, find_usual_step, subsample
from georgia.monitor.records import AuditAction, AuditEvent
from georgia.report.batch.facts import BatchFacts
from georgia.report.batch.moments import draw_moments
from georgia.report.canvas import BLUE, INK, MUTED, ORANGE, VERMILION, shorten, stack_below

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    FloatArray = npt.NDArray[np.float64]

GREEN = "#009E73"
# Columns of pixels of a plot: with four points in each, more frames make no other line.
N_COLUMNS = 1200
_DAY_S = 86_400
# Years 100 and 9000: matplotlib has dates from year 1 to 9999, and an axis reaches beyond its data.
_FIRST_S, _LAST_S = -5.9e10, 2.2e11
# What changes limits, and is marked by a number in the figure and in the table of changes.
CHANGES = (
    *(AuditAction.LIMITS_SET, AuditAction.LIMITS_CHANGED, AuditAction.LIMITS_CONFIRMED),
    *(AuditAction.LIMITS_DROPPED, AuditAction.SETTINGS_CHANGED, AuditAction.MODEL_SWAPPED),
)
FRACTION_SIZE_IN, INPUT_SIZE_IN = (10.5, 5.0), (10.5, 4.0)


def is_axis_of_time(times_s: FloatArray) -> bool:
    """Tell whether times (N,), seconds since 1970, span an axis: more than one, in years 100 to 9000."""
    if not len(times_s):
        return False
    first, last = float(np.min(times_s)), float(np.max(times_s))
    return _FIRST_S < first < last < _LAST_S


class _Panel:
    """Draws columns of a batch over its time; lines break at gaps."""

    def __init__(self, facts: BatchFacts) -> None:
        self.facts, self.frames = facts, facts.frames
        self.order = np.argsort(self.frames.times_s, kind="stable")
        self.times = self.frames.times_s[self.order]
        step = find_usual_step(self.times)
        self.gap_s = np.inf if step is None else GAP_STEPS * step
        # Where all frames have one time, or one that no axis can have, their numbers stand for it.
        self.has_time = is_axis_of_time(self.times)

    def place(self, seconds: FloatArray) -> FloatArray:
        """Return places on the axis of times in seconds since 1970."""
        return seconds / _DAY_S if self.has_time else seconds

    @property
    def x(self) -> FloatArray:
        return self.times if self.has_time else np.arange(1.0, len(self.times) + 1)

    def span(self, axes: Axes) -> None:
        """Let an axis reach from the first frame to the last, whether or not these have a fraction."""
        if len(self.x):
            axes.plot(self.place(self.x[[0, -1]]), [0.0, 0.0], alpha=0)

    def line(self, axes: Axes, name: str, scale: float = 100.0, **style: Any) -> list[float]:
        """Draw one column; return the values that are plotted."""
        found = self.facts.plain_limit if name == "limit" else self.frames.numbers[name]
        values = scale * found[self.order]
        if not np.isfinite(values).any():
            return []
        kept = subsample(self.x, values, N_COLUMNS)
        x, y = self.x[kept], values[kept]
        breaks = np.flatnonzero(np.diff(self.times[kept]) > self.gap_s) + 1
        breaks = breaks[(np.diff(kept)[breaks - 1] == 1)] if len(breaks) else breaks
        axes.plot(self.place(np.insert(x, breaks, np.nan)), np.insert(y, breaks, np.nan), **style)
        return [float(value) for value in y[np.isfinite(y)]]

    def band(self, axes: Axes, low: str, high: str, **style: Any) -> None:
        """Fill between two columns; of many frames the outermost of each column of pixels."""
        lows, highs = (100 * self.frames.numbers[name][self.order] for name in (low, high))
        if not np.isfinite(lows).any():
            return
        x, after = self.x, self.times
        if len(x) > 2 * N_COLUMNS and x[-1] > x[0]:
            first, _ = find_columns(x, N_COLUMNS)
            lows, highs = np.fmin.reduceat(lows, first), np.fmax.reduceat(highs, first)
            x, after = x[first], self.times[np.append(first[1:], len(self.times)) - 1]
            breaks = np.flatnonzero(x[1:] - after[:-1] > self.gap_s) + 1
        else:
            breaks = np.flatnonzero(np.diff(after) > self.gap_s) + 1
        x, lows, highs = (np.insert(values, breaks, np.nan) for values in (x, lows, highs))
        axes.fill_between(self.place(x), lows, highs, linewidth=0, **style)

    def dress(self, axes: Axes, has_label: bool = True) -> None:
        """Give the axis its times, in the zone of the page."""
        if not self.has_time:
            axes.set_xlabel("frame" if has_label else "")
            return
        dress_times(axes, self.facts, "time of the frames" if has_label else "")


def dress_times(axes: Axes, facts: BatchFacts, label: str = "time") -> None:
    """Give an axis of days since 1970 its dates, in the zone of the page."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    zone = facts.times.zone
    locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    if label:
        axes.set_xlabel(f"{label}, {shorten(facts.times.name, 40)}")


def draw_fraction(result: BatchFacts, axes: Axes) -> dict[str, Any]:
    """Draw the charted fraction with intervals, limits, alarms and pauses; below it the CUSUM.

    Returns the values of the lines that are plotted, in percent.
    """
    panel = _Panel(result)
    has_cusum = bool(np.isfinite(result.frames.numbers["cusum"]).any())
    top, below = stack_below(axes) if has_cusum else (axes, None)
    plotted: dict[str, Any] = {}
    panels = [each for each in (top, below) if each is not None]
    _mark_times(panel, panels)
    panel.span(top)
    plotted["moments"] = draw_moments(result, panels, panel.place) if panel.has_time else []
    panel.band(top, "low", "high", color=MUTED, alpha=0.16, label="each frame's 95 % interval")
    plotted["fraction"] = panel.line(
        top, "fraction", color=MUTED, linewidth=0.7, alpha=0.8, label="each frame's fraction"
    )
    panel.band(top, "ewma_low", "ewma_high", color=BLUE, alpha=0.25, label="smoothed: 95 % interval")
    lines: tuple[tuple[str, dict[str, Any]], ...] = (
        ("ewma", {"color": BLUE, "linewidth": 2.0, "label": "smoothed (EWMA)"}),
        ("ewma_limit", {"color": VERMILION, "linewidth": 1.5, "label": "limit of the EWMA"}),
        ("limit", {"color": INK, "linewidth": 1.5, "linestyle": "--", "label": "plain limit"}),
        ("p_limit", {"color": ORANGE, "linewidth": 1.1, "linestyle": ":", "label": "limit of the p-chart"}),
        ("centre", {"color": GREEN, "linewidth": 1.1, "linestyle": "-.", "label": "mean in control"}),
    )
    for name, style in lines:
        plotted[name] = panel.line(top, name, **style)
    plotted["checked"] = _draw_checked(panel, top)
    plotted["laboratory"] = _draw_laboratory(panel, top)
    names = ("ewma", "fraction", "ewma_limit", "limit", "laboratory")
    widest = 100 * result.frames.numbers["ewma_high"]
    reached = [float(np.nanmax(widest))] if np.isfinite(widest).any() else []
    highest = max([1.0, *reached, *(value for name in names for value in plotted[name])])
    top.set_ylim(0, min(100.0, 1.2 * highest + 1))
    if not plotted["fraction"]:
        top.set_ylim(0, 100)
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": top.transAxes, "color": MUTED}
        top.text(0.5, 0.5, "no frame has a fraction", **middle)
    top.set_ylabel(f"{shorten(result.batch.impurity, 18)}, % of the analysed windows")
    if top.get_legend_handles_labels()[0]:
        place = (0.5, -0.04 if has_cusum else -0.13)
        top.legend(loc="upper center", bbox_to_anchor=place, fontsize=8, frameon=False, ncols=5)
    if below is None:
        panel.dress(top)
        return plotted
    plotted["cusum"] = panel.line(below, "cusum", 1.0, color=BLUE, linewidth=1.4)
    plotted["cusum_limit"] = panel.line(below, "cusum_limit", 1.0, color=VERMILION, linewidth=1.4)
    below.set_ylabel("CUSUM, σ")
    below.set_ylim(0, 1.2 * max([*plotted["cusum"], *plotted["cusum_limit"], 1.0]))
    panel.dress(top, has_label=False)
    panel.dress(below)
    return plotted


def _mark_times(panel: _Panel, panels: list[Axes]) -> None:
    """Mark alarms, times without frames, and changes of limits by their numbers in the table."""
    facts, times = panel.facts, panel.times
    if not panel.has_time:
        return
    first, last = float(times[0]), float(times[-1])

    def inside(seconds: float) -> float:
        return min(max(seconds, first), last)

    spans: list[tuple[float, float, dict[str, Any]]] = []
    red: dict[str, Any] = {"color": VERMILION, "alpha": 0.13, "linewidth": 0, "label": "alarm"}
    spans += [(start, end, red) for start, end in _find_alarm_spans(panel)]
    grey: dict[str, Any] = {"facecolor": "none", "edgecolor": MUTED, "hatch": "///", "linewidth": 0}
    grey["label"] = "no frames"
    spans += [(gap.from_s, gap.to_s, grey) for gap in facts.gaps]
    named: set[str] = set()
    for start, end, style in spans:
        label = style["label"] if style["label"] not in named else "_"
        named.add(style["label"])
        ends = panel.place(np.array([inside(start), inside(end)]))
        for axes in panels:
            own = {**style, "label": label if axes is panels[0] else "_"}
            axes.axvspan(*ends, **own)
    numbers = [(number, _find_place(facts, event)) for number, event in enumerate(list_changes(facts), 1)]
    for number, at_s in numbers[:20]:
        if first <= at_s <= last:
            place = float(at_s / _DAY_S)
            top = panels[0]
            for axes in panels:
                axes.axvline(place, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
            top.text(place, 0.985, f" {number}", transform=top.get_xaxis_transform(), va="top", fontsize=9)


def _find_place(facts: BatchFacts, event: AuditEvent) -> float:
    """Return the time of the frame that an event names, or else its own, seconds since 1970."""
    found = np.flatnonzero(facts.frames.ids == event.detail.get("frame", 0))
    return float(facts.frames.times_s[found[0]]) if len(found) else event.at_s


def _find_alarm_spans(panel: _Panel) -> Iterable[tuple[float, float]]:
    """Yield from when to when frames had an active alarm."""
    active = np.concatenate([[False], panel.frames.alarm[panel.order], [False]]).astype(np.int8)
    for start, end in zip(
        np.flatnonzero(np.diff(active) == 1), np.flatnonzero(np.diff(active) == -1), strict=True
    ):
        yield float(panel.times[start]), float(panel.times[end - 1])


def _draw_checked(panel: _Panel, axes: Axes) -> list[float]:
    """Draw what a person found: a box for each span of time that was checked."""
    found = panel.facts.checked
    if found is None or not panel.has_time or found.result.target != panel.facts.batch.impurity:
        return []
    plotted = []
    for at, span in enumerate(found.curve):
        ends = panel.place(np.array([span.from_s, span.to_s]))
        low, high = 100 * span.interval.low, 100 * span.interval.high
        label = "checked by a person" if not at else "_"
        axes.fill_between(ends, low, high, facecolor="none", edgecolor=GREEN, linewidth=1.3, label=label)
        axes.plot(ends, [100 * span.interval.fraction] * 2, color=GREEN, linewidth=2.4)
        plotted.append(100 * span.interval.fraction)
    return plotted


def _draw_laboratory(panel: _Panel, axes: Axes) -> list[float]:
    """Draw laboratory results of the charted class in percent, each with twice its standard deviation."""
    process, target = panel.facts.process, panel.facts.batch.impurity.casefold()
    if process is None or not panel.has_time:
        return []
    own = [
        entry
        for entry in process.laboratory
        if entry.name.casefold() == target and entry.fraction is not None
    ]
    if not own:
        return []
    x = panel.place(np.array([entry.time_s for entry in own]))
    y = [100 * (entry.fraction or 0.0) for entry in own]
    spread = [200 * (entry.fraction_sd or 0.0) for entry in own]
    style: dict[str, Any] = {"color": INK, "markerfacecolor": "white", "markersize": 7, "capsize": 3}
    axes.errorbar(x, y, yerr=spread, fmt="D", label="laboratory", **style)
    return y


def draw_input(result: BatchFacts, axes: Axes) -> dict[str, Any]:
    """Draw how unlike the training images the frames are, and how their light and detail drift.

    Returns the values of the lines: rejected windows in percent, drift in parts of its limit.
    """
    panel = _Panel(result)
    top, below = stack_below(axes)
    plotted = {
        "rejected": panel.line(
            top, "rejected", color=BLUE, linewidth=1.6, label="rejected windows, smoothed"
        ),
        "rejected_limit": panel.line(
            top, "rejected_limit", color=VERMILION, linewidth=1.4, label="its limit"
        ),
        "light_drift": panel.line(below, "light_drift", 1.0, color=ORANGE, linewidth=1.4, label="light"),
        "detail_drift": panel.line(
            below, "detail_drift", 1.0, color=GREEN, linewidth=1.4, linestyle="--", label="detail (focus)"
        ),
    }
    top.set_ylabel("rejected, % of the windows")
    top.set_ylim(0, min(100.0, 1.2 * max([*plotted["rejected"], *plotted["rejected_limit"], 1.0])))
    for limit in (-1, 1):
        below.axhline(limit, color=VERMILION, linewidth=1.2)
    below.set_ylabel("drift, 1 = limit")
    reach = max([abs(value) for value in [*plotted["light_drift"], *plotted["detail_drift"]]] + [1.0])
    below.set_ylim(-1.2 * reach, 1.2 * reach)
    for own in (top, below):
        if own.get_legend_handles_labels()[0]:
            own.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
    panel.dress(top, has_label=False)
    panel.dress(below)
    return plotted


def has_input(facts: BatchFacts) -> bool:
    """Tell whether the store holds anything of what the images were like: version 0.1 kept nothing of it."""
    names = ("rejected", "light_drift", "detail_drift")
    return any(np.isfinite(facts.frames.numbers[name]).any() for name in names)


def list_changes(facts: BatchFacts) -> list[AuditEvent]:
    """Return the events that changed limits, settings or the model, oldest first."""
    return [event for event in facts.events if event.action in CHANGES]
