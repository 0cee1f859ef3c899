"""Render crystals, classify them with the bundled model, and stamp the predictions on: the README's image.

Usage: python examples/contact_sheet.py docs/images/predictions.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from georgia.model.load import load_bundled_model
from georgia.predict.predictor import predict_files
from georgia.report import SheetConfig, draw_contact_sheet
from georgia.synthetic import render_dataset

N_PER_CLASS = 7
# Another seed than that of the bundled model's training crystals.
SEED = 23


def main(target: Path) -> None:
    """Write the sheet: synthetic crops of both classes; a misclassified one gets a frame."""
    with tempfile.TemporaryDirectory() as folder:
        records = render_dataset(Path(folder) / "crops", N_PER_CLASS, seed=SEED)
        predictions = predict_files(load_bundled_model(), [record.path for record in records])
        truth = {record.path: record.class_name for record in records}
        config = SheetConfig(columns=N_PER_CLASS, rows=2, tile_px=120)
        draw_contact_sheet(predictions, target, truth, config)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
