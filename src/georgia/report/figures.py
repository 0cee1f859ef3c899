"""The figures of a run; each ``draw_<name>(result, axes)`` returns the values that it plots.

A new figure is one draw function and one line in ``FIGURES``; the page shows it by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from georgia.evaluate.robustness import Robustness
from georgia.evaluate.score import Evaluation
from georgia.files import write_bytes
from georgia.labels import UNKNOWN
from georgia.metrics.intervals import wilson_interval
from georgia.report.canvas import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    RULE,
    VERMILION,
    Draw,
    Size,
    figure_png,
    mark_interval,
    shorten,
    stack_below,
)
from georgia.report.history import TrainingHistory
from georgia.report.learning import draw_learning_curve
from georgia.report.tables import format_percent
from georgia.uncertainty.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Up to so many classes the cells of a confusion matrix have room for fractions, and for counts.
_ROOM_FOR_FRACTIONS, _ROOM_FOR_COUNTS = 8, 24
# The smallest probability that the predicted class of C can have is 1 / C.
_HISTOGRAM_BINS = 25
# So many letters of class names fit below a confusion matrix side by side; more are written aslant.
_LETTERS_SIDE_BY_SIDE = 40


@dataclass(frozen=True)
class FigureInfo:
    """One figure: what draws it, from which result, what it is called, and its size in inches.

    ``grow_in`` is added to the size for every class beyond the second. ``section`` is its place on the page.
    """

    draw: Draw
    needs: Literal["history", "evaluation", "robustness", "calibration", "learning"]
    title: str
    caption: str
    size_in: Size = (5.6, 4.4)
    grow_in: Size = (0.0, 0.0)
    section: Literal["figures", "robustness"] = "figures"

    @property
    def name(self) -> str:
        """The name of its draw function without ``draw_``."""
        return str(cast(Any, self.draw).__name__).removeprefix("draw_")

    def size_for(self, result: Any) -> Size:
        """Return width and height in inches for one result."""
        extra = min(len(result.labels), 40) - 2 if isinstance(result, Evaluation) else 0
        return self.size_in[0] + extra * self.grow_in[0], self.size_in[1] + extra * self.grow_in[1]


def draw_metrics_plot(result: TrainingHistory, axes: Axes) -> dict[str, Any]:
    """Draw accuracy per epoch with the losses below it, in training and validation."""
    from matplotlib.ticker import MaxNLocator

    epochs = result.epochs
    plotted: dict[str, Any] = {"epoch": epochs, "marked_epoch": result.marked_epoch}
    lower = stack_below(axes)[1]
    for panel, quantity in ((axes, "accuracy"), (lower, "loss")):
        for part, name, color, marker in (
            ("train", "training", ORANGE, "s"),
            ("valid", "validation", BLUE, "o"),
        ):
            values = plotted[f"{part}_{quantity}"] = result.column(f"{part}_{quantity}")
            size = 6 if len(epochs) < 30 else 0
            panel.plot(epochs, values, color=color, marker=marker, markersize=size, linewidth=1.8, label=name)
        panel.axvline(result.marked_epoch, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        panel.set_ylabel(quantity)
        panel.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_title(result.mark_text, fontsize=10, color=MUTED, loc="right", parse_math=False)
    axes.legend(loc="best", frameon=False)
    lower.set_xlabel("epoch")
    lower.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return plotted


def draw_confusion_matrix(result: Evaluation, axes: Axes) -> dict[str, Any]:
    """Draw counts and the fractions of each true class, with the rejected images in a column of their own."""
    metrics = result.metrics
    counts, heads = metrics.confusion, list(metrics.classes)
    if metrics.n_unknown:
        counts, heads = np.column_stack([counts, metrics.rejected]), [*heads, UNKNOWN]
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.15, aspect="equal")
    _write_cells(axes, counts, fractions)
    names = [shorten(name) for name in heads]
    is_tight = len(heads) > 3 or len(heads) * max(map(len, names)) > _LETTERS_SIDE_BY_SIDE
    slant: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if is_tight else {}
    axes.set_xticks(range(len(heads)), names, parse_math=False, **slant)
    axes.set_yticks(range(len(counts)), [shorten(name) for name in metrics.classes], parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return {"counts": counts.tolist(), "row_fractions": fractions.tolist(), "columns": heads}


def draw_f1_intervals(result: Evaluation, axes: Axes) -> dict[str, Any]:
    """Draw F1 of each class with files, and their mean, with 95 % intervals, first class on top."""
    from matplotlib.ticker import MaxNLocator

    metrics = result.metrics
    rows = [(name, scores.f1, scores.f1_ci95) for name, scores in metrics.per_class.items() if scores.support]
    rows.append(("macro average", metrics.macro.f1, metrics.macro.f1_ci95))
    for place, (name, value, (low, high)) in enumerate(reversed(rows)):
        color = INK if name == "macro average" and place == 0 else BLUE
        mark_interval(axes, place, (low, value, high), color)
        side = "right" if high - value < 0.25 * (high - low) else "center"
        axes.text(value, place + 0.22, f"{value:.4f}", ha=side, fontsize=9.5, color=color)
    axes.set_yticks(range(len(rows)), [shorten(name) for name, _, _ in reversed(rows)], parse_math=False)
    axes.set_ylim(-0.5, len(rows) - 0.3)
    room = max(0.004, 0.12 * (1.0 - min(interval[0] for _, _, interval in rows)))
    axes.set_xlim(max(-0.02, min(interval[0] for _, _, interval in rows) - room), 1.0 + room / 3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlabel("F1 with 95 % confidence interval")
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    return {name: {"f1": value, "ci95": interval} for name, value, interval in rows}


def draw_reliability(result: Evaluation, axes: Axes) -> dict[str, Any]:
    """Draw the fraction of correct predictions against their probability; a dot's area follows its count."""
    bins = result.reliability
    _dress_reliability(axes, 1.0 / len(result.labels), "predicted probability (numbers: images)")
    if bins is None:
        return {"n": [], "probability": [], "fraction_correct": [], "ece": None}
    filled = bins.n > 0
    n, predicted, correct = bins.n[filled], bins.mean_probability[filled], bins.fraction_correct[filled]
    limits = [wilson_interval(float(rate), int(count)) for rate, count in zip(correct, n, strict=True)]
    axes.vlines(predicted, *np.array(limits).T, color=BLUE, linewidth=1.4, alpha=0.55)
    area = 24 + 240 * n / n.max()
    axes.scatter(predicted, correct, s=area, color=BLUE, linewidth=0, clip_on=False, zorder=3)
    for x, y, count in zip(predicted, correct, n, strict=True):
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8.5, "color": MUTED}
        axes.annotate(f"{count:,}", (x, y), (-10, 0), textcoords="offset points", **style)
    axes.set_title(f"expected calibration error {bins.error:.4f}", fontsize=10, color=MUTED, loc="right")
    return {"n": n.tolist(), **_plain_curve(predicted, correct, bins.error)}


