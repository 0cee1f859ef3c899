"""bfloat16 against float32, before and after the second look in float32: what changes, and the speed.

    .venv/bin/python benchmarks/precision.py                        # the bundled model, 2,000 synthetic crops
    .venv/bin/python benchmarks/precision.py --run RUN --data DIR   # a run of yours, on its test split
    .venv/bin/python benchmarks/precision.py --run RUN --fresh DIR  # a run of yours, on a folder of images
    .venv/bin/python benchmarks/precision.py --draw-silhouettes DIR # black-and-white images, 9 classes
    .venv/bin/python benchmarks/precision.py --way int8             # 8-bit integers in place of bfloat16
    .venv/bin/python benchmarks/precision.py --way rotations        # four of eight views
    .venv/bin/python benchmarks/precision.py --paired views rotations bfloat16   # as served, in turns

``--count`` and ``--seed`` choose how many synthetic images, and which.

The bands come from 400 other images, as in training: synthetic crops, or the run's validation split (from its
``bundle.json``). Each speed is that of one pass over prepared images, after some others, by the time of the
processor that it takes: what else a machine does changes it little.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from georgia.catalog import read_catalog
from georgia.images.decode import read_image
from georgia.model.bundle import Bundle
from georgia.model.engines import Engine, OpenVinoEngine, Outputs, describe_processor, list_capabilities
from georgia.model.load import load_bundle, load_bundled_model
from georgia.predict.precision import PrecisionTrial, PrecisionWarning, compare_precisions
from georgia.predict.rejudge import RejudgingEngine, open_served_engine
from georgia.synthetic import render_crop

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
SIDE_PX, N_CLASSES = 200, 9
FIRST_TRIAL_SEED, N_TRIAL, N_WARM = 900_000, 400, 32
Images = Sequence[np.ndarray]


def draw_silhouettes(folder: Path, count: int, seed: int) -> None:
    """Write PNG files of the values 0 and 255, a folder a class: polygons and stars with rough outlines."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = number % N_CLASSES
        n_corners, is_star = 3 + kind % 5, kind >= 5
        angles = np.arange(360) * np.pi / 180
        # A regular polygon's outline in polar coordinates; every second corner of a star is pulled in.
        outline = np.cos(np.pi / n_corners) / np.cos(angles % (2 * np.pi / n_corners) - np.pi / n_corners)
        if is_star:
            outline = 0.6 + 0.4 * np.cos(n_corners * angles)
        rough = np.convolve(np.tile(rng.normal(0, 1, 360), 3), np.hanning(31), "same")[360:720]
        outline = outline * (1 + rng.uniform(0.01, 0.05) * rough)
        rotation, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1)
        radius = rng.uniform(20, 70)
        x, y = radius * outline * np.cos(angles), radius * stretch * outline * np.sin(angles)
        points = np.stack(
            [x * np.cos(rotation) - y * np.sin(rotation), x * np.sin(rotation) + y * np.cos(rotation)], axis=1
        )
        points += SIDE_PX / 2 + rng.uniform(-15, 15, 2)
        image = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        cv2.fillPoly(image, [np.rint(points).astype(np.int32)], 255)
        place = folder / f"{'star' if is_star else 'polygon'}{n_corners}"
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number}.png"), image)


@dataclass(frozen=True)
class Engines:
    """The net in a cheaper way (bfloat16 is emulated where the processor lacks it), and in float32."""

    low: OpenVinoEngine
    full: OpenVinoEngine

    @classmethod
    def of(cls, bundle: Bundle, way: str) -> Engines:
        """Open both."""
        path, spec = bundle.model_path, bundle.preprocess
        low = OpenVinoEngine(path, spec, precision=way, is_emulated="BF16" not in list_capabilities())
        return cls(low, OpenVinoEngine(path, spec))

    @classmethod
    def of_int8(cls, bundle: Bundle, images: Images) -> Engines:
        """Quantise the net with the ranges of some images, and open both."""
        from georgia.export.int8 import quantize_model

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "int8.onnx"
            quantize_model(bundle.model_path, file, images)
            low = OpenVinoEngine(file, bundle.preprocess, precision="int8")
        return cls(low, OpenVinoEngine(bundle.model_path, bundle.preprocess))


def measure(engine: Engine, prepared: Images) -> tuple[Outputs, float]:
    """Return the outputs and the speed, images per second of one core."""
    engine.run(prepared[:N_WARM])
    started = time.process_time()
    outputs = dict(engine.run(prepared))
    return outputs, len(prepared) / (time.process_time() - started)


