"""Metrics and numbers as text."""

from __future__ import annotations

import re

import pytest
from tests.helpers.report import MakeEvaluation

from georgia.report.tables import epoch_lines, format_number, format_percent, format_results


def test_results_keep_label_order_and_decimals(make_evaluation: MakeEvaluation) -> None:
    text = format_results(make_evaluation(24, ("PG", "CEX"), wrong=2))
    assert text.index("PG") < text.index("CEX")
    rows = dict(re.findall(r"^ *([A-Za-z ]+?) +0\.\d{4} +0\.\d{4} +0\.\d{4} +(\d+)$", text, re.MULTILINE))
    assert rows == {"PG": "12", "CEX": "12", "macro avg": "24", "weighted avg": "24"}
    assert re.search(r"accuracy +0\.9167 +24", text)
    assert "Misclassified: 2 of 24" in text
    assert text.count(" classified as ") == 2


def test_results_agree_with_scikit_learn(make_evaluation: MakeEvaluation) -> None:
    from sklearn.metrics import classification_report

    evaluation = make_evaluation(60, ("b", "a", "c"), wrong=13)
    predicted = [item.label for item in evaluation.predictions.items]
    expected = classification_report(evaluation.truth, predicted, labels=["b", "a", "c"], digits=4)
    ours = format_results(evaluation).split("\n\n95 % confidence intervals")[0].split("\n", 3)[3]
    assert ours.split() == expected.split()


def test_rounding_never_hides_last_error() -> None:
    assert format_percent(1 - 1e-9) == ">99.99 %"
    assert format_percent(1e-9) == "<0.01 %"
    assert format_percent(0.0) == "0 %"


def test_perfect_results_state_upper_limit(make_evaluation: MakeEvaluation) -> None:
    text = format_results(make_evaluation(24))
    assert re.search(r"Misclassified: 0 of 24; upper 95 % confidence limit 22\.09 % \(one-sided\)", text)
    assert "Misclassified files" not in text


def test_epoch_lines_match_the_study(make_evaluation: MakeEvaluation) -> None:
    lines = epoch_lines(make_evaluation(24, wrong=1).metrics, 3)
    assert lines[0] == "Epoch 3 - Class-Wise Metrics:"
    assert [line.split(" - ")[0].strip() for line in lines[1:]] == ["CEX", "PG", "macro avg", "weighted avg"]
    assert lines[1].endswith("- Precision: 1.0000, Recall: 0.9167, F1-Score: 0.9565")


@pytest.mark.parametrize("value", [0.001, 1e-5, 0.75, 127.0, -0.5, 2.9136419296264647e-06, 12345.678, 0.0])
def test_rounded_numbers_are_near_true_ones(value: float) -> None:
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")
    base, _, power = format_number(value).partition("×10")
    shown = float(base.translate(raised)) * 10.0 ** int(power.translate(raised) or 0)
    assert shown == pytest.approx(value, rel=1e-3)
    assert len(base) <= 7
