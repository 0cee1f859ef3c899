"""Predict a folder to a table; print images/s (model loading not counted) and memory as JSON."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from pathlib import Path

from georgia.images.listing import FoundImages
from georgia.model.load import load_bundle
from georgia.predict.predictor import Predictor
from georgia.predict.resume import predict_to_table

N_POINTS = 50


def read_resident_mb() -> float:
    """Return what the process holds in memory now, MB; NaN where the system does not tell."""
    try:
        n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return math.nan
    return round(n_pages * resource.getpagesize() / 2**20, 1)


def main() -> int:
    """Run on MODEL FOLDER TABLE."""
    model, folder, out = sys.argv[1:4]
    predictor = Predictor(load_bundle(model))
    found = FoundImages([folder])
    every = max(1, sum(1 for _ in found) // N_POINTS)
    curve: dict[str, float] = {}
    started = time.perf_counter()
    count = 0
    for count, _ in enumerate(predict_to_table(predictor, found, Path(out)), start=1):
        if count % every == 0:
            curve[str(count)] = read_resident_mb()
    seconds = time.perf_counter() - started
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    rate = round(count / seconds, 1)
    print(json.dumps({"images_per_s": rate, "peak_mb": round(peak_mb, 1), "curve_mb": curve}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
