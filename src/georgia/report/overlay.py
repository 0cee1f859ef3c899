"""Saliency maps as images: the image beside itself with the map over it, and a scale of the colours."""

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
from georgia.images.windows import name_crop
from georgia.labels import UNKNOWN
from georgia.progress import QUIET, Progress
from georgia.report.canvas import INK, MUTED, shorten
from georgia.report.fonts import load_font
from georgia.report.tables import format_percent
from georgia.report.thumbnails import encode_image

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Pixels = npt.NDArray[np.uint8]
# Blue and orange are told apart by all common kinds of sight, and lie as far from grey as one another.
# Source: Okabe and Ito 2008.
FOR_RGB, AGAINST_RGB = (230, 120, 0), (0, 114, 178)
_MOST_ALPHA = 0.82
# Maps with a strength below this many logits move the prediction by less than a percentage point anywhere.
FAINT_LOGITS = 0.04
_PANEL_PX, _MARGIN_PX, _GAP_PX = 380, 22, 18
_BAR_PX, _FOOT_PX, _LEAST_WIDTH_PX = (200, 12), 88, 500


def save_overlays(
    result: Explanations,
    folder: str | Path,
    truth: Mapping[Path, str] | None = None,
    progress: Progress = QUIET,
) -> list[Path]:
    """Write one PNG for each explanation, named after its image; return the paths in order.

    ``truth`` names the correct class of some files. No image that is explained is written over.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    progress.start("overlays", len(result.items))
    written: list[Path] = []
    sources = {item.file.resolve() for item in result.items}
    for item in result.items:
        stem = Path(name_crop(item.file)).stem
        name, number = f"{stem}.png", 2
        while folder / name in written or (folder / name).resolve() in sources:
            name, number = f"{stem}_{number}.png", number + 1
        try:
            drawing = draw_explanation(item, read_image(item.file), (truth or {}).get(item.file, ""))
        except UnreadableImageError:  # it was there a moment ago
            continue
        write_bytes(folder / name, encode_image(drawing, ".png"))
        written.append(folder / name)
        progress.advance()
    return written


def draw_explanation(item: Explanation, image: Pixels, truth: str = "") -> Image:
    """Return the image (H, W, 3), uint8, beside itself with the map, with labels and a scale around them."""
    from PIL import Image, ImageDraw

    plain, laid = (_enlarge_image(pixels) for pixels in (image, blend_map(image, item)))
    is_rejected = item.label == UNKNOWN
    title = "rejected as unknown" if is_rejected else f"{item.label}, {format_percent(item.probability)}"
    lines = [(shorten(item.file.name, 52), MUTED, 13), (shorten(title, 40), INK, 20)]
    if truth and truth != item.label:
        lines.append((f"truth: {shorten(truth, 40)}", "#b8480a", 15))
    head = 16 + sum(size + 9 for _, _, size in lines)
    width = 2 * _MARGIN_PX + max(_LEAST_WIDTH_PX, 2 * plain.width + _GAP_PX)
    sheet = Image.new("RGB", (width, head + plain.height + _FOOT_PX), "white")
    pen = ImageDraw.Draw(sheet)
    top = 12
    for text, ink, size in lines:
        pen.text((_MARGIN_PX, top), text, ink, load_font(size, text))
        top += size + 9
    sheet.paste(plain, (_MARGIN_PX, head))
    sheet.paste(laid, (_MARGIN_PX + plain.width + _GAP_PX, head))
    _draw_scale(pen, item, (_MARGIN_PX, head + plain.height + 14))
    return sheet


def blend_map(image: Pixels, item: Explanation) -> Pixels:
    """Return the image in grey with the map over it: orange speaks for the class, blue against it.

    Places outside the network input are pale.
    """
    height, width = image.shape[:2]
    values = enlarge(item.values, (height, width))
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    relative = np.clip(np.nan_to_num(values) / max(item.strength, FAINT_LOGITS), -1.0, 1.0)[..., None]
    color = np.where(relative >= 0, np.array(FOR_RGB, np.float64), np.array(AGAINST_RGB, np.float64))
    alpha = _MOST_ALPHA * np.abs(relative)
    mixed = grey * (1 - alpha) + color * alpha
    mixed = np.where(np.isnan(values)[..., None], 0.35 * grey + 0.65 * 255, mixed)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _enlarge_image(pixels: Pixels) -> Image:
    from PIL import Image

    image = Image.fromarray(pixels)
    ratio = _PANEL_PX / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _draw_scale(pen: ImageDraw, item: Explanation, corner: tuple[int, int]) -> None:
    """Draw the colour bar with its ends named, and below it what the map shows."""
    (left, top), (length, thick) = corner, _BAR_PX
    against, speaks_for = f"for {shorten(item.rival, 18)}", f"for {shorten(item.class_name, 18)}"
    small, named = load_font(13), load_font(13, against + speaks_for)
    begin = left + int(pen.textlength(against, named)) + 10
    pen.text((left, top - 2), against, INK, named)
    for step in range(length):
        relative = 2 * step / (length - 1) - 1
        alpha = _MOST_ALPHA * abs(relative)
        base = FOR_RGB if relative >= 0 else AGAINST_RGB
        color = tuple(round(150 * (1 - alpha) + part * alpha) for part in base)
        pen.line((begin + step, top, begin + step, top + thick), fill=color)
    pen.text((begin + length + 10, top - 2), speaks_for, INK, named)
    strength = max(item.strength, FAINT_LOGITS)
    for place, text, anchor in (
        (begin, f"−{strength:.2g}", "la"),
        (begin + length // 2, "0", "ma"),
        (begin + length, f"+{strength:.2g}", "ra"),
    ):
        pen.text((place, top + thick + 2), text, MUTED, small, anchor=anchor)
    kind = (
        "Class map: what each place adds to the logit difference."
        if item.method == "class map"
        else "Occlusion: what covering each place takes from the logit difference."
    )
    pen.text((left, top + thick + 22), kind, MUTED, small)
