"""How steady a model's predictions are: in the eight symmetries, and under small changes of an image.

    python benchmarks/symmetry.py FOLDER MODEL [MODEL ...]

FOLDER holds a folder of images for each class. A row for each model: views with the correct label and images
with one label in all views (rejections count as wrong), the same where nothing is rejected, how far the
probability of the true class spreads over an image's views, the fraction of views whose label a small change
flips, and images/s of each engine on one core. A model without a symmetry of its own gets a second row: its
logits averaged here over the views, which is what training with ``symmetry=average`` ships.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from georgia.catalog.read import read_catalog
from georgia.evaluate.perturbations import add_noise, brighten, scale
from georgia.images.decode import read_image
from georgia.images.symmetry import SYMMETRIES
from georgia.model.bundle import Bundle
from georgia.model.engines import Engine, Outputs, describe_processor, open_engine
from georgia.model.load import load_bundle
from georgia.uncertainty.calibration import softmax

Image = npt.NDArray[np.uint8]
SHIFT, SCALE, LIGHT, NOISE = 0.05, 0.10, 0.20, 3.0
# Processor time that a speed is measured over: other programs disturb it less than the clock.
SPEED_S = 5.0


def shift(image: Image, right: float, down: float) -> Image:
    """Return an image moved by fractions of its sides, continued by its mirror image."""
    height, width = image.shape[:2]
    matrix = np.array([[1, 0, right * width], [0, 1, down * height]], np.float32)
    moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "shift 5 % right": partial(shift, right=SHIFT, down=0.0),
    "shift 5 % up": partial(shift, right=0.0, down=-SHIFT),
    "shift 5 % left and down": partial(shift, right=-SHIFT, down=SHIFT),
    "10 % larger": partial(scale, factor=1 + SCALE),
    "10 % smaller": partial(scale, factor=1 - SCALE),
    "20 % brighter": partial(brighten, factor=1 + LIGHT),
    "20 % darker": partial(brighten, factor=1 - LIGHT),
    "noise, sd 3": partial(add_noise, levels=NOISE),
}


def run_views(engine: Engine, images: Sequence[Image]) -> Outputs:
    """Return the outputs for all views of images: image after image, view after view."""
    views = [symmetry.apply(image) for image in images for symmetry in SYMMETRIES]
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    for start in range(0, len(views), 64):
        part = [engine.prepare(view) for view in views[start : start + 64]]
        for name, values in engine.run(part).items():
            if name in ("logits", "probabilities", "unknown_score"):
                found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def average_views(outputs: Outputs, temperature: float) -> Outputs:
    """Return what an averaging file would give: every view of an image the mean of all of them."""
    n_views, averaged = len(SYMMETRIES), {}
    for name in ("logits", "unknown_score"):
        if name in outputs:
            values = outputs[name]
            mean = values.reshape(-1, n_views, *values.shape[1:]).mean(axis=1)
            averaged[name] = np.repeat(mean, n_views, axis=0)
    averaged["probabilities"] = softmax(averaged["logits"], temperature).astype(np.float32)
    return averaged


def name_views(bundle: Bundle, outputs: Outputs) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return labels and most probable classes (n_images, n_views)."""
    shape = (-1, len(SYMMETRIES))
    labels = np.array([decision.label for decision in bundle.thresholds.decide(outputs)]).reshape(shape)
    classes = np.array(bundle.labels.names)[outputs["probabilities"].argmax(axis=1)].reshape(shape)
    return labels, classes


