"""Metrics of the exported file, comparisons, robustness, out-of-distribution images."""

from georgia.evaluate.score import (
    EVALUATION_FILE,
    PREDICTIONS_FILE,
    EvaluateConfig,
    Evaluation,
    Misclassified,
    check_class_names,
    evaluate_records,
    score_predictions,
)

__all__ = [
    "EVALUATION_FILE",
    "PREDICTIONS_FILE",
    "EvaluateConfig",
    "Evaluation",
    "Misclassified",
    "check_class_names",
    "evaluate_records",
    "score_predictions",
]
