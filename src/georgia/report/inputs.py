"""What a report shows; a caller fills in what it has, and the rest is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from georgia.evaluate.compare import Comparison
from georgia.evaluate.ood import OodEvaluation
from georgia.evaluate.robustness import Robustness
from georgia.evaluate.score import Evaluation
from georgia.explain import Explanations
from georgia.records import Failure
from georgia.report.learning import Learning
from georgia.report.training_run import TrainingRun

# What a report says was not checked, as its reader must not assume that it was: by no audit, by no
# evaluation on other images, and by no step at all.
NO_AUDIT = (
    "near-duplicates of one crystal in two splits of the data",
    "shortcuts such as image size, scale or sharpness",
)
NO_OOD = "predictions for images that show none of the classes"
NO_OTHER_PROBE = "another probe, batch or light"


@dataclass(frozen=True)
class ReportLimits:
    """How many images and rows the page holds; raise them for a larger file."""

    misclassified: int = 60
    explained: int = 12
    rejected: int = 24
    accepted: int = 24
    correct_per_class: int = 6
    failures: int = 50
    thumbnail_px: int = 220


@dataclass(frozen=True)
class ReportInputs:
    """Everything that one page shows.

    ``title`` is the study's name, ``model`` and ``data`` are what to call them, ``split`` the kind of
    images ("test", or "" for none in particular). ``data_verdict`` is one sentence on the data,
    ``data_gate`` what an audit decided. ``metadata`` is the content of ``bundle.json``, ``training`` the
    run that is reported, None for the evaluation of a finished model. ``learning`` tells of labels that a
    model was learned from, where its metrics are cross-validated. ``files`` are linked relative to
    ``folder``, where the page is going to lie.
    """

    title: str
    evaluation: Evaluation
    model: str = ""
    data: str = ""
    split: str = "test"
    data_verdict: str = ""
    data_gate: Literal["", "pass", "stop"] = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingRun | None = None
    learning: Learning | None = None
    failures: tuple[Failure, ...] = ()
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    comparison: Comparison | None = None
    robustness: Robustness | None = None
    ood: OodEvaluation | None = None
    explanations: Explanations | None = None
    limits: ReportLimits = ReportLimits()

    @classmethod
    def of_run(cls, run: TrainingRun) -> ReportInputs:
        """Return what the page and the model card of a training run show."""
        return cls(
            title=str(run.settings["study_name"]),
            evaluation=run.tested,
            model=f"{run.backbone['name']}, recipe {run.recipe}",
            data=run.source,
            data_verdict=run.data_audit.verdict,
            data_gate=run.data_audit.gate,
            metadata={**run.metadata, "preprocess": run.preprocess.to_dict()},
            training=run,
            failures=run.failures,
            files=tuple(run.files.values()),
            folder=run.folder,
            robustness=run.robustness,
            explanations=run.explanations,
        )

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What no step has checked."""
        is_audited = self.training is not None and self.training.data_audit.audit is not None
        without_audit = () if is_audited else NO_AUDIT
        return (*without_audit, *([] if self.ood else [NO_OOD]), NO_OTHER_PROBE)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the training run, empty without one."""
        return self.training.settings if self.training else {}

    @property
    def split_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Number of images of each class in each split of the training run, empty without one.

        A model learned from labels used them all: its splits are those of the unknown score's fit alone.
        """
        if self.training is None:
            return {}
        if self.learning is None:
            return self.training.split.counts
        counts = Counter(record.class_name for record in self.training.split.records)
        return {"labelled": counts}

    @property
    def all_failures(self) -> tuple[Failure, ...]:
        """Every file that could not be read, here or in the evaluation, once."""
        return tuple(dict.fromkeys((*self.failures, *self.evaluation.failed)))

    @property
    def images(self) -> str:
        """What to call the images, such as "test images"."""
        return f"{self.split} images".strip()
