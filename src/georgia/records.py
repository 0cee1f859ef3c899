"""The frozen things that steps hand to one another: records of pictures, and what failed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.labels import Labels

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Record:
    """One labelled picture file.

    ``group`` names the crystal or frame that it belongs to: no group may stand on two sides of a
    split. ``part`` is "train", "valid" or "test" where the source is already split. ``time`` is the
    text given by the user's CSV.
    """

    path: Path
    class_name: str
    group: str = ""
    part: str = ""
    time: str = ""


@dataclass(frozen=True)
class Failure:
    """One file that was left out, and why (one clear clause, no traceback)."""

    path: Path
    error: str


@dataclass(frozen=True)
class Catalog:
    """All labelled pictures of one source, in path order, with what could not be read."""

    root: Path
    labels: Labels
    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()

    def count_by_class(self) -> dict[str, int]:
        """Return the number of pictures of each class, in label order."""
        return count_by_class(self.records, self.labels)

    def part(self, name: str) -> tuple[Record, ...]:
        """Return the records of one part of an already split source."""
        return tuple(record for record in self.records if record.part == name)


def count_by_class(records: Sequence[Record], labels: Labels) -> dict[str, int]:
    """Return the number of records of each class, in label order, zeros included."""
    counts = dict.fromkeys(labels.names, 0)
    for record in records:
        counts[record.class_name] += 1
    return counts


def fingerprint_files(paths: Sequence[Path]) -> str:
    """Return a sha256 (hex) over the contents of files; neither names nor order change it."""
    digests = []
    for path in paths:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
