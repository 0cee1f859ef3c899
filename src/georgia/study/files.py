"""A study on disk: its record as JSON, its tables, figure and page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georgia.config import build_config
from georgia.files import check_fields, read_json, reading, write_json, write_text
from georgia.records import Failure
from georgia.report.study import FIGURE_FILE, PAGE_FILE, save_study_figure, save_study_page
from georgia.study.compare import MissedImage, PairedTest, VariantSummary
from georgia.study.plan import StudyConfig
from georgia.study.result import Study
from georgia.study.rows import StudyRow, table_rows
from georgia.study.table import TEST_NOTE, describe_best, format_csv, format_markdown, format_missed

STUDY_FILE, CSV_FILE, MARKDOWN_FILE = "study.json", "study.csv", "study.md"
MISSED_FILE = "missed.csv"


def save_study(study: Study, folder: Path) -> None:
    """Write the tables, the figure and the page, each whole or not at all."""
    document = study.to_json_dict()
    write_json(folder / STUDY_FILE, document)
    write_text(folder / CSV_FILE, format_csv(study.rows))
    write_text(folder / MISSED_FILE, format_missed(study.missed))
    write_text(folder / MARKDOWN_FILE, format_markdown(study))
    if study.variants:
        save_study_figure(study, folder / FIGURE_FILE)
    lead = describe_best(study.variants, study.comparisons)
    save_study_page(study, folder / PAGE_FILE, lead, TEST_NOTE, table_rows(study.rows))


def load_study(folder: Path) -> Study:
    """Read what ``save_study`` wrote.

    Raises:
        InputError: the file is missing or is no study.
    """
    with reading(f"Cannot read the study in {str(folder)!r}", f"a {STUDY_FILE} of ours is needed"):
        document = read_json(folder / STUDY_FILE)
        study = Study(
            out=folder,
            source=document["source"],
            config=build_config(StudyConfig, document["config"]),
            rows=tuple(map(StudyRow.from_json_dict, document["rows"])),
            variants=tuple(
                check_fields(VariantSummary(**_with_tuples(values))) for values in document["variants"]
            ),
            comparisons=tuple(
                check_fields(PairedTest(**_with_tuples(values))) for values in document["comparisons"]
            ),
            missed=tuple(check_fields(MissedImage(**values)) for values in document.get("missed", ())),
            failures=tuple(map(Failure.from_json_dict, document["failed"])),
            seconds=document["seconds"],
            n_started=document["n_started"],
        )
        return check_fields(study)


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
