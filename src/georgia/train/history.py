"""One row an epoch, kept in ``history.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from georgia.files import atomic_path
from georgia.metrics.classification import Metrics

HISTORY_FILE = "history.csv"
Row = dict[str, float]


def make_row(
    epoch: int,
    seconds: float,
    learning_rate: float,
    train: Mapping[str, float],
    valid_loss: float,
    metrics: Metrics,
) -> Row:
    """Return one epoch's figures under the public column names of ``history.csv``."""
    row: Row = {
        "epoch": float(epoch),
        "seconds": seconds,
        "learning_rate": learning_rate,
        "train_loss": train["loss"],
        "train_accuracy": train["accuracy"],
        "valid_loss": valid_loss,
        "valid_accuracy": metrics.accuracy,
    }
    return {**row, **metrics.to_history_row()}


def save_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.csv`` whole; nothing is written before the first epoch."""
    if not rows:
        return
    with (
        atomic_path(folder / HISTORY_FILE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: int(value) if key == "epoch" else f"{value:.6g}" for key, value in row.items()}
            )
