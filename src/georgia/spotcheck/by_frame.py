"""What spot checks say, frame by frame: the fraction of the part of the batch's time that a frame lies in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from georgia.errors import InputError
from georgia.spotcheck.checked import CheckedFractions
from georgia.spotcheck.curve import Span

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.result import FrameResult
    from georgia.spotcheck.checked import CheckedFraction

_log = logging.getLogger(__name__)
COLUMNS = ("fraction_checked", "fraction_checked_low", "fraction_checked_high")
_NOTHING: Mapping[str, float | None] = dict.fromkeys(COLUMNS)


@dataclass(frozen=True)
class _Part:
    """The frames of one plan, ``first`` < number ≤ ``last``, and the parts of their time."""

    first: int
    last: int
    spans: tuple[Span, ...]


class CheckedFrames:
    """Looks up what people found of the part of a batch that a frame lies in; None where no check is of it.

    The values are means over that part, with an interval that holds whatever the net does, for all parts at
    once: they are not of the frame alone.
    """

    columns = COLUMNS

    def __init__(self, parts: Mapping[int, tuple[_Part, ...]]) -> None:
        self._parts = parts

    @classmethod
    def read(cls, reader: StoreReader, batch_id: int | None = None) -> CheckedFrames | None:
        """Return what the checks of a batch, or of all, say; None where nobody has named a window.

        A check whose rows were altered says nothing; a warning names it.
        """
        checks, parts = CheckedFractions(reader), {}
        for number in _list_batches(reader) if batch_id is None else [batch_id]:
            try:
                found = checks.counting(reader.batch(number))
            except InputError as error:
                _log.warning("batch %d has no checked fractions in the table: %s", number, error)
                continue
            if found is not None:
                parts[number] = _cut(found)
        return cls(parts) if parts else None

    def find(self, frame: FrameResult) -> Mapping[str, float | None]:
        """Return the checked fraction, 0–1, and its limits by the names of their columns."""
        for part in self._parts.get(frame.batch_id, ()):
            if not part.first < frame.frame_id <= part.last:
                continue
            for span in part.spans:
                if span.from_s <= frame.frame_time_s <= span.to_s:
                    found = span.interval
                    return dict(zip(COLUMNS, (found.fraction, found.low, found.high), strict=True))
        return _NOTHING


def _list_batches(reader: StoreReader) -> list[int]:
    try:
        return sorted({check.batch_id for check in reader.spotchecks()})
    except InputError as error:
        _log.warning("no checked fractions are in the table: %s", error)
        return []


def _cut(found: CheckedFraction) -> tuple[_Part, ...]:
    parts, first, at = [], 0, 0
    for each in found.parts:
        n_spans = len(each.check.body["spans"])
        parts.append(_Part(first, each.check.through_frame, found.curve[at : at + n_spans]))
        first, at = each.check.through_frame, at + n_spans
    return tuple(parts)
