"""Images inside the page: which ones, how many, and readable."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.report import MakeEvaluation, read_page

from georgia.evaluate.score import score_predictions
from georgia.explain import Explanation, Explanations
from georgia.labels import Labels
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record
from georgia.report.gallery import spread
from georgia.report.page import ReportInputs, ReportLimits, render_report

MAP = np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)


@pytest.mark.usefixtures("no_figures")
def test_misclassified_images_have_saliency_maps(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(12, wrong=3)
    items = tuple(
        Explanation(
            item.file, item.predicted, item.probability, item.predicted, 0.9, item.truth, "occlusion", MAP
        )
        for item in evaluation.misclassified
    )
    run = ReportInputs("S", evaluation, explanations=Explanations(evaluation.labels, items))
    html = render_report(replace(run, limits=ReportLimits(explained=2)))
    assert html.count("beside its saliency map") == 2
    assert "Saliency maps" not in render_report(ReportInputs("S", evaluation))


@pytest.mark.usefixtures("no_figures")
def test_gallery_of_misclassified_is_limited(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(40, wrong=30)
    limits = ReportLimits(misclassified=4, correct_per_class=2, thumbnail_px=64)
    html = render_report(ReportInputs("S", evaluation, limits=limits))
    assert html.count('class="wrong"') == 4
    assert "The first 4 are shown." in read_page(html).text


@pytest.mark.usefixtures("no_figures")
def test_unreadable_thumbnail_leaves_its_reason(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(8, wrong=1)
    evaluation.misclassified[0].file.unlink()
    assert "not read: no such file" in read_page(render_report(ReportInputs("S", evaluation))).text


@pytest.mark.usefixtures("no_figures")
def test_thumbnails_hold_the_image(tmp_path: Path) -> None:
    import base64

    path = tmp_path / "red.png"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(path)
    item = Prediction(path, "PG", 0.9, {"CEX": 0.1, "PG": 0.9})
    evaluation = score_predictions(
        Predictions(Labels(("CEX", "PG")), (item,), (), "fake"), [Record(path, "CEX")]
    )
    html = render_report(ReportInputs("S", evaluation))
    data = base64.b64decode(re.findall(r"data:image/jpeg;base64,([^\"]+)", html)[0])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (220, 110)
        assert image.getpixel((100, 50)) == pytest.approx((200, 10, 10), abs=12)


def test_spread_takes_ends_without_repeats() -> None:
    for n in range(1, 30):
        for most in range(2, 9):
            places = spread(n, most)
            assert len(places) == min(n, most) == len(set(places))
            assert (places[0], places[-1]) == (0, n - 1)
