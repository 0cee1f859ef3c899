"""Error of a frame's fraction, on synthetic frames with known truth from 0 to 50 % PG.

Truth of a window: the class that covers more of it, where crystals cover a tenth of it or more. Truth of a
frame: the fraction of its windows with crystals whose truth is PG, which is what "fraction" means in
docs/monitor.md. The area fraction (PG's area in that of all crystals) is shown beside it.

    python benchmarks/fraction.py --frames 220 --seed 50000 --out fraction.json
    python benchmarks/fraction.py --frames 96 --seed 820000 --levels 0 0.05 0.1 0.2 0.35 0.5

Each result stands beside that of windows which all count the same ("equal"). With ``--windows half third``
the same predictions are counted as by a monitor with that setting: every second or third window, in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from georgia.model.load import load_bundle, load_bundled_model
from georgia.monitor.fraction import estimate_fractions, find_smoothing
from georgia.monitor.result import EMPTY_CODE
from georgia.monitor.settings import TileConfig, Windows
from georgia.monitor.tile import FrameAnalyzer, measure_detail
from georgia.monitor.visibility import find_fine, measure_cover, to_grey
from georgia.monitor.window_subsets import WindowSubsets
from georgia.synthetic import Frame, render_frame

# A window with less crystal than this shows none, for the truth.
COVER_FROM = 0.1
_ARRAYS = ("boxes", "codes", "probabilities", "detail", "cover", "weights", "area_fraction", "aimed")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FrameWindows:
    """One frame's windows: where they are, the net's predictions, the truth, and what they count by."""

    boxes: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float32]
    detail: npt.NDArray[np.float32]
    cover: Floats
    weights: Floats
    area_fraction: float
    aimed: float

    @property
    def truth(self) -> float:
        """Return the fraction of PG among the windows with crystals; NaN where there is none."""
        has_crystal = self.cover.sum(axis=1) >= COVER_FROM
        return (
            float((self.cover[:, 1] > self.cover[:, 0])[has_crystal].mean())
            if has_crystal.any()
            else float("nan")
        )


def aim_at(seed: int, index: int, levels: Sequence[float] = ()) -> tuple[float, float]:
    """Return PG's fraction and the crystals' cover.

    Without levels, none in a tenth of the frames, else evenly to 50 %; with levels, one after the other.
    """
    rng = np.random.default_rng([seed, index])
    fraction = 0.0 if index % 10 == 0 else float(rng.uniform(0, 0.5))
    cover = float(rng.uniform(0.15, 0.6))
    return (levels[index % len(levels)] if levels else fraction), cover


def collect(
    analyzer: FrameAnalyzer, indices: range, seed: int, levels: Sequence[float] = ()
) -> list[FrameWindows]:
    """Render frames and predict every window of each."""
    found = []
    started = time.perf_counter()
    for index in indices:
        fraction, cover = aim_at(seed, index, levels)
        frame = render_frame(seed + index, pg_fraction=fraction, coverage=cover)
        found.append(predict(analyzer, frame, fraction))
        if index % 20 == 19:
            print(f"{index + 1} frames in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found


def predict(analyzer: FrameAnalyzer, frame: Frame, aimed: float) -> FrameWindows:
    """Return the windows of one frame."""
    found = analyzer.analyze(frame.image).map
    masks = (frame.mask_cex, frame.mask_pg)
    return FrameWindows(
        boxes=found.boxes,
        codes=found.codes,
        probabilities=found.probabilities.astype(np.float32),
        detail=measure_detail(frame.image, found.boxes),
        cover=np.stack([cover_by(mask, found.boxes) for mask in masks], axis=1),
        weights=measure_cover(find_fine(to_grey(frame.image)), found.boxes),
        area_fraction=frame.fraction,
        aimed=aimed,
    )


def cover_by(mask: npt.NDArray[np.bool_], boxes: npt.NDArray[np.int32]) -> Floats:
    """Return how much of each window a mask covers, 0–1."""
    total = cv2.integral(mask.astype(np.uint8))
    left, top, width, height = boxes.T
    right, bottom = left + width, top + height
    inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    return inside / (width * height)


def save(path: Path, frames: list[FrameWindows]) -> None:
    """Keep what was collected, so that an estimator can be tried again without the net."""
    np.savez_compressed(path, **{name: np.stack([getattr(f, name) for f in frames]) for name in _ARRAYS})


def load(path: Path) -> list[FrameWindows]:
    """Read what ``save`` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = [arrays[name] for name in _ARRAYS]
    return [FrameWindows(*row[:-2], float(row[-2]), float(row[-1])) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Estimate:
    """PG's fraction with its interval, 0–1, and what it is of: ``n_net`` windows went through the net."""

    fraction: float
    low: float
    high: float
    n_effective: float
    subset: int
    n_net: int


def estimate(
    frame: FrameWindows, names: tuple[str, ...], min_detail: float, smoothing: float, subsets: WindowSubsets
) -> Estimate | None:
    """Return PG's fraction and its interval, as ``georgia monitor`` does from the same predictions."""
    is_full = frame.detail >= min_detail
    codes = np.where(is_full, frame.codes, EMPTY_CODE).astype(np.int8)
    subset = subsets.take(frame.boxes, is_full, frame.weights, TileConfig().min_judged)
    boxes, codes, probabilities, weights = (
        each[subset.is_taken] for each in (frame.boxes, codes, frame.probabilities, frame.weights)
    )
    classes, n_effective = estimate_fractions(
        boxes, codes, probabilities, names, smoothing, weights, subset.worth
    )
    found = next((item for item in classes if item.name == "PG"), None)
    n_net = int((codes != EMPTY_CODE).sum())
    return found and Estimate(found.fraction, found.low, found.high, n_effective, subset.number, n_net)


def measure(
    frames: list[FrameWindows],
    names: tuple[str, ...],
    min_detail: float,
    smoothing: float,
    levels: Sequence[float] = (),
    choice: Windows = Windows.ALL,
) -> dict[str, object]:
    """Return errors and coverage, of all frames and by ranges of the truth, or by the level aimed at."""
    rows, subsets = [], WindowSubsets(choice)
    for frame in frames:
        found = estimate(frame, names, min_detail, smoothing, subsets)
        if found is not None and not np.isnan(frame.truth):
            limits = (found.fraction, found.low, found.high)
            rows.append(
                (frame.truth, frame.area_fraction, *limits, frame.aimed, found.n_effective, found.n_net)
            )
    table = np.array(rows)
    result: dict[str, object] = {"n_frames": len(rows), "n_without_crystals": len(frames) - len(rows)}
    for name, chosen in _choose_groups(table, levels).items():
        if len(chosen):
            result[name] = summarize(chosen)
    return result


def _choose_groups(table: Floats, levels: Sequence[float]) -> dict[str, Floats]:
    if levels:
        return {"all": table, **{f"{level:g}": table[np.isclose(table[:, 5], level)] for level in levels}}
    ranges = {
        "all": (0.0, 1.0),
        "0": (0.0, 0.001),
        "0–10 %": (0.001, 0.1),
        "10–25 %": (0.1, 0.25),
        "25–50 %": (0.25, 1.01),
    }
    return {name: table[(table[:, 0] >= low) & (table[:, 0] < high)] for name, (low, high) in ranges.items()}


def summarize(table: Floats) -> dict[str, float]:
    """Return error, coverage and width of rows as ``measure`` makes them."""
    truth, area, fraction, low, high, _, n_effective, n_net = table.T
    return {
        "n": len(table),
        "mean_absolute_error": round(float(np.abs(fraction - truth).mean()), 4),
        "bias": round(float((fraction - truth).mean()), 4),
        "bias_error": round(standard_error(fraction - truth), 4),
        "coverage": round(float(((low <= truth) & (truth <= high)).mean()), 4),
        "mean_width": round(float((high - low).mean()), 4),
        "mean_absolute_error_area": round(float(np.abs(fraction - area).mean()), 4),
        "bias_area": round(float((fraction - area).mean()), 4),
        "bias_area_error": round(standard_error(fraction - area), 4),
        "coverage_area": round(float(((low <= area) & (area <= high)).mean()), 4),
        "n_effective": round(float(n_effective.mean()), 2),
        "windows_through_the_net": round(float(n_net.mean()), 2),
    }


def standard_error(values: Floats) -> float:
    """Return the standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="none: the bundled model")
    parser.add_argument("--frames", type=int, default=220)
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first frame: to go on in pieces")
    parser.add_argument("--levels", type=float, nargs="+", default=[], help="fractions to aim at, in turn")
    choices = [str(each) for each in Windows]
    parser.add_argument("--windows", nargs="+", choices=choices, default=[], help="other choices of windows")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--cache",
        type=Path,
        nargs="+",
        default=[],
        help="windows of earlier calls, or where to keep them: .npz",
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bundle = load_bundled_model() if options.model is None else load_bundle(options.model)
    if options.cache and all(file.is_file() for file in options.cache):
        frames = [frame for file in options.cache for frame in load(file)]
    else:
        analyzer = FrameAnalyzer(bundle, TileConfig(min_detail=0.0), threads=options.threads)
        indices = range(options.first, options.first + options.frames)
        frames = collect(analyzer, indices, options.seed, options.levels)
        if options.cache:
            save(options.cache[0], frames)
    names, smoothing = bundle.labels.names, find_smoothing(bundle.metadata)
    equal = [replace(frame, weights=np.ones(len(frame.boxes))) for frame in frames]
    result = {
        name: measure(chosen, names, TileConfig().min_detail, smoothing, options.levels)
        for name, chosen in (("by cover", frames), ("equal", equal))
    }
    for choice in options.windows:
        result[choice] = measure(
            frames, names, TileConfig().min_detail, smoothing, options.levels, Windows(choice)
        )
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