def draw_probability_histogram(result: Evaluation, axes: Axes) -> dict[str, Any]:
    """Draw how many predictions were correct and wrong at each probability, counts logarithmic."""
    edges = np.linspace(1.0 / len(result.labels), 1.0, _HISTOGRAM_BINS + 1)
    pairs = zip(result.predictions.items, result.truth, strict=True)
    accepted = [(item.probability, item.label == truth) for item, truth in pairs if item.label != UNKNOWN]
    plotted: dict[str, Any] = {"edges": edges.tolist()}
    width, offset = float(edges[1] - edges[0]) * 0.45, 0.0
    for is_correct, name, color, hatch in (
        (True, "correct", BLUE, None),
        (False, "wrong", VERMILION, "////"),
    ):
        values = [min(max(p, edges[0]), 1.0) for p, is_so in accepted if is_so is is_correct]
        counts = np.histogram(values, bins=edges)[0]
        style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}
        label = f"{name} ({len(values):,})"
        axes.bar(edges[:-1] + offset, counts, width, align="edge", label=label, **style)
        offset, plotted[name] = width, counts.tolist()
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(0, 3 * max(1, *plotted["correct"], *plotted["wrong"]))
    axes.set_xlim(edges[0] - 0.01, 1.01)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("images, logarithmic")
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.legend(loc="upper left", frameon=False)
    return plotted


def _dress_reliability(axes: Axes, lowest: float, label: str) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
    axes.set(xlim=(lowest - 0.02, 1.02), ylim=(-0.04, 1.04), xlabel=label, ylabel="fraction correct")
    axes.grid(color=RULE, linewidth=0.8)


def _plain_curve(predicted: Any, correct: Any, error: float) -> dict[str, Any]:
    return {"probability": predicted.tolist(), "fraction_correct": correct.tolist(), "ece": error}


def _write_cells(axes: Axes, counts: npt.NDArray[np.int64], fractions: npt.NDArray[np.float64]) -> None:
    n_classes = len(counts)
    if n_classes > _ROOM_FOR_COUNTS:
        return
    big = 15 if n_classes <= 3 else 11 if n_classes <= _ROOM_FOR_FRACTIONS else 8
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if fractions[row, column] > 0.55 else INK
        with_fraction = n_classes <= _ROOM_FOR_FRACTIONS and counts[row].sum() > 0
        place: dict[str, Any] = {"ha": "center", "color": color}
        lift = -0.06 if with_fraction else 0.0
        axes.text(column, row + lift, f"{count:,}", va="center", fontsize=big, **place)
        if with_fraction:
            percent = format_percent(float(fractions[row, column]))
            axes.text(column, row + 0.2, percent, va="center", fontsize=0.62 * big, **place)


