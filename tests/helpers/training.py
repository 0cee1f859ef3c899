"""A training run as a report sees it, without any training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georgia.images.preprocess import EFFICIENTNET_LITE
from georgia.labels import Labels
from georgia.records import Record
from georgia.report.history import TrainingHistory
from georgia.report.training_run import TrainingRun
from georgia.split.make import Split, SplitConfig

COUNTS = {"train": {"CEX": 7, "PG": 6}, "test": {"CEX": 1, "PG": 2}}


def make_rows(n: int) -> tuple[dict[str, float], ...]:
    """Return n rows of a history that improves evenly."""
    keys = ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy")
    return tuple({"epoch": float(e), **dict.fromkeys(keys, 0.5 + e / (2 * n + 2))} for e in range(1, n + 1))


def make_training_run(
    settings: Mapping[str, Any] | None = None,
    n_epochs: int = 5,
    counts: Mapping[str, Mapping[str, int]] = COUNTS,
) -> TrainingRun:
    """Return a run of five epochs, of which the fourth was kept, with nothing found yet."""
    records = tuple(
        Record(Path(f"{split}-{name}-{number}.png"), name, split=split)
        for split, classes in counts.items()
        for name, n in classes.items()
        for number in range(n)
    )
    labels = Labels(tuple(next(iter(counts.values()))))
    return TrainingRun(
        folder=Path("run"),
        source="cropped",
        settings={"recipe": "fast", "study_name": "Georgia"} if settings is None else settings,
        created="2025-11-23",
        device="cpu:0",
        versions={},
        backbone={"name": "efficientnet-lite0", "source": "nowhere", "sha256": None},
        trainable_layers=(),
        preprocess=EFFICIENTNET_LITE,
        split=Split(Path(), labels, records, SplitConfig()),
        fingerprint="57ab",
        median_side_px=151,
        history=TrainingHistory(make_rows(n_epochs), kept_epoch=min(4, n_epochs)),
    )
