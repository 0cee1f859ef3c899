"""Who reads a store changes no file, whatever it is and wherever it lies."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.helpers.patience import PATIENCE_S
from tests.helpers.rights import without_rights
from tests.helpers.tamper import fill, verify_while_writing

from georgia.cli import main
from georgia.errors import InputError
from georgia.monitor import connect, open_store
from georgia.monitor.queries import StoreReader
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    store = Store(str(path))
    fill(store)
    store.close()
    return path


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    for name in ("store.db", "store.db.head"):
        shutil.copy(template.with_name(name), tmp_path / name)
    return tmp_path / "store.db"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_sqlite(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


FOREIGN = {
    "another's tables": "CREATE TABLE recipes (a)",
    "a table called frames": "CREATE TABLE frames (a); INSERT INTO frames VALUES (1)",
    "a table called about": "CREATE TABLE about (a, b)",
    "an empty about": "CREATE TABLE about (name TEXT, value TEXT)",
    "an empty database": "CREATE TABLE a (b); DROP TABLE a",
}


@pytest.mark.parametrize("what", [*FOREIGN, "no bytes", "text"])
@pytest.mark.parametrize("command", ["verify", "frames"])
def test_foreign_file_is_left_alone(
    what: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.db"
    if what in FOREIGN:
        make_sqlite(path, FOREIGN[what])
    else:
        path.write_bytes(b"" if what == "no bytes" else b"this is no database" * 100)
    before = contents(tmp_path)
    assert main([command, str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "Cannot open" in line
    assert "f.db" in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("what", [name for name in FOREIGN if name != "an empty database"])
def test_monitor_does_not_write_into_foreign_file(what: str, tmp_path: Path) -> None:
    path = make_sqlite(tmp_path / "f.db", FOREIGN[what])
    before = contents(tmp_path)
    with pytest.raises(InputError, match="a store of Georgia is needed; got a database of something else"):
        open_store(str(path))
    assert contents(tmp_path) == before


def test_store_is_read_without_a_trace(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(file.parent)
    assert main(["verify", str(file)]) == 0
    assert main(["frames", str(file)]) == 0
    assert main(["verify", f"sqlite:///{file}"]) == 0
    capsys.readouterr()
    assert contents(file.parent) == before


def test_reader_cannot_write(file: Path) -> None:
    reader = StoreReader.open(str(file))
    with (
        pytest.raises(connect.StoreAwayError, match="readonly"),
        connect.writing(reader.engine) as connection,
    ):
        connection.exec_driver_sql("DELETE FROM trail")
    reader.close()


def test_reader_sees_running_monitor(file: Path) -> None:
    store = Store(str(file))
    store.append_event("ann", "note", {})
    reader = StoreReader.open(str(file))
    assert reader.audit_log(1)[0].action == "note"
    assert verify_store(reader).is_whole
    reader.close()
    store.close()


def test_monitor_that_starts_meanwhile_is_noticed(file: Path) -> None:
    reader = StoreReader.open(str(file))
    store = Store(str(file))
    with pytest.raises(connect.StoreAwayError, match="a monitor has opened it meanwhile"):
        reader.batches()
    reader.close()
    store.close()


def test_record_is_whole_while_monitor_writes(file: Path) -> None:
    assert verify_while_writing(str(file)) == []


@pytest.fixture
def locked(file: Path) -> Iterator[Path]:
    """A folder that the command's process cannot write to, whoever it is."""
    file.parent.chmod(0o555)
    file.chmod(0o444)
    yield file
    file.parent.chmod(0o755)


def run_without_rights(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*without_rights(), sys.executable, "-m", "georgia", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.slow
def test_archive_without_write_access_is_read(locked: Path) -> None:
    done = run_without_rights("verify", str(locked))
    assert done.returncode == 0, done.stderr
    assert "frames: 12" in done.stdout


@pytest.mark.slow
def test_copy_with_its_log_is_read_whole(file: Path) -> None:
    store = Store(str(file))
    store.append_event("ann", "note", {})
    copy = file.parent / "copy"
    copy.mkdir()
    for name in ("store.db", "store.db-wal", "store.db.head"):  # as a backup of a running store takes it
        shutil.copy(file.with_name(name), copy / name)
    store.close()
    assert (copy / "store.db-wal").stat().st_size > 0
    copy.chmod(0o555)
    done = run_without_rights("verify", str(copy / "store.db"))
    copy.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "audit log: 20 rows" in done.stdout


def test_damaged_store_is_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(data)
    assert main(["verify", str(file)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "a whole database" in line


@pytest.mark.parametrize("seconds", ['{"sum": [[]]}', '{"sum": NaN}', '{"sum": true}', "[1]"])
def test_altered_seconds_are_one_line(file: Path, capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE frames SET seconds = ? WHERE id = 3", (seconds,))
    connection.close()
    assert main(["frames", str(file)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in line


PASSWORDS = [
    "s3cr3tXX",
    "p%40ssXX",
    "my sXcret",
    "a/b@cWORDx",
    "7654321",
    "pä$$wörtX",
    "q'uoXX",
    'd"quoXX',
    "a;b)XXX",
]
ADDRESSES = [
    "postgresql://plant:{}@127.0.0.1:1/plant",
    "postgresql://:{}@127.0.0.1:1/plant",
    "postgresql://127.0.0.1:1/plant?user=me&password={}",
    "mysql://me:{}@host/plant",
    "postgresql://plant:{}@/plant?host=/nowhere",
]


def find_leak(text: str, password: str) -> set[str]:
    """Return what of a password stands in a text, in whatever form it could."""
    whole = {password, unquote(password), password.replace("'", "\\'")}
    return {part for part in {*whole, *re.split("[@/]", password)} if len(part) > 3 and part in text}


@pytest.mark.slow
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("command", ["verify", "frames"])
def test_password_of_store_is_never_printed(
    command: str, password: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for address in ADDRESSES:
        assert main([command, address.format(password), "--json"]) == 2
        out, err = capsys.readouterr()
        assert "Cannot open the store" in err
        assert not find_leak(out + err + caplog.text, password)


@pytest.mark.slow
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("command", ["monitor", "serve"])
def test_password_is_not_printed_by_writers(
    command: str, password: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--watch", str(tmp_path)] if command == "monitor" else ["--port", "0"]
    assert main([command, "--db", ADDRESSES[0].format(password), *options]) == 2
    out, err = capsys.readouterr()
    assert "Cannot open the store" in err
    assert not find_leak(out + err, password)
