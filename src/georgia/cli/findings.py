"""What ``georgia evaluate`` finds, together, and the files that it writes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from georgia.evaluate.assessment import Assessment
    from georgia.evaluate.compare import Comparison
    from georgia.evaluate.coverage import Coverage
    from georgia.evaluate.ood import OodEvaluation
    from georgia.evaluate.overlap import NearOverlap
    from georgia.evaluate.robustness import Robustness
    from georgia.evaluate.score import Evaluation
    from georgia.model.bundle import Bundle
    from georgia.records import Catalog, Failure


@dataclass
class Findings:
    """All that one call finds: the metrics, and what was asked for besides.

    ``metadata`` is the content of the model's ``bundle.json``; ``n_in_training`` counts the images that it
    was trained on or tuned with, ``near_overlap`` names near-duplicates of such images.
    """

    evaluation: Evaluation
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_in_training: int = 0
    near_overlap: NearOverlap | None = None
    comparison: Comparison | None = None
    robustness: Robustness | None = None
    unknown: OodEvaluation | None = None

    @property
    def extra(self) -> tuple[Comparison | Robustness | OodEvaluation, ...]:
        """What was asked for besides the metrics."""
        results = (self.comparison, self.robustness, self.unknown)
        return tuple(result for result in results if result is not None)

    @property
    def assessment(self) -> Assessment:
        """What is wrong with the model or with the images."""
        from georgia.evaluate.assessment import Acceptance, Orientation, assess

        acceptance = Acceptance.from_metadata(self.metadata)
        orientation = Orientation.from_metadata(self.metadata)
        return assess(self.evaluation.metrics, self.robustness, acceptance, orientation, self.sets)

    @property
    def sets(self) -> Coverage | None:
        """How often the prediction sets hold the true class; None where the model has none."""
        from georgia.evaluate.coverage import measure_stated

        return measure_stated(self.evaluation, self.metadata)

    def describe_sets(self) -> str:
        """Return how often prediction sets hold the true class, empty without sets."""
        sets = self.sets
        return sets.describe() if sets else ""

    @property
    def failed(self) -> tuple[Failure, ...]:
        """Files that could not be read, labelled ones and others."""
        return (*self.evaluation.failed, *(self.unknown.failed if self.unknown else ()))

    @property
    def has_training_overlap(self) -> bool:
        """Whether some of the images, or near-duplicates of them, are in the model's training."""
        return bool(self.n_in_training or (self.near_overlap and self.near_overlap.matches))

    def describe_training_overlap(self) -> str:
        """Return what images of the training do to the metrics, or that it was not checked."""
        from georgia.evaluate.overlap import describe_training_overlap

        n = self.evaluation.metrics.n
        same = describe_training_overlap(self.n_in_training, n) if self.n_in_training else ""
        near = self.near_overlap.describe(n) if self.near_overlap else ""
        return f"{same} {near}".strip()

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form; what was not asked for is None."""
        results = {name: getattr(self, name) for name in ("comparison", "robustness", "unknown")}
        plain = {name: result.to_json_dict() if result else None for name, result in results.items()}
        # Version 0.1 called it n_seen_in_training: both are written until 0.3.
        overlap = {"n_in_training": self.n_in_training, "n_seen_in_training": self.n_in_training}
        near = self.near_overlap.to_json_dict() if self.near_overlap else {}
        verdict = {"verdict": self.assessment.to_json_dict()}
        sets = self.sets
        covered = {"sets": sets.to_json_dict() if sets else None}
        return {**self.evaluation.to_json_dict(), **verdict, **covered, **plain, **overlap, **near}


def write_findings(
    out: Path,
    found: Findings,
    bundle: Bundle,
    data: Path,
    catalog: Catalog,
) -> list[Path]:
    """Write the page, the metrics as text, the confusion matrix and the tables; return the files."""
    from georgia.evaluate.score import EVALUATION_FILE, PREDICTIONS_FILE
    from georgia.explain import explain_files
    from georgia.report.figures import draw_confusion_matrix, save_figure
    from georgia.report.inputs import ReportInputs, ReportLimits
    from georgia.report.page import REPORT_FILE, save_report
    from georgia.report.tables import save_results

    page, results = out / REPORT_FILE, out / "FinalTestResults.txt"
    matrix = out / "final_confusion_matrix.png"
    evaluation = found.evaluation
    evaluation.save(out)
    save_results(evaluation, results)
    save_figure(draw_confusion_matrix, evaluation, matrix)
    tables = (out / EVALUATION_FILE, out / PREDICTIONS_FILE)
    files = (results, matrix, *tables, *(result.save(out) for result in found.extra))
    shown = [item.file for item in evaluation.misclassified[: ReportLimits().explained]]
    explained = explain_files(bundle, shown) if shown else None
    inputs = ReportInputs(
        title=f"Evaluation of {bundle.name}",
        evaluation=evaluation,
        model=bundle.name,
        data=str(data),
        split="",
        data_verdict=found.describe_training_overlap(),
        data_gate="stop" if found.has_training_overlap else "",
        metadata=bundle.metadata,
        failures=(*catalog.failures, *found.failed),
        files=files,
        folder=out,
        comparison=found.comparison,
        robustness=found.robustness,
        ood=found.unknown,
        explanations=explained,
    )
    save_report(inputs, page)
    return [page, *files]
