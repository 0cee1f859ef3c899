"""What happens to an alarm in the store, each with its entry in the audit log.

An alarm belongs to a batch and ends with it. Shelving and closing follow ISA-18.2: an alarm that is shelved
is put aside for a stated time and comes back by itself; each step names a person and a reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from georgia.monitor import audit_log, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.records import AlarmAction, AlarmChange, AuditAction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement

    from georgia.monitor.result import FrameResult
    from georgia.monitor.seals import Change

# An alarm is put aside for a shift or a night, not for good.
LONGEST_SHELF_MIN = 7 * 24 * 60
_TABLE = tables.alarms
# Columns that an alarm is raised with; its entry in the audit log holds them too.
RAISED_WITH = ("frame_id", "frame_time_s", "fraction", "low", "high")
# Those that say which limit was passed, behind version 0.1.
PASSED = ("chart", "value", "limit")


def apply(change: Change, frame: FrameResult, alarm_change: AlarmChange) -> None:
    """Raise an alarm with a frame, or clear the batch's active one."""
    detail: dict[str, Any] = {"frame": frame.frame_id, "fraction": frame.fraction}
    if alarm_change.kind == AlarmAction.RAISED:
        action, reason = AuditAction.ALARM_RAISED, alarm_change.reason
        passed = {name: getattr(alarm_change, name) for name in PASSED}
        values = {**{name: getattr(frame, name) for name in RAISED_WITH}, **passed}
        alarm_id = change.connection.execute(
            insert(_TABLE)
            .values(**values, batch_id=frame.batch_id, raised_at_s=change.at_s, reason=reason, note="")
            .returning(_TABLE.c.id)
        ).scalar_one()
        change.touch(_TABLE, alarm_id, is_new=True)
        detail |= {"alarm": alarm_id, **{name: values[name] for name in ("frame_time_s", "low", "high")}}
        detail |= {**passed, "raised_at_s": change.at_s}
    else:
        action, reason = AuditAction.ALARM_CLEARED, alarm_change.reason
        is_active = (_TABLE.c.batch_id == frame.batch_id) & _TABLE.c.cleared_at_s.is_(None)
        detail["alarms"] = _update(change, is_active, {"cleared_at_s": change.at_s})
    audit_log.write_event(
        change.connection, change.at_s, "georgia", action, {**detail, "reason": reason}, frame.batch_id
    )


def end_with_batch(change: Change, batch_id: int) -> None:
    """Clear and close the alarms of a batch that ends; what nobody acknowledged stays so on record."""
    is_its, table = _TABLE.c.batch_id == batch_id, _TABLE.c
    values = {"closed_at_s": change.at_s, "closed_by": "georgia", "closed_reason": "the batch ended"}
    _update(change, is_its & table.cleared_at_s.is_(None), {"cleared_at_s": change.at_s})
    for alarm_id in _update(change, is_its & table.closed_at_s.is_(None), values):
        known = select(table.acknowledged_at_s).where(table.id == alarm_id)
        is_known = change.connection.execute(known).scalar() is not None
        detail = {"alarm": alarm_id, "reason": "the batch ended", "acknowledged": is_known}
        audit_log.write_event(
            change.connection, change.at_s, "georgia", AuditAction.ALARM_CLOSED, detail, batch_id
        )


def acknowledge(change: Change, alarm_id: int, who: str, note: str) -> None:
    """Write who acknowledges an alarm, unless somebody did."""
    is_first = (_TABLE.c.id == alarm_id) & _TABLE.c.acknowledged_at_s.is_(None)
    values = {"acknowledged_at_s": change.at_s, "acknowledged_by": who, "note": note}
    if _update(change, is_first, values):
        _log(change, alarm_id, who, AuditAction.ALARM_ACKNOWLEDGED, {"note": note})


def shelve(change: Change, alarm_id: int, who: str, minutes: float, reason: str) -> None:
    """Put an alarm aside until a time."""
    until_s = change.at_s + 60 * minutes
    values = {
        "shelved_at_s": change.at_s,
        "shelved_until_s": until_s,
        "shelved_by": who,
        "shelved_reason": reason,
    }
    if _update(change, _TABLE.c.id == alarm_id, values):
        detail = {"minutes": minutes, "until": iso_time(until_s), "reason": reason}
        _log(change, alarm_id, who, AuditAction.ALARM_SHELVED, detail)


def close(change: Change, alarm_id: int, who: str, reason: str) -> None:
    """Close an alarm."""
    values = {"closed_at_s": change.at_s, "closed_by": who, "closed_reason": reason}
    if _update(change, _TABLE.c.id == alarm_id, values):
        _log(change, alarm_id, who, AuditAction.ALARM_CLOSED, {"reason": reason})


def mark_notified(change: Change, alarm_id: int) -> None:
    """Write that the webhook has taken an alarm."""
    _update(change, _TABLE.c.id == alarm_id, {"notified_at_s": change.at_s})


def _log(change: Change, alarm_id: int, who: str, action: AuditAction, detail: Mapping[str, Any]) -> None:
    batch_id = change.connection.execute(
        select(_TABLE.c.batch_id).where(_TABLE.c.id == alarm_id)
    ).scalar_one()
    audit_log.write_event(
        change.connection, change.at_s, who, action, {"alarm": alarm_id, **detail}, batch_id
    )


def _update(change: Change, where: ColumnElement[bool], values: Mapping[str, Any]) -> list[int]:
    """Change the alarms that a condition finds; return their numbers."""
    found = change.connection.execute(select(_TABLE.c.id).where(where).order_by(_TABLE.c.id)).scalars().all()
    for alarm_id in found:
        change.expects(_TABLE, alarm_id)
        change.connection.execute(update(_TABLE).where(_TABLE.c.id == alarm_id).values(**values))
        change.touch(_TABLE, alarm_id)
    return list(found)
