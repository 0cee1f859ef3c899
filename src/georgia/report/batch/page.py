"""The page of a batch: filled from its facts, bounded in size, written once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from georgia.config import flatten_config
from georgia.errors import InputError
from georgia.files import OutputLock, check_target, write_text
from georgia.monitor.batch_frames import BatchFrames
from georgia.monitor.connect import naming_damage
from georgia.monitor.records import Alarm, AuditAction, AuditEvent
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.spotchecks import hash_plan
from georgia.report.batch.compare import describe_origin
from georgia.report.batch.facts import BatchFacts, read_frame
from georgia.report.batch.figures import (
    FRACTION_SIZE_IN,
    INPUT_SIZE_IN,
    draw_fraction,
    draw_input,
    has_input,
    list_changes,
)
from georgia.report.batch.key_frames import FrameImages, choose_frames, show_frame
from georgia.report.batch.moments import describe_moments
from georgia.report.batch.process import describe_process, draw_process, find_size, group_by_unit
from georgia.report.batch.verdict import assess_batch, format_fraction, format_seconds
from georgia.report.canvas import figure_url, shorten
from georgia.report.render import render_template
from georgia.text import make_printable

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader

T = TypeVar("T")
# Rows of each table of the page; of more, the first and the last halves are shown and the others counted.
MOST_ROWS = 200
_MOST_FAULTS, _MOST_SPANS, _MOST_PARTS = 50, 12, 10
_LONGEST_TEXT, _LONGEST_CARD = 600, 20_000
# Characters of a name in the title and at the edge of a printed page.
_TITLE_CHARS = 80


@dataclass(frozen=True)
class Cut(Generic[T]):
    """The first and the last rows of a table, and how many were left out between them."""

    first: tuple[T, ...]
    last: tuple[T, ...]
    n_left_out: int
    n: int


def cut_rows(rows: Sequence[T], most: int = MOST_ROWS) -> Cut[T]:
    """Return as many rows as a page shows.

    >>> cut_rows("abcdefg", 4)
    Cut(first=('a', 'b'), last=('f', 'g'), n_left_out=3, n=7)
    """
    if len(rows) <= most:
        return Cut(tuple(rows), (), 0, len(rows))
    half = most // 2
    return Cut(tuple(rows[:half]), tuple(rows[-half:]), len(rows) - 2 * half, len(rows))


def add_key_frames(facts: BatchFacts, reader: StoreReader, images: FrameImages) -> BatchFacts:
    """Return the facts with the frames that tell the batch's story, each with its windows.

    Raises:
        InputError: a frame's row was altered.
    """
    shown = [
        show_frame(*read_frame(reader, number), reasons, images)
        for number, reasons in choose_frames(facts.frames, facts.alarms)
    ]
    return replace(facts, key_frames=tuple(shown))


def render_batch(facts: BatchFacts, paper: str = "A4") -> str:
    """Return the page as HTML without scripts, which loads nothing; ``paper`` is the size it prints on."""
    has_frames = bool(len(facts.frames))
    with naming_damage():  # of what is JSON in the store
        parts = _describe_parts(facts)
    return render_template(
        "batch.html.jinja",
        **parts,
        facts=facts,
        batch=facts.batch,
        title=shorten(facts.batch.name, _TITLE_CHARS),
        margin=_margin_text(facts),
        verdict=assess_batch(facts),
        summary=_summarize(facts) if has_frames else [],
        fraction_figure=figure_url(draw_fraction, facts, FRACTION_SIZE_IN) if has_frames else "",
        input_figure=figure_url(draw_input, facts, INPUT_SIZE_IN) if has_input(facts) else "",
        process=_show_process(facts),
        moments=_show_moments(facts),
        gaps=cut_rows(facts.gaps),
        pauses=cut_rows(facts.pauses),
        n_parts=_MOST_PARTS,
        verification=facts.verification,
        faults=facts.verification.faults[:_MOST_FAULTS],
        ends=_describe_ends(facts),
        percent=format_fraction,
        seconds=format_seconds,
        at=facts.times,
        plain=_plain,
        paper=paper,
        origin=describe_origin(facts, paper),
    )


def _describe_parts(facts: BatchFacts) -> dict[str, Any]:
    """Return the sections that are made of rows of the store."""
    return {
        "head": _describe_head(facts),
        "limits": _describe_limits(facts),
        "changes": cut_rows([_describe_change(facts, event) for event in list_changes(facts)]),
        "alarms": cut_rows([_describe_alarm(facts, alarm) for alarm in facts.alarms]),
        "states": _count_states(facts),
        "checks": [
            each if isinstance(each, str) else _describe_check(facts, each)
            for each in facts.checks[:_MOST_PARTS]
        ],
        "models": [_describe_model(model) for model in facts.models[:_MOST_PARTS]],
        "settings": _describe_settings(facts.settings),
        "events": cut_rows([_describe_event(facts, event) for event in facts.events]),
    }


def _show_process(facts: BatchFacts) -> dict[str, Any]:
    """Return the figure of the process and its tables, {} where the store holds none of it."""
    process = facts.process
    if process is None:
        return {}
    has_lines = bool(group_by_unit(process))
    found = describe_process(facts)
    tables = {name: cut_rows(found[name]) for name in ("variables", "events", "laboratory")}
    return {
        **found,
        **tables,
        "figure": figure_url(draw_process, facts, find_size(process)) if has_lines else "",
    }


def _show_moments(facts: BatchFacts) -> dict[str, Any]:
    found = describe_moments(facts)
    return {**found, "rows": cut_rows(found["rows"])} if found else {}


def save_batch_page(facts: BatchFacts, target: Path, paper: str = "A4") -> str:
    """Write the page whole or not at all, and over no other file; return its HTML.

    Raises:
        InputError: there is a file of that name, or another process writes it.
        OSError: the folder cannot be written to.
    """
    with hold_new_file(target):
        page = render_batch(facts, paper)
        write_text(target, page)
    return page


@contextmanager
def hold_new_file(target: Path) -> Iterator[None]:
    """Let no other process write a file meanwhile that is not there yet.

    Raises:
        InputError: it is there, or another process writes it.
        UnwritableFileError: its folder cannot be made or written to.
    """
    check_target(target)
    lock = OutputLock(target)
    try:
        check_new(target)
        yield
    finally:
        lock.release()


def check_new(target: Path) -> None:
    """Reject a file that is there: a report that was filed is never written over.

    Raises:
        InputError: it is there.
    """
    if target.exists() or target.is_symlink():
        raise InputError(
            f"Cannot write {str(target)!r}",
            needs="a name that no file has is needed",
            got="a file, which is left as it is",
            hint="Name another --out; a folder gets a new name for each report.",
        )


def _plain(value: object, longest: int = _LONGEST_TEXT) -> str:
    """Return a value as a text that can be shown, cut where it is too long for a page."""
    text = make_printable(value if isinstance(value, str) else str(value))
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest:,} more characters)"


def _margin_text(facts: BatchFacts) -> str:
    r"""Return the batch's name as a string of CSS for the edge of each printed page."""
    text = f"Batch {facts.batch.id}: {shorten(facts.batch.name, 60)}"
    return "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):06x} " for c in text)


