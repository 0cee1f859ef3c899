"""What the REST service takes and gives of process data."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from georgia.web.schemas import PLAIN, Name, Note, Open, Reason, Who

Unit = Annotated[str, StringConstraints(strip_whitespace=True, max_length=30, pattern=PLAIN)]
Amount = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]


class ProcessVariable(Open):
    """One variable: its newest value with its age; ``is_current``: it may be shown as the present one."""

    id: int
    source: str
    name: str
    unit: str
    step_s: float | None
    last_time: str | None
    last_value: float | None
    age_s: float | None
    is_current: bool
    last_quality: str = Field(description='Of the newest of all: "good", or why it is a gap.')


class ProcessSeries(ProcessVariable):
    """A variable over time in columns; times are seconds since 1970, null is a gap.

    ``width_s`` above 0: a point stands for that many seconds, with their mean and extremes.
    """

    width_s: float
    time_s: list[float]
    value: list[float | None]
    low: list[float | None]
    high: list[float | None]
    suspect_time_s: list[float] = Field(description="Values of another quality than good are in no line.")
    suspect_value: list[float]
    suspect_quality: list[str]


class ProcessEntry(Open):
    """An event, or a laboratory result; ``fraction`` is that in 0–1, null where it is none."""

    id: int
    kind: str
    batch_id: int | None
    time: str
    time_s: float
    name: str
    value: float | None
    unit: str
    sd: float | None
    fraction: float | None
    who: str
    note: str
    file: str = Field(description="Where it was read; empty if somebody typed it.")
    entered_at: str


class BatchProcess(BaseModel):
    """The process data of a batch; all lists are empty where there are none."""

    batch: int
    since: str | None
    until: str | None
    at: str
    variables: list[ProcessVariable]
    series: list[ProcessSeries]
    events: list[ProcessEntry]
    laboratory: list[ProcessEntry]
    elsewhere: list[float] | None = Field(
        None,
        description="Without variables: from when to when those of the store are, seconds since 1970.",
    )


class NewEvent(BaseModel):
    """An event of a batch; now, without a time."""

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    name: Name
    time: AwareDatetime | None = Field(None, description="With a zone; 1970 or later.")
    note: Note = ""


class NewResult(NewEvent):
    """A laboratory result of a batch; ``unit`` "%" or empty makes it a fraction."""

    value: Amount
    unit: Unit = ""
    sd: Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e15)] | None = None


class Withdrawal(BaseModel):
    """Who withdraws an event or a result, and why."""

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    reason: Reason


class WrittenEntry(BaseModel):
    """The number of what was written or withdrawn."""

    entry: int
