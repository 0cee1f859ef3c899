"""What a batch's report shows of its moments: suggested by the frames, and what people said of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.process.moments.decisions import MomentAction, with_decisions
from georgia.process.moments.result import BatchMoments, Finding, Moment, MomentState, TemperatureAt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from georgia.monitor.batch_frames import FloatArray
    from georgia.report.batch.facts import BatchFacts, Times

PURPLE = "#7b3f98"
# Moments that are marked in a figure; what is more stands in the table alone.
MOST_MARKS = 40
# Names that are nearer to one another than this part of the axis stand one above the other.
_NEAR, _N_LEVELS, _LEVEL_PT = 0.03, 3, 11.0
_ACTIONS = frozenset(map(str, MomentAction))


def find_decided(facts: BatchFacts) -> BatchMoments | None:
    """Return the moments with the decisions that stand in the page's part of the audit log."""
    if facts.moments is None:
        return None
    return with_decisions(facts.moments, [event for event in facts.events if event.action in _ACTIONS])


def _list_marked(facts: BatchFacts, found: BatchMoments | None) -> list[tuple[str, Moment]]:
    """Return the moments that hold and lie within the frames, each with its number on the page."""
    times = facts.frames.times_s
    if not len(times) or found is None:
        return []
    first, last = float(times.min()), float(times.max())
    return [
        (f"M{number}", moment)
        for number, moment in enumerate(found.moments, 1)
        if moment.finding != Finding.TAKEN_BACK
        and moment.shown_s is not None
        and first <= moment.shown_s <= last
    ][:MOST_MARKS]


def draw_moments(
    facts: BatchFacts, panels: Sequence[Axes], place: Callable[[FloatArray], FloatArray], lowest: int = 0
) -> list[str]:
    """Draw a line for each moment with its interval, dashed where it is suggested; return their numbers.

    ``place`` gives the place on the axis of times in seconds since 1970. The numbers stand above the first
    panel, from the level ``lowest`` on.
    """
    marked = _list_marked(facts, find_decided(facts))
    first, last = (float(end(facts.frames.times_s)) for end in (np.min, np.max)) if marked else (0.0, 1.0)
    for number, (name, moment) in enumerate(marked):
        at_s = moment.shown_s or 0.0
        low_s, high_s = (at_s if end is None else end for end in moment.shown_interval)
        if _is_open(moment):
            low_s = first
        x, low, high = place(np.array([at_s, max(first, low_s), min(last, high_s)]))
        is_suggested = moment.state == MomentState.SUGGESTED
        for axes in panels:
            axes.axvspan(low, high, color=PURPLE, alpha=0.13, linewidth=0)
            axes.axvline(x, color=PURPLE, linewidth=1.3, linestyle="--" if is_suggested else "-")
        level = lowest + _find_level(
            [each.shown_s or 0.0 for _, each in marked], number, (last - first) or 1.0
        )
        where: dict[str, Any] = {"xycoords": panels[0].get_xaxis_transform(), "textcoords": "offset points"}
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "color": PURPLE, "fontsize": 8.5}
        panels[0].annotate(name, (x, 1), (0, 2 + _LEVEL_PT * level), **where, **style)
    return [name for name, _ in marked]


def _find_level(times_s: Sequence[float], number: int, span_s: float) -> int:
    """Return on which level a name stands: above those beside it, as far as there are levels."""
    levels: list[int] = []
    for at in range(number + 1):
        near = {levels[i] for i in range(at) if abs(times_s[i] - times_s[at]) < _NEAR * span_s}
        free = (level for level in range(_N_LEVELS) if level not in near)
        levels.append(next(free, at % _N_LEVELS))
    return levels[-1]


def describe_moments(facts: BatchFacts) -> dict[str, Any]:
    """Return the table of the moments and what is said beside it, {} without a frame."""
    found = find_decided(facts)
    if found is None or not found.moments:
        return {}
    return {
        "rows": [_describe(facts.times, f"M{at}", moment) for at, moment in enumerate(found.moments, 1)],
        "n_marked": len(_list_marked(facts, found)),
        "lines": list(_list_lines(facts, found)),
        "n_waiting": sum(moment.state == MomentState.SUGGESTED for moment in found.moments),
    }


