"""What the audit log tells of batches and alarms, compared with their tables, in stores of 0.1 too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from georgia.monitor import tables
from georgia.monitor.alarms import PASSED, RAISED_WITH
from georgia.monitor.records import AuditAction
from georgia.monitor.spotchecks import find_standing, hash_plan, read_names

if TYPE_CHECKING:
    from sqlalchemy import Connection

AddFault = Callable[[str, int, str], None]
_BEGUN_WITH = ("name", "operator", "source", "impurity", "note", "started_at_s")
_PLANNED_WITH = ("target", "n_sampled", "seed", "through_frame", "reason")
_OF_INTEREST = (
    *(AuditAction.BATCH_BEGAN, AuditAction.BATCH_ENDED),
    *(AuditAction.ALARM_RAISED, AuditAction.ALARM_ACKNOWLEDGED),
    *(AuditAction.SPOTCHECK_PLANNED, AuditAction.SPOTCHECK_COMPLETE, AuditAction.NAME_WITHDRAWN),
)


def compare_with_audit_log(connection: Connection, add_fault: AddFault) -> None:
    """Find batches, alarms and spot checks that are not as the audit log says, and documents too."""
    events: dict[str, list[dict[str, Any]]] = {action: [] for action in _OF_INTEREST}
    log = tables.audit_log.c
    query = select(log.action, log.who, log.batch_id, log.detail).where(log.action.in_(_OF_INTEREST))
    for row in connection.execute(query.order_by(log.seq)).mappings():
        events[row["action"]].append({**row, "detail": _read(row["detail"])})
    _compare_batches(connection, add_fault, events)
    _compare_alarms(connection, add_fault, events)
    _compare_spotchecks(connection, add_fault, events)
    _compare_documents(connection, add_fault)


def _read(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:  # altered: the audit log's own chain says so
        return {}
    return value if isinstance(value, dict) else {}


def _compare_batches(
    connection: Connection, add_fault: AddFault, events: Mapping[str, list[dict[str, Any]]]
) -> None:
    rows = {row["id"]: row for row in connection.execute(select(tables.batches)).mappings()}
    begun = {event["batch_id"]: event["detail"] for event in events[AuditAction.BATCH_BEGAN]}
    ended = {event["batch_id"]: event["detail"] for event in events[AuditAction.BATCH_ENDED]}
    for number, detail in begun.items():
        row = rows.get(number)
        if row is None:
            add_fault("batches", number, "it is missing: the audit log holds its beginning")
            continue
        other = [name for name in _BEGUN_WITH if name in detail and row[name] != detail[name]]
        if other:
            add_fault(
                "batches", number, f"its {', '.join(other)} is not what the audit log says it began with"
            )
    for number, row in rows.items():
        if number not in begun:
            add_fault("batches", number, "the audit log does not hold its beginning")
        if (row["ended_at_s"] is not None) != (number in ended):
            add_fault("batches", number, "the audit log holds another end of it")
        elif number in ended and ended[number].get("n_frames", row["n_frames"]) != row["n_frames"]:
            add_fault("batches", number, "it counts other frames than the audit log when it ended")


def _compare_alarms(
    connection: Connection, add_fault: AddFault, events: Mapping[str, list[dict[str, Any]]]
) -> None:
    table = tables.alarms.c
    known_columns = tables.find_columns(connection).get("alarms", frozenset())
    passed = tuple(name for name in PASSED if name in known_columns)
    names = ("id", "batch_id", "reason", "acknowledged_by", "note", *RAISED_WITH, *passed)
    rows = connection.execute(select(*(table[name] for name in names))).mappings().all()
    by_place = {(row["batch_id"], row["frame_id"]): row for row in rows}
    explained = set()
    for event in events[AuditAction.ALARM_RAISED]:
        detail = {**event["detail"], "frame_id": event["detail"].get("frame")}
        row = by_place.get((event["batch_id"], detail["frame_id"]))
        if row is None:
            add_fault(
                "alarms", int(detail.get("alarm") or 0), f"that of frame {detail['frame_id']} is missing"
            )
            continue
        explained.add(row["id"])
        told = [name for name in (*RAISED_WITH, *passed, "reason") if name in detail]
        other = [name for name in told if row[name] != detail[name]]
        if other:
            add_fault("alarms", row["id"], f"its {', '.join(other)} is not what the audit log says")
    known = {event["detail"].get("alarm"): event for event in events[AuditAction.ALARM_ACKNOWLEDGED]}
    for row in rows:
        if row["id"] not in explained:
            add_fault("alarms", row["id"], "the audit log does not hold that it was raised")
        event_of_it = known.get(row["id"])
        said = (event_of_it["who"], event_of_it["detail"].get("note")) if event_of_it else (None, "")
        if (row["acknowledged_by"], row["note"]) != said:
            add_fault("alarms", row["id"], "its acknowledgement is not what the audit log says")


def _compare_spotchecks(
    connection: Connection, add_fault: AddFault, events: Mapping[str, list[dict[str, Any]]]
) -> None:
    table, names = tables.spotchecks, tables.spotcheck_names
    has_any = {table.name, names.name} <= tables.find_columns(connection).keys()
    rows = {row["id"]: row for row in connection.execute(select(table)).mappings()} if has_any else {}
    planned = {event["detail"].get("check"): event for event in events[AuditAction.SPOTCHECK_PLANNED]}
    for number, event in planned.items():
        row, detail = rows.get(number), event["detail"]
        if row is None:
            add_fault(table.name, int(number or 0), "it is missing: the audit log holds its plan")
            continue
        other = [name for name in _PLANNED_WITH if row[name] != detail.get(name)]
        other += ["plan"] if hash_plan(row["plan"]) != detail.get("plan_sha256") else []
        other += ["batch"] if row["batch_id"] != event["batch_id"] else []
        other += ["planned_by"] if row["planned_by"] != event["who"] else []
        if other:
            add_fault(table.name, number, f"its {', '.join(other)} is not what the audit log says")
    for number, row in rows.items():
        if number not in planned:
            add_fault(table.name, number, "the audit log does not hold that it was planned")
        said = read_names(connection, number)
        if [entry.number for entry in said] != list(range(1, row["n_entries"] + 1)):
            add_fault(
                names.name, number, f"check {number} counts {row['n_entries']} rows, and has {len(said)}"
            )
        withdrawn = [(entry.position, entry.who) for entry in said if not entry.name]
        told = [
            (event["detail"].get("window"), event["who"])
            for event in events[AuditAction.NAME_WITHDRAWN]
            if event["detail"].get("check") == number
        ]
        if withdrawn != told:
            add_fault(names.name, number, "what was taken back is not what the audit log says")
        is_complete = len(find_standing(said)) == row["n_sampled"]
        was = any(event["detail"].get("check") == number for event in events[AuditAction.SPOTCHECK_COMPLETE])
        # The last name may be taken back, which the comparison above has found in the audit log.
        if (is_complete and not was) or (was and not is_complete and not withdrawn):
            add_fault(names.name, number, "the audit log holds another end of the check")


def _compare_documents(connection: Connection, add_fault: AddFault) -> None:
    table = tables.documents.c
    for row in connection.execute(select(table.id, table.body).where(table.kind == "settings")):
        if hashlib.sha256(row.body.encode("utf-8", "surrogateescape")).hexdigest() != row.id:
            add_fault("documents", 0, f"the settings {row.id[:12]}… are not what their key says")
