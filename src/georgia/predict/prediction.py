"""One file's prediction, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from georgia.records import Failure


@dataclass(frozen=True)
class Prediction:
    """One image's answer; ``probability`` is that of ``label``, 0 where that is "unknown".

    ``unknown_score`` and ``set`` are empty where the model holds no limits for them.
    """

    file: Path
    label: str
    probability: float
    probabilities: dict[str, float]
    unknown_score: float | None = None
    set: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of one answer."""
        return {**vars(self), "file": str(self.file), "set": list(self.set)}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> Prediction:
        """Read the public form."""
        return cls(**{**values, "file": Path(values["file"]), "set": tuple(values["set"])})


# What comes of one file: its answer, or why there is none.
Outcome = Prediction | Failure
