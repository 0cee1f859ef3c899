"""What people say of moments, in the audit log: confirmed, corrected, dismissed, by whom and when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError
from georgia.monitor import audit_log
from georgia.monitor.columns import iso_time
from georgia.process.moments.result import (
    CLEAR_POINT,
    CLOUD_POINT,
    BatchMoments,
    Decision,
    Finding,
    Moment,
    MomentKind,
    MomentState,
    Zone,
)

if TYPE_CHECKING:
    from georgia.monitor.records import AuditEvent
    from georgia.monitor.seals import Change

_MOST_AHEAD_S = 86_400.0


class MomentAction(StrEnum):
    """The entries of the audit log."""

    CONFIRMED = "moment confirmed"
    CORRECTED = "moment corrected"
    DISMISSED = "moment dismissed"


_STATES = {
    MomentAction.CONFIRMED: MomentState.CONFIRMED,
    MomentAction.CORRECTED: MomentState.CORRECTED,
    MomentAction.DISMISSED: MomentState.DISMISSED,
}


@dataclass(frozen=True)
class NewDecision:
    """What somebody says of a moment; a corrected one has a time, s since 1970, and may have an interval.

    ``expected`` is the number of the entry that this person saw for the moment, 0 for none; None asks for no
    comparison.
    """

    action: MomentAction
    who: str
    note: str = ""
    time_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    expected: int | None = None


def write_decision(
    change: Change,
    batch_id: int,
    moment: Moment,
    new: NewDecision,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Write a decision on a moment into the audit log; return the entry's number. A later one replaces it.

    ``settings`` are those that the moment was found with; the entry holds them.

    Raises:
        InputError: nobody is named, there is nothing to confirm, a reason or a time is missing, the time is
            not within its interval or lies in the future, or somebody else decided meanwhile.
    """
    _check(moment, new, change.at_s)
    known = _read_last(change, batch_id, moment)
    if new.expected is not None and known != new.expected:
        raise InputError(
            f"Cannot decide on {moment.kind!s} {moment.number}",
            needs=f"entry {new.expected or 'none'} of the audit log must be the last one on it",
            got=f"entry {known or 'none'}",
            hint="Somebody decided meanwhile. Look again.",
        )
    is_confirmed = new.action == MomentAction.CONFIRMED
    time_s, low_s, high_s = (
        (moment.time_s, moment.low_s, moment.high_s) if is_confirmed else (new.time_s, new.low_s, new.high_s)
    )
    detail: dict[str, Any] = {
        "moment": str(moment.kind),
        "number": moment.number,
        "suggested": iso_time(moment.time_s) if moment.finding == Finding.FOUND else None,
    }
    if new.action != MomentAction.DISMISSED:
        detail |= {"time": iso_time(time_s), "low": iso_time(low_s), "high": iso_time(high_s)}
    if is_confirmed and moment.temperature is not None:
        detail |= {"temperature": round(moment.temperature.value, 4), "unit": moment.temperature.unit}
    if settings:
        detail["settings"] = dict(settings)
    if new.note.strip():
        detail["note"] = new.note.strip()
    return audit_log.write_event(
        change.connection, change.at_s, new.who.strip(), new.action, detail, batch_id
    ).seq


def _check(moment: Moment, new: NewDecision, now_s: float) -> None:
    needs, got = "", ""
    is_confirmed, is_corrected = (
        new.action == each for each in (MomentAction.CONFIRMED, MomentAction.CORRECTED)
    )
    times = [each for each in (new.low_s, new.time_s, new.high_s) if each is not None]
    if not new.who.strip():
        needs, got = "the name of a person is needed", "none"
    elif is_confirmed and moment.finding != Finding.FOUND:
        needs, got = "a suggested moment is needed", str(moment.finding)
    elif not is_confirmed and not new.note.strip():
        needs, got = "a reason is needed", "none"
    elif is_corrected and new.time_s is None:
        needs, got = "the true time is needed", "none"
    elif is_corrected and times != sorted(times):
        needs, got = "a time within its interval is needed", str(iso_time(new.time_s))
    elif is_corrected and (not all(map(math.isfinite, times)) or max(times) > now_s + _MOST_AHEAD_S):
        needs, got = "a time that has been is needed", "a later one"
    if needs:
        raise InputError(f"Cannot decide on {moment.kind!s} {moment.number}", needs=needs, got=got)


