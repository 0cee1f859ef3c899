"""The store on a real PostgreSQL server: the same results, and nothing lost when it goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.helpers.monitor import (
    BrightnessAnalyzer,
    make_map,
    make_result,
    running,
    wait_for,
    write_frame,
)
from tests.helpers.patience import PATIENCE_S
from tests.helpers.postgres import PostgresServer, has_postgres

from georgia.monitor.connect import StoreAwayError, writing
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig, TileConfig
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


def fill(store: Store, source: str) -> int:
    batch = store.begin_batch(source, "B", "Ann", "PG", "ann").id
    for number in range(12):
        change = AlarmChange(AlarmAction.RAISED, "x") if number == 5 else None
        result = make_result(number, batch, fraction=None if number == 3 else number / 12, map=make_map())
        store.record_frame(result, source, f'{{"n": {number}}}', change)
    store.acknowledge_alarm(store.alarms(batch)[0].id, "Bob", "noted")
    return batch


def test_postgres_gives_same_results_as_sqlite(server: PostgresServer, tmp_path: Path) -> None:
    stores = [Store(server.url, clock=lambda: 5.0), Store(str(tmp_path / "store.db"), clock=lambda: 5.0)]
    results: list[list[Any]] = []
    for store in stores:
        batch = fill(store, "same")
        assert verify_store(store).is_whole
        results.append(
            [
                [replace(frame, frame_id=0, batch_id=0) for frame in store.frames(batch)],
                store.series(batch),
                store.series(batch, max_points=4),
                [replace(alarm, id=0, batch_id=0, frame_id=0) for alarm in store.alarms(batch)],
                [(entry.action, entry.who) for entry in store.audit_log()],
                replace(store.batch(batch), id=0),
                store.known_files("same"),
            ]
        )
        store.close()
    assert results[0] == results[1]


def test_altered_row_is_found(server: PostgresServer) -> None:
    store = Store(server.url)
    batch = fill(store, "touched")
    with writing(store.engine) as connection:
        connection.execute(
            text("UPDATE frames SET high = 0.9 WHERE batch_id = :id AND ordinal = 7"), {"id": batch}
        )
    found = verify_store(store)
    assert {fault.table for fault in found.faults} == {"frames"}
    with writing(store.engine) as connection:
        connection.execute(
            text("UPDATE frames SET high = 1.0 WHERE batch_id = :id AND ordinal = 7"), {"id": batch}
        )
    assert verify_store(store).is_whole
    store.close()


def test_concurrent_writers_keep_one_chain(server: PostgresServer) -> None:
    store = Store(server.url)
    batches = [store.begin_batch(f"writer-{n}", "B", "Ann", "PG", "ann").id for n in range(4)]

    def write(n: int) -> None:
        for number in range(15):
            store.record_frame(make_result(number, batches[n]), f"writer-{n}", "{}")
            store.append_event(f"writer-{n}", "note", {"number": number})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.count_frames(batch) for batch in batches] == [15] * 4
    assert verify_store(store).is_whole
    store.close()


def test_server_outage_loses_no_frame(server: PostgresServer, tmp_path: Path) -> None:
    store = Store(server.url)
    config = MonitorConfig(
        watch=tmp_path, poll_interval_s=0.05, source="outage", tiles=TileConfig(min_judged=1)
    )
    monitor = Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]
    stop = threading.Event()
    thread = threading.Thread(target=monitor.run, args=(stop,))
    thread.start()
    try:
        for number in range(30):
            write_frame(tmp_path / f"f{number:02d}.png", number % 5, seed=number)
            if number == 10:
                wait_for(lambda: monitor.status().batch_id)  # on a busy machine it starts late
                server.stop()
                with pytest.raises(StoreAwayError, match="cannot be used now"):
                    store.count_frames()
                # One frame more: the tenth may have been written before the server went.
                write_frame(tmp_path / "away.png", 3, seed=99)
                wait_for(lambda: monitor.status().fault)
            if number == 20:
                server.start()
            time.sleep(0.05)
        batch = monitor.status().batch_id
        wait_for(lambda: not monitor.status().n_unwritten and store.count_frames(batch) == 31)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert [frame.ordinal for frame in store.iter_frames(batch)] == list(range(1, 32))
    assert verify_store(store).is_whole
    store.close()


def test_server_that_forbids_writing_loses_no_frame(server: PostgresServer, tmp_path: Path) -> None:
    def command(*lines: str) -> None:
        with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for line in lines:
                connection.execute(text(line))

    admin = Store(server.url)
    command("DROP ROLE IF EXISTS probe", "CREATE ROLE probe LOGIN")
    store = Store(server.make_database("forbidden"))
    store.close()
    address = server.make_database("rights", "forbidden").replace("tester@", "probe@")
    owner = Store(address.replace("probe@", "tester@"))
    rights = "INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"

    def give(*lines: str) -> None:
        with owner.engine.begin() as connection:
            for line in lines:
                connection.execute(text(line))

    give(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO probe",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO probe",
        "GRANT CREATE ON SCHEMA public TO probe",
    )
    store = Store(address)
    config = MonitorConfig(
        watch=tmp_path, poll_interval_s=0.05, source="rights", tiles=TileConfig(min_judged=1)
    )
    monitor = Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]
    forbid = {
        "permission denied": (
            lambda: give(f"REVOKE {rights} FROM probe"),
            lambda: give(f"GRANT {rights} TO probe"),
        ),
        "read-only transaction": (
            lambda: command("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
            lambda: command(
                "SET default_transaction_read_only = off",
                "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            ),
        ),
        "too many connections": (
            lambda: command(
                "ALTER ROLE probe CONNECTION LIMIT 0",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'probe'",
            ),
            lambda: command("ALTER ROLE probe CONNECTION LIMIT -1"),
        ),
        # A full disk, as the server reports it.
        "No space left on device": (
            lambda: give(
                "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
                "'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
                "CREATE TRIGGER fill BEFORE INSERT ON frames FOR EACH ROW EXECUTE FUNCTION fill()",
            ),
            lambda: give("DROP TRIGGER fill ON frames"),
        ),
    }
    with running(monitor):
        for number, (reason, (begin, end)) in enumerate(forbid.items()):
            write_frame(tmp_path / f"a{number}.png", 1, seed=number)
            wait_for(lambda number=number: store.count_frames() == 2 * number + 1)
            begin()
            write_frame(tmp_path / f"b{number}.png", 2, seed=number)
            wait_for(lambda reason=reason: reason in monitor.status().fault)
            wait_for(lambda: monitor.status().state == "store away")
            end()
            wait_for(lambda number=number: store.count_frames() == 2 * number + 2)
    expected = [f"{letter}{number}.png" for number in range(len(forbid)) for letter in "ab"]
    assert [frame.file for frame in store.iter_frames()] == expected
    assert monitor.status().n_unreadable == 0
    for each in (store, owner, admin):
        each.close()
