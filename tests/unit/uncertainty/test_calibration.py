"""The temperature: laws, known values, groups."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.metrics.reliability import expected_calibration_error
from georgia.uncertainty.calibration import Calibration, fit_temperature, softmax


def simulate(n: int, n_classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are calibrated once divided by the temperature: the truth is sampled from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, n_classes)) * 2
    truth = np.array([rng.choice(n_classes, p=row) for row in softmax(logits)])
    return logits * temperature, truth


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fit_recovers_true_temperature(n_classes: int, temperature: float) -> None:
    logits, truth = simulate(4000, n_classes, temperature)
    fitted = fit_temperature(logits, truth)
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
    assert fitted.after.error < 0.03
    assert fitted.after.error <= fitted.before.error + 0.01


def test_scaled_logits_scale_only_temperature() -> None:
    logits, truth = simulate(500, 3, 1.0)
    first, five = fit_temperature(logits, truth), fit_temperature(5 * logits, truth)
    assert five.temperature == pytest.approx(5 * first.temperature, rel=1e-3)
    np.testing.assert_allclose(
        softmax(logits, first.temperature), softmax(5 * logits, five.temperature), atol=1e-4
    )


def test_temperature_changes_no_predicted_class() -> None:
    logits, truth = simulate(300, 3, 3.0)
    fitted = fit_temperature(logits, truth)
    assert (softmax(logits, fitted.temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_duplicates_in_group_do_not_count() -> None:
    logits, truth = simulate(200, 2, 2.0)
    groups = [f"g{number}" for number in range(200)]
    once = fit_temperature(logits, truth, groups)
    repeated = np.concatenate([np.arange(200), np.repeat(np.arange(20), 30)])
    again = fit_temperature(logits[repeated], truth[repeated], [groups[number] for number in repeated])
    assert again.temperature == pytest.approx(once.temperature, rel=1e-6)
    assert (again.n_groups, again.n) == (200, 800)


def test_few_groups_without_error_keep_confidence() -> None:
    truth = np.arange(30) % 3
    height = np.where(np.arange(30) < 15, 8.0, 1.5)[:, None]
    logits = np.where(truth[:, None] == np.arange(3), height, 0.0)
    assert softmax(logits).max(axis=1).mean() < 11 / 12
    fitted = fit_temperature(logits, truth)
    assert fitted.temperature == 1.0
    assert fitted.after.error == fitted.before.error


def test_perfect_validation_split_keeps_doubt() -> None:
    truth = np.arange(20) % 2
    logits = np.where(truth[:, None] == np.arange(2), 2.0, -2.0)
    fitted = fit_temperature(logits, truth)
    confidence = softmax(logits, fitted.temperature).max(axis=1)
    np.testing.assert_allclose(confidence, 11 / 12, atol=1e-3)


def test_saved_calibration_loads_equal() -> None:
    fitted = fit_temperature(*simulate(50, 2, 2.0))
    again = Calibration.from_dict(fitted.to_dict())
    assert again.to_dict() == fitted.to_dict()
    assert again.before.error == fitted.before.error


def test_softmax_does_not_overflow() -> None:
    rows = softmax(np.array([[1e4, 0.0], [0.0, -1e4]]), 0.1)
    np.testing.assert_allclose(rows, [[1, 0], [1, 0]])
    assert expected_calibration_error(rows, np.array([0, 0])) == 0


def test_wrong_input_is_rejected() -> None:
    with pytest.raises(InputError, match=r"Cannot calibrate: logits \(N, C\) and truth"):
        fit_temperature(np.zeros((3, 2)), np.zeros(2, int))
    with pytest.raises(InputError, match="Cannot read the model's calibration"):
        Calibration.from_dict({"temperature": 1.0})