def _describe_head(facts: BatchFacts) -> dict[str, str]:
    batch, times, frames = facts.batch, facts.times, facts.frames
    began = facts.find_event(AuditAction.BATCH_BEGAN)
    ended = facts.find_event(AuditAction.BATCH_ENDED)
    started = facts.find_event(AuditAction.MONITOR_STARTED)
    lines = {
        "batch": f"{batch.name} (number {batch.id} in the store)",
        "product, probe": f"{batch.note or 'no note'}; frames of {batch.source or '–'}",
        "operator": batch.operator or "–",
        "began": times(batch.started_at_s) + (f", by {began.who}" if began else ""),
        "ended": "NOT ENDED"
        if batch.ended_at_s is None
        else times(batch.ended_at_s) + (f", by {ended.who}" if ended else ""),
        "frames": f"{len(frames):,}"
        + (
            f", taken {times(float(frames.times_s.min()))} to {times(float(frames.times_s.max()))}"
            if len(frames)
            else ""
        ),
        "charted": f"{batch.impurity}, as a fraction of the analysed windows{_describe_skipped(frames)}",
        "monitor": "–" if started is None else f"Georgia {started.detail.get('version', '–')}",
        "this page": f"read {times(facts.read_at_s)} from {facts.store}",
    }
    if ended is not None and ended.detail.get("reason"):
        lines["ended"] += f": {ended.detail['reason']}"
    return {name: _plain(value) for name, value in lines.items()}


def _describe_skipped(frames: BatchFrames) -> str:
    """Return in how many frames how many windows were left out, "" where none was."""
    n_skipped = np.nan_to_num(frames.numbers["n_skipped"])
    n_frames = int((n_skipped > 0).sum())
    if not n_frames:
        return ""
    mean = n_skipped[n_skipped > 0].mean()
    return f"; in {n_frames:,} of {len(frames):,} frames some windows were left out, {mean:.0f} in the mean"


