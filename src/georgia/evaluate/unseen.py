"""Labelled images that a model did not learn from: what a comparison with another model may rest on.

An image is left out, and its whole group with it, if a model learned from the same file by path or content,
from a near-duplicate, from another window of the same frame, or from a group of the same name. Where its
images are not at hand, near-duplicates are not found, and hashes beside the model say which files they were.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.catalog.csv_file import read_csv
from georgia.errors import InputError
from georgia.evaluate.overlap import SPLIT_FILE, find_near_overlap, find_training_overlap
from georgia.evaluate.training_hashes import FITTED_SPLITS, hash_contents, read_training_hashes
from georgia.files import DAMAGE, read_table
from georgia.model.bundle import Bundle
from georgia.progress import QUIET, Progress
from georgia.records import Record, hash_files, split_window
from georgia.text import read_rows

# Written where a model is learned from labels: path, class, group, sha256, …; read where nothing else is.
HASHES_FILE = "learned_from.csv"


@dataclass(frozen=True)
class Unseen:
    """The records of groups that no model learned from; ``groups`` names each record's.

    ``n_groups_learned`` groups were left out. ``doubts`` says, a line each, why it is not known of a model.
    """

    records: tuple[Record, ...]
    groups: tuple[str, ...]
    n_groups_learned: int
    doubts: tuple[str, ...]


def find_unseen(bundles: Sequence[Bundle], records: Sequence[Record], progress: Progress = QUIET) -> Unseen:
    """Return the records that none of the models learned from; every image is read and compared."""
    groups = [group_of(record) for record in records]
    learned: set[str] = set()
    doubts = []
    for bundle in bundles:
        if bundle.is_demonstration:  # it learned from synthetic crystals only
            continue
        trained, doubt = _list_trained(bundle)
        contents = read_training_hashes(bundle)
        hashes = _list_hashes(bundle) if doubt and contents is None else set()
        if doubt and not hashes and contents is None:
            doubts.append(doubt)
        names = {record.group for record in trained} - {""}
        frames = {_frame_of(record.path) for record in trained}
        learned |= {
            group
            for group, record in zip(groups, records, strict=True)
            if record.group in names or _frame_of(record.path) in frames
        }
        left = [record for group, record in zip(groups, records, strict=True) if group not in learned]
        if contents is not None:
            own = hash_contents([record.path for record in left])
            learned |= {
                group_of(record) for record, digest in zip(left, own, strict=True) if digest in contents
            }
            left = [record for record in left if group_of(record) not in learned]
        if hashes:
            digests = hash_files([record.path for record in left])
            learned |= {
                group_of(record) for record, digest in zip(left, digests, strict=True) if digest in hashes
            }
            left = [record for record in left if group_of(record) not in learned]
        if not left or not trained:
            continue
        matched = set(find_training_overlap(bundle, left, progress))
        matched |= set(find_near_overlap(bundle, left, matched, progress).matches)
        learned |= {group_of(record) for record in left if record.path in matched}
    kept = [at for at, group in enumerate(groups) if group not in learned]
    return Unseen(
        tuple(records[at] for at in kept),
        tuple(groups[at] for at in kept),
        len(learned & set(groups)),
        tuple(doubts),
    )


def group_of(record: Record) -> str:
    """Return what is independent of other images: the group, or else the frame or file.

    >>> group_of(Record(Path("f.png#xywh=0,0,9,9"), "CEX")) == group_of(Record(Path("f.png"), "CEX"))
    True
    """
    return record.group or _frame_of(record.path)


def _frame_of(path: Path) -> str:
    return os.path.realpath(split_window(path)[0])


def _list_hashes(bundle: Bundle) -> set[str]:
    """Return the contents of what a model learned from, where ``learned_from.csv`` holds them all.

    Empty where it does not, or where windows are among them: other windows of a frame are not known by it.
    """
    table = bundle.model_path.with_name(HASHES_FILE)
    try:
        rows = read_rows(read_table(table))
        hashes = [row["sha256"] for row in rows]
        has_windows = any("#xywh=" in row["path"] for row in rows)
    except DAMAGE:
        return set()
    return set(hashes) if all(hashes) and not has_windows else set()


def _list_trained(bundle: Bundle) -> tuple[list[Record], str]:
    """Return what a model learned from, and a line where that is not known to the last image."""
    table = bundle.model_path.with_name(SPLIT_FILE)
    if not table.is_file():
        return [], f"{bundle.name}: no {SPLIT_FILE} beside it says what it learned from"
    try:
        found = read_csv(table)
    except InputError as error:
        return [], f"{bundle.name}: {error}"
    trained = [record for record in found.records if record.split in FITTED_SPLITS]
    missing = [record for record in trained if not split_window(record.path)[0].is_file()]
    n_missing = len(found.faults) + len(missing)
    if not trained and not n_missing:
        return [], f"{bundle.name}: its {SPLIT_FILE} names no image that it learned from"
    doubt = (
        f"{bundle.name}: {n_missing:,} of the images that it learned from are not at hand to be compared"
        if n_missing
        else ""
    )
    return trained, doubt
