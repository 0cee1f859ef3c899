"""How well a model rejects what it was not trained on: AUROC and false acceptance, kind by kind.

    .venv/bin/python benchmarks/rejection.py [--model RUN] [--known DIR] UNKNOWN_DIR …

Known images are synthetic crystals that no model here was trained on, unless --known names others; they are
scored again with more noise and other light. Synthetic fields without a crystal are always among the unknown.
Thresholds: the one in the model, and that of 95 % true acceptance on the known images themselves.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from georgia.evaluate.perturbations import add_noise, brighten
from georgia.images.decode import iter_images
from georgia.images.listing import FoundImages
from georgia.model.bundle import Bundle
from georgia.model.engines import open_engine
from georgia.model.load import load_bundle, load_bundled_model
from georgia.records import Failure
from georgia.synthetic import FIELD_KINDS, render_crop, render_empty

Scores = npt.NDArray[np.float64]
N_KNOWN, N_PER_KIND, SEED = 400, 60, 777_000
NOISE, LIGHT = (2, 4, 8), (0.8, 1.2)


def score_images(bundle: Bundle, images: list[npt.NDArray[np.uint8]]) -> Scores:
    """Return the unknown score (N,) of images."""
    engine = open_engine(bundle.model_path, bundle.preprocess)
    outputs = engine.run([engine.prepare(image) for image in images])
    return np.asarray(outputs["unknown_score"], np.float64)


def read_folder(folder: Path) -> list[npt.NDArray[np.uint8]]:
    """Return every readable image of a folder."""
    results = iter_images(list(FoundImages([folder])))
    return [result for _, result in results if not isinstance(result, Failure)]


def rejected_when_changed(bundle: Bundle, images: list[npt.NDArray[np.uint8]]) -> dict[str, float]:
    """Return the fraction that the shipped threshold rejects after each change."""
    changes = {f"noise of {levels} grey levels": partial(add_noise, levels=levels) for levels in NOISE}
    changes |= {f"light times {factor}": partial(brighten, factor=factor) for factor in LIGHT}
    scores = {
        name: score_images(bundle, [change(image) for image in images]) for name, change in changes.items()
    }
    return {name: round(float((values > 1).mean()), 3) for name, values in scores.items()}


def describe(known: Scores, unknown: Scores) -> dict[str, float]:
    """Return AUROC and the fractions of unknown images that are accepted."""
    truth = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    return {
        "n": len(unknown),
        "auroc": round(float(roc_auc_score(truth, np.r_[known, unknown])), 4),
        "accepted_at_95": round(float((unknown <= np.quantile(known, 0.95)).mean()), 4),
        "accepted_by_the_model": round(float((unknown <= 1).mean()), 4),
        "lowest_score": round(float(unknown.min()), 3),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("unknown", type=Path, nargs="*")
    parser.add_argument("--model", type=Path, help="instead of the bundled model")
    parser.add_argument("--known", type=Path, help="instead of synthetic crystals")
    parser.add_argument("--must-accept", type=Path, help="images that may not be rejected")
    options = parser.parse_args()
    bundle = load_bundle(options.model) if options.model else load_bundled_model()
    names = ("CEX", "PG")
    images = (
        read_folder(options.known)
        if options.known
        else [render_crop(names[i % 2], SEED + i).image for i in range(N_KNOWN)]
    )
    known = score_images(bundle, images)
    kinds = {folder.name: score_images(bundle, read_folder(folder)) for folder in options.unknown}
    for kind in FIELD_KINDS:
        fields = [render_empty(SEED + i, kind=kind).image for i in range(N_PER_KIND)]
        kinds[f"empty: {kind}"] = score_images(bundle, fields)
    kinds["all"] = np.concatenate(list(kinds.values()))
    result = {
        "model": bundle.name,
        "n_known": len(known),
        "known_accepted_by_the_model": round(float((known <= 1).mean()), 4),
        "known_rejected_when_changed": rejected_when_changed(bundle, images),
        "unknown": {kind: describe(known, scores) for kind, scores in kinds.items()},
    }
    if options.must_accept:
        images = read_folder(options.must_accept)
        scores = score_images(bundle, images)
        n_rejected = int((scores > 1).sum())
        result["must_accept"] = {
            "n": len(scores),
            "rejected": n_rejected,
            "highest": round(float(scores.max()), 3),
            "rejected_when_changed": rejected_when_changed(bundle, images),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
