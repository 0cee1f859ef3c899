"""What a study found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georgia.records import Failure
from georgia.study.compare import MissedImage, PairedTest, VariantSummary
from georgia.study.plan import StudyConfig
from georgia.study.rows import StudyRow, table_rows


@dataclass(frozen=True)
class Study:
    """All runs in the order of the plan, the variants best first, and the tests between them.

    ``n_started`` counts the runs that this call trained; ``seconds`` is its wall time. ``failures`` are
    images that could not be read, ``missed`` the test images that a run did not classify correctly.
    """

    out: Path
    source: str
    config: StudyConfig
    rows: tuple[StudyRow, ...]
    variants: tuple[VariantSummary, ...]
    comparisons: tuple[PairedTest, ...]
    failures: tuple[Failure, ...] = ()
    missed: tuple[MissedImage, ...] = ()
    seconds: float = 0.0
    n_started: int = 0

    @property
    def failed_rows(self) -> tuple[StudyRow, ...]:
        """Runs that could not be finished, with their reasons."""
        return tuple(row for row in self.rows if not row.is_done)

    @property
    def gated_rows(self) -> tuple[StudyRow, ...]:
        """Finished runs whose model cannot be used, with the reason in ``gate``."""
        return tuple(row for row in self.rows if row.gate)

    def to_json_dict(self) -> dict[str, Any]:
        """Return the object that ``georgia study --json`` prints."""
        return {
            "out": str(self.out),
            "source": self.source,
            "config": asdict(self.config),
            "table": table_rows(self.rows),
            "rows": [asdict(row) for row in self.rows],
            "variants": [asdict(variant) for variant in self.variants],
            "comparisons": [asdict(pair) for pair in self.comparisons],
            "missed": [asdict(image) for image in self.missed],
            "seconds": self.seconds,
            "n_started": self.n_started,
            "failed": [failure.to_json_dict() for failure in self.failures],
        }
