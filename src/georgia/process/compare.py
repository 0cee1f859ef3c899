"""Batches over one another: by the number of the frame, elapsed time, time since an event, or a variable.

A point is the fraction of all analysed windows of the frames in one interval of x. Where frames are missing a
line breaks. The band is that of released batches: in each interval the median and the 10 and 90 % quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, suggest
from georgia.monitor.batch_frames import GAP_STEPS, BatchFrames, find_usual_step, read_batch_frames
from georgia.monitor.batch_tracker import find_differences
from georgia.monitor.limits_in_force import read_state
from georgia.monitor.released_batches import released_batches
from georgia.process.join import MAX_AGE_STEPS
from georgia.process.queries import (
    BatchProcess,
    ProcessVariable,
    list_variables,
    name_variables,
    read_batch_process,
)

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.records import Batch

FloatArray = npt.NDArray[np.float64]
FRAME, ELAPSED = "frame", "elapsed"
# Marks before the name of a variable's title, and of an event.
OF_VARIABLE, OF_EVENT = "=", "@"
# The sample quantile k/(n+1), which needs nine batches for 10 % to lie within them. Source: Hyndman and Fan
# 1996, "Sample quantiles in statistical packages", type 6, doi 10.1080/00031305.1996.10473566.
QUANTILES, LEAST_BATCHES = (0.1, 0.9), 9
# Released batches that the band is made of at most, the newest ones, and intervals along x.
MOST_RELEASED, N_TIMES, N_VALUES = 50, 240, 60
MOST_BATCHES = 12
_ALL = 2**31 - 1
# A variable that turns by more than this part of its range goes both ways; a controller's swing is less.
_RETURN = 0.1


@dataclass(frozen=True)
class BatchLine:
    """One batch over x: columns of one length in rising x; ``y`` is 0–1, None in a gap.

    ``n`` counts the frames of each point. ``differs`` names what it was analysed with otherwise than the
    first batch: its fractions are not comparable then. ``released`` says how it was released, "" if not.
    """

    batch: int
    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    n: tuple[int, ...]
    n_frames: int
    n_left_out: int
    differs: tuple[str, ...] = ()
    released: str = ""


@dataclass(frozen=True)
class BatchBand:
    """Median and quantiles of released batches at each x, None where fewer than nine have frames there."""

    x: tuple[float, ...] = ()
    median: tuple[float | None, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    n: tuple[int, ...] = ()


@dataclass(frozen=True)
class BatchComparison:
    """Batches over one another; ``notes`` say in sentences what is left out and what cannot be compared."""

    by: str
    label: str
    choices: tuple[str, ...]
    lines: tuple[BatchLine, ...]
    band: BatchBand
    n_released: int
    notes: tuple[str, ...] = ()
    least_batches: int = LEAST_BATCHES
    quantiles: tuple[float, float] = QUANTILES

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return asdict(self)

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each point of each line, then of the band, as a table has them."""
        for line in self.lines:
            for x, y, n in zip(line.x, line.y, line.n, strict=True):
                yield {
                    "batch": line.batch,
                    "name": line.name,
                    "x": x,
                    "fraction": y,
                    "low": None,
                    "high": None,
                    "n": n,
                }
        band = self.band
        for x, y, low, high, n in zip(band.x, band.median, band.low, band.high, band.n, strict=True):
            yield {"batch": None, "name": "band", "x": x, "fraction": y, "low": low, "high": high, "n": n}


TABLE_COLUMNS = ["batch", "name", "x", "fraction", "low", "high", "n"]


@dataclass
class _Read:
    """One batch as it was read: x and the weights of its frames, in the order of time."""

    batch: Batch
    basis: Mapping[str, Any]
    x: FloatArray
    fraction: FloatArray
    windows: FloatArray
    n_frames: int
    step: float
    why: str = ""
    differs: list[str] = field(default_factory=list)


