"""Detected moments on synthetic batches: error, coverage of intervals, false detections.

Batches are simulated in two ways. ``--rendered``: frames are rendered, written as a probe writes them, and
go through ``georgia monitor`` into a store. Without it the columns of a frame are sampled by themselves,
hundreds of batches in minutes, from numbers of crystals. Both have the same scenarios.

    python benchmarks/moments.py --batches 300 --seed 5000 --out moments.json
    python benchmarks/moments.py --rendered --batches 14 --seed 9000 --work rendered --out rendered.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.cli import main as georgia
from georgia.monitor.batch_frames import read_batch_frames
from georgia.monitor.queries import StoreReader
from georgia.process.moments.detect import Beside, find_moments
from georgia.process.moments.frames import MomentFrames
from georgia.process.moments.result import Finding, Moment, MomentKind
from georgia.process.moments.temperature import TemperatureTrend

Floats = npt.NDArray[np.float64]

START_S = 1_790_000_000.0
# One crystal's part of a small rendered frame, and how many windows it lies in.
HEIGHT_PX, WIDTH_PX, CRYSTAL, N_TILES, N_HIT = 500, 556, 0.05, 20, 4.5
SLURRY, CLEAR, BUBBLES, DARK, FOULED = "slurry", "clear", "bubbles", "dark", "fouling"


@dataclass(frozen=True)
class Scenario:
    """One batch: what is in front of the probe at each frame (N,), and when that changed; times in s.

    ``coverage`` and ``impurity`` are those of the slurry, 0–1. ``truth`` holds the moments, None where there
    is none. ``lost`` are frames that the monitor never had.
    """

    name: str
    times_s: Floats
    coverage: Floats
    impurity: Floats
    truth: dict[str, float | None]
    temperature: tuple[Floats, Floats]
    scenes: list[str]
    lost: npt.NDArray[np.bool_]
    level: float
    begin_s: float | None = None
    grow_s: float = 0.0
    power: float = 1.0

    def find_growth(self) -> dict[str, float] | None:
        """Return when a tenth and a half of the rise of the expected column ``cover`` are done, s.

        ``rate`` is that of its middle half, 1/min. The rise is that up to the last frame, None without one.
        """
        last_s = float(self.times_s[~self.lost][-1])
        if self.begin_s is None or last_s <= self.begin_s:
            return None
        times = np.linspace(self.begin_s, last_s, 20_001)
        part = np.clip((times - self.begin_s) / self.grow_s, 0, 1) ** self.power
        cover = expect_cover(self.level * part, part)
        tenth, first, half, third = (
            float(np.interp(q * cover[-1], cover, times)) for q in (0.1, 0.25, 0.5, 0.75)
        )
        return {"tenth": tenth, "half": half, "rate": 30 * float(cover[-1]) / (third - first)}

    @property
    def temperature_at(self) -> Floats:
        """Return the true temperature at each frame, °C."""
        return np.interp(self.times_s, *self.temperature)


def make_scenario(seed: int, kind: str, n: int, disturbance: str = "", drift: float = 0.0) -> Scenario:
    """Return a batch of ``kind``: cooling, cycle, impurity, clear or slurry.

    ``drift`` is by how much the net's errors grow up to the last frame, 0–1, where there is no impurity.
    """
    rng = np.random.default_rng([seed, 17])
    step_s = float(rng.choice([5.0, 20.0, 60.0]))
    times = START_S + step_s * (np.arange(n) + rng.uniform(-0.1, 0.1, n))
    span = n * step_s
    level, power = float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.5, 2.0))
    grow_s = span * float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
    truth: dict[str, float | None] = {"first": None, "gone": None, "impurity": None}
    cover, begin = np.zeros(n), None
    if kind in ("cooling", "impurity"):
        truth["first"] = begin = START_S + span * float(rng.uniform(0.2, 0.5 if kind == "impurity" else 0.7))
        cover = level * np.clip((times - begin) / grow_s, 0, 1) ** power
    if kind == "cycle":
        truth["gone"] = gone = START_S + span * float(rng.uniform(0.2, 0.35))
        truth["first"] = begin = START_S + span * float(rng.uniform(0.6, 0.8))
        grow_s = min(grow_s, 0.15 * span)
        cover = level * np.clip((times - begin) / grow_s, 0, 1) ** power
        cover += level * np.clip((gone - times) / (0.15 * span), 0, 1) ** float(rng.uniform(0.5, 1.5))
    if kind == "slurry":
        cover = np.full(n, level)
    base = float(rng.uniform(0.0, 0.004))
    impurity = base + drift * np.linspace(0, 1, n)
    if kind == "impurity":
        truth["impurity"] = at = START_S + span * float(rng.uniform(0.65, 0.85))
        impurity = base + float(rng.uniform(0.1, 0.4)) * np.clip((times - at) / (0.15 * span), 0, 1)
    if kind == "cycle":
        knots = ([0.0, 0.4, 0.5, 1.0], [20.0, 60.0, 60.0, 5.0])
    else:
        knots = ([0.0, 0.1, 1.0], [60.0, 60.0, 5.0])
    temperature = (START_S + span * np.array(knots[0]), np.array(knots[1]))
    scenes = [CLEAR if each <= 0 else SLURRY for each in cover]
    scenario = Scenario(
        *(f"{kind}{' with ' if disturbance else ''}{disturbance}", times, cover, impurity, truth),
        *(temperature, scenes, np.zeros(n, bool), level, begin, grow_s, power),
    )
    disturb(scenario, rng, disturbance)
    return scenario


def disturb(scenario: Scenario, rng: np.random.Generator, what: str) -> None:
    """Put a disturbance into a batch, most of them across its first moment."""
    n = len(scenario.times_s)
    moment = next(
        (each for each in scenario.truth.values() if each is not None), float(scenario.times_s[n // 2])
    )
    at = int(np.searchsorted(scenario.times_s, moment))
    width = int(rng.integers(3, max(4, n // 10) + 1))
    if what == "bubbles":  # while the solution is clear
        clear = [i for i, scene in enumerate(scenario.scenes) if scene == CLEAR]
        first = int(rng.choice(clear)) if clear else 0
        for index in range(first, min(n, first + width)):
            scenario.scenes[index] = BUBBLES
    elif what in ("outage", "frozen camera"):
        first = max(2, at - int(rng.integers(0, width + 1)))
        scenario.lost[first : first + width] = True
    elif what in ("dark", "fouling"):
        first = max(2, at - int(rng.integers(0, width + 1)))
        for index in range(first, min(n, first + width)):
            scenario.scenes[index] = DARK if what == "dark" else FOULED
    elif what == "late start":
        scenario.lost[: min(n - 8, at + int(rng.integers(1, width + 1)))] = True
    elif what == "few frames":
        scenario.lost[:] = True
        scenario.lost[int(rng.integers(0, 4)) :: max(2, n // 15)] = False


def render_scenario(scenario: Scenario, folder: Path, seed: int) -> None:
    """Write the frames of a batch, each with its time, as a probe of a small field would."""
    from PIL import Image

    from georgia.synthetic import render_frame
    from georgia.synthetic.scenes import SceneKind, foul, render_scene

    folder.mkdir(parents=True, exist_ok=True)
    rng, size_px = np.random.default_rng([seed, 23]), (HEIGHT_PX, WIDTH_PX)
    for index, at_s in enumerate(scenario.times_s):
        if scenario.lost[index]:
            continue
        scene, cover = scenario.scenes[index], float(scenario.coverage[index])
        if scene in (BUBBLES, DARK) or not cover:
            kind = SceneKind(scene) if scene in (BUBBLES, DARK) else SceneKind.CLEAR
            image = render_scene(seed * 1000 + index, kind, size_px)
        else:
            # A field of few crystals holds none of them now and then.
            has_any = rng.random() >= np.exp(-cover / CRYSTAL)
            haze = cover / scenario.level
            arguments = (seed * 1000 + index, size_px, float(scenario.impurity[index]))
            image = render_frame(*arguments, cover if has_any else 0.0, haze).image
        image = foul(image) if scene == FOULED else image
        path = folder / f"frame-{index:05d}.png"
        Image.fromarray(image[:, :, 0]).save(path, compress_level=1)
        os.utime(path, (at_s, at_s))


def expect_cover(level: Floats, haze: Floats) -> Floats:
    """Return the mean that ``draw_frames`` samples the column ``cover`` around."""
    rest = 0.3 * np.maximum(haze, 1e-9)
    covered: Floats = 1 - np.exp(-level) * (1 - np.exp(-rest)) / rest
    return covered


def draw_frames(scenario: Scenario, seed: int) -> MomentFrames:
    """Return the columns that a batch's frames would have, from numbers of crystals sampled for each."""
    rng, n = np.random.default_rng([seed, 29]), len(scenario.times_s)
    hits, unknown, cover = np.zeros(n), np.zeros(n), np.zeros(n)
    fraction, status = np.full(n, np.nan), []
    # Haze and light differ from frame to frame, and what is rejected; so do the numbers of crystals.
    for index, scene in enumerate(scenario.scenes):
        level = float(scenario.coverage[index])
        if scene in (BUBBLES, DARK, FOULED):
            status.append({BUBBLES: "unknown material", DARK: "dark", FOULED: "fouled"}[scene])
            unknown[index] = N_TILES if scene == BUBBLES else 0
            continue
        n_crystals = rng.poisson(level / CRYSTAL)
        haze = level / scenario.level if scenario.level else 0.0
        touched = 1 - np.exp(-(N_HIT * n_crystals + 6 * haze * rng.gamma(0.5)) / N_TILES)
        noise = rng.beta(20, 400) if rng.random() < 0.02 else 0.0  # a speck in a clear field
        full = rng.binomial(N_TILES, min(0.98, touched + noise))
        unknown[index] = rng.binomial(full, 0.04)
        hits[index] = full - unknown[index]
        cover[index] = min(0.95, rng.gamma(8, (1 - np.exp(-level - 0.3 * haze * rng.random())) / 8))
        status.append("judged" if hits[index] >= 5 else "no crystals" if full else "clear")
        if hits[index] >= 5:
            n_own, wanted = max(1.0, hits[index] / 2.2), float(scenario.impurity[index])
            named = wanted + rng.beta(0.8, 60)  # what the net errs by
            fraction[index] = rng.beta(named * n_own * 1.5 + 1e-3, (1 - min(named, 0.99)) * n_own * 1.5)
    kept = np.flatnonzero(~scenario.lost)
    own = MomentFrames(
        *(np.arange(1, n + 1), scenario.times_s, tuple(status), hits, np.full(n, float(N_TILES))),
        *(cover, fraction, hits / 2.2),
    )
    return own.take(kept)


