"""Coverage and width of the smoothed fraction's interval, on batches of synthetic frames with known truth.

Eight batches: PG steady, rising evenly, and in one step, each frame with crystals of its own; and two with a
slow flow, in which a frame has three quarters of its crystals in common with the next. A frame holds a random
sample of the slurry's crystals, so its own fraction varies. Three truths: the slurry's fraction and the
frames' true fractions (docs/monitor.md), both smoothed as the measured ones are, and the slurry's now.

    python benchmarks/smoothed.py --frames 50 --seed 900000 --cache windows --out smoothed.json

With ``--simulate`` no frame is rendered and no net is asked: crystals of random sizes are counted, so that
there are hundreds of batches for each fraction of crystals in common.

    python benchmarks/smoothed.py --simulate 300 --frames 90

With ``--windows half`` both are done as by a monitor with that setting: a frame is looked at in every second
window, in turns. In the simulation each crystal then shows in one subset alone, which is worse than windows
that overlap.

A scene of a slow flow counts once, however many frames show it. ``--scenes`` splits the error of the scenes
of many batches, made with ``--only 6 7`` and other seeds, into that of the sample and that of the net.

    python benchmarks/smoothed.py --scenes windows-1120000 windows-1140000
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fraction import FrameWindows, estimate, load, predict, save

from georgia.model.load import load_bundle, load_bundled_model
from georgia.monitor.chart import ChartState, update_charts
from georgia.monitor.fraction import DESIGN_EFFECT, estimate_fractions, find_smoothing
from georgia.monitor.settings import ChartConfig, TileConfig, Windows
from georgia.monitor.smoothed import Pool
from georgia.monitor.tile import FrameAnalyzer
from georgia.monitor.window_subsets import WindowSubsets
from georgia.synthetic import Frame, render_frame

HEIGHT_PX, WIDTH_PX = 1000, 1112
# In a slow flow: how far the scene moves from frame to frame, px, and for how many frames it lasts.
STEP_PX, N_SHARED = 278, 10
Rows = npt.NDArray[np.float64]
# A frame is a sample of so many crystals of the slurry: rendered ones hold 25–60.
N_CRYSTALS = 40


@dataclass(frozen=True)
class Trend:
    """How PG goes in one batch: from ``start`` to ``end``, at once or evenly, after a third of the frames."""

    name: str
    start: float
    end: float
    is_step: bool = False
    is_slow: bool = False

    def aim_at(self, index: int, n: int) -> float:
        """Return the fraction that is aimed at in a frame counted from 0."""
        begun = index - n // 3
        if begun < 0 or self.start == self.end:
            return self.start
        return self.end if self.is_step else self.start + (self.end - self.start) * (begun + 1) / (n - n // 3)


TRENDS = (
    Trend("steady, 3 %", 0.03, 0.03),
    Trend("steady, 20 %", 0.2, 0.2),
    Trend("rising, 2–25 %", 0.02, 0.25),
    Trend("rising, 0–50 %", 0.0, 0.5),
    Trend("step, 3–15 %", 0.03, 0.15, is_step=True),
    Trend("step, 10–40 %", 0.1, 0.4, is_step=True),
    Trend("slow flow, 10 %", 0.1, 0.1, is_slow=True),
    Trend("slow flow, 30 %", 0.3, 0.3, is_slow=True),
)


def render_trend(trend: Trend, n: int, seed: int) -> Iterator[tuple[Frame, float]]:
    """Yield the frames of a batch, and the slurry's fraction at each."""
    rng = np.random.default_rng(seed)
    cover = float(rng.uniform(0.25, 0.5))
    for index in range(n):
        aimed = trend.aim_at(index, n)
        if not trend.is_slow:
            sampled = rng.binomial(N_CRYSTALS, aimed) / N_CRYSTALS
            yield render_frame(seed + 1 + index, pg_fraction=sampled, coverage=cover), aimed
            continue
        if index % N_SHARED == 0:
            size_px = (HEIGHT_PX, WIDTH_PX + (N_SHARED - 1) * STEP_PX)
            n_crystals = N_CRYSTALS * size_px[1] // WIDTH_PX
            sampled = rng.binomial(n_crystals, aimed) / n_crystals
            strip = render_frame(seed + 1 + index, size_px, pg_fraction=sampled, coverage=cover)
        yield _cut(strip, (index % N_SHARED) * STEP_PX, rng), aimed


def _cut(strip: Frame, left: int, rng: np.random.Generator) -> Frame:
    """Return what the camera sees of a strip, with a noise of its own."""
    columns = slice(left, left + WIDTH_PX)
    noisy = strip.image[:, columns] + np.rint(rng.normal(0, 0.7, (HEIGHT_PX, WIDTH_PX, 1)))
    image = np.ascontiguousarray(np.clip(noisy, 0, 255).astype(np.uint8))
    mask_cex, mask_pg = strip.mask_cex[:, columns], strip.mask_pg[:, columns]
    n_pg, n_cex = int(mask_pg.sum()), int(mask_cex.sum())
    return Frame(image, mask_cex, mask_pg, n_pg / max(1, n_pg + n_cex), ())


