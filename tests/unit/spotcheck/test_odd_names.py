"""A table of predictions names its images whatever bytes their names hold, in every format."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from georgia.labels import Labels
from georgia.model.engines import Computation
from georgia.predict import Prediction
from georgia.predict.tables import TABLE_SUFFIXES, write_table
from georgia.spotcheck.sources import read_predictions
from georgia.text import escape_bytes, restore_bytes

NAMES = [
    b"\xb5m",
    b"\xff\xfe",
    b"a\rb",
    b"a\nb",
    b"a\r\nb",
    "a\u2028b\u0085c\x0b".encode(),
    b"=1+1",
    b'q"u,o',
]
NAMES += ["\u65e5\u672c".encode(), b" a ", b"'=x", b"a#b%20?", b"\\udcb5", b"-a"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    made = []
    for name in NAMES:
        path = os.path.join(os.fsencode(tmp_path), name + b".png")  # noqa: PTH118 - bytes
        with open(path, "wb") as stream:  # noqa: PTH123 - bytes
            Image.new("L", (8, 8)).save(stream, "PNG")
        made.append(os.fsdecode(path))
    return made


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_table_finds_every_file_again(files: list[str], tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    labels = Labels(("CEX", "PG"))
    table = tmp_path / f"t{suffix}"
    outcomes = [Prediction(Path(file), "PG", 0.75, {"CEX": 0.25, "PG": 0.75}, 0.1, ("PG",)) for file in files]
    write_table(table, outcomes, labels, Computation("onnxruntime", "float32", "a processor"))
    source = read_predictions(table)
    found = [source.find_file(window) for window in source.windows]
    known = [restore_bytes(file) for file in files] if suffix == ".parquet" else files
    assert [str(path) for path in found] == known
    if suffix == ".csv":
        rows = csv.reader(io.StringIO(table.read_bytes().decode("utf-8", "surrogateescape"), newline=""))
        assert {len(row) for row in rows} == {8}


def test_escaped_bytes_are_restored() -> None:
    for name in NAMES:
        text = os.fsdecode(name)
        escape_bytes(text).encode()
        assert restore_bytes(escape_bytes(text)) == restore_bytes(text)
