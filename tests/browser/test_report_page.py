"""The report in a real browser: nothing is out of sight on a phone, and in print no heading stands alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
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
HEADINGS = re.compile(r"Key figures|Against another|Figures|Images with|Refused images|Settings|Files|\w+ · ")


def make_evaluation(folder: Path, n: int, n_wrong: int) -> Evaluation:
    rng, items, records = np.random.default_rng(n_wrong), [], []
    for at in range(n):
        truth = at % len(NAMES)
        path = folder / f"image {at:03d}.png"
        Image.new("RGB", (30, 20 + at % 9), (at, at, at)).save(path)
        named = (truth + 1) % len(NAMES) if at < n_wrong else truth
        label = UNKNOWN if n_wrong <= at < n_wrong + 7 else NAMES[named]
        sure = float(rng.uniform(0.6, 1.0))
        shares = dict.fromkeys(NAMES, (1 - sure) / 3) | {NAMES[named]: sure}
        items.append(Prediction(path, label, sure, shares))
        records.append(Record(path, NAMES[truth], group=str(at)))
    return score_predictions(Predictions(Labels(NAMES), tuple(items), (), "fake"), records)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    one, other = (make_evaluation(folder, 120, n_wrong) for n_wrong in (31, 20))
    pair = compare_evaluations(
        one, other, ("a_first_model_with_a_long_name", "another_model_with_a_long_name")
    )
    settings = {f"setting {at}": at for at in range(40)}
    run = ReportInputs(
        "Study", one, comparison=pair, training=make_training_run(settings), metadata={"note": "x" * 90}
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
def test_no_cell_is_out_of_sight_on_a_phone(page: Any) -> None:
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    hidden = "all => all.filter(one => one.scrollWidth > one.clientWidth).length"
    assert page.eval_on_selector_all(".scroll", hidden) == 0
    row = page.locator("table.wraps tbody tr").first
    for cell in row.locator("td").all():
        box = cell.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
    label = "one => getComputedStyle(one, '::before').content"
    assert "another_model_with_a_long_name" in row.locator("td").nth(1).evaluate(label)


@pytest.mark.parametrize("page", [1280, 900, 390], indirect=True)
def test_no_key_figure_is_left_alone_in_a_row(page: Any) -> None:
    boxes = [one.bounding_box() for one in page.locator(".cards > div").all()]
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


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (Debian: poppler-utils)")
@pytest.mark.parametrize("page", [1280], indirect=True)
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_no_heading_stands_alone_at_the_end_of_a_printed_page(page: Any, paper: str, tmp_path: Path) -> None:
    page.pdf(path=str(tmp_path / "report.pdf"), format=paper)
    words = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    text = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    sheets = [sheet.strip().splitlines() for sheet in text.rstrip("\f").split("\f")]
    assert len(sheets) > 3
    for sheet in sheets:
        assert not HEADINGS.match(sheet[-1].strip()), sheet[-1]
        assert "come first" not in sheet[-1]
        assert "surest." not in sheet[-1]


@pytest.mark.parametrize("page", [500], indirect=True)
def test_table_that_goes_on_sideways_shows_a_shadow(page: Any) -> None:
    wide = (
        "one => { one.style.width = '1200px'; return getComputedStyle(one.parentNode).backgroundAttachment; }"
    )
    assert page.locator("table.wraps").evaluate(wide) == "local, local, scroll, scroll"
