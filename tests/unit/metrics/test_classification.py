"""Laws of the metrics: what must not change them, what bounds them, and what they cannot exclude."""

from __future__ import annotations

import json

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.metrics.classification import Metrics, compute_metrics, epoch_metrics

TWO = Labels(("CEX", "PG"))
THREE = Labels(("dolomite", "limestone", "clay"))


def simulate(rng: np.random.Generator, n: int, n_classes: int, error: float) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, n_classes, n)
    shift = rng.integers(1, n_classes, n) * (rng.random(n) < error)
    return truth, (truth + shift) % n_classes


def test_order_of_files_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = simulate(rng, 300, 3, 0.2)
    groups = [f"crystal {i}" for i in rng.integers(0, 60, 300)]
    shuffled = rng.permutation(300)
    first = compute_metrics(truth, predicted, THREE, groups)
    other = compute_metrics(truth[shuffled], predicted[shuffled], THREE, [groups[i] for i in shuffled])
    assert first.to_json_dict() == other.to_json_dict()


def test_names_of_groups_change_nothing() -> None:
    rng = np.random.default_rng(2)
    truth, predicted = simulate(rng, 200, 2, 0.2)
    groups = rng.integers(0, 50, 200)
    first = compute_metrics(truth, predicted, TWO, [f"a{i}" for i in groups])
    other = compute_metrics(truth, predicted, TWO, [f"z{99 - i}" for i in groups])
    assert first.to_json_dict() == other.to_json_dict()


def test_order_of_outputs_only_permutes_classes() -> None:
    rng = np.random.default_rng(3)
    truth, predicted = simulate(rng, 400, 3, 0.2)
    order = np.array([2, 0, 1])
    renamed = Labels(tuple(THREE.names[i] for i in order))
    position = np.argsort(order)
    first = compute_metrics(truth, predicted, THREE)
    other = compute_metrics(position[truth], position[predicted], renamed)
    assert other.per_class == {name: first.per_class[name] for name in renamed.names}
    assert other.macro.f1_ci95 == first.macro.f1_ci95
    assert other.confusion.tolist() == first.confusion[np.ix_(order, order)].tolist()


def test_exchanging_truth_swaps_precision_and_recall() -> None:
    truth, predicted = simulate(np.random.default_rng(4), 200, 3, 0.3)
    first, other = compute_metrics(truth, predicted, THREE), compute_metrics(predicted, truth, THREE)
    for name in THREE.names:
        assert first.per_class[name].precision == other.per_class[name].recall
        assert first.per_class[name].f1 == other.per_class[name].f1
    assert first.confusion.tolist() == other.confusion.T.tolist()


def test_perfect_predictions_keep_uncertainty() -> None:
    truth = np.arange(684) % 2
    metrics = compute_metrics(truth, truth, TWO)
    for scores in (*metrics.per_class.values(), metrics.macro, metrics.weighted):
        assert scores.f1 == 1.0
        assert 0.99 < scores.f1_ci95[0] < 1.0
        assert scores.f1_ci95[1] == 1.0
    assert metrics.accuracy_ci95[0] < 1.0
    assert metrics.error_rate_upper95 == pytest.approx(0.0044, abs=5e-5)


def test_wrong_predictions_keep_uncertainty() -> None:
    truth = np.arange(40) % 2
    metrics = compute_metrics(truth, 1 - truth, TWO)
    assert metrics.macro.f1 == 0.0
    assert metrics.per_class["PG"].f1_ci95[0] == 0.0
    assert 0.0 < metrics.per_class["PG"].f1_ci95[1] < 0.3
    assert metrics.error_rate_upper95 == 1.0


@pytest.mark.parametrize("n_errors", [0, 1, 2, 3, 5, 8, 12, 40, 120])
def test_interval_contains_metric(n_errors: int) -> None:
    truth = np.arange(684) % 2
    predicted = truth.copy()
    predicted[:n_errors] = 1 - predicted[:n_errors]
    metrics = compute_metrics(truth, predicted, TWO)
    for scores in (*metrics.per_class.values(), metrics.macro, metrics.weighted):
        assert scores.f1_ci95[0] <= scores.f1 <= scores.f1_ci95[1]
    assert metrics.accuracy_ci95[0] <= metrics.accuracy <= metrics.accuracy_ci95[1]


