"""What a labelling session hands on: items of a pool, labels, choices, progress.

An item is a crop, or a window of a frame; its ``path`` is the one name that it has everywhere: POSIX,
relative to the pool's root, ``sub/f.png`` or ``f.png#xywh=10,0,64,64`` (see ``georgia.records``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.labels import UNKNOWN
from georgia.records import Box, Failure, format_window

# Names that are no class: no crystal of any class, and a person cannot tell.
NEITHER, UNCLEAR = "neither", "unclear"
NOT_CLASSES = (NEITHER, UNCLEAR)
# What people type for them into a table.
ALIASES = {"neither": NEITHER, "0": NEITHER, "unclear": UNCLEAR, "u": UNCLEAR, "?": UNCLEAR}


class ChoiceReason(StrEnum):
    """Why an item was chosen to be labelled; the last three are not a chooser's."""

    SPREAD = "spread"
    EVEN = "even"
    UNCERTAIN = "uncertain"
    SUSPECTED = "suspected"
    ASKED = "asked"
    IMPORTED = "imported"
    DUPLICATE = "duplicate"


class PoolKind(StrEnum):
    """What the items of a pool are: crops, windows cut out of frames, or the rows of a table."""

    CROPS = "crops"
    FRAMES = "frames"
    TABLE = "table"


class ConflictError(InputError):
    """Somebody else has named the item meanwhile; ``label`` is what stands there, None where nothing does."""

    def __init__(self, what: str, *, needs: str, got: object, hint: str, label: Label | None) -> None:
        super().__init__(what, needs=needs, got=got, hint=hint)
        self.label = label


@dataclass(frozen=True)
class Item:
    """One thing to be named: a crop, or a window of a frame.

    ``file`` is where its pixels are; ``box`` the window, px of the upright frame. ``group``: items of one
    group (windows of one frame, near-duplicates) never stand in two splits. ``duplicates``: those shown once
    and labelled together have one number. ``time_s``: seconds since 1970 of its file.
    """

    path: str
    file: Path
    box: Box | None = None
    group: str = ""
    duplicates: int = -1
    time_s: float | None = None

    @property
    def image_path(self) -> Path:
        """The path that every reader of images and tables takes: a window's has its box behind it."""
        return Path(format_window(self.file, self.box))


@dataclass(frozen=True)
class Pool:
    """All items below ``root``, in natural order of their paths.

    ``n_empty`` windows of frames were set aside because they show nothing; ``failures`` are files that
    cannot be read. ``tile_px`` is the side of the windows of frames. ``time_parts`` are the files with which
    the parts of the pool's time begin, but for the first one (``georgia.label.even``).
    """

    root: Path
    items: tuple[Item, ...]
    kind: PoolKind
    n_empty: int = 0
    failures: tuple[Failure, ...] = ()
    tile_px: int = 0
    time_parts: tuple[str, ...] = ()

    def find_positions(self) -> dict[str, int]:
        """Return the position of each path."""
        return {item.path: position for position, item in enumerate(self.items)}

    def find_duplicates(self) -> dict[int, tuple[int, ...]]:
        """Return the positions of the items of each set of duplicates, by its number."""
        sets: dict[int, list[int]] = {}
        for position, item in enumerate(self.items):
            if item.duplicates >= 0:
                sets.setdefault(item.duplicates, []).append(position)
        return {number: tuple(members) for number, members in sets.items()}


@dataclass(frozen=True)
class Choice:
    """An item chosen to be labelled: its position in the pool, why, and how probable that choice was.

    ``probability`` (0–1) is that of this item among those that could still be chosen at that moment; None
    where it is not known, so that the label must not be weighed.
    """

    index: int
    reason: ChoiceReason
    probability: float | None = None


class Chooser(Protocol):
    """What to label next."""

    def next(
        self,
        n: int,
        labelled: Mapping[int, str],
        probabilities: npt.NDArray[np.floating] | None = None,
        held: Collection[int] = (),
    ) -> Sequence[Choice]:
        """Return up to ``n`` items, none of those in ``labelled`` (position → name) or ``held``.

        ``probabilities`` (N, C), 0–1, are those of the whole pool from the newest model, or None. ``held``
        are positions that others have before them, that were skipped, or that are duplicates of such.
        """


@dataclass(frozen=True)
class Label:
    """A name that a person gave: ``who``, ``at`` (ISO 8601, UTC), in which ``tab``.

    ``order`` is the position in the order of choice, from 1; 0 for imported ones. ``number`` is the label's
    own in the journal. ``duplicates`` are the paths that were named together with ``path``.
    """

    path: str
    name: str
    who: str
    at: str
    order: int = 0
    reason: ChoiceReason = ChoiceReason.ASKED
    probability: float | None = None
    tab: str = ""
    number: int = 0
    duplicates: tuple[str, ...] = ()

    @property
    def is_class(self) -> bool:
        """Whether the name is a class, and neither "neither" nor "unclear"."""
        return self.name not in NOT_CLASSES

    def to_json_dict(self) -> dict[str, Any]:
        """Return the label as a line of the journal and a REST field hold it."""
        return {**asdict(self), "duplicates": list(self.duplicates)}


@dataclass(frozen=True)
class TrayItem:
    """One item before a person: ``n_duplicates`` others are labelled together with it.

    ``suggestion`` is the model's label and its probability, or None. ``name`` is the label that it has
    already, "" for none.
    """

    path: str
    n_duplicates: int = 0
    reason: ChoiceReason = ChoiceReason.ASKED
    suggestion: tuple[str, float] | None = None
    name: str = ""

    def to_json_dict(self) -> dict[str, Any]:
        """Return the item as a REST field."""
        return {**asdict(self), "suggestion": list(self.suggestion) if self.suggestion else None}


@dataclass(frozen=True)
class Surroundings:
    """Where an item lies in the image of what surrounds it, px of that; ``box`` None: it is all of it."""

    box: Box | None
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Progress:
    """How far the labelling is. Items count with their duplicates, keystrokes without.

    ``n_labelled`` items have a class, ``n_unclear`` and ``n_neither`` have none. ``by_class`` counts the
    items of each class, ``n_wanted`` how many more labels each class needs before a training. ``n_named`` is
    the number of names that hold, one a keystroke. ``n_gone`` labels are of files that are not there now.
    ``n_left`` keystrokes would label the rest.
    """

    n_items: int
    n_labelled: int
    n_unclear: int
    n_neither: int
    by_class: Mapping[str, int]
    n_wanted: Mapping[str, int] = field(default_factory=dict)
    n_named: int = 0
    n_gone: int = 0
    n_left: int = 0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the progress as a REST field."""
        return {**asdict(self), "by_class": dict(self.by_class), "n_wanted": dict(self.n_wanted)}


def check_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes, without blanks around them.

    Raises:
        InputError: there are fewer than two, one stands twice, or one cannot be a class; all faults at once.
    """
    classes = tuple(name.strip() for name in names)
    faults = []
    if len(classes) < 2:
        faults.append("two classes or more are needed")
    if len({name.casefold() for name in classes}) < len(classes):
        faults.append("each may stand once, whatever the case of its letters")
    taken = {*ALIASES, UNKNOWN, ""}
    if any(name.casefold() in taken for name in classes):
        faults.append("none may be empty, neither, unclear, unknown, u, 0 or ?")
    if any(sign in ",|" or sign < " " or "\ud800" <= sign <= "\udfff" for name in classes for sign in name):
        faults.append("none may hold a comma, bar or control sign, or what is no text")
    if faults:
        raise InputError("Cannot use the classes", needs=", ".join(faults), got=list(classes))
    return classes
