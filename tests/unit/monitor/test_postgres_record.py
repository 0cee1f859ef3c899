"""The record on a real PostgreSQL server: every edit is found, and readers only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect
from tests.helpers import spotcheck
from tests.helpers.monitor import make_result, write_frame
from tests.helpers.postgres import PostgresServer, has_postgres
from tests.helpers.tamper import EDITS, edit, fill, verify_while_writing

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor.anchors import Anchor
from georgia.monitor.connect import connect
from georgia.monitor.queries import StoreReader
from georgia.monitor.store import Store
from georgia.monitor.verify import Verification, verify_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)"),
]
KEY = b"a key that is kept elsewhere"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer()
    store = Store(server.make_database("filled"))
    store.anchor = Anchor(tmp_path_factory.mktemp("anchor") / "anchor.jsonl", KEY)
    fill(store)
    store.close()
    yield server
    server.close()


def verify(url: str, anchor: Anchor | None = None) -> Verification:
    reader = StoreReader.open(url)
    try:
        return verify_store(reader, anchor=anchor)
    finally:
        reader.close()


def test_untouched_record_is_whole(server: PostgresServer) -> None:
    found = verify(server.url.replace("/postgres", "/filled"))
    assert found.is_whole, found.faults
    assert (found.n_entries, found.n_frames, found.n_maps) == (19, 12, 12)
    assert ["older copy" in note for note in found.not_covered] == [True]


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_found(server: PostgresServer, name: str) -> None:
    script, table = EDITS[name]
    url = server.make_database(f"edit_{list(EDITS).index(name)}", "filled")
    engine = connect(url)
    edit(engine, script)
    engine.dispose()
    found = verify(url)
    assert not found.is_whole
    assert table in {fault.table for fault in found.faults}, found.faults


def test_older_copy_is_found_by_anchor(server: PostgresServer, tmp_path: Path) -> None:
    url = server.make_database("goes_on", "filled")
    server.make_database("restored", "filled")
    store = Store(url)
    store.anchor = Anchor(tmp_path / "anchor.jsonl", KEY)
    batch = store.begin_batch("probe", "B2", "Ann", "PG", "ann@host").id
    store.record_frame(make_result(50, batch), "probe", "{}")
    store.append_event("ann@host", "monitor stopped", {}, batch)
    store.close()
    assert verify(url, store.anchor).is_whole
    restored = url.replace("goes_on", "restored")
    assert verify(restored).is_whole, "nothing in the database can tell"
    assert [fault.table for fault in verify(restored, store.anchor).faults] == ["trail"]


def test_record_is_whole_while_monitor_writes(server: PostgresServer) -> None:
    assert verify_while_writing(server.make_database("written", "filled")) == []


def test_commands_open_postgres(
    server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.url.replace("/postgres", "/filled")
    assert main(["verify", url]) == 0
    assert "not covered by the chain: an older copy" in capsys.readouterr().out
    assert main(["frames", url, "--batch", "B1", "--out", str(tmp_path / "b.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_frames"] == 6
    secret = url.replace("tester@", "tester:sec%40ret@").replace("/filled", "/nowhere")
    for command in ("verify", "frames"):
        assert main([command, secret]) == 2
        out, err = capsys.readouterr()
        assert "sec" not in (out + err).replace("second", "")
        assert "does not exist" in err


def test_readers_write_nothing_into_foreign_database(
    server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.make_database("foreign")
    engine = connect(url)
    edit(engine, "CREATE TABLE recipes (a integer)")
    for command in ("verify", "frames"):
        assert main([command, url]) == 2
        assert "a store of Georgia is needed; got a database of something else" in capsys.readouterr().err
    assert inspect(engine).get_table_names() == ["recipes"]
    Store(url).close()
    assert verify(url).is_whole, "a database may be shared with others' tables"
    url = server.make_database("taken")
    other = connect(url)
    edit(other, "CREATE TABLE frames (a integer)")
    with pytest.raises(InputError, match="a store of Georgia is needed"):
        Store(url)
    assert inspect(other).get_table_names() == ["frames"]
    engine.dispose()
    other.dispose()


def test_password_is_in_no_output_of_running_monitor(
    server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password = "s3cr3tXX"
    plain = server.make_database("secret")
    url = plain.replace("tester@", f"tester:{password}@")
    write_frame(tmp_path / "probe" / "f.png", 3)
    anchor = tmp_path / "anchor.jsonl"
    options = ["--set", f"anchor={anchor}", "--set", "webhook=http://me:s3cr3tXX@127.0.0.1:1/"]
    assert main(["monitor", "--watch", str(tmp_path / "probe"), "--db", url, "--once", *options]) == 0
    assert main(["frames", url]) == main(["frames", url, "--json"]) == 0
    assert main(["verify", url, "--anchor", str(anchor)]) == main(["verify", url, "--json"]) == 0
    out, err = capsys.readouterr()
    texts = [out, err, anchor.read_text(encoding="utf-8")]
    engine = connect(plain)
    with engine.connect() as connection:
        for name in inspect(engine).get_table_names():
            texts.append(str(connection.exec_driver_sql(f'SELECT * FROM "{name}"').all()))
    engine.dispose()
    assert "head of the record:" in err
    assert not any(password in text for text in texts)


# Spot checks


@pytest.fixture(scope="module")
def checked(server: PostgresServer) -> str:
    url = server.make_database("checked")
    store = Store(url)
    spotcheck.fill_checks(store)
    store.close()
    return url


def test_spot_checks_of_a_store_are_whole(checked: str) -> None:
    store = Store(checked)
    assert [row.name for row in store.spotcheck_names(1)] == ["PG", "CEX", "", "CEX", "unclear", "CEX"]
    assert verify_store(store).is_whole
    store.close()


@pytest.mark.parametrize("name", spotcheck.EDITS)
def test_every_edit_of_a_spot_check_is_found(server: PostgresServer, checked: str, name: str) -> None:
    script, table = spotcheck.EDITS[name]
    url = server.make_database(f"check_{list(spotcheck.EDITS).index(name)}", checked.rpartition("/")[2])
    engine = connect(url)
    edit(engine, script)
    engine.dispose()
    found = verify(url)
    assert table in {fault.table for fault in found.faults}, found.faults


def test_store_of_before_gets_the_tables(server: PostgresServer) -> None:
    url = server.make_database("before", "filled")
    engine = connect(url)
    edit(engine, "DROP TABLE spotcheck_names; DROP TABLE spotchecks")
    engine.dispose()
    assert verify(url).is_whole
    store = Store(url)
    check = store.plan_spotcheck(1, spotcheck.PLAN, "Ann")
    store.name_window(check, 1, "PG", "Ann")
    with pytest.raises(InputError, match="got 'PG' by 'Ann'"):
        store.name_window(check, 1, "CEX", "Bob")
    store.close()
    assert verify(url).is_whole
