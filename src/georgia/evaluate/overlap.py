"""Training overlap: images of an evaluation that a model was trained on; metrics on those are too high."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from georgia.catalog.read import read_catalog
from georgia.errors import InputError
from georgia.model.bundle import Bundle
from georgia.records import Record

SPLIT_FILE = "split.csv"
# The net learns from the first; its epoch, temperature and thresholds are chosen on the second.
_FITTED_SPLITS = ("train", "valid")


def find_training_overlap(bundle: Bundle, records: Sequence[Record]) -> tuple[Path, ...]:
    """Return the files that are in the training or validation split of the model's run, as path or content.

    Nothing is found if the ``split.csv`` of the run, or the images that it lists, are missing.
    """
    table = bundle.model_path.with_name(SPLIT_FILE)
    if not table.is_file():
        return ()
    try:
        listed = read_catalog(table, verify=False).records
    except InputError:
        return ()
    trained = [record.path for record in listed if record.split in _FITTED_SPLITS]
    places = {os.path.realpath(path) for path in trained}
    # Only files of equal size can have equal content.
    sizes = {_size(record.path) for record in records}
    contents = {_hash(path) for path in trained if _size(path) in sizes} - {None}
    return tuple(
        record.path
        for record in records
        if os.path.realpath(record.path) in places or (contents and _hash(record.path) in contents)
    )


def describe_training_overlap(n_in_training: int, n: int) -> str:
    """Return one sentence for a reader of the metrics."""
    return (
        f"{n_in_training:,} of {n:,} images are in the model's own training or validation split: "
        "the metrics overstate how well it does on new images."
    )


def _hash(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