def read_frames(db: Path) -> MomentFrames:
    """Return the frames of the one batch of a store."""
    reader = StoreReader.open(str(db))
    try:
        return MomentFrames.of(read_batch_frames(reader, reader.batches()[0]))
    finally:
        reader.close()


WANTED = {
    "first": (MomentKind.FIRST_CRYSTALS, MomentKind.CRYSTALS_AGAIN),
    "gone": (MomentKind.CRYSTALS_GONE,),
    "impurity": (MomentKind.FIRST_IMPURITY,),
}


@dataclass
class Tally:
    """What became of the moments of one kind."""

    errors_step: list[float] = field(default_factory=list)
    errors_c: list[float] = field(default_factory=list)
    widths_step: list[float] = field(default_factory=list)
    n: int = 0
    n_held: int = 0
    n_open: int = 0
    n_held_c: int = 0
    n_c: int = 0
    n_missed: int = 0
    n_false: int = 0
    n_without: int = 0

    def add(self, scenario: Scenario, found: list[Moment], at_s: float | None) -> None:
        """Compare what was found with the truth."""
        dated = [each for each in found if each.time_s is not None and each.finding == Finding.FOUND]
        if at_s is None:
            self.n_without += 1
            self.n_false += bool(dated)
            return
        self.n += 1
        if not dated:
            is_told = any(each.finding == Finding.BEFORE and at_s <= (each.high_s or 0) for each in found)
            self.n_open += is_told
            self.n_missed += not is_told
            return
        best = min(dated, key=lambda each: abs((each.time_s or 0.0) - at_s))
        step = float(np.median(np.diff(scenario.times_s)))
        self.n_false += len(dated) - 1
        self.errors_step.append(abs((best.time_s or 0.0) - at_s) / step)
        low, high = best.low_s if best.low_s is not None else -np.inf, best.high_s or np.inf
        self.widths_step.append((high - low) / step if np.isfinite(low) else np.nan)
        self.n_held += low <= at_s <= high
        if best.temperature is not None:
            truth = float(np.interp(at_s, *scenario.temperature))
            self.errors_c.append(abs(best.temperature.value - truth))
            self.n_c += 1
            self.n_held_c += best.temperature.low <= truth <= best.temperature.high

    def show(self) -> dict[str, float | int | None]:
        """Return the numbers of a row of the table."""

        def quantile(values: list[float], q: float) -> float | None:
            known = [value for value in values if np.isfinite(value)]
            return round(float(np.quantile(known, q)), 2) if known else None

        return {
            "moments": self.n,
            "dated": len(self.errors_step),
            "told_before": self.n_open,
            "missed": self.n_missed,
            "held": self.n_held,
            "error_step_median": quantile(self.errors_step, 0.5),
            "error_step_90": quantile(self.errors_step, 0.9),
            "error_c_median": quantile(self.errors_c, 0.5),
            "error_c_90": quantile(self.errors_c, 0.9),
            "held_c": self.n_held_c,
            "with_c": self.n_c,
            "width_step_median": quantile(self.widths_step, 0.5),
            "without": self.n_without,
            "false": self.n_false,
        }