def _summarize(facts: BatchFacts) -> list[dict[str, str]]:
    """Return the batch in up to twelve spans with an equal number of frames."""
    frames = facts.frames
    rows = []
    for own in np.array_split(np.arange(len(frames)), min(_MOST_SPANS, len(frames))):
        fraction, ewma = frames.numbers["fraction"][own], frames.numbers["ewma"][own]
        has_any, last = np.isfinite(fraction).any(), int(own[-1])
        with_ewma = own[np.isfinite(ewma)]
        at = int(with_ewma[-1]) if len(with_ewma) else last
        smoothed = (frames.at(name, at) for name in ("ewma", "ewma_low", "ewma_high"))
        rows.append(
            {
                "from": facts.times(float(frames.times_s[own[0]])),
                "to": facts.times(float(frames.times_s[last])),
                "frames": f"{len(own):,}",
                "mean": format_fraction(float(np.nanmean(fraction)) if has_any else None),
                "range": f"{100 * np.nanmin(fraction):.1f}–{100 * np.nanmax(fraction):.1f} %"
                if has_any
                else "–",
                "smoothed": format_fraction(*smoothed),
                "limit": format_fraction(frames.at("ewma_limit", last)),
                "alarm": f"{int(frames.alarm[own].sum()):,}",
            }
        )
    return rows


def _describe_limits(facts: BatchFacts) -> dict[str, str]:
    found = facts.limits
    spread = "" if found.get("sigma") is None else f", σ {100 * found['sigma']:.2f} points"
    confirmed = f"confirmed by {found['confirmed_by']}" if found.get("confirmed_by") else "plausible"
    lines = {
        "chart that raises the alarm": found.get("chart") or "–",
        "plain limit on the smoothed fraction": format_fraction(found.get("limit")),
        "mean in control": "not known yet"
        if found.get("mean") is None
        else format_fraction(found["mean"]) + spread,
        "whose limits": found.get("origin") or "none were in force",
        "frames they are learned from": f"{found.get('baseline_frames') or '–'}"
        + (f", {found.get('n_baseline') or 0:,} so far" if found.get("mean") is None else ""),
        "confirmed": "–"
        if found.get("mean") is None
        else confirmed
        if found.get("is_confirmed", True)
        else "NOT CONFIRMED by anybody",
    }
    for name, change in (found.get("changed") or {}).items():
        reason = change.get("reason") or "no reason was given"
        lines[f"{name}, changed"] = facts.times.in_text(
            f"{change['value']}, by {change['who']}, {change['at']}: {reason}"
        )
    return {_plain(name): _plain(value) for name, value in lines.items()}


def _describe_change(facts: BatchFacts, event: AuditEvent) -> dict[str, str]:
    detail = dict(event.detail)
    changes = detail.pop("changes", None)
    reason = detail.pop("reason", None)
    for name in ("model_sha256", "promotion"):  # the audit log at the end has both
        detail.pop(name, None)
    what = (
        "; ".join(f"{name}: {_show(old)} → {_show(new)}" for name, (old, new) in changes.items())
        if _are_pairs(changes)
        else "; ".join(f"{name} {_show(value)}" for name, value in detail.items())
    )
    return {
        "at": facts.times(event.at_s),
        "who": _plain(event.who),
        "action": _plain(event.action),
        "what": _plain(what),
        "reason": _plain(reason) if reason else "–",
    }


def _are_pairs(changes: object) -> bool:
    return isinstance(changes, Mapping) and all(
        isinstance(pair, list) and len(pair) == 2 for pair in changes.values()
    )


