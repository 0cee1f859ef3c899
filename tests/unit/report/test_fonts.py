"""Names in any script: drawn with whatever installed font has them, and never a traceback or a flood."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib import font_manager
from PIL import Image

from georgia.report import fonts
from georgia.report.canvas import figure_png, make_figure
from georgia.report.contact_sheet import SheetConfig, SheetTile, draw_page

# A sign of no language, in no font: what stands for a script that this machine cannot write.
NOWHERE = "\U000f1234"
CJK = "晶体"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Look for fonts anew, and name missing signs anew, in each test."""
    for found in (fonts._search, fonts._add_new_fonts):
        found.cache_clear()
    fonts._named.clear()
    yield
    for found in (fonts._search, fonts._add_new_fonts):
        found.cache_clear()


def draw_title(result: str, axes: Any) -> dict[str, Any]:
    axes.set_title(result)
    axes.set_xticks([0, 1], [result, "Größe"], parse_math=False)
    return {}


@pytest.mark.parametrize("text", ["", "CEX", "Größe µ", "αβγ", "кварц", "90×80 px – −0.5 …"])
def test_plain_font_is_enough_for_most_names(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_candidates", lambda: pytest.fail("fonts were looked for"))
    assert fonts.find_fonts(text) == fonts.FontChoice()
    assert fonts.file_for(text).name == "DejaVuSans.ttf"


def test_signs_are_either_covered_or_named() -> None:
    choice = fonts.find_fonts(CJK + NOWHERE)
    assert NOWHERE in choice.missing
    covered = set().union(*(fonts._signs_of(file) for file in choice.files))
    assert set(CJK) - covered == set(choice.missing) - {NOWHERE}
    assert len(choice.families) == len(choice.files)


def test_first_widespread_font_that_has_the_signs_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signs = {"zh": frozenset(CJK + "A"), "half": frozenset(CJK[0]), "hi": frozenset("क")}
    families = {"WenQuanYi Zen Hei": "zh", "Noto Sans CJK SC": "half", "Mangal": "hi", "Odd": "zh"}
    monkeypatch.setattr(fonts, "_list_families", lambda: {k: tmp_path / v for k, v in families.items()})
    plain = fonts._signs_of(fonts.plain_file())
    monkeypatch.setattr(fonts, "_signs_of", lambda file: signs.get(file.name, plain))
    assert fonts.find_fonts(CJK[0]).families == ("Noto Sans CJK SC",)
    assert fonts.find_fonts(CJK + "क").families == ("Noto Sans CJK SC", "WenQuanYi Zen Hei", "Mangal")
    assert fonts.file_for(CJK) == tmp_path / "zh"
    assert fonts.find_fonts(CJK + NOWHERE).missing == NOWHERE


def test_fonts_that_came_after_matplotlib_made_its_list_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []

    def add(file: str) -> None:
        added.append(file)
        raise RuntimeError("no outlines")

    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/new.ttf", str(fonts.plain_file())])
    monkeypatch.setattr(font_manager.fontManager, "addfont", add)
    for _ in range(2):
        assert fonts.find_fonts(NOWHERE).missing == NOWHERE
        fonts._search.cache_clear()
    assert added == ["/new.ttf"]


def test_missing_signs_are_named_once_and_the_figure_is_drawn(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert figure_png(draw_title, f"a{NOWHERE}").startswith(b"\x89PNG")
    (record,) = caplog.records
    assert f"Figures show boxes for {NOWHERE}: no installed font has it." in record.getMessage()


def test_every_text_of_a_figure_falls_back_on_the_fonts_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Any installed family stands for one with the signs.
    choice = fonts.FontChoice(("DejaVu Serif",), (fonts.plain_file(),), "")
    monkeypatch.setattr(fonts, "find_fonts", lambda text: choice if "x" in text else fonts.FontChoice())
    figure = make_figure(draw_title, "x", title="Study")
    labels = figure.axes[0].get_xticklabels()
    assert len(labels) == 2
    for text in (*labels, figure.axes[0].title, figure._suptitle):
        assert text.get_fontfamily() == ["DejaVu Sans", "DejaVu Serif"]
    figure.draw_without_rendering()
    assert caplog.records == []


@pytest.mark.skipif(bool(fonts.find_fonts(CJK).missing), reason="needs a font with Chinese signs")
def test_chinese_names_are_written_where_a_font_has_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    assert figure_png(draw_title, CJK) != figure_png(draw_title, NOWHERE * 2)
    tiles = [SheetTile(tmp_path / "a.png", name) for name in (CJK, NOWHERE * 2)]
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    one, other = (np.asarray(draw_page([tile], (), SheetConfig(tile_px=100))) for tile in tiles)
    assert one.shape == other.shape
    assert (one != other).any()
    assert not [record for record in caplog.records if "findfont" in record.getMessage()]
