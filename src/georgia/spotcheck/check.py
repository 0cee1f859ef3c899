"""A spot check on disk: the plan, the names that a person gave, and what they say of the batch."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, UnreadableImageError
from georgia.files import hold_folder, read_json, reading, write_bytes, write_json
from georgia.progress import QUIET, Progress
from georgia.records import Result, hash_file
from georgia.spotcheck.blocks import Block, estimate_blocks
from georgia.spotcheck.details import Details, Request, find_details
from georgia.spotcheck.forecast import MOST_NAMES, count_names
from georgia.spotcheck.interval import Interval, Name
from georgia.spotcheck.names_table import (
    NAMES_FILE,
    NEITHER,
    SECOND_FILE,
    UNCLEAR,
    find_kinds,
    read_cells,
    read_names,
    read_second,
    write_names,
)
from georgia.spotcheck.plan import Draw, Population, SpotcheckConfig, draw_windows
from georgia.spotcheck.second import choose_second
from georgia.spotcheck.sources import Source
from georgia.text import count_noun

if TYPE_CHECKING:
    from georgia.images.decode import Image
    from georgia.spotcheck.curve import Span

__all__ = [
    "METHOD",
    "NAMES_FILE",
    "NEITHER",
    "PLAN_FILE",
    "RESULT_FILE",
    "SECOND_FILE",
    "UNCLEAR",
    "WINDOWS_FOLDER",
    "Plan",
    "SpotcheckResult",
    "compare_names",
    "compare_parts",
    "estimate",
    "plan_size",
    "read_names",
    "run_spotcheck",
]
PLAN_FILE, RESULT_FILE, WINDOWS_FOLDER = "plan.json", "spotcheck.json", "windows"
# What names say, with the curve over time.
Measure = Callable[[], "tuple[SpotcheckResult, tuple[Span, ...]]"]
METHOD = "betting interval on prediction-powered, weighted draws"


@dataclass(frozen=True, repr=False)
class SpotcheckResult(Result):
    """The fraction of a class in a batch after ``interval.n`` names, and the net's own error there.

    ``interval`` is None before the first name. ``raw_fraction`` is what the net alone says. ``n_more`` names
    would bring the interval to about half its width. ``details`` is what a check in a folder says beside it.
    """

    target: str
    interval: Interval | None
    raw_fraction: float | None
    error: Interval | None
    n_sampled: int
    n_windows: int
    n_more: int | None = None
    details: Details | None = None

    def summary(self) -> str:
        """Return the fraction with its interval in one line."""
        if self.interval is None:
            return f"{count_noun(self.n_sampled, 'window')} of {self.n_windows:,} sampled, none named yet"
        fraction, low, high = (
            f"{100 * value:.1f}" for value in (self.interval.fraction, self.interval.low, self.interval.high)
        )
        raw = "nothing" if self.raw_fraction is None else f"{100 * self.raw_fraction:.1f} %"
        named = f"after {count_noun(self.interval.n, 'name')}; the net alone: {raw}"
        note = f". {self.interval.note}" if self.interval.note else ""
        return f"{self.target} {fraction} % ({low}–{high} %) {named}{note}"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row."""
        return [self.to_json_dict()]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia spotcheck --json`` prints."""
        found, error = self.interval, self.error
        return {
            "class": self.target,
            "fraction": found.fraction if found else None,
            "low": found.low if found else None,
            "high": found.high if found else None,
            "n": found.n if found else 0,
            "n_unclear": found.n_unclear if found else 0,
            "method": METHOD,
            "raw_fraction": self.raw_fraction,
            "error": error.fraction if error else None,
            "error_low": error.low if error else None,
            "error_high": error.high if error else None,
            "n_sampled": self.n_sampled,
            "n_windows": self.n_windows,
            "n_more": self.n_more,
            **(self.details.to_json_dict() if self.details is not None else {}),
        }


def run_spotcheck(
    source: Source,
    out: Path,
    config: SpotcheckConfig,
    progress: Progress = QUIET,
    request: Request | None = None,
    measure: Measure | None = None,
) -> SpotcheckResult:
    """Draw windows to be named into a folder, or read the names that were given there.

    The first call writes ``plan.json``, ``names.csv`` with an empty column ``name``, ``second.csv`` for a
    second person, and the windows. Each later call reads the names and writes ``spotcheck.json``; the tables
    of names are never written again. Names count up to the first window without one: the order is part of
    the plan. ``request`` is what else is wished. Windows that a running batch got since the first call are
    left out. ``measure`` says what the names do together with those of the checks that this one extends.

    Raises:
        InputError: the folder holds the plan of another batch, class or draw, or a name is none.
    """
    n_all = len(source.windows)
    source = source.cut(_read_size(out / PLAN_FILE, n_all))
    target = source.find_class(config.class_name)
    population = Population.from_probabilities(source.probabilities[:, target])
    draws = list(draw_windows(population, config))
    plan = _describe_plan(source, source.classes[target], config, draws)
    twice = choose_second(len(draws), config.seed, config.second_every)
    with hold_folder(out):
        if (out / PLAN_FILE).exists():
            _check_same_plan(out / PLAN_FILE, plan)
        else:
            _write_windows(source, draws, out, progress)
            everyone = range(len(draws))
            write_names(source, draws, everyone, out / NAMES_FILE)
            write_names(source, draws, twice, out / SECOND_FILE)
            write_json(out / PLAN_FILE, plan)
        if request is not None and request.record is not None:
            names = request.record(read_cells(out / NAMES_FILE, source.classes, len(draws)))
        else:
            names = read_names(out / NAMES_FILE, source.classes, len(draws))
        second = read_second(out / SECOND_FILE, source.classes, twice)
        result = estimate(source, population, draws, names, config)
        found = (result.interval, names, second)
        details = find_details(source, population, draws, found, config, request or Request())
        details = replace(details, n_later=n_all - len(source.windows))
        if measure is not None:
            result, curve = measure()
            details = replace(details, curve=curve, with_slips=None)
        # A model is not tested on what it learned from.
        result = replace(result, details=details, error=None if details.n_learned else result.error)
        document = {
            **plan,
            **result.to_json_dict(),
            "names": [{"name": name, "by": by} for name, by in names],
        }
        write_json(out / RESULT_FILE, document)
    return result


@dataclass(frozen=True, eq=False)
class Plan:
    """What names are compared with: the windows that were sampled, and what the net says of them.

    ``labels`` are those of the sampled windows in their order, positions in ``classes``, −1 for unknown.
    ``trust`` (L,) is the mean probability of the predicted class at each level, 0–1. ``n_labelled`` windows
    were given a class by the net.
    """

    target: str
    classes: tuple[str, ...]
    population: Population
    draws: tuple[Draw, ...]
    labels: tuple[int, ...]
    trust: npt.NDArray[np.float64]
    raw_fraction: float | None
    confidence: float
    n_labelled: int

    @classmethod
    def of(
        cls, source: Source, population: Population, draws: Sequence[Draw], config: SpotcheckConfig
    ) -> Plan:
        """Return the plan of the draws from a source."""
        target = source.find_class(config.class_name)
        best = source.probabilities.max(axis=1)
        trust = np.bincount(population.level_of, best, len(population.scores)) / population.counts
        labels = tuple(int(source.labels[draw.window]) for draw in draws)
        raw = source.measure_fraction(target)
        own = source.classes[target]
        known = (trust, raw, config.confidence, int((source.labels >= 0).sum()))
        return cls(own, source.classes, population, tuple(draws), labels, *known)


def plan_size(source: Source, out: Path, config: SpotcheckConfig, width: float | None) -> SpotcheckConfig:
    """Return the settings with the number of windows of the plan in ``out``, else as many as ``width`` takes.

    Without both they are as given.

    Raises:
        InputError: the plan cannot be read, or so narrow an interval takes more than 2,000 names.
    """
    file = out / PLAN_FILE
    if file.exists():
        with reading(f"Cannot read {str(file)!r}", "the plan that Georgia wrote is needed"):
            return replace(config, n=max(1, int(read_json(file)["settings"]["n_sampled"])))
    if width is None:
        return config
    population = Population.from_probabilities(source.probabilities[:, source.find_class(config.class_name)])
    found = count_names(population, config, width, alpha=1 - config.confidence)
    if found is None:
        raise InputError(
            "Cannot plan so narrow an interval",
            needs=f"a width that at most {MOST_NAMES:,} names give is needed",
            got=width,
            hint="Wish for a wider one, or say how many windows you will name with --n.",
        )
    return replace(config, n=found)


def estimate(
    source: Source,
    population: Population,
    draws: Sequence[Draw],
    names: Sequence[tuple[str, str]],
    config: SpotcheckConfig,
) -> SpotcheckResult:
    """Return what the names (name, by whom) of the first draws say."""
    return compare_names(Plan.of(source, population, draws, config), [name for name, _ in names])


def compare_names(plan: Plan, names: Sequence[str]) -> SpotcheckResult:
    """Return what the names of the first windows of a plan say: of the batch, and of the net's own labels."""
    return compare_parts([(plan, names)])


