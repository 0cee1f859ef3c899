"""Fonts for names in any script: which installed ones have the characters that matplotlib's own font lacks.

Given a list of families, matplotlib falls back on them character by character; Pillow takes the one font
that has most of a text. Latin, Greek and Cyrillic need no fallback, and then no font is looked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

PLAIN_FAMILY = "DejaVu Sans"
# Beginnings of family names, tried in this order: fonts that come with Linux, Windows and macOS.
_WIDESPREAD = (
    *("Noto Sans CJK", "Source Han Sans", "Microsoft YaHei", "SimHei", "PingFang", "Hiragino Sans", "Heiti"),
    *("Yu Gothic", "MS Gothic", "Malgun Gothic", "Apple SD Gothic", "WenQuanYi", "Droid Sans Fallback"),
    *("Nirmala UI", "Mangal", "Kohinoor", "Lohit", "Leelawadee", "Thonburi", "Geeza Pro", "Noto Sans"),
    *("Arial Unicode MS", "Unifont"),
)
_log = logging.getLogger(__name__)
_reported: set[str] = set()


@dataclass(frozen=True)
class FontChoice:
    """Families and files to fall back on, best first, and the characters that no installed font has."""

    families: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    missing: str = ""


@lru_cache(maxsize=64)
def find_fonts(text: str) -> FontChoice:
    """Return what to fall back on for the characters of a text that matplotlib's own font lacks.

    >>> find_fonts("Größe µ – кварц")
    FontChoice(families=(), files=(), missing='')
    """
    wanted = {char for char in text if not char.isspace()} - _characters_of(plain_file())
    found: dict[str, Path] = {}
    for add_new in (None, _add_new_fonts):
        if wanted and add_new:
            add_new()
        for family, file in _list_families().items() if wanted else ():
            if wanted & _characters_of(file):
                found[family] = file
                wanted -= _characters_of(file)
    return FontChoice(tuple(found), tuple(found.values()), "".join(sorted(wanted)))


def use_fonts(figure: Figure) -> None:
    """Let a figure's texts fall back on fonts that have what matplotlib's own font lacks.

    Characters that no installed font has are named once, in the log.
    """
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    choice = find_fonts("".join(sorted({char for text in texts for char in text.get_text()})))
    _report_missing(choice.missing)
    if choice.families:
        logging.getLogger("matplotlib.font_manager").addFilter(_tells_no_weight)
        for text in texts:
            text.set_fontfamily([PLAIN_FAMILY, *choice.families])


def load_font(size: int, text: str = "") -> Font:
    """Return Pillow's font with most of a text's characters: matplotlib's own unless it lacks some."""
    choice = find_fonts("".join(sorted(set(text))))
    _report_missing(choice.missing)
    # Of fonts that lack equally many, the first is taken.
    files = (plain_file(), *choice.files)
    return _open_font(min(files, key=lambda file: len(set(text) - _characters_of(file))), size)


def plain_file() -> Path:
    """Return the file of matplotlib's own font."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _report_missing(characters: str) -> None:
    fresh = "".join(sorted(set(characters) - _reported))
    if fresh:
        _reported.update(fresh)
        shown, them = (fresh, "it") if len(fresh) == 1 else (f"{fresh[:12]}{'…' * (len(fresh) > 12)}", "them")
        _log.warning(
            f"Figures show boxes for {shown}: no installed font has {them}. "
            "Install one that does, such as Noto Sans CJK."
        )


def _tells_no_weight(record: logging.LogRecord) -> bool:
    # A fallback font without a bold face is no news.
    return not str(record.msg).startswith("findfont: Failed to find font weight")


def _list_families() -> dict[str, Path]:
    """Return the widespread families that are installed, best first, each with its most regular face."""
    from matplotlib.font_manager import fontManager

    faces = sorted(fontManager.ttflist, key=lambda face: (face.style == "normal", face.weight == 400))
    files = {face.name: Path(face.fname) for face in faces}
    return {name: files[name] for start in _WIDESPREAD for name in sorted(files) if name.startswith(start)}


@lru_cache(maxsize=1)
def _add_new_fonts() -> None:
    """Tell matplotlib of fonts that were installed after it made its list."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for file in set(findSystemFonts()) - {face.fname for face in fontManager.ttflist}:
        try:
            fontManager.addfont(file)
        except (OSError, RuntimeError, ValueError, KeyError):
            continue  # a bitmap font, or one that cannot be read


@lru_cache(maxsize=128)
def _characters_of(file: Path) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(str(file)).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=32)
def _open_font(file: Path, size: int) -> Font:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(file, size)
    except OSError:
        return ImageFont.load_default(size=size)