def compare_batches(store: StoreReader, batch_ids: Sequence[int], by: str = ELAPSED) -> BatchComparison:
    """Return batches over one another, with the band of released ones.

    ``by`` is "frame", "elapsed" (minutes since the first frame), "=TITLE" of a variable that a frame has the
    last value of, or "@EVENT" (minutes since the first event of that name).

    Raises:
        InputError: there is no such batch, variable or event, or a row was altered.
        StoreAwayError: the store cannot be reached.
    """
    ids = list(dict.fromkeys(batch_ids))
    if not 1 <= len(ids) <= MOST_BATCHES:
        raise InputError(
            "Cannot compare batches", needs=f"1 to {MOST_BATCHES} batches are needed", got=str(len(ids))
        )
    batches = [store.batch(number) for number in ids]
    choices = _find_choices(store, batches)
    if by not in choices:
        lacking = _find_lacking(store, batches, by)
        hint = f"Without it: {', '.join(lacking)}." if lacking else suggest(by, choices).strip()
        raise InputError(
            "Cannot compare batches", needs="a choice that all have is needed", got=repr(by), hint=hint
        )
    known = [_read_batch(store, batch, by) for batch in batches]
    released = released_batches(store)
    notes = [f"{each.batch.name}: {each.why}" for each in known if each.why]
    notes += [_tell_return(each, by) for each in known if by.startswith(OF_VARIABLE) and _goes_back(each)]
    for each in known[1:]:
        each.differs = _find_differences(known[0], each)
        if each.differs:
            told = f"{each.batch.name} was analysed with another {' and another '.join(each.differs)}"
            notes.append(f"{told} than {known[0].batch.name}: their fractions cannot be compared")
    others, left_out = _read_released(store, released, known, by)
    grid = _make_grid([*known, *others], by)
    lines = tuple(_make_line(each, grid, released) for each in known)
    band, missing = _make_band(others, grid)
    return BatchComparison(
        by, _name_axis(by), choices, lines, band, len(others), (*notes, *left_out, *missing)
    )


def _name_axis(by: str) -> str:
    if by == FRAME:
        return "frame of the batch"
    if by == ELAPSED:
        return "min since the first frame"
    return f"min since {by[1:]}" if by.startswith(OF_EVENT) else by[1:]


def _find_choices(store: StoreReader, batches: Sequence[Batch]) -> tuple[str, ...]:
    first, *others = (_find_own(store, batch) for batch in batches)
    known = [{choice for each in other for choice in each} for other in others]
    common = ([choice for choice in each if all(choice in other for other in known)] for each in first)
    return (ELAPSED, FRAME, *dict.fromkeys(each[0] for each in common if each))


def _find_own(store: StoreReader, batch: Batch) -> list[list[str]]:
    """Return for each variable and event of a batch the choices that mean it, the plainest first."""
    events = read_batch_process(store, batch.id, 2, (0,), has_counts=False).events
    own = [[f"{OF_VARIABLE}{name}" for name in names] for _, names in _name_own(store, batch)]
    return own + [[f"{OF_EVENT}{each.name}"] for each in events]


def _name_own(store: StoreReader, batch: Batch) -> list[tuple[ProcessVariable, list[str]]]:
    """Return each variable of a batch with its names: of two with one title the source tells which."""
    variables = list_variables(store, batch, has_counts=False)
    names = name_variables(variables)
    return [
        (each, list(dict.fromkeys((names[each.id], f"{each.source}: {each.title}")))) for each in variables
    ]


def _find_lacking(store: StoreReader, batches: Sequence[Batch], by: str) -> list[str]:
    """Return the names of the batches without a choice that others of them have."""
    lacking = [
        batch.name or str(batch.id)
        for batch in batches
        if not any(by in choices for choices in _find_own(store, batch))
    ]
    return lacking if len(lacking) < len(batches) else []


def _goes_back(each: _Read) -> bool:
    """Tell whether a variable rises and falls by more than a part of its range: a point holds both ways."""
    if len(each.x) < 2 or not np.ptp(each.x):
        return False
    fall = float((np.maximum.accumulate(each.x) - each.x).max())
    rise = float((each.x - np.minimum.accumulate(each.x)).max())
    return min(fall, rise) > _RETURN * float(np.ptp(each.x))


