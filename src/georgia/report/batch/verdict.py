"""The first lines of a batch's report: released, alarms, record; then whatever limits what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from georgia.monitor.batch_frames import FloatArray
from georgia.monitor.commission import Finding
from georgia.monitor.health import HealthState, ProbeHealth
from georgia.monitor.people.roles import Meaning, Method
from georgia.report.batch.facts import BatchFacts
from georgia.text import count_noun, make_printable


class Mark(StrEnum):
    """How a line of the verdict counts."""

    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"


@dataclass(frozen=True)
class Line:
    """One line of the verdict."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class BatchVerdict:
    """The verdict on a batch: the worst of its lines, and short texts of the three first questions."""

    mark: Mark
    lines: tuple[Line, ...]
    released: str
    alarms: str
    record: str


def assess_batch(facts: BatchFacts) -> BatchVerdict:
    """Return the verdict; it is never "good" by itself: the release is a person's signature."""
    lines = tuple(_list_lines(facts))
    order = list(Mark)
    n_open = len(facts.open_alarms)
    n_faults = facts.verification.n_faults
    return BatchVerdict(
        mark=max((line.mark for line in lines), key=order.index),
        lines=lines,
        released=_name_decision(facts),
        alarms=f"{n_open:,}" if facts.alarms else "none",
        record=f"NOT whole: {count_noun(n_faults, 'fault')}"
        if n_faults
        else "whole as far as it is covered"
        if facts.verification.not_covered
        else "whole",
    )


