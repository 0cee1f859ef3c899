"""What a study found, and the files that say so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georgia.atomic import write_text
from georgia.config import build_config
from georgia.errors import InputError, describe_fault
from georgia.records import Failure
from georgia.report.study import FIGURE_FILE, PAGE_FILE, save_study_figure, save_study_page
from georgia.study.compare import PairedTest, VariantSummary
from georgia.study.plan import StudyConfig
from georgia.study.rows import StudyRow
from georgia.study.table import TEST_NOTE, describe_best, format_csv, format_markdown, table_rows

STUDY_FILE, CSV_FILE, MARKDOWN_FILE = "study.json", "study.csv", "study.md"


@dataclass(frozen=True)
class Study:
    """All runs in the order of the plan, the variants best first, and the tests between them.

    ``n_started`` counts the runs that this call trained; ``seconds`` is its wall time. ``failures`` are
    pictures that could not be read.
    """

    out: Path
    source: str
    config: StudyConfig
    rows: tuple[StudyRow, ...]
    variants: tuple[VariantSummary, ...]
    comparisons: tuple[PairedTest, ...]
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    n_started: int = 0

    @property
    def failed_rows(self) -> tuple[StudyRow, ...]:
        """Runs that could not be finished, with their reasons."""
        return tuple(row for row in self.rows if not row.is_done)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia study --json`` prints."""
        return {
            "out": str(self.out),
            "source": self.source,
            "config": asdict(self.config),
            "table": table_rows(self.rows),
            "rows": [asdict(row) for row in self.rows],
            "variants": [asdict(one) for one in self.variants],
            "comparisons": [asdict(one) for one in self.comparisons],
            "seconds": self.seconds,
            "n_started": self.n_started,
            "failed": [{"file": str(failure.path), "error": failure.error} for failure in self.failures],
        }

    def save(self, folder: Path) -> None:
        """Write the tables, the figure and the page, each whole or not at all."""
        write_text(folder / STUDY_FILE, json.dumps(self.to_json_dict(), indent=1, ensure_ascii=False) + "\n")
        write_text(folder / CSV_FILE, format_csv(self.rows))
        write_text(folder / MARKDOWN_FILE, format_markdown(self))
        if self.variants:
            save_study_figure(self, folder / FIGURE_FILE)
        lead = describe_best(self.variants, self.comparisons)
        save_study_page(self, folder / PAGE_FILE, lead, TEST_NOTE, table_rows(self.rows))

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is no study.
        """
        try:
            document = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))
            return cls(
                out=folder,
                source=document["source"],
                config=build_config(StudyConfig, document["config"]),
                rows=tuple(StudyRow(**_with_tuples(row)) for row in document["rows"]),
                variants=tuple(VariantSummary(**_with_tuples(one)) for one in document["variants"]),
                comparisons=tuple(PairedTest(**_with_tuples(one)) for one in document["comparisons"]),
                failures=tuple(Failure(Path(one["file"]), one["error"]) for one in document["failed"]),
                seconds=document["seconds"],
                n_started=document["n_started"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            what, rule = f"Cannot read the study in {str(folder)!r}", f"a {STUDY_FILE} of ours is needed"
            raise InputError(describe_fault(what, rule, error)) from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