def describe(
    bundle: Bundle, truth: Sequence[str], plain: Outputs, changed: Mapping[str, Outputs]
) -> dict[str, Any]:
    """Return the row of one model."""
    labels, classes = name_views(bundle, plain)
    names = np.array(truth)[:, None]
    own = bundle.labels.indices(list(truth))
    p = plain["probabilities"].reshape(len(truth), len(SYMMETRIES), -1)[np.arange(len(truth)), :, own]
    return {
        "views": int(labels.size),
        "right": int((labels == names).sum()),
        "images": len(truth),
        "one_label": int((labels == labels[:, :1]).all(axis=1).sum()),
        "right_rejecting_nothing": int((classes == names).sum()),
        "one_class": int((classes == classes[:, :1]).all(axis=1).sum()),
        "spread_of_p": {"mean": float(np.ptp(p, axis=1).mean()), "largest": float(np.ptp(p, axis=1).max())},
        "flips_of_label": {
            name: float((name_views(bundle, outputs)[0] != labels).mean())
            for name, outputs in changed.items()
        },
        "flips_of_class": {
            name: float((name_views(bundle, outputs)[1] != classes).mean())
            for name, outputs in changed.items()
        },
    }


def measure_speed(bundle: Bundle, name: str, images: Sequence[Image]) -> float:
    """Return images/s of an engine on one core, preparing them included, from processor time."""
    engine = open_engine(bundle.model_path, bundle.preprocess, name, 1, "float32")
    images = list(images)[:16]
    engine.run([engine.prepare(image) for image in images])
    n_done, started = 0, time.process_time()
    while time.process_time() - started < SPEED_S:
        engine.run([engine.prepare(image) for image in images])
        n_done += len(images)
    return n_done / (time.process_time() - started)


def measure_model(model: str, folder: Path, most: int, threads: int, is_timed: bool) -> list[dict[str, Any]]:
    """Return the rows of one model."""
    bundle = load_bundle(model)
    catalog = read_catalog(folder, verify=False)
    records = [
        record
        for name in catalog.labels.names
        for record in [record for record in catalog.records if record.class_name == name][: most or None]
    ]
    images = [read_image(record.path) for record in records]
    truth = [record.class_name for record in records]
    engine = open_engine(bundle.model_path, bundle.preprocess, "openvino", threads, "float32")
    plain = run_views(engine, images)
    changed = {
        name: run_views(engine, [change(image) for image in images]) for name, change in CHANGES.items()
    }
    symmetry = bundle.preprocess.symmetry
    rows = [{"model": model, "symmetry": symmetry, **describe(bundle, truth, plain, changed)}]
    if is_timed:
        rows[0]["images_per_s"] = {
            name: measure_speed(bundle, name, images) for name in ("openvino", "onnxruntime")
        }
    if symmetry == "none":
        temperature = float((bundle.metadata.get("calibration") or {}).get("temperature", 1.0))
        averaged = {name: average_views(outputs, temperature) for name, outputs in changed.items()}
        row = describe(bundle, truth, average_views(plain, temperature), averaged)
        rows.append({"model": model, "symmetry": "averaged here", **row})
    return rows


def show_row(row: Mapping[str, Any]) -> str:
    """Return one row of the table in docs/measurements/symmetry.md."""
    flips = {kind: row[f"flips_of_{kind}"] for kind in ("label", "class")}
    means = " / ".join(f"{100 * np.mean(list(values.values())):.1f}" for values in flips.values())
    worst = max(flips["class"], key=lambda name: flips["class"][name])
    speed = row.get("images_per_s", {})
    cells = (
        f"{Path(row['model']).name}, {row['symmetry']}",
        f"{row['right']} / {row['right_rejecting_nothing']} of {row['views']}",
        f"{row['one_label']} / {row['one_class']} of {row['images']}",
        f"{row['spread_of_p']['mean']:.3f}, {row['spread_of_p']['largest']:.3f}",
        means,
        f"{100 * flips['class'][worst]:.1f} ({worst})",
        " / ".join(f"{speed[name]:.1f}" for name in speed) or "–",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table as Markdown, and all values as JSON with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--most", type=int, default=0, help="images of each class; 0: all")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [
        row
        for model in options.models
        for row in measure_model(model, options.folder, options.most, options.threads, not options.no_speed)
    ]
    print(f"{describe_processor()}; {options.folder}")
    print(
        "| model, symmetry | correct views: as shipped / rejecting nothing | one label / class | "
        "spread of p: mean, largest | flips, %: label / class | worst, % | "
        "images/s of a core: OpenVINO / ONNX Runtime |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(show_row(row))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
