"""Checks of shortcuts: is the class predictable from anything but the crystal?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from georgia.audit.check import AuditData, Check, Finding, Severity
from georgia.audit.class_predictability import MIN_GAIN_TOGETHER, ClassPredictability, PropertyResult
from georgia.audit.measurements import Kind

_MEASURED_AS = "normalised balanced accuracy (0: guessing, 1: always correct) of one {}, over groups, from"
_MARGIN = "a margin on top of the test, by 200 clean synthetic sets of 30 to 600 crops; "


class _ShortcutCheck(Check):
    kind: ClassVar[Kind]
    # This normalised balanced accuracy is half the way from guessing to always correct.
    strong: ClassVar[float] = 0.5

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding for each property that predicts the class, the strongest first."""
        results = data.predictability
        if results is None:
            return []
        own = [
            result
            for result in results.alone
            if result.entry.kind == self.kind and self.is_shortcut(result, data.config.alpha)
        ]
        own.sort(key=lambda result: -result.balanced_accuracy)
        return [self._report(result, results) for result in own] + self._report_together(results, own, data)

    def is_shortcut(self, result: PropertyResult, alpha: float) -> bool:
        """Whether a property predicts the class better than chance and than the margin."""
        return result.normalized_accuracy >= self.threshold and (result.p is None or result.p <= alpha)

    def severity_of(self, normalized_accuracy: float) -> Severity:
        """Return the severity of a property with some normalised balanced accuracy."""
        return self.severity if normalized_accuracy >= self.strong else "warning"

    def _report(self, result: PropertyResult, results: ClassPredictability) -> Finding:
        test = f"every file of that class and no other; {results.n_groups} groups are too few for a test"
        if result.p is not None:
            test = f"p = {result.p:.3g} over {results.n_groups:,} groups"
        accuracy = f"balanced accuracy {result.balanced_accuracy:.2f} (chance {results.chance:.2f}; {test})"
        evidence = {
            "property": result.entry.name,
            "rule": result.rule.text,
            "sign": result.rule.sign,
            "value": result.rule.value,
            "class": result.rule.class_name,
            **results.describe(result.balanced_accuracy, result.p),
            "n_groups": results.n_groups,
        }
        return self.found(
            f"{result.rule.text}: {accuracy}",
            evidence,
            severity=self.severity_of(result.normalized_accuracy),
        )

    def _report_together(
        self, results: ClassPredictability, own: Sequence[PropertyResult], data: AuditData
    ) -> list[Finding]:
        if self.kind not in results.together:
            return []
        accuracy, p = results.together[self.kind]
        normalized = results.normalize(accuracy)
        best = max((result.normalized_accuracy for result in own), default=0.0)
        # Two kinds of properties are tested, each at half the level.
        if p > data.config.alpha / 2 or normalized < max(self.threshold, best + MIN_GAIN_TOGETHER):
            return []
        labels = [result.entry.label for result in results.alone if result.entry.kind == self.kind]
        message = (
            f"{', '.join(labels)} together predict the class (a decision tree of depth 3): "
            f"balanced accuracy {accuracy:.2f} (chance {results.chance:.2f}; p = {p:.3g})"
        )
        evidence: dict[str, Any] = {
            "property": "together",
            "properties": labels,
            **results.describe(accuracy, p),
            "n_groups": results.n_groups,
        }
        return [self.found(message, evidence, severity=self.severity_of(normalized))]


class FileShortcut(_ShortcutCheck):
    """A property of the file, or of how it was acquired, predicts the class."""

    name = "file-shortcut"
    severity = "error"
    kind = "file"
    rule = _MEASURED_AS.format("property")
    threshold = 0.2
    source = f"{_MARGIN}an error from 0.5 on: half the way from guessing to always correct"
    remedy = (
        "A model can score without looking at a crystal. Add images of all classes that were acquired, "
        "cropped and saved in the same way. Where a size is an error, train shows all images at one scale by "
        "itself (geometry=scale)."
    )


class ImageShortcut(_ShortcutCheck):
    """A simple statistic of the pixels predicts the class."""

    name = "picture-shortcut"
    severity = "warning"
    kind = "picture"
    rule = _MEASURED_AS.format("statistic")
    threshold = 0.3
    source = f"{_MARGIN}wider than for files, as the crystals themselves may differ"
    remedy = (
        "It may be the crystals themselves, or lamp, focus and gain. Check whether the classes were acquired "
        "in other batches or on other days. Compare images of both side by side, and test the model on a "
        "batch that is not in its training set."
    )
