"""What the routes of a spot check take and give, as the OpenAPI schema shows it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from georgia.web.schemas import Note, Number, Open, Who

# A person can name so many in a day.
MOST_SAMPLED = 2000
Position = Annotated[int, Field(ge=1, le=MOST_SAMPLED, description="Place in the plan, from 1.")]


class PlanIn(BaseModel):
    """A spot check to be planned; ``reason`` is needed where the batch has one.

    With ``extend`` the newest one goes on with the windows that came since it was planned, and needs none.
    """

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    n: Annotated[
        int | None,
        Field(ge=1, le=MOST_SAMPLED, description="Null: 60, or to extend one as densely as before."),
    ] = None
    extend: bool = False
    class_name: Annotated[str, Field(max_length=200, description="Empty: the impurity.")] = ""
    seed: Annotated[
        int | None, Field(ge=0, le=2**32 - 1, description="Null: one that nobody can foresee.")
    ] = None
    reason: Note = ""


class NameIn(BaseModel):
    """What somebody says of the next window: a class, ``neither`` or ``unclear``."""

    model_config = ConfigDict(extra="forbid")
    check: Number
    position: Position
    name: Annotated[str, Field(min_length=1, max_length=200)]
    who: Who = ""


class WithdrawalIn(BaseModel):
    """Who takes back the last name."""

    model_config = ConfigDict(extra="forbid")
    check: Number
    position: Position
    who: Who = ""


class NextWindow(BaseModel):
    """The window to be named next; nothing here tells what the model says of it.

    ``box`` is its left, top, width and height, px of the frame; ``around`` those of what is shown with
    ``wide=true``.
    """

    position: int
    frame: int
    ordinal: int
    file: str
    frame_time: str
    box: list[int]
    around: list[int]


class LastName(BaseModel):
    """The last name that stands, which can be taken back."""

    position: int
    name: str
    who: str
    at: str


class CheckProgress(BaseModel):
    """How far a check is."""

    check: int
    n_named: int
    n_sampled: int
    next: NextWindow | None
    last: LastName | None


class Check(CheckProgress):
    """The newest check of a batch. ``is_part``: frames came after it was planned, which it is not about."""

    class_name: str
    classes: list[str]
    seed: int
    planned_by: str
    planned_at: str
    reason: str
    n_windows: int
    n_frames: int
    n_frames_without: int = Field(description="Frames whose windows were removed before; not checked.")
    n_skipped: int = Field(description="Windows that the monitor left out in their frame; not checked.")
    through_ordinal: int
    through_time: str
    is_part: bool
    extends: list[int] = Field(description="Checks that it extends, oldest first.")
    n_checks: int = Field(description="Checks of this batch; all stay in the record.")


class CheckedBatch(Open):
    """What the check that counts says: the newest one with a name. Fractions lie in 0–1."""

    check: int
    fraction: float | None
    low: float | None
    high: float | None
    n: int
    raw_fraction: float | None
    error: float | None
    error_low: float | None
    error_high: float | None
    n_more: int | None
    is_part: bool
    is_complete: bool


class Spotcheck(BaseModel):
    """A batch's spot check: the newest plan, and what the names say; null where there is none."""

    batch: int
    check: Check | None
    result: CheckedBatch | None
    n_more_for_width: int | None = Field(
        description="About how many more names bring the interval to the asked width; null above 2,000."
    )


class CheckedOfBatch(CheckedBatch):
    """What the check that counts says, and of which batch."""

    batch: int


class CheckFault(BaseModel):
    """A batch whose check cannot be read: its rows were altered."""

    batch: int
    fault: str


class CheckedBatches(BaseModel):
    """Batches that people have checked, newest first."""

    checked: list[CheckedOfBatch]
    faults: list[CheckFault]
