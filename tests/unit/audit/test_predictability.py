"""Laws of the predictability test: scores, folds, permutations."""

from __future__ import annotations

import numpy as np
import pytest

from georgia.audit.predictability import (
    Ints,
    ProbeData,
    assess_columns,
    assess_together,
    cut_bins,
    make_probe_data,
    score_bins,
    score_tree,
)


def probe_of(labels: Ints, groups: Ints | None = None) -> ProbeData:
    probe = make_probe_data(labels, np.arange(len(labels)) if groups is None else groups, 2, 0)
    assert probe is not None
    return probe


def test_scores_run_from_chance_to_one() -> None:
    labels = np.arange(200) % 2
    probe = probe_of(labels)
    assert score_bins(np.zeros(200, np.int64), probe) == pytest.approx(0.5)
    assert score_bins(labels, probe) == pytest.approx(1.0)
    assert score_tree(labels[:, None].astype(float), probe) == pytest.approx(1.0)


def test_score_ignores_class_sizes() -> None:
    labels = (np.arange(300) < 30).astype(np.int64)
    assert score_bins(np.zeros(300, np.int64), probe_of(labels)) == pytest.approx(0.5)


def test_folds_keep_groups_whole() -> None:
    groups = np.repeat(np.arange(40), 5)
    probe = probe_of(groups % 2, groups)
    assert all(len(set(probe.folds[probe.groups == group])) == 1 for group in range(40))


def test_group_marker_does_not_generalise() -> None:
    groups = np.repeat(np.arange(40), 10)
    labels = (groups * 7 % 11 % 2).astype(np.int64)
    assert score_bins(groups, probe_of(labels, groups)) == pytest.approx(0.5)


def test_permutation_keeps_groups_and_class_counts() -> None:
    groups = np.repeat(np.arange(40), 5)
    probe = probe_of(groups % 2, groups)
    permuted = probe.permute(np.random.default_rng(3))
    assert all(len(set(permuted.labels[groups == group])) == 1 for group in range(40))
    assert np.bincount(permuted.labels).tolist() == np.bincount(probe.labels).tolist()
    assert (permuted.labels != probe.labels).any()


def test_noise_is_rarely_significant() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(20):
        labels = rng.integers(0, 2, 120)
        probe = probe_of(labels)
        columns = [cut_bins(rng.normal(size=120), probe.groups, False) for _ in range(8)]
        hits += int((assess_columns(columns, probe, 39, 0)[1] <= 0.05).any())
    # At the level of 5 % one of 20 is expected; five or more have a chance of 0.3 %.
    assert hits < 5


def test_tree_finds_interaction_of_two_properties() -> None:
    rng = np.random.default_rng(0)
    both = rng.integers(0, 2, (400, 2))
    probe = probe_of(both[:, 0] ^ both[:, 1])
    assert max(score_bins(column, probe) for column in both.T) < 0.65
    accuracy, p = assess_together(both.astype(float), probe, 39, 0, needed=0.7)
    assert accuracy > 0.95
    assert p == pytest.approx(1 / 40)


def test_class_in_one_group_gives_none() -> None:
    assert make_probe_data(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 3]), 2, 0) is None
