"""False alarms and delay to detection of each chart, against a plain threshold, on simulated batches.

A frame's observed fraction is sampled as the monitor sees it: the slurry's fraction varies from frame to
frame (beta-binomial, ``RHO``), and so many windows that do not overlap are counted. Each batch has its own
in-control period, so limits carry the uncertainty of a real start. The plain threshold is placed where it
gives no more false alarms than the EWMA: the best that it can be, and not possible in a plant.

    python benchmarks/alarms.py --batches 400 --out alarms.json
    python benchmarks/alarms.py --batches 400 --effective 29    # with half of the windows, in turns
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georgia.monitor.batch_tracker import AlarmState, step_alarm
from georgia.monitor.chart import start_charts, update_charts
from georgia.monitor.records import AlarmAction
from georgia.monitor.settings import ChartConfig, ChartName

N_EFFECTIVE = 35
# Correlation between windows of one frame: how far the slurry's fraction varies from frame to frame.
RHO = 0.02
START = 0.03
BASELINE = 30
LENGTH = 1000
MOST_DELAY = 300
# Frames in control between the period and the change.
QUIET = 50
Floats = npt.NDArray[np.float64]


def sample_fractions(rng: np.random.Generator, truth: Floats, n: int = N_EFFECTIVE) -> Floats:
    """Return observed fractions of frames of ``n`` windows whose mean fractions are given."""
    weight = 1 / RHO - 1
    mean = np.clip(truth, 1e-6, 1 - 1e-6)
    fractions = rng.beta(mean * weight, (1 - mean) * weight)
    return rng.binomial(n, fractions) / n


def chart_alarms(config: ChartConfig, n: int = N_EFFECTIVE) -> Callable[[Floats], list[int]]:
    """Return a function from a batch's fractions to the frames that raise an alarm, from the period's end."""

    def find(fractions: Floats) -> list[int]:
        charts, alarm, raised = start_charts(config), AlarmState(), []
        for index, fraction in enumerate(fractions.tolist()):
            charts, point = update_charts(charts, fraction, n, config)
            alarm, change = step_alarm(alarm, point.over, config)
            if change == AlarmAction.RAISED:
                raised.append(index - BASELINE)
        return raised

    return find


def threshold_alarms(limit: float, config: ChartConfig) -> Callable[[Floats], list[int]]:
    """Return the same for a plain limit on the frame's own fraction."""

    def find(fractions: Floats) -> list[int]:
        alarm, raised = AlarmState(), []
        for index, fraction in enumerate(fractions.tolist()):
            alarm, change = step_alarm(alarm, fraction / limit, config)
            if change == AlarmAction.RAISED and index >= BASELINE:
                raised.append(index - BASELINE)
        return raised

    return find


def false_alarms(
    find: Callable[[Floats], list[int]], n_batches: int, seed: int, n: int = N_EFFECTIVE
) -> float:
    """Return false alarms per 1,000 frames of batches that stay in control."""
    total = 0
    for batch in range(n_batches):
        rng = np.random.default_rng([seed, batch])
        total += len(find(sample_fractions(rng, np.full(BASELINE + LENGTH, START), n)))
    return 1000 * total / (n_batches * LENGTH)


def delays(
    find: Callable[[Floats], list[int]],
    level: float,
    rise: float,
    n_batches: int,
    seed: int,
    n: int = N_EFFECTIVE,
) -> dict[str, float]:
    """Return frames from the change to the alarm: median, 95th percentile, and the fraction never found.

    Batches with a false alarm before the change are left out, as is usual; ``n`` counts the others.
    """
    found = []
    for batch in range(n_batches):
        rng = np.random.default_rng([seed, batch])
        ramp = START + rise * np.arange(1, MOST_DELAY + 1) if rise else np.full(MOST_DELAY, level)
        truth = np.concatenate([np.full(BASELINE + QUIET, START), np.minimum(ramp, level)])
        raised = find(sample_fractions(rng, truth, n))
        if not raised or raised[0] >= QUIET:
            found.append(raised[0] - QUIET + 1 if raised else np.inf)
    median, high = np.quantile(found, [0.5, 0.95], method="higher")
    as_number = [float(value) if np.isfinite(value) else float("nan") for value in (median, high)]
    missed = round(float(np.mean(np.isinf(found))), 3)
    return {"median": as_number[0], "p95": as_number[1], "missed": missed, "n": len(found)}


def match_threshold(wanted: float, config: ChartConfig, n_batches: int, seed: int, n: int) -> float:
    """Return the plain limit with as many false alarms as wanted, or the nearest that has fewer."""
    for count in range(1, n):
        limit = (count - 0.5) / n
        if false_alarms(threshold_alarms(limit, config), n_batches, seed, n) <= wanted:
            return limit
    return 1.0


def main() -> None:
    """Measure and print a table as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--effective", type=int, default=N_EFFECTIVE, help="windows that a frame is worth")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    n = options.effective
    base = ChartConfig(baseline_frames=BASELINE)
    detectors = {str(name): chart_alarms(replace(base, chart=name), n) for name in ChartName}
    rates = {name: false_alarms(find, options.batches, options.seed, n) for name, find in detectors.items()}
    single = replace(base, raise_after=1)
    limit = match_threshold(rates["ewma"], single, options.batches, options.seed, n)
    detectors[f"plain limit {limit:.3f}"] = threshold_alarms(limit, single)
    rows = []
    for name, find in detectors.items():
        row: dict[str, object] = {"chart": name}
        row["false_alarms_per_1000"] = round(false_alarms(find, options.batches, options.seed, n), 3)
        for level in (0.06, 0.10, 0.15, 0.25):
            row[f"to {level:.0%}"] = delays(find, level, 0.0, options.batches, options.seed + 1, n)
        row["ramp 0.2 % a frame"] = delays(find, 0.5, 0.002, options.batches, options.seed + 2, n)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
