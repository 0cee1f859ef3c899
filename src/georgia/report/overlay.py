"""Where a model looked, drawn: the image beside itself with the map, and a scale of its colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from georgia.errors import UnreadableImageError
from georgia.explain import Explanation, Explanations, enlarge
from georgia.files import write_bytes
from georgia.images.decode import read_image
from georgia.labels import UNKNOWN
from georgia.progress import QUIET, Progress
from georgia.report.canvas import INK, MUTED, shorten
from georgia.report.contact_sheet import encode_image, load_font
from georgia.report.tables import format_percent

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

Image = npt.NDArray[np.uint8]
# Blue and orange are told apart by all common kinds of sight, and lie as far from grey as one another.
# Source: Okabe and Ito 2008.
FOR_RGB, AGAINST_RGB = (230, 120, 0), (0, 114, 178)
_MOST_ALPHA = 0.82
# Maps with a strength below this many logits move the answer by less than a percentage point anywhere.
FAINT_LOGITS = 0.04
_PANEL_PX, _MARGIN_PX, _GAP_PX = 380, 22, 18
_BAR_PX, _FOOT_PX, _LEAST_WIDTH_PX = (200, 12), 88, 500


def save_overlays(
    result: Explanations,
    folder: Path,
    truth: Mapping[Path, str] | None = None,
    progress: Progress = QUIET,
) -> list[Path]:
    """Write one PNG for each explanation, named after its image; return the paths in order.

    ``truth`` names the right class of some files. No image that is explained is written over.

    Raises:
        OSError: the folder cannot be written to.
    """
    progress.start("overlays", len(result.items))
    written: list[Path] = []
    sources = {one.file.resolve() for one in result.items}
    for one in result.items:
        name, number = f"{one.file.stem}.png", 2
        while folder / name in written or (folder / name).resolve() in sources:
            name, number = f"{one.file.stem}_{number}.png", number + 1
        try:
            picture = draw_explanation(one, read_image(one.file), (truth or {}).get(one.file, ""))
        except UnreadableImageError:  # it was there a moment ago
            continue
        write_bytes(folder / name, encode_image(picture, ".png"))
        written.append(folder / name)
        progress.advance()
    return written


def draw_explanation(one: Explanation, image: Image, truth: str = "") -> Picture:
    """Return the image (H, W, 3), uint8, beside itself with the map, with words and a scale around them."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    plain, laid = (_enlarge_image(pixels) for pixels in (image, blend_map(image, one)))
    title = (
        "refused as unknown" if one.label == UNKNOWN else f"{one.label}, {format_percent(one.probability)}"
    )
    lines = [(shorten(one.file.name, 52), MUTED, 13), (shorten(title, 40), INK, 20)]
    if truth and truth != one.label:
        lines.append((f"is {shorten(truth, 40)}", "#b8480a", 15))
    head = 16 + sum(size + 9 for _, _, size in lines)
    width = 2 * _MARGIN_PX + max(_LEAST_WIDTH_PX, 2 * plain.width + _GAP_PX)
    sheet = Pillow.new("RGB", (width, head + plain.height + _FOOT_PX), "white")
    pen = ImageDraw.Draw(sheet)
    top = 12
    for text, ink, size in lines:
        pen.text((_MARGIN_PX, top), text, ink, load_font(size, text))
        top += size + 9
    sheet.paste(plain, (_MARGIN_PX, head))
    sheet.paste(laid, (_MARGIN_PX + plain.width + _GAP_PX, head))
    _draw_scale(pen, one, (_MARGIN_PX, head + plain.height + 14))
    return sheet


def blend_map(image: Image, one: Explanation) -> Image:
    """Return the image in grey with the map over it: orange speaks for the class, blue against it.

    Places that the net does not see are pale.
    """
    height, width = image.shape[:2]
    values = enlarge(one.values, (height, width))
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    share = np.clip(np.nan_to_num(values) / max(one.strength, FAINT_LOGITS), -1.0, 1.0)[..., None]
    color = np.where(share >= 0, np.array(FOR_RGB, np.float64), np.array(AGAINST_RGB, np.float64))
    alpha = _MOST_ALPHA * np.abs(share)
    mixed = grey * (1 - alpha) + color * alpha
    mixed = np.where(np.isnan(values)[..., None], 0.35 * grey + 0.65 * 255, mixed)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _enlarge_image(pixels: Image) -> Picture:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(pixels)
    ratio = _PANEL_PX / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    return picture.resize(size, Pillow.Resampling.LANCZOS)


def _draw_scale(pen: ImageDraw, one: Explanation, corner: tuple[int, int]) -> None:
    """Draw the colour bar with its ends in words and numbers, and what the map is below it."""
    (left, top), (length, thick) = corner, _BAR_PX
    against, speaks_for = f"for {shorten(one.rival, 18)}", f"for {shorten(one.class_name, 18)}"
    small, named = load_font(13), load_font(13, against + speaks_for)
    begin = left + int(pen.textlength(against, named)) + 10
    pen.text((left, top - 2), against, INK, named)
    for step in range(length):
        share = 2 * step / (length - 1) - 1
        alpha = _MOST_ALPHA * abs(share)
        base = FOR_RGB if share >= 0 else AGAINST_RGB
        color = tuple(round(150 * (1 - alpha) + part * alpha) for part in base)
        pen.line((begin + step, top, begin + step, top + thick), fill=color)
    pen.text((begin + length + 10, top - 2), speaks_for, INK, named)
    strength = max(one.strength, FAINT_LOGITS)
    for place, text, anchor in (
        (begin, f"−{strength:.2g}", "la"),
        (begin + length // 2, "0", "ma"),
        (begin + length, f"+{strength:.2g}", "ra"),
    ):
        pen.text((place, top + thick + 2), text, MUTED, small, anchor=anchor)
    kind = (
        "Class map: each place's share of the logit difference."
        if one.method == "class map"
        else "Occlusion: what covering each place takes from the logit difference."
    )
    pen.text((left, top + thick + 22), kind, MUTED, small)
