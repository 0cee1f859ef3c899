"""What the REST service takes and gives of detected moments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from georgia.process.moments.result import MomentKind
from georgia.web.schemas import Name, Note, Open


class MomentTemperature(Open):
    """The temperature at a moment, and all that it may have been within the moment's interval."""

    value: float
    low: float
    high: float
    unit: str
    per_minute: float | None


class MomentDecision(Open):
    """What somebody said of a moment; ``seq`` is the entry of the audit log."""

    seq: int
    kind: str
    state: str
    who: str
    at: str
    note: str
    time: str | None
    low: str | None
    high: str | None
    suggested: str | None
    temperature: float | None


class Moment(Open):
    """One moment: what the frames suggest, and what people decided.

    ``time``, ``low`` and ``high`` are suggested; ``shown_s``, ``shown_low_s`` and ``shown_high_s`` are those
    that hold, in seconds since 1970, null where it is dismissed or not known.
    """

    kind: str
    number: int
    finding: str
    state: str
    text: str
    point: str
    time: str | None
    low: str | None
    high: str | None
    shown_s: float | None
    shown_low_s: float | None
    shown_high_s: float | None
    known: str | None
    temperature: MomentTemperature | None
    figures: dict[str, float]
    frame_before: int | None
    frame_after: int | None
    notes: list[str]
    decision: MomentDecision | None


class MomentZone(Open):
    """A metastable zone's width with its interval; the points are numbers of their moments."""

    width: float
    low: float
    high: float
    unit: str
    clear_point: int
    cloud_point: int


class BatchMoments(BaseModel):
    """The moments of a batch up to its last frame."""

    batch: int
    n_frames: int
    through: str | None
    has_ended: bool
    temperature: str | None
    no_temperature: str | None
    temperatures: list[str]
    moments: list[Moment]
    zones: list[MomentZone]
    no_zone: str | None
    notes: list[str]
    settings: dict[str, str | float | int]


class NewDecision(BaseModel):
    """What somebody says of a moment; ``corrected`` needs a time, ``corrected`` and ``dismissed`` a note."""

    model_config = ConfigDict(extra="forbid")
    kind: MomentKind
    number: Annotated[int, Field(ge=1, le=10_000)] = 1
    decision: Literal["confirmed", "corrected", "dismissed"]
    who: Name
    note: Note = ""
    time: AwareDatetime | None = None
    low: AwareDatetime | None = None
    high: AwareDatetime | None = None
    temperature: Annotated[str, Field(max_length=400)] = ""
    expected: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="The last entry on it that was seen, 0 for none; another one is a conflict."
    )


class WrittenDecision(BaseModel):
    """The number of the entry in the audit log."""

    seq: int
