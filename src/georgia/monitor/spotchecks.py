"""Spot checks in the record: the plan of each, and who named which window when.

The plan is written before the first window is named, and never changed. Names come in the plan's order; each
is a row of its own, and so is taking the last one back. A check of a batch that has gone on is extended by
another one, whose plan names it; from then on its own names stay as they are. All rows are sealed
(``seals``); the audit log holds the plan's hash, names that were taken back, and the end of a check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from georgia.errors import InputError
from georgia.monitor import audit_log, tables
from georgia.monitor.columns import iso_time
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from georgia.monitor.seals import Change

_PLANS, _NAMES = tables.spotchecks, tables.spotcheck_names


class NameConflictError(InputError):
    """Somebody else, or another page, has named this window meanwhile, or it is not the next one."""


@dataclass(frozen=True)
class StoredCheck:
    """One spot check of a batch; ``plan`` is its text, ``n_entries`` counts the rows of its names."""

    id: int
    batch_id: int
    planned_at_s: float
    planned_by: str
    reason: str
    target: str
    n_sampled: int
    seed: int
    through_frame: int
    plan: str
    n_entries: int

    @cached_property
    def body(self) -> Mapping[str, Any]:
        """Return what the plan holds, as ``georgia.spotcheck.in_store.make_plan`` made it.

        Raises:
            ValueError: it was altered, and is no JSON object any more.
        """
        values = json.loads(self.plan)
        if not isinstance(values, dict):
            raise ValueError(f"a plan that is no JSON object: {self.plan[:40]}")
        return values

    @property
    def planned_at(self) -> str | None:
        """Return when it was planned, as ISO 8601 in UTC."""
        return iso_time(self.planned_at_s)


@dataclass(frozen=True)
class WindowName:
    """What somebody said of the window at ``position`` of the plan, from 1; ``number`` is its row's."""

    number: int
    position: int
    name: str
    who: str
    at_s: float

    @property
    def at(self) -> str | None:
        """Return when it was said, as ISO 8601 in UTC."""
        return iso_time(self.at_s)


def hash_plan(plan: str) -> str:
    """Return the sha256 (hex) of a plan's text, as the audit log names it."""
    return hashlib.sha256(plan.encode("utf-8", "surrogateescape")).hexdigest()


def find_standing(rows: Iterable[WindowName]) -> list[WindowName]:
    """Return the names that stand, in the plan's order; ``rows`` are all that was said, in its order.

    >>> said = [WindowName(1, 1, "PG", "Ann", 0), WindowName(2, 1, "", "Ann", 1)]
    >>> [row.name for row in find_standing([*said, WindowName(3, 1, "CEX", "Ann", 2)])]
    ['CEX']
    """
    standing: list[WindowName] = []
    for row in rows:
        if row.name:
            standing.append(row)
        elif standing:
            standing.pop()
    return standing


def write_plan(change: Change, batch_id: int, plan: Mapping[str, Any], who: str, reason: str) -> int:
    """Write a plan of a batch; return the check's number.

    Raises:
        InputError: there is no such batch, nobody is named, or a check after another one has no reason.
    """
    _check_who(who)
    connection, batches = change.connection, tables.batches.c
    if connection.execute(select(batches.id).where(batches.id == batch_id)).first() is None:
        raise InputError(
            "Cannot plan a spot check", needs="a batch of the store is needed", got=f"{batch_id}"
        )
    before = connection.execute(
        select(_PLANS.c.id).where(_PLANS.c.batch_id == batch_id).order_by(_PLANS.c.id.desc()).limit(1)
    ).scalar()
    extends = plan.get("extends")
    if extends is not None and extends["check"] != before:
        raise NameConflictError(
            f"Cannot extend spot check {extends['check']}",
            needs="the newest check of its batch is needed",
            got=f"check {before} after it",
        )
    if before is not None and extends is None and not reason.strip():
        raise NameConflictError(
            "Cannot plan another spot check of this batch",
            needs="a reason is needed, which the audit log holds",
            got=f"none, and check {before} of it",
            hint="Go on with that one, extend it when the batch has gone on, or say why it is not enough.",
        )
    text = audit_log.canonical(plan)
    settings = plan["settings"]
    values = {
        "batch_id": batch_id,
        "planned_at_s": change.at_s,
        "planned_by": who.strip(),
        "reason": reason.strip(),
        "target": plan["class"],
        "n_sampled": len(plan["draws"]),
        "seed": settings["seed"],
        "through_frame": plan["through"]["frame"],
    }
    check_id = int(
        connection.execute(
            insert(_PLANS).values(**values, plan=text, n_entries=0).returning(_PLANS.c.id)
        ).scalar_one()
    )
    change.touch(_PLANS, check_id, is_new=True)
    told = {name: values[name] for name in ("target", "n_sampled", "seed", "through_frame", "reason")}
    detail = {"check": check_id, **told, "n_windows": plan["n_windows"], "plan_sha256": hash_plan(text)}
    if extends is not None:
        detail["extends"] = extends["check"]
    _log(change, who.strip(), AuditAction.SPOTCHECK_PLANNED, detail, batch_id)
    return check_id


