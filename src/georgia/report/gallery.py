"""Images for the page: which ones, how many, and as small JPEGs inside the page."""

from __future__ import annotations

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
from georgia.report.inputs import ReportInputs, ReportLimits
from georgia.report.render import name_file
from georgia.report.tables import format_percent
from georgia.report.thumbnails import image_url, read_thumbnails


@dataclass(frozen=True)
class Image:
    """One image of the page; ``source`` is a data URL, or empty with the reason in ``error``."""

    name: str
    truth: str
    label: str
    probability: str
    source: str = ""
    error: str = ""


@dataclass(frozen=True)
class Gallery:
    """Some images out of ``n_total`` of their kind."""

    images: tuple[Image, ...]
    n_total: int


def gather_misclassified(evaluation: Evaluation, limits: ReportLimits) -> Gallery:
    """Return the misclassified images, the most confident first."""
    shown = evaluation.misclassified[: limits.misclassified]
    rows = [(item.file, item.truth, item.predicted, format_percent(item.probability)) for item in shown]
    return Gallery(_load(rows, limits.thumbnail_px), len(evaluation.misclassified))


def gather_rejected(evaluation: Evaluation, limits: ReportLimits) -> Gallery:
    """Return the images that the model rejected as unknown."""
    rows = [(file, truth, UNKNOWN, "") for file, truth in evaluation.rejected[: limits.rejected]]
    return Gallery(_load(rows, limits.thumbnail_px), len(evaluation.rejected))


def gather_accepted(ood: OodEvaluation, limits: ReportLimits) -> Gallery:
    """Return the out-of-distribution images that got a class name, the lowest unknown score first."""
    shown = ood.accepted[: limits.accepted]
    rows = [(item.file, "", item.label, format_percent(item.probability)) for item in shown]
    return Gallery(_load(rows, limits.thumbnail_px), len(ood.accepted))


def gather_correct(evaluation: Evaluation, limits: ReportLimits) -> dict[str, Gallery]:
    """Return some correctly classified images of each class, the least confident first."""
    by_class: dict[str, list[Prediction]] = {name: [] for name in evaluation.labels.names}
    for item, truth in zip(evaluation.predictions.items, evaluation.truth, strict=True):
        if item.label == truth:
            by_class[truth].append(item)
    galleries = {}
    for name, items in by_class.items():
        items.sort(key=lambda item: (item.probability, str(item.file)))
        shown = [items[place] for place in spread(len(items), limits.correct_per_class)]
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
    for item in run.explanations.items[: run.limits.explained] if run.explanations else ():
        try:
            pixels = read_image(item.file)
        except UnreadableImageError:
            continue
        shown.append(image_url(draw_explanation(item, pixels, truth.get(item.file, ""))))
    return shown


def spread(n: int, most: int) -> list[int]:
    """Return at most ``most`` positions below ``n``, evenly apart, both ends included.

    >>> spread(100, 3), spread(2, 8), spread(0, 8)
    ([0, 50, 99], [0, 1], [])
    """
    places = np.linspace(0, n - 1, min(n, most)) if n else np.empty(0)
    return [int(place) for place in np.unique(np.floor(places + 0.5))]


def _load(rows: Sequence[tuple[Path, str, str, str]], size_px: int) -> tuple[Image, ...]:
    images: dict[int, Image] = {}
    for position, image in read_thumbnails([row[0] for row in rows], size_px):
        path, truth, label, probability = rows[position]
        source = "" if isinstance(image, Failure) else image_url(image)
        error = image.error if isinstance(image, Failure) else ""
        images[position] = Image(name_file(path), truth, label, probability, source, error)
    return tuple(images[position] for position in sorted(images))
