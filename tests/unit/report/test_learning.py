"""The report and the card of a model learned from labels say what their metrics are of, and whose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.report import METADATA, MakeEvaluation, make_inputs, make_learning, read_page

from georgia.labels import Labels
from georgia.metrics.classification import compute_metrics
from georgia.report.card import render_card
from georgia.report.inputs import ReportInputs
from georgia.report.page import render_report


@pytest.fixture
def run(make_evaluation: MakeEvaluation, tmp_path: Path) -> ReportInputs:
    evaluation = make_evaluation(24, wrong=3)
    inputs = replace(make_inputs(evaluation, tmp_path), split="labelled", data_gate="pass", metadata=METADATA)
    return replace(inputs, learning=make_learning(evaluation.metrics))


@pytest.mark.usefixtures("no_figures")
def test_report_says_what_metrics_are_of(run: ReportInputs) -> None:
    page = render_report(run)
    text = read_page(page).text
    head = text.partition("Key metrics")[0]
    assert 'class="verdict caution"' in page
    assert "All metrics are cross-validated" in head
    assert "none is left to test it on" in head
    assert "For the whole source: macro F1 0.8" in head
    assert "3 evenly sampled images of no class, or unclear; 1 evenly sampled image without a name" in head
    assert "3 of 24 labelled images in 12 groups were misclassified" in head
    assert "exported file, run by" not in text
    assert '<th scope="row">Ada &lt;b&gt;</th><td>2026-11-20 08:00</td>' in page
    assert "even 16, uncertain 8. Named and not learned: 2 neither." in text
    assert "macro F1 would go up" in text
    # Thresholds of the exported file say nothing about predictions of other models.
    assert "Rejections and conformal sets" not in text
    assert "They rest on 9 groups of each class." in text
    one_class = compute_metrics(np.zeros(30, int), np.zeros(30, int), Labels(("CEX", "PG")))
    learning = make_learning(one_class)
    assert "No PG is among these: what holds there is not known." in learning.describe_validity()
    none_even = render_report(replace(run, learning=make_learning()))
    assert "those of what was chosen to be named, not of the whole source" in none_even


def test_card_says_what_metrics_are_of(run: ReportInputs) -> None:
    card = render_card(run)
    assert "All metrics are cross-validated" in card
    assert "Of the exported file" not in card
    assert "| Ada \\<b\\> | 2026-11-20 08:00 | 2026-11-20 09:00 | 14 | 0 |" in card
    assert "It rejects images that look unlike these." in card
    assert "Every image gets the name of a class" not in card
    assert "Calibrated on 80 labelled images" in card
    assert "sampled as the labelled images were" in card