def collect(analyzer: FrameAnalyzer, trend: Trend, n: int, seed: int) -> list[FrameWindows]:
    """Render the frames of one batch and predict every window of each."""
    started = time.perf_counter()
    found = [predict(analyzer, frame, aimed) for frame, aimed in render_trend(trend, n, seed)]
    print(f"{trend.name}: {n} frames in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found


def follow(frames: list[FrameWindows], names: tuple[str, ...], smoothing: float, choice: Windows) -> Rows:
    """Smooth one batch; return rows of the smoothed fraction and its interval, the frame's, and the truths.

    The truths are the slurry's and the frames' fractions smoothed, and the slurry's now, all 0–1.
    """
    config, state, subsets = ChartConfig(), ChartState(), WindowSubsets(choice)
    truths = np.zeros(2)
    rows: list[tuple[float | None, ...]] = []
    for frame in frames:
        found = estimate(frame, names, TileConfig().min_detail, smoothing, subsets)
        if found is None or math.isnan(frame.truth):
            continue
        state, point = update_charts(state, found.fraction, found.n_effective, config, found.subset)
        # The weights of the first frames add up to 1 too.
        kept = 1 - config.ewma_lambda
        step = config.ewma_lambda / (1 - kept ** (len(rows) + 1))
        truths = step * np.array([frame.aimed, frame.truth]) + (1 - step) * truths
        limits = (point.ewma_low, point.ewma_high, found.low, found.high)
        rows.append((point.ewma, *limits, *truths.tolist(), frame.aimed))
    return np.array(rows, float)


def summarize(rows: Rows) -> dict[str, float]:
    """Return coverage, width and bias of rows as ``follow`` returns them."""
    smoothed, low, high, frame_low, frame_high, slurry, own, now = rows.T
    inside = {
        name: float(((low <= truth) & (truth <= high)).mean())
        for name, truth in (("slurry", slurry), ("frames", own), ("now", now))
    }
    numbers = {
        **{f"coverage_{name}": value for name, value in inside.items()},
        "mean_width": float((high - low).mean()),
        "mean_width_of_a_frame": float((frame_high - frame_low).mean()),
        "bias_slurry": float((smoothed - slurry).mean()),
        "bias_frames": float((smoothed - own).mean()),
    }
    return {"n": len(rows), **{name: round(value, 4) for name, value in numbers.items()}}


def split_scenes(folders: list[Path], names: tuple[str, ...], smoothing: float) -> dict[str, object]:
    """Return the errors of the scenes of slow flows: of the sample, of the net, and of both; 0–1.

    A scene's crystals are a sample of the slurry: its area has another fraction of PG. The net errs on that
    area. Each is the mean over a scene's frames; ``mean_error`` is the standard error of their mean.
    """
    rows = []
    for file in sorted(file for folder in folders for file in folder.glob("batch-[67].npz")):
        frames = load(file)
        for first in range(0, len(frames), N_SHARED):
            own = []
            for frame in frames[first : first + N_SHARED]:
                classes, _ = estimate_fractions(
                    frame.boxes, frame.codes, frame.probabilities, names, smoothing, frame.weights
                )
                shown = next((item.fraction for item in classes if item.name == "PG"), None)
                if shown is not None:
                    own.append((frame.aimed, frame.area_fraction, shown))
            rows.append(np.array(own).mean(axis=0))
    aimed, area, shown = np.array(rows).T
    result: dict[str, object] = {"scenes": len(rows)}
    for level in (None, *sorted(set(np.round(aimed, 3).tolist()))):
        chosen = np.ones(len(aimed), bool) if level is None else np.isclose(aimed, level)
        parts = {"sample": area - aimed, "net": shown - area, "both": shown - aimed}
        result["all" if level is None else f"{level:g}"] = {
            name: {
                "mean": round(float(errors[chosen].mean()), 4),
                "mean_error": round(float(errors[chosen].std(ddof=1) / math.sqrt(chosen.sum())), 4),
                "spread": round(float(errors[chosen].std(ddof=1)), 4),
            }
            for name, errors in parts.items()
        }
    return result


# How much of a frame's crystals the next one shows too.
IN_COMMON = (0.0, 0.5, 0.75, 0.9, 0.98)
# Spread of the logarithm of crystals' areas: frames of N_CRYSTALS are then worth about 20 trials, which vary.
_SIZES = 0.9


def sample_batch(aims: Rows, shared: float, rng: np.random.Generator, n_subsets: int = 1) -> Rows:
    """Return a batch's fractions, trials and, of the crystals in view, the slurry's fraction: (T, 3).

    Each crystal is replaced before each frame with a probability of 1 − ``shared``. ``aims`` (T,) are the
    slurry's fractions, 0–1. Of ``n_subsets`` each frame has one, with crystals of its own.
    """
    subsets = np.arange(N_CRYSTALS) % n_subsets
    sizes, impure = np.exp(rng.normal(0, _SIZES, N_CRYSTALS)), rng.random(N_CRYSTALS) < aims[0]
    origin, rows = np.full(N_CRYSTALS, aims[0]), []
    for at, aim in enumerate(aims):
        is_new = rng.random(N_CRYSTALS) >= (shared if at else 0.0)
        sizes = np.where(is_new, np.exp(rng.normal(0, _SIZES, N_CRYSTALS)), sizes)
        impure = np.where(is_new, rng.random(N_CRYSTALS) < aim, impure)
        origin = np.where(is_new, aim, origin)
        own = subsets == at % n_subsets
        trials = min(
            sizes[subsets == subset].sum() ** 2 / (sizes[subsets == subset] ** 2).sum()
            for subset in range(n_subsets)
        )
        rows.append((sizes[own] @ impure[own] / sizes[own].sum(), trials, origin.mean()))
    return np.array(rows)


def simulate(
    n_batches: int, n_frames: int, seed: int, n_subsets: int = 1
) -> Iterator[dict[str, float | str]]:
    """Yield coverage and width for each trend and fraction of crystals in common."""
    weight = ChartConfig().ewma_lambda
    for trend in TRENDS[:6]:
        aims = np.array([trend.aim_at(at, n_frames) for at in range(n_frames)])
        for shared in IN_COMMON:
            rng, rows = np.random.default_rng(seed), np.empty((n_batches, n_frames, 4))
            for batch in range(n_batches):
                pool, truths = Pool(), np.zeros(2)
                batch_rows = sample_batch(aims, shared, rng, n_subsets)
                for at, (fraction, trials, origin) in enumerate(batch_rows):
                    subset = at % n_subsets + 1 if n_subsets > 1 else 0
                    pool = pool.add(fraction, trials * DESIGN_EFFECT, weight, subset)
                    step = 1 / pool.weight
                    truths = step * np.array([aims[at], origin]) + (1 - step) * truths
                    rows[batch, at] = (*pool.find_interval(pool.mean, weight), *truths)
            low, high, slurry, view = np.moveaxis(rows, 2, 0)
            held = (low <= slurry) & (slurry <= high)
            numbers = {
                "coverage": held.mean(),
                "coverage_of_the_crystals_in_view": ((low <= view) & (view <= high)).mean(),
                **{f"coverage_{a}_{b}": held[:, a - 1 : b].mean() for a, b in ((1, 10), (11, 30))},
                **{f"width_{a}_{b}": (high - low)[:, a - 1 : b].mean() for a, b in ((1, 10), (11, 30))},
                "coverage_later": held[:, 30:].mean(),
                "width_later": (high - low)[:, 30:].mean(),
            }
            named = {name: round(float(value), 4) for name, value in numbers.items()}
            yield {"batch": trend.name, "in_common": shared, **named}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="none: the bundled model")
    parser.add_argument("--frames", type=int, default=50, help="of each batch")
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder for the windows of each batch")
    choices = [str(each) for each in Windows]
    parser.add_argument("--windows", choices=choices, default="all", help="which windows of each frame")
    parser.add_argument("--simulate", type=int, metavar="N", help="N batches of counted crystals, no net")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the batches: to go on in pieces")
    parser.add_argument("--scenes", type=Path, nargs="+", help="folders of --cache: errors of their scenes")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    choice = Windows(options.windows)
    if options.scenes:
        bundle = load_bundled_model() if options.model is None else load_bundle(options.model)
        found = split_scenes(options.scenes, bundle.labels.names, find_smoothing(bundle.metadata))
        print(json.dumps(found, indent=2))
        return
    if options.simulate:
        for row in simulate(options.simulate, options.frames, options.seed, choice.n_subsets):
            print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    if options.cache is None:
        parser.error("--cache is needed, or --simulate")
    bundle = load_bundled_model() if options.model is None else load_bundle(options.model)
    options.cache.mkdir(parents=True, exist_ok=True)
    batches: dict[str, list[FrameWindows]] = {}
    for number, trend in enumerate(TRENDS):
        if options.only is not None and number not in options.only:
            continue
        file = options.cache / f"batch-{number}.npz"
        if not file.is_file():
            analyzer = FrameAnalyzer(bundle, TileConfig(), threads=options.threads)
            save(file, collect(analyzer, trend, options.frames, options.seed + 1000 * number))
        batches[trend.name] = load(file)
    names, smoothing = bundle.labels.names, find_smoothing(bundle.metadata)
    rows = {name: follow(frames, names, smoothing, choice) for name, frames in batches.items()}
    result = {"all": summarize(np.concatenate(list(rows.values())))}
    result |= {name: summarize(found) for name, found in rows.items()}
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
