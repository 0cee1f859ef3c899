"""Training overlap: images of an evaluation that a model was trained on; metrics on those are too high."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from georgia.catalog.csv_file import read_csv
from georgia.errors import InputError
from georgia.model.bundle import Bundle
from georgia.progress import QUIET, Progress
from georgia.records import Record, hash_file

SPLIT_FILE = "split.csv"
# The net learns from the first; its epoch, temperature and thresholds are chosen on the second.
_FITTED_SPLITS = ("train", "valid")


def find_training_overlap(
    bundle: Bundle, records: Sequence[Record], progress: Progress = QUIET
) -> tuple[Path, ...]:
    """Return the files that are in the training or validation split of the model's run, as path or content.

    Images that the ``split.csv`` of the run lists and that are not there any more cannot be compared;
    ``progress`` is told how many these are, or that the table cannot be read.
    """
    table = bundle.model_path.with_name(SPLIT_FILE)
    if not table.is_file():
        return ()
    try:
        listed = read_csv(table)
    except InputError as error:
        progress.say(f"note: whether the model was trained on these images is not known: {error}")
        return ()
    if listed.faults:
        progress.say(
            f"note: {len(listed.faults):,} rows of the run's {SPLIT_FILE} cannot be compared with these "
            f"images, so the training overlap may be larger: {listed.faults[0]}"
        )
    trained = [record.path for record in listed.records if record.split in _FITTED_SPLITS]
    places = {os.path.realpath(path) for path in trained}
    # Only files of equal size can have equal content.
    sizes = {_size(record.path) for record in records} - {None}
    contents = {hash_file(path) for path in trained if _size(path) in sizes} - {None}
    return tuple(
        record.path
        for record in records
        if os.path.realpath(record.path) in places or (contents and hash_file(record.path) in contents)
    )


def describe_training_overlap(n_in_training: int, n: int) -> str:
    """Return one sentence for a reader of the metrics."""
    return (
        f"{n_in_training:,} of {n:,} images are in the model's own training or validation split: "
        "the metrics overstate how well it does on new images."
    )


def _size(path: Path) -> int | None:
    """Return a file's size, bytes; None for a pipe or a device, which may give bytes without end."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_size if stat.S_ISREG(info.st_mode) else None
