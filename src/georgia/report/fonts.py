"""Fonts for names in any script: which installed ones have the signs that matplotlib's own font lacks.

Latin, Greek and Cyrillic are in that font, so that nothing is looked for where only these are written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN_FAMILY = "DejaVu Sans"
# Beginnings of family names, tried in this order: fonts that come with Linux, Windows and macOS.
_WIDESPREAD = (
    "Noto Sans CJK",
    "Source Han Sans",
    "Microsoft YaHei",
    "SimHei",
    "PingFang",
    "Hiragino Sans",
    "Heiti",
    "Yu Gothic",
    "MS Gothic",
    "Malgun Gothic",
    "Apple SD Gothic",
    "WenQuanYi",
    "Droid Sans Fallback",
    "Nirmala UI",
    "Mangal",
    "Kohinoor",
    "Lohit",
    "Leelawadee",
    "Thonburi",
    "Geeza Pro",
    "Noto Sans",
    "Arial Unicode MS",
    "Unifont",
)
# Every sign below this one (Latin with its accents) is in matplotlib's own font.
_FIRST_OTHER_SIGN = "\u0250"
_log = logging.getLogger(__name__)
_named: set[str] = set()


@dataclass(frozen=True)
class FontChoice:
    """Families and files to fall back on, best first, and the signs that no installed font has."""

    families: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    missing: str = ""


def find_fonts(text: str) -> FontChoice:
    """Return what to fall back on for the signs of a text that matplotlib's own font lacks.

    >>> find_fonts("Größe µ – кварц")
    FontChoice(families=(), files=(), missing='')
    """
    others = {sign for sign in text if sign >= _FIRST_OTHER_SIGN and not sign.isspace()}
    lacking = others - _signs_of(plain_file()) if others else others
    return _search("".join(sorted(lacking))) if lacking else FontChoice()


def use_fonts(figure: Figure) -> None:
    """Let a drawn figure's texts fall back, sign by sign, on fonts that have what its own one lacks.

    Signs that no installed font has are named once, in the log.
    """
    from matplotlib.text import Text

    texts = [one for one in figure.findobj(Text) if isinstance(one, Text) and one.get_text()]
    choice = find_fonts("".join(one.get_text() for one in texts))
    if choice.families:
        # A fallback font without a bold face is no news.
        logging.getLogger("matplotlib.font_manager").addFilter(_tells_no_weight)
        for one in texts:
            one.set_fontfamily([PLAIN_FAMILY, *choice.families])
    note_missing(choice.missing)


def note_missing(signs: Iterable[str]) -> None:
    """Say which signs show as boxes and what helps; each sign once in a process."""
    fresh = set(signs) - _named
    if fresh:
        _named.update(fresh)
        _log.warning(describe_missing("".join(sorted(fresh))))


def describe_missing(signs: str) -> str:
    """Return what stands for signs that no font has, and what to do.

    >>> describe_missing("晶")
    'Figures show boxes for 晶: no installed font has it. Install one that does, such as Noto Sans CJK.'
    """
    shown = signs if len(signs) <= 12 else f"{signs[:12]}…"
    them = "it" if len(signs) == 1 else "them"
    lack = f"Figures show boxes for {shown}: no installed font has {them}."
    return f"{lack} Install one that does, such as Noto Sans CJK."


def file_for(text: str) -> Path:
    """Return the one font file that has most of a text's signs: matplotlib's own unless it lacks some."""
    choice = find_fonts(text)
    note_missing(choice.missing)
    files = [plain_file(), *choice.files]
    return min(files, key=lambda file: len(set(text) - _signs_of(file))) if choice.files else files[0]


def plain_file() -> Path:
    """Return the file of matplotlib's own font."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _tells_no_weight(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("findfont: Failed to find font weight")


@lru_cache(maxsize=64)
def _search(signs: str) -> FontChoice:
    wanted, found = set(signs), dict[str, Path]()
    for family, file in _candidates():
        if wanted & _signs_of(file):
            found[family] = file
            wanted -= _signs_of(file)
        if not wanted:
            break
    return FontChoice(tuple(found), tuple(found.values()), "".join(sorted(wanted)))


def _candidates() -> Iterator[tuple[str, Path]]:
    """Give the widespread families that are installed, in order, then those that came in meanwhile."""
    known = _list_families()
    yield from _in_order(known)
    _add_new_fonts()
    yield from _in_order({name: file for name, file in _list_families().items() if name not in known})


def _in_order(families: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for beginning in _WIDESPREAD:
        yield from sorted(pair for pair in families.items() if pair[0].startswith(beginning))


def _list_families() -> dict[str, Path]:
    from matplotlib.font_manager import fontManager

    # The most upright and regular face of each family comes last, and stays.
    faces = sorted(fontManager.ttflist, key=lambda one: (one.style == "normal", one.weight == 400))
    return {face.name: Path(face.fname) for face in faces}


@lru_cache(maxsize=1)
def _add_new_fonts() -> None:
    """Tell matplotlib of fonts that were installed after it made its list."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {face.fname for face in fontManager.ttflist}
    for file in findSystemFonts():
        if file not in known:
            try:
                fontManager.addfont(file)
            except (OSError, RuntimeError, ValueError, KeyError):
                continue  # a bitmap font, or one that cannot be read


@lru_cache(maxsize=128)
def _signs_of(file: Path) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(str(file)).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
