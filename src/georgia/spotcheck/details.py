"""What a spot check in a folder says beside the fraction: curve, slips, names for a width, labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import InputError
from georgia.files import read_table, write_text
from georgia.model.bundle import Bundle
from georgia.records import Record, format_window
from georgia.spotcheck.curve import Span, cut_spans, estimate_curve
from georgia.spotcheck.forecast import count_names
from georgia.spotcheck.interval import Interval
from georgia.spotcheck.names_table import NEITHER, UNCLEAR, find_kinds
from georgia.spotcheck.plan import Draw, Population, SpotcheckConfig
from georgia.spotcheck.second import Slips, allow_slips
from georgia.spotcheck.sources import Source
from georgia.text import format_csv

_LABEL_COLUMNS = (
    *("path", "x", "y", "width", "height", "class", "group", "who", "when", "order", "reason", "probability"),
)


@dataclass(frozen=True)
class Request:
    """What else is wished: names for a ``width``, a table of ``labels``, what the ``model`` learned from.

    ``record`` takes name and by whom of every row of the table, and returns the names that count: a store
    that keeps them says which.
    """

    width: float | None = None
    labels: Path | None = None
    model: Bundle | None = None
    record: Callable[[Sequence[tuple[str, str]]], list[tuple[str, str]]] | None = None


@dataclass(frozen=True)
class Details:
    """What the names say beside the fraction.

    ``curve`` is empty where no times are known. ``slips`` and ``with_slips`` are None before a second person
    has named a window. ``n_for_width`` names in all would bring the interval to ``width``; None: more than
    2,000. ``n_learned`` sampled windows are of the training of the model; None where no model was given.
    ``n_later`` windows came after the plan and are not in it.
    """

    curve: tuple[Span, ...] = ()
    slips: Slips | None = None
    with_slips: Interval | None = None
    width: float | None = None
    n_for_width: int | None = None
    n_learned: int | None = None
    n_labels: int | None = None
    n_later: int = 0

    def to_json_dict(self) -> dict[str, Any]:
        """Return the keys of ``spotcheck.json`` beside those of the fraction."""
        allowed = self.with_slips
        return {
            "curve": [span.to_json_dict() for span in self.curve],
            "slips": self.slips.to_json_dict() if self.slips else None,
            "fraction_with_slips": allowed.fraction if allowed else None,
            "low_with_slips": allowed.low if allowed else None,
            "high_with_slips": allowed.high if allowed else None,
            "width": self.width,
            "n_for_width": self.n_for_width,
            "n_learned": self.n_learned,
            "n_labels": self.n_labels,
            "n_later": self.n_later,
        }


def find_details(
    source: Source,
    population: Population,
    draws: Sequence[Draw],
    found: tuple[Interval | None, Sequence[tuple[str, str]], Mapping[int, tuple[str, str]]],
    config: SpotcheckConfig,
    request: Request,
) -> Details:
    """Return what ``found`` says: the interval, the names (name, by whom), and a second person's by position.

    Raises:
        InputError: the width is none, or the labels cannot be written.
    """
    interval, named, second = found
    target = source.classes[source.find_class(config.class_name)]
    kinds = find_kinds([name for name, _ in named], target)
    alpha = 1 - config.confidence
    n_for_width = None
    if request.width is not None:
        n_for_width = count_names(population, config, request.width, kinds, alpha, interval)
    pairs = [(named[at][0], name) for at, (name, _) in sorted(second.items()) if at < len(named)]
    clear = [pair for pair in pairs if UNCLEAR not in pair]
    with_slips, slips = None, None
    if clear:
        first, other = zip(*clear, strict=True)
        with_slips, slips = allow_slips(population, draws, kinds, (first, other), alpha)
    n_learned = None if request.model is None else _count_learned(source, draws, request.model)
    n_labels = None if request.labels is None else write_labels(source, draws, named, request.labels)
    curve: tuple[Span, ...] = ()
    if source.times_s is not None and named:
        spans = cut_spans(source.times_s, config.spans)
        curve = _describe_curve(source, spans, estimate_curve(population, draws, kinds, spans, alpha), target)
    return Details(curve, slips, with_slips, request.width, n_for_width, n_learned, n_labels)


def _describe_curve(
    source: Source, spans: Any, intervals: Sequence[Interval], target: str
) -> tuple[Span, ...]:
    own = source.classes.index(target)
    described = []
    for at, interval in enumerate(intervals):
        times, labels = np.asarray(source.times_s)[spans == at], source.labels[spans == at]
        told = labels[labels >= 0]
        raw = float((told == own).mean()) if len(told) else None
        described.append(Span(float(times.min()), float(times.max()), len(labels), raw, interval))
    return tuple(described)


def _count_learned(source: Source, draws: Sequence[Draw], model: Bundle) -> int:
    """Return how many of the sampled windows the model learned from, by path or content."""
    from georgia.evaluate.overlap import find_training_overlap

    windows = (source.windows[draw.window] for draw in draws)
    paths = [Path(format_window(source.find_file(window), window.box)) for window in windows]
    return len(find_training_overlap(model, [Record(path, "") for path in paths]))


def write_labels(source: Source, draws: Sequence[Draw], named: Sequence[tuple[str, str]], file: Path) -> int:
    """Write the named windows as a catalog that ``georgia train`` reads; return how many.

    Windows of no class, or unclear ones, are left out. Without any label no table is written, and one that
    holds anything else stays as it is.

    Raises:
        InputError: such a table is there.
    """
    rows: list[Sequence[object]] = [_LABEL_COLUMNS]
    for order, (draw, (name, who)) in enumerate(zip(draws, named, strict=False), start=1):
        if name in (NEITHER, UNCLEAR):
            continue
        window = source.windows[draw.window]
        path = Path(os.path.relpath(source.find_file(window), file.absolute().parent)).as_posix()
        group = path if window.box is not None else ""
        probability = f"{float(draw.probabilities[draw.level]):.6g}"
        box = window.box or ("", "", "", "")
        rows.append((path, *box, name, group, who, "", order, "spotcheck", probability))
    text = format_csv(rows)
    if len(rows) == 1 and not file.exists():
        return 0
    if file.exists():
        lines = set(text.splitlines())
        other = [line for line in read_table(file).splitlines() if line not in lines]
        if other:
            raise InputError(
                f"Cannot write {str(file)!r}",
                needs="a new file, or the labels of the same check, is needed",
                got=f"another line: {other[0][:80]!r}",
                hint="Name another file for --labels.",
            )
    write_text(file, text)
    return len(rows) - 1
