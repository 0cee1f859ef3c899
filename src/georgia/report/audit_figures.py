"""The figures of an audit; each ``draw_<name>(result, axes)`` returns the values that it plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.audit import Audit
from georgia.audit.measurements import PROPERTIES, Property
from georgia.report.canvas import BLUE, INK, MUTED, ORANGE, RULE, VERMILION, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Source: Okabe and Ito 2008; the first classes, the others in grey.
_COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", VERMILION)
# More different values than this are plotted as a histogram, fewer as bars.
_MAX_BARS = 8
_N_BINS = 30
_ENTRIES = {entry.name: entry for entry in PROPERTIES}


@dataclass(frozen=True)
class Distribution:
    """One property of an audit's images; ``mark`` is the value of a rule that predicts the class."""

    audit: Audit
    entry: Property
    mark: float | None = None


def draw_property_predictability(result: Audit, axes: Axes) -> dict[str, Any]:
    """Draw how well each property alone predicts the class, beside chance; findings are coloured."""
    rows = list(result.properties)[::-1]
    severities = {finding.evidence.get("property"): finding.severity for finding in result.findings}
    colors = {"error": VERMILION, "warning": ORANGE}
    scores = [row["balanced_accuracy"] for row in rows]
    axes.barh(
        range(len(rows)),
        scores,
        color=[colors.get(severities.get(row["property"], ""), "#9aa5b1") for row in rows],
    )
    axes.set_yticks(range(len(rows)), [_ENTRIES[row["property"]].label for row in rows])
    chance = rows[0]["chance"] if rows else 0.5
    axes.axvline(chance, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.set_xlabel("balanced accuracy on held-out groups (dashed: chance)")
    return {"properties": [row["property"] for row in rows], "balanced_accuracy": scores, "chance": chance}


def draw_distribution(result: Distribution, axes: Axes) -> dict[str, Any]:
    """Draw the fraction of each class's images over the values of one property."""
    labels = result.audit.catalog.labels.names
    values = result.audit.columns[result.entry.name]
    names = np.array([record.class_name for record in result.audit.catalog.records])
    unique = np.unique(values)
    has_bars = result.entry.is_text or len(unique) <= _MAX_BARS
    draw = _draw_bars if has_bars else _draw_histogram
    plotted = draw(axes, {label: values[names == label] for label in labels}, unique)
    if result.mark is not None:
        # Bars are at 0, 1, 2 …: the mark is between two of them.
        plotted["mark"] = float(np.searchsorted(unique, result.mark)) - 0.5 if has_bars else result.mark
        axes.axvline(plotted["mark"], color=VERMILION, linewidth=1.4, linestyle=(0, (4, 3)))
    unit = f", {result.entry.unit}" if result.entry.unit else ""
    axes.set_xlabel(f"{result.entry.label}{unit}")
    axes.set_ylabel("fraction of the class")
    axes.legend(frameon=False)
    return plotted


def _draw_bars(axes: Axes, by_class: dict[str, Any], unique: Any) -> dict[str, Any]:
    width = 0.8 / len(by_class)
    plotted = {}
    for index, (label, values) in enumerate(by_class.items()):
        fractions = [float((values == value).mean()) if len(values) else 0.0 for value in unique]
        place = np.arange(len(unique)) + (index - (len(by_class) - 1) / 2) * width
        axes.bar(place, fractions, width, color=_color(index), label=shorten(label))
        plotted[label] = fractions
    texts = [shorten(value if isinstance(value, str) else f"{float(value):g}", 18) for value in unique]
    axes.set_xticks(range(len(unique)), texts)
    return {"values": list(unique), "fractions": plotted}


def _draw_histogram(axes: Axes, by_class: dict[str, Any], unique: Any) -> dict[str, Any]:
    edges = np.linspace(float(unique[0]), float(unique[-1]), _N_BINS + 1)
    plotted = {}
    for index, (label, values) in enumerate(by_class.items()):
        counts = np.histogram(values.astype(float), edges)[0]
        fractions = counts / max(1, counts.sum())
        axes.stairs(fractions, edges, color=_color(index), fill=True, alpha=0.25)
        axes.stairs(fractions, edges, color=_color(index), linewidth=1.6, label=shorten(label))
        plotted[label] = fractions.tolist()
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    return {"edges": edges.tolist(), "fractions": plotted}


def _color(index: int) -> str:
    return _COLORS[index] if index < len(_COLORS) else MUTED
