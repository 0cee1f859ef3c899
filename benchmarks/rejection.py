"""How well a model rejects what it was not trained on: AUROC and false acceptance, kind by kind.

    .venv/bin/python benchmarks/rejection.py [--model RUN] [--known DIR] UNKNOWN_DIR …

Known images are synthetic crystals that no model here was trained on, unless --known names others; they are
scored again with more noise, other light, another size and rotated. Synthetic fields without a crystal are
always among the unknown; foreign material is listed kind by kind and light by light.
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

from georgia.evaluate.perturbations import add_noise, brighten, scale
from georgia.images.decode import iter_images
from georgia.images.listing import FoundImages
from georgia.images.symmetry import Symmetry
from georgia.model.bundle import Bundle
from georgia.model.engines import open_engine
from georgia.model.load import load_bundle, load_bundled_model
from georgia.records import Failure
from georgia.synthetic import (
    CRYSTAL_KINDS,
    FIELD_KINDS,
    FITTED_KINDS,
    ForeignKind,
    Lighting,
    render_crop,
    render_empty,
    render_foreign,
)

Scores = npt.NDArray[np.float64]
N_KNOWN, N_PER_KIND, SEED = 400, 60, 777_000
NOISE, LIGHT, SIZE = (2, 4, 8), (0.8, 1.2), (0.8, 1.2)


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
    changes |= {f"size times {factor}": partial(scale, factor=factor) for factor in SIZE}
    changes["rotated by 90°"] = Symmetry.ROTATE_90.apply
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


def render_kind(kind: ForeignKind, lighting: Lighting, count: int) -> list[npt.NDArray[np.uint8]]:
    """Return images of one kind of foreign material in one light."""
    key = [SEED, list(ForeignKind).index(kind), list(Lighting).index(lighting)]
    seeds = np.random.SeedSequence(key).spawn(count)
    return [render_foreign(seed, kind, lighting=lighting).image for seed in seeds]


def reject_foreign(bundle: Bundle, count: int) -> dict[str, dict[str, float]]:
    """Return the rejected fraction of each kind of foreign material, by light, and of halves of the kinds."""
    rejected = {
        kind: {
            str(light): float((score_images(bundle, render_kind(kind, light, count)) > 1).mean())
            for light in Lighting
        }
        for kind in ForeignKind
    }
    groups = {
        "fitted kinds": FITTED_KINDS,
        "tested kinds": [kind for kind in ForeignKind if kind not in FITTED_KINDS],
        "tested crystals": [kind for kind in CRYSTAL_KINDS if kind not in FITTED_KINDS],
    }
    means = {
        name: {str(light): float(np.mean([rejected[kind][light] for kind in kinds])) for light in Lighting}
        for name, kinds in groups.items()
    }
    rows = {**{str(kind): row for kind, row in rejected.items()}, **means}
    return {name: {light: round(value, 4) for light, value in row.items()} for name, row in rows.items()}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("unknown", type=Path, nargs="*")
    parser.add_argument("--model", type=Path, help="instead of the bundled model")
    parser.add_argument("--known", type=Path, help="instead of synthetic crystals")
    parser.add_argument("--foreign", type=int, default=30, help="images of each kind in each light; 0: none")
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
    if options.foreign:
        result["foreign_rejected"] = reject_foreign(bundle, options.foreign)
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