@dataclass
class GrowthTally:
    """What became of one number of growth: a time in frame steps, or the rate as a part of the true one."""

    errors: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    n: int = 0
    n_held: int = 0
    n_below: int = 0

    def add(self, truth: float, unit: float, found: tuple[float, float, float] | None) -> None:
        """Compare a value with its interval, (value, low, high), with the truth."""
        self.n += 1
        if found is None:
            return
        value, low, high = found
        self.errors.append((value - truth) / unit)
        self.widths.append((high - low) / unit)
        self.n_held += low <= truth <= high
        self.n_below += truth < low

    def show(self) -> dict[str, float | int | None]:
        """Return the numbers of a row of the table."""
        errors = np.array(self.errors)
        sizes = np.abs(errors)
        return {
            "rises": self.n,
            "told": len(errors),
            "held": self.n_held,
            "truth_below": self.n_below,
            "truth_above": len(errors) - self.n_held - self.n_below,
            "error_median": round(float(np.median(sizes)), 3) if len(errors) else None,
            "error_90": round(float(np.quantile(sizes, 0.9)), 3) if len(errors) else None,
            "bias": round(float(np.median(errors)), 3) if len(errors) else None,
            "width_median": round(float(np.median(self.widths)), 3) if len(errors) else None,
        }


def add_growth(tallies: dict[str, GrowthTally], scenario: Scenario, moments: Sequence[Moment]) -> int:
    """Compare the growth of a batch with the truth; return how many rises were told that are none."""
    truth = scenario.find_growth()
    step = float(np.median(np.diff(scenario.times_s)))
    begins = [each for each in moments if each.kind == MomentKind.GROWTH_BEGINS]
    halves = [
        each for each in moments if each.kind == MomentKind.GROWTH_HALF and each.finding == Finding.FOUND
    ]
    if truth is None:
        return len(begins)

    def choose(own: list[Moment], at_s: float) -> Moment | None:
        return min(own, key=lambda each: abs((each.time_s or 0.0) - at_s), default=None)

    for name, own in (("tenth", begins), ("half", halves)):
        best = choose(own, truth[name])
        found = None
        if best is not None:
            found = (best.time_s or 0.0, best.low_s or 0.0, best.high_s or 0.0)
        tallies.setdefault(name, GrowthTally()).add(truth[name], step, found)
    best, rate = choose(begins, truth["tenth"]), None
    if best is not None and "rate_per_min" in best.figures:
        low, high = (best.figures[f"rate_{end}"] for end in ("low", "high"))
        rate = (best.figures["rate_per_min"], low, high)
    tallies.setdefault("rate", GrowthTally()).add(truth["rate"], truth["rate"], rate)
    return max(0, len(begins) - 1)


