"""The unknown score: laws on simulated features with known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.uncertainty.ood import LIGHT, Measured, OodDetector, fit_ood_detector

WIDTHS = {LIGHT: 3, "layer": 6}


def simulate(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(9, 9))
    return rng.normal(size=(n, 9)) @ mixing * 0.3 + 2


def fit(n: int = 400, **settings: float) -> OodDetector:
    model = fit_ood_detector(Measured(simulate(n, 0)), Measured(simulate(n, 1)), WIDTHS, **settings)
    assert model is not None
    return model


def test_stated_fraction_of_known_images_is_accepted() -> None:
    for fraction in (0.95, 0.99):
        accepted = (fit(2000, true_acceptance=fraction).score(simulate(4000, 2)) <= 1).mean()
        assert accepted == pytest.approx(fraction, abs=0.01)


def test_deviation_in_one_part_is_rejected() -> None:
    model = fit()
    for columns in (slice(0, 3), slice(3, 9)):
        far = simulate(50, 3)
        far[:, columns] += 40
        assert (model.score(far) > 1).all()


def test_units_of_features_change_no_score() -> None:
    scale = np.array([1, 1, 1, 5, 0.2, 3, 1, 9, 4.0])
    train, valid, new = simulate(300, 0), simulate(300, 1), simulate(40, 2)
    first = fit_ood_detector(Measured(train), Measured(valid), WIDTHS)
    other = fit_ood_detector(Measured(train * scale), Measured(valid * scale), WIDTHS)
    assert first is not None
    assert other is not None
    np.testing.assert_allclose(other.score(new * scale), first.score(new), rtol=0.02)


def test_duplicates_in_group_change_nothing() -> None:
    train, valid = simulate(200, 0), simulate(200, 1)
    groups = [str(number) for number in range(200)]
    repeated = np.concatenate([np.arange(200), np.zeros(300, int)])
    repeated_groups = [groups[number] for number in repeated]
    first = fit_ood_detector(Measured(train, groups), Measured(valid, groups), WIDTHS)
    other = fit_ood_detector(
        Measured(train[repeated], repeated_groups), Measured(valid[repeated], repeated_groups), WIDTHS
    )
    assert first is not None
    assert other is not None
    np.testing.assert_allclose(other.score(simulate(30, 4)), first.score(simulate(30, 4)), rtol=1e-6)


def test_constant_feature_keeps_score_finite() -> None:
    train, valid = simulate(100, 0), simulate(100, 1)
    for table in (train, valid):
        table[:, [0, 4]] = 1.0
    model = fit_ood_detector(Measured(train), Measured(valid), WIDTHS)
    assert model is not None
    far = valid.copy()
    far[:, 0] = 1.5
    assert np.isfinite(model.score(far)).all()
    assert (model.score(far) > 1).all()


def test_few_validation_images_widen_limit() -> None:
    train = simulate(400, 0)
    fractions = []
    for seed in range(20):
        model = fit_ood_detector(Measured(train), Measured(simulate(12, 100 + seed)), WIDTHS)
        assert model is not None
        fractions.append((model.score(simulate(500, 7)) <= 1).mean())
    assert np.mean(fractions) > 0.98


def test_too_few_groups_fit_nothing() -> None:
    assert fit_ood_detector(Measured(simulate(10, 0), ["a"] * 10), Measured(simulate(10, 1)), WIDTHS) is None
    assert fit_ood_detector(Measured(simulate(10, 0)), Measured(simulate(1, 1)), WIDTHS) is None


def test_saved_detector_loads_equal(tmp_path: Path) -> None:
    model = fit()
    model.save(tmp_path)
    again = OodDetector.load(tmp_path)
    assert again.to_dict() == model.to_dict()
    np.testing.assert_allclose(again.score(simulate(20, 5)), model.score(simulate(20, 5)), rtol=1e-5)
    (tmp_path / "reference.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match="Cannot read .*reference.npz"):
        OodDetector.load(tmp_path)


def test_features_of_other_width_are_rejected() -> None:
    with pytest.raises(InputError, match=r"image features \(N, 9\) are needed; got shape \(2, 5\)"):
        fit().score(np.zeros((2, 5)))
    with pytest.raises(InputError, match="features of 8 columns are needed"):
        fit_ood_detector(Measured(simulate(10, 0)), Measured(simulate(10, 1)), {LIGHT: 8})
