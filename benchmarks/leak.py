"""What a leak is worth: test F1 of a random split against a grouped one, on synthetic images with duplicates.

    .venv/bin/python benchmarks/leak.py [--crystals 20] [--files 3] [--seeds 5] [--plot docs/images/leak.png]

Every crystal comes as several files, rotated or flipped, as in the real set. The same files are split twice,
by file and by crystal, and recipe ``fast`` is trained on each. Both models are also tested on
crops of new crystals: what they are worth in truth.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.metrics import f1_score

from georgia.labels import Labels
from georgia.records import Catalog, Record
from georgia.split.make import SplitConfig, make_split
from georgia.synthetic import PlantedDefects, render_dataset
from georgia.train import recipe_config
from georgia.train.decoded import load_images
from georgia.train.loop import LoopInputs, run_loop
from georgia.train.network import build_network
from georgia.train.state import TrainState

LABELS = Labels(("CEX", "PG"))
FRACTIONS = (0.6, 0.2, 0.2)
COLOURS = {"random": "#d55e00", "grouped": "#0072b2"}


def measure_f1(network: Any, images: Any) -> float:
    """Return the macro-F1 of a model on images."""
    pixels = network.preprocess.normalize(images.images(np.arange(len(images))).astype(np.float32))
    return float(
        f1_score(images.targets, network.model.predict(pixels, verbose=0).argmax(axis=1), average="macro")
    )


def train_once(records: Sequence[Record], root: Path, new: Sequence[Record], seed: int) -> dict[str, float]:
    """Return a model's macro-F1 on its own test split and on new crystals."""
    config = recipe_config("fast", {"seed": seed})
    split = make_split(Catalog(root, LABELS, tuple(records)), SplitConfig(FRACTIONS, seed=seed))
    network = build_network(config, len(LABELS))
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            name: load_images(part, LABELS, network.preprocess, Path(folder) / f"{name}.npy")[0]
            for name, part in (
                *((name, split.subset(name)) for name in ("train", "valid", "test")),
                ("new", new),
            )
        }
        run_loop(
            config,
            LoopInputs(network, parts["train"], parts["valid"], LABELS, Path(folder)),
            TrainState("benchmark"),
        )
        return {"test": measure_f1(network, parts["test"]), "new": measure_f1(network, parts["new"])}


def run_seed(options: argparse.Namespace, seed: int, base: Path) -> dict[str, dict[str, float]]:
    """Return the macro-F1 of both splits of one synthetic set."""
    fraction = 1 - 1 / options.files
    n_per_class = options.crystals * options.files
    records = render_dataset(base / f"set{seed}", n_per_class, seed, PlantedDefects(duplicates=fraction))
    new = render_dataset(base / f"new{seed}", options.new, 10_000 + seed)
    ways = {"random": [replace(record, group="") for record in records], "grouped": records}
    return {way: train_once(ways[way], base / f"set{seed}", new, seed) for way in ways}


def draw_leak(rows: Sequence[dict[str, dict[str, float]]], path: Path) -> None:
    """Draw test F1 beside F1 on new crystals, one line a seed, for both splits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    titles = {"random": "split by file: duplicates on both sides", "grouped": "split by crystal"}
    for axes, (way, title) in zip((left, right), titles.items(), strict=True):
        for row in rows:
            values = (row[way]["test"], row[way]["new"])
            axes.plot((0, 1), values, "o-", color=COLOURS[way], alpha=0.5)
        means = [np.mean([row[way][key] for row in rows]) for key in ("test", "new")]
        axes.plot((0, 1), means, "s-", color="black", linewidth=2, label="mean")
        for place, mean in enumerate(means):
            axes.annotate(
                f"{mean:.3f}", (place, mean), textcoords="offset points", xytext=(0, 9), ha="center"
            )
        axes.set_xticks((0, 1), ("its own test split", "new crystals"))
        axes.set_xlim(-0.4, 1.4)
        axes.set_title(title, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    left.set_ylabel("macro F1")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Print one JSON object, and draw the plot on request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crystals", type=int, default=20, help="crystals of each class")
    parser.add_argument("--files", type=int, default=3, help="files of each crystal, up to 8")
    parser.add_argument("--new", type=int, default=150, help="new crystals of each class")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    started, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as base:
        for seed in range(options.seeds):
            rows.append(run_seed(options, seed, Path(base)))
            print(json.dumps(rows[-1]), flush=True)
    means = {
        way: {key: float(np.mean([row[way][key] for row in rows])) for key in ("test", "new")}
        for way in COLOURS
    }
    result = {"means": means, "seeds": rows, "seconds": time.perf_counter() - started}
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if options.plot:
        draw_leak(rows, options.plot)


if __name__ == "__main__":
    main()