def compare_parts(parts: Sequence[tuple[Plan, Sequence[str]]]) -> SpotcheckResult:
    """Return what names say of several plans' windows together; each plan was made after the names before.

    Before the first name of the last plan they say nothing of the whole.
    """
    plan, named = parts[-1]
    n_sampled, n_windows = (
        sum(len(plan.draws) for plan, _ in parts),
        sum(plan.population.size for plan, _ in parts),
    )
    raw = _join_fractions([plan for plan, _ in parts])
    if not named:
        return SpotcheckResult(plan.target, None, raw, None, n_sampled, n_windows)
    alpha = 1 - plan.confidence
    interval = estimate_blocks(
        [Block(plan.population, plan.draws, find_kinds(names, plan.target)) for plan, names in parts], alpha
    )
    # The net's error is the fraction of another kind of window: those whose label is not the person's.
    doubts = [
        Block(
            Population(1.0 - plan.trust, plan.population.level_of), plan.draws, _compare_labels(plan, names)
        )
        for plan, names in parts
    ]
    error = estimate_blocks(doubts, alpha)
    return SpotcheckResult(plan.target, interval, raw, error, n_sampled, n_windows, _count_more(interval))


def _join_fractions(plans: Sequence[Plan]) -> float | None:
    """Return the net's own fraction among all windows that it gave a class; None without any."""
    told = [(plan.raw_fraction, plan.n_labelled) for plan in plans if plan.raw_fraction is not None]
    n = sum(number for _, number in told)
    return sum(fraction * number for fraction, number in told) / n if n else None


