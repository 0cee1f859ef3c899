"""Error of a frame's fraction, on synthetic frames with known truth from 0 to 50 % PG.

Truth of a window: the class that covers more of it, where crystals cover a tenth of it or more. Truth of a
frame: the fraction of its windows with crystals whose truth is PG, which is what "fraction" means in
docs/monitor.md. The area fraction (PG's area in that of all crystals) is shown beside it.

    python benchmarks/fraction.py --frames 220 --seed 50000 --out fraction.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from georgia.model.load import load_bundle, load_bundled_model
from georgia.monitor.fraction import estimate_fractions, find_smoothing
from georgia.monitor.result import EMPTY_CODE
from georgia.monitor.settings import TileConfig
from georgia.monitor.tile import FrameAnalyzer, measure_detail
from georgia.synthetic import render_frame

# A window with less crystal than this shows none, for the truth.
COVER_FROM = 0.1
_ARRAYS = ("boxes", "codes", "probabilities", "detail", "cover")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """One frame's windows: where they are, the net's predictions, the truth."""

    boxes: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float32]
    detail: npt.NDArray[np.float32]
    cover: Floats
    area_fraction: float

    @property
    def truth(self) -> float:
        """Return the fraction of PG among the windows with crystals; NaN where there is none."""
        has_crystal = self.cover.sum(axis=1) >= COVER_FROM
        return (
            float((self.cover[:, 1] > self.cover[:, 0])[has_crystal].mean())
            if has_crystal.any()
            else float("nan")
        )


def aim_at(seed: int, index: int) -> tuple[float, float]:
    """Return PG's fraction (none in a tenth of the frames, else evenly to 50 %) and the crystals' cover."""
    rng = np.random.default_rng([seed, index])
    fraction = 0.0 if index % 10 == 0 else float(rng.uniform(0, 0.5))
    return fraction, float(rng.uniform(0.15, 0.6))


def collect(analyzer: FrameAnalyzer, indices: range, seed: int) -> list[Windows]:
    """Render frames and predict every window of each."""
    found = []
    started = time.perf_counter()
    for index in indices:
        fraction, cover = aim_at(seed, index)
        frame = render_frame(seed + index, pg_fraction=fraction, coverage=cover)
        found_map = analyzer.analyze(frame.image).map
        covers = np.stack(
            [measure_cover(mask, found_map.boxes) for mask in (frame.mask_cex, frame.mask_pg)], axis=1
        )
        detail = measure_detail(frame.image, found_map.boxes)
        probabilities = found_map.probabilities.astype(np.float32)
        windows = Windows(found_map.boxes, found_map.codes, probabilities, detail, covers, frame.fraction)
        found.append(windows)
        if index % 20 == 19:
            print(f"{index + 1} frames in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found


def measure_cover(mask: npt.NDArray[np.bool_], boxes: npt.NDArray[np.int32]) -> Floats:
    """Return how much of each window a mask covers, 0–1."""
    total = cv2.integral(mask.astype(np.uint8))
    left, top, width, height = boxes.T
    right, bottom = left + width, top + height
    inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    return inside / (width * height)


def save(path: Path, frames: list[Windows]) -> None:
    """Keep what was collected, so that an estimator can be tried again without the net."""
    arrays = {name: np.stack([getattr(f, name) for f in frames]) for name in _ARRAYS}
    np.savez_compressed(path, area_fraction=[f.area_fraction for f in frames], **arrays)


def load(path: Path) -> list[Windows]:
    """Read what ``save`` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = [arrays[name] for name in (*_ARRAYS, "area_fraction")]
    return [Windows(*row[:-1], float(row[-1])) for row in zip(*columns, strict=True)]


def estimate(
    frame: Windows, names: tuple[str, ...], min_detail: float, smoothing: float
) -> tuple[float, float, float] | None:
    """Return PG's fraction and its interval, as ``georgia monitor`` does from the same predictions."""
    codes = np.where(frame.detail >= min_detail, frame.codes, EMPTY_CODE).astype(np.int8)
    classes, _ = estimate_fractions(frame.boxes, codes, frame.probabilities, names, smoothing)
    for item in classes:
        if item.name == "PG":
            return item.fraction, item.low, item.high
    return None


def measure(
    frames: list[Windows], names: tuple[str, ...], min_detail: float, smoothing: float
) -> dict[str, object]:
    """Return errors and coverage, of all frames and by ranges of the truth."""
    rows = []
    for frame in frames:
        estimated = estimate(frame, names, min_detail, smoothing)
        if estimated is not None and not np.isnan(frame.truth):
            rows.append((frame.truth, frame.area_fraction, *estimated))
    table = np.array(rows)
    ranges = {
        "all": (0.0, 1.0),
        "0": (0.0, 0.001),
        "0–10 %": (0.001, 0.1),
        "10–25 %": (0.1, 0.25),
        "25–50 %": (0.25, 1),
    }
    result: dict[str, object] = {"n_frames": len(rows), "n_without_crystals": len(frames) - len(rows)}
    for name, (low, high) in ranges.items():
        chosen = table[(table[:, 0] >= low) & (table[:, 0] <= high)]
        if len(chosen):
            result[name] = summarize(chosen)
    return result


def summarize(table: Floats) -> dict[str, float]:
    """Return error, coverage and width of rows (truth, area, fraction, low, high)."""
    truth, area, fraction, low, high = table.T
    return {
        "n": len(table),
        "mean_absolute_error": round(float(np.abs(fraction - truth).mean()), 4),
        "bias": round(float((fraction - truth).mean()), 4),
        "coverage": round(float(((low <= truth) & (truth <= high)).mean()), 4),
        "mean_width": round(float((high - low).mean()), 4),
        "mean_absolute_error_area": round(float(np.abs(fraction - area).mean()), 4),
        "coverage_area": round(float(((low <= area) & (area <= high)).mean()), 4),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="none: the bundled model")
    parser.add_argument("--frames", type=int, default=220)
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first frame: to go on in pieces")
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
        frames = collect(analyzer, range(options.first, options.first + options.frames), options.seed)
        if options.cache:
            save(options.cache[0], frames)
    result = measure(frames, bundle.labels.names, TileConfig().min_detail, find_smoothing(bundle.metadata))
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
