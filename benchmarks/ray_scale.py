"""An archive on a two-node Ray cluster and in one process: equal predictions, pace, and a killed node.

    .venv/bin/python benchmarks/ray_scale.py OUT [--n 5000] [--model RUN] [--only PHASE …]

Nodes are raylets on this machine with one processor each. Phases that are done are kept in OUT/results.json;
the same command makes the others. Every phase is compared with the local run, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
from PIL import Image

from georgia.distributed import DistributedConfig, predict_archive
from georgia.images.listing import FoundImages
from georgia.model.bundle import Bundle
from georgia.model.load import load_bundle, load_bundled_model
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.predict.tables import write_table
from georgia.synthetic import render_dataset

N_SYNTHETIC = 100
PHASES = ("local", "local, one core", "one node", "two nodes", "two nodes, one killed")


class Pace:
    """Hears of files that are done; ``on_half`` is called once half of them are."""

    def __init__(self, n: int, on_half: Callable[[], None] | None = None) -> None:
        self.n, self.on_half, self.done = n, on_half, 0
        self.marks: list[tuple[float, int]] = []

    def start(self, stage: str, total: int | None) -> None:
        """Count files only while they are predicted."""
        self.counts = stage == "predict"

    def say(self, line: str) -> None:
        """Say nothing."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Note how many files are done, and when."""
        if not self.counts:
            return
        self.done += count
        self.marks.append((time.perf_counter(), self.done))
        if self.on_half and 2 * self.done >= self.n:
            self.on_half()
            self.on_half = None

    def steady(self) -> float:
        """Return files per second between the first and the last mark: without what starting takes."""
        (first, before), (last, after) = self.marks[0], self.marks[-1]
        return (after - before) / max(1e-9, last - first)


def main() -> None:
    """Print one JSON object: of each phase seconds, files per second and whether predictions are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--model", type=Path, help="a run folder; the bundled model without it")
    parser.add_argument("--only", nargs="*", choices=PHASES, default=list(PHASES))
    options = parser.parse_args()
    bundle = load_bundle(options.model) if options.model else load_bundled_model()
    archive = draw_archive(options.out / "archive", options.n)
    file = options.out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for phase in options.only:
        if phase not in results:
            results[phase] = measure(phase, bundle, archive, options)
            file.write_text(json.dumps(results, indent=1))
            print(phase, results[phase], flush=True)
    print(json.dumps(results, indent=1))


def draw_archive(folder: Path, n: int) -> Path:
    """Draw crops and write n files of them, no two alike in their grey levels, and one that is damaged."""
    if folder.exists():
        return folder
    work = folder.with_suffix(".new")
    records = render_dataset(folder.with_name("synthetic"), N_SYNTHETIC // 2, seed=3)
    images = [np.asarray(Image.open(record.path).convert("L"), np.int16) for record in records]
    for number in range(n):
        place = work / f"day{number // 1000}"
        place.mkdir(parents=True, exist_ok=True)
        grey = np.clip(images[number % len(images)] + number // len(images), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(place / f"frame {number}.png", compress_level=1)
    (work / "day0" / "frame 7.png").write_bytes(b"no image")
    work.rename(folder)
    return folder


def measure(phase: str, bundle: Bundle, archive: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one phase took, its pace, and whether its table is the local one."""
    table, reference = options.out / f"{PHASES.index(phase)}.parquet", options.out / "0.parquet"
    started = time.perf_counter()
    if phase.startswith("local"):
        config = PredictConfig(threads=1, workers=1) if "one core" in phase else PredictConfig()
        pace = Pace(options.n)
        predictor = Predictor(bundle, config)
        predictions = predictor.iterate(FoundImages([archive]), pace)
        write_table(table, predictions, bundle.labels, predictor.engine.name)
        found: dict[str, Any] = {}
    else:
        pace, found = run_cluster(phase, bundle, archive, options, table)
    seconds = found.pop("seconds", time.perf_counter() - started)
    rates = {"seconds": round(seconds, 2), "files_per_s": round(options.n / seconds, 2)}
    equal = table.read_bytes() == reference.read_bytes()
    return {**rates, "steady_files_per_s": round(pace.steady(), 2), "equal_to_local": equal, **found}


def run_cluster(
    phase: str, bundle: Bundle, archive: Path, options: argparse.Namespace, table: Path
) -> tuple[Pace, dict[str, Any]]:
    """Predict on a cluster made for it; the cluster's own start is not counted."""
    folder = options.out / "parts"
    shutil.rmtree(folder, ignore_errors=True)
    with make_cluster(1 if phase == "one node" else 2) as cluster:

        def kill() -> None:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

        pace = Pace(options.n, kill if "killed" in phase else None)
        shard_files = 256 if options.n < 20_000 else 0
        scale = DistributedConfig(cluster.address, shard_files=shard_files)
        result = predict_archive(bundle, [archive], str(folder), None, scale, pace)
    write_table(table, result.outcomes(), bundle.labels, result.engine)
    details = {"seconds": result.seconds, "workers": len(result.workers), "n_failed": result.n_failed}
    return pace, details


@contextmanager
def make_cluster(n_nodes: int) -> Iterator[Any]:
    """Start a head without processors and nodes of one each."""
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **size})
    for _ in range(n_nodes):
        cluster.add_node(num_cpus=1, **size)
    try:
        yield cluster
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
