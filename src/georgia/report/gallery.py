"""Images for the page: which ones, how many, and as small JPEGs inside the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from georgia.errors import UnreadableImageError
from georgia.evaluate.ood import OodEvaluation
from georgia.evaluate.score import Evaluation
from georgia.images.decode import read_image
from georgia.labels import UNKNOWN
from georgia.predict.prediction import Prediction
from georgia.records import Failure
from georgia.report.contact_sheet import encode_jpeg, read_thumbnails
from georgia.report.inputs import ReportInputs, ReportLimits
from georgia.report.tables import format_percent


@dataclass(frozen=True)
class Image:
    """One image of the page; ``source`` is a data URL, or empty with the reason in ``error``."""

    name: str
    truth: str
    answer: str
    probability: str
    source: str = ""
    error: str = ""


@dataclass(frozen=True)
class Gallery:
    """Some images out of ``n_total`` of their kind."""

    images: tuple[Image, ...]
    n_total: int


def gather_mistakes(evaluation: Evaluation, limits: ReportLimits) -> Gallery:
    """Return the wrongly named images, the surest first."""
    shown = evaluation.mistakes[: limits.mistakes]
    rows = [(o.file, o.truth, o.predicted, format_percent(o.probability)) for o in shown]
    return Gallery(_load(rows, limits.thumbnail_px), len(evaluation.mistakes))


def gather_refused(evaluation: Evaluation, limits: ReportLimits) -> Gallery:
    """Return the images that the model refused to name."""
    rows = [(file, truth, UNKNOWN, "") for file, truth in evaluation.refused[: limits.refused]]
    return Gallery(_load(rows, limits.thumbnail_px), len(evaluation.refused))


def gather_accepted(strangers: OodEvaluation, limits: ReportLimits) -> Gallery:
    """Return the images of something else that got a class name, the least strange first."""
    shown = strangers.accepted[: limits.accepted]
    rows = [(one.file, "", one.label, format_percent(one.probability)) for one in shown]
    return Gallery(_load(rows, limits.thumbnail_px), len(strangers.accepted))


def gather_right(evaluation: Evaluation, limits: ReportLimits) -> dict[str, Gallery]:
    """Return some rightly named images of each class, from the least sure to the surest."""
    by_class: dict[str, list[Prediction]] = {name: [] for name in evaluation.labels.names}
    for item, truth in zip(evaluation.predictions.items, evaluation.truth, strict=True):
        if item.label == truth:
            by_class[truth].append(item)
    galleries = {}
    for name, items in by_class.items():
        items.sort(key=lambda item: (item.probability, str(item.file)))
        shown = [items[place] for place in spread(len(items), limits.right_per_class)]
        rows = [(item.file, name, name, format_percent(item.probability)) for item in shown]
        galleries[name] = Gallery(_load(rows, limits.thumbnail_px), len(items))
    return {name: gallery for name, gallery in galleries.items() if gallery.images}


def gather_explained(run: ReportInputs) -> list[str]:
    """Return images beside their maps, as data URLs, for the explanations that a report holds."""
    from georgia.report.overlay import draw_explanation

    truth = dict(
        zip((item.file for item in run.evaluation.predictions.items), run.evaluation.truth, strict=True)
    )
    shown = []
    for one in run.explanations.items[: run.limits.explained] if run.explanations else ():
        try:
            pixels = read_image(one.file)
        except UnreadableImageError:
            continue
        drawing = draw_explanation(one, pixels, truth.get(one.file, ""))
        shown.append(data_url(encode_jpeg(drawing), "image/jpeg"))
    return shown


def spread(n: int, most: int) -> list[int]:
    """Return at most ``most`` positions below ``n``, evenly apart, both ends included.

    >>> spread(100, 3), spread(2, 8), spread(0, 8)
    ([0, 50, 99], [0, 1], [])
    """
    places = np.linspace(0, n - 1, min(n, most)) if n else np.empty(0)
    return [int(place) for place in np.unique(np.floor(places + 0.5))]


def name_file(path: Path) -> str:
    """Return a file's name with its folder, and no more: a page that is sent on tells no user's paths.

    >>> name_file(Path("/home/ann/data/CEX/CEX (1).png"))
    'CEX/CEX (1).png'
    """
    return "/".join(path.parts[-2:]) if not path.is_absolute() or len(path.parts) > 2 else path.name


def data_url(data: bytes, kind: str) -> str:
    """Return bytes as a URL that stands in the page itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _load(rows: Sequence[tuple[Path, str, str, str]], size_px: int) -> tuple[Image, ...]:
    images: dict[int, Image] = {}
    for position, image in read_thumbnails([row[0] for row in rows], size_px):
        path, truth, answer, probability = rows[position]
        source = "" if isinstance(image, Failure) else data_url(encode_jpeg(image), "image/jpeg")
        error = image.error if isinstance(image, Failure) else ""
        images[position] = Image(name_file(path), truth, answer, probability, source, error)
    return tuple(images[position] for position in sorted(images))