def compare(
    bundle: Bundle, engines: Engines, images: Images, trial: PrecisionTrial | None, trial_images: Images
) -> list[str]:
    """Return the table's rows for a model: float32, the lower precision, and that with the second look."""
    name = engines.low.precision
    if trial is None:
        full, low = (e.run([e.prepare(image) for image in trial_images]) for e in (engines.full, engines.low))
        is_emulated = name == "bfloat16" and "BF16" not in list_capabilities()
        trial = compare_precisions(full, low, bundle.thresholds, is_emulated)
    prepared = [engines.full.prepare(image) for image in images]
    served = RejudgingEngine(engines.low, engines.full, trial.bands, bundle.thresholds)
    first, rows = None, list[str]()
    for row, engine in (("float32", engines.full), (name, engines.low), (f"{name}, served", served)):
        outputs, speed = measure(engine, prepared)
        first = first or outputs
        rows.append(f"| {row} | {_describe_change(bundle, first, outputs)} | {speed:,.0f} |")
    fraction = served.n_rejudged / served.n_images
    allowed = "allowed" if trial.is_shown else f"not allowed: {trial.reason}"
    return [
        f"{len(images):,} images; computed again: {fraction:.1%}; trial on {trial.n:,}: {allowed}",
        "",
        "| precision | labels | rejections | sets | largest Δ of p, of the score | images per core and s |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def compare_paired(bundle: Bundle, images: Images, ways: list[str], n_rounds: int) -> list[str]:
    """Return the table's rows for precisions as they are served, all in turns in one process.

    Times are medians over rounds of milliseconds of processor time for an image. A way that the model does
    not show is float32, and its row says why.
    """
    engines: dict[str, Engine] = {"float32": open_served_engine(bundle, "openvino", 1, "float32")}
    reasons = dict.fromkeys(engines, "")
    for way in ways:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            engines[way] = open_served_engine(bundle, "openvino", 1, way)
        reasons[way] = "; ".join(str(each.message) for each in told if each.category is PrecisionWarning)
    prepared = {name: [engine.prepare(image) for image in images] for name, engine in engines.items()}
    outputs, spent = {}, {name: list[float]() for name in engines}
    for number in range(n_rounds + 1):
        for name in engines if number % 2 else reversed(engines):
            started = time.process_time()
            outputs[name] = dict(engines[name].run(prepared[name]))
            if number:  # the first warms up
                spent[name].append(1e3 * (time.process_time() - started) / len(images))
    rows = [
        f"| {name} | {_describe_change(bundle, outputs['float32'], outputs[name])} | "
        f"{statistics.median(spent[name]):.1f} | {min(spent[name]):.1f} | {reasons[name]} |"
        for name in engines
    ]
    return [
        "| precision | labels | rejections | sets | Δ of p, of the score | CPU ms | least | not used |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _describe_change(bundle: Bundle, full: Outputs, other: Outputs) -> str:
    before, after = bundle.thresholds.decide(full), bundle.thresholds.decide(other)
    pairs = list(zip(before, after, strict=True))
    rejections = sum((a.label == "unknown") != (b.label == "unknown") for a, b in pairs)
    labels = sum(a.label != b.label for a, b in pairs) - rejections
    sets = sum(a.set != b.set for a, b in pairs)
    changes = [
        np.abs(full[key] - other[key]).max() for key in ("probabilities", "unknown_score") if key in full
    ]
    return f"{labels} | {rejections} | {sets} | {', '.join(f'{change:.4f}' for change in changes)}"


def _read_images(args: argparse.Namespace, split: str) -> list[np.ndarray]:
    """Return the images of one split of the run; in place of its test split those of ``--fresh``."""
    if args.fresh and split == "test":
        return [read_image(record.path) for record in read_catalog(args.fresh, verify=False).records]
    with (args.run / "split.csv").open(newline="", encoding="utf-8") as stream:
        names = {row["path"] for row in csv.DictReader(stream) if row["part"] == split}
    records = read_catalog(args.data, verify=False).records
    chosen = [r.path for r in records if r.path.relative_to(args.data).as_posix() in names]
    return [read_image(path) for path in chosen][: N_TRIAL if split == "valid" else None]


def _render(first_seed: int, count: int) -> list[np.ndarray]:
    seeds = range(first_seed, first_seed + count // 2)
    return [render_crop(name, seed).image for seed in seeds for name in ("CEX", "PG")]


def main() -> None:
    """Print the table with the processor's name and flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--draw-silhouettes", type=Path)
    parser.add_argument("--fresh", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--way", choices=("bfloat16", "int8", "rotations"), default="bfloat16")
    parser.add_argument("--paired", nargs="+", metavar="WAY", help="as served, in turns with float32")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.draw_silhouettes:
        draw_silhouettes(args.draw_silhouettes, args.count, args.seed)
        return
    known = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    print(f"{describe_processor()}: {', '.join(flag for flag in FLAGS if flag in known)}\n")
    bundle = load_bundle(args.run) if args.run else load_bundled_model()
    if args.paired:
        images = _read_images(args, "test") if args.run else _render(args.seed, args.count)
        print("\n".join(compare_paired(bundle, images, args.paired, args.rounds)))
        return
    trial = None if args.way == "int8" else PrecisionTrial.from_metadata(bundle.metadata, args.way)
    if args.run:
        images, trial_images = _read_images(args, "test"), [] if trial else _read_images(args, "valid")
    else:
        images = _render(args.seed, args.count)
        trial_images = [] if trial else _render(FIRST_TRIAL_SEED, N_TRIAL)
    # The ranges come from the images of the trial, as in training.
    engines = Engines.of_int8(bundle, trial_images) if args.way == "int8" else Engines.of(bundle, args.way)
    print("\n".join(compare(bundle, engines, images, trial, trial_images)))


if __name__ == "__main__":
    main()
