"""A backup is the store of one moment: with its record and its faults, and never over another."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.helpers.monitor import make_result
from tests.helpers.postgres import PostgresServer, has_postgres
from tests.helpers.tamper import EDITS, edit, fill

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor.backup import BackupConfig, back_up
from georgia.monitor.queries import StoreReader
from georgia.monitor.store import Store
from georgia.monitor.verify import Verification, verify_store


@pytest.fixture
def original(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(str(tmp_path / "m.db"))) as store:
        fill(store)
        yield store


def verify(url: str) -> Verification:
    with closing(StoreReader.open(url)) as reader:
        return verify_store(reader)


def test_copy_holds_the_record_and_goes_on(original: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "c.db"
    made = back_up(str(tmp_path / "m.db"), str(copy))
    assert (made.head, made.n_frames, made.is_whole) == (original.head(), 12, True)
    assert {path.name for path in copy.parent.iterdir()} == {"c.db", "c.db.head"}
    batch = original.batches()[0].id
    with closing(Store(str(copy))) as restored:
        restored.record_frame(make_result(900, batch), "probe", "{}", None)
        assert [event.action for event in restored.audit_log(limit=3)] == [
            event.action for event in original.audit_log(limit=3)
        ]
    found = verify(str(copy))
    assert (found.is_whole, found.n_frames) == (True, 13), found.faults
    assert verify(str(tmp_path / "m.db")).n_frames == 12


def test_nothing_is_overwritten(original: Store, tmp_path: Path) -> None:
    for name in ("taken.db", "other.db.head"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(InputError, match="must name a file that does not exist"):
            back_up(str(tmp_path / "m.db"), str(tmp_path / name.removesuffix(".head")))
        assert (tmp_path / name).read_bytes() == b"mine"
    assert not (tmp_path / "other.db").exists()


def test_original_without_store_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    for name in ("none.db", "text.db"):
        with pytest.raises(InputError, match="Cannot open"):
            back_up(str(tmp_path / name), str(tmp_path / "copy.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


def test_faults_are_copied_and_named(
    original: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(iter(EDITS))
    edit(original.engine, EDITS[name][0])
    copy = tmp_path / "c.db"
    assert main(["backup", str(tmp_path / "m.db"), "--out", str(copy), "--json"]) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["whole"] is False
    assert "was copied, but is not whole" in err
    assert verify(str(copy)).faults == verify(str(tmp_path / "m.db")).faults


def test_record_that_was_cut_stays_cut(original: Store, tmp_path: Path) -> None:
    """The head beside the copy is the one beside the original, which still names the end that is gone."""
    with closing(sqlite3.connect(tmp_path / "m.db")) as connection, connection:
        connection.execute("DELETE FROM seals WHERE seq = (SELECT max(seq) FROM seals)")
    made = back_up(str(tmp_path / "m.db"), str(tmp_path / "c.db"))
    assert made.is_whole is False


def test_unchecked_copy_says_so(original: Store, tmp_path: Path) -> None:
    made = back_up(str(tmp_path / "m.db"), str(tmp_path / "c.db"), BackupConfig(verify=False))
    assert (made.is_whole, made.head) == (None, original.head())


def test_copy_while_a_monitor_writes_is_one_moment(original: Store, tmp_path: Path) -> None:
    stop = threading.Event()
    batch = original.batches()[0].id

    def write() -> None:
        number = 1000
        while not stop.is_set():
            number += 1
            original.record_frame(make_result(number, batch), "probe", "{}", None)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [back_up(str(tmp_path / "m.db"), str(tmp_path / f"c{n}.db")) for n in range(3)]
    finally:
        stop.set()
        writer.join()
    assert [copy.is_whole for copy in made] == [True] * 3
    assert made[0].n_frames < made[-1].n_frames


@pytest.mark.slow
@pytest.mark.skipif(not has_postgres(), reason="needs PostgreSQL's server programs (Debian: postgresql)")
def test_store_moves_to_a_server_and_back(original: Store, tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        url = server.make_database("plant")
        assert back_up(str(tmp_path / "m.db"), url).is_whole
        with pytest.raises(InputError, match="a database without a store is needed"):
            back_up(str(tmp_path / "m.db"), url)
        with closing(Store(url)) as store:
            store.record_frame(make_result(900, store.batches()[0].id), "probe", "{}", None)
            head = store.head()
        made = back_up(url, str(tmp_path / "back.db"))
    finally:
        server.close()
    assert (made.head, made.n_frames, made.is_whole) == (head, 13, True), made.verification
