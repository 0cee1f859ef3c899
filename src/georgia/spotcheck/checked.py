"""What a stored spot check says of its batch now, with the names of the checks that it extends."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError
from georgia.monitor.connect import naming_damage
from georgia.monitor.spotchecks import StoredCheck, WindowName, find_standing, hash_plan
from georgia.spotcheck.check import SpotcheckResult, compare_parts
from georgia.spotcheck.curve import Span
from georgia.spotcheck.forecast import MOST_NAMES, count_names
from georgia.spotcheck.in_store import SampledWindow, estimate_spans, list_windows, read_plan
from georgia.spotcheck.names_table import find_kinds
from georgia.spotcheck.plan import SpotcheckConfig

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch


@dataclass(frozen=True, eq=False)
class CheckedPart:
    """A check that another one extends, with the names that stand."""

    check: StoredCheck
    names: tuple[WindowName, ...]


@dataclass(frozen=True, eq=False)
class CheckedFraction:
    """What a check says of its batch now; ``names`` are those of its own windows that stand.

    ``curve`` is the fraction over time, () before the first name. ``is_part``: the batch has frames that
    came after the plan, which the fraction is not about. ``before`` are the checks that it extends, oldest
    first; the fraction is of their windows, too.
    """

    check: StoredCheck
    names: tuple[WindowName, ...]
    result: SpotcheckResult
    is_part: bool
    curve: tuple[Span, ...] = ()
    before: tuple[CheckedPart, ...] = ()

    @property
    def parts(self) -> tuple[CheckedPart, ...]:
        """Return all checks that the fraction rests on, oldest first."""
        return (*self.before, CheckedPart(self.check, self.names))

    def count(self, name: str) -> int:
        """Return the sum of a number over the plans of all parts, such as ``n_frames``."""
        bodies = [part.check.body for part in self.parts]
        # Plans of an earlier version are of monitors that left no window out.
        return sum(int(body.get(name, 0) if name == "n_skipped" else body[name]) for body in bodies)

    def list_named(self) -> list[tuple[StoredCheck, SampledWindow, WindowName]]:
        """Return all windows that were named, each with its check, in the order of the plans."""
        return [
            (part.check, window, row)
            for part in self.parts
            for window, row in zip(list_windows(part.check), part.names, strict=False)
        ]

    @property
    def named_by(self) -> list[str]:
        """Return who named windows."""
        return sorted({row.who for part in self.parts for row in part.names})

    @property
    def is_complete(self) -> bool:
        """Tell whether all sampled windows are named."""
        return len(self.names) == self.check.n_sampled

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form, times as ISO 8601."""
        body = self.check.body
        return {
            "check": self.check.id,
            **self.result.to_json_dict(),
            "confidence": body["settings"]["confidence"],
            "is_complete": self.is_complete,
            "is_part": self.is_part,
            "through_ordinal": body["through"]["ordinal"],
            "through_time": body["through"]["frame_time"],
            "n_frames": self.count("n_frames"),
            "n_frames_without": self.count("n_frames_without"),
            "n_skipped": self.count("n_skipped"),
            "extends": [part.check.id for part in self.before],
            "named_by": self.named_by,
            "named_at": self.names[-1].at if self.names else None,
            "curve": [span.to_json_dict() for span in self.curve],
        }


class CheckedFractions:
    """The checks of a store's batches, each computed once a name; safe to use from several threads."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._known: dict[int, tuple[int, CheckedFraction]] = {}
        self._lock = threading.Lock()

    def newest(self, batch: Batch) -> CheckedFraction | None:
        """Return the newest check of a batch, which is the one to go on with; None without any."""
        found = self._reader.spotchecks(batch.id)
        return self._measure(found[0], batch) if found else None

    def counting(self, batch: Batch) -> CheckedFraction | None:
        """Return the newest check of a batch that has a name: the one that counts; None without any."""
        for check in self._reader.spotchecks(batch.id):
            measured = self._measure(check, batch)
            if measured.names:
                return measured
        return None

    def _measure(self, check: StoredCheck, batch: Batch) -> CheckedFraction:
        with self._lock:
            known = self._known.get(check.id)
        with naming_damage():
            is_part = batch.n_frames > check.body["through"]["ordinal"]
        # A check that was extended is named no more: what it extends does not change.
        if known is None or known[0] != check.n_entries:
            known = (check.n_entries, measure_check(self._reader, check, is_part))
            with self._lock:
                self._known[check.id] = known
        found = known[1]
        return found if found.is_part == is_part else replace(found, is_part=is_part)


def measure_check(reader: StoreReader, check: StoredCheck, is_part: bool = False) -> CheckedFraction:
    """Return what the names of a check say, as they stand in the store now, with those that it extends."""
    names = tuple(find_standing(reader.spotcheck_names(check.id)))
    before = _read_before(reader, check)
    parts = [(part.check, read_plan(part.check), [row.name for row in part.names])
             for part in (*before, CheckedPart(check, names))]  # fmt: skip
    with naming_damage():
        n_spans = sum(len(part.body["spans"]) for part, _, _ in parts)
        wanted = n_spans if before else None
        curve = tuple(span for each in parts for span in estimate_spans(*each, wanted)) if names else ()
    result = compare_parts([(plan, said) for _, plan, said in parts])
    return CheckedFraction(check, names, result, is_part, curve, before)


def _read_before(reader: StoreReader, check: StoredCheck) -> tuple[CheckedPart, ...]:
    """Return the checks that a check extends, oldest first."""
    found: list[CheckedPart] = []
    while True:
        with naming_damage():
            extends = check.body.get("extends")
            number, wanted = (int(extends["check"]), str(extends["plan_sha256"])) if extends else (0, "")
        if not number:
            return tuple(reversed(found))
        before = reader.spotcheck(number) if number < check.id else None
        if before is None or before.batch_id != check.batch_id or hash_plan(before.plan) != wanted:
            raise InputError(
                f"Cannot read spot check {check.id}",
                needs=f"the plan of spot check {number}, which it extends, is needed as it was",
                got="another one",
                hint="georgia verify finds what was altered.",
            )
        found.append(CheckedPart(before, tuple(find_standing(reader.spotcheck_names(number)))))
        check = before


def count_more(found: CheckedFraction, width: float) -> int | None:
    """Return about how many more names bring the interval to ``width``; None above 2,000 in all.

    Where a check was extended, it is how many more would if width went by the inverse of their number.

    Raises:
        InputError: ``width`` is not between 0 and 1.
    """
    plan, settings = read_plan(found.check), found.check.body["settings"]
    alpha, so_far = 1 - plan.confidence, found.result.interval
    if found.before and so_far is not None and 0 < width < 1:
        n_more = math.ceil(so_far.n * max(0.0, so_far.width / width - 1.0))
        return n_more if so_far.n + n_more <= MOST_NAMES else None
    config = SpotcheckConfig(n=settings["n"], even=settings["even"], seed=settings["seed"])
    names = find_kinds([row.name for row in found.names], plan.target)
    n = count_names(plan.population, config, width, names, alpha, so_far)
    return None if n is None else max(0, n - len(names))
