"""The source study's table on synthetic crystals, without and with planted defects; what sharing saves.

    .venv/bin/python benchmarks/study_table.py table OUT [--n 80] [--repeats 5] [--seconds 300]
    .venv/bin/python benchmarks/study_table.py sharing OUT [--n 80]

`table` goes on where it was stopped: with `--seconds` it stops itself after the run that is under way.
The letters take the recipe `georgia` on EfficientNet-Lite0 at reduced size: so twenty runs fit two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from georgia.progress import QUIET, Progress
from georgia.study import StudyConfig, plan_runs, run_study
from georgia.study.rows import StudyRow
from georgia.study.run import RunTask, run_here
from georgia.synthetic import render_dataset
from georgia.synthetic.dataset import PlantedDefects
from georgia.train import train_model

SETTINGS: dict[str, Any] = {"size_px": 64, "epochs": 8, "fractions": (0.4, 0.2, 0.4)}
# What makes the letters affordable; `fast` keeps its own backbone, which is the same.
LETTERS = {"backbone": "efficientnet-lite0"}
DEFECTS = {"plain": PlantedDefects(), "planted": PlantedDefects(cex_size_151=True, duplicates=0.5)}


class OutOfTime(Exception):
    """The time that this piece may take is over."""


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("table", "sharing"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=80, help="crops of each class")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no run after this time")
    options = parser.parse_args()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ.setdefault("GEORGIA_CACHE", str(options.out / "cache"))
    data = {name: _render(options.out, name, options.n) for name in DEFECTS}
    if options.what == "table":
        result = {name: _table(folder, options) for name, folder in data.items()}
    else:
        result = _measure_sharing(data["plain"], options.out / "sharing")
    print(json.dumps(result, indent=1))


def _render(out: Path, name: str, n: int) -> Path:
    folder = out / f"crops-{name}"
    if not folder.exists():
        render_dataset(folder, n, seed=11, defects=DEFECTS[name])
    return folder


def _table(data: Path, options: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()

    def runner(tasks: Sequence[RunTask], progress: Progress = QUIET) -> Iterable[StudyRow]:
        for row in run_here(tasks, progress):
            print(f"{data.name} {row.run_name} missed {row.test_missed}, {row.seconds:.0f} s", flush=True)
            yield row
            if time.perf_counter() - started > options.seconds and row.run_name != tasks[-1].run.name:
                raise OutOfTime

    folder = options.out / f"study-{data.name}"
    config = StudyConfig("georgia", ("A", "B", "C", "D"), options.repeats)
    try:
        run_study(data, folder, config, {**SETTINGS, **LETTERS}, runner=runner)
        config = StudyConfig("georgia", ("A", "B", "C", "D", "fast"), options.repeats)
        study = run_study(data, folder, config, {**SETTINGS, **LETTERS}, runner=runner)
    except OutOfTime:
        return {"unfinished": "give the same command again"}
    return {
        "table": (folder / "study.md").read_text(),
        "seconds_of_runs": sum(row.seconds for row in study.rows),
    }


def _measure_sharing(data: Path, out: Path) -> dict[str, float]:
    """Return wall seconds of A to D once: as a study, and as four runs with nothing in common."""
    shutil.rmtree(out, ignore_errors=True)
    config = StudyConfig("georgia", ("A", "B", "C", "D"), 1)
    changes = {**SETTINGS, **LETTERS, "f1_threshold": 0.0}
    (first, *_) = plan_runs(StudyConfig("georgia", ("A",), 1), {**changes, "epochs": 1})
    train_model(data, out / "warm", first.config)  # neither way pays for the first start
    started = time.perf_counter()
    run_study(data, out / "study", config, {**changes, "feature_cache_gb": 0.0})
    shared = time.perf_counter() - started
    started = time.perf_counter()
    for run in plan_runs(config, {**changes, "feature_cache_gb": 0.0}):
        keras.backend.clear_session()
        train_model(data, out / "alone" / run.name, run.config)
    return {"study_s": shared, "one_after_the_other_s": time.perf_counter() - started}


if __name__ == "__main__":
    main()
