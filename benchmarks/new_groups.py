"""Whether the unknown score accepts new images of every class as often as stated: four sets, class by class.

    .venv/bin/python benchmarks/new_groups.py [--data DIR] [--splits 6] [--images 400] [--only NAME]

Synthetic crystals, black-and-white silhouettes of nine shapes, the handwritten digits of scikit-learn, and
any set of class folders (``--data``). Each is split six times into 60 % training, 20 % validation and 20 %
test images; the score is fitted on frozen features (EfficientNet-Lite0) of the first two.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
from ood_methods import as_rgb, open_probe

from georgia.backbones import build_backbone, find_backbone
from georgia.catalog.read import read_catalog
from georgia.images.decode import read_image
from georgia.synthetic import render_crop
from georgia.uncertainty.fit_ood import Measured, fit_ood_detector
from georgia.uncertainty.known_views import make_known_view
from georgia.uncertainty.ood import LIGHT, N_LIGHT, count_scales

Table = np.ndarray
Set = tuple[list[Table], list[str]]
BACKBONE = "efficientnet-lite0"
RING = np.stack([np.cos(np.arange(60) * np.pi / 30), np.sin(np.arange(60) * np.pi / 30)], axis=1)
CROSS = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)]
CROSS += [(0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)]
H_SHAPE = [(-1, -1), (-0.5, -1), (-0.5, -0.2), (0.5, -0.2), (0.5, -1), (1, -1)]
H_SHAPE += [(1, 1), (0.5, 1), (0.5, 0.3), (-0.5, 0.3), (-0.5, 1), (-1, 1)]
SHAPES: dict[str, Table] = {
    "disc": RING,
    "ellipse": RING * [1, 0.5],
    "triangle": RING[::20],
    "square": RING[::15],
    "hexagon": RING[::10],
    "bar": np.array([(-1, -0.25), (1, -0.25), (1, 0.25), (-1, 0.25)]),
    "star": RING[::6] * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None],
    "cross": np.array(CROSS),
    "H": np.array(H_SHAPE),
}


def render_silhouettes(count: int) -> Set:
    """Return white shapes of any size and direction on black, 200×200 px."""
    images, names = [], []
    for number in range(count):
        rng, name = np.random.default_rng((5, number)), list(SHAPES)[number % len(SHAPES)]
        angle, middle = rng.uniform(0, 2 * np.pi), 100 + rng.integers(-12, 13, 2)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        outline = SHAPES[name] @ rotation * rng.uniform(38, 80) + middle
        image = np.zeros((200, 200), np.uint8)
        images.append(as_rgb(cv2.fillPoly(image, [outline.round().astype(np.int32)], 255)))
        names.append(name)
    return images, names


def gather(data: Sequence[Path], count: int) -> dict[str, Set]:
    """Return images and class names of each set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = [(digit * 15.9).astype(np.uint8) for digit in digits.images[:count]]
    kinds = [("CEX", "PG")[number % 2] for number in range(count)]
    sets: dict[str, Set] = {
        "crystals": ([render_crop(kind, 100_000 + n).image for n, kind in enumerate(kinds)], kinds),
        "silhouettes": render_silhouettes(count),
        "digits": (
            [as_rgb(cv2.resize(image, (160, 160), interpolation=cv2.INTER_CUBIC)) for image in images],
            [str(digit) for digit in digits.target[:count]],
        ),
    }
    for folder in data:
        records = read_catalog(folder, verify=False).records
        sets[folder.name] = (
            [read_image(record.path) for record in records],
            [record.class_name for record in records],
        )
    return sets


def reject_new(as_is: Table, views: Table, names: list[str], widths: dict[str, int], n_splits: int) -> dict:
    """Return the rejected fractions of test images: all, of each class, and of their views."""
    classes = np.unique(names, return_inverse=True)[1]
    rejected: list[Table] = []
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(names))
        train, valid, test = np.split(order, [int(0.6 * len(names)), int(0.8 * len(names))])

        def measure(rows: Table) -> Measured:
            both = np.r_[rows, rows]
            return Measured(
                np.concatenate([as_is[rows], views[rows]]), [str(row) for row in both], classes[both]
            )

        detector = fit_ood_detector(measure(train), measure(valid), widths)
        if detector is None:
            raise SystemExit("more images are needed")
        rejected.append(
            np.stack([classes[test], detector.score(as_is[test]) > 1, detector.score(views[test]) > 1])
        )
    own, plain, changed = np.concatenate(rejected, axis=1)
    return {
        "all": round(float(plain.mean()), 4),
        "views": round(float(changed.mean()), 4),
        **{name: round(float(plain[own == k].mean()), 4) for k, name in enumerate(sorted(set(names)))},
    }


def main() -> None:
    """Print one JSON object."""
    import keras

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="a set of class folders")
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--images", type=int, default=400, help="of each set but --data")
    parser.add_argument(
        "--only", action="append", default=[], help="sets by name, such as digits; repeatable"
    )
    options = parser.parse_args()
    backbone = build_backbone(BACKBONE)
    levels = list(find_backbone(BACKBONE).levels)
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.model.get_layer(levels[-1]).output)
    model = keras.Model(backbone.model.input, keras.layers.Dense(2, activation="softmax")(pooled))
    widths = {LIGHT: N_LIGHT + count_scales(backbone.preprocess.size_px)}
    widths |= {name: int(backbone.model.get_layer(name).output.shape[-1]) for name in levels}
    engine = open_probe(model, backbone.preprocess, levels)

    def run(images: list[Table]) -> Table:
        parts = [engine.run(images[at : at + 32])["picture_features"] for at in range(0, len(images), 32)]
        return np.concatenate(parts)

    result = {
        name: reject_new(
            run(images), run([make_known_view(image) for image in images]), names, widths, options.splits
        )
        for name, (images, names) in gather(options.data, options.images).items()
        if not options.only or name in options.only
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
