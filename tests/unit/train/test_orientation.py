"""What orienting the images costs is known from training: epochs see them as they are, the file does not."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.evaluate.assessment import Orientation
from georgia.report.history import TrainingHistory
from georgia.train.finish import measure_orientation
from georgia.uncertainty.calibration import Calibration, fit_temperature


@pytest.fixture
def calibration() -> Calibration:
    """Fitted on 100 images, of which the exported file gets 80 right."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 100)
    said = np.where(np.arange(100) < 80, truth, 1 - truth)
    logits = rng.uniform(0.1, 3, (100, 1)) * np.where(said[:, None] == [0, 1], 1.0, -1.0)
    return fit_temperature(logits, truth, [str(k) for k in range(100)])


def make_history(*accuracies: float) -> TrainingHistory:
    """Return a history of which the second epoch was kept."""
    rest = {"train_loss": 1.0, "train_accuracy": 0.5, "valid_loss": 1.0}
    rows = ({"epoch": k, "valid_accuracy": value, **rest} for k, value in enumerate(accuracies, 1))
    return TrainingHistory(tuple(rows), kept_epoch=2)


def test_loss_is_that_of_the_kept_epoch(calibration: Calibration) -> None:
    history = make_history(0.5, 0.98, 0.9)
    found = measure_orientation("canonical", calibration, history)
    assert found == Orientation(0.98, pytest.approx(0.8), 100)
    assert found is not None
    assert found.matters
    assert measure_orientation("average", calibration, history) == found


def test_nothing_is_lost_where_images_stay(calibration: Calibration) -> None:
    history = make_history(0.8, 0.9)
    assert measure_orientation("none", calibration, history) is None
    assert measure_orientation("canonical", None, history) is None