def _show(value: object) -> str:
    return (
        "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _describe_alarm(facts: BatchFacts, alarm: Alarm) -> dict[str, str]:
    times = facts.times
    steps = [f"raised {times(alarm.raised_at_s)}, by the frame of {times(alarm.frame_time_s)}"]
    if alarm.cleared_at_s is not None:
        steps.append(f"over {times(alarm.cleared_at_s)}")
    if alarm.shelved_at_s is not None:
        until = times(alarm.shelved_until_s)
        steps.append(
            f"shelved {times(alarm.shelved_at_s)} until {until} by {alarm.shelved_by}: {alarm.shelved_reason}"
        )
    if alarm.closed_at_s is not None:
        reason = f": {alarm.closed_reason}" if alarm.closed_reason else ""
        steps.append(f"closed {times(alarm.closed_at_s)} by {alarm.closed_by}{reason}")
    is_open = alarm in facts.open_alarms
    said = f": {alarm.note}" if alarm.note else ""
    return {
        "number": str(alarm.id),
        "reason": _plain(alarm.reason),
        "fraction": format_fraction(alarm.fraction, alarm.low, alarm.high),
        "steps": _plain(" · ".join(steps)),
        "who": _plain(f"{alarm.acknowledged_by}, {times(alarm.acknowledged_at_s)}{said}")
        if alarm.acknowledged_at_s is not None
        else "nobody",
        "open": "open" if is_open else "",
    }


def _count_states(facts: BatchFacts) -> list[tuple[str, int]]:
    """Return each state of the probe with its number of frames, the most frequent first."""
    counts: dict[str, int] = {}
    for state in facts.frames.texts["state"]:
        counts[state] = counts.get(state, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])[: 2 * _MOST_SPANS]


def _describe_check(facts: BatchFacts, found: Any) -> dict[str, Any]:
    interval, body = found.result.interval, found.check.body
    raw = found.result.raw_fraction
    said = "no window is named" if interval is None else ""
    return {
        "number": found.check.id,
        "target": _plain(found.result.target),
        "said": said or format_fraction(interval.fraction, interval.low, interval.high),
        "percent_of": f"{100 * body['settings']['confidence']:g}",
        "raw": format_fraction(raw),
        "named": f"{len(found.names):,} of {found.check.n_sampled:,}",
        "by": _plain(", ".join(found.named_by) or "–"),
        "planned": _plain(f"{facts.times(found.check.planned_at_s)} by {found.check.planned_by}"),
        "reason": _plain(found.check.reason),
        "last": facts.times(found.names[-1].at_s) if found.names else "–",
        "of": f"{body['n_windows']:,} windows of {body['n_frames']:,} frames, up to frame "
        f"{body['through']['ordinal']:,}",
        "is_part": found.is_part,
        "plan": hash_plan(found.check.plan),
        "counts": found is facts.checked,
        "curve": [
            {
                "from": facts.times(span.from_s),
                "to": facts.times(span.to_s),
                "said": format_fraction(span.interval.fraction, span.interval.low, span.interval.high),
                "raw": format_fraction(span.raw_fraction),
                "n": f"{span.interval.n:,} of {span.n_windows:,}",
            }
            for span in found.curve[:MOST_ROWS]
        ],
    }


def _describe_model(model: Any) -> dict[str, Any]:
    known = model.description
    name = known.get("name")
    facts = {key: _show_json(value) for key, value in known.items() if key != "name"}
    card = make_printable_lines(model.card)
    return {
        "name": _plain(name) if name else "its description is not in the store",
        "sha256": _plain(model.sha256),
        "n_frames": model.n_frames,
        "facts": facts,
        "card": card[:_LONGEST_CARD],
        "n_more": max(0, len(card) - _LONGEST_CARD),
    }


def make_printable_lines(text: str) -> str:
    """Return a text of several lines with escapes for what cannot be shown."""
    return "\n".join(make_printable(line) for line in text.splitlines())


def _describe_settings(settings: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return each setting with its value, and whether it is another one than the default."""
    defaults = flatten_config(MonitorConfig())
    plain = {**defaults, "threads": MonitorConfig().n_threads, "watch": str(defaults["watch"])}
    return [
        (
            _plain(name),
            _plain(_show(value)),
            name not in plain or _show(plain[name]) != _show(value),
        )
        for name, value in sorted(settings.items())
    ]


def _describe_event(facts: BatchFacts, event: AuditEvent) -> dict[str, str]:
    return {
        "seq": f"{event.seq:,}",
        "at": facts.times(event.at_s),
        "who": _plain(event.who),
        "action": _plain(event.action),
        "detail": _plain("; ".join(f"{name}: {_show_json(value)}" for name, value in event.detail.items())),
        "hash": _plain(event.hash[:12]),
    }


def _show_json(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else _show(value)
    return _plain(shown)


def _describe_ends(facts: BatchFacts) -> dict[str, str]:
    """Return the ends of what the page was read from."""
    found, frames = facts.verification, facts.frames
    lines = {"head of the record": found.head, "end of the audit log": found.log_head}
    if len(frames):
        lines[f"chain at frame {int(frames.ids[-1])} (the batch's last)"] = frames.chain
    if facts.events:
        last = facts.events[-1]
        lines[f"audit log, entry {last.seq} (the batch's last)"] = last.hash
    return {name: _plain(value) for name, value in lines.items()}
