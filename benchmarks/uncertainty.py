"""Calibration error before and after, and the coverage of conformal sets, on images that fitted nothing.

    .venv/bin/python benchmarks/uncertainty.py MODEL DATA [--splits 200]

DATA is a labelled set that the model was not trained on. Calibration: the model's own temperature on
all of it. Coverage: the images' groups are halved at random, temperature and limits are fitted on one
half and the fraction of images of the other half whose set holds their class is counted, class by class.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from georgia.catalog.read import read_catalog
from georgia.images.decode import iter_images
from georgia.labels import Labels
from georgia.metrics.intervals import group_codes
from georgia.metrics.reliability import expected_calibration_error
from georgia.model.engines import open_engine
from georgia.model.load import load_bundle
from georgia.records import Failure
from georgia.uncertainty.calibration import fit_temperature, softmax
from georgia.uncertainty.conformal import fit_conformal

RATES = (0.05, 0.10)
Numbers = np.ndarray


def measure_coverage(
    logits: Numbers, truth: Numbers, codes: Numbers, labels: Labels, n_splits: int
) -> dict[str, dict[str, float]]:
    """Return mean and 5th percentile of coverage by class, and the mean size of the sets, by error rate."""
    rng = np.random.default_rng(0)
    covered: dict[float, dict[str, list[float]]] = {r: {name: [] for name in labels.names} for r in RATES}
    sizes: dict[float, list[float]] = {rate: [] for rate in RATES}
    for _ in range(n_splits):
        groups = rng.permutation(int(codes.max()) + 1)
        fits = np.isin(codes, groups[: len(groups) // 2])
        names = [str(code) for code in codes[fits]]
        temperature = fit_temperature(logits[fits], truth[fits], names).temperature
        limits = fit_conformal(softmax(logits[fits], temperature), truth[fits], labels, names, RATES)
        for rate in RATES:
            sets = limits.sets(softmax(logits[~fits], temperature), labels, rate)
            sizes[rate].append(float(np.mean([len(names) for names in sets])))
            for position, name in enumerate(labels.names):
                pairs = zip(sets, truth[~fits], strict=True)
                own = [name in names for names, true in pairs if true == position]
                covered[rate][name].append(float(np.mean(own)))
    result: dict[str, dict[str, float]] = {}
    for rate in RATES:
        row = {f"{name} mean": float(np.mean(values)) for name, values in covered[rate].items()}
        row |= {f"{name} 5th percentile": float(np.quantile(v, 0.05)) for name, v in covered[rate].items()}
        result[f"{rate:g}"] = {**row, "classes in a set": float(np.mean(sizes[rate]))}
    return result


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    options = parser.parse_args()
    bundle = load_bundle(options.model)
    catalog = read_catalog(options.data, verify=False)
    records = [record for record in catalog.records if record.split in ("", "test")]
    engine = open_engine(bundle.model_path, bundle.preprocess)
    results = iter_images([record.path for record in records], transform=engine.prepare)
    read = [(position, result) for position, result in results if not isinstance(result, Failure)]
    outputs = engine.run([prepared for _, prepared in read])
    kept = [records[position] for position, _ in read]
    truth = bundle.labels.indices([record.class_name for record in kept])
    logits = outputs["logits"].astype(np.float64)
    codes = group_codes([record.group for record in kept], len(kept))
    report = {
        "n": len(kept),
        "accuracy": float((logits.argmax(axis=1) == truth).mean()),
        "temperature": float(bundle.metadata.get("calibration", {}).get("temperature", 1.0)),
        "ece_before": expected_calibration_error(softmax(logits), truth),
        "ece_after": expected_calibration_error(outputs["probabilities"], truth),
    }
    if options.splits:
        report["coverage"] = measure_coverage(logits, truth, codes, bundle.labels, options.splits)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
