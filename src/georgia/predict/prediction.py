"""What a model says about image files: predictions, and the files without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def list_columns(labels: Labels) -> list[str]:
    """Return the columns of a flat table, in order."""
    return ["file", "label", "probability", *_class_columns(labels), "unknown_score", "set", "error"]


def flatten_outcome(outcome: Outcome, labels: Labels) -> dict[str, Any]:
    """Return one row of a flat table; a failure has its reason under ``error`` and no label."""
    if isinstance(outcome, Failure):
        empty = dict.fromkeys(["probability", *_class_columns(labels), "unknown_score"])
        return {"file": str(outcome.path), "label": "", **empty, "set": "", "error": outcome.error}
    return {
        "file": str(outcome.file),
        "label": outcome.label,
        "probability": outcome.probability,
        **{f"p_{name}": outcome.probabilities[name] for name in labels.names},
        "unknown_score": outcome.unknown_score,
        "set": "|".join(outcome.set),
        "error": "",
    }


def read_prediction(row: Mapping[str, Any], labels: Labels) -> Prediction:
    """Return the prediction in a row of a flat table, as text (CSV) or as numbers (Parquet)."""
    score = row["unknown_score"]
    return Prediction(
        file=Path(row["file"]),
        label=row["label"],
        probability=float(row["probability"]),
        probabilities={name: float(row[f"p_{name}"]) for name in labels.names},
        unknown_score=None if score in (None, "") else float(score),
        set=tuple(row["set"].split("|")) if row["set"] else (),
    )


def _class_columns(labels: Labels) -> list[str]:
    return [f"p_{name}" for name in labels.names]
