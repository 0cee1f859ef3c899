"""All predictions for a list of files, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.labels import Labels
from georgia.model.engines import Computation
from georgia.predict.prediction import Outcome, Prediction, flatten_outcome
from georgia.predict.tables import write_table
from georgia.records import Failure, Result
from georgia.text import count_noun


@dataclass(frozen=True, repr=False)
class Predictions(Result):
    """Predictions in the order of the files, and the files that could not be read.

    ``precision`` and ``processor`` are "" where they are not known, as in what version 0.1 wrote. ``details``
    names the model (see ``Predictor.describe``); it is empty where that is not known.
    """

    labels: Labels
    items: tuple[Prediction, ...]
    failed: tuple[Failure, ...]
    engine: str
    seconds: float = 0.0
    precision: str = ""
    processor: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def computation(self) -> Computation:
        """Engine, precision and processor."""
        return Computation(self.engine, self.precision, self.processor)

    def probability_array(self) -> npt.NDArray[np.float64]:
        """Return probabilities (N, C), float64, columns in label order."""
        rows = [[item.probabilities[name] for name in self.labels.names] for item in self.items]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.labels))

    def summary(self) -> str:
        """Return how many images of each label there are."""
        counts = Counter(item.label for item in self.items)
        labels = ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items()))
        failed = f"; {len(self.failed):,} could not be read" if self.failed else ""
        return f"{count_noun(len(self.items), 'image')}{': ' + labels if labels else ''}{failed}"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table that ``save`` writes."""
        outcomes: tuple[Outcome, ...] = (*self.items, *self.failed)
        return [flatten_outcome(outcome, self.labels) for outcome in outcomes]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia predict --json`` prints."""
        return {
            "predictions": [item.to_json_dict() for item in self.items],
            "failed": [failure.to_json_dict() for failure in self.failed],
            **self.computation.to_json_dict(),
            "classes": list(self.labels.names),
            **self.details,
        }

    def save(self, target: str | Path) -> None:
        """Write a table in the format of its suffix: .csv, .json, .jsonl or .parquet.

        Raises:
            InputError: the suffix is another.
            MissingDependencyError: Parquet is asked for and pyarrow is not installed.
        """
        target = Path(target)
        write_table(target, (*self.items, *self.failed), self.labels, self.computation, self.details)
