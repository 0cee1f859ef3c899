"""Which batches are released: the one definition that comparisons and limits go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from georgia.monitor import tables
from georgia.monitor.connect import naming_damage, reading
from georgia.monitor.people.roles import Meaning
from georgia.monitor.people.signatures import find_decision, list_signatures
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader

SIGNED, LIMITS_TAKEN = "signed", "its limits were taken"


def released_batches(store: StoreReader) -> dict[int, str]:
    """Return the numbers of all released batches, in rising order, each with how it was released.

    A batch is released by an electronic signature of that meaning, unless a later one rejects it. Without
    either it counts as released if a monitor was started with its limits (``limits_from``).

    Raises:
        InputError: a signature was altered.
        StoreAwayError: the store cannot be reached.
    """
    found: dict[int, str] = {}
    for event in store.audit_log(limit=100_000, action=str(AuditAction.LIMITS_SET)):
        number = event.detail.get("from_batch")
        if isinstance(number, int) and not isinstance(number, bool):
            found[number] = LIMITS_TAKEN
    if store.has(tables.people_signatures):
        with reading(store.engine) as connection, naming_damage():
            signatures = list_signatures(connection)
        for batch_id in {each.batch_id for each in signatures}:
            decision = find_decision([each for each in signatures if each.batch_id == batch_id])
            if decision is not None and decision.meaning == Meaning.RELEASE:
                found[batch_id] = SIGNED
            elif decision is not None:
                found.pop(batch_id, None)
    return dict(sorted(found.items()))
