"""What the report of a model that was learned from labels shows beside its cross-validated metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from georgia.metrics.classification import Metrics
from georgia.metrics.intervals import Interval
from georgia.report.canvas import BLUE, MUTED, RULE
from georgia.report.tables import format_fraction, format_interval
from georgia.text import count_noun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What such metrics are of, for a reader who expects those of the file itself.
BASIS = (
    "All metrics are cross-validated: each image was predicted by a model of the same kind that had learned "
    "from none of its group. The exported file has learned from all of these images, so none is left to test "
    "it on; how often it rejects images of known classes is not in the metrics."
)


@dataclass(frozen=True)
class Namer:
    """Who named, the first and the last time (to the minute, UTC), and how many images of each class."""

    who: str
    first: str
    last: str
    by_class: Mapping[str, int]


@dataclass(frozen=True)
class CurvePlace:
    """Macro F1 with its 95 % confidence interval after ``n`` labels; measured, or a forecast."""

    n: int
    f1: float
    f1_ci95: Interval
    is_forecast: bool = False


@dataclass(frozen=True)
class Learning:
    """Labels and learning curve of a model.

    ``even`` are the metrics of the evenly sampled images alone, None where these are too few.
    ``n_even_without_class`` of the even sample are of no class, or unclear, ``n_even_missing`` have no name.
    ``reasons`` counts why images were chosen; ``curve_text`` tells what more labels would bring.
    """

    even: Metrics | None
    n_even_without_class: int
    n_even_missing: int
    namers: tuple[Namer, ...]
    reasons: Mapping[str, int]
    n_neither: int
    n_unclear: int
    curve: tuple[CurvePlace, ...]
    curve_text: str

    def describe_validity(self) -> str:
        """Return what the metrics hold for, in a sentence or two."""
        if self.even is None:
            return (
                "Too few images were sampled evenly: the metrics are those of what was chosen to be named, "
                "not of the whole source."
            )
        macro, n = self.even.macro, count_noun(self.even.n, "evenly sampled image")
        text = (
            f"For the whole source: macro F1 {format_fraction(macro.f1)} ({format_interval(macro.f1_ci95)}), "
            f"on the {n}."
        )
        absent = [name for name, row in self.even.per_class.items() if not row.support]
        if absent:
            text += f" No {' or '.join(absent)} is among these: what holds there is not known."
        without = {"of no class, or unclear": self.n_even_without_class}
        without["without a name, passed over or not reached yet"] = self.n_even_missing
        lacking = [f"{count_noun(n, 'evenly sampled image')} {why}" for why, n in without.items() if n]
        if lacking:
            text += f" Not in it: {'; '.join(lacking)}."
        if sum(self.reasons.values()) > self.even.n:
            text += (
                " Others were chosen because they are hard or unlike, so the metrics below may be too low."
            )
        return text

    def describe_reasons(self) -> str:
        """Return why images were chosen to be named, and how many names are no class."""
        chosen = ", ".join(f"{reason} {n:,}" for reason, n in self.reasons.items())
        apart = [
            f"{n:,} {name}" for name, n in (("neither", self.n_neither), ("unclear", self.n_unclear)) if n
        ]
        more = f" Named and not learned: {', '.join(apart)}." if apart else ""
        return f"Why they were chosen: {chosen}.{more}"


def draw_learning_curve(result: Learning, axes: Axes) -> dict[str, Any]:
    """Draw cross-validated macro F1 against the number of labels, and the forecast with its intervals."""
    plotted: dict[str, Any] = {}
    for name, is_forecast, color in (("measured", False, BLUE), ("forecast", True, MUTED)):
        places = [place for place in result.curve if place.is_forecast is is_forecast]
        if not places:
            continue
        n, f1 = [place.n for place in places], [place.f1 for place in places]
        below = [place.f1 - place.f1_ci95[0] for place in places]
        above = [place.f1_ci95[1] - place.f1 for place in places]
        style = "--" if is_forecast else "-"
        axes.errorbar(
            n,
            f1,
            [below, above],
            color=color,
            marker="o",
            linestyle=style,
            capsize=3,
            label=name,
            linewidth=1.6,
        )
        plotted[name] = {"n": n, "f1": f1}
    axes.set_xlabel("labels learned from")
    axes.set_ylabel("macro F1, cross-validated")
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    if len(plotted) > 1:
        axes.legend(loc="best", frameon=False)
    return plotted
