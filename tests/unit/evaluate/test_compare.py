"""Laws of the comparison: what must not change it, and when a difference is significant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.evaluate.compare import Comparison, compare_evaluations, compare_predictions
from georgia.evaluate.score import Evaluation, score_predictions
from georgia.labels import UNKNOWN, Labels
from georgia.metrics.classification import compute_metrics
from georgia.metrics.paired import mcnemar_p_value
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record

TWO = Labels(("CEX", "PG"))
THREE = Labels(("clay", "dolomite", "limestone"))


def simulate(n: int, error: float, n_classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    return truth, np.where(rng.random(n) < error, (truth + 1) % n_classes, truth)


def test_model_against_itself_shows_no_difference() -> None:
    truth, named = simulate(200, 0.2)
    result = compare_predictions(truth, (named, named), TWO)
    assert (result.accuracy.difference, result.f1.difference) == (0.0, 0.0)
    assert (result.accuracy.p_value, result.f1.p_value) == (1.0, 1.0)
    assert result.accuracy.interval[0] < 0.0 < result.accuracy.interval[1]
    assert "No difference beyond chance" in result.describe()


def test_exchanging_models_changes_every_sign() -> None:
    truth, named = simulate(300, 0.1, 3)
    other = simulate(300, 0.25, 3, seed=1)[1]
    first = compare_predictions(truth, (named, other), THREE)
    back = compare_predictions(truth, (other, named), THREE)
    assert back.accuracy.difference == -first.accuracy.difference
    assert back.accuracy.p_value == first.accuracy.p_value
    assert back.f1.p_value == pytest.approx(first.f1.p_value, abs=0.01)
    assert back.accuracy.interval == pytest.approx([-v for v in first.accuracy.interval[::-1]], abs=0.01)
    assert (back.n_groups_better, back.n_groups_worse) == (first.n_groups_worse, first.n_groups_better)


def test_order_of_files_and_classes_changes_nothing() -> None:
    truth, named = simulate(240, 0.1, 3)
    other = simulate(240, 0.2, 3, seed=1)[1]
    groups = [f"crystal {i // 3}" for i in range(240)]
    shuffled = np.random.default_rng(5).permutation(240)
    first = compare_predictions(truth, (named, other), THREE, groups)
    mixed = compare_predictions(
        truth[shuffled], (named[shuffled], other[shuffled]), THREE, [groups[i] for i in shuffled]
    )
    assert mixed == first
    permuted = np.array([2, 0, 1])
    renamed = Labels(tuple(THREE.names[i] for i in np.argsort(permuted)))
    again = compare_predictions(permuted[truth], (permuted[named], permuted[other]), renamed, groups)
    assert (again.f1, again.accuracy) == (first.f1, first.accuracy)
    assert again.f1_by_class == first.f1_by_class


def test_metrics_are_those_of_each_model() -> None:
    truth, named = simulate(200, 0.1, 3)
    other = np.where(np.arange(200) < 9, -1, simulate(200, 0.2, 3, seed=1)[1])
    result = compare_predictions(truth, (named, other), THREE)
    for predicted, key in ((named, "this"), (other, "other")):
        alone = compute_metrics(truth, predicted, THREE, n_bootstrap=0)
        assert getattr(result.accuracy, key) == pytest.approx(alone.accuracy)
        assert getattr(result.f1, key) == pytest.approx(alone.macro.f1)
        for name in THREE.names:
            assert getattr(result.f1_by_class[name], key) == pytest.approx(alone.per_class[name].f1)
    counts = (
        result.n_both_correct,
        result.n_only_this_correct,
        result.n_only_other_correct,
        result.n_neither_correct,
    )
    assert sum(counts) == 200


def test_duplicates_in_groups_prove_nothing() -> None:
    truth, named = simulate(120, 0.05)
    other = simulate(120, 0.15, seed=1)[1]
    groups = [f"crystal {i}" for i in range(120)]
    once = compare_predictions(truth, (named, other), TWO, groups)
    eight = compare_predictions(np.tile(truth, 8), (np.tile(named, 8), np.tile(other, 8)), TWO, groups * 8)
    assert eight.accuracy.p_value == once.accuracy.p_value
    assert eight.accuracy.interval == pytest.approx(once.accuracy.interval)
    naive = compare_predictions(np.tile(truth, 8), (np.tile(named, 8), np.tile(other, 8)), TWO)
    assert (naive.accuracy.p_value or 0) < (once.accuracy.p_value or 0)


def test_mcnemar_agrees_with_binomial_test() -> None:
    from scipy.stats import binomtest

    for better, worse in ((0, 0), (1, 0), (5, 5), (12, 3), (0, 9)):
        expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
        assert mcnemar_p_value(better, worse) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "errors"), [(684, (0.003, 0.003)), (200, (0.05, 0.15))])
def test_interval_covers_true_difference(n: int, errors: tuple[float, float]) -> None:
    rng, hits, n_sets = np.random.default_rng(7), 0, 60
    truth = np.arange(n) % 2
    for _ in range(n_sets):
        predicted = [np.where(rng.random(n) < error, 1 - truth, truth) for error in errors]
        low, high = compare_predictions(truth, (predicted[0], predicted[1]), TWO).accuracy.interval
        hits += low <= errors[1] - errors[0] <= high
    # 95 % of 60 is 57; 52 is three standard errors below.
    assert hits >= 52


def score(named: list[str], truth: list[str], labels: Labels = TWO) -> Evaluation:
    items, records = [], []
    for at, (label, true) in enumerate(zip(named, truth, strict=True)):
        predicted = labels.names[0] if label == UNKNOWN else label
        probabilities = {name: 0.9 if name == predicted else 0.1 / (len(labels) - 1) for name in labels.names}
        items.append(Prediction(Path(f"{at}.png"), label, 0.9, probabilities))
        records.append(Record(Path(f"{at}.png"), true))
    return score_predictions(Predictions(labels, tuple(items), (), "fake"), records)


def test_better_model_is_named_and_saved(tmp_path: Path) -> None:
    truth = ["CEX", "PG"] * 20
    named = ["PG" if at < 12 else true for at, true in enumerate(truth)]
    result = compare_evaluations(score(truth, truth), score(named, truth), ("new", "old"))
    assert (result.n_only_this_correct, result.n_only_other_correct) == (6, 0)
    assert "new alone is correct on 6 and old alone on 0" in result.describe()
    assert "new is better, beyond chance (McNemar's p = 0.031" in result.describe()
    result.save(tmp_path)
    assert Comparison.load(tmp_path) == result
    document = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert document["in_words"] == result.describe()


def test_order_of_predictions_and_outputs_may_differ() -> None:
    truth = ["CEX", "PG", "PG", "CEX"]
    first = score(["CEX", "PG", UNKNOWN, "PG"], truth)
    other = score(truth, truth, Labels(("PG", "CEX")))
    permuted = replace(
        other,
        predictions=replace(other.predictions, items=other.predictions.items[::-1]),
        truth=other.truth[::-1],
        groups=other.groups[::-1],
    )
    assert compare_evaluations(first, permuted) == compare_evaluations(first, other)
    assert compare_evaluations(first, other).n_only_other_correct == 2


def test_evaluations_that_do_not_match_are_rejected() -> None:
    first = score(["CEX", "PG"], ["CEX", "PG"])
    with pytest.raises(InputError, match=r"same classes \(CEX, PG\); got clay, dolomite"):
        compare_evaluations(first, score(["clay"], ["clay"], THREE))
    with pytest.raises(InputError, match="2 files in both, 1 of them with another truth"):
        compare_evaluations(first, score(["CEX", "PG"], ["CEX", "CEX"]))


def test_damaged_comparison_is_named(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match="Cannot read"):
        Comparison.load(tmp_path)
