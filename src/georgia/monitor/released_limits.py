"""Limits of an earlier batch, by which a new one is charted from its first frame on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError, suggest
from georgia.monitor.batch_tracker import find_differences
from georgia.monitor.chart import ControlLimits
from georgia.monitor.columns import iso_time
from georgia.monitor.limits_in_force import read_state
from georgia.monitor.records import Batch, find_meant, tell_batches

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader


@dataclass(frozen=True)
class ReleasedLimits:
    """Limits and the batch that they are of."""

    limits: ControlLimits
    batch: Batch

    def to_detail(self) -> dict[str, Any]:
        """Return what the audit log holds of them."""
        ended = iso_time(self.batch.ended_at_s)
        name, number = self.batch.name, self.batch.id
        reason = f"taken from batch {name!r} (number {number}), which ended {ended}"
        return {**asdict(self.limits), "from_batch": number, "reason": reason}


def find_released(store: StoreReader, source: str, wanted: str, basis: Mapping[str, Any]) -> ReleasedLimits:
    """Return the limits of a batch, by its name or number.

    Raises:
        InputError: there is no such batch of this source, or several; it runs, has no limits, or its limits
            are not confirmed; or it was measured otherwise, with another model above all.
        StoreAwayError: the store cannot be reached now.
    """
    batch = _find_batch(store, source, wanted)
    state = read_state(batch)
    limits = state.get("charts", {}).get("limits")
    if batch.ended_at_s is None:
        raise _cannot(wanted, "a batch that has ended is needed", "one that runs", "End it first.")
    if not limits:
        raise _cannot(wanted, "a batch with limits is needed", "one that ended before they were learned")
    if not state.get("is_confirmed", True):
        got = f"a mean of {limits['mean']:.1%} that nobody confirmed"
        raise _cannot(wanted, "limits that are plausible or confirmed are needed", got)
    known = state.get("basis") or _find_basis(store, batch)
    others = find_differences(known, basis)
    if others or "model" not in known:
        got = f"another {' and another '.join(others)}" if others else "frames of several models, or of none"
        if "model" in others:
            got += f" (sha256 {known['model'][:12]}…, now {basis['model'][:12]}…)"
        raise _cannot(
            wanted,
            "it must have been measured with this model, class and windows",
            got,
            "Leave it out, and limits are learned anew.",
        )
    return ReleasedLimits(ControlLimits(**limits), batch)


def _find_batch(store: StoreReader, source: str, wanted: str) -> Batch:
    batches = [batch for batch in store.batches(limit=100_000) if batch.source == source]
    found = find_meant(batches, wanted)
    if len(found) > 1:
        numbers = " or ".join(f"#{batch.id}" for batch in reversed(found))
        raise _cannot(wanted, "one batch is needed", f"several: {tell_batches(found)}", f"Say {numbers}.")
    if not found:
        hint = suggest(wanted, [batch.name for batch in batches]).strip()
        raise _cannot(wanted, f"name or number of a batch of {source!r} is needed", "none of these", hint)
    return found[0]


def _find_basis(store: StoreReader, batch: Batch) -> dict[str, Any]:
    """Return what the frames tell that a batch of version 0.1 was measured with."""
    models = store.models_of(batch.id)
    own = {"model": models[0]} if len(models) == 1 else {}
    return {**own, "impurity": batch.impurity}


def _cannot(wanted: str, needs: str, got: str, hint: str = "") -> InputError:
    return InputError(f"Cannot take limits from batch {wanted!r}", needs=needs, got=got, hint=hint)
