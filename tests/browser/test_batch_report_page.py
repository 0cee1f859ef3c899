"""A batch's report in a real browser: it fits screens, needs no script, loads nothing, and prints on A4."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.contrast import find_faint_texts
from tests.helpers.service import fill_store

from georgia.cli import main
from georgia.report.batch.facts import read_facts
from georgia.report.batch.key_frames import read_images
from georgia.report.batch.page import add_key_frames, save_batch_page

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store of a running batch, and its page."""
    folder = tmp_path_factory.mktemp("batch")
    store = fill_store(folder / "m.db", folder / "frames")
    store.shelve_alarm(1, "Ann", 5, "x" * 400)
    facts = read_facts(store, store.batch(1), "m.db")
    facts = add_key_frames(facts, store, read_images(folder / "frames"))
    save_batch_page(facts, folder / "page.html")
    store.close()
    return folder


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1100, "dark"), (1600, "light")])
def test_page_fits_without_script_or_network(browser: Any, folder: Path, width: int, scheme: str) -> None:
    requests: list[str] = []
    size = {"width": width, "height": 900}
    with closing(
        browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=False, offline=True)
    ) as context:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto((folder / "page.html").as_uri())
        widest = page.locator("main").bounding_box()
        assert widest["x"] >= 0
        assert widest["x"] + widest["width"] <= width
        assert "The batch has not ended" in page.inner_text(".banner")
        assert page.locator("img").count() == 4, "the fraction, and three frames"
        assert page.locator(".cards > div").count() == 4
    assert [url for url in requests if not url.startswith("data:")] == [(folder / "page.html").as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_read_in_the_light_and_in_the_dark(browser: Any, folder: Path, scheme: str) -> None:
    with closing(browser.new_context(color_scheme=scheme)) as context:
        page = context.new_page()
        page.goto((folder / "page.html").as_uri())
        assert find_faint_texts(page) == []


def test_print_is_a4_with_page_numbers_and_says_that_batch_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    out = folder / "filed"
    assert main(["report", str(folder / "m.db"), "--out", str(out), "--pdf"]) == 0
    (pdf,) = out.glob("*.pdf")
    assert f"PDF: {pdf}" in capsys.readouterr().out
    data = pdf.read_bytes()
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert 3 <= len(boxes) <= 12
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {(595, 842)}
    assert sorted(path.suffix for path in out.iterdir()) == [".html", ".pdf"]
    if shutil.which("pdftotext"):
        import subprocess

        text = subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, check=True).stdout
        pages = text.decode().split("\f")[:-1]
        assert all("BATCH NOT ENDED" in page for page in pages)
        assert f"Page 1 of {len(pages)}" in pages[0]
        assert "Signatures" in pages[-1]
