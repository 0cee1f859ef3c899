"""Rules that might tell frames of foreign material at commissioning, each beside the one in use.

Synthetic frames of 500×560 px in sets of three: right ones under many conditions, and each kind and lighting
of ``georgia.synthetic.foreign`` as whole frames. The limits of the rules were chosen on sets of two frames of
other seeds: the range of 39 right sets, wider by 15 % (docs/measurements/monitor.md).

    python benchmarks/commissioning.py --seed 3 --out commissioning.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.covariance import LedoitWolf

from georgia.labels import UNKNOWN
from georgia.model import Bundle, load_bundled_model
from georgia.monitor.appearance import measure_appearance, measure_input
from georgia.monitor.commission import Finding, compare_input, known_of
from georgia.monitor.result import FrameInput
from georgia.monitor.settings import TileConfig
from georgia.monitor.tile import find_tile_px, measure_detail, place_windows
from georgia.monitor.visibility import View, find_view, to_grey
from georgia.predict.rejudge import open_served_engine
from georgia.synthetic import render_crop, render_foreign, render_frame
from georgia.synthetic.foreign import ForeignKind, Lighting

SIZE_PX = (500, 560)
N_FRAMES, N_CROPS = 3, 300
Rule = Callable[["FrameSet"], bool]
_BLIND = (View.DARK, View.SATURATED, View.NOISE)
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FrameWindows:
    """One frame's windows: which are not empty, and of those what the net and ``measure_appearance`` give."""

    n_windows: int
    input: FrameInput | None
    scores: Values
    certain: Values
    features: Values
    appearances: Values
    details: Values


@dataclass(frozen=True)
class FrameSet:
    """Frames that are compared together; ``name`` is a kind and a lighting, or "right"."""

    name: str
    frames: tuple[FrameWindows, ...]

    def join(self, name: str) -> Values:
        """Return one measure of all windows."""
        frames = [frame for frame in self.frames if frame.input is not None] or self.frames
        return np.concatenate([getattr(frame, name) for frame in frames])


class Measuring:
    """The bundled model, its windows, and the features of 300 crops that it has not learned from."""

    def __init__(self) -> None:
        self.bundle: Bundle = load_bundled_model()
        self.known = known_of(self.bundle)
        self._engine = open_served_engine(self.bundle, "auto", 1)
        self._tile_px, self._config = find_tile_px(self.bundle), TileConfig()
        crops = [render_crop(("CEX", "PG")[k % 2], 5_500_000 + k).image for k in range(N_CROPS)]
        features = np.concatenate([self._run(crops[k : k + 20])["features"] for k in range(0, N_CROPS, 20)])
        self.middle, self.precision = features.mean(axis=0), LedoitWolf().fit(features).precision_

    def _run(self, windows: list[npt.NDArray[np.uint8]]) -> Mapping[str, Any]:
        return self._engine.run([self._engine.prepare(window) for window in windows])

    def measure(self, image: npt.NDArray[np.uint8]) -> FrameWindows:
        """Return what a frame's windows bring, as the monitor cuts them."""
        boxes = place_windows(image.shape[0], image.shape[1], self._tile_px, self._config.overlap)
        details = measure_detail(image, boxes)
        is_full = details >= self._config.min_detail
        if find_view(to_grey(image)) in _BLIND or not is_full.any():
            none = np.zeros(0)
            return FrameWindows(len(boxes), None, none, none, np.zeros((0, 1)), np.zeros((0, 4)), none)
        windows = [np.ascontiguousarray(image[t : t + h, x : x + w]) for x, t, w, h in boxes[is_full]]
        outputs = self._run(windows)
        n_unknown = sum(decision.label == UNKNOWN for decision in self.bundle.thresholds.decide(outputs))
        scores = np.asarray(outputs["unknown_score"], np.float64)
        return FrameWindows(
            len(boxes),
            measure_input(image, boxes[is_full], n_unknown, scores),
            scores,
            np.asarray(outputs["probabilities"]).max(axis=1),
            np.asarray(outputs["features"], np.float64),
            np.array([measure_appearance(window) for window in windows]),
            details[is_full],
        )


