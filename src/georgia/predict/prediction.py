"""What a model says about image files: predictions, and the files without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.labels import Labels
from georgia.records import Failure


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image; ``probability`` is that of ``label``, and 0 for the label "unknown".

    ``unknown_score`` is None and ``set`` empty if the model has no thresholds for them.
    """

    file: Path
    label: str
    probability: float
    probabilities: dict[str, float]
    unknown_score: float | None = None
    set: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """Return the JSON form, an element of ``predictions``."""
        return {**vars(self), "file": str(self.file), "set": list(self.set)}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any]) -> Prediction:
        """Read the JSON form."""
        return cls(**{**values, "file": Path(values["file"]), "set": tuple(values["set"])})


# The outcome for one file: its prediction, or why there is none.
Outcome = Prediction | Failure


@dataclass(frozen=True)
class Predictions:
    """Predictions in the order of the files, and the files that could not be read."""

    labels: Labels
    items: tuple[Prediction, ...]
    failed: tuple[Failure, ...]
    engine: str
    seconds: float = 0.0

    def probability_array(self) -> npt.NDArray[np.float64]:
        """Return probabilities (N, C), float64, columns in label order."""
        rows = [[item.probabilities[name] for name in self.labels.names] for item in self.items]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.labels))

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia predict --json`` prints."""
        return {
            "predictions": [item.to_json_dict() for item in self.items],
            "failed": [failure.to_json_dict() for failure in self.failed],
            "engine": self.engine,
            "classes": list(self.labels.names),
        }

    def save(self, target: Path) -> None:
        """Write a table in the format of its suffix: .csv, .json, .jsonl or .parquet.

        Raises:
            InputError: the suffix is another.
            MissingDependencyError: Parquet is asked for and pyarrow is not installed.
        """
        from georgia.predict.tables import write_table

        write_table(target, (*self.items, *self.failed), self.labels, self.engine)
