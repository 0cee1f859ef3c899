"""What the REST service takes and gives, as the OpenAPI schema shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, create_model

from georgia.monitor import columns
from georgia.monitor.alarms import LONGEST_SHELF_MIN
from georgia.monitor.columns import Column
from georgia.monitor.people.passwords import LONGEST
from georgia.monitor.result import FrameStatus
from georgia.web.current import take_own_name

# No control characters: names go into the record and into lists.
PLAIN = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=PLAIN)]
# Who does something: whoever is logged in, or where nobody logs in, the name that was typed.
Who = Annotated[
    Name,
    BeforeValidator(take_own_name),
    Field(validate_default=True, description="Needed where nobody logs in; else one's own name or none."),
]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000, pattern=r"^[^\x00]*$")]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=r"^[^\x00]*$")
]
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
    batch_name: str
    shelved_at: str | None
    shelved_until: str | None = Field(description="Until then it is put aside, where that is still to come.")
    shelved_by: str | None
    shelved_reason: str | None
    closed_at: str | None
    closed_by: str | None
    closed_reason: str | None
    chart: str | None = Field(description="The limit that was passed: ewma, cusum, p or limit.")
    value: float | None = Field(description="What lay on or over it: 0–1, of the CUSUM σ.")
    limit: float | None


class Alarms(BaseModel):
    """Alarms, newest first."""

    alarms: list[Alarm]


class Signable(BaseModel):
    """What may be needed of a change to sign it; see the setting ``sign``."""

    model_config = ConfigDict(extra="forbid")
    password: str = Field(
        "",
        max_length=4 * LONGEST,
        description="Of whoever is logged in, once more, where the service asks for a signature of this.",
    )


class Acknowledgement(Signable):
    """Who acknowledges an alarm, and a note."""

    who: Who = ""
    note: Note = ""


class Shelving(Signable):
    """Who puts an alarm aside, for how long, and why."""

    who: Who = ""
    minutes: Annotated[float, Field(gt=0, le=LONGEST_SHELF_MIN)]
    reason: Reason


class Closing(Signable):
    """Who closes an alarm, and why."""

    who: Who = ""
    reason: Reason


class Override(Signable):
    """Who goes on with frames that are unlike the training images, and why."""

    who: Who = ""
    reason: Reason


class NewCommissioning(BaseModel):
    """Who has the next frames compared with the training images, and how many."""

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    frames: Annotated[int, Field(ge=1, le=1000)] = 30


class Commissioning(BaseModel):
    """How a probe compares with the training images.

    ``running``: how far a comparison is. ``verdict``: the newest one. ``is_held``: it keeps the state from
    "in control".
    """

    running: dict[str, Any] | None
    verdict: dict[str, Any] | None
    is_held: bool
    may_change: bool


class NewBatch(BaseModel):
    """A batch to begin; the running one ends."""

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    name: Name
    operator: Annotated[str, StringConstraints(max_length=120, pattern=PLAIN)] = ""
    note: Note = ""
    expected: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Number of the batch that is to end: if another one runs, nothing is done."
    )


class LimitsIn(Signable):
    """Limits of the charts to change; what is left out stays."""

    who: Who = ""
    limit: Annotated[float, Field(gt=0, le=1)] | None = None
    mean: Annotated[float, Field(ge=0, le=1)] | None = None
    sigma: Annotated[float, Field(gt=0, le=1)] | None = None
    raise_after: Annotated[int, Field(ge=1, le=1000)] | None = None
    clear_after: Annotated[int, Field(ge=1, le=1000)] | None = None
    reason: Note = Field("", description="Why; the page asks for it. Without it the audit log has none.")
    expected: dict[str, float | None] | None = Field(
        None, description="Values before, as the sender saw them: if one is another by now, nothing is done."
    )


class LimitsInForce(Open):
    """The limits that hold in a batch; ``changed`` by the name of the setting."""

    chart: str | None
    limit: float | None
    mean: float | None
    sigma: float | None
    origin: str = Field(description="Of mean and sigma: learned, by hand, or batch NAME.")
    is_confirmed: bool
    changed: dict[str, dict[str, Any]]
    may_change: bool


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


class FrameOutcome(Open):
    """What the windows of a frame show; fractions lie in 0–1, null where nothing could be analysed."""

    status: str
    impurity: str
    fraction: float | None
    low: float | None
    high: float | None
    n_judged: int
    n_unknown: int
    n_empty: int
    map: FrameMap


class Outcome(Open):
    """The prediction for one image. ``map``: where the net looked, rows in 0–1, if the model has one.

    ``frame``: what its windows show, if it is a whole frame; the other values are of the image as one crop.
    """

    file: str
    label: str
    probability: float
    probabilities: dict[str, float]
    unknown_score: float | None
    set: list[str]
    width_px: int
    height_px: int
    map: list[list[float]] | None = None
    frame: FrameOutcome | None = None


class BatchModel(Open):
    """The model that analysed the last frame; ``is_served``: it classifies single images here, too."""

    name: str = Field(description="Empty where the record does not describe it.")
    sha256: str
    is_demonstration: bool | None = Field(description="null where the record does not say.")
    is_served: bool


class Status(Open):
    """The state of the probe."""

    state: str
    alarm: bool
    batch: Batch | None
    last: Frame | None  # type: ignore[valid-type]
    model: BatchModel | None = None
    fault: str
    is_live: bool
    health: dict[str, Any]
    open_alarms: list[Alarm]


class Model(Open):
    """The model that predicts."""

    name: str
    classes: list[str]
    note: str
    is_demonstration: bool = Field(description="Trained on synthetic images only, to try things out.")
    has_report: bool
    has_card: bool


class Health(BaseModel):
    """Whether the service and the monitor can do their work; ``probe`` is the monitor's own health."""

    status: Literal["ok", "degraded"]
    store: str
    version: str
    probe: dict[str, Any]


class ProbeTile(Open):
    """One of several probes, as the overview shows it; ``read_s`` is how old what was read of it is, s."""

    name: str
    path: str
    state: str
    alarm: bool | None
    fraction: float | None
    low: float | None
    high: float | None
    backlog: int
    fault: str
    is_live: bool
    read_s: float | None


class Probes(BaseModel):
    """All probes of the service, in the order of its settings."""

    probes: list[ProbeTile]
    at: str


class OneHealth(BaseModel):
    """The health of one of several probes."""

    status: Literal["ok", "degraded"]
    store: str
    probe: dict[str, Any]


class ProbesHealth(BaseModel):
    """The health of all probes; ``reason`` names those that are not well, and why."""

    status: Literal["ok", "degraded"]
    reason: str
    version: str
    probes: dict[str, OneHealth]


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
