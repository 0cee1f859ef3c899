"""The unknown score: laws on simulated features with known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.uncertainty import fit_ood
from georgia.uncertainty.fit_ood import Measured, fit_ood_detector
from georgia.uncertainty.ood import LIGHT, OodDetector

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


@pytest.mark.slow
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


def simulate_classes(
    n: int, seed: int, spread: tuple[float, float] = (1.0, 3.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, 9) of two classes of unlike spread around unlike middles, and their numbers."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 2
    features = (
        rng.normal(size=(n, 9)) * np.array(spread)[classes][:, np.newaxis] + 4.0 * classes[:, np.newaxis]
    )
    return features, classes


def measure_classes(n: int, seed: int) -> Measured:
    features, classes = simulate_classes(n, seed)
    return Measured(features, None, classes)


@pytest.mark.parametrize(("n", "most"), [(1200, 0.02), (120, 0.05)])
def test_each_class_is_accepted_alike(n: int, most: float) -> None:
    detector = fit_ood_detector(measure_classes(n, 0), measure_classes(n // 3, 1), WIDTHS)
    assert detector is not None
    features, classes = simulate_classes(6000, 2)
    rejected = [(detector.score(features[classes == one]) > 1).mean() for one in (0, 1)]
    assert max(rejected) < most
    together = fit_ood_detector(
        Measured(measure_classes(1200, 0).features), Measured(measure_classes(400, 1).features), WIDTHS
    )
    assert together is not None
    uneven = [(together.score(features[classes == one]) > 1).mean() for one in (0, 1)]
    assert abs(rejected[1] - rejected[0]) < max(uneven[1] - uneven[0], 0.01) or n < 1000


def test_new_groups_of_wide_features_are_accepted() -> None:
    """Features as many as groups: their distance to new groups is far larger than to those fitted on."""
    rng = np.random.default_rng(5)
    widths = {"layer": 60}

    def sample(n_groups: int, seed: int) -> Measured:
        middles = np.random.default_rng(seed).normal(size=(n_groups, 60))
        groups = np.repeat(np.arange(n_groups), 4)
        features = middles[groups] + 0.1 * rng.normal(size=(len(groups), 60))
        return Measured(features, [f"{seed}-{group}" for group in groups])

    detector = fit_ood_detector(sample(70, 0), sample(25, 1), widths)
    assert detector is not None
    assert (detector.score(sample(600, 2).features) > 1).mean() < 0.02


def test_net_that_learned_takes_limits_from_validation() -> None:
    """Training images of such a net lie closer together than any new ones will."""
    close = Measured(simulate(300, 0) * 0.2 + 1.6)
    new = simulate(2000, 3)
    trusting, honest = (
        fit_ood_detector(close, Measured(simulate(300, 1)), WIDTHS, is_frozen=is_frozen)
        for is_frozen in (True, False)
    )
    assert trusting is not None
    assert honest is not None
    assert honest.metadata["n_scored_groups"] == 300
    assert trusting.metadata["n_scored_groups"] == 600
    assert (honest.score(new) > 1).mean() < 0.025


@pytest.mark.parametrize(("is_frozen", "n_scored"), [(True, 120), (False, 60)])
def test_group_in_both_splits_is_one_group(is_frozen: bool, n_scored: int) -> None:
    """A split that leaks: its groups are held out whole, and say nothing of what a net has learned."""
    train = Measured(simulate(60, 0), [f"old {number}" for number in range(60)])
    names = [*(f"old {number}" for number in range(60)), *(f"new {number}" for number in range(60))]
    valid = Measured(np.concatenate([simulate(60, 0) + 1e-3, simulate(60, 1)]), names)
    detector = fit_ood_detector(train, valid, WIDTHS, is_frozen=is_frozen)
    assert detector is not None
    assert detector.metadata["n_scored_groups"] == n_scored
    leaked = Measured(valid.features[:60], names[:60])
    assert (fit_ood_detector(train, leaked, WIDTHS, is_frozen=is_frozen) is None) == (not is_frozen)


def test_class_of_single_group_is_fitted() -> None:
    features, classes = simulate_classes(61, 0)
    classes[-1] = 2
    detector = fit_ood_detector(Measured(features, None, classes), measure_classes(40, 1), WIDTHS)
    assert detector is not None
    assert np.isfinite(detector.score(features)).all()
    assert (detector.limits > 0).all()


def material(n: int, seed: int) -> np.ndarray:
    """Return features four standard deviations beside the known ones, along one of nine directions."""
    return simulate(n, seed) + 1.2 * np.random.default_rng(99).normal(size=(9, 9))[0]


def test_net_of_material_rejects_what_lies_near() -> None:
    train, valid, known = simulate(600, 0), simulate(300, 1), simulate(3000, 2)
    plain = fit_ood_detector(Measured(train), Measured(valid), WIDTHS)
    taught = fit_ood_detector(Measured(train), Measured(valid), WIDTHS, material=material(300, 3))
    assert plain is not None
    assert taught is not None
    assert taught.metadata["n_material"] == 300
    assert (taught.score(known) > 1).mean() < 0.025
    rejected = [(detector.score(material(1000, 4)) > 1).mean() for detector in (plain, taught)]
    assert rejected[1] > max(0.7, rejected[0] + 0.3)


def test_interrupt_leaves_no_net_learned_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.neural_network import MLPClassifier

    learn, n_steps = MLPClassifier._backprop, [0]

    def interrupt(*args: object) -> object:
        n_steps[0] += 1
        if n_steps[0] == 20:
            raise KeyboardInterrupt
        return learn(*args)

    monkeypatch.setattr(MLPClassifier, "_backprop", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit_ood_detector(measure_classes(200, 0), measure_classes(90, 1), WIDTHS, material=material(80, 3))
    assert n_steps == [20]


def test_detector_with_material_loads_equal(tmp_path: Path) -> None:
    detector = fit_ood_detector(
        measure_classes(200, 0), measure_classes(90, 1), WIDTHS, material=material(80, 3)
    )
    assert detector is not None
    detector.save(tmp_path)
    again = OodDetector.load(tmp_path)
    assert again.material is not None
    new = simulate_classes(50, 4)[0]
    np.testing.assert_allclose(again.score(new), detector.score(new), rtol=1e-4)


def test_file_of_first_version_is_read(tmp_path: Path) -> None:
    head = {"parts": [LIGHT, "layer"], "about": {"true_acceptance": 0.99}}
    arrays = {f"{k}_mean": np.full(width, 0.5, np.float32) for k, width in enumerate(WIDTHS.values())}
    arrays |= {f"{k}_whitening": np.eye(width, dtype=np.float32) for k, width in enumerate(WIDTHS.values())}
    np.savez(tmp_path / "reference.npz", head=np.array(json.dumps(head)), **arrays)
    detector = OodDetector.load(tmp_path)
    assert detector.score(np.full((1, 9), 1.5)) == pytest.approx(np.sqrt(3) + np.sqrt(6))
    arrays["1_whitening"][0, 0] = np.nan
    np.savez(tmp_path / "reference.npz", head=np.array(json.dumps(head)), **arrays)
    with pytest.raises(InputError, match="Cannot read .*reference.npz"):
        OodDetector.load(tmp_path)


@pytest.mark.parametrize(("n_rows", "n_factors"), [(2, 1), (16, 2), (63, 5)])
def test_few_rows_are_whitened_as_many_are(n_rows: int, n_factors: int) -> None:
    rng = np.random.default_rng(0)
    # Columns that vary together: those that do not are shrunk to a diagonal, which is no test.
    rows = rng.normal(size=(n_rows, n_factors)) @ rng.normal(size=(n_factors, 64))
    rows = (rows + 0.05 * rng.normal(size=rows.shape)) / np.sqrt(n_rows)
    rows[:, 7] = 0.0
    whole = fit_ood._invert_root(rows, n_rows)
    assert np.abs(whole - np.diag(np.diag(whole))).max() > 0.1
    np.testing.assert_allclose(fit_ood._invert_root_by_rows(rows, n_rows), whole, rtol=1e-9, atol=1e-9)
