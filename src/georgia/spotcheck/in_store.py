"""A spot check that lives in a monitor's store: its plan, its names, and what they say of the batch.

The page of ``georgia serve``, the command and OPC UA read the same plan and the same names. A check is of the
windows that the batch had when it was planned: of an ended batch all of them, of a running one those until
then. When a batch has gone on, its check is extended: a plan of its own for the windows that came since.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import georgia
from georgia.errors import InputError
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import naming_damage
from georgia.monitor.file_names import read_recorded_file
from georgia.monitor.records import Batch
from georgia.monitor.result import EMPTY_CODE
from georgia.monitor.spotchecks import StoredCheck, hash_plan
from georgia.records import Box
from georgia.spotcheck.check import NEITHER, UNCLEAR, Plan
from georgia.spotcheck.curve import Span, cut_spans, estimate_curve
from georgia.spotcheck.names_table import find_kinds
from georgia.spotcheck.plan import Draw, Population, SpotcheckConfig, draw_windows

if TYPE_CHECKING:
    from georgia.images.decode import Image
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.store import Store

# The form of the plan's text; that of one which extends another.
_FORM, _EXTENDED = 1, 2
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SampledWindow:
    """One window of a plan: its frame, by number, name and content, and its box in px of the frame.

    ``size`` is the frame's width and height, px. ``label`` is the net's, "unknown" where it rejected the
    window. ``probability`` is that with which it was sampled, ``target_probability`` the net's of the class.
    """

    position: int
    frame_id: int
    ordinal: int
    file: str
    sha256: str
    frame_time_s: float
    box: Box
    size: tuple[int, int]
    label: str
    target_probability: float
    probability: float


@dataclass(frozen=True, eq=False)
class _BatchWindows:
    """All windows of a batch that are not empty; ``frame_of`` and ``place`` say which one each is."""

    classes: tuple[str, ...]
    frames: tuple[Mapping[Any, Any], ...]
    boxes: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int64]
    probabilities: FloatArray
    frame_of: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    n_frames_without: int
    n_skipped: int

    @property
    def times_s(self) -> FloatArray:
        """Return when each window was taken (N,), seconds since 1970."""
        return np.array([float(frame["frame_time_s"]) for frame in self.frames])[self.frame_of]


def begin_check(
    store: Store, batch: Batch, config: SpotcheckConfig, who: str, reason: str = ""
) -> StoredCheck:
    """Sample windows of a batch and write the plan into the store; return the check.

    Raises:
        InputError: the batch has no window, the class is none, or a check after another one has no reason.
    """
    plan = make_plan(store, batch, config)
    return store.spotcheck(store.plan_spotcheck(batch.id, plan, who, reason))


def extend_check(
    store: Store, batch: Batch, config: SpotcheckConfig, who: str, n: int | None = None, reason: str = ""
) -> StoredCheck:
    """Sample windows that came since the batch's newest check was planned; return the check that goes on.

    ``n`` as in ``make_extension``.

    Raises:
        InputError: there is no check to be extended, or no window came since.
    """
    plan = make_extension(store, batch, config, n)
    return store.spotcheck(store.plan_spotcheck(batch.id, plan, who, reason))


def make_extension(
    reader: StoreReader, batch: Batch, config: SpotcheckConfig, n: int | None = None
) -> dict[str, Any]:
    """Return the plan that extends the newest check of a batch by the windows that came since.

    They are a block of their own (``blocks.py``). ``n`` of them are sampled; without it as densely as those
    before. Class and confidence are those of the check that is extended.

    Raises:
        InputError: there is no check to be extended, no window came since, or they are of other classes.
    """
    checks = reader.spotchecks(batch.id)
    if not checks:
        raise InputError(
            f"Cannot extend the spot check of batch {batch.name!r}",
            needs="a check of it is needed",
            got="none",
        )
    before = checks[0]
    with naming_damage():
        body = before.body
    with naming_damage():
        # As densely as before: windows that are sampled, and parts of the time.
        size = _count_later(reader, batch, before) / int(body["n_windows"])
        own = replace(
            config,
            n=n or math.ceil(len(body["draws"]) * size - 1e-9),
            spans=min(config.spans, max(1, round(len(body["spans"]) * size))),
            class_name=before.target,
            confidence=float(body["settings"]["confidence"]),
        )
    plan = make_plan(reader, batch, own, before.through_frame)
    if plan["classes"] != body["classes"]:
        raise InputError(
            f"Cannot extend spot check {before.id}",
            needs=f"frames analysed with the same classes are needed: {', '.join(body['classes'])}",
            got=", ".join(plan["classes"]),
            hint="Plan another check, with a reason.",
        )
    return {**plan, "form": _EXTENDED, "extends": {"check": before.id, "plan_sha256": hash_plan(before.plan)}}


def _count_later(reader: StoreReader, batch: Batch, before: StoredCheck) -> int:
    """Return how many windows came since a check was planned."""
    newest = reader.frames(batch.id, limit=1)[0].frame_id
    if newest <= before.through_frame:
        raise InputError(
            f"Cannot extend spot check {before.id}",
            needs="frames that came since it was planned are needed",
            got=f"none after frame {before.body['through']['ordinal']:,}",
            hint="Wait until the batch has gone on.",
        )
    return len(_read_windows(reader, batch, newest, before.through_frame).labels)


def make_plan(reader: StoreReader, batch: Batch, config: SpotcheckConfig, after: int = 0) -> dict[str, Any]:
    """Return the plan of a check of the batch's windows until now, as the store keeps it.

    Frames up to the one of number ``after`` are left out.

    Raises:
        InputError: the batch has no window with its map, or models of different classes analysed it.
    """
    newest = reader.frames(batch.id, limit=1)
    windows = _read_windows(reader, batch, newest[0].frame_id if newest else 0, after)
    target = _find_class(windows, batch, config.class_name)
    at = windows.classes.index(target)
    population = Population.from_probabilities(windows.probabilities[:, at])
    draws = list(draw_windows(population, config))
    named = windows.labels >= 0
    best = windows.probabilities.max(axis=1)
    last = windows.frames[-1]
    span_of = cut_spans(windows.times_s, config.spans)
    return {
        "form": _FORM,
        "georgia": georgia.__version__,
        "class": target,
        "classes": list(windows.classes),
        "names": [*windows.classes, NEITHER, UNCLEAR],
        "settings": {
            "n": config.n,
            "even": config.even,
            "confidence": config.confidence,
            "seed": config.seed,
        },
        "batch": {"id": batch.id, "name": batch.name, "source": batch.source},
        "through": {
            "frame": int(newest[0].frame_id),
            "ordinal": int(newest[0].ordinal),
            "frame_time": iso_time(newest[0].frame_time_s),
            "is_running": batch.ended_at_s is None,
        },
        "n_windows": population.size,
        "n_frames": len(windows.frames),
        "n_frames_without": windows.n_frames_without,
        "n_skipped": windows.n_skipped,
        "fingerprint": _hash_frames(windows.frames),
        "models": sorted({str(frame["model_sha256"]) for frame in windows.frames}),
        "raw_fraction": float((windows.labels[named] == at).mean()) if named.any() else None,
        "n_labelled": int(named.sum()),
        "first_time": iso_time(windows.frames[0]["frame_time_s"]),
        "last_time": iso_time(last["frame_time_s"]),
        "levels": {
            "scores": population.scores.tolist(),
            "counts": population.counts.astype(int).tolist(),
            "trust": (
                np.bincount(population.level_of, best, len(population.scores)) / population.counts
            ).tolist(),
        },
        "spans": _describe_spans(windows, population, span_of, at),
        "draws": [{**_describe_draw(windows, draw, at), "span": int(span_of[draw.window])} for draw in draws],
    }


def _find_class(windows: _BatchWindows, batch: Batch, wanted: str) -> str:
    """Return the class that is asked for; "" is the batch's impurity, or else the last class."""
    classes = windows.classes
    target = wanted or (batch.impurity if batch.impurity in classes else classes[-1])
    if target not in classes:
        needs = f"one of {', '.join(classes)} is needed"
        raise InputError("Cannot check this class", needs=needs, got=repr(target))
    if {NEITHER, UNCLEAR} & set(classes):
        raise InputError(
            f"Cannot check batch {batch.name!r}",
            needs=f"classes of other names than {NEITHER} and {UNCLEAR} are needed",
            got=", ".join(classes),
        )
    return target