def test_lower_limit_falls_with_errors() -> None:
    truth, lows = np.arange(684) % 2, []
    for n_errors in range(40):
        predicted = truth.copy()
        predicted[:n_errors] = 1 - predicted[:n_errors]
        lows.append(compute_metrics(truth, predicted, TWO).per_class["CEX"].f1_ci95[0])
    # The step from the Wilson form to the bootstrap and the noise of resampling are allowed for.
    assert (np.diff(lows) < 0.002).all()
    assert lows[0] > lows[5] > lows[15] > lows[39]


def test_duplicates_in_groups_narrow_no_interval() -> None:
    truth, predicted = simulate(np.random.default_rng(5), 120, 2, 0.3)
    groups = [f"crystal {i}" for i in range(120)]
    once = compute_metrics(truth, predicted, TWO, groups)
    eight = compute_metrics(np.tile(truth, 8), np.tile(predicted, 8), TWO, groups * 8)
    naive = compute_metrics(np.tile(truth, 8), np.tile(predicted, 8), TWO)
    assert eight.per_class["PG"].f1_ci95 == pytest.approx(once.per_class["PG"].f1_ci95)
    assert eight.accuracy_ci95 == pytest.approx(once.accuracy_ci95)
    assert eight.error_rate_upper95 == pytest.approx(once.error_rate_upper95)
    assert np.ptp(naive.per_class["PG"].f1_ci95) < 0.5 * np.ptp(once.per_class["PG"].f1_ci95)


def test_default_group_is_the_file() -> None:
    truth, predicted = simulate(np.random.default_rng(6), 150, 2, 0.2)
    alone = compute_metrics(truth, predicted, TWO).to_json_dict()
    assert compute_metrics(truth, predicted, TWO, [str(i) for i in range(150)]).to_json_dict() == alone
    assert compute_metrics(truth, predicted, TWO, [""] * 150).to_json_dict() == alone


@pytest.mark.parametrize(("n", "error"), [(684, 0.003), (684, 0.01), (200, 0.05), (100, 0.2)])
def test_f1_interval_has_nominal_coverage(n: int, error: float) -> None:
    rng, hits, n_sets = np.random.default_rng(7), 0, 200
    truth = np.arange(n) % 2
    for _ in range(n_sets):
        predicted = np.where(rng.random(n) < error, 1 - truth, truth)
        low, high = compute_metrics(truth, predicted, TWO, n_bootstrap=400).per_class["CEX"].f1_ci95
        hits += low <= 1 - error <= high
    # 95 % of 200 is 190; 181 is three standard errors below.
    assert hits >= 181


def test_metrics_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    truth, predicted = simulate(np.random.default_rng(8), 500, 3, 0.25)
    metrics = compute_metrics(truth, predicted, THREE)
    expected = precision_recall_fscore_support(truth, predicted)
    for index, name in enumerate(THREE.names):
        first = metrics.per_class[name]
        assert (first.precision, first.recall, first.f1, first.support) == pytest.approx(
            [v[index] for v in expected]
        )
    for average in ("macro", "weighted"):
        values = precision_recall_fscore_support(truth, predicted, average=average)[:3]
        first = getattr(metrics, average)
        assert (first.precision, first.recall, first.f1) == pytest.approx(values)
    assert metrics.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert metrics.confusion.tolist() == confusion_matrix(truth, predicted).tolist()


