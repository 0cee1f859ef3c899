"""One training run as plain data: what went in, what was learned, and what each later step found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from georgia.audit.result import Audit
from georgia.evaluate.assessment import Acceptance, Assessment, Orientation, assess
from georgia.evaluate.coverage import measure_stated
from georgia.evaluate.robustness import Robustness
from georgia.evaluate.score import Evaluation
from georgia.explain import Explanations
from georgia.images.preprocess import PreprocessSpec
from georgia.metrics.classification import Metrics
from georgia.metrics.intervals import Interval
from georgia.records import Failure, Result
from georgia.report.history import TrainingHistory
from georgia.split.make import Split
from georgia.text import count_noun
from georgia.uncertainty.decision import NOTHING_FITTED, Uncertainty


@dataclass(frozen=True, eq=False)
class DataAudit:
    """What is known of a run's data: the audit, and a leak that the split itself made.

    ``gap`` names classes that validation lacks. ``is_at_one_scale`` says that the net sees nothing of an
    image's size.
    """

    audit: Audit | None = None
    leak: str = ""
    gap: str = ""
    is_at_one_scale: bool = False

    @property
    def gate(self) -> Literal["", "pass", "stop"]:
        """The verdict: "stop" for a split that leaks, "" where nothing was audited or a gap is left."""
        if self.leak:
            return "stop"
        if self.audit is None:
            return ""
        if self.gap and not any(finding.severity == "error" for finding in self.audit.findings):
            return ""
        # In a report an error is an error, even if the user allowed it.
        return "stop" if any(finding.severity == "error" for finding in self.audit.findings) else "pass"

    @property
    def verdict(self) -> str:
        """One line on the data, empty where nothing was audited."""
        known = "" if self.audit is None else self.audit.verdict
        remedy = "The net was shown all images at one scale." if self.is_at_one_scale else ""
        return " ".join(text for text in (self.leak, self.gap, known, remedy) if text)

    def to_json_dict(self) -> dict[str, Any]:
        """Return what ``bundle.json`` holds under "audit"."""
        document: dict[str, Any] = {"gate": self.gate, "verdict": self.verdict}
        if self.audit is not None:
            document["allowed"] = list(self.audit.allowed)
            document["n_groups"] = self.audit.n_groups
            document["findings"] = [
                {"check": finding.check, "severity": finding.severity, "message": finding.message}
                for finding in self.audit.findings
            ]
        return document


@dataclass(frozen=True)
class Baseline:
    """A logistic regression on the frozen backbone's features, tested on the same images as the net.

    ``strength`` (its inverse penalty) has the highest macro F1, ``cross_f1``, in cross-validation over groups
    of the ``n_images`` of training and validation; None where a class has too few groups for that.
    """

    n_images: int
    accuracy: float
    f1: float
    f1_ci95: Interval
    strength: float
    n_folds: int
    cross_f1: float | None

    def describe(self) -> str:
        """Return one or two sentences."""
        low, high = self.f1_ci95
        crossed = (
            f" In {self.n_folds} folds over groups it reaches F1 {self.cross_f1:.4f}." if self.n_folds else ""
        )
        return (
            f"Baseline: a logistic regression on the same features has accuracy {self.accuracy:.4f} and "
            f"macro F1 {self.f1:.4f} ({low:.4f}–{high:.4f}) on the same test images.{crossed}"
        )


@dataclass(frozen=True)
class Refit:
    """The second training of the head, on the ``n_images`` of training and validation together.

    ``n_heads`` heads were trained for ``n_epochs`` each, and averaged to the one that ships. Temperature and
    prediction sets are cross-fitted in ``n_folds`` folds; 0: they are those of the net before.
    """

    n_images: int
    n_epochs: int
    n_heads: int
    n_folds: int = 0

    def describe(self) -> str:
        """Return what was done, and which published values are those of the net before it."""
        heads = f"{self.n_heads} heads were" if self.n_heads > 1 else "the head was"
        averaged = ", then averaged" if self.n_heads > 1 else ""
        of_before = "which had not learned the validation images"
        fitted = f"History, temperature and prediction sets are those of the net before, {of_before}"
        if self.n_folds:
            fitted = (
                f"The history is that of the net before; temperature and prediction sets are cross-fitted in "
                f"{self.n_folds} folds over groups"
            )
        return (
            f"Refit: {heads} trained again for {count_noun(self.n_epochs, 'epoch')} on {self.n_images:,} "
            f"training and validation images{averaged}. {fitted}; test metrics are those of the exported net."
        )


@dataclass(frozen=True, eq=False, repr=False)
class TrainingRun(Result):
    """A run after its last epoch; the steps that follow fill in the fields from ``uncertainty`` on.

    ``settings`` are those of ``TrainConfig``, ``backbone`` is its name and the source and sha256 of its
    weights, ``trainable_layers`` names the backbone's layers that were trained. ``fingerprint`` (hex) is of
    the images' contents. ``parity``, ``serving`` and ``int8`` are the plain forms of what was
    measured on the exported file, ``files`` the deliverables by kind.
    """

    folder: Path
    source: str
    settings: Mapping[str, Any]
    created: str
    device: str
    versions: Mapping[str, str]
    backbone: Mapping[str, Any]
    trainable_layers: tuple[str, ...]
    preprocess: PreprocessSpec
    split: Split
    fingerprint: str
    median_side_px: int
    history: TrainingHistory
    data_audit: DataAudit = field(default_factory=DataAudit)
    failures: tuple[Failure, ...] = ()
    uncertainty: Uncertainty = NOTHING_FITTED
    parity: Mapping[str, Any] | None = None
    serving: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    baseline: Baseline | None = None
    refit: Refit | None = None
    int8: Mapping[str, Any] | None = None
    robustness: Robustness | None = None
    explanations: Explanations | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    seconds: float = 0.0

    def summary(self) -> str:
        """Return the recipe, the epochs, and the metrics on the test split once they are known."""
        found = f": {self.evaluation.summary()}" if self.evaluation else ""
        return f"recipe {self.recipe}, {self.describe_stop()}{found}"

    def describe_stop(self) -> str:
        """Return after which epoch the training stopped, why, and which epoch's weights were kept.

        Such as "stopped after epoch 40: all epochs done; kept: epoch 31".
        """
        reason = f": {self.history.stop_reason}" if self.history.stop_reason else ""
        return f"stopped after epoch {self.epochs}{reason}; kept: epoch {self.history.marked_epoch}"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the metrics of each class on the test split."""
        return self.tested.to_rows()

    @property
    def run(self) -> Path:
        """The run folder, by its name in version 0.1."""
        return self.folder

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.settings["recipe"])

    @property
    def epochs(self) -> int:
        """The number of epochs that were trained."""
        return self.history.epochs[-1]

    @property
    def tested(self) -> Evaluation:
        """The evaluation of the exported file on the test split.

        Raises:
            RuntimeError: that step has not run yet.
        """
        if self.evaluation is None:
            raise RuntimeError("the exported file has not been evaluated yet")
        return self.evaluation

    @property
    def metrics(self) -> Metrics:
        """The metrics of the exported file on the test split."""
        return self.tested.metrics

    @property
    def assessment(self) -> Assessment:
        """What is wrong with the model or its test images."""
        known = self.serving
        return assess(
            self.metrics,
            self.robustness,
            Acceptance.from_metadata(known),
            Orientation.from_metadata(known),
            measure_stated(self.tested, self.uncertainty.to_dict()),
        )

    @property
    def gate(self) -> str:
        """Why the quality gate failed, in sentences; empty where it passed, and in a dry run."""
        if self.settings.get("rehearse"):
            return ""
        return " ".join(reason.text for reason in self.assessment.stopping)

    @property
    def metadata(self) -> dict[str, Any]:
        """What ``bundle.json`` and the exported file hold beside class names and preprocessing."""
        document = {
            "name": self.settings["study_name"],
            "created": self.created,
            "recipe": dict(self.settings),
            "weights_file": self.files["weights"].name if "weights" in self.files else None,
            "backbone": dict(self.backbone),
            "trainable_base_layers": len(self.trainable_layers),
            "data": {
                "source": self.source,
                "sha256": self.fingerprint,
                "counts": self.split.counts,
                "median_side_px": self.median_side_px,
            },
            "audit": self.data_audit.to_json_dict(),
            "training": {
                "epochs": self.epochs,
                "kept_epoch": self.history.kept_epoch,
                "stopped": self.history.stop_reason,
                "device": self.device,
                **({"refit": asdict(self.refit)} if self.refit else {}),
            },
            "versions": dict(self.versions),
            **self.uncertainty.to_dict(),
            "parity": self.parity,
            **self.serving,
            "metrics": self.evaluation.metrics.to_json_dict() if self.evaluation else None,
            "baseline": asdict(self.baseline) if self.baseline else None,
            "int8": self.int8,
            "robustness": self.robustness.describe() if self.robustness else None,
        }
        return {key: value for key, value in document.items() if value is not None}

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia train --json`` prints."""
        return {
            "run": str(self.folder),
            "recipe": self.recipe,
            "epochs": self.epochs,
            "kept_epoch": self.history.kept_epoch,
            "stopped": self.history.stop_reason,
            "refit": asdict(self.refit) if self.refit else None,
            "seconds": round(self.seconds, 3),
            "metrics": self.tested.to_json_dict(),
            "verdict": self.assessment.to_json_dict(),
            "gate": self.gate,
            "files": {kind: str(path) for kind, path in self.files.items()},
            "failed": [failure.to_json_dict() for failure in self.failures],
        }