def _read_last(change: Change, batch_id: int, moment: Moment) -> int:
    """Return the number of the last entry on a moment within the transaction, 0 without any."""
    from sqlalchemy import select

    from georgia.monitor.tables import audit_log as table

    query = select(table).where(
        table.c.batch_id == batch_id, table.c.action.in_([str(each) for each in MomentAction])
    )
    rows = change.connection.execute(query.order_by(table.c.seq)).mappings()
    found = [event for row in rows if _is_of(event := audit_log.event_of(row), moment)]
    return found[-1].seq if found else 0


def _is_of(event: AuditEvent, moment: Moment) -> bool:
    decision = read_decision(event)
    return decision is not None and _matches(decision, event, moment)


def read_decision(event: AuditEvent) -> Decision | None:
    """Return an entry of the audit log as a decision, None where it is none that can be read."""
    try:
        detail = event.detail
        return Decision(
            event.seq,
            MomentKind(detail["moment"]),
            _STATES[MomentAction(event.action)],
            event.who,
            event.at_s,
            str(detail.get("note", "")),
            _read_time(detail.get("time")),
            _read_time(detail.get("low")),
            _read_time(detail.get("high")),
            _read_time(detail.get("suggested")),
            detail.get("temperature"),
        )
    except (KeyError, ValueError, TypeError):
        return None


def _read_time(text: object) -> float | None:
    return None if text is None else datetime.fromisoformat(str(text)).timestamp()


def _matches(decision: Decision, event: AuditEvent, moment: Moment) -> bool:
    """Tell whether a decision is on a moment: its suggestion lies in the interval, or there was none."""
    if decision.kind != moment.kind or moment.finding == Finding.TAKEN_BACK:
        return False
    if decision.suggested_s is None or moment.time_s is None:
        return (
            decision.suggested_s is None and moment.time_s is None and event.detail["number"] == moment.number
        )
    low_s = moment.low_s if moment.low_s is not None else -math.inf
    # Times are written to the millisecond.
    return low_s - 0.001 <= decision.suggested_s <= (moment.high_s or moment.time_s) + 0.001


def add_decisions(moments: Sequence[Moment], events: Iterable[AuditEvent]) -> tuple[Moment, ...]:
    """Return the moments with the newest decision on each; ``events`` are oldest first.

    What somebody confirmed or corrected and the frames known now do not suggest stays, and says so.
    """
    found = list(moments)
    alone: dict[tuple[str, object], Decision] = {}
    for event in events:
        decision = read_decision(event)
        if decision is None:
            continue
        for at, moment in enumerate(found):
            if _matches(decision, event, moment):
                found[at] = replace(moment, decision=decision)
                break
        else:
            alone[decision.kind, event.detail.get("number")] = decision
    text = "the frames known now do not suggest it"
    rest = [
        Moment(decision.kind, Finding.UNKNOWN, text, number=int(str(number or 1)), decision=decision)
        for (_, number), decision in alone.items()
    ]
    return (*found, *rest)


def with_decisions(found: BatchMoments, events: Iterable[AuditEvent]) -> BatchMoments:
    """Return what the frames tell with what people said of it; ``events`` are oldest first.

    A zone's width does not hold where somebody corrected or dismissed one of its points.
    """
    moments = add_decisions(found.moments, events)
    denied = {
        (moment.point, moment.number)
        for moment in moments
        if moment.point and moment.state in (MomentState.CORRECTED, MomentState.DISMISSED)
    }
    zones = tuple(zone for zone in found.zones if not denied.intersection(_list_points(zone)))
    no_zone = found.no_zone
    if found.zones and not zones:
        no_zone = "somebody corrected or dismissed the clear or the cloud point that it would be of"
    return replace(found, moments=moments, zones=zones, no_zone=no_zone)


def _list_points(zone: Zone) -> tuple[tuple[str, int], ...]:
    return (CLEAR_POINT, zone.clear_point), (CLOUD_POINT, zone.cloud_point)
