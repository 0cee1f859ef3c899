"""What a size shortcut costs, and what ``geometry`` does: two models on data whose size tells the class.

    .venv/bin/python benchmarks/size_shortcut.py [--n 200] [--set key=value …]

Training crops are rendered as the real set is: every CEX crop 151×151 px, every PG crop larger (169–211 px).
They are out of focus (Gaussian blur) and noisy, so that the size is easier to learn than the crystal.
Both models are tested on new crops of the same kind, and on the same crops with all of them cut to one size.
The robustness table of each, taken on the former, says whether it gives the shortcut away.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
from PIL import Image

from georgia.catalog.read import read_catalog
from georgia.config import parse_assignments
from georgia.evaluate.robustness import RobustnessConfig, measure_robustness
from georgia.evaluate.score import evaluate_records
from georgia.model.load import load_bundle
from georgia.synthetic import render_crop
from georgia.train import recipe_config, train_model

CUT_PX = 144
BLUR_PX, NOISE_LEVELS = 3.0, 12.0


def render(folder: Path, n_per_class: int, first: int) -> None:
    """Render crops whose size tells the class, and beside them the same ones cut to CUT_PX × CUT_PX."""
    for place, name in enumerate(("CEX", "PG")):
        for number in range(n_per_class):
            seed = np.random.SeedSequence([2026, place, first + number])
            side = np.random.default_rng(seed.spawn(1)[0]).integers(169, 212, 2)
            image = render_crop(name, seed, (151, 151) if name == "CEX" else tuple(map(int, side))).image
            image = spoil(image, seed)
            top, left = (image.shape[0] - CUT_PX) // 2, (image.shape[1] - CUT_PX) // 2
            for kind, pixels in (("whole", image), ("cut", image[top : top + CUT_PX, left : left + CUT_PX])):
                path = folder / kind / name / f"{name} ({number}).png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def spoil(image: np.ndarray, seed: np.random.SeedSequence) -> np.ndarray:
    """Return a crop (H, W, 3), uint8, out of focus and with noise."""
    rng = np.random.default_rng(seed.spawn(1)[0])
    soft = cv2.GaussianBlur(image, (0, 0), BLUR_PX).astype(np.float32)
    noisy = soft + rng.normal(0, NOISE_LEVELS, (*image.shape[:2], 1))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def main() -> None:
    """Print one JSON object: accuracy, recall and robustness of both models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    started, results = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render(root / "train", options.n, 0)
        render(root / "test", options.n, 100_000)
        for geometry in ("stretch", "auto"):
            config = recipe_config("fast", parse_assignments(options.changes), {"geometry": geometry})
            run = train_model(root / "train" / "whole", root / geometry, config)
            bundle = load_bundle(run.folder)
            row = {"input": bundle.preprocess.to_dict()}
            for kind in ("whole", "cut"):
                catalog = read_catalog(root / "test" / kind, verify=False)
                metrics = evaluate_records(bundle, catalog.records, catalog.labels).metrics
                row[kind] = {
                    "accuracy": round(metrics.accuracy, 4),
                    "accuracy_ci95": [round(value, 4) for value in metrics.accuracy_ci95],
                    "recall": {name: round(scores.recall, 4) for name, scores in metrics.per_class.items()},
                }
            records = read_catalog(root / "test" / "whole", verify=False).records
            table = measure_robustness(bundle, records, RobustnessConfig(2 * options.n))
            row["robustness"] = {
                change.name: [round(v, 4) for v in (change.accuracy.difference, *change.accuracy.interval)]
                for change in table.rows
            }
            row["marked"] = [change.name for change in table.significant]
            results[geometry] = row
            print(geometry, json.dumps(row), flush=True)
    print(json.dumps({"models": results, "seconds": round(time.perf_counter() - started, 1)}))


if __name__ == "__main__":
    main()
