"""Contact sheets: images side by side, each with its label and probability stamped below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from georgia.config import Config, between
from georgia.errors import InputError
from georgia.files import write_bytes
from georgia.labels import UNKNOWN
from georgia.predict.predictions import Predictions
from georgia.progress import QUIET, Progress
from georgia.records import Failure
from georgia.report.canvas import INK, MUTED, RULE, VERMILION
from georgia.report.fonts import load_font
from georgia.report.tables import format_percent
from georgia.report.thumbnails import encode_image, read_thumbnails
from georgia.text import make_printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from georgia.report.fonts import Font

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")
# Bands for known labels in the order of the classes; dark text on them passes WCAG AA (4.5 : 1).
# Source: tints of Okabe and Ito's colours, 2008.
_BANDS = ("#bfe0f5", "#fbe0ac", "#bfe8d8", "#efcfe0", "#f6d2bd", "#dcefff", "#f7f0a8", "#dde1e6")
_REJECTED_BAND = "#ffffff"
_MARGIN_PX, _GAP_PX, _LINE_PX = 24, 14, 19
_SHADE = "#eef1f4"


@dataclass(frozen=True)
class SheetTile:
    """One image and what is stamped on it; only one with a ``truth`` can be marked as misclassified."""

    path: Path
    label: str
    probability: float | None = None
    truth: str = ""

    @property
    def is_misclassified(self) -> bool:
        """Whether the truth is known and the label is another class."""
        return bool(self.truth) and self.label not in (self.truth, UNKNOWN)


@dataclass(frozen=True)
class SheetConfig(Config):
    """Size of the sheet: raise ``tile_px`` for large prints, ``most_pages`` to show every image."""

    columns: Annotated[int, between(1, 40)] = 6
    rows: Annotated[int, between(1, 40)] = 8
    tile_px: Annotated[int, between(64, 1024)] = 200
    most_pages: Annotated[int, between(1, 1000)] = 5


def draw_contact_sheet(
    predictions: Predictions,
    target: Path,
    truth: Mapping[Path, str] | None = None,
    config: SheetConfig | None = None,
    progress: Progress = QUIET,
) -> tuple[Path, ...]:
    """Write the predictions as images and return the files: ``target``, then ``<stem>_2`` and so on.

    ``truth`` maps files to class names; misclassified images get a frame and come first.

    Raises:
        InputError: no prediction, or a suffix that is not .png, .jpg or .jpeg.
        OSError: the folder cannot be written to.
    """
    known = truth or {}
    tiles = [
        SheetTile(item.file, item.label, item.probability, known.get(item.file, ""))
        for item in predictions.items
    ]
    tiles.sort(key=lambda tile: not tile.is_misclassified)
    return save_contact_sheet(tiles, predictions.labels.names, target, config or SheetConfig(), progress)


def save_contact_sheet(
    tiles: Sequence[SheetTile],
    classes: Sequence[str],
    target: str | Path,
    config: SheetConfig,
    progress: Progress = QUIET,
) -> tuple[Path, ...]:
    """Write tiles onto as many pages as ``config`` allows, one file a page; return the files.

    Raises:
        InputError: no tile, or a suffix that is not .png, .jpg or .jpeg.
        OSError: the folder cannot be written to.
    """
    target = Path(target)
    if target.suffix.lower() not in SHEET_SUFFIXES or not tiles:
        raise InputError(
            f"Cannot write the contact sheet {str(target)!r}",
            needs="one image or more and a suffix out of " + ", ".join(SHEET_SUFFIXES) + " are needed",
            got=f"{len(tiles)} images, suffix {target.suffix!r}",
        )
    per_page = config.columns * config.rows
    n_pages = min(config.most_pages, -(-len(tiles) // per_page))
    progress.start("contact sheet", min(len(tiles), n_pages * per_page))
    written = []
    for page in range(n_pages):
        shown = tiles[page * per_page : (page + 1) * per_page]
        image = draw_page(shown, classes, config, _page_note(len(tiles), n_pages * per_page, page, n_pages))
        path = target if page == 0 else target.with_name(f"{target.stem}_{page + 1}{target.suffix}")
        write_bytes(path, encode_image(image, path.suffix.lower()))
        written.append(path)
        progress.advance(len(shown))
    return tuple(written)


def draw_page(
    tiles: Sequence[SheetTile], classes: Sequence[str], config: SheetConfig, note: str = ""
) -> Image:
    """Return one page as an image; unreadable files leave a grey field with the reason."""
    from PIL import Image, ImageDraw

    columns = min(config.columns, len(tiles))
    rows = -(-len(tiles) // columns)
    cell = (config.tile_px + _GAP_PX, _tile_height(config.tile_px, tiles) + _GAP_PX)
    head = _LINE_PX + _GAP_PX if note else 0
    size = (2 * _MARGIN_PX + columns * cell[0] - _GAP_PX, 2 * _MARGIN_PX + head + rows * cell[1] - _GAP_PX)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    small = load_font(13)
    pen.text((_MARGIN_PX, _MARGIN_PX), _fit(note, small, size[0] - 2 * _MARGIN_PX), MUTED, small)
    for position, image in read_thumbnails([tile.path for tile in tiles], config.tile_px):
        row, column = divmod(position, columns)
        corner = (_MARGIN_PX + column * cell[0], _MARGIN_PX + head + row * cell[1])
        _draw_tile(page, corner, tiles[position], image, classes, (config.tile_px, cell[1] - _GAP_PX))
    return page


def _draw_tile(
    page: Image,
    corner: tuple[int, int],
    tile: SheetTile,
    image: Image | Failure,
    classes: Sequence[str],
    size_px: tuple[int, int],
) -> None:
    from PIL import ImageDraw

    (x, y), (side, height) = corner, size_px
    pen = ImageDraw.Draw(page)
    pen.rectangle((x, y, x + side - 1, y + side - 1), _SHADE)
    if isinstance(image, Failure):
        _write_reason(pen, (x + 8, y + 8), image.error, side - 16)
    else:
        page.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
    outline = (x, y, x + side - 1, y + height - 1)
    pen.rectangle((x, y + side, *outline[2:]), _band(tile.label, classes))
    pen.rectangle(
        outline, outline=VERMILION if tile.is_misclassified else RULE, width=4 if tile.is_misclassified else 1
    )
    for row, (text, size, ink) in enumerate(_stamp(tile)):
        font = load_font(size, text)
        pen.text((x + 8, y + side + 4 + row * _LINE_PX), _fit(text, font, side - 16), ink, font)


def _stamp(tile: SheetTile) -> list[tuple[str, int, str]]:
    has_probability = tile.probability is not None and tile.label != UNKNOWN
    probability = f"  {format_percent(tile.probability or 0.0)}" if has_probability else ""
    lines = [(f"{tile.label}{probability}", 14, INK)]
    if tile.truth:
        lines.append((f"truth: {tile.truth}" + (" – wrong" if tile.is_misclassified else ""), 12, INK))
    return [*lines, (make_printable(tile.path.name), 11, "#3f4a57")]


def _tile_height(tile_px: int, tiles: Sequence[SheetTile]) -> int:
    return tile_px + max(len(_stamp(tile)) for tile in tiles) * _LINE_PX + 10


def _band(label: str, classes: Sequence[str]) -> str:
    return _BANDS[classes.index(label) % len(_BANDS)] if label in classes else _REJECTED_BAND


def _page_note(n_tiles: int, n_shown: int, page: int, n_pages: int) -> str:
    pages = f"page {page + 1} of {n_pages}" if n_pages > 1 else ""
    count = f"the first {n_shown:,} of {n_tiles:,} images" if n_shown < n_tiles else f"{n_tiles:,} images"
    return " · ".join(part for part in (count, pages) if part) if n_tiles > 1 else ""


def _fit(text: str, font: Font, width_px: int) -> str:
    """Cut a text in its middle until it is no wider than ``width_px``."""
    line = " ".join(text.split())
    if font.getlength(line) <= width_px:
        return line
    for kept in range(len(line) - 1, 1, -1):
        shorter = f"{line[: kept - kept // 2]}…{line[len(line) - kept // 2 :]}"
        if font.getlength(shorter) <= width_px:
            return shorter
    return "…"


def _wrap(text: str, font: Font, width_px: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fit(line, font, width_px) for line in lines if line]


def _write_reason(pen: ImageDraw, corner: tuple[int, int], reason: str, width_px: int) -> None:
    font = load_font(12)
    for row, line in enumerate(_wrap(f"not read: {reason}", font, width_px)[:8]):
        pen.text((corner[0], corner[1] + row * _LINE_PX), line, MUTED, font)
