"""The unknown score: laws on numbers with known truth, and the same answer from the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.uncertainty.ood import LIGHT, Measured, OodDetector, fit_ood_detector

WIDTHS = {LIGHT: 3, "layer": 6}


def _known(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(9, 9))
    return rng.normal(size=(n, 9)) @ mixing * 0.3 + 2


def _fitted(n: int = 400, **settings: float) -> OodDetector:
    model = fit_ood_detector(Measured(_known(n, 0)), Measured(_known(n, 1)), WIDTHS, **settings)
    assert model is not None
    return model


def test_the_stated_share_of_new_known_images_is_let_through() -> None:
    for share in (0.95, 0.99):
        accepted = (_fitted(2000, true_acceptance=share).score(_known(4000, 2)) <= 1).mean()
        assert accepted == pytest.approx(share, abs=0.01)


def test_what_lies_off_in_one_part_only_is_refused() -> None:
    model = _fitted()
    for columns in (slice(0, 3), slice(3, 9)):
        strange = _known(50, 3)
        strange[:, columns] += 40
        assert (model.score(strange) > 1).all()


def test_features_in_other_units_give_the_same_score() -> None:
    scale = np.array([1, 1, 1, 5, 0.2, 3, 1, 9, 4.0])
    train, valid, new = _known(300, 0), _known(300, 1), _known(40, 2)
    one = fit_ood_detector(Measured(train), Measured(valid), WIDTHS)
    other = fit_ood_detector(Measured(train * scale), Measured(valid * scale), WIDTHS)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.score(new * scale), one.score(new), rtol=0.02)


def test_copies_of_one_crystal_change_nothing() -> None:
    train, valid = _known(200, 0), _known(200, 1)
    groups = [str(number) for number in range(200)]
    copies = np.concatenate([np.arange(200), np.zeros(300, int)])
    named = [groups[number] for number in copies]
    one = fit_ood_detector(Measured(train, groups), Measured(valid, groups), WIDTHS)
    other = fit_ood_detector(Measured(train[copies], named), Measured(valid[copies], named), WIDTHS)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.score(_known(30, 4)), one.score(_known(30, 4)), rtol=1e-6)


def test_what_never_varied_in_training_keeps_the_score_finite() -> None:
    train, valid = _known(100, 0), _known(100, 1)
    for table in (train, valid):
        table[:, [0, 4]] = 1.0
    model = fit_ood_detector(Measured(train), Measured(valid), WIDTHS)
    assert model is not None
    strange = valid.copy()
    strange[:, 0] = 1.5
    assert np.isfinite(model.score(strange)).all()
    assert (model.score(strange) > 1).all()


def test_with_few_validation_images_the_limit_is_wider() -> None:
    train = _known(400, 0)
    shares = []
    for seed in range(20):
        model = fit_ood_detector(Measured(train), Measured(_known(12, 100 + seed)), WIDTHS)
        assert model is not None
        shares.append((model.score(_known(500, 7)) <= 1).mean())
    assert np.mean(shares) > 0.98


def test_too_few_groups_fit_nothing() -> None:
    assert fit_ood_detector(Measured(_known(10, 0), ["a"] * 10), Measured(_known(10, 1)), WIDTHS) is None
    assert fit_ood_detector(Measured(_known(10, 0)), Measured(_known(1, 1)), WIDTHS) is None


def test_saved_and_read_is_the_same(tmp_path: Path) -> None:
    model = _fitted()
    model.save(tmp_path)
    again = OodDetector.load(tmp_path)
    assert again.to_dict() == model.to_dict()
    np.testing.assert_allclose(again.score(_known(20, 5)), model.score(_known(20, 5)), rtol=1e-5)
    (tmp_path / "reference.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match="Cannot read .*reference.npz"):
        OodDetector.load(tmp_path)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"image features \(N, 9\) are needed; got shape \(2, 5\)"):
        _fitted().score(np.zeros((2, 5)))
    with pytest.raises(InputError, match="features of 8 columns are needed"):
        fit_ood_detector(Measured(_known(10, 0)), Measured(_known(10, 1)), {LIGHT: 8})
