"""Training overlap: images of an evaluation that a model was trained on; metrics on those are too high.

Two measures: the same file, by path or content, and a near-duplicate of a training image, found by the
audit's search. Both need the images that the ``split.csv`` of the run lists; where these are not at hand,
nothing is said to be known.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from georgia.audit.check import shorten
from georgia.audit.near_duplicates.descriptors import Description, describe_image
from georgia.audit.near_duplicates.search import find_near_duplicates
from georgia.catalog.csv_file import read_csv
from georgia.errors import InputError
from georgia.images.decode import iter_images
from georgia.model.bundle import Bundle
from georgia.progress import QUIET, Progress
from georgia.records import Record, format_window, hash_files, split_window
from georgia.text import count_noun

SPLIT_FILE = "split.csv"
# The net learns from the first; its epoch, temperature and thresholds are chosen on the second.
_FITTED_SPLITS = ("train", "valid")


@dataclass(frozen=True)
class NearOverlap:
    """Evaluated files that are near-duplicates of training images: file → one of these.

    ``n_compared`` training or validation images were searched, ``n_missing`` are listed by the run but cannot
    be read here. Nothing was checked where ``n_compared`` is 0.
    """

    matches: Mapping[Path, Path]
    n_compared: int
    n_missing: int

    @property
    def is_checked(self) -> bool:
        """Whether any training image was at hand."""
        return self.n_compared > 0

    def describe(self, n: int) -> str:
        """Return one sentence for a reader of the metrics of ``n`` images; empty if all is well."""
        if not self.is_checked:
            return "Near-duplicates of training images: not checked, as the training images are not at hand."
        n_listed = self.n_missing + self.n_compared
        missing = (
            f"{self.n_missing:,} of {n_listed:,} training and validation images are not at hand and were not "
            "compared."
            if self.n_missing
            else ""
        )
        if not self.matches:
            return missing
        file, known = next(iter(self.matches.items()))
        found = (
            f"{len(self.matches):,} of {count_noun(n, 'image')} are near-duplicates of images that the model "
            f"was trained on, such as {shorten(file.name)} of {shorten(known.name)}: the metrics overstate "
            "how well it does on new images."
        )
        return f"{found} {missing}".strip()

    def to_json_dict(self) -> dict[str, Any]:
        """Return the plain form; the number is None where nothing was checked."""
        return {
            "n_near_training": len(self.matches) if self.is_checked else None,
            "near_training": [
                {"file": file.as_posix(), "training_file": known.as_posix()}
                for file, known in self.matches.items()
            ],
        }


def find_near_overlap(
    bundle: Bundle,
    records: Sequence[Record],
    overlap: Collection[Path] = (),
    progress: Progress = QUIET,
) -> NearOverlap:
    """Return which files are near-duplicates of images in the run's training or validation split.

    ``overlap`` are files known to be in training themselves, which are not named again. Every image is
    decoded and described as in an audit.
    """
    trained, n_missing = _list_trained(bundle)
    named = set(overlap)
    own = [record.path for record in records if record.path not in named]
    if not own:
        return NearOverlap({}, len(trained), n_missing)
    described = _describe(trained, progress)
    n_missing += len(trained) - len(described)
    if not described:
        return NearOverlap({}, 0, n_missing)
    new = _describe(own, progress)
    files, known = list(new), list(described)
    duplicates = find_near_duplicates([*new.values(), *described.values()], progress=progress)
    direct = {pair.first: pair.second for pair in duplicates.pairs if pair.first < len(new) <= pair.second}
    matches = {}
    for group in duplicates.groups:
        partners = [member for member in group if member >= len(new)]
        for member in group:
            if member < len(new) and partners:
                matches[files[member]] = known[direct.get(member, partners[0]) - len(new)]
    return NearOverlap(dict(sorted(matches.items())), len(described), n_missing)


def _list_trained(bundle: Bundle) -> tuple[list[Path], int]:
    """Return the training and validation images that the run lists, and how many of its rows are unusable."""
    table = bundle.model_path.with_name(SPLIT_FILE)
    if not table.is_file():
        return [], 0
    try:
        listed = read_csv(table)
    except InputError:
        return [], 0
    paths = [record.path for record in listed.records if record.split in _FITTED_SPLITS]
    return [path for path in paths if _size(path) is not None], len(listed.faults)


def _describe(paths: Sequence[Path], progress: Progress) -> dict[Path, Description]:
    """Return the descriptions of the files that can be read."""
    progress.start("Comparing with training images", len(paths))
    usable = [path for path in paths if _size(path) is not None]
    described: dict[Path, Description] = {}
    for position, result in iter_images(usable, transform=cast(Any, describe_image)):
        progress.advance()
        if isinstance(result, Description):
            described[usable[position]] = result
    return described


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
    places = {_real_path(path) for path in trained}
    # Only files of equal size can have equal content.
    sizes = {_size(record.path) for record in records} - {None}
    contents = set(hash_files(path for path in trained if _size(path) in sizes)) - {None}
    own = [record.path for record in records]
    digests = hash_files(own) if contents else [None] * len(own)
    return tuple(
        path
        for path, digest in zip(own, digests, strict=True)
        if _real_path(path) in places or digest in contents
    )


def describe_training_overlap(n_in_training: int, n: int) -> str:
    """Return one sentence for a reader of the metrics."""
    return (
        f"{n_in_training:,} of {n:,} images are in the model's own training or validation split: "
        "the metrics overstate how well it does on new images."
    )


def _real_path(path: Path) -> str:
    """Return where an image lies, links followed; a window keeps its box."""
    file, box = split_window(path)
    return format_window(os.path.realpath(file), box)


def _size(path: Path) -> int | None:
    """Return a file's size, bytes; None for a pipe or a device, which may give bytes without end."""
    try:
        info = split_window(path)[0].stat()
    except OSError:
        return None
    return info.st_size if stat.S_ISREG(info.st_mode) else None