def draw_calibration(result: Calibration, axes: Axes) -> dict[str, Any]:
    """Draw the fraction of correct predictions against their probability, before and after calibration."""
    plotted: dict[str, Any] = {"temperature": result.temperature}
    for bins, name, color, marker in (
        (result.before, "before", ORANGE, "s"),
        (result.after, "after", BLUE, "o"),
    ):
        filled = bins.n > 0
        predicted, correct, n = bins.mean_probability[filled], bins.fraction_correct[filled], bins.n[filled]
        label = f"{name}: error {bins.error:.4f}"
        axes.plot(predicted, correct, color=color, linewidth=1.4, alpha=0.7)
        area = 20 + 200 * n / n.max()
        axes.scatter(
            predicted, correct, s=area, color=color, marker=marker, alpha=0.85, linewidth=0, label=label
        )
        plotted[name] = _plain_curve(predicted, correct, bins.error)
    lowest = min([0.5, *plotted["before"]["probability"], *plotted["after"]["probability"]])
    _dress_reliability(axes, lowest, "predicted probability")
    axes.legend(loc="lower right", frameon=False)
    return plotted


def draw_robustness(result: Robustness, axes: Axes) -> dict[str, Any]:
    """Draw the change of accuracy under each perturbation, with its interval; significant drops stand out."""
    rows = list(reversed(result.rows))
    axes.axvline(0, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
    for place, row in enumerate(rows):
        color, marker = (VERMILION, "D") if row.is_significant else (BLUE, "o")
        low, high = (100 * value for value in row.accuracy.interval)
        value = 100 * row.accuracy.difference
        mark_interval(axes, place, (low, value, high), color, marker)
    axes.set_yticks(range(len(rows)), [row.title for row in rows], parse_math=False)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("change of accuracy, percentage points")
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    return {
        row.name: {"difference": row.accuracy.difference, "interval": row.accuracy.interval}
        for row in result.rows
    }


FIGURES = (
    FigureInfo(
        draw_confusion_matrix,
        "evaluation",
        title="Confusion matrix",
        caption="Rows: true class. Columns: predicted class. Percentages are of each row.",
        size_in=(5.2, 4.8),
        grow_in=(0.55, 0.5),
    ),
    FigureInfo(
        draw_metrics_plot,
        "history",
        title="Training history",
        caption="Accuracy and loss after each epoch, on training images and on the whole validation split.",
        size_in=(5.6, 4.8),
    ),
    FigureInfo(
        draw_learning_curve,
        "learning",
        title="Learning curve",
        caption="Macro F1 of models that learned from fewer of the labels. Bars: 95 % confidence intervals. "
        "Dashed: an estimate, if it goes on as so far.",
        size_in=(5.6, 3.8),
    ),
    FigureInfo(
        draw_f1_intervals,
        "evaluation",
        title="F1 of each class",
        caption="Dots: measured. Bars: 95 % confidence intervals over independent groups of images.",
        size_in=(5.6, 2.9),
        grow_in=(0.0, 0.4),
    ),
    FigureInfo(
        draw_reliability,
        "evaluation",
        title="Reliability",
        caption="Dashed line: probability equals the fraction correct. Below it, the model is overconfident. "
        "Bars: 95 % confidence intervals.",
    ),
    FigureInfo(
        draw_calibration,
        "calibration",
        title="Calibration",
        caption="Validation images before and after temperature scaling. Dashed line: perfectly calibrated.",
    ),
    FigureInfo(
        draw_probability_histogram,
        "evaluation",
        title="Confidence",
        caption="Number of correct and wrong predictions at each probability.",
        size_in=(5.6, 3.8),
    ),
    FigureInfo(
        draw_robustness,
        "robustness",
        title="Accuracy under each perturbation",
        caption="Dots: change on the same images. Bars: confidence intervals, 95 % for all rows together. "
        "Orange diamonds: a significant drop of accuracy or F1.",
        size_in=(6.4, 5.6),
        section="robustness",
    ),
)


def save_figure(draw: Draw, result: Any, path: str | Path, title: str = "") -> None:
    """Draw a result into a PNG at 150 dpi, written whole or not at all; ``title`` stands above it.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    info = next(info for info in FIGURES if info.draw is draw)
    write_bytes(path, figure_png(draw, result, info.size_for(result), title))