def format_fraction(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a fraction in percent with its interval.

    >>> format_fraction(0.021, 0.01, 0.05), format_fraction(None)
    ('2.1 % (1.0–5.0 %)', '–')
    """
    if value is None:
        return "–"
    interval = "" if low is None or high is None else f" ({100 * low:.1f}–{100 * high:.1f} %)"
    return f"{100 * value:.1f} %{interval}"


def _list_lines(facts: BatchFacts) -> Iterator[Line]:
    yield _assess_end(facts)
    if facts.health is not None:
        yield _assess_monitor(facts, facts.health)
    yield _assess_release(facts)
    yield from _assess_alarms(facts)
    yield _assess_record(facts)
    if len(facts.frames):
        yield from _assess_fraction(facts)
        yield from _assess_input(facts)
    yield from _assess_time(facts)


def _name_decision(facts: BatchFacts) -> str:
    if facts.decision is None:
        return "no"
    return "yes" if facts.decision[0].meaning == Meaning.RELEASE else "rejected"


def _assess_release(facts: BatchFacts) -> Line:
    if facts.decision is None:
        return Line(
            Mark.CAUTION,
            "Not released: the store holds no release of this batch. Who releases it signs below.",
        )
    signature, n_later = facts.decision
    note = f": {make_printable(signature.note)}" if signature.note else ""
    how = f", {signature.method}" if signature.method == Method.PROVIDER else ""
    name = make_printable(signature.who)
    by = f"by {name} ({signature.role}), {facts.times(signature.signed_at_s)}{how}{note}"
    if signature.meaning == Meaning.REJECTION:
        return Line(Mark.BAD, f"Rejected {by}.")
    if n_later:
        later = f"{n_later:,} {'entry' if n_later == 1 else 'entries'}"
        return Line(Mark.CAUTION, f"Released {by}. The audit log has {later} on this batch after that.")
    return Line(Mark.GOOD, f"Released {by}.")


def _assess_end(facts: BatchFacts) -> Line:
    n, times = len(facts.frames), facts.times
    if not facts.has_ended:
        until = f", the last of {times(float(facts.frames.times_s[-1]))}" if n else ""
        return Line(
            Mark.BAD,
            f"The batch has not ended: this report is of its first {count_noun(n, 'frame')}{until}.",
        )
    if not n:
        return Line(Mark.BAD, "The batch is empty: the store holds no frame of it.")
    missing = facts.batch.n_frames - n
    text = f"The batch ended {times(facts.batch.ended_at_s)}, with {count_noun(n, 'frame')}"
    if missing > 0:
        return Line(Mark.CAUTION, f"{text}; {missing:,} more are not in the store any longer.")
    return Line(Mark.GOOD, f"{text}.")


def _assess_monitor(facts: BatchFacts, health: ProbeHealth) -> Line:
    if health.state == HealthState.UNKNOWN:
        return Line(Mark.CAUTION, "Whether its monitor runs is not known: none has left a sign of life.")
    if health.is_ok:
        return Line(Mark.GOOD, "Its monitor runs.")
    last = facts.times(health.last_beat_s)
    state = str(health.state)
    return Line(Mark.BAD, f"Its monitor does not see the probe: {state}; its last sign of life was {last}.")


def _assess_alarms(facts: BatchFacts) -> Iterator[Line]:
    if not facts.alarms:
        yield Line(Mark.GOOD, "No alarm was raised.")
        return
    n_open = len(facts.open_alarms)
    n_new = sum(alarm.acknowledged_at_s is None for alarm in facts.alarms)
    raised = f"{count_noun(len(facts.alarms), 'alarm')} raised"
    if n_open:
        n_active = sum(alarm.cleared_at_s is None for alarm in facts.alarms) if not facts.has_ended else 0
        parts = [f"{n_active:,} still active"] if n_active else []
        parts += [f"{n_new:,} acknowledged by nobody"] if n_new else []
        yield Line(Mark.BAD, f"{raised}, {n_open:,} open: {', '.join(parts)}.")
    else:
        yield Line(Mark.CAUTION, f"{raised}; all of them acknowledged.")


def _assess_record(facts: BatchFacts) -> Line:
    found = facts.verification
    if not found.is_whole:
        n = count_noun(found.n_faults, "fault")
        return Line(Mark.BAD, f"The record is not whole: {n}, named below. Nothing on this page is proved.")
    if found.not_covered:
        return Line(Mark.CAUTION, "The record is whole as far as its chains reach; what they do not: below.")
    return Line(Mark.GOOD, "The record is whole: no row was altered, removed or put in.")


def _assess_fraction(facts: BatchFacts) -> Iterator[Line]:
    frames, target = facts.frames, make_printable(facts.batch.impurity)
    ewma = frames.numbers["ewma"]
    fraction = frames.numbers["fraction"]
    if not np.isfinite(fraction).any():
        yield Line(Mark.BAD, f"No frame has a fraction of {target}: nothing could be analysed.")
        return
    if np.isfinite(ewma).any():
        last = int(np.flatnonzero(np.isfinite(ewma))[-1])
        highest = int(np.nanargmax(ewma))
        now = format_fraction(*(frames.at(name, last) for name in ("ewma", "ewma_low", "ewma_high")))
        when = facts.times(float(frames.times_s[highest]))
        most = f"at most {format_fraction(frames.at('ewma', highest))}, {when}"
        passed = {
            "its limit": bool(np.any(ewma >= _without_gaps(frames.numbers["ewma_limit"]))),
            "the plain limit": bool(np.any(ewma >= _without_gaps(facts.plain_limit))),
        }
        over = " and ".join(name for name, is_passed in passed.items() if is_passed)
        told = f"; {over} passed" if over else "; no limit on it passed"
        mark = Mark.CAUTION if over else Mark.GOOD
        yield Line(mark, f"{target}, smoothed: {now} at the end, {most}{told}.")
    has_limits = bool(np.isfinite(frames.numbers["ewma_limit"]).any() or facts.limits.get("mean") is not None)
    if not has_limits:
        yield Line(Mark.CAUTION, "No control limits were in force: its charts raised no alarm of their own.")
    elif not facts.limits.get("is_confirmed", True):
        yield Line(
            Mark.BAD, "Its limits were learned at a mean that is not plausible; nobody confirmed them."
        )
    yield _assess_checked(facts)


def _without_gaps(limits: FloatArray) -> FloatArray:
    """Return limits that nothing passes where there is none."""
    return np.where(np.isfinite(limits), limits, np.inf)


def _assess_checked(facts: BatchFacts) -> Line:
    found = facts.checked
    if found is None or found.result.interval is None:
        return Line(Mark.CAUTION, "No person has checked the fraction: it is what the model says.")
    interval, raw = found.result.interval, found.result.raw_fraction
    said = format_fraction(interval.fraction, interval.low, interval.high)
    named = f"{count_noun(interval.n, 'window')} named by {', '.join(map(make_printable, found.named_by))}"
    part = (
        "" if not found.is_part else f" It is of the first {found.check.body['through']['ordinal']:,} frames."
    )
    text = f"Checked: {make_printable(found.result.target)} {said}, from {named}.{part}"
    if raw is not None and not interval.low <= raw <= interval.high:
        return Line(
            Mark.BAD, f"{text} The model alone says {format_fraction(raw)}, which is outside of that."
        )
    return Line(Mark.CAUTION if found.is_part else Mark.GOOD, text)


def _assess_input(facts: BatchFacts) -> Iterator[Line]:
    found = facts.commissioning
    is_bad = found is not None and str(found.get("verdict")) == Finding.BAD
    override = found.get("override") if found is not None else None
    if is_bad and not override:
        yield Line(Mark.BAD, "Its images are unlike those that the model was trained on: no number holds.")
    elif is_bad and override:
        who, reason = (make_printable(str(override.get(name) or "–")) for name in ("who", "reason"))
        text = f"Its images are unlike the training images; {who} went on: {reason}"
        yield Line(Mark.CAUTION, text)
    n_states = sum(state in ("unlike training", "input drift") for state in facts.frames.texts["state"])
    if n_states:
        frames = count_noun(n_states, "frame")
        yield Line(Mark.CAUTION, f"{frames} came in state “unlike training” or “input drift”.")
    if len(facts.models) > 1:
        n = count_noun(len(facts.models), "model")
        yield Line(Mark.CAUTION, f"{n} analysed its frames, one after the other.")


def _assess_time(facts: BatchFacts) -> Iterator[Line]:
    """Yield what is missing of the batch's time, and of its frames."""
    n_none = int(np.sum(~np.isfinite(facts.frames.numbers["fraction"])))
    if n_none and n_none < len(facts.frames):
        yield Line(
            Mark.CAUTION, f"{count_noun(n_none, 'frame')} of {len(facts.frames):,} without a fraction."
        )
    if facts.gaps:
        longest = max(gap.seconds for gap in facts.gaps)
        total = sum(gap.seconds for gap in facts.gaps)
        yield Line(
            Mark.CAUTION,
            f"{count_noun(len(facts.gaps), 'gap')} without frames, {format_seconds(total)} in all, "
            f"the longest {format_seconds(longest)}.",
        )
    if facts.n_left_out:
        files = count_noun(facts.n_left_out, "file")
        yield Line(Mark.CAUTION, f"{files} left out: they could not be read or analysed.")
    if facts.pauses:
        kinds = Counter(make_printable(pause.what) for pause in facts.pauses)
        told = ", ".join(f"{kind} ({n})" if n > 1 else kind for kind, n in kinds.most_common(6))
        yield Line(Mark.CAUTION, f"{count_noun(len(facts.pauses), 'outage')}: {told}.")


def format_seconds(seconds: float) -> str:
    """Return a duration in the largest units that are apt.

    >>> format_seconds(12.4), format_seconds(754), format_seconds(7_860), format_seconds(200_000)
    ('12.4 s', '12 min 34 s', '2 h 11 min', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
