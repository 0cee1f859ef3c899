"""The exported table holds what the store holds."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import end_of_page
from georgia.monitor.frames import COLUMNS, export_frames, find_batch, make_filter
from georgia.monitor.queries import StoreReader
from georgia.monitor.records import FrameFilter
from georgia.monitor.result import ChartPoint, ClassFraction
from georgia.monitor.store import Store
from georgia.spotcheck.sources import choose_batch


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
    assert list(rows[0]) == COLUMNS
    assert list(table[0]) == [*COLUMNS, "frame_time_utc", "judged_at_utc"]
    assert table[0]["frame_time_utc"] == datetime(1970, 1, 1, 0, 16, 50, tzinfo=UTC)
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
    assert find_batch(store, "B2").id == 2 == find_batch(store, "2").id == find_batch(store, "#2").id
    assert export_frames(store, tmp_path / "one.csv", 2) == 3
    with pytest.raises(InputError, match="its number or name must be in the store; got 'B3'"):
        find_batch(store, "B3")
    store.end_batch(2, "Ann")
    third = store.begin_batch("probe", "2", "Ann", "PG", "Ann").id
    with pytest.raises(InputError, match=r"got '2', which means #3 '2', #2 'B2'\. Say #3 or #2\."):
        find_batch(store, "2")
    assert [find_batch(store, text).id for text in ("#2", "#3", "3")] == [2, third, third]
    with pytest.raises(InputError, match="of one batch is needed; got 2 of it: #3 '2', #2 'B2'"):
        choose_batch(store.batches(), "2")
    with pytest.raises(InputError, match=r"must be one of \.csv, \.json, \.jsonl, \.parquet"):
        export_frames(store, tmp_path / "one.xlsx")


def test_json_holds_what_monitor_prints(store: Store, tmp_path: Path) -> None:
    plain = [frame.to_json_dict() for frame in store.iter_frames()]
    assert export_frames(store, tmp_path / "all.json") == export_frames(store, tmp_path / "all.jsonl") == 6
    assert json.loads((tmp_path / "all.json").read_text(encoding="utf-8")) == plain
    lines = (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == plain


def test_frames_are_filtered(store: Store, tmp_path: Path) -> None:
    wanted = make_filter("1970-01-01T00:16:51Z", "1970-01-01T00:17:01Z")
    assert [frame.file for frame in store.iter_frames(wanted=wanted)] == ["f11.png", "f12.png", "f20.png"]
    assert store.count_frames(wanted=wanted) == 3
    assert [frame.file for frame in store.frames(1, wanted=wanted)] == ["f12.png", "f11.png"]
    assert store.count_frames(wanted=make_filter(states=("alarm",))) == 0
    assert export_frames(store, tmp_path / "b2.csv", wanted=FrameFilter(batch_id=2)) == 3
    with pytest.raises(InputError, match=r"must be one of .* Did you mean 'alarm'"):
        make_filter(states=("alram",))
    with pytest.raises(InputError, match="a time such as 2026-03-01"):
        make_filter("yesterday")


def test_empty_store_gives_empty_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    store = Store(str(tmp_path / "empty.db"))
    for suffix in ("csv", "json", "parquet"):
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
    assert main(["frames", db, "--state", "in control", "--since", "1970-01-01T00:16:52Z", "--json"]) == 0
    assert '"n_frames": 4' in capsys.readouterr().out
    assert main(["frames", str(tmp_path / "typo.db")]) == 2
    assert "it must exist" in capsys.readouterr().err
    assert not (tmp_path / "typo.db").exists()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("frames", "classes", '["CEX"]'),
        ("frames", "seconds", "3"),
        ("frames", "frame_time_s", "soon"),
        ("frames", "n_tiles", "[null]"),
        ("frames", "classes", r'[{"name": "\udcb5", "fraction": 0.2, "low": 0.1, "high": 0.3, "n": 1}]'),
        ("batches", "started_at_s", "{}"),
        ("batches", "name", b"B1"),
        ("trail", "detail", "[]"),
    ],
)
def test_altered_row_is_told_in_one_line(
    store: Store, tmp_path: Path, table: str, column: str, value: object
) -> None:
    store.close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ?", [value])
    reader = StoreReader.open(str(tmp_path / "store.db"))
    reads = {"frames": reader.frames, "batches": reader.batches, "trail": reader.audit_log}
    with pytest.raises(InputError, match="rows as Georgia wrote them are needed") as raised:
        reads[table]()
    assert "\n" not in str(raised.value)
    reader.close()


def test_time_that_is_none_is_told() -> None:
    for seconds in (1e30, float("nan"), "soon"):
        with pytest.raises(InputError, match="seconds since 1970 are needed"):
            iso_time(seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [3, 2, "4", None, 4.5])
def test_rows_out_of_order_end_the_reading(key: object) -> None:
    """In a damaged file a page may end before it began; paging by such keys would never end."""
    assert end_of_page([{"id": 9}, {"id": 4}], "id", 3) == 4
    with pytest.raises(InputError, match="rows that are out of order"):
        end_of_page([{"id": 5}, {"id": key}], "id", 3)
