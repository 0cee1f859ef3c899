"""The table of a checked batch's frames: each has what people found of its part of the batch's time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result
from tests.helpers.spotcheck import add_frame, copy_batch
from tests.unit.spotcheck.test_in_store import name_all

from georgia.monitor.frames import COLUMNS, csv_pages, export_frames, parquet_pages, read_checked
from georgia.monitor.store import Store
from georgia.spotcheck import by_frame
from georgia.spotcheck.checked import CheckedFractions
from georgia.spotcheck.in_store import begin_check, extend_check
from georgia.spotcheck.plan import SpotcheckConfig


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Store]:
    store = copy_batch(tmp_path_factory.mktemp("template"), tmp_path)
    yield store
    store.close()


def test_frames_have_the_fraction_of_their_part(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    assert read_checked(store, 1) is None
    assert next(csv_pages(store.iter_frames(1))).splitlines()[0] == ",".join(COLUMNS)
    first = begin_check(store, store.batch(1), SpotcheckConfig(n=20), "Ann")
    name_all(store, first.id, tmp_path / "frames")
    for number in range(21, 26):
        add_frame(store, 1, tmp_path / "frames", number, "PPPC", [0.6, 0.9, 0.3, 0.1])
    other = store.begin_batch("elsewhere", "B-2", "Ann", "PG", "tests").id
    store.record_frame(make_result(99, other), "elsewhere", "{}")
    assert export_frames(store, tmp_path / "all.csv") == 26
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert list(rows[0]) == [*COLUMNS, *by_frame.COLUMNS]
    found = CheckedFractions(store).counting(store.batch(1))
    assert found is not None
    for span in found.curve:
        told = [f"{value:.6f}" for value in (span.interval.fraction, span.interval.low, span.interval.high)]
        own = [row for row in rows[:20] if float(row["frame_time"][17:23]) == pytest.approx(span.from_s % 60)]
        assert [[row[name] for name in by_frame.COLUMNS] for row in own] == [told]
    # What came after the plan, and what belongs to a batch that nobody has checked, has no value.
    assert {row[name] for row in rows[20:] for name in by_frame.COLUMNS} == {""}
    later = extend_check(store, store.batch(1), SpotcheckConfig(), "Ann")
    name_all(store, later.id, tmp_path / "frames")
    checked = read_checked(store, 1)
    (tmp_path / "one.parquet").write_bytes(b"".join(parquet_pages(store.iter_frames(1), checked)))
    table = pyarrow.parquet.read_table(tmp_path / "one.parquet").to_pylist()
    assert len(table) == 25
    assert all(
        row["fraction_checked_low"] <= row["fraction_checked"] <= row["fraction_checked_high"]
        for row in table
    )
    assert export_frames(store, tmp_path / "one.jsonl", 1) == 25
    lines = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert [line["fraction_checked"] for line in lines] == [row["fraction_checked"] for row in table]


def test_altered_check_says_nothing(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check = begin_check(store, store.batch(1), SpotcheckConfig(n=2), "Ann")
    name_all(store, check.id, tmp_path / "frames")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE spotchecks SET plan = replace(plan, 'spans', 'spins')")
    assert read_checked(store, 1) is None
    assert "batch 1 has no checked fractions in the table" in caplog.text
