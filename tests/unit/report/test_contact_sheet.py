"""Contact sheets: every image, misclassified ones framed, pages with a limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.report import MakeEvaluation

from georgia.errors import InputError
from georgia.report import SheetConfig, draw_contact_sheet
from georgia.report.contact_sheet import SheetTile, draw_page


def test_sheet_frames_misclassified_images(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation(7, wrong=1)
    truth = dict(zip((i.file for i in evaluation.predictions.items), evaluation.truth, strict=True))
    config = SheetConfig(columns=3, rows=4, tile_px=64)
    written = draw_contact_sheet(evaluation.predictions, tmp_path / "sheet.png", truth, config)
    assert written == (tmp_path / "sheet.png",)
    orange = np.array([0xD5, 0x5E, 0x00])
    framed = (np.asarray(Image.open(written[0]).convert("RGB")) == orange).all(axis=2)
    assert framed.sum() > 4 * 64
    columns = np.flatnonzero(framed.any(axis=0))
    assert np.ptp(columns) == 63
    plain = draw_contact_sheet(evaluation.predictions, tmp_path / "plain.png", None, config)
    assert not (np.asarray(Image.open(plain[0]).convert("RGB")) == orange).all(axis=2).any()


def test_sheet_stops_at_page_limit(make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    predictions = make_evaluation(11).predictions
    config = SheetConfig(columns=2, rows=2, tile_px=64, most_pages=2)
    written = draw_contact_sheet(predictions, tmp_path / "s.jpg", config=config)
    assert [path.name for path in written] == ["s.jpg", "s_2.jpg"]
    all_pages = draw_contact_sheet(predictions, tmp_path / "s.png", config=replace(config, most_pages=9))
    assert len(all_pages) == 3


def test_sheet_survives_unreadable_files(tmp_path: Path) -> None:
    tiles = [
        SheetTile(tmp_path / f"{'long ' * 30}µé–日.png", "x" * 80, 0.5, "PG"),
        SheetTile(Path("b"), "PG"),
    ]
    sheet = draw_page(tiles, ("CEX", "PG"), SheetConfig(tile_px=100))
    assert sheet.size[0] < 300


@pytest.mark.parametrize("n", [0, 4])
def test_sheet_rejects_what_it_cannot_write(n: int, make_evaluation: MakeEvaluation, tmp_path: Path) -> None:
    predictions = make_evaluation(4).predictions
    target = tmp_path / ("sheet.gif" if n else "sheet.png")
    with pytest.raises(InputError, match=f"got {n} images, suffix"):
        draw_contact_sheet(replace(predictions, items=predictions.items[:n]), target)


def test_sheet_settings_are_checked_together() -> None:
    with pytest.raises(InputError, match=r"columns must be from 1 to 40; got 0 · tile_px must be"):
        SheetConfig(columns=0, tile_px=3)