def _tell_return(each: _Read, by: str) -> str:
    return f"{each.batch.name}: {by[1:]} rises and falls, and a point holds the frames of both ways"


def _read_batch(store: StoreReader, batch: Batch, by: str) -> _Read:
    frames = read_batch_frames(store, batch)
    order = np.argsort(frames.times_s, kind="stable")
    times, windows = frames.times_s[order], frames.numbers["n_judged"][order]
    fraction = frames.numbers["fraction"][order]
    x, why = _place(store, batch, frames, times, by)
    models = sorted(set(frames.texts["model_sha256"]))
    if len(models) > 1:
        why = "; ".join(filter(None, (why, f"frames of {len(models)} models")))
    basis = read_state(batch).get("basis") or ({"model": models[0]} if len(models) == 1 else {})
    fits = np.isfinite(x) & np.isfinite(fraction) & (windows > 0)
    step = find_usual_step(x[np.isfinite(x)]) if by != FRAME else 1.0
    known = {**basis, "impurity": batch.impurity}
    return _Read(batch, known, x[fits], fraction[fits], windows[fits], len(frames), step or 0.0, why)


def _place(
    store: StoreReader, batch: Batch, frames: BatchFrames, times: FloatArray, by: str
) -> tuple[FloatArray, str]:
    """Return x of each frame, NaN where it has none, and why none has one."""
    if not len(times):
        return times, "no frames"
    if by == FRAME:
        return np.arange(1.0, len(times) + 1), ""
    if by == ELAPSED:
        return (times - times[0]) / 60, ""
    if by.startswith(OF_EVENT):
        found = read_batch_process(store, batch.id, 2, (0,), has_counts=False)
        start = next((each.time_s for each in found.events if each.name == by[1:]), None)
        if start is None:
            return np.full(len(times), np.nan), f"no event {by[1:]!r}"
        return (times - start) / 60, ""
    variable = next((each for each, names in _name_own(store, batch) if by[1:] in names), None)
    if variable is None:
        return np.full(len(times), np.nan), f"no variable {by[1:]!r}"
    return _join(read_batch_process(store, batch.id, _ALL, (variable.id,), has_counts=False), times), ""


def _join(process: BatchProcess, times: FloatArray) -> FloatArray:
    """Return the last value at or before each time, NaN where that is older than three usual steps."""
    series = process.series[0]
    pairs = [(at, value) for at, value in zip(series.time_s, series.value, strict=True) if value is not None]
    own, values = np.array(pairs, np.float64).reshape(-1, 2).T
    place = np.searchsorted(own, times, side="right") - 1
    found = np.full(len(times), np.nan)
    has = place >= 0
    has[has] = times[has] - own[place[has]] <= MAX_AGE_STEPS * (series.variable.step_s or 1.0)
    found[has] = values[place[has]]
    return found


def _find_differences(first: _Read, other: _Read) -> list[str]:
    return find_differences(first.basis, other.basis)


def _read_released(
    store: StoreReader, released: Mapping[int, str], known: Sequence[_Read], by: str
) -> tuple[list[_Read], list[str]]:
    """Return the released batches that can be compared with the first one, and what of the others is said."""
    own = {each.batch.id: each for each in known}
    found: list[_Read] = []
    n_other = n_without = 0
    for number in sorted(released, reverse=True)[:MOST_RELEASED]:
        try:
            each = own.get(number) or _read_batch(store, store.batch(number), by)
        except InputError:  # one that was removed or altered: georgia verify names it
            n_without += 1
            continue
        if _find_differences(known[0], each):
            n_other += 1
        elif len(each.x):
            found.append(each)
        else:
            n_without += 1
    notes = []
    if n_other:
        notes.append(f"{n_other} released batches of another model, class or windows are not in the band")
    if n_without:
        notes.append(f"{n_without} released batches without values of {_name_axis(by)} are not in the band")
    if len(released) > MOST_RELEASED:
        notes.append(f"the band is of the newest {MOST_RELEASED} of {len(released)} released batches")
    return found, notes


