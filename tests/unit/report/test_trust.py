"""Claims of a model counted on test images, on the page and in the model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.report import METADATA, MakeEvaluation, make_inputs, make_robustness, read_page

from georgia.report.card import render_card
from georgia.report.page import ReportInputs, render_report
from georgia.report.trust import measure_trust
from georgia.report.verdict import make_verdict


@pytest.mark.usefixtures("no_figures")
def test_rejections_and_sets_are_counted(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24, wrong=2, rejected=4)
    trust = measure_trust(evaluation, METADATA)
    assert [(row.name, row.count, row.n) for row in trust.rejected] == [("CEX", 2, 12), ("PG", 2, 12)]
    five, ten = trust.coverage
    assert (five.overall.value, five.mean_size, five.n_single) == (1.0, 2.0, 0)
    assert (ten.overall.count, ten.overall.n, ten.n_single) == (18, 20, 20)
    assert ten.overall.interval[0] < 0.9 < ten.overall.interval[1]
    text = read_page(render_report(ReportInputs("S", evaluation, metadata=METADATA))).text
    assert "In the set at5 % errors" in text
    bare = measure_trust(evaluation, {})
    assert (bare.rejected, bare.coverage, bare.calibration) == ((), (), None)


@pytest.mark.usefixtures("no_figures")
def test_promise_and_broken_promise_are_said(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(400, wrong=120)
    conformal = {
        "error_rate": 0.1,
        "limits": {"0.1": {"CEX": 0.5, "PG": 0.5}},
        "n_groups": {"CEX": 90, "PG": 95},
    }
    inputs = ReportInputs("S", evaluation, metadata={"conformal": conformal})
    page, card = read_page(render_report(inputs)).text, render_card(inputs)
    for text in (page, card):
        assert "They rest on 90 to 95 groups of each class." in text
        assert "The prediction sets hold the true class of 70.0 % of 400 accepted images" in text
    assert make_verdict(inputs).level == "bad"


def test_card_holds_only_what_is_known(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(24, wrong=3)
    full = render_card(
        replace(make_inputs(evaluation, Path("run")), metadata=METADATA, robustness=make_robustness("blur"))
    )
    metrics = evaluation.metrics
    assert f"Accuracy {metrics.accuracy:.4f}" in full
    for name, scores in metrics.per_class.items():
        assert f"| {name} | {scores.precision:.4f} | {scores.recall:.4f} | {scores.f1:.4f} |" in full
    for heading in (
        "## Data",
        "## Metrics",
        "## Uncertainty",
        "## Robustness",
        "## Limits",
        "## How to use",
    ):
        assert heading in full
    bare = render_card(ReportInputs("S", evaluation))
    assert "## Robustness" not in bare
    assert "## Uncertainty" not in bare
    assert "It rejects nothing." in bare
    assert "<b>" not in render_card(ReportInputs("<b>|x", evaluation)).replace("\\<b\\>", "")