def write_name(change: Change, check_id: int, position: int, name: str, who: str) -> int:
    """Write what somebody says of the next window; return how many are named now.

    The same said once more, as after a lost response, changes nothing.

    Raises:
        NameConflictError: the window has another name, or it is not the next one.
        InputError: there is no such check, nobody is named, or the name is none.
    """
    _check_who(who)
    check, said = _read(change, check_id)
    standing = find_standing(said)
    if name not in check.body["names"]:
        raise InputError(
            "Cannot name the window",
            needs=f"one of {', '.join(check.body['names'])} is needed",
            got=repr(name),
        )
    if 1 <= position <= len(standing):
        known = standing[position - 1]
        if (known.name, known.who) == (name, who.strip()):
            return len(standing)
        raise NameConflictError(
            f"Cannot name window {position}",
            needs="a window without a name is needed",
            got=f"{known.name!r} by {known.who!r}, {known.at}",
        )
    if position != len(standing) + 1 or position > check.n_sampled:
        raise NameConflictError(
            f"Cannot name window {position}",
            needs=f"windows are named in their order, of {check.n_sampled}",
            got=f"{len(standing)} of them named",
        )
    _add(change, check, said, WindowName(0, position, name, who.strip(), change.at_s))
    if position == check.n_sampled:
        _log(
            change,
            who.strip(),
            AuditAction.SPOTCHECK_COMPLETE,
            {"check": check_id, "n": position},
            check.batch_id,
        )
    return position


def withdraw_name(change: Change, check_id: int, position: int, who: str) -> int:
    """Take the last name back, so that the window is the next one again; return how many are named now.

    Raises:
        NameConflictError: it is not the last name that stands.
        InputError: there is no such check, or nobody is named.
    """
    _check_who(who)
    check, said = _read(change, check_id)
    standing = find_standing(said)
    if not standing or position != len(standing):
        raise NameConflictError(
            f"Cannot take back the name of window {position}",
            needs="only the last name can be taken back",
            got=f"{len(standing)} named",
        )
    _add(change, check, said, WindowName(0, position, "", who.strip(), change.at_s))
    last = standing[-1]
    detail = {"check": check_id, "window": position, "name": last.name, "named_by": last.who}
    _log(change, who.strip(), AuditAction.NAME_WITHDRAWN, detail, check.batch_id)
    return position - 1


def _read(change: Change, check_id: int) -> tuple[StoredCheck, list[WindowName]]:
    change.expects(_PLANS, check_id)
    row = change.connection.execute(select(_PLANS).where(_PLANS.c.id == check_id)).mappings().first()
    if row is None:
        raise InputError(f"Cannot find spot check {check_id}", needs="it must be in the store", got="none")
    check = StoredCheck(**row)
    _check_open(change.connection, check)
    return check, read_names(change.connection, check_id)


def _check_open(connection: Connection, check: StoredCheck) -> None:
    """Reject a check that another one extends: that one was sampled after its last name."""
    later = (
        select(_PLANS.c.id, _PLANS.c.plan)
        .where(_PLANS.c.batch_id == check.batch_id, _PLANS.c.id > check.id)
        .order_by(_PLANS.c.id)
    )
    for row in connection.execute(later):
        extends = dict(json.loads(row.plan)).get("extends")
        if extends and extends["check"] == check.id:
            raise NameConflictError(
                f"Cannot change the names of spot check {check.id}",
                needs="a check that was not extended is needed",
                got=f"one that check {row.id} extends",
                hint=f"Go on with check {row.id}.",
            )


def read_names(connection: Connection, check_id: int) -> list[WindowName]:
    """Return all that was said of a check's windows, in its order."""
    columns = (_NAMES.c[name] for name in WindowName.__dataclass_fields__)
    query = select(*columns).where(_NAMES.c.spotcheck_id == check_id).order_by(_NAMES.c.number)
    return [WindowName(**row) for row in connection.execute(query).mappings()]


def _add(change: Change, check: StoredCheck, said: Sequence[WindowName], new: WindowName) -> None:
    number = said[-1].number + 1 if said else 1
    values = {**asdict(new), "number": number}
    change.connection.execute(insert(_NAMES).values(spotcheck_id=check.id, **values))
    change.touch(_NAMES, check.id, number, is_new=True)
    # The plan's row counts them: an end that was cut off is not what its seal says.
    change.connection.execute(update(_PLANS).where(_PLANS.c.id == check.id).values(n_entries=number))
    change.touch(_PLANS, check.id)


def _log(change: Change, who: str, action: AuditAction, detail: Mapping[str, Any], batch_id: int) -> None:
    audit_log.write_event(change.connection, change.at_s, who, action, detail, batch_id)


def _check_who(who: str) -> None:
    if not who.strip():
        raise InputError("Cannot write the spot check", needs="the name of a person is needed", got="none")
