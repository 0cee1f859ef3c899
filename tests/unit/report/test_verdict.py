"""What the first lines say, and what robustness says when images are too few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.report import (
    MakeEvaluation,
    make_inputs,
    make_robustness,
    make_small_robustness,
    read_page,
)
from tests.helpers.training import make_training_run

from georgia.evaluate.compare import compare_predictions
from georgia.evaluate.robustness import LEVEL
from georgia.evaluate.score import score_predictions
from georgia.labels import Labels
from georgia.records import Failure, Record
from georgia.report.card import render_card
from georgia.report.page import ReportInputs, render_report
from georgia.report.verdict import describe_robustness


@pytest.mark.usefixtures("no_figures")
def test_verdict_stands_first(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    run = make_inputs(make_evaluation(24, wrong=3), tmp_path)
    text = read_page(render_report(run)).text
    head = text[: text.index("Key metrics")]
    assert (
        "The data was not audited. fast (efficientnet-lite0), F1 with 95 % confidence interval: CEX 0.8"
        in head
    )
    assert "3 of 24 test images in 12 groups were misclassified; the error rate is at most" in head
    assert "Not checked: near-duplicates of one crystal" in head
    assert "Not read, and in no metric: 1 file." in head


@pytest.mark.usefixtures("no_figures")
def test_verdict_without_errors_states_limit(make_evaluation: MakeEvaluation) -> None:
    text = read_page(render_report(ReportInputs("S", make_evaluation(24)))).text
    assert (
        "None of 24 test images were misclassified; the error rate is at most 23 % with 95 % confidence."
        in text
    )


@pytest.mark.usefixtures("no_figures")
def test_audit_verdict_stands_first(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(40)
    for gate, level in (("pass", "good"), ("stop", "bad"), ("", "caution")):
        run = ReportInputs("S", evaluation, data_verdict="The audit says so.", data_gate=gate)
        html = render_report(run)
        assert f'class="verdict {level}"' in html
        assert "<b>The audit says so.</b>" in html


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("counts", "level", "text"),
    [
        ({"n": 44, "rejected": 44}, "bad", "The model rejected every image (44 of 44): it cannot be used."),
        (
            {"n": 10},
            "caution",
            "Too few images to rely on the metrics (fewer than 20 of a class): CEX 5, PG 5.",
        ),
        ({"n": 44, "wrong": 40}, "bad", "The model is no better than calling every image CEX"),
    ],
)
def test_reasons_stand_before_all_else(
    make_evaluation: MakeEvaluation, counts: dict[str, int], level: str, text: str
) -> None:
    run = ReportInputs("S", make_evaluation(**counts), data_verdict="The audit says so.", data_gate="pass")
    html = render_report(run)
    assert f'class="verdict {level}"' in html
    shown = read_page(html).text
    assert 0 < shown.index(text) < shown.index("The audit says so.")
    assert "None of 44" not in shown
    assert text in render_card(run).replace("\\", "")


@pytest.mark.usefixtures("no_figures")
def test_significant_drops_make_caution(make_evaluation: MakeEvaluation) -> None:
    robustness = make_robustness("one_size")
    run = ReportInputs("S", make_evaluation(40), data_gate="pass", robustness=robustness)
    html = render_report(run)
    assert 'class="verdict caution"' in html
    assert "significantly worse when images are: cropped to one size" in read_page(html).text


@pytest.mark.usefixtures("no_figures")
def test_page_names_its_computation(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(4)
    for precision, told in (("float32", "float32"), ("rotations", "float32 on four of eight views")):
        used = replace(evaluation.predictions, precision=precision, processor="some <processor>")
        text = read_page(render_report(ReportInputs("S", replace(evaluation, predictions=used)))).text
        assert f"run by fake in {told} on some <processor>." in text


@pytest.mark.usefixtures("no_figures")
def test_verdict_notes_rehearsal_and_absent_classes(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(4)
    only = [item for item in evaluation.predictions.items if item.label == "PG"]
    records = [Record(item.file, "PG") for item in only]
    half = score_predictions(replace(evaluation.predictions, items=tuple(only)), records)
    html = render_report(
        ReportInputs("S", half, training=make_training_run({"rehearse": True}), data_gate="pass")
    )
    text = read_page(html).text
    assert "No test images of CEX: nothing is known about that." in text
    assert "This was a rehearsal" in text
    assert 'class="verdict caution"' in html


def test_robustness_of_too_few_images() -> None:
    text = describe_robustness(make_small_robustness(5))
    assert "5 images are too few for a result: with 17 perturbations" in text
    assert "only if 8 groups or more lose their correct prediction" in text
    assert "beyond chance" not in text
    assert "1 image is too few" in describe_robustness(make_small_robustness(1))
    assert "There are too few correct predictions for a result" in describe_robustness(
        make_small_robustness(50, 0.1)
    )
    enough = describe_robustness(make_small_robustness(8))
    assert (
        "No perturbation lowers the metrics significantly. This sample cannot exclude drops of up to 100.0"
        in enough
    )


@pytest.mark.parametrize(("rows", "names"), [(17, "ab"), (17, "abcde"), (1, "ab"), (4, "abc")])
def test_detectable_groups_match_the_comparison(rows: int, names: str) -> None:
    whole = make_small_robustness(9)
    tried = replace(whole, rows=whole.rows[:rows])
    least, level = tried.min_detectable_groups, 1 - (1 - LEVEL) / rows
    for n, is_significant in ((least - 2, False), (least + 1, True)):
        truth = np.arange(n) % len(names)
        predicted = ((truth + 1) % len(names), truth)
        pair = compare_predictions(truth, predicted, Labels(tuple(names)), level=level, n_draws=8000)
        assert (pair.accuracy.interval[1] < 0) is is_significant


@pytest.mark.usefixtures("no_figures")
def test_file_failed_twice_is_listed_once(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(4)
    lost = Failure(Path("CEX/broken.png"), "the file is truncated")
    predictions = replace(evaluation.predictions, failed=(lost,))
    run = ReportInputs("S", replace(evaluation, predictions=predictions), failures=(lost,))
    assert "Not read, and in no metric: 1 file." in read_page(render_report(run)).text