def _read_windows(reader: StoreReader, batch: Batch, through: int, after: int = 0) -> _BatchWindows:
    frames: list[Mapping[Any, Any]] = []
    boxes, sizes, rows, codes, frame_of, place = [], [], [], [], [], []
    classes: tuple[str, ...] = ()
    n_without = 0
    for frame, tiles in reader.iter_maps(batch.id, through, after):
        if tiles is None:
            n_without += bool(frame["map_sha256"])
            continue
        if classes and tiles.names != classes:
            raise InputError(
                f"Cannot check batch {batch.name!r}",
                needs="one set of classes is needed",
                got=f"{', '.join(classes)} and, from frame {frame['ordinal']} on, {', '.join(tiles.names)}",
            )
        classes = tiles.names
        shown = np.flatnonzero(tiles.codes != EMPTY_CODE)
        boxes.append(tiles.boxes[shown])
        sizes.append((tiles.width_px, tiles.height_px))
        rows.append(tiles.probabilities[shown])
        codes.append(tiles.codes[shown])
        frame_of.append(np.full(len(shown), len(frames)))
        place.append(shown)
        frames.append({name: frame[name] for name in frame if name != "npz"})
    if not sum(map(len, rows)):
        hint = "Are its maps kept? See keep_maps_days in docs/monitor.md." if n_without else ""
        raise InputError(
            f"Cannot check batch {batch.name!r}",
            needs="one window or more that is not empty is needed",
            got=f"none, and {n_without:,} frames whose maps were removed" if n_without else "none",
            hint=hint,
        )
    return _BatchWindows(
        classes=classes,
        frames=tuple(frames),
        boxes=np.concatenate(boxes),
        sizes=np.array(sizes, np.int32),
        labels=np.maximum(np.concatenate(codes).astype(np.int64), -1),
        probabilities=np.clip(np.concatenate(rows).astype(np.float64), 0.0, 1.0),
        frame_of=np.concatenate(frame_of),
        place=np.concatenate(place),
        n_frames_without=n_without,
        n_skipped=sum(int(frame.get("n_skipped") or 0) for frame in frames),
    )