def _compare_labels(plan: Plan, names: Sequence[str]) -> list[Name]:
    compared = []
    for label, name in zip(plan.labels, names, strict=False):
        if name == UNCLEAR:
            compared.append(Name.UNCLEAR)
        elif name == NEITHER or label < 0:
            # It has no class, or was given none: no label that could be wrong.
            is_wrong = name == NEITHER and label >= 0
            compared.append(Name.TARGET if is_wrong else Name.NEITHER)
        else:
            compared.append(Name.OTHER if plan.classes[label] == name else Name.TARGET)
    return compared


def _count_more(interval: Interval) -> int | None:
    """Return about how many more names would halve the width: three times as many, as for any mean."""
    return 3 * interval.n if interval.width > 0 else None


def _describe_plan(
    source: Source, target: str, config: SpotcheckConfig, draws: Sequence[Draw]
) -> dict[str, Any]:
    chosen = [
        {
            "window": draw.window,
            "file": source.windows[draw.window].describe(),
            "probability": float(draw.probabilities[draw.level]),
        }
        for draw in draws
    ]
    settings = {
        "seed": config.seed,
        "even": config.even,
        "confidence": config.confidence,
        "n_sampled": len(draws),
    }
    metadata = {
        "source": dict(source.metadata),
        "fingerprint": source.fingerprint(),
        "n_windows": len(source.windows),
        "classes": list(source.classes),
    }
    return {"target": target, **metadata, "settings": settings, "draws": chosen}


def _read_size(file: Path, n_windows: int) -> int:
    """Return of how many windows a plan is, where it says so; without one, of all."""
    if not file.exists():
        return n_windows
    with reading(f"Cannot read {str(file)!r}", "the plan that Georgia wrote is needed"):
        return min(n_windows, max(1, int(read_json(file).get("n_windows", n_windows))))


def _check_same_plan(file: Path, plan: dict[str, Any]) -> None:
    with reading(f"Cannot read {str(file)!r}", "the plan that Georgia wrote is needed"):
        before = read_json(file)
        differs = [
            name
            for name in ("fingerprint", "target", "classes", "settings", "draws")
            if before[name] != plan[name]
        ]
    if differs:
        raise InputError(
            f"Cannot go on with the spot check in {str(file.parent)!r}",
            needs="the same windows, class and settings as at its beginning are needed",
            got=f"another {differs[0]}",
            hint="Name another --out for another check.",
        )


def _write_windows(source: Source, draws: Sequence[Draw], out: Path, progress: Progress) -> None:
    """Write the sampled windows as images, numbered in their order; nothing tells what the net said.

    Raises:
        InputError: the image of one is gone or cannot be read; none is written then.
    """
    from PIL import Image as Pillow

    digits = int(math.log10(len(draws))) + 1
    progress.start("windows", len(draws))
    images = []
    for draw in draws:
        stream = io.BytesIO()
        Pillow.fromarray(_read_window(source, draw.window)).save(stream, "PNG")
        images.append(stream.getvalue())
        progress.advance(1)
    folder = out / WINDOWS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for order, data in enumerate(images, start=1):
        write_bytes(folder / f"{order:0{digits}}.png", data)


def _read_window(source: Source, number: int) -> Image:
    from georgia.images.decode import read_image
    from georgia.images.windows import crop

    window = source.windows[number]
    path = source.find_file(window)
    try:
        pixels = read_image(path)
        if source.contents and hash_file(path) != source.contents[number]:
            raise UnreadableImageError("its file holds another image now")
    except UnreadableImageError as error:
        raise InputError(
            f"Cannot show {window.describe()!r}",
            needs="the image that was predicted must still be there",
            got=f"{error} ({str(path)!r})",
            hint="Predict again, or give the batch's frames with --frames.",
        ) from error
    return pixels if window.box is None else crop(pixels, window.box)
