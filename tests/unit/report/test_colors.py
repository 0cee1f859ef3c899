"""The colours of all pages: what is written can be read, in the light and in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import georgia.report

TEMPLATES = Path(georgia.report.__file__).parent / "templates"
INKS = ("ink", "muted", "accent", "good-ink", "caution-ink", "bad-ink", "alarm-ink")
# WCAG 2.2, success criterion 1.4.3: text of normal size.
LEAST_CONTRAST = 4.5


def _schemes() -> dict[str, dict[str, str]]:
    """Return the colours by name, of the light and of the dark."""
    light, dark = (TEMPLATES / "colors.css").read_text(encoding="utf-8").split("@media screen")
    found = {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", text))
        for name, text in (("light", light), ("dark", dark))
    }
    assert found["light"].keys() == found["dark"].keys()
    return found


def _luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    values = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_its_standard() -> None:
    assert _contrast("#000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#fff") == pytest.approx(4.478, abs=0.001)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_ink_is_read_on_every_paper(scheme: str) -> None:
    colors = _schemes()[scheme]
    for paper in ("paper", "shade", "marked", "failed", "place"):
        for ink in INKS if paper in ("paper", "shade") else ("ink", "muted"):
            assert _contrast(colors[ink], colors[paper]) >= LEAST_CONTRAST, (ink, paper)
    for fill in ("caution-ink", "bad-ink", "alarm-ink", "muted"):
        assert _contrast(colors["on-fill"], colors[fill]) >= LEAST_CONTRAST, fill


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.name)
def test_page_takes_its_colours_from_one_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(r'include "(report|colors)\.css"', text)
    # Margins of paper take no variables, and the map of clusters is a light card.
    style = re.sub(r"@page \{.*?\n  \}", "", text[: text.index("</style>")], flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,6}\b", style) == (["#fff", "#fff"] if "cluster" in path.name else [])
