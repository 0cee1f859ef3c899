"""Laws of the figures: what must not change them, what bounds them, and what they must admit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from georgia.errors import InputError
from georgia.labels import Labels
from georgia.metrics.classification import Metrics, compute_metrics, epoch_metrics
from georgia.metrics.intervals import effective_count, f1_wilson_interval, upper_error_limit, wilson_interval
from georgia.metrics.reliability import calibration_interval, expected_calibration_error, measure_reliability

TWO = Labels(("CEX", "PG"))
THREE = Labels(("dolomite", "limestone", "clay"))


def draw_answers(
    rng: np.random.Generator, n: int, n_classes: int, error: float
) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, n_classes, n)
    shift = rng.integers(1, n_classes, n) * (rng.random(n) < error)
    return truth, (truth + shift) % n_classes


def test_order_of_files_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = draw_answers(rng, 300, 3, 0.2)
    groups = [f"crystal {i}" for i in rng.integers(0, 60, 300)]
    shuffled = rng.permutation(300)
    one = compute_metrics(truth, predicted, THREE, groups)
    other = compute_metrics(truth[shuffled], predicted[shuffled], THREE, [groups[i] for i in shuffled])
    assert one.to_json_dict() == other.to_json_dict()


def test_names_of_groups_change_nothing() -> None:
    rng = np.random.default_rng(2)
    truth, predicted = draw_answers(rng, 200, 2, 0.2)
    groups = rng.integers(0, 50, 200)
    one = compute_metrics(truth, predicted, TWO, [f"a{i}" for i in groups])
    other = compute_metrics(truth, predicted, TWO, [f"z{99 - i}" for i in groups])
    assert one.to_json_dict() == other.to_json_dict()


def test_order_of_outputs_permutes_classes_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    truth, predicted = draw_answers(rng, 400, 3, 0.2)
    order = np.array([2, 0, 1])
    renamed = Labels(tuple(THREE.names[i] for i in order))
    position = np.argsort(order)
    one = compute_metrics(truth, predicted, THREE)
    other = compute_metrics(position[truth], position[predicted], renamed)
    assert other.per_class == {name: one.per_class[name] for name in renamed.names}
    assert other.macro.f1_ci95 == one.macro.f1_ci95
    assert other.confusion.tolist() == one.confusion[np.ix_(order, order)].tolist()


def test_transposing_truth_and_answer_swaps_precision_and_recall() -> None:
    truth, predicted = draw_answers(np.random.default_rng(4), 200, 3, 0.3)
    one, other = compute_metrics(truth, predicted, THREE), compute_metrics(predicted, truth, THREE)
    for name in THREE.names:
        assert one.per_class[name].precision == other.per_class[name].recall
        assert one.per_class[name].f1 == other.per_class[name].f1
    assert one.confusion.tolist() == other.confusion.T.tolist()


def test_perfect_answers_score_one_but_do_not_claim_certainty() -> None:
    truth = np.arange(684) % 2
    metrics = compute_metrics(truth, truth, TWO)
    for figure in (*metrics.per_class.values(), metrics.macro, metrics.weighted):
        assert figure.f1 == 1.0
        assert 0.99 < figure.f1_ci95[0] < 1.0
        assert figure.f1_ci95[1] == 1.0
    assert metrics.accuracy_ci95[0] < 1.0
    assert metrics.error_rate_upper95 == pytest.approx(0.0044, abs=5e-5)


def test_everything_wrong_scores_zero_but_does_not_claim_certainty() -> None:
    truth = np.arange(40) % 2
    metrics = compute_metrics(truth, 1 - truth, TWO)
    assert metrics.macro.f1 == 0.0
    assert metrics.per_class["PG"].f1_ci95[0] == 0.0
    assert 0.0 < metrics.per_class["PG"].f1_ci95[1] < 0.3
    assert metrics.error_rate_upper95 == 1.0


@pytest.mark.parametrize("n_errors", [0, 1, 2, 3, 5, 8, 12, 40, 120])
def test_interval_holds_the_figure(n_errors: int) -> None:
    truth = np.arange(684) % 2
    predicted = truth.copy()
    predicted[:n_errors] = 1 - predicted[:n_errors]
    metrics = compute_metrics(truth, predicted, TWO)
    for figure in (*metrics.per_class.values(), metrics.macro, metrics.weighted):
        assert figure.f1_ci95[0] <= figure.f1 <= figure.f1_ci95[1]
    assert metrics.accuracy_ci95[0] <= metrics.accuracy <= metrics.accuracy_ci95[1]


def test_more_errors_never_raise_the_lower_limit() -> None:
    truth, lows = np.arange(684) % 2, []
    for n_errors in range(40):
        predicted = truth.copy()
        predicted[:n_errors] = 1 - predicted[:n_errors]
        lows.append(compute_metrics(truth, predicted, TWO).per_class["CEX"].f1_ci95[0])
    # One step from the Wilson form to the bootstrap, and the draws' own noise, are allowed for.
    assert (np.diff(lows) < 0.002).all()
    assert lows[0] > lows[5] > lows[15] > lows[39]


def test_copies_of_files_narrow_nothing_when_grouped() -> None:
    truth, predicted = draw_answers(np.random.default_rng(5), 120, 2, 0.3)
    groups = [f"crystal {i}" for i in range(120)]
    once = compute_metrics(truth, predicted, TWO, groups)
    eight = compute_metrics(np.tile(truth, 8), np.tile(predicted, 8), TWO, groups * 8)
    naive = compute_metrics(np.tile(truth, 8), np.tile(predicted, 8), TWO)
    assert eight.per_class["PG"].f1_ci95 == pytest.approx(once.per_class["PG"].f1_ci95)
    assert eight.accuracy_ci95 == pytest.approx(once.accuracy_ci95)
    assert eight.error_rate_upper95 == pytest.approx(once.error_rate_upper95)
    assert np.ptp(naive.per_class["PG"].f1_ci95) < 0.5 * np.ptp(once.per_class["PG"].f1_ci95)


def test_group_of_each_file_is_the_default() -> None:
    truth, predicted = draw_answers(np.random.default_rng(6), 150, 2, 0.2)
    alone = compute_metrics(truth, predicted, TWO).to_json_dict()
    assert compute_metrics(truth, predicted, TWO, [str(i) for i in range(150)]).to_json_dict() == alone
    assert compute_metrics(truth, predicted, TWO, [""] * 150).to_json_dict() == alone


@pytest.mark.parametrize(("n", "error"), [(684, 0.003), (684, 0.01), (200, 0.05), (100, 0.2)])
def test_f1_interval_covers_the_truth_as_often_as_it_says(n: int, error: float) -> None:
    rng, hits, n_sets = np.random.default_rng(7), 0, 200
    truth = np.arange(n) % 2
    for _ in range(n_sets):
        predicted = np.where(rng.random(n) < error, 1 - truth, truth)
        low, high = compute_metrics(truth, predicted, TWO, n_bootstrap=400).per_class["CEX"].f1_ci95
        hits += low <= 1 - error <= high
    # 95 % of 200 is 190; 181 is three standard errors below.
    assert hits >= 181


def test_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    truth, predicted = draw_answers(np.random.default_rng(8), 500, 3, 0.25)
    metrics = compute_metrics(truth, predicted, THREE)
    expected = precision_recall_fscore_support(truth, predicted)
    for index, name in enumerate(THREE.names):
        one = metrics.per_class[name]
        assert (one.precision, one.recall, one.f1, one.support) == pytest.approx([v[index] for v in expected])
    for average in ("macro", "weighted"):
        values = precision_recall_fscore_support(truth, predicted, average=average)[:3]
        one = getattr(metrics, average)
        assert (one.precision, one.recall, one.f1) == pytest.approx(values)
    assert metrics.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert metrics.confusion.tolist() == confusion_matrix(truth, predicted).tolist()


def test_refused_file_misses_recall_and_is_no_false_positive() -> None:
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


def test_all_refused_is_a_result_not_a_crash() -> None:
    metrics = compute_metrics(np.array([0, 1]), np.array([-1, -1]), TWO)
    assert (metrics.accuracy, metrics.n_unknown, metrics.macro.f1) == (0.0, 2, 0.0)


def test_class_without_files_stays_out_of_the_averages() -> None:
    metrics = compute_metrics(np.array([1, 1, 1]), np.array([1, 1, 0]), TWO)
    assert metrics.per_class["CEX"].support == 0
    assert metrics.per_class["CEX"].recall_ci95 == (0.0, 1.0)
    assert metrics.macro.recall == pytest.approx(2 / 3)
    assert metrics.macro.support == 3


def test_epoch_metrics_are_the_same_figures() -> None:
    truth, predicted = draw_answers(np.random.default_rng(9), 300, 3, 0.2)
    quick, full = epoch_metrics(truth, predicted, THREE), compute_metrics(truth, predicted, THREE)
    assert quick.to_history_row() == full.to_history_row()
    assert quick.confusion.tolist() == full.confusion.tolist()
    names = [*THREE.names, "macro", "weighted"]
    assert list(quick.to_history_row()) == [f"{n}_{k}" for n in names for k in ("precision", "recall", "f1")]


def test_the_weighted_recall_is_the_accuracy_with_its_interval() -> None:
    truth, predicted = draw_answers(np.random.default_rng(3), 120, 3, 0.2)
    groups = [f"g{number // 3}" for number in range(120)]
    metrics = compute_metrics(truth, predicted, THREE, groups)
    assert metrics.weighted.recall == pytest.approx(metrics.accuracy)
    assert metrics.weighted.recall_ci95 == metrics.accuracy_ci95


def test_json_form_is_plain_and_has_the_promised_keys() -> None:
    document = compute_metrics(np.array([0, 1]), np.array([0, 1]), TWO).to_json_dict()
    assert json.loads(json.dumps(document)) == document
    assert {"accuracy", "per_class", "confusion", "classes", "n_unknown"} <= set(document)
    assert {"precision", "recall", "f1", "support", "f1_ci95"} <= set(document["per_class"]["PG"])


def test_results_cannot_be_changed() -> None:
    metrics: Metrics = compute_metrics(np.array([0, 1]), np.array([0, 1]), TWO)
    with pytest.raises(ValueError, match="read-only"):
        metrics.confusion[0, 0] = 5


@pytest.mark.parametrize(
    ("truth", "predicted", "groups", "message"),
    [
        ([], [], None, "same 1 or more files"),
        ([0, 1], [0], None, "same 1 or more files"),
        ([0, 2], [0, 1], None, "positions run from 0 to 1"),
        ([0, 1], [0, -2], None, "positions run from 0 to 1"),
        ([-1, 1], [0, 1], None, "positions run from 0 to 1"),
        ([0.0, 1.0], [0, 1], None, "whole numbers"),
        ([0, 1], [0, 1], ["a"], "one group name for each file.*1 groups"),
    ],
)
def test_bad_input_is_named(truth: list, predicted: list, groups: list | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compute_metrics(np.array(truth), np.array(predicted), TWO, groups)


def test_wilson_interval_mirrors_and_narrows() -> None:
    for n in (1, 5, 684):
        for right in range(0, n + 1, max(1, n // 5)):
            low, high = wilson_interval(right / n, n)
            other = wilson_interval(1 - right / n, n)
            assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high))
            assert 0.0 <= low <= right / n <= high <= 1.0
    assert np.ptp(wilson_interval(0.9, 1000)) < np.ptp(wilson_interval(0.9, 100))
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


def test_wilson_interval_of_a_published_case() -> None:
    # Source: Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E,
    # table I, score method: 81 of 263 and 15 of 148.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_upper_error_limit_follows_the_rule_of_three() -> None:
    assert upper_error_limit(0, 684) == pytest.approx(3 / 684, rel=0.01)
    assert upper_error_limit(0, 684) == pytest.approx(0.0044, abs=5e-5)
    limits = [upper_error_limit(k, 100) for k in range(101)]
    assert (np.diff(limits) >= 0).all()
    assert limits[-1] == 1.0
    with pytest.raises(InputError, match="between 0 and n"):
        upper_error_limit(3, 2)


def test_error_limit_is_exact() -> None:
    from scipy.stats import binom

    assert binom.cdf(3, 200, upper_error_limit(3, 200)) == pytest.approx(0.05, abs=1e-9)


def test_effective_count_lies_between_one_and_the_number_of_groups() -> None:
    rng = np.random.default_rng(10)
    for _ in range(20):
        sizes = rng.integers(1, 9, 30)
        assert 1.0 <= effective_count(sizes) <= 30.0 + 1e-9
    assert effective_count(np.array([0])) == 0.0


def test_f1_wilson_limits_are_f1_at_the_limits_of_the_share() -> None:
    low, high = f1_wilson_interval(90, 100, 100.0)
    share_low, share_high = wilson_interval(0.9, 100)
    assert (low, high) == pytest.approx((2 * share_low / (1 + share_low), 2 * share_high / (1 + share_high)))
    assert f1_wilson_interval(0, 0, 0.0) == (0.0, 1.0)


def test_calibration_error_is_zero_when_as_right_as_sure() -> None:
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.0, 1.0]] * 3)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1, 1, 1, 1])) == pytest.approx(0.0)


def test_calibration_error_is_the_gap_when_always_sure() -> None:
    probabilities = np.tile([[1.0, 0.0]], (10, 1))
    truth = np.array([0] * 7 + [1] * 3)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.3)


def test_calibration_of_drawn_probabilities_is_good_and_of_sharpened_ones_bad() -> None:
    rng = np.random.default_rng(11)
    second = rng.random(20_000)
    truth = (rng.random(20_000) < second).astype(int)
    sharp = second**4 / (second**4 + (1 - second) ** 4)
    fair = expected_calibration_error(np.stack([1 - second, second], axis=1), truth)
    sharpened = expected_calibration_error(np.stack([1 - sharp, sharp], axis=1), truth)
    assert fair < 0.02
    assert sharpened > 0.1


def test_calibration_interval_holds_the_error_and_reaches_0_for_a_calibrated_model() -> None:
    rng = np.random.default_rng(13)
    second = rng.random(600)
    truth = (rng.random(600) < second).astype(int)
    fair = np.stack([1 - second, second], axis=1)
    low, high = calibration_interval(fair, truth)
    assert low == 0.0
    assert low <= expected_calibration_error(fair, truth) <= high < 0.1
    always = np.tile([[1.0, 0.0]], (600, 1))
    low, high = calibration_interval(always, truth)
    assert 0.4 < low < expected_calibration_error(always, truth) < high < 0.6
    copies = calibration_interval(
        np.tile(always, (4, 1)), np.tile(truth, 4), [str(i) for i in range(600)] * 4
    )
    assert copies == pytest.approx((low, high), abs=0.01)


def test_averages_have_intervals_that_hold_them() -> None:
    for error in (0.0, 0.01, 0.2):
        truth, predicted = draw_answers(np.random.default_rng(14), 300, 3, error)
        metrics = compute_metrics(truth, predicted, THREE)
        for average in (metrics.macro, metrics.weighted):
            for key in ("precision", "recall", "f1"):
                low, high = getattr(average, f"{key}_ci95")
                assert low <= getattr(average, key) <= high
                assert high - low > 0.005
    assert compute_metrics(truth, np.full(300, -1), THREE).rejected_ci95[0] > 0.98


def test_reliability_counts_every_file_once() -> None:
    rng = np.random.default_rng(12)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 500)
    bins = measure_reliability(probabilities, rng.integers(0, 3, 500), 10)
    assert bins.n.sum() == 500
    assert bins.n[:3].sum() == 0
    assert np.isnan(bins.fraction_correct[:3]).all()
    filled = bins.n > 0
    assert (bins.mean_probability[filled] <= bins.edges[1:][filled] + 1e-12).all()
    assert (bins.mean_probability[filled] > bins.edges[:-1][filled]).all()


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        ([[0.5, 0.6]], [0], "sum to 1"),
        ([[1.5, -0.5]], [0], "sum to 1"),
        ([[float("nan"), 1.0]], [0], "sum to 1"),
        ([[0.5, 0.5]], [0, 1], "1 or more files"),
    ],
)
def test_bad_probabilities_are_named(probabilities: list, truth: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expected_calibration_error(np.array(probabilities), np.array(truth))