def _make_grid(batches: Sequence[_Read], by: str) -> FloatArray:
    """Return the edges of the intervals along x (N + 1,), all of one width."""
    ends = [end for each in batches if len(each.x) for end in (each.x.min(), each.x.max())]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if by == FRAME and high - low < N_TIMES:
        return np.arange(low - 0.5, high + 1.0)
    n = N_VALUES if by.startswith(OF_VARIABLE) else N_TIMES
    return np.linspace(low, high if high > low else low + 1.0, n + 1)


def _summarize(each: _Read, grid: FloatArray) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Return x, fraction and frames of the intervals that have frames, in rising x."""
    n = len(grid) - 1
    place = np.clip(np.searchsorted(grid, each.x, side="right") - 1, 0, n - 1)
    windows = np.bincount(place, each.windows, n)
    hits = np.bincount(place, each.fraction * each.windows, n)
    frames, sums = np.bincount(place, minlength=n), np.bincount(place, each.x, n)
    has = frames > 0
    return sums[has] / frames[has], hits[has] / windows[has], frames[has]


def _find_longest(each: _Read, grid: FloatArray) -> float:
    """Return the distance along x from which on two points are not joined by a line."""
    return max(GAP_STEPS * each.step, 2.0 * float(grid[1] - grid[0]))


def _make_line(each: _Read, grid: FloatArray, released: Mapping[int, str]) -> BatchLine:
    x, y, n = _summarize(each, grid)
    rows: list[tuple[float, float | None, int]] = []
    longest = _find_longest(each, grid)
    for at, value, count in zip(x.tolist(), y.tolist(), n.tolist(), strict=True):
        if rows and at - rows[-1][0] > longest:
            rows.append(((at + rows[-1][0]) / 2, None, 0))
        rows.append((at, value, count))
    xs, ys, counts = tuple(x for x, _, _ in rows), tuple(y for _, y, _ in rows), tuple(n for _, _, n in rows)
    own = (each.n_frames, each.n_frames - len(each.x), tuple(each.differs), released.get(each.batch.id, ""))
    return BatchLine(each.batch.id, each.batch.name, xs, ys, counts, *own)


def _make_band(batches: Sequence[_Read], grid: FloatArray) -> tuple[BatchBand, list[str]]:
    if len(batches) < LEAST_BATCHES:
        told = f"no band: {len(batches)} released batches can be compared, {LEAST_BATCHES} are needed"
        return BatchBand(), [told]
    centres = (grid[1:] + grid[:-1]) / 2
    values = np.array([_on_grid(each, grid, centres) for each in batches])
    counts = np.isfinite(values).sum(axis=0)
    columns: list[list[float | None]] = [[], [], []]
    for at, n in enumerate(counts):
        own = values[:, at][np.isfinite(values[:, at])]
        found: Sequence[float | None] = (None, None, None)
        if n >= LEAST_BATCHES:
            found = np.quantile(own, [0.5, *QUANTILES], method="weibull").tolist()
        for column, value in zip(columns, found, strict=True):
            column.append(value)
    median, low, high = map(tuple, columns)
    band = BatchBand(tuple(centres.tolist()), median, low, high, tuple(counts.tolist()))
    return band, []


def _on_grid(each: _Read, grid: FloatArray, centres: FloatArray) -> FloatArray:
    """Return a batch's fraction at the centres of the intervals, NaN where frames are missing."""
    x, y, _ = _summarize(each, grid)
    half = float(grid[1] - grid[0]) / 2
    value = np.interp(centres, x, y)
    value[(centres < x[0] - half) | (centres > x[-1] + half)] = np.nan
    if len(x) > 1:
        after = np.clip(np.searchsorted(x, centres), 1, len(x) - 1)
        is_between = (centres > x[after - 1] + half) & (centres < x[after] - half)
        value[is_between & (x[after] - x[after - 1] > _find_longest(each, grid))] = np.nan
    return value
