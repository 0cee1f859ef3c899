"""Which distance detects OOD images: kNN, ViM and Mahalanobis on the net's last and middle stages.

    .venv/bin/python benchmarks/ood_methods.py [--train 500] [--held 200]

The net is frozen as it came from ImageNet, and, for its last map, also with its last tenth fine-tuned on
the synthetic crystals. Known images are synthetic crystals. Unknown ones are scikit-image's and
scikit-learn's sample photographs and textures and rendered patterns: nothing that a model is
tested on later. Needs scikit-image and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from sklearn.covariance import LedoitWolf

from georgia.backbones import build_backbone, find_backbone
from georgia.export.onnx_file import export_onnx
from georgia.images.decode import read_image
from georgia.images.preprocess import PreprocessSpec
from georgia.labels import Labels
from georgia.model.engines import OnnxRuntimeEngine
from georgia.synthetic import render_crop
from georgia.uncertainty.fit_ood import Measured, fit_ood_detector
from georgia.uncertainty.ood import LIGHT, N_LIGHT, count_scales

Table = np.ndarray
PHOTOS = (
    *(
        "coffee.png",
        "camera.png",
        "astronaut.png",
        "color.png",
        "logo.png",
        "motorcycle_left.png",
        "text.png",
    ),
    *("hubble_deep_field.jpg", "page.png", "moon.png", "retina.jpg", "ihc.png", "rocket.jpg", "horse.png"),
    *("coins.png", "clock_motion.png", "chelsea.png", "cell.png", "microaneurysms.png"),
)
LAST = "top_activation"


def cut(image: Table, count: int, rng: np.random.Generator) -> list[Table]:
    """Return square patches of 120–320 px."""
    patches = []
    for _ in range(count):
        side = int(min(rng.integers(120, 320), min(image.shape[:2])))
        top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
        patches.append(image[top : top + side, left : left + side])
    return patches


def as_rgb(grey: Table) -> Table:
    """Return a grey image (H, W) as (H, W, 3), uint8."""
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def render_pattern(number: int, rng: np.random.Generator) -> Table:
    """Return noise, a gradient, stripes or a checkerboard."""
    shape = tuple(int(v) for v in rng.integers(120, 220, 2))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    if number % 4 == 0:
        return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    if number % 4 == 1:
        angle = rng.uniform(0, 6.3)
        slope = np.cos(angle) * columns / shape[1] + np.sin(angle) * rows / shape[0]
        return as_rgb((slope - slope.min()) / np.ptp(slope) * 255)
    if number % 4 == 2:
        phase = (columns * np.cos(number) + rows * np.sin(number)) / rng.uniform(1.5, 12)
        return as_rgb(127 + 100 * np.sin(phase))
    side = int(rng.integers(4, 24))
    return as_rgb(((rows // side + columns // side) % 2) * 200 + 20)


def render_text(rng: np.random.Generator) -> Table:
    """Return a page of random letters."""
    page = Image.new("L", (int(rng.integers(120, 260)),) * 2, int(rng.integers(180, 256)))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=int(rng.integers(9, 40)))
    for top in range(0, page.size[1], int(rng.integers(12, 45))):
        line = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz    "), 40))
        pen.text((int(rng.integers(-20, 20)), top), line, fill=int(rng.integers(0, 100)), font=font)
    return as_rgb(np.asarray(page))


def gather_unknown() -> dict[str, list[Table]]:
    """Return the unknown images by kind."""
    import skimage.data
    from sklearn.datasets import load_digits, load_sample_images

    rng = np.random.default_rng(0)
    folder = Path(skimage.data.__file__).parent
    photos = [read_image(folder / name) for name in PHOTOS] + list(load_sample_images().images)
    photos += [patch for photo in photos for patch in cut(photo, 4, rng)]
    textures = [read_image(folder / name) for name in ("brick.png", "grass.png", "gravel.png")]
    digits = [Image.fromarray((digit * 15.9).astype(np.uint8)) for digit in load_digits().images[:60]]
    blobs = [
        skimage.data.binary_blobs(
            200, rng.uniform(0.03, 0.2), volume_fraction=rng.uniform(0.2, 0.7), rng=number
        )
        for number in range(40)
    ]
    return {
        "photographs": photos,
        "the same, grey": [as_rgb(np.asarray(Image.fromarray(photo).convert("L"))) for photo in photos],
        "textures": [patch for texture in textures for patch in cut(texture, 25, rng)],
        "digits": [
            as_rgb(np.asarray(image.resize((160, 160), Image.Resampling.BICUBIC))) for image in digits
        ],
        "rendered patterns": [render_pattern(number, rng) for number in range(60)],
        "text": [render_text(rng) for _ in range(40)],
        "blobs": [
            as_rgb(
                gaussian_filter(blob.astype(float), rng.uniform(0.5, 2)) * 120 + rng.normal(30, 5, blob.shape)
            )
            for blob in blobs
        ],
    }


def fit_methods(train: Table, held: Table, widths: dict[str, int]) -> dict[str, Callable[[Table], Table]]:
    """Return each method's score as a function of image features (N, D)."""
    ends = np.cumsum(list(widths.values()))
    places = {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}
    last = np.r_[places[LAST]]

    def distance(columns: Table, parts: dict[str, int]) -> Callable[[Table], Table]:
        model = fit_ood_detector(Measured(train[:, columns]), Measured(held[:, columns]), parts)
        if model is None:
            raise SystemExit("more images are needed")
        return lambda table: model.score(table[:, columns])

    def scaled(columns: Table) -> Callable[[Table], Table]:
        mean, spread = train[:, columns].mean(axis=0), train[:, columns].std(axis=0) + 1e-6
        return lambda table: (table[:, columns] - mean) / spread

    def knn(columns: Table, n: int = 5) -> Callable[[Table], Table]:
        scale = scaled(columns)

        def unit(table: Table) -> Table:
            rows = scale(table)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        known = unit(train)
        return lambda table: 2 - 2 * np.sort(unit(table) @ known.T, axis=1)[:, -n]

    def vim(columns: Table, n_kept: int = 200) -> Callable[[Table], Table]:
        scale = scaled(columns)
        rest = np.linalg.svd(scale(train), full_matrices=False)[2][n_kept:].T
        return lambda table: np.linalg.norm(scale(table) @ rest, axis=1)

    def relative(columns: Table) -> Callable[[Table], Table]:
        # Ren et al. 2021, arXiv 2106.09022: distance to the nearest class less that to all of them together.
        scale = scaled(columns)
        known = scale(train)
        classes = np.split(known, 2)
        means = [rows.mean(axis=0) for rows in classes]
        within = np.concatenate([rows - mean for rows, mean in zip(classes, means, strict=True)])
        inner, outer = (np.linalg.inv(LedoitWolf().fit(rows).covariance_) for rows in (within, known))

        def score(table: Table) -> Table:
            rows = scale(table)
            own = [np.einsum("ij,jk,ik->i", rows - mean, inner, rows - mean) for mean in means]
            return np.min(own, axis=0) - np.einsum("ij,jk,ik->i", rows, outer, rows)

        return score

    of_last = {
        "kNN, last map, normalised": knn(last),
        "ViM residual, last map": vim(last),
        "Mahalanobis, last map": distance(last, {LAST: len(last)}),
        "relative Mahalanobis, last map": relative(last),
    }
    if list(widths) == [LAST]:
        return {f"{name}, fine-tuned": method for name, method in of_last.items()}
    middle = np.r_[tuple(places[name] for name in widths if name not in (LIGHT, LAST))]
    chosen = {name: width for name, width in widths.items() if name != LAST}
    return {
        **of_last,
        "kNN, middle stages, normalised": knn(middle),
        "ViM residual, middle stages": vim(middle),
        "Mahalanobis, image statistics": distance(np.r_[places[LIGHT]], {LIGHT: widths[LIGHT]}),
        "Mahalanobis, middle stages": distance(middle, {"middle": len(middle)}),
        "mean of the distances": distance(np.arange(sum(chosen.values())), chosen),
    }


