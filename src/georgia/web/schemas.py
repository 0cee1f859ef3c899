"""What the REST service takes and gives, as the OpenAPI schema shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model

from georgia.monitor import columns
from georgia.monitor.columns import Column
from georgia.monitor.result import FrameStatus

# No control characters: names go into the record and into lists.
PLAIN = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=PLAIN)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000, pattern=r"^[^\x00]*$")]
# What a row's number may be: a 64-bit integer above 0, as databases count.
Number = Annotated[int, Field(ge=1, le=2**63 - 1)]


class FaultyField(BaseModel):
    """One field of a request that does not fit."""

    where: str
    message: str


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="The HTTP status in words, such as not_found.")
    message: str = Field(description="What and where – rule – what we got – what to do.")
    fields: list[FaultyField] = []


class ErrorResponse(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class Open(BaseModel):
    """A response that may hold more than is listed."""

    model_config = ConfigDict(extra="allow")


# What every frame has in REST; the rest of its JSON may change.
_FRAME_COLUMNS = (
    *("frame", "batch", "file", "frame_time", "status", "state", "alarm", "impurity"),
    *("fraction", "low", "high", "n_judged", "classes"),
)
# Types that JSON tells more exactly than a column of the store.
_EXACT: dict[str, Any] = {
    "status": Literal[tuple(str(status) for status in FrameStatus)],
    "classes": dict[str, dict[str, float]],
}


def _type_of(column: Column, kind: Any) -> Any:
    return kind | None if column.may_be_none else kind


_FRAME_FIELDS: dict[str, Any] = {
    column.public: (_type_of(column, _EXACT.get(column.public, column.public_type)), ...)
    for column in columns.JSON
    if column.public in _FRAME_COLUMNS
}
Frame = create_model(
    "Frame",
    __base__=Open,
    __doc__="One analysed frame; fractions lie in 0–1, `low` to `high` is the 95 % confidence interval.",
    **_FRAME_FIELDS,
)


class Frames(BaseModel):
    """Frames, newest first; ``next_before`` pages on."""

    frames: list[Frame]  # type: ignore[valid-type]
    next_before: int | None


class Window(Open):
    """One window of a frame, px of the frame."""

    left: int
    top: int
    width: int
    height: int
    label: str
    probabilities: list[float]


class FrameMap(BaseModel):
    """The windows of one frame."""

    width_px: int
    height_px: int
    classes: list[str]
    windows: list[Window]


class Batch(Open):
    """One batch."""

    id: int
    name: str
    operator: str
    impurity: str
    started_at: str
    ended_at: str | None
    n_frames: int


class Batches(BaseModel):
    """Batches, newest first."""

    batches: list[Batch]


class Alarm(Open):
    """One alarm."""

    id: int
    batch_id: int
    raised_at: str | None
    cleared_at: str | None
    reason: str
    acknowledged_at: str | None
    acknowledged_by: str | None


class Alarms(BaseModel):
    """Alarms, newest first."""

    alarms: list[Alarm]


class Acknowledgement(BaseModel):
    """Who acknowledges an alarm, and a note."""

    model_config = ConfigDict(extra="forbid")
    who: Name
    note: Note = ""


class NewBatch(BaseModel):
    """A batch to begin; the running one ends."""

    model_config = ConfigDict(extra="forbid")
    who: Name
    name: Name
    operator: Annotated[str, StringConstraints(max_length=120, pattern=PLAIN)] = ""
    note: Note = ""


class LimitsIn(BaseModel):
    """Limits of the charts to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")
    who: Name
    limit: Annotated[float, Field(gt=0, le=1)] | None = None
    mean: Annotated[float, Field(ge=0, le=1)] | None = None
    sigma: Annotated[float, Field(gt=0, le=1)] | None = None
    raise_after: Annotated[int, Field(ge=1, le=1000)] | None = None
    clear_after: Annotated[int, Field(ge=1, le=1000)] | None = None


class Accepted(BaseModel):
    """A change that is done before the next frame."""

    accepted: Literal[True] = True


_SERIES_FIELDS: dict[str, Any] = {
    column.name: (list[_type_of(column, column.kind.python_type)], ...)  # type: ignore[misc]
    for column in columns.SERIES
}
Series = create_model(
    "Series",
    __doc__="A batch over time in columns; times are seconds since 1970, subsampled by ``stride``.",
    stride=(int, ...),
    **_SERIES_FIELDS,
)


class Outcome(Open):
    """The prediction for one image. ``map``: where the net looked, rows in 0–1, if the model has one."""

    file: str
    label: str
    probability: float
    probabilities: dict[str, float]
    unknown_score: float | None
    set: list[str]
    width_px: int
    height_px: int
    map: list[list[float]] | None = None


class Status(Open):
    """The state of the probe."""

    state: str
    alarm: bool
    batch: Batch | None
    last: Frame | None  # type: ignore[valid-type]
    fault: str
    is_live: bool
    open_alarms: list[Alarm]


class Model(Open):
    """The model that predicts."""

    name: str
    classes: list[str]
    note: str
    has_report: bool
    has_card: bool


class Health(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ok", "degraded"]
    store: str
    version: str


class AuditEntry(Open):
    """One event of the audit log."""

    seq: int
    at: str
    who: str
    action: str
    batch_id: int | None
    detail: dict[str, Any]


class AuditLog(BaseModel):
    """Events of the audit log, newest first."""

    entries: list[AuditEntry]