def test_rejection_lowers_recall_but_not_precision() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, -1, 1, 1, -1])
    metrics = compute_metrics(truth, predicted, TWO)
    assert metrics.n_unknown == 2
    assert metrics.n_wrong == 0
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.per_class["CEX"].recall == 0.5
    assert metrics.per_class["CEX"].precision == 1.0
    assert metrics.per_class["PG"].precision == 1.0
    assert metrics.rejected.tolist() == [1, 1]
    assert (metrics.confusion.sum(axis=1) + metrics.rejected).tolist() == [2, 3]


def test_all_rejected_gives_a_result() -> None:
    metrics = compute_metrics(np.array([0, 1]), np.array([-1, -1]), TWO)
    assert (metrics.accuracy, metrics.n_unknown, metrics.macro.f1) == (0.0, 2, 0.0)


def test_empty_class_stays_out_of_averages() -> None:
    metrics = compute_metrics(np.array([1, 1, 1]), np.array([1, 1, 0]), TWO)
    assert metrics.per_class["CEX"].support == 0
    assert metrics.per_class["CEX"].recall_ci95 == (0.0, 1.0)
    assert metrics.macro.recall == pytest.approx(2 / 3)
    assert metrics.macro.support == 3


def test_epoch_metrics_equal_compute_metrics() -> None:
    truth, predicted = simulate(np.random.default_rng(9), 300, 3, 0.2)
    quick, full = epoch_metrics(truth, predicted, THREE), compute_metrics(truth, predicted, THREE)
    assert quick.to_history_row() == full.to_history_row()
    assert quick.confusion.tolist() == full.confusion.tolist()
    names = [*THREE.names, "macro", "weighted"]
    assert list(quick.to_history_row()) == [f"{n}_{k}" for n in names for k in ("precision", "recall", "f1")]


def test_weighted_recall_is_accuracy() -> None:
    truth, predicted = simulate(np.random.default_rng(3), 120, 3, 0.2)
    groups = [f"g{number // 3}" for number in range(120)]
    metrics = compute_metrics(truth, predicted, THREE, groups)
    assert metrics.weighted.recall == pytest.approx(metrics.accuracy)
    assert metrics.weighted.recall_ci95 == metrics.accuracy_ci95


def test_json_has_promised_keys() -> None:
    document = compute_metrics(np.array([0, 1]), np.array([0, 1]), TWO).to_json_dict()
    assert json.loads(json.dumps(document)) == document
    assert {"accuracy", "per_class", "confusion", "classes", "n_unknown"} <= set(document)
    assert {"precision", "recall", "f1", "support", "f1_ci95"} <= set(document["per_class"]["PG"])


def test_confusion_matrix_is_read_only() -> None:
    metrics: Metrics = compute_metrics(np.array([0, 1]), np.array([0, 1]), TWO)
    with pytest.raises(ValueError, match="read-only"):
        metrics.confusion[0, 0] = 5


@pytest.mark.parametrize(
    ("truth", "predicted", "groups", "message"),
    [
        ([], [], None, "same 1 or more files"),
        ([0, 1], [0], None, "same 1 or more files"),
        ([0, 2], [0, 1], None, "indices run from 0 to 1"),
        ([0, 1], [0, -2], None, "indices run from 0 to 1"),
        ([-1, 1], [0, 1], None, "indices run from 0 to 1"),
        ([0.0, 1.0], [0, 1], None, "whole numbers"),
        ([0, 1], [0, 1], ["a"], "one group name for each file.*1 groups"),
    ],
)
def test_bad_input_is_reported(truth: list, predicted: list, groups: list | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compute_metrics(np.array(truth), np.array(predicted), TWO, groups)


def test_average_intervals_contain_averages() -> None:
    for error in (0.0, 0.01, 0.2):
        truth, predicted = simulate(np.random.default_rng(14), 300, 3, error)
        metrics = compute_metrics(truth, predicted, THREE)
        for average in (metrics.macro, metrics.weighted):
            for key in ("precision", "recall", "f1"):
                low, high = getattr(average, f"{key}_ci95")
                assert low <= getattr(average, key) <= high
                assert high - low > 0.005
    assert compute_metrics(truth, np.full(300, -1), THREE).rejected_ci95[0] > 0.98
