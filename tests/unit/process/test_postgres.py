"""Process data in PostgreSQL: what SQLite gives, and what is proved of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.helpers.monitor import make_result
from tests.helpers.postgres import PostgresServer, has_postgres

from georgia.monitor.connect import writing
from georgia.monitor.process_record import Entry, EntryKind, Piece, VariableValues, write_entry, write_piece
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store
from georgia.process.compare import compare_batches
from georgia.process.follow import find_position
from georgia.process.join import join_frames
from georgia.process.queries import read_batch_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)"),
]


def fill(url: str) -> Store:
    store = Store(url, clock=lambda: 1000.0)
    batch = store.begin_batch("probe", "B-1", "Ann", "PG", "Ann").id
    for number in range(1, 31):
        store.record_frame(make_result(number, batch, n_judged=50), "probe", "{}")
    rows = [
        (1000.0 + k / 3, None if k % 7 == 6 else 20 + k / 7, "good" if k % 7 != 6 else "Bad")
        for k in range(90)
    ]
    suspect = [(1001.0, 5.0, "UncertainLastUsableValue"), (1002.0, 6.0, "good")]
    values = [VariableValues("T_r", "°C", rows), VariableValues("T_j", "°C", suspect)]
    piece = Piece("r", "r.csv", "Ann", values, end_byte=9, fingerprint="9:x")
    store.write(lambda change: write_piece(change, piece))
    store.write(lambda change: write_piece(change, piece))
    store.write(lambda change: write_entry(change, Entry(EntryKind.LABORATORY, 1010.0, "PG", "Cy", 0.12)))
    return store


def read(store: Store) -> list[Any]:
    found = [read_batch_process(store, 1, points, now_s=1040.0).to_json_dict(1040.0) for points in (500,)]
    joined = list(join_frames(store, 1)[1])
    assert find_position(store, "r", "r.csv") is not None
    assert len(read_batch_process(store, 1, 10, now_s=1040.0).series[1].time_s) in (10, 11)
    compared = compare_batches(store, [1], "=T_r [°C]").to_json_dict()
    return [*found, joined, compared, verify_store(store).n_process_values]


def test_postgres_gives_the_same_process_data(tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        ours, other = fill(str(tmp_path / "m.db")), fill(server.url)
        assert read(ours) == read(other)
        assert verify_store(other).is_whole
        with writing(other.engine) as connection:
            connection.execute(text("UPDATE process_values SET value = 1 WHERE time_s = 1003"))
        assert "not those that were read" in verify_store(other).faults[0].fault
        for store in (ours, other):
            store.close()
    finally:
        server.close()
