"""What is known of a batch's moments: suggested by the frames, and decided by people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from georgia.monitor.columns import iso_time

CLOUD_POINT, CLEAR_POINT = "cloud point", "clear point"


class MomentKind(StrEnum):
    """What happens at a moment."""

    FIRST_CRYSTALS = "first crystals"
    CRYSTALS_AGAIN = "crystals again"
    CRYSTALS_GONE = "crystals gone"
    GROWTH_BEGINS = "growth begins"
    GROWTH_HALF = "half of growth"
    FIRST_IMPURITY = "first impurity"


class Finding(StrEnum):
    """Whether the frames tell when it was, and if not, why."""

    FOUND = "found"
    BEFORE = "before the first frame"
    NOT_YET = "not up to the last frame"
    UNKNOWN = "cannot be told"
    TAKEN_BACK = "taken back"


class MomentState(StrEnum):
    """What people have said of a moment; NONE where nothing is suggested."""

    NONE = ""
    SUGGESTED = "suggested"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    DISMISSED = "dismissed"


@dataclass(frozen=True)
class TemperatureAt:
    """The temperature at a moment, with all that it may have been within the moment's interval."""

    value: float
    low: float
    high: float
    unit: str
    per_minute: float | None = None


@dataclass(frozen=True)
class Decision:
    """What somebody said of a moment: ``state``, and the time that holds, s since 1970; None is dismissed.

    ``suggested_s`` is the time that was suggested then, None where somebody gave one that was not.
    """

    seq: int
    kind: MomentKind
    state: MomentState
    who: str
    at_s: float
    note: str
    time_s: float | None
    low_s: float | None
    high_s: float | None
    suggested_s: float | None
    temperature: float | None = None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        plain = asdict(self)
        times = {
            name.removesuffix("_s"): iso_time(plain.pop(name)) for name in list(plain) if name[-2:] == "_s"
        }
        return {**plain, **times}


@dataclass(frozen=True)
class Moment:
    """One moment; times are s since 1970, ``low_s`` to ``high_s`` holds it with 95 %.

    ``low_s`` is None where it may lie before the first frame. ``known_s`` is the time of the frame with which
    it could be suggested. ``figures`` are those before and after it, ``frame_before`` and ``frame_after`` the
    frames at the ends of its interval. ``point`` is "cloud point" or "clear point" where the temperature
    makes it one.
    """

    kind: MomentKind
    finding: Finding
    text: str
    number: int = 1
    time_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    known_s: float | None = None
    point: str = ""
    temperature: TemperatureAt | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    frame_before: int | None = None
    frame_after: int | None = None
    notes: tuple[str, ...] = ()
    decision: Decision | None = None

    @property
    def state(self) -> MomentState:
        """Return what people have said of it."""
        if self.decision is not None:
            return self.decision.state
        return MomentState.SUGGESTED if self.finding == Finding.FOUND else MomentState.NONE

    @property
    def shown_s(self) -> float | None:
        """Return the time that holds: a person's, or the suggested one; None where it is dismissed."""
        return self.time_s if self.decision is None else self.decision.time_s

    @property
    def shown_interval(self) -> tuple[float | None, float | None]:
        """Return the interval that holds; that of a corrected time is the person's."""
        if self.decision is None:
            return self.low_s, self.high_s
        return self.decision.low_s, self.decision.high_s

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form: times as ISO 8601, those that are shown in s since 1970 besides."""
        low_s, high_s = self.shown_interval
        return {
            "kind": str(self.kind),
            "number": self.number,
            "finding": str(self.finding),
            "state": str(self.state),
            "text": self.text,
            "point": self.point,
            "time": iso_time(self.time_s),
            "low": iso_time(self.low_s),
            "high": iso_time(self.high_s),
            "shown_s": self.shown_s,
            "shown_low_s": low_s if self.shown_s is not None else None,
            "shown_high_s": high_s if self.shown_s is not None else None,
            "known": iso_time(self.known_s),
            "temperature": asdict(self.temperature) if self.temperature else None,
            "figures": {name: round(value, 5) for name, value in self.figures.items()},
            "frame_before": self.frame_before,
            "frame_after": self.frame_after,
            "notes": list(self.notes),
            "decision": self.decision.to_json_dict() if self.decision else None,
        }


@dataclass(frozen=True)
class Zone:
    """A metastable zone's width: the clear point's temperature less the cloud point's, with its interval."""

    width: float
    low: float
    high: float
    unit: str
    clear_point: int
    cloud_point: int

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form; the points are the moments' numbers among those of their kind."""
        return asdict(self)


@dataclass(frozen=True)
class BatchMoments:
    """All moments of a batch up to the frame at ``through_s``; ``temperature`` names the variable.

    Where there is none, ``no_temperature`` says why. ``temperatures`` are the names of all variables that are
    temperatures, one of which can be chosen. ``settings`` are those that they were found with.
    """

    batch_id: int
    n_frames: int
    through_s: float | None
    has_ended: bool
    moments: tuple[Moment, ...] = ()
    zones: tuple[Zone, ...] = ()
    no_zone: str = ""
    temperature: str = ""
    no_temperature: str = ""
    notes: tuple[str, ...] = ()
    temperatures: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "batch": self.batch_id,
            "n_frames": self.n_frames,
            "through": iso_time(self.through_s),
            "has_ended": self.has_ended,
            "temperature": self.temperature or None,
            "no_temperature": self.no_temperature or None,
            "temperatures": list(self.temperatures),
            "moments": [moment.to_json_dict() for moment in self.moments],
            "zones": [zone.to_json_dict() for zone in self.zones],
            "no_zone": self.no_zone or None,
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }
