"""A stored spot check as a table and as one object: every named window with who, when and probabilities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from georgia.monitor.columns import iso_time
from georgia.spotcheck.checked import CheckedFraction
from georgia.text import format_table

if TYPE_CHECKING:
    from georgia.monitor.records import Batch
    from georgia.monitor.spotchecks import StoredCheck

COLUMNS = (
    *("order", "frame", "ordinal", "file", "left", "top", "width", "height", "frame_time"),
    *("probability", "name", "by", "at", "label", "target_probability", "check"),
)


def list_named(found: CheckedFraction) -> list[dict[str, Any]]:
    """Return a row for each window that was named, in the order of the plan, or of the plans in turn.

    The net's ``label`` and its ``target_probability`` of the class stand beside the name: they are told of
    named windows only, so that they lead nobody.
    """
    rows = []
    for order, (check, window, row) in enumerate(found.list_named(), start=1):
        left, top, width, height = window.box
        values = (
            *(order, window.frame_id, window.ordinal, window.file, left, top, width, height),
            *(iso_time(window.frame_time_s), window.probability, row.name, row.who, row.at),
            *(window.label, window.target_probability, check.id),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write_check_csv(found: CheckedFraction) -> str:
    """Return the named windows as a CSV table."""
    return format_table(COLUMNS, list_named(found))


def describe_check(found: CheckedFraction, batch: Batch) -> dict[str, Any]:
    """Return all of a check that may be told: result, plan, and the named windows."""
    plans = [_describe_plan(part.check) for part in found.parts]
    return {
        "batch": {"id": batch.id, "name": batch.name},
        **found.to_json_dict(),
        "plan": plans[-1],
        "plans_before": plans[:-1],
        "windows": list_named(found),
    }


def _describe_plan(check: StoredCheck) -> dict[str, Any]:
    body = check.body
    kept = ("settings", "through", "fingerprint", "models", "first_time", "last_time", "georgia")
    plan = {"planned_by": check.planned_by, "planned_at": check.planned_at, "reason": check.reason}
    return {"check": check.id, **plan, "names": body["names"], **{name: body[name] for name in kept}}


def write_check_json(found: CheckedFraction, batch: Batch) -> str:
    """Return ``describe_check`` as text."""
    return json.dumps(describe_check(found, batch), ensure_ascii=False, indent=2) + "\n"
