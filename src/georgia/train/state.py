"""The resume point of a run: everything that the next epoch depends on, in one npz file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import DAMAGE, atomic_path

STATE_FILE = "resume.npz"
Arrays = list[npt.NDArray[Any]]


class StopReason(StrEnum):
    """Why a training ended; the reason decides which epoch's weights are kept."""

    NOT_YET = ""
    F1_REACHED = "f1"
    NO_BETTER_LOSS = "loss"
    ALL_EPOCHS = "epochs"


@dataclass
class TrainState:
    """Where a run stands after ``epoch`` epochs.

    ``weights`` and ``optimizer`` are all variables in Keras' order, dropout's random state
    included; ``best_weights`` those of the lowest validation loss; ``rows`` the history.
    """

    key: str
    epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_epoch: int = 0
    waited: int = 0
    stopped: StopReason = StopReason.NOT_YET
    weights: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    best_weights: Arrays = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the state whole or not at all."""
        scalars = {name: getattr(self, name) for name in _SCALARS}
        arrays = {
            f"{kind}_{number:04d}": array
            for kind in _LISTS
            for number, array in enumerate(getattr(self, kind))
        }
        with atomic_path(folder / STATE_FILE) as temporary, temporary.open("wb") as stream:
            np.savez(stream, scalars=np.array(json.dumps(scalars)), **arrays)


def load_state(folder: Path) -> TrainState | None:
    """Return the last saved state, or None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            state = TrainState(**json.loads(str(stored["scalars"])))
            state.stopped = StopReason(state.stopped)
            for kind in _LISTS:
                names = sorted(name for name in stored.files if name.startswith(f"{kind}_"))
                setattr(state, kind, [stored[name] for name in names])
    except DAMAGE as error:
        raise InputError(
            f"Cannot resume from {str(path)!r}",
            needs="it must be whole",
            got=error,
            hint="Delete it to start over.",
        ) from error
    return state


_SCALARS = ("key", "epoch", "rows", "best_loss", "best_epoch", "waited", "stopped")
_LISTS = ("weights", "optimizer", "best_weights")
