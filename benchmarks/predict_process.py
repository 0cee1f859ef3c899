"""Predict a folder to a table and print images/s (model loading not counted) and peak memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from georgia.images.listing import FoundImages
from georgia.model.load import load_bundle
from georgia.predict.predictor import Predictor
from georgia.predict.resume import predict_to_table


def main() -> int:
    """Run on MODEL FOLDER TABLE."""
    model, folder, out = sys.argv[1:4]
    predictor = Predictor(load_bundle(model))
    started = time.perf_counter()
    count = sum(1 for _ in predict_to_table(predictor, FoundImages([folder]), Path(out)))
    seconds = time.perf_counter() - started
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({"images_per_s": round(count / seconds, 1), "peak_mb": round(peak_mb, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
