"""Conformal sets: the stated coverage, groups, and agreement with an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.uncertainty.conformal import ConformalLimits, fit_conformal

LABELS = Labels(("CEX", "PG"))


def simulate(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a poor net, much better at the first class than at the second."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    second = np.clip(np.where(truth == 0, rng.beta(1, 5, n), rng.beta(2, 2, n)), 1e-6, 1 - 1e-6)
    return np.stack([1 - second, second], axis=1), truth


@pytest.mark.parametrize("rate", [0.05, 0.10])
def test_sets_cover_each_class_as_stated(rate: float) -> None:
    covered: dict[int, list[float]] = {0: [], 1: []}
    for seed in range(60):
        limits = fit_conformal(*simulate(200, seed), LABELS)
        rows, truth = simulate(400, 1000 + seed)
        for position, name in enumerate(LABELS.names):
            sets = limits.sets(rows[truth == position], LABELS, rate)
            covered[position].append(np.mean([name in chosen for chosen in sets]))
    for fractions in covered.values():
        # No less than stated, and not much more: 1 in n + 1 for the steps, and the noise of 60 samples.
        assert 1 - rate - 0.01 <= np.mean(fractions) <= 1 - rate + 0.03


def test_lower_error_rate_never_shrinks_sets() -> None:
    limits = fit_conformal(*simulate(150, 0), LABELS)
    rows, _ = simulate(50, 1)
    for tight, loose in zip(limits.sets(rows, LABELS, 0.01), limits.sets(rows, LABELS, 0.10), strict=True):
        assert set(loose) <= set(tight)


def test_few_groups_keep_every_class() -> None:
    rows, truth = simulate(20, 0)
    limits = fit_conformal(rows, truth, LABELS, error_rates=(0.01, 0.05))
    assert limits.sets(rows, LABELS, 0.01) == [("CEX", "PG")] * 20


def test_images_of_one_group_count_once() -> None:
    rows, truth = simulate(100, 3)
    groups = [str(number) for number in range(100)]
    once = fit_conformal(rows, truth, LABELS, groups)
    repeated = np.concatenate([np.arange(100), np.repeat(np.arange(5), 40)])
    again = fit_conformal(rows[repeated], truth[repeated], LABELS, [groups[number] for number in repeated])
    assert (again.limits, again.n_groups) == (once.limits, once.n_groups)
    assert sum(again.n_images.values()) == 300


def test_sets_agree_with_crepes() -> None:
    crepes = pytest.importorskip("crepes")
    rows, truth = simulate(199, 5)
    new, _ = simulate(300, 6)
    limits = fit_conformal(rows, truth, LABELS)
    other = crepes.ConformalClassifier().fit(1 - rows[np.arange(len(truth)), truth], bins=truth)
    for rate in (0.05, 0.10):
        columns = []
        for position in (0, 1):
            bins = np.full(len(new), position)
            scores = 1 - new[:, [position]]
            columns.append(other.predict_set(scores, bins=bins, confidence=1 - rate, smoothing=False)[:, 0])
        expected = np.stack(columns, axis=1)
        ours = np.array(
            [[name in chosen for name in LABELS.names] for chosen in limits.sets(new, LABELS, rate)]
        )
        np.testing.assert_array_equal(ours, expected.astype(bool))


def test_saved_limits_load_equal() -> None:
    limits = fit_conformal(*simulate(80, 2), LABELS)
    assert ConformalLimits.from_dict(limits.to_dict(), LABELS) == limits


def test_wrong_input_is_rejected() -> None:
    limits = fit_conformal(*simulate(80, 2), LABELS)
    with pytest.raises(InputError, match=r"Unknown error rate: it must be one of 0.01, 0.05, 0.1; got 0.2"):
        limits.sets(np.array([[0.5, 0.5]]), LABELS, 0.2)
    with pytest.raises(InputError, match="Cannot read the model's conformal limits"):
        ConformalLimits.from_dict({"limits": {}}, Labels(("a", "b")))
    with pytest.raises(InputError, match="error rates lie between 0 and 1"):
        fit_conformal(*simulate(8, 2), LABELS, error_rates=(0.0,))
