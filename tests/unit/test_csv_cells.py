"""No cell of our CSV files is a formula for a spreadsheet, and reading one gives back what was meant."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from tests.helpers import monitor as probe

from georgia.catalog import read_catalog
from georgia.labels import Labels
from georgia.monitor.frames import csv_pages
from georgia.predict import Prediction
from georgia.predict.tables import CsvWriter
from georgia.split import SplitConfig, make_split
from georgia.split.make import Split
from georgia.synthetic import render_dataset
from georgia.text import defuse_cell, format_csv, read_rows, restore_cell

FORMULAS = [
    "=1+1",
    "+a",
    "-5C",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "-1+cmd|' /C calc'!A0",
    "'=a",
    "''@",
]
PLAIN = ["", "a=b", "CEX (1).png", "-0.5", "+3", "-1e-05", "'quoted'", "é", "2", "'", "it's"]


def is_formula(cell: str) -> bool:
    return cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))


@pytest.mark.parametrize("text", FORMULAS)
def test_formula_is_defused_and_restored(text: str) -> None:
    assert not is_formula(str(defuse_cell(text)))
    assert restore_cell(str(defuse_cell(text))) == text


@pytest.mark.parametrize("text", PLAIN)
def test_plain_cell_stays(text: str) -> None:
    assert defuse_cell(text) == restore_cell(text) == text


def test_table_reads_back_as_written() -> None:
    cells = [*FORMULAS, *PLAIN]
    assert [row["x"] for row in read_rows(format_csv([["x", "n"], *([cell, 1] for cell in cells)]))] == cells


def test_prediction_table_holds_no_formula() -> None:
    labels = Labels(("=A", "B"))
    stream = io.StringIO()
    prediction = Prediction(Path("@a.png"), "=A", 0.9, {"=A": 0.9, "B": 0.1}, -0.5, ("=A",))
    CsvWriter(stream, labels).add(prediction)
    row = next(csv.DictReader(io.StringIO(stream.getvalue())))
    assert (row["file"], row["label"], row["set"]) == ("'@a.png", "'=A", "'=A")
    assert float(row["unknown_score"]) == -0.5


def test_frame_table_holds_no_formula() -> None:
    frame = probe.make_result(1, 1, key=probe.FileKey("=1+1.png", 9, 9, "f" * 64))
    (row,) = csv.DictReader(io.StringIO("".join(csv_pages([frame]))))
    assert row["file"] == "'=1+1.png"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Classes and files whose names are formulas."""
    render_dataset(tmp_path / "data", n_per_class=6, seed=3)
    (tmp_path / "data" / "CEX").rename(tmp_path / "data" / "=CEX")
    for path in (tmp_path / "data" / "PG").glob("*.png"):
        path.rename(path.with_name(f"@{path.name}"))
    return tmp_path / "data"


def test_split_of_formula_names_reads_back(data: Path, tmp_path: Path) -> None:
    split = make_split(read_catalog(data), SplitConfig(seed=1))
    split.save(tmp_path / "split")
    lines = (tmp_path / "split" / "split.csv").read_text(encoding="utf-8").splitlines()
    assert not any(is_formula(cell) for line in lines for cell in line.split(","))
    assert Split.load(tmp_path / "split").records == split.records


def test_catalog_reads_defused_names(data: Path, tmp_path: Path) -> None:
    split = make_split(read_catalog(data), SplitConfig(seed=1))
    split.save(tmp_path / "split")
    catalog = read_catalog(tmp_path / "split" / "split.csv")
    assert catalog.labels.names == ("=CEX", "PG")
    assert {record.path for record in catalog.records} == {record.path for record in split.records}