def _list_lines(facts: BatchFacts, found: BatchMoments) -> Iterator[str]:
    """Yield the width of the metastable zone, which temperature it is of, and the settings."""
    config = facts.moments_config
    for zone in found.zones:
        span = f"{zone.low:.1f} to {zone.high:.1f}"
        yield (
            f"Metastable zone width {zone.width:.1f} {zone.unit} ({span}): "
            f"of clear point {zone.clear_point} and the next cloud point, as the frames suggest them."
        )
    if not found.zones:
        yield f"No metastable zone width: {found.no_zone}."
    if found.temperature:
        yield f"The temperature is {found.temperature}; its sensor's own error is not in the intervals."
    else:
        yield f"No temperature: {found.no_temperature}."
    stated = f"{100 * config.least_impurity:g} %" if config.least_impurity else "as measured"
    yield (
        f"Settings: least_impurity {stated}, least_frames {config.least_frames}, "
        f"temperature {config.temperature or 'the only one'}. Known up to the frame of "
        f"{facts.times(found.through_s)}."
    )
    yield from found.notes


def _describe(times: Times, name: str, moment: Moment) -> dict[str, str]:
    is_shown = moment.shown_s is not None and moment.finding != Finding.TAKEN_BACK
    title = moment.point or str(moment.kind)
    number = f" ({moment.number})" if moment.number > 1 else ""
    kind = f" · {moment.kind}" if moment.point else ""
    return {
        "number": name,
        "what": f"{title}{number}{kind}",
        "at": times(moment.shown_s) if is_shown else "–",
        "interval": _tell_interval(times, moment) if is_shown else "–",
        "temperature": _tell_temperature(moment) if is_shown else "–",
        "state": str(moment.state) or str(moment.finding),
        "who": _tell_decision(times, moment),
        "text": "; ".join(_list_evidence(times, moment)),
    }


def _is_open(moment: Moment) -> bool:
    """Tell whether it may lie before the first frame; a corrected one has the interval that was given."""
    return moment.state != MomentState.CORRECTED and moment.shown_interval[0] is None


def _tell_interval(times: Times, moment: Moment) -> str:
    low_s, high_s = moment.shown_interval
    if low_s is None and high_s is None:
        return "none was given"
    low = "before the first frame" if _is_open(moment) else times(low_s) if low_s is not None else "not given"
    return f"{low} to {times(high_s) if high_s is not None else 'not given'}"


def _tell_temperature(moment: Moment) -> str:
    """Return the temperature of the suggested time; that of a corrected one is not known."""
    at: TemperatureAt | None = moment.temperature
    decision = moment.decision
    if decision is not None and decision.time_s != moment.time_s and decision.temperature is None:
        return "–"
    if at is None:
        return "–"
    return f"{at.value:.2f} {at.unit} ({at.low:.2f} to {at.high:.2f})"


def _tell_decision(times: Times, moment: Moment) -> str:
    """Return who decided, when, and why; and what was suggested, where the decision is another one."""
    decision = moment.decision
    if decision is None:
        return ""
    note = f": {decision.note}" if decision.note else ""
    said = f"by {decision.who}, {times(decision.at_s)}{note}"
    if decision.state == MomentState.CONFIRMED:
        return said
    suggested = decision.suggested_s if decision.suggested_s is not None else moment.time_s
    return f"{said}; suggested was {times(suggested) if suggested is not None else 'none'}"


def _list_evidence(times: Times, moment: Moment) -> Iterator[str]:
    for text in (moment.text, *moment.notes):
        yield times.in_text(text)
    if moment.finding == Finding.FOUND:
        figures = moment.figures
        if "windows_before" in figures and "windows_after" in figures:
            before, after = (100 * figures[f"windows_{name}"] for name in ("before", "after"))
            yield f"windows with crystals {before:.1f} % before, {after:.1f} % after"
        if "rate_per_min" in figures:
            rate, low, high = (figures[name] for name in ("rate_per_min", "rate_low", "rate_high"))
            yield f"rate {rate:.3g}/min ({low:.3g} to {high:.3g})"
        if moment.known_s is not None:
            yield f"known with the frame of {times(moment.known_s)}"
