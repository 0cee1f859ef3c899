"""What the page is made of; a caller fills in what it has, and the rest is left out."""

from __future__ import annotations

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
from georgia.report.history import Row

# What no step looks at unless the caller says otherwise: a reader must not think it was.
NO_STRANGERS = "answers to images that show none of the classes"
NOT_CHECKED = (
    "copies of one crystal in two parts of the data",
    "shortcuts such as image size, scale or sharpness",
    NO_STRANGERS,
    "another probe, batch or light",
)


@dataclass(frozen=True)
class ReportLimits:
    """How many images and rows the page holds; raise them for a larger file."""

    mistakes: int = 60
    explained: int = 12
    refused: int = 24
    accepted: int = 24
    right_per_class: int = 6
    failures: int = 50
    thumbnail_px: int = 220


@dataclass(frozen=True)
class ReportInputs:
    """Everything that one page shows.

    ``title`` is the study's name, ``model`` and ``data`` are what to call them, ``split`` the kind of
    images ("test", or "" for none in particular). ``data_verdict`` is one sentence of an audit,
    ``data_gate`` what it decided. ``bundle`` is the content of ``bundle.json``. ``files`` are linked
    relative to ``folder``, where the page is going to lie.
    """

    title: str
    evaluation: Evaluation
    prefix: str = ""
    model: str = ""
    data: str = ""
    split: str = "test"
    data_verdict: str = ""
    data_gate: Literal["", "pass", "stop"] = ""
    not_checked: tuple[str, ...] = NOT_CHECKED
    recipe: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Row, ...] = ()
    kept_epoch: int | None = None
    stop_reason: str = ""
    split_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    bundle: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    created: str = ""
    comparison: Comparison | None = None
    robustness: Robustness | None = None
    strangers: OodEvaluation | None = None
    explanations: Explanations | None = None
    limits: ReportLimits = ReportLimits()

    @property
    def all_failures(self) -> tuple[Failure, ...]:
        """Every file that could not be read, here or in the evaluation, once."""
        return tuple(dict.fromkeys((*self.failures, *self.evaluation.failed)))

    @property
    def images(self) -> str:
        """What to call the images, such as "test images"."""
        return f"{self.split} images".strip()