def render_right(seed: int, number: int, frame: int) -> npt.NDArray[np.uint8]:
    """Return a frame of the classes under condition ``number``: noise, light, blur, scale, density and PG."""
    rng = np.random.default_rng([seed, number])
    noise, light = rng.choice([0, 1, 2, 3, 4]), rng.uniform(0.8, 1.2)
    pg, blur, scale = rng.choice([0, 0.05, 0.15, 0.3]), rng.choice([0, 0, 0, 0.5]), rng.uniform(0.9, 1.15)
    cover = (0.2, 0.3, 0.45, 0.6, 0.75, 0.88)[number % 6]
    own_px = (round(SIZE_PX[0] / scale), round(SIZE_PX[1] / scale))
    own = 1_000_000 * seed + 100 * number + frame
    grey = render_frame(own, own_px, pg_fraction=pg, coverage=cover).image[..., 0]
    levels = cv2.resize(grey, SIZE_PX[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    levels = cv2.GaussianBlur(levels, (0, 0), blur) if blur else levels
    levels = levels * light + np.random.default_rng([seed, number, frame]).normal(0, 1, levels.shape) * noise
    return np.repeat(np.clip(np.rint(levels), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def iter_sets(measuring: Measuring, seed: int, n_right: int) -> Iterator[FrameSet]:
    """Yield sets of three frames: right ones, then each foreign kind in each lighting."""
    for number in range(n_right):
        frames = [measuring.measure(render_right(seed, number, frame)) for frame in range(N_FRAMES)]
        yield FrameSet("right", tuple(frames))
    for number, (kind, light) in enumerate((kind, light) for kind in ForeignKind for light in Lighting):
        seeds = [1_000_000 * seed + 500_000 + 100 * number + frame for frame in range(N_FRAMES)]
        images = [render_foreign(own, kind, SIZE_PX, light).image for own in seeds]
        yield FrameSet(f"{kind}, {light}", tuple(map(measuring.measure, images)))


def measure_distribution(scores: Values, table: Mapping[str, float]) -> float:
    """Return the distance of Kolmogorov and Smirnov of scores from the validation images' quantiles, 0–1."""
    places = sorted((float(q), value) for q, value in table.items())
    ranked = np.sort(scores)
    known = np.interp(ranked, [0, *(v for _, v in places), 1], [0, *(q for q, _ in places), 1])
    n = len(ranked)
    return float(max((np.arange(1, n + 1) / n - known).max(), (known - np.arange(n) / n).max()))


def measure_outside(found: FrameSet, table: Mapping[str, Mapping[str, float]]) -> float:
    """Return the fraction of windows whose light, detail or structure no validation image in 50 has."""
    columns = zip(found.join("appearances").T[[0, 2, 3]], ("grey", "detail", "structure"), strict=True)
    outside = [(x < table[name]["0.01"]) | (x > table[name]["0.99"]) for x, name in columns]
    return float(np.any(outside, axis=0).mean())


def make_rules(measuring: Measuring) -> dict[str, Rule]:
    """Return each rule: whether it calls a set with windows bad."""
    known, summary = measuring.known, measuring.known["validation"]

    def is_bad_now(found: FrameSet) -> bool:
        inputs = [frame.input for frame in found.frames if frame.input is not None]
        return compare_input(inputs, known).verdict == Finding.BAD

    def spread(values: Values) -> float:
        low, high = np.quantile(values, [0.1, 0.9])
        return float(high - low)

    def unsure(found: FrameSet) -> float:
        is_accepted = found.join("scores") <= 1
        return float((found.join("certain")[is_accepted] < 0.9).mean()) if is_accepted.any() else 1.0

    def distance(found: FrameSet) -> float:
        mean = found.join("features").mean(axis=0) - measuring.middle
        return float(mean @ measuring.precision @ mean)

    def empty(found: FrameSet) -> float:
        return 1 - len(found.join("scores")) / sum(frame.n_windows for frame in found.frames)

    return {
        "in use": is_bad_now,
        "rejected fraction times spread of the score": lambda s: (
            (s.join("scores") > 1).mean() * spread(s.join("scores")) > 0.115
        ),
        "spread of the score, 10th to 90th percentile": lambda s: spread(s.join("scores")) > 0.62,
        "score against the validation images' (KS)": lambda s: (
            measure_distribution(s.join("scores"), summary["score"]) > 0.85
        ),
        "accepted windows with a probability below 0.9": lambda s: unsure(s) > 0.46,
        "median probability": lambda s: bool(np.median(s.join("certain")) < 0.91),
        "empty windows": lambda s: empty(s) > 0.58,
        "windows outside in light, detail or structure": lambda s: measure_outside(s, summary) > 0.8,
        "structure alike or unlike in all windows": lambda s: (
            not 0.12 < s.join("appearances")[:, 3].std() < 0.33
        ),
        "detail of the windows, median": lambda s: bool(np.median(s.join("details")) > 11.2),
        "mean of the features, Mahalanobis distance": lambda s: distance(s) > 311,
    }


def main() -> None:
    """Render the sets, apply every rule, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--right", type=int, default=24)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    measuring = Measuring()
    sets = list(iter_sets(measuring, options.seed, options.right))
    alone = [FrameSet(found.name, (frame,)) for found in sets for frame in found.frames]
    rules = make_rules(measuring)
    tables = {"sets of three frames": compare(rules, sets), "each frame alone": compare(rules, alone)}
    if options.out is not None:
        options.out.write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")


def compare(rules: Mapping[str, Rule], sets: Sequence[FrameSet]) -> dict[str, Any]:
    """Print and return for each rule the right sets that it calls bad, and the foreign ones."""
    shown = [found for found in sets if len(found.join("scores"))]
    right = [found for found in shown if found.name == "right"]
    foreign = [found for found in shown if found.name != "right"]
    missed = [found for found in foreign if not rules["in use"](found)]
    rows: dict[str, Any] = {}
    print(f"{len(right)} right, {len(foreign)} foreign with a window, {len(sets) - len(shown)} without")
    print("missed by the rule in use:", [found.name for found in missed])
    for name, rule in rules.items():
        n_right, n_foreign, n_missed = (int(sum(map(rule, some))) for some in (right, foreign, missed))
        rows[name] = {"right": n_right, "foreign": n_foreign, "of_missed": n_missed}
        print(f"{name}: {n_right} right, {n_foreign} foreign, {n_missed} of those that are missed")
    return rows


if __name__ == "__main__":
    main()