def make_temperature(scenario: Scenario, seed: int) -> TemperatureTrend:
    """Return what a channel records: every 10 s or with a dead band of 0.5 °C."""
    times = np.arange(scenario.times_s[0] - 60, scenario.times_s[-1] + 60, 10.0)
    values = np.round(np.interp(times, *scenario.temperature), 2)
    if seed % 2:
        kept, last = [0], values[0]
        for at, value in enumerate(values):
            if abs(value - last) >= 0.5:
                kept.append(at)
                last = value
        times, values = times[kept], values[kept]
    return TemperatureTrend("T", "°C", times, values)


KINDS = ("cooling", "cycle", "impurity", "clear", "slurry")
DISTURBANCES = ("", "bubbles", "outage", "dark", "fouling", "frozen camera", "late start", "few frames")
RENDERED = (
    *(("cooling", ""), ("cooling", ""), ("cooling", "bubbles"), ("cooling", "outage"), ("cycle", "")),
    *(("cycle", ""), ("impurity", ""), ("impurity", ""), ("slurry", ""), ("clear", "bubbles")),
    *(("cooling", "fouling"), ("cooling", "dark"), ("impurity", ""), ("cooling", ""), ("cycle", "outage")),
    ("slurry", ""),
)


def main() -> None:
    """Draw batches, find their moments, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--frames", type=int, default=0, help="frames of a batch; 0: 60 to 400")
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--drift", type=float, default=0.0, help="the net's errors grow by so much, 0-1")
    parser.add_argument("--only", default="", help="batches of this kind alone, such as impurity")
    parser.add_argument("--rendered", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("rendered"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    tallies: dict[str, dict[str, Tally]] = {}
    growth: dict[str, dict[str, GrowthTally]] = {}
    n_false_growth = 0
    for number in range(min(args.batches, len(RENDERED)) if args.rendered else args.batches):
        seed = args.seed + number
        rng = np.random.default_rng([seed, 31])
        n = args.frames or int(np.exp(rng.uniform(np.log(60), np.log(400))))
        kind, disturbance = KINDS[number % 5], DISTURBANCES[(number // 5) % 8]
        if args.rendered:
            (kind, disturbance), n = RENDERED[number], 60
        if args.only and kind != args.only:
            continue
        scenario = make_scenario(seed, kind, n, disturbance, args.drift)
        if args.rendered:
            db = args.work / f"b{number}.db"
            if not db.exists():
                folder = args.work / f"b{number}"
                render_scenario(scenario, folder, seed)
                command = ["monitor", "--watch", str(folder), "--once", "--db", str(db), "--json"]
                command += ["--batch", f"B-{number}", "--set", "time_from=file"]
                with contextlib.redirect_stdout(sys.stderr):
                    georgia([*command])
            frames = read_frames(db)
        else:
            frames = draw_frames(scenario, seed)
        found = find_moments(frames, Beside(make_temperature(scenario, seed)))
        for name, kinds in WANTED.items():
            moments = [each for each in found.moments if each.kind in kinds]
            group = f"with {disturbance}" if disturbance else "nothing else"
            for row in ("all", group):
                tally = tallies.setdefault(row, {}).setdefault(name, Tally())
                tally.add(scenario, moments, scenario.truth[name])
        if not args.rendered:
            n_false_growth += add_growth(growth.setdefault("all", {}), scenario, found.moments)
            add_growth(growth.setdefault(group, {}), scenario, found.moments)
        print(number, scenario.name, n, file=sys.stderr, flush=True)
    shown: dict[str, Any] = {
        row: {name: each.show() for name, each in own.items()} for row, own in tallies.items()
    }
    shown["growth"] = {row: {name: each.show() for name, each in own.items()} for row, own in growth.items()}
    shown["growth_false"] = n_false_growth
    print(json.dumps(shown, indent=1))
    if args.out:
        args.out.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
