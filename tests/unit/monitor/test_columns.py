"""The table of columns agrees with the results that fill it and with the page that explains it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from georgia.monitor import columns
from georgia.monitor.records import Series
from georgia.monitor.result import ChartPoint, FileKey, FrameResult

PAGE = Path(__file__).parents[3] / "docs" / "frames.md"


def names_of(record: type) -> set[str]:
    return {field.name for field in fields(record)}


def test_columns_cover_frame_result() -> None:
    held = {column.attribute for column in columns.OF_RESULT} | {"frame_id", "map"}
    parts = {f"key.{name}" for name in names_of(FileKey)} | {f"chart.{name}" for name in names_of(ChartPoint)}
    assert held == (names_of(FrameResult) - {"key", "chart"}) | parts


def test_series_columns_match_record() -> None:
    assert ["stride", *(column.name for column in columns.SERIES)] == [field.name for field in fields(Series)]
    assert all(column.summary for column in columns.SERIES)


def test_page_explains_every_column() -> None:
    rows = [f"| `{c.public}` | {c.unit or '–'} | {c.meaning} |" for c in columns.TABLE]
    assert "\n".join(rows) in PAGE.read_text(encoding="utf-8")
