"""Error of a batch's fraction before and after a spot check, on synthetic frames with known truth.

A batch is some frames of one PG fraction, predicted by the bundled model in windows, empty ones left out. A
scripted person names the sampled windows by the truth: the class that covers more, "neither" where crystals
cover less than a tenth. The check is repeated with other seeds of the draw; the frames are predicted once.

    python benchmarks/spotcheck_frames.py --frames 12 --levels 0.05 0.2 --cache batch.npz
    python benchmarks/spotcheck_frames.py --frames 12 --levels 0.05 0.2 --cache batch.npz --n 60 --checks 100
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fraction import COVER_FROM, FrameWindows, collect, load, save

from georgia.model.load import load_bundled_model
from georgia.monitor.result import EMPTY_CODE
from georgia.monitor.settings import TileConfig
from georgia.monitor.tile import FrameAnalyzer
from georgia.spotcheck import Name, Population, SpotcheckConfig, draw_windows, estimate_fraction

TARGET = 1


def measure(frames: list[FrameWindows], n: int, n_checks: int, slips: float) -> dict[str, Any]:
    """Return the truth, what the net alone says, and error, width and coverage over many checks."""
    codes = np.concatenate([frame.codes for frame in frames])
    shown = (codes != EMPTY_CODE) & (np.concatenate([f.detail for f in frames]) >= TileConfig().min_detail)
    cover = np.concatenate([frame.cover for frame in frames])[shown]
    probabilities = np.concatenate([frame.probabilities for frame in frames])[shown].astype(np.float64)
    has_crystal = cover.sum(axis=1) >= COVER_FROM
    is_target = cover[:, TARGET] > cover[:, 1 - TARGET]
    truth = float(is_target[has_crystal].mean())
    named = codes[shown] >= 0
    raw = float((codes[shown][named] == TARGET).mean())
    kinds = np.where(has_crystal, np.where(is_target, Name.TARGET, Name.OTHER), Name.NEITHER)
    population = Population.from_probabilities(np.clip(probabilities[:, TARGET], 0, 1))
    errors, widths, held = [], [], 0
    swap = {Name.TARGET: Name.OTHER, Name.OTHER: Name.TARGET, Name.NEITHER: Name.NEITHER}
    for seed in range(n_checks):
        rng = np.random.default_rng(seed)
        draws = list(draw_windows(population, SpotcheckConfig(n=n, seed=seed)))
        names = [Name(kinds[draw.window]) for draw in draws]
        names = [swap[name] if rng.random() < slips else name for name in names]
        found = estimate_fraction(population, draws, names)
        errors.append(found.fraction - truth)
        widths.append(found.width)
        held += found.low <= truth <= found.high
    return {
        "n_windows": len(kinds),
        "truth": truth,
        "raw": raw,
        "raw_error": raw - truth,
        "bias": float(np.mean(errors)),
        "error": float(np.mean(np.abs(errors))),
        "width": float(np.mean(widths)),
        "coverage": held / n_checks,
    }


def main() -> int:
    """Print a table, one line a level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--seed", type=int, default=910_000)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.35, 0.5])
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--checks", type=int, default=50)
    parser.add_argument("--slips", type=float, default=0.0)
    parser.add_argument("--cache", type=Path, help="windows of earlier calls, or where to keep them: .npz")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.cache and options.cache.is_file():
        frames = load(options.cache)
    else:
        analyzer = FrameAnalyzer(load_bundled_model(), TileConfig(min_detail=0.0))
        total = options.frames * len(options.levels)
        frames = collect(analyzer, range(total), options.seed, options.levels)
        if options.cache:
            save(options.cache, frames)
    print(
        "| aimed at | windows | truth | net alone | its error | error after names | bias | width | coverage |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for level in options.levels:
        own = [frame for frame in frames if np.isclose(frame.aimed, level)]
        row = {"level": level, **measure(own, options.n, options.checks, options.slips)}
        rows.append(row)
        keys = ("truth", "raw", "raw_error", "error", "bias", "width", "coverage")
        print(f"| {level:.0%} | {row['n_windows']} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
