"""Class-wise metrics with 95 % confidence intervals."""

from georgia.metrics.classification import (
    N_BOOTSTRAP,
    UNKNOWN_INDEX,
    AverageMetrics,
    ClassIndices,
    ClassMetrics,
    Metrics,
    check_class_indices,
    compute_metrics,
    epoch_metrics,
)
from georgia.metrics.reliability import (
    Reliability,
    calibration_interval,
    expected_calibration_error,
    measure_reliability,
)

__all__ = [
    "N_BOOTSTRAP",
    "UNKNOWN_INDEX",
    "AverageMetrics",
    "ClassIndices",
    "ClassMetrics",
    "Metrics",
    "Reliability",
    "calibration_interval",
    "check_class_indices",
    "compute_metrics",
    "epoch_metrics",
    "expected_calibration_error",
    "measure_reliability",
]
