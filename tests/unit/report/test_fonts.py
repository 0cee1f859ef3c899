"""Names in any script: written with whatever installed font has them, and never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib import font_manager
from PIL import Image

from georgia.report import fonts
from georgia.report.canvas import figure_png, make_figure
from georgia.report.contact_sheet import SheetConfig, SheetTile, draw_page

# A character of no language, in no font: it stands for a script that this machine cannot write.
NOWHERE = "\U000f1234"
CJK = "晶体"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Search for fonts anew, and report missing characters anew, in each test."""
    fonts._reported.clear()
    for search in (fonts.find_fonts, fonts._add_new_fonts):
        search.cache_clear()
    yield
    for search in (fonts.find_fonts, fonts._add_new_fonts):
        search.cache_clear()


def draw_title(result: str, axes: Any) -> dict[str, Any]:
    axes.set_title(result)
    axes.set_xticks([0, 1], [result, "Größe"], parse_math=False)
    return {}


@pytest.mark.parametrize("text", ["", "CEX", "Größe µ", "αβγ", "кварц", "90×80 px – −0.5 …"])
def test_plain_font_covers_most_names(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_list_families", lambda: pytest.fail("fonts were searched"))
    assert fonts.find_fonts(text) == fonts.FontChoice()
    assert Path(fonts.load_font(13, text).path).name == "DejaVuSans.ttf"


def test_characters_are_covered_or_missing() -> None:
    choice = fonts.find_fonts(CJK + NOWHERE)
    assert NOWHERE in choice.missing
    covered = set().union(*(fonts._characters_of(file) for file in choice.files))
    assert set(CJK) - covered == set(choice.missing) - {NOWHERE}
    assert len(choice.families) == len(choice.files)


def test_first_widespread_font_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    characters = {"zh": frozenset(CJK + "A"), "half": frozenset(CJK[0]), "hi": frozenset("क")}
    families = {"WenQuanYi Zen Hei": "zh", "Noto Sans CJK SC": "half", "Mangal": "hi", "Odd": "zh"}
    faces = [
        SimpleNamespace(name=name, fname=str(tmp_path / file), style="normal", weight=400)
        for name, file in families.items()
    ]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", faces)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    plain = fonts._characters_of(fonts.plain_file())
    monkeypatch.setattr(fonts, "_characters_of", lambda file: characters.get(file.name, plain))
    assert fonts.find_fonts(CJK[0]).families == ("Noto Sans CJK SC",)
    assert fonts.find_fonts(CJK + "क").families == ("Noto Sans CJK SC", "WenQuanYi Zen Hei", "Mangal")
    monkeypatch.setattr(fonts, "_open_font", lambda file, size: (file, size))
    assert fonts.load_font(13, CJK) == (tmp_path / "zh", 13)
    assert fonts.find_fonts(CJK + NOWHERE).missing == NOWHERE


def test_newly_installed_fonts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []

    def add(file: str) -> None:
        added.append(file)
        raise RuntimeError("no outlines")

    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/new.ttf", str(fonts.plain_file())])
    monkeypatch.setattr(font_manager.fontManager, "addfont", add)
    for _ in range(2):
        assert fonts.find_fonts(NOWHERE).missing == NOWHERE
        fonts.find_fonts.cache_clear()
    assert added == ["/new.ttf"]


def test_missing_characters_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert figure_png(draw_title, f"a{NOWHERE}").startswith(b"\x89PNG")
    (record,) = caplog.records
    assert f"Figures show boxes for {NOWHERE}: no installed font has it." in record.getMessage()


def test_figure_texts_fall_back_on_fonts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Any installed family stands for one with the characters.
    choice = fonts.FontChoice(("DejaVu Serif",), (fonts.plain_file(),), "")
    monkeypatch.setattr(fonts, "find_fonts", lambda text: choice if "x" in text else fonts.FontChoice())
    figure = make_figure(draw_title, "x", title="Study")
    labels = figure.axes[0].get_xticklabels()
    assert len(labels) == 2
    for text in (*labels, figure.axes[0].title, figure._suptitle):
        assert text.get_fontfamily() == ["DejaVu Sans", "DejaVu Serif"]
    figure.draw_without_rendering()
    assert caplog.records == []


@pytest.mark.skipif(bool(fonts.find_fonts(CJK).missing), reason="needs a font with Chinese characters")
def test_chinese_names_are_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import numpy as np

    assert figure_png(draw_title, CJK) != figure_png(draw_title, NOWHERE * 2)
    tiles = [SheetTile(tmp_path / "a.png", name) for name in (CJK, NOWHERE * 2)]
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    first, second = (np.asarray(draw_page([tile], (), SheetConfig(tile_px=100))) for tile in tiles)
    assert first.shape == second.shape
    assert (first != second).any()
    assert not [record for record in caplog.records if "findfont" in record.getMessage()]
