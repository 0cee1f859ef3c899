"""The frozen things that steps hand to one another: records of images, and what failed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from georgia.labels import Labels

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Record:
    """One labelled image file.

    ``group`` names the crystal or frame that it belongs to: no group may stand in two splits.
    ``split`` is "train", "valid" or "test" where the source is already split. ``time`` is the
    text given by the user's CSV.
    """

    path: Path
    class_name: str
    group: str = ""
    split: str = ""
    time: str = ""


@dataclass(frozen=True)
class Failure:
    """One file that was left out, and why (one clear clause, no traceback)."""

    path: Path
    error: str

    def to_json_dict(self) -> dict[str, str]:
        """Return the public form, an element of ``failed``."""
        return {"file": str(self.path), "error": self.error}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, str]) -> Failure:
        """Read the public form."""
        return cls(Path(values["file"]), values["error"])


@dataclass(frozen=True)
class Catalog:
    """All labelled images of one source, in path order, with what could not be read."""

    root: Path
    labels: Labels
    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()

    def count_by_class(self) -> dict[str, int]:
        """Return the number of images of each class, in label order."""
        return count_by_class(self.records, self.labels)

    def subset(self, name: str) -> tuple[Record, ...]:
        """Return the records of one split of a source that is already split."""
        return tuple(record for record in self.records if record.split == name)


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
