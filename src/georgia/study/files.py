"""A study on disk: its record as JSON, its tables, figure and page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georgia.config import build_config
from georgia.errors import InputError
from georgia.files import write_json, write_text
from georgia.records import Failure
from georgia.report.study import FIGURE_FILE, PAGE_FILE, save_study_figure, save_study_page
from georgia.study.compare import PairedTest, VariantSummary
from georgia.study.plan import StudyConfig
from georgia.study.result import Study
from georgia.study.rows import StudyRow, table_rows
from georgia.study.table import TEST_NOTE, describe_best, format_csv, format_markdown

STUDY_FILE, CSV_FILE, MARKDOWN_FILE = "study.json", "study.csv", "study.md"


def save_study(study: Study, folder: Path) -> None:
    """Write the tables, the figure and the page, each whole or not at all."""
    document = study.to_json_dict()
    write_json(folder / STUDY_FILE, document)
    write_text(folder / CSV_FILE, format_csv(study.rows))
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
    try:
        document = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))
        return Study(
            out=folder,
            source=document["source"],
            config=build_config(StudyConfig, document["config"]),
            rows=tuple(StudyRow(**_with_tuples(row)) for row in document["rows"]),
            variants=tuple(VariantSummary(**_with_tuples(one)) for one in document["variants"]),
            comparisons=tuple(PairedTest(**_with_tuples(one)) for one in document["comparisons"]),
            failures=tuple(Failure.from_json_dict(one) for one in document["failed"]),
            seconds=document["seconds"],
            n_started=document["n_started"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Cannot read the study in {str(folder)!r}", needs=f"a {STUDY_FILE} of ours is needed", got=error
        ) from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
