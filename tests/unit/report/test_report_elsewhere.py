"""A batch's report on PostgreSQL, beside a monitor that writes, of a read-only file, with process data."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.helpers.monitor import make_map, make_result
from tests.helpers.postgres import PostgresServer, has_postgres

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.connect import writing
from georgia.monitor.health import claim_source
from georgia.monitor.process_record import (
    Entry,
    EntryKind,
    Piece,
    VariableValues,
    write_entry,
    write_piece,
)
from georgia.monitor.queries import StoreReader
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.result import ChartPoint
from georgia.monitor.store import Store
from georgia.report.batch.facts import BatchFacts, read_facts
from georgia.report.batch.figures import draw_fraction
from georgia.report.batch.page import render_batch
from georgia.report.batch.process import draw_process, find_size
from georgia.report.batch.verdict import Mark, assess_batch
from georgia.report.canvas import make_figure


def fill(store: Store) -> int:
    """Return a batch of 12 frames, 1001 to 1012 s, one without a fraction, and an acknowledged alarm."""
    batch = store.begin_batch("probe", "B-1", "Ann", "PG", "ann").id
    for number in range(1, 13):
        change = AlarmChange(AlarmAction.RAISED, "over") if number == 6 else None
        fraction = None if number == 3 else number / 24
        chart = ChartPoint(ewma=fraction, ewma_low=0.0, ewma_high=0.9, ewma_limit=0.4)
        result = make_result(number, batch, fraction, map=make_map(), chart=chart)
        store.record_frame(result, "probe", "{}", change)
    store.acknowledge_alarm(store.alarms(batch)[0].id, "Bob", "noted")
    return batch


def read(store: StoreReader, batch: int) -> BatchFacts:
    return read_facts(store, store.batch(batch), "the store")


@pytest.mark.slow
@pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)")
def test_postgres_gives_the_same_page_as_sqlite(tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        pages = []
        for address in (server.url, str(tmp_path / "store.db")):
            store = Store(address, clock=lambda: 5.0)
            batch = fill(store)
            store.end_batch(batch, "Ann", "done")
            store.close()
            reader = StoreReader.open(address)
            facts = read(reader, batch)
            reader.close()
            moment = facts.times(facts.read_at_s)
            pages.append(render_batch(facts).replace(moment, "NOW").replace(facts.verification.head, "HEAD"))
            assert facts.verification.is_whole
        ours, theirs = (set(page.splitlines()) for page in pages)
        told = "an older copy put in place of the whole database"
        assert any(told in line for line in ours), "PostgreSQL has no head file, and the page says so"
        differing = [
            line for line in ours ^ theirs if not re.search("whole|aria-label=.Verdict|georgia-report", line)
        ]
        assert differing == []
    finally:
        server.close()


def test_running_batch_is_read_while_it_is_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    batch = fill(store)
    reader = StoreReader.open(str(tmp_path / "m.db"))
    before = read(reader, batch)
    store.record_frame(make_result(40, batch), "probe", "{}")
    after = read(reader, batch)
    reader.close()
    store.close()
    assert [len(facts.frames) for facts in (before, after)] == [12, 13]
    assert before.frames.chain != after.frames.chain
    assert [facts.verification.is_whole for facts in (before, after)] == [True, True]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the modes of POSIX")
def test_read_only_store_in_read_only_folder_has_a_report(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    store = Store(str(archive / "m.db"))
    store.end_batch(fill(store), "Ann")
    store.close()
    for path in archive.iterdir():
        path.chmod(0o444)
    archive.chmod(0o555)
    before = {path.name: path.stat().st_mtime_ns for path in archive.iterdir()}
    try:
        assert main(["report", str(archive / "m.db"), "--out", str(tmp_path / "p.html")]) == 0
        assert {path.name: path.stat().st_mtime_ns for path in archive.iterdir()} == before
    finally:
        archive.chmod(0o755)


@pytest.fixture
def with_process(tmp_path: Path) -> Any:
    """Return a store with a batch, a temperature over it, a seeding and a laboratory result."""
    store = Store(str(tmp_path / "m.db"), clock=lambda: 1000.0)
    batch = fill(store)
    store.end_batch(batch, "Ann")
    values = [(1000.0 + k, None if k == 5 else 60.0 - k, "good") for k in range(14)]
    piece = Piece("<reactor>", "r.csv", "Ann", [VariableValues("T_r", "°C", values)], n_rows=14, end_byte=9)
    store.write(lambda change: write_piece(change, piece))
    for entry in (
        Entry(EntryKind.EVENT, 1004.0, "seeding & stirring", "Ann"),
        Entry(EntryKind.LABORATORY, 1008.0, "PG", "Bob", value=31.0, unit="%", sd=1.5),
    ):
        store.write(lambda change, entry=entry: write_entry(change, entry))
    yield store
    store.close()


def test_process_is_shown_where_the_store_has_it(with_process: Store) -> None:
    facts = read(with_process, 1)
    assert facts.process is not None
    plotted: dict[str, Any] = {}
    size = find_size(facts.process)
    make_figure(lambda result, axes: plotted.update(draw_process(result, axes)) or {}, facts, size)
    assert plotted == {"T_r [°C]": [60.0 - k for k in range(13) if k != 5]}
    make_figure(lambda result, axes: plotted.update(draw_fraction(result, axes)) or {}, facts, (4, 3))
    assert plotted["laboratory"] == [31.0]
    page = render_batch(facts)
    for text in (
        "T_r [°C]</bdi>",
        "&lt;reactor&gt;",
        "seeding &amp; stirring",
        "31 ± 1.5 (sd) %".replace(" %", "\u00a0%"),
        "48 to 60",
        "12, 1 missing",
        "none: 5 laboratory results beside frames are needed; there are 1",
    ):
        assert text in page, text


@pytest.mark.parametrize(
    "edit", ["UPDATE batches SET chart_state = '0'", "UPDATE process_entries SET value = 'x'"]
)
def test_altered_rows_end_in_one_line(with_process: Store, tmp_path: Path, edit: str) -> None:
    connection = sqlite3.connect(tmp_path / "m.db")
    connection.execute(edit)
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="Cannot read the store: rows as Georgia wrote them are needed"):
        read(with_process, 1)


def test_calibration_of_the_batch_is_the_line_of_its_results(with_process: Store) -> None:
    for at, value in ((1002.0, 3.0), (1004.0, 6.0), (1006.0, 9.0), (1010.0, 12.0)):
        entry = Entry(EntryKind.LABORATORY, at, "PG", "Bob", value=value, unit="%")
        with_process.write(lambda change, entry=entry: write_entry(change, entry))
    facts = read(with_process, 1)
    (found,) = facts.calibrations
    page = render_batch(facts).replace("\u00a0", " ")
    assert len(found.pairs) == 5
    told = found.reason or f"{100 * found.intercept:.2f} % + {found.slope:.3f} × image"
    assert told in page


def test_running_batch_says_whether_its_monitor_lives(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    batch = fill(store)
    said = [assess_batch(read(store, batch)).lines[1]]
    claim_source(store, "probe", "ann")
    for age_s in (0, 3600):
        values = {"beat_at_s": time.time() - age_s, "host": "elsewhere", "state": "running"}
        with writing(store.engine) as connection:
            connection.execute(update(tables.heartbeats).values(**values))
        said.append(assess_batch(read(store, batch)).lines[1])
    store.end_batch(batch, "Ann")
    assert not any("monitor" in line.text for line in assess_batch(read(store, batch)).lines)
    store.close()
    assert [line.mark for line in said] == [Mark.CAUTION, Mark.GOOD, Mark.BAD]
    assert "none has left a sign of life" in said[0].text
    assert "its last sign of life was 20" in said[2].text


def test_no_process_no_section(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    page = render_batch(read(store, fill(store)))
    store.close()
    assert "<h2>Process</h2>" not in page
