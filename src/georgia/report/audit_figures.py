"""The figures of an audit; each ``draw_<name>(result, axes)`` returns the numbers that it drew."""

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
# More different values than this are drawn as a histogram, fewer as bars.
_MOST_BARS = 8
_N_BINS = 30
_NAMES = {entry.name: entry for entry in PROPERTIES}


@dataclass(frozen=True)
class Distribution:
    """One property of an audit's images; ``mark`` is the value of a rule that tells the class."""

    audit: Audit
    entry: Property
    mark: float | None = None


def draw_property_power(result: Audit, axes: Axes) -> dict[str, Any]:
    """Draw how well each property alone tells the class, beside chance; errors and warnings are coloured."""
    rows = list(result.properties)[::-1]
    named = {one.evidence.get("property"): one.severity for one in result.findings}
    colors = {"error": VERMILION, "warning": ORANGE}
    scores = [row["balanced_accuracy"] for row in rows]
    axes.barh(
        range(len(rows)),
        scores,
        color=[colors.get(named.get(row["property"], ""), "#9aa5b1") for row in rows],
    )
    axes.set_yticks(range(len(rows)), [_NAMES[row["property"]].words for row in rows])
    chance = rows[0]["chance"] if rows else 0.5
    axes.axvline(chance, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.set_xlabel("balanced accuracy on groups not seen (dashed: chance)")
    return {"properties": [row["property"] for row in rows], "balanced_accuracy": scores, "chance": chance}


def draw_distribution(result: Distribution, axes: Axes) -> dict[str, Any]:
    """Draw the share of each class's images over the values of one property."""
    labels = result.audit.catalog.labels.names
    values = result.audit.columns[result.entry.name]
    names = np.array([record.class_name for record in result.audit.catalog.records])
    unique = np.unique(values)
    has_bars = result.entry.is_word or len(unique) <= _MOST_BARS
    draw = _draw_bars if has_bars else _draw_histogram
    drawn = draw(axes, {label: values[names == label] for label in labels}, unique)
    if result.mark is not None:
        # Bars stand at 0, 1, 2 …: the mark stands between two of them.
        drawn["mark"] = float(np.searchsorted(unique, result.mark)) - 0.5 if has_bars else result.mark
        axes.axvline(drawn["mark"], color=VERMILION, linewidth=1.4, linestyle=(0, (4, 3)))
    unit = f", {result.entry.unit}" if result.entry.unit else ""
    axes.set_xlabel(f"{result.entry.words}{unit}")
    axes.set_ylabel("share of the class")
    axes.legend(frameon=False)
    return drawn


def _draw_bars(axes: Axes, by_class: dict[str, Any], unique: Any) -> dict[str, Any]:
    width = 0.8 / len(by_class)
    drawn = {}
    for at, (label, values) in enumerate(by_class.items()):
        shares = [float((values == value).mean()) if len(values) else 0.0 for value in unique]
        place = np.arange(len(unique)) + (at - (len(by_class) - 1) / 2) * width
        axes.bar(place, shares, width, color=_color(at), label=shorten(label))
        drawn[label] = shares
    words = [shorten(str(v) if isinstance(v, str) else f"{float(v):g}", 18) for v in unique]
    axes.set_xticks(range(len(unique)), words)
    return {"values": list(unique), "shares": drawn}


def _draw_histogram(axes: Axes, by_class: dict[str, Any], unique: Any) -> dict[str, Any]:
    edges = np.linspace(float(unique[0]), float(unique[-1]), _N_BINS + 1)
    drawn = {}
    for at, (label, values) in enumerate(by_class.items()):
        counts = np.histogram(values.astype(float), edges)[0]
        shares = counts / max(1, counts.sum())
        axes.stairs(shares, edges, color=_color(at), fill=True, alpha=0.25)
        axes.stairs(shares, edges, color=_color(at), linewidth=1.6, label=shorten(label))
        drawn[label] = shares.tolist()
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    return {"edges": edges.tolist(), "shares": drawn}


def _color(at: int) -> str:
    return _COLORS[at] if at < len(_COLORS) else MUTED
