"""What a learning from labels hands on: the model's record, and its cross-validated figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from georgia.label.curve import LEAST_SCORED, LearningCurve
from georgia.label.heads import HeadConfig
from georgia.labels import Labels
from georgia.metrics.classification import Metrics
from georgia.records import Failure, Result
from georgia.report.training_run import TrainingRun
from georgia.text import count_noun


@dataclass(frozen=True, eq=False, repr=False)
class LearnedRun(TrainingRun):
    """A model learned from labels: a training run without epochs and without a test split.

    ``out_of_fold`` is the text of ``out_of_fold.csv``; ``hashes`` are the SHA-256 of the split's images.
    """

    learned: Mapping[str, Any] = field(default_factory=dict)
    out_of_fold: str = ""
    hashes: tuple[str, ...] = ()

    @property
    def metadata(self) -> dict[str, Any]:
        """What ``bundle.json`` and the exported file hold: that of a run, and what it was learned from."""
        document = {**super().metadata, **self.learned}
        training = {"epochs": 0, "device": self.device, "head": self.learned["head"]}
        return {**document, "training": training}


@dataclass(frozen=True)
class SuspectedName:
    """A name that the other images contradict, by the deep audit's rule; ``score``, 0–1, is the name's."""

    path: str
    name: str
    looks_like: str
    score: float


@dataclass(frozen=True, eq=False, repr=False)
class LearnResult(Result):
    """A model in ``folder`` with its cross-validated figures.

    ``metrics`` are of all labels with a class, ``even`` of the evenly sampled ones alone: these hold for the
    pool, whereas items chosen because they are hard make the others too low. ``even`` is None below 30 of
    them. ``n_even_without_class`` evenly sampled items are no crystal of any class, or unclear: the model
    names a class there too, unless it rejects them. ``n_even_missing`` have no name: they
    were passed over, as hard ones are, or not named yet. ``gate`` is empty where the model can be used.
    ``suspected`` names are to be looked at again, the least likely first.
    """

    folder: Path
    labels: Labels
    metrics: Metrics
    even: Metrics | None
    curve: LearningCurve
    head: HeadConfig
    n_labels: int
    n_even_without_class: int = 0
    n_even_missing: int = 0
    suspected: tuple[SuspectedName, ...] = ()
    gate: str = ""
    failures: tuple[Failure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """Return the cross-validated macro F1 in one line."""
        low, high = self.metrics.macro.f1_ci95
        text = (
            f"{self.head.describe()}, from {count_noun(self.n_labels, 'label')}: cross-validated macro F1 "
            f"{self.metrics.macro.f1:.4f} ({low:.4f}–{high:.4f})"
        )
        if self.even is None:
            return f"{text}; fewer than {LEAST_SCORED} are sampled evenly, so this is not the pool's figure"
        low, high = self.even.macro.f1_ci95
        text = f"{text}; on the {self.even.n} evenly sampled {self.even.macro.f1:.4f} ({low:.4f}–{high:.4f})"
        absent = [name for name, row in self.even.per_class.items() if not row.support]
        if absent:
            text += f", no {' or '.join(absent)} among them"
        missing = f", without {self.n_even_missing:,} that were passed over" if self.n_even_missing else ""
        return text + missing

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the figures of each class: of all labels, and of the evenly sampled ones."""
        rows = []
        for kind, metrics in (("all labels", self.metrics), ("evenly sampled", self.even)):
            for name, row in metrics.per_class.items() if metrics else ():
                low, high = row.f1_ci95
                values = {"images": row.support, "precision": row.precision, "recall": row.recall}
                rows.append(
                    {"scored on": kind, "class": name, **values, "f1": row.f1, "low": low, "high": high}
                )
        return rows

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``learned.json`` holds."""
        return {
            "model": str(self.folder),
            "classes": list(self.labels.names),
            "n_labels": self.n_labels,
            "head": asdict(self.head),
            "cross_validated": self.metrics.to_json_dict(),
            "evenly_drawn": self.even.to_json_dict() if self.even else None,
            "n_even_without_class": self.n_even_without_class,
            "n_even_missing": self.n_even_missing,
            "suspected": [asdict(each) for each in self.suspected],
            "curve": self.curve.to_json_dict(),
            "gate": self.gate,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "failed": [failure.to_json_dict() for failure in self.failures],
            "summary": self.summary(),
        }
