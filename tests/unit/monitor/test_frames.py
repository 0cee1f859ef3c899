"""The exported table holds what the store holds."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor.frames import COLUMNS, export_frames, find_batch
from georgia.monitor.result import ChartPoint, ClassFraction
from georgia.monitor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store.db"))
    for name in ("B1", "B2"):
        batch = store.begin_batch("probe", name, "Ann", "PG", "ann").id
        for number in range(3):
            classes = (ClassFraction("CEX", 0.75, 0.6, 0.9, 3), ClassFraction("PG", 0.25, 0.1, 0.4, 1))
            fraction = None if number == 1 else 0.25
            result = make_result(10 * batch + number, batch, fraction, classes=classes)
            store.record_frame(
                result if number else make_result(10 * batch, batch, chart=ChartPoint(ewma=0.5)),
                "probe",
                "{}",
            )
    return store


def test_csv_and_parquet_agree(store: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export_frames(store, tmp_path / "all.csv") == 6
    assert export_frames(store, tmp_path / "all.parquet") == 6
    with (tmp_path / "all.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert list(rows[0]) == list(table[0]) == COLUMNS
    assert [row["ordinal"] for row in rows] == ["1", "2", "3", "1", "2", "3"]
    for row, other in zip(rows, table, strict=True):
        assert row["file"] == other["file"]
        assert (row["fraction"] or None) == (
            None if other["fraction"] is None else f"{other['fraction']:.6f}"
        )
    assert table[0]["ewma"] == 0.5
    assert rows[2]["classes"] == "CEX=0.750000|PG=0.250000"
    assert rows[0]["frame_time"] == "1970-01-01T00:16:50.000Z"


def test_batch_is_found_by_name_or_number(store: Store, tmp_path: Path) -> None:
    assert find_batch(store, "B2").id == 2 == find_batch(store, "2").id
    assert export_frames(store, tmp_path / "one.csv", 2) == 3
    with pytest.raises(InputError, match="its number or name must be in the store; got 'B3'"):
        find_batch(store, "B3")
    with pytest.raises(InputError, match=r"must be one of \.csv, \.parquet"):
        export_frames(store, tmp_path / "one.xlsx")


def test_empty_store_gives_empty_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    store = Store(str(tmp_path / "empty.db"))
    for suffix in ("csv", "parquet"):
        assert export_frames(store, tmp_path / f"none.{suffix}") == 0
        assert (tmp_path / f"none.{suffix}").stat().st_size > 0


def test_frames_command_shows_and_exports(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "store.db")
    assert main(["frames", db, "--limit", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("f22.png\t")
    assert "batch 2 'B2' by 'Ann': 3 frames, running" in err
    assert main(["frames", db, "--batch", "B1", "--out", str(tmp_path / "b.csv"), "--json"]) == 0
    assert '"n_frames": 3' in capsys.readouterr().out
    assert main(["frames", str(tmp_path / "typo.db")]) == 2
    assert "it must exist" in capsys.readouterr().err
    assert not (tmp_path / "typo.db").exists()
