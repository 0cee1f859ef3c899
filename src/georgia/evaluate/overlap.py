"""Which images a model has seen in training: figures on those say nothing about new ones."""

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
# A model learns from the first, and its epoch, temperature and limits are chosen on the second.
_SEEN_PARTS = ("train", "valid")


def find_training_overlap(bundle: Bundle, records: Sequence[Record]) -> tuple[Path, ...]:
    """Return those files that stand, themselves or as equal copies, in the training parts of a model's run.

    Nothing is found where the run's ``split.csv``, or the images that it names, are gone.
    """
    table = bundle.model_path.with_name(SPLIT_FILE)
    if not table.is_file():
        return ()
    try:
        trained = [one for one in read_catalog(table, verify=False).records if one.split in _SEEN_PARTS]
    except InputError:
        return ()
    places = {os.path.realpath(one.path) for one in trained}
    sizes = {_size(one.path) for one in records}
    contents = {_hash(one.path) for one in trained if _size(one.path) in sizes} - {None}
    return tuple(
        one.path
        for one in records
        if os.path.realpath(one.path) in places or (contents and _hash(one.path) in contents)
    )


def describe_training_overlap(n_seen: int, n: int) -> str:
    """Return one sentence for a reader of the figures."""
    return (
        f"{n_seen:,} of {n:,} images stand in the model's own training or validation part: "
        "the figures say less about new images than they seem to."
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