def _describe_spans(
    windows: _BatchWindows, population: Population, span_of: npt.NDArray[np.int64], target: int
) -> list[dict[str, Any]]:
    """Return the parts of the batch's time: of when, and how many windows of each level."""
    described = []
    for at in range(int(span_of.max()) + 1):
        own = span_of == at
        told = windows.labels[own & (windows.labels >= 0)]
        levels = np.bincount(population.level_of[own], minlength=len(population.scores))
        described.append(
            {
                "from_s": float(windows.times_s[own].min()),
                "to_s": float(windows.times_s[own].max()),
                "raw_fraction": float((told == target).mean()) if len(told) else None,
                "counts": levels.tolist(),
            }
        )
    return described


def _hash_frames(frames: Sequence[Mapping[Any, Any]]) -> str:
    """Return a sha256 (hex) over the frames and their maps: the population."""
    content = [[int(frame["id"]), str(frame["map_sha256"])] for frame in frames]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def _describe_draw(windows: _BatchWindows, draw: Draw, target: int) -> dict[str, Any]:
    number = int(windows.frame_of[draw.window])
    frame = windows.frames[number]
    # Levels of one stratum have one probability: runs of equal values, from the lowest level on.
    starts = np.flatnonzero(np.diff(draw.probabilities, prepend=np.nan))
    lengths = np.diff(np.append(starts, len(draw.probabilities)))
    return {
        "frame": int(frame["id"]),
        "ordinal": int(frame["ordinal"]),
        "file": str(frame["file"]),
        "sha256": str(frame["sha256"]),
        "frame_time_s": float(frame["frame_time_s"]),
        "window": int(windows.place[draw.window]),
        "box": [int(value) for value in windows.boxes[draw.window]],
        "size": [int(value) for value in windows.sizes[number]],
        "label": int(windows.labels[draw.window]),
        "target_probability": float(windows.probabilities[draw.window, target]),
        "level": draw.level,
        "probability": float(draw.probabilities[draw.level]),
        "probabilities": [
            [float(draw.probabilities[start]), int(length)]
            for start, length in zip(starts, lengths, strict=True)
        ],
    }


def read_plan(check: StoredCheck) -> Plan:
    """Return what names are compared with; nothing but the check's own row is read.

    Raises:
        InputError: the plan is of a later version of Georgia.
    """
    with naming_damage():
        form = check.body.get("form")
        if form in (_FORM, _EXTENDED):
            return _build_plan(check)
    raise InputError(
        f"Cannot read the plan of spot check {check.id}",
        needs=f"one of form {_FORM} or {_EXTENDED} is needed",
        got=form,
        hint="Use the version of Georgia that made it, or a later one.",
    )


