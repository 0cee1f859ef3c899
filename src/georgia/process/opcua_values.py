"""Values of OPC UA nodes: what is a number, of which quality, and at which time it stands in the record."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from georgia.monitor.process_record import GOOD, LONGEST_QUALITY

# The kinds of values that are numbers; a Boolean is none.
_NUMBERS = {
    *("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"),
    *("Float", "Double"),
}
NO_NUMBER, NOT_CONNECTED = "not a number", "no connection"
# A source timestamp that is farther from the server's clock is that of a clock that was never set, s.
FARTHEST_S = 86_400.0
# Two values of one node are at least so far apart where their own times do not tell them apart, s.
_STEP_S = 1e-3
# So many of the last values of a node are known, so that none is taken twice.
_MOST_KNOWN = 1000
_LONGEST_TEXT = 4096
# Bits of a status code: its info is that of a value, and the server's queue overflowed. OPC 10000-4, 7.39.1.
_IS_VALUE, _OVERFLOW = 0x0400, 0x0080


@dataclass(frozen=True)
class Sample:
    """A value as a server gave it: the number, None where it is none; ``kind`` names its type.

    ``quality`` is "good", or the name of the status code. Times are s since 1970 by the clocks of the value's
    source and of the server, None where they are not given.
    """

    value: float | None
    quality: str
    kind: str = ""
    text: str = ""
    source_s: float | None = None
    server_s: float | None = None
    has_overflow: bool = False

    @property
    def is_number(self) -> bool:
        """Tell whether its type is that of one number, whatever the quality."""
        return self.kind in _NUMBERS

    @property
    def is_good(self) -> bool:
        """Tell whether the server says that the value can be used."""
        return self.quality == GOOD


def read_sample(data: Any) -> Sample:
    """Return what an OPC UA DataValue holds."""
    status = data.StatusCode
    code = int(status.value) if status is not None else 0
    quality = GOOD if status is None or status.is_good() else str(status.name)[:LONGEST_QUALITY]
    variant = data.Value
    raw = None if variant is None else variant.Value
    kind = "" if variant is None else str(getattr(variant.VariantType, "name", variant.VariantType))
    if isinstance(raw, list | tuple) or getattr(variant, "is_array", False):
        kind = f"array of {kind}"
    value = None
    if kind in _NUMBERS and raw is not None:
        value = float(raw)
        if not math.isfinite(value):
            value, quality = None, NO_NUMBER if quality == GOOD else quality
    text = " ".join(str(raw).split()) if raw is not None else ""
    times = (seconds_of(data.SourceTimestamp), seconds_of(data.ServerTimestamp))
    has_overflow = code & _IS_VALUE != 0 and code & _OVERFLOW != 0
    return Sample(value, quality, kind, text[:_LONGEST_TEXT], *times, has_overflow)


def seconds_of(moment: Any) -> float | None:
    """Return an OPC UA time, UTC, as seconds since 1970; None where there is none."""
    if not isinstance(moment, datetime):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return aware.timestamp()
    except (OverflowError, ValueError, OSError):
        return None


Row = tuple[float, float | None, str]


def _content_of(sample: Sample) -> tuple[float | None, str]:
    is_gap = sample.value is None and sample.is_good
    return sample.value, NO_NUMBER if is_gap else sample.quality


class NodeValues:
    """What was received of one node, in the order of arrival, with the time that each value stands at.

    The source's time counts; a value without one, or with one of a clock that was never set, has the
    server's. A value that is there already is left out; one that is late stands at its own time.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[float, tuple[float | None, str]] = OrderedDict()
        self.newest_s = -math.inf
        self.newest_quality = GOOD
        self.n_late = self.n_repeated = 0

    def take(self, sample: Sample, server_now_s: float) -> Row | None:
        """Return the row of a value that the server published, None where it is known already."""
        content, at_s = _content_of(sample), sample.source_s
        if self._is_same_gap(content):
            return None
        if at_s is None or abs(at_s - server_now_s) > FARTHEST_S:
            at_s = sample.server_s
        if at_s is None or abs(at_s - server_now_s) > FARTHEST_S:
            at_s = server_now_s
        if self._known.get(at_s) == content:
            self.n_repeated += 1
            return None
        if at_s in self._known:
            # One time and another value or quality: a clock that is coarser than the changes.
            at_s = max(server_now_s, self.newest_s + _STEP_S)
        return self._put(at_s, content)

    def confirm(self, sample: Sample, server_now_s: float, least_s: float) -> Row | None:
        """Return the row of a value that was read, at the server's time; None where one is at hand."""
        source_s = sample.source_s
        if source_s is not None and self.newest_s < source_s and abs(source_s - server_now_s) <= FARTHEST_S:
            return self.take(sample, server_now_s)
        content = _content_of(sample)
        if self._is_same_gap(content):
            return None
        if server_now_s - self.newest_s < (least_s if content[1] == self.newest_quality else 0.0):
            return None
        return self._put(max(server_now_s, self.newest_s + _STEP_S), content)

    def _is_same_gap(self, content: tuple[float | None, str]) -> bool:
        """Tell whether there is no value and none before, or none for the same reason as before."""
        return content[0] is None and (self.newest_s == -math.inf or content[1] == self.newest_quality)

    def end(self, quality: str, server_now_s: float) -> Row | None:
        """Return the gap from which on nothing is known; None where the newest is such a one, or none is."""
        if self.newest_quality == quality or self.newest_s == -math.inf:
            return None
        return self._put(max(server_now_s, self.newest_s + _STEP_S), (None, quality))

    def _put(self, at_s: float, content: tuple[float | None, str]) -> Row:
        self._known[at_s] = content
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        if at_s >= self.newest_s:
            self.newest_s, self.newest_quality = at_s, content[1]
        else:
            self.n_late += 1
        return (at_s, *content)
