"""What a call of ``georgia label`` did, and how the labelling stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from georgia.label.batch_table import BatchResult
from georgia.label.catalog_file import find_apart_file
from georgia.label.learned import LearnResult
from georgia.label.records import Progress
from georgia.label.session import LabelSession
from georgia.label.start import ImportResult
from georgia.records import Failure, Result
from georgia.text import count_noun


@dataclass(frozen=True, repr=False)
class LabelResult(Result):
    """How a labelling stands in ``file``, and what was imported, tabled, exported and learned on the way.

    ``failures`` are files that cannot be read and damaged lines of the journal; ``conflicts`` tell, one line
    each, which names were not taken because another stands there.
    """

    file: Path
    journal: Path
    progress: Progress
    n_empty: int
    n_duplicates: int
    failures: tuple[Failure, ...] = ()
    conflicts: tuple[str, ...] = ()
    imported: ImportResult | None = None
    batch: BatchResult | None = None
    n_exported: int | None = None
    learned: LearnResult | None = None

    @classmethod
    def of(
        cls,
        session: LabelSession,
        imported: ImportResult | None = None,
        batch: BatchResult | None = None,
        n_exported: int | None = None,
    ) -> LabelResult:
        """Return how a session stands."""
        pool = session.pool
        conflicts = [
            f"{label.path}: {label.name!r} by {label.who} holds"
            for label in (imported.kept if imported else ())
        ]
        conflicts += [f"{failure.path}: {failure.error}" for failure in (batch.failures if batch else ())]
        return cls(
            file=session.out,
            journal=session.journal.path,
            progress=session.progress(),
            n_empty=pool.n_empty,
            n_duplicates=sum(len(members) - 1 for members in pool.find_duplicates().values()),
            failures=(*session.journal.failures, *pool.failures),
            conflicts=tuple(conflicts),
            imported=imported,
            batch=batch,
            n_exported=n_exported,
        )

    def summary(self) -> str:
        """Return the numbers of labels in one line."""
        progress = self.progress
        by_class = ", ".join(f"{name} {count:,}" for name, count in progress.by_class.items())
        apart = f"neither {progress.n_neither:,}, unclear {progress.n_unclear:,}"
        left = f"{progress.n_left:,} left to name"
        return f"{self.file}: {by_class}; {apart}; {left}"

    def tell_tasks(self) -> list[str]:
        """Return a line for each thing that was done."""
        lines = []
        if self.imported is not None:
            labels = count_noun(self.imported.n_labels, "label")
            lines.append(f"imported: {labels}, {self.imported.n_new:,} of them new")
        if self.batch is not None and self.batch.is_new_table:
            lines.append(
                f"table: {count_noun(self.batch.n_rows, 'row')} to name. Write a class, neither or unclear "
                "into its column name, and run the same command again."
            )
        elif self.batch is not None:
            named = f"names in {self.batch.n_named:,} of {count_noun(self.batch.n_rows, 'row')}"
            more = " Name another --batch-csv for more." if self.batch.n_named == self.batch.n_rows else ""
            lines.append(f"table: {named}, {self.batch.n_new:,} of them new.{more}")
        if self.learned is not None:
            lines.append(f"{self.learned.summary()}. Model: {self.learned.folder}")
            if self.learned.suspected:
                first = self.learned.suspected[0]
                n = count_noun(len(self.learned.suspected), "name")
                like = f"{first.path}, named {first.name}, looks like {first.looks_like}"
                lines.append(f"look again at {n} that the images contradict, such as {like}")
        if self.n_exported is not None:
            lines.append(f"exported: {count_noun(self.n_exported, 'label')}")
        return lines

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row for each class, and for what is none."""
        apart = {"neither": self.progress.n_neither, "unclear": self.progress.n_unclear}
        return [{"name": name, "n": n} for name, n in {**self.progress.by_class, **apart}.items()]

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia label --json`` prints."""
        progress, apart = self.progress, find_apart_file(self.file)
        return {
            "file": str(self.file),
            "apart_file": str(apart) if apart.exists() else None,
            "journal": str(self.journal),
            "labelled": progress.n_labelled,
            "classes": dict(progress.by_class),
            "neither": progress.n_neither,
            "unclear": progress.n_unclear,
            "named": progress.n_named,
            "left": progress.n_left,
            "items": progress.n_items,
            "empty": self.n_empty,
            "duplicates": self.n_duplicates,
            "gone": progress.n_gone,
            "wanted": dict(progress.n_wanted),
            "imported": self.imported and {"labels": self.imported.n_labels, "new": self.imported.n_new},
            "table": self.batch
            and {"rows": self.batch.n_rows, "named": self.batch.n_named, "new": self.batch.n_new},
            "exported": self.n_exported,
            "learned": self.learned and self.learned.to_json_dict(),
            "conflicts": list(self.conflicts),
            "failed": [failure.to_json_dict() for failure in self.failures],
        }