def main() -> None:
    """Print one JSON object: fractions accepted at 95 % and 99 % true acceptance, by method and kind."""
    import keras

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=int, default=500, help="synthetic crops a class")
    parser.add_argument("--held", type=int, default=200, help="synthetic crops a class")
    options = parser.parse_args()
    backbone = build_backbone("efficientnet-lite0")
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.model.output)
    model = keras.Model(backbone.model.input, keras.layers.Dense(2, activation="softmax")(pooled))
    layers = [*find_backbone("efficientnet-lite0").levels, LAST]
    widths = {LIGHT: N_LIGHT + count_scales(backbone.preprocess.size_px)}
    widths |= {name: int(backbone.model.get_layer(name).output.shape[-1]) for name in layers}
    # Half of the training crops is CEX, then comes PG.
    train, held = render_known(options.train, 0), render_known(options.held, 500_000)
    unknown = gather_unknown()
    result: dict[str, Any] = {}
    for tuned in (False, True):
        if tuned:
            fine_tune(model, np.stack([backbone.preprocess.apply(image) for image in train]))
            layers, widths = [LAST], {LAST: widths[LAST]}
        engine = open_probe(model, backbone.preprocess, layers)

        def measure(
            images: list[Table], engine: OnnxRuntimeEngine = engine, n: int = sum(widths.values())
        ) -> Table:
            parts = [engine.run(images[at : at + 32])["picture_features"] for at in range(0, len(images), 32)]
            return np.concatenate(parts).astype(np.float64)[:, -n:]

        known, fresh = measure(train), measure(held)
        features = {kind: measure(images) for kind, images in unknown.items()}
        for name, score in fit_methods(known, fresh, widths).items():
            limits = np.quantile(score(fresh), [0.95, 0.99])
            result[name] = {
                kind: [round(float((score(table) <= limit).mean()), 3) for limit in limits]
                for kind, table in features.items()
            }
    print(json.dumps(result, indent=1))


def render_known(count: int, first: int) -> list[Table]:
    """Return synthetic crops, first all of CEX."""
    return [render_crop(name, first + i).image for name in ("CEX", "PG") for i in range(count)]


def fine_tune(model: Any, inputs: Table, epochs: int = 3) -> None:
    """Train the head and the last tenth of the net (N, H, W, 3) as the study does; norms stay as they are."""
    import keras

    for place, layer in enumerate(model.layers):
        late = place >= 0.9 * len(model.layers)
        layer.trainable = late and not isinstance(layer, keras.layers.BatchNormalization)
    targets = np.repeat([0, 1], len(inputs) // 2)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(inputs, targets, batch_size=32, epochs=epochs, verbose=0)
    print("fine-tuned, training accuracy:", history.history["accuracy"][-1], file=sys.stderr)


def open_probe(model: Any, preprocess: PreprocessSpec, layers: list[str]) -> OnnxRuntimeEngine:
    """Return an engine that gives the means of these layers as ``picture_features``."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.onnx"
        export_onnx(model, preprocess, Labels(("CEX", "PG")), probe, {}, measured_layers=layers)
        return OnnxRuntimeEngine(probe)


if __name__ == "__main__":
    main()
