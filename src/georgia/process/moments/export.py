"""Moments as a table: CSV and JSON."""

from __future__ import annotations

import json
from typing import Any

from georgia.monitor.columns import iso_time
from georgia.process.moments.result import BatchMoments, Moment
from georgia.text import format_table

COLUMNS = (
    *("batch", "kind", "number", "point", "finding", "state", "time", "low", "high", "temperature"),
    *(
        "temperature_low",
        "temperature_high",
        "unit",
        "known",
        "decided_by",
        "decided_at",
        "note",
        "text",
        "notes",
    ),
)


def list_rows(found: BatchMoments) -> list[dict[str, Any]]:
    """Return a row for each moment; ``time``, ``low`` and ``high`` are those that hold."""
    return [_make_row(found.batch_id, moment) for moment in found.moments]


def _make_row(batch_id: int, moment: Moment) -> dict[str, Any]:
    at, decision = moment.temperature, moment.decision
    low_s, high_s = moment.shown_interval
    is_shown = moment.shown_s is not None
    # A corrected time has another temperature than the suggested one, which is not known here.
    is_own = at is not None and (decision is None or moment.shown_s == moment.time_s)
    values = (
        *(batch_id, str(moment.kind), moment.number, moment.point, str(moment.finding), str(moment.state)),
        iso_time(moment.shown_s),
        *(iso_time(low_s) if is_shown else None, iso_time(high_s) if is_shown else None),
        *((at.value, at.low, at.high, at.unit) if at is not None and is_own else (None, None, None, None)),
        iso_time(moment.known_s),
        *((decision.who, iso_time(decision.at_s), decision.note) if decision else (None, None, None)),
        moment.text,
        "; ".join(moment.notes),
    )
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(found: BatchMoments) -> str:
    """Return the table as CSV, its header first."""
    return format_table(COLUMNS, list_rows(found))


def write_json(found: BatchMoments) -> str:
    """Return everything that is known of the moments as JSON."""
    return json.dumps(found.to_json_dict(), ensure_ascii=False, indent=1) + "\n"
