"""What the labelling page takes and gives, as its OpenAPI schema shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from georgia.web.schemas import Note, Open, Who

# The path of a crop or of a window as the pool writes it, and what a page calls itself.
ItemPath = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
Tab = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[\w-]+$")]


class TrayIn(BaseModel):
    """Which page asks for crops, and how many it wants to hold."""

    model_config = ConfigDict(extra="forbid")
    tab: Tab
    n: Annotated[int, Field(ge=1, le=50)] = 12
    is_hinting: Annotated[bool, Field(description="Tell what the model says; it leads a person.")] = False


class NameIn(BaseModel):
    """What one crop shows, who says so, and in which page."""

    model_config = ConfigDict(extra="forbid")
    path: ItemPath
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    who: Who = ""
    tab: Tab
    replaces: Annotated[
        int | None,
        Field(ge=0, le=2**53, description="The number of the label that is replaced, as the page shows it."),
    ] = None


class UndoIn(BaseModel):
    """Whose last label is taken back."""

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    tab: Tab


class SkipIn(BaseModel):
    """A crop that is passed over, to the end of those that wait."""

    model_config = ConfigDict(extra="forbid")
    path: ItemPath
    tab: Tab


class LeaveIn(BaseModel):
    """A page that is closed; its crops go to others."""

    model_config = ConfigDict(extra="forbid")
    tab: Tab


class ClassKey(BaseModel):
    """A class and the key that names it; none from the tenth class on."""

    name: str
    key: str


class LabelProgress(BaseModel):
    """How far it is: items count with their near-duplicates, ``n_named`` and ``n_left`` are keystrokes.

    ``n_wanted``: labels of each class that training still needs.
    """

    n_items: int
    n_labelled: int
    n_unclear: int
    n_neither: int
    by_class: dict[str, int]
    n_wanted: dict[str, int]
    n_named: int
    n_gone: int
    n_left: int


class Suggestion(BaseModel):
    """What a model says of a crop."""

    label: str
    probability: float


class WaitingItem(BaseModel):
    """A crop that waits to be named; near-duplicates of it take its label."""

    path: str
    n_duplicates: int
    reason: str
    suggestion: Suggestion | None
    name: str = Field(description="The label that it has already, empty for none.")


class Tray(BaseModel):
    """Crops that are kept for one page, in the order in which they are to be named."""

    items: list[WaitingItem]
    progress: LabelProgress


class KeptLabel(Open):
    """A label that is on disk."""

    path: str
    name: str
    who: str
    at: str
    number: int
    n_duplicates: int
    reason: str


class Kept(BaseModel):
    """How far it is, now that a label is on disk."""

    progress: LabelProgress


class Undone(BaseModel):
    """The crop whose label was taken back, null where there was none."""

    item: WaitingItem | None
    progress: LabelProgress


class History(BaseModel):
    """The newest labels, newest first."""

    labels: list[KeptLabel]


class TrainingState(BaseModel):
    """What the process that trains does, or how the last one ended; ``version`` changes with each change."""

    state: Literal["idle", "running", "stopping", "done", "failed", "stopped"]
    task: str
    version: int
    stage: str
    n_done: int
    n_total: int = Field(description="0 where it is not known.")
    seconds: float
    message: str


class TrainedModel(Open):
    """A model that was trained here, with its cross-validated figures."""

    name: str
    is_in_use: bool
    has_report: bool
    summary: str


class InUse(BaseModel):
    """The model in use, and by whose decision."""

    folder: str
    decision: str
    who: str
    at: str
    reason: str
    can_go_back: bool


class Training(TrainingState):
    """State, the result of the last job, and all models, newest first."""

    result: dict[str, Any]
    models: list[TrainedModel]
    in_use: InUse | None
    folder: str


class UseIn(BaseModel):
    """Which model is to be used, by whom; an override of the promotion gate needs a reason."""

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    who: Who = ""
    reason: Note = ""
    override: bool = False


class BackIn(BaseModel):
    """Who goes back to the model before, and why."""

    model_config = ConfigDict(extra="forbid")
    who: Who = ""
    reason: Note = ""


class LabelState(BaseModel):
    """What is labelled here; ``start`` is another one after each start of the program."""

    source: str
    out: str
    kind: str
    n_empty: int
    n_failures: int = Field(description="Files that cannot be read.")
    n_damaged: int = Field(description="Lines of the journal that are damaged: what they said is lost.")
    fault: str = Field(description="Why the table of labels cannot be written; the journal holds them.")
    who: str = Field(description="Who is logged in, or else the name that a page begins with.")
    people: bool = Field(description="People log in here, and names are given under the own one.")
    start: str
    classes: list[ClassKey]
    progress: LabelProgress
    training: TrainingState


class Surroundings(BaseModel):
    """Where a crop lies in what is around it, px of that image; null where the crop is a whole file."""

    box: list[float] | None
    width_px: int
    height_px: int
