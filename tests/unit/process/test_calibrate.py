"""The calibration against the laboratory: true lines, intervals that hold, and when nothing can be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.helpers.monitor import make_result

from georgia.errors import InputError
from georgia.monitor.process_record import Entry, EntryKind, write_entry
from georgia.monitor.store import Store
from georgia.process.calibrate import CalibrationPair, calibrate_fraction, fit_calibration


def make_pairs(x: np.ndarray, y: np.ndarray) -> list[CalibrationPair]:
    return [CalibrationPair("B", 0.0, float(a), 0.0, float(b), 11) for a, b in zip(x, y, strict=True)]


def test_prediction_interval_holds_for_new_results() -> None:
    rng, told, hits, n = np.random.default_rng(4), 0, 0, 1500
    for _ in range(n):
        truth = rng.uniform(0.1, 0.6, 9)
        # Both sides have errors: the image's fraction is biased and noisy, the laboratory is noisy.
        x = 0.02 + 0.8 * truth + rng.normal(0, 0.02, 9)
        y = truth + rng.normal(0, 0.02, 9)
        predicted = fit_calibration("PG", make_pairs(x[:8], y[:8])).predict(float(x[8]))
        if predicted is not None:  # it lies among the others
            told += 1
            hits += predicted[1] <= y[8] <= predicted[2]
    assert told > 0.7 * n
    assert 0.93 <= hits / told <= 0.965


def test_nothing_is_said_of_too_little() -> None:
    x = np.array([0.1, 0.2, 0.3, 0.4])
    assert "5 laboratory results" in fit_calibration("PG", make_pairs(x, x)).reason
    same = fit_calibration("PG", make_pairs(np.full(6, 0.2), np.linspace(0, 1, 6)))
    assert "are the same" in same.reason
    flat = fit_calibration("PG", make_pairs(np.linspace(0, 0.5, 6), np.array([0.3, 0.1, 0.3, 0.1, 0.3, 0.1])))
    assert "may be nought" in flat.reason
    assert flat.predict(0.2) is None
    good = fit_calibration("PG", make_pairs(np.linspace(0.1, 0.5, 6), np.linspace(0.2, 0.6, 6)))
    assert good.predict(0.3) == pytest.approx((0.4, 0.4, 0.4))
    assert good.predict(0.05) is None


def test_outlier_and_constant_results_are_said() -> None:
    x = np.linspace(0.1, 0.5, 8)
    y = x + np.array([1, -1, 1, 1, -1, -1, 1, -1]) * 0.004
    assert fit_calibration("PG", make_pairs(x, y)).notes == ()
    y[3] += 0.2
    found = fit_calibration("PG", make_pairs(x, y))
    (note,) = found.notes
    assert "lies 0.204 above the line of the others: an outlier" in note
    wide = found.predict(0.3)
    assert wide is not None
    assert wide[2] - wide[1] > 0.2
    constant = fit_calibration("PG", make_pairs(x, np.full(8, 0.2)))
    assert constant.reason == "the laboratory's results are all the same"
    assert constant.predict(0.3) is None
    for n in (0, 2, 3):
        few = fit_calibration("PG", make_pairs(x[:n], y[:n]))
        assert f"there are {n}" in few.reason
        assert few.predict(0.1) is None


def test_results_are_paired_with_frames_of_their_time(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"), clock=lambda: 5000.0)
    batch = store.begin_batch("probe", "B-1", "Ann", "PG", "Ann").id
    for k in range(1, 97):
        model = "a" * 64 if k < 20 else "b" * 64
        frame = make_result(k, batch, k / 1000, frame_time_s=10.0 * k, model_sha256=model)
        store.record_frame(frame, "probe", "{}")
    for k in (10, 30, 45, 60, 75, 90):
        result = Entry(
            EntryKind.LABORATORY, 10.0 * k, "HPLC", "Cy", 100 * (0.05 + k / 500), "%", batch_id=batch
        )
        store.write(lambda change, result=result: write_entry(change, result))
    found = calibrate_fraction(store)
    # The first result lies among frames of an earlier model.
    assert len(found.pairs) == 5
    (lost,) = found.left_out
    assert lost.endswith("in batch 'B-1': another model than the newest analysed its frames")
    assert (found.slope, found.intercept) == pytest.approx((2.0, 0.05))
    assert found.predict(0.05) == pytest.approx((0.15, 0.15, 0.15))
    assert found.to_json_dict()["can_predict"]
    late = Entry(EntryKind.LABORATORY, 9000.0, "HPLC", "Cy", 20.0, "%", batch_id=batch)
    store.write(lambda change: write_entry(change, late))
    assert (
        "0 frames with a fraction within 10 min of it, 3 are needed" in calibrate_fraction(store).left_out[1]
    )
    other = Entry(EntryKind.LABORATORY, 700.0, "XRPD", "Cy", 0.2, batch_id=batch)
    store.write(lambda change: write_entry(change, other))
    with pytest.raises(InputError, match="There are: HPLC, XRPD"):
        calibrate_fraction(store)
    assert "there are 1" in calibrate_fraction(store, "XRPD").reason
