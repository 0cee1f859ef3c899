"""Class-wise metrics with 95 % confidence intervals."""

from georgia.metrics.classification import (
    N_BOOTSTRAP,
    UNKNOWN_INDEX,
    AverageMetrics,
    ClassMetrics,
    Metrics,
    Positions,
    Reliability,
    calibration_interval,
    check_positions,
    compute_metrics,
    epoch_metrics,
    expected_calibration_error,
    measure_reliability,
)

__all__ = [
    "N_BOOTSTRAP",
    "UNKNOWN_INDEX",
    "AverageMetrics",
    "ClassMetrics",
    "Metrics",
    "Positions",
    "Reliability",
    "calibration_interval",
    "check_positions",
    "compute_metrics",
    "epoch_metrics",
    "expected_calibration_error",
    "measure_reliability",
]