def _build_plan(check: StoredCheck) -> Plan:
    body = check.body
    levels = body["levels"]
    counts = np.array(levels["counts"], np.int64)
    population = Population(np.array(levels["scores"]), np.repeat(np.arange(len(counts)), counts))
    # Windows lie in order of their levels, and of the parts of time in each. Which of those that are alike
    # were sampled matters to nothing that is computed: the first stand for them.
    cells = np.array([span["counts"] for span in body["spans"]], np.int64)
    following = (np.cumsum(counts) - counts) + np.cumsum(cells, axis=0) - cells
    left, draws = counts.astype(np.float64), []
    for each in body["draws"]:
        level, span = int(each["level"]), int(each["span"])
        probabilities = np.concatenate([np.full(length, value) for value, length in each["probabilities"]])
        draws.append(Draw(int(following[span, level]), level, left.copy(), probabilities))
        left[level] -= 1
        following[span, level] += 1
    return Plan(
        target=check.target,
        classes=tuple(body["classes"]),
        population=population,
        draws=tuple(draws),
        labels=tuple(int(each["label"]) for each in body["draws"]),
        trust=np.array(levels["trust"]),
        raw_fraction=body["raw_fraction"],
        n_labelled=int(body.get("n_labelled", body["n_windows"])),
        confidence=float(body["settings"]["confidence"]),
    )


def estimate_spans(
    check: StoredCheck, plan: Plan, names: Sequence[str], n_spans: int | None = None
) -> tuple[Span, ...]:
    """Return the fraction over the batch's time, from the names of the first windows; () without names.

    ``n_spans`` intervals are to hold at once, where those of other checks stand beside them.
    """
    spans = check.body["spans"]
    if not names and not n_spans:
        return ()
    cells = np.array([span["counts"] for span in spans], np.int64)
    span_of = np.concatenate([np.repeat(np.arange(len(spans)), of_level) for of_level in cells.T])
    kinds = find_kinds(names, plan.target)
    alpha = (1 - plan.confidence) * len(spans) / (n_spans or len(spans))
    found = estimate_curve(plan.population, plan.draws, kinds, span_of, alpha)
    return tuple(
        Span(span["from_s"], span["to_s"], sum(span["counts"]), span["raw_fraction"], interval)
        for span, interval in zip(spans, found, strict=True)
    )


def list_windows(check: StoredCheck) -> list[SampledWindow]:
    """Return the sampled windows in their order."""
    with naming_damage():
        return _build_windows(check)


def _build_windows(check: StoredCheck) -> list[SampledWindow]:
    classes = check.body["classes"]
    return [
        SampledWindow(
            position=position,
            frame_id=int(each["frame"]),
            ordinal=int(each["ordinal"]),
            file=each["file"],
            sha256=each["sha256"],
            frame_time_s=float(each["frame_time_s"]),
            box=tuple(each["box"]),
            size=tuple(each["size"]),
            label=classes[each["label"]] if each["label"] >= 0 else "unknown",
            target_probability=float(each["target_probability"]),
            probability=float(each["probability"]),
        )
        for position, each in enumerate(check.body["draws"], start=1)
    ]


def read_frame_file(folder: Path, window: SampledWindow) -> bytes:
    """Return the content of a window's frame, as it was analysed and nothing else.

    Raises:
        UnreadableImageError: the file is gone, lies elsewhere, or holds another image now; one clause.
    """
    return read_recorded_file(folder, window.file, window.sha256)


def find_surroundings(window: SampledWindow) -> Box:
    """Return a window's box with as much of its frame around it on each side, as far as the frame goes.

    >>> window = SampledWindow(1, 1, 1, "f.png", "", 0.0, (10, 0, 64, 64), (640, 480), "PG", 0.9, 0.1)
    >>> find_surroundings(window)
    (0, 0, 138, 128)
    """
    (left, top, width, height), (most_right, most_bottom) = window.box, window.size
    x, y = max(0, left - width), max(0, top - height)
    right, bottom = min(most_right, left + 2 * width), min(most_bottom, top + 2 * height)
    return x, y, right - x, bottom - y


def encode_png(image: Image) -> bytes:
    """Return an image (H, W, 3), uint8, as PNG."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
