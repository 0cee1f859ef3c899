"""The report in a real browser: all columns visible at every width, no printed heading alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.contrast import find_faint_texts
from tests.helpers.report import make_robustness
from tests.helpers.training import make_training_run

from georgia.evaluate.compare import compare_evaluations
from georgia.evaluate.score import Evaluation, score_predictions
from georgia.labels import UNKNOWN, Labels
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record
from georgia.report.page import ReportInputs, save_report

pytestmark = [pytest.mark.slow]
NAMES = ("argillaceous_limestone", "dolomitic_limestone", "limestone", "marl")
HEADINGS = re.compile(
    r"Key metrics|Comparison with|Figures|Misclassified|Rejected|Correctly|Robustness|Settings|Files|\w+ · "
)
# How many of some elements are wider than they show.
HIDDEN = "all => all.filter(box => box.scrollWidth > box.clientWidth).length"


def make_evaluation(folder: Path, n: int, n_wrong: int) -> Evaluation:
    rng, items, records = np.random.default_rng(n_wrong), [], []
    for at in range(n):
        truth = at % len(NAMES)
        path = folder / f"image {at:03d}.png"
        Image.new("RGB", (30, 20 + at % 9), (at, at, at)).save(path)
        named = (truth + 1) % len(NAMES) if at < n_wrong else truth
        label = UNKNOWN if n_wrong <= at < n_wrong + 7 else NAMES[named]
        highest = float(rng.uniform(0.6, 1.0))
        probabilities = dict.fromkeys(NAMES, (1 - highest) / 3) | {NAMES[named]: highest}
        items.append(Prediction(path, label, highest, probabilities))
        records.append(Record(path, NAMES[truth], group=str(at)))
    return score_predictions(Predictions(Labels(NAMES), tuple(items), (), "fake"), records)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    this, other = (make_evaluation(folder, 120, n_wrong) for n_wrong in (31, 20))
    pair = compare_evaluations(
        this, other, ("a_first_model_with_a_long_name", "another_model_with_a_long_name")
    )
    tried = make_robustness("blur")
    settings = {f"setting {at}": at for at in range(40)}
    run = ReportInputs(
        "Study",
        this,
        comparison=pair,
        training=make_training_run(settings),
        metadata={"note": "x" * 90},
        robustness=replace(tried, rows=tuple(replace(row, n_unknown=1234) for row in tried.rows)),
    )
    save_report(run, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def page(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    with closing(browser.new_context(viewport={"width": request.param, "height": 844})) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        yield page


@pytest.mark.parametrize("page", [390, 320], indirect=True)
def test_phone_shows_every_cell(page: Any) -> None:
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.eval_on_selector_all(".scroll", HIDDEN) == 0
    row = page.locator("table.wraps tbody tr").first
    for cell in row.locator("td").all():
        box = cell.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
    label = "cell => getComputedStyle(cell, '::before').content"
    assert "another_model_with_a_long_name" in row.locator("td").nth(1).evaluate(label)


@pytest.mark.parametrize("page", [768, 1000, 1100, 1600], indirect=True)
def test_screen_shows_every_column(page: Any) -> None:
    assert page.locator("table.dense thead th").last.inner_text() == "Rejected"
    assert page.eval_on_selector_all(".scroll", HIDDEN) == 0


@pytest.mark.parametrize("page", [1280, 900, 390], indirect=True)
def test_key_metrics_fill_their_rows(page: Any) -> None:
    boxes = [card.bounding_box() for card in page.locator(".cards > div").all()]
    assert len(boxes) == 5
    rows: dict[float, list[float]] = {}
    for box in boxes:
        rows.setdefault(round(box["y"]), []).append(box["width"])
    right = max(box["x"] + box["width"] for box in boxes)
    whole = right - min(box["x"] for box in boxes)
    for widths in rows.values():
        assert sum(widths) > 0.85 * whole
    assert [len(widths) for widths in rows.values()] == {1280: [5], 900: [3, 2], 390: [2, 2, 1]}[
        page.viewport_size["width"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_read_in_the_light_and_in_the_dark(browser: Any, file: Path, scheme: str) -> None:
    with closing(browser.new_context(color_scheme=scheme)) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        paper = "getComputedStyle(document.body).backgroundColor"
        assert (page.evaluate(paper) == "rgb(255, 255, 255)") == (scheme == "light")
        assert find_faint_texts(page) == []
        # A figure's own ink is dark, so that it needs its white card.
        cards = page.eval_on_selector_all(".plot", "all => all.map(e => getComputedStyle(e).backgroundColor)")
        assert cards
        assert set(cards) == {"rgb(255, 255, 255)"}
        page.emulate_media(media="print", color_scheme=scheme)
        assert page.evaluate(paper) == "rgb(255, 255, 255)"
        assert find_faint_texts(page) == []


@pytest.mark.parametrize("page", [390], indirect=True)
def test_figures_of_a_phone_are_whole_or_say_that_they_move(page: Any) -> None:
    for figure in page.locator("figure").all():
        told = figure.locator(".plot").evaluate("plot => getComputedStyle(plot, '::before').content")
        is_cut = figure.locator(".plot").evaluate("plot => plot.scrollWidth > plot.clientWidth")
        assert ("moves sideways" in told) == is_cut


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (Debian: poppler-utils)")
@pytest.mark.parametrize("page", [1280], indirect=True)
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_printed_page_ends_with_no_heading(page: Any, paper: str, tmp_path: Path) -> None:
    page.pdf(path=str(tmp_path / "report.pdf"), format=paper)
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    sheets = [sheet.strip().splitlines() for sheet in text.rstrip("\f").split("\f")]
    assert len(sheets) > 3
    for sheet in sheets:
        assert not HEADINGS.match(sheet[-1].strip()), sheet[-1]
        assert "come first" not in sheet[-1]
        assert "most confident." not in sheet[-1]


@pytest.mark.parametrize("page", [500], indirect=True)
def test_wide_table_shows_a_shadow(page: Any) -> None:
    table = page.locator("table.wraps")
    table.evaluate("table => { table.style.width = '1200px' }")
    shown = table.evaluate("table => getComputedStyle(table.parentNode).backgroundAttachment")
    assert shown == "local, local, scroll, scroll"
