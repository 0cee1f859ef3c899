"""One process writes an output; what a killed one left is taken over, and who holds it is said."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from georgia.errors import InputError, UnwritableFileError
from georgia.files import OutputLock, locks

HOLD = (
    "import sys; from pathlib import Path; from georgia.files import OutputLock\n"
    "lock = OutputLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()\n"
)


def start_holder(target: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdin=pipe, stdout=pipe, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_second_process_learns_who_holds(tmp_path: Path) -> None:
    target = tmp_path / "new" / "p.csv"
    holder = start_holder(target)
    with pytest.raises(InputError, match=rf"one process .* got process {holder.pid} on .*, since 2"):
        OutputLock(target)
    holder.communicate("")


def test_second_run_in_process_is_rejected(tmp_path: Path) -> None:
    first = OutputLock(tmp_path / "p.csv")
    with pytest.raises(InputError, match=f"got process {os.getpid()} on"):
        OutputLock(tmp_path / "p.csv")
    OutputLock(tmp_path / "p.json").release()
    first.release()
    first.release()
    OutputLock(tmp_path / "p.csv").release()
    assert list(tmp_path.iterdir()) == []


def test_lock_of_other_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    lock = tmp_path / "p.csv.lock"
    lock.touch()
    monkeypatch.setattr(locks.os, "open", reject)
    with pytest.raises(
        UnwritableFileError, match=r"lock file '.*p\.csv\.lock' must be writable.*delete that"
    ):
        OutputLock(tmp_path / "p.csv")
    lock.unlink()
    with pytest.raises(UnwritableFileError, match="its folder must take files"):
        OutputLock(tmp_path / "p.csv")


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_lock_of_killed_process_is_taken_over(tmp_path: Path) -> None:
    holder = start_holder(tmp_path / "p.csv")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (tmp_path / "p.csv.lock").exists()
    lock = OutputLock(tmp_path / "p.csv")
    assert json.loads((tmp_path / "p.csv.lock").read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1'])
def test_half_written_lock_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv.lock").write_text(text)
    OutputLock(tmp_path / "p.csv").release()
    assert list(tmp_path.iterdir()) == []


def test_lock_of_other_machine_is_kept(tmp_path: Path) -> None:
    (tmp_path / "p.csv.lock").write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(InputError, match=r"process 1 on elsewhere, .* delete .*p.csv.lock"):
        OutputLock(tmp_path / "p.csv")
    assert (tmp_path / "p.csv.lock").exists()


@pytest.mark.parametrize(
    ("pid", "is_taken"),
    [(os.getpid(), True), (2**22 + 5, False), ("x", False)],
    ids=["own process", "no process", "no number"],
)
def test_lock_without_file_locks_asks_for_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: object, is_taken: bool
) -> None:
    monkeypatch.setattr(locks, "_lock_file", lambda _: None)
    (tmp_path / "p.csv.lock").write_text(json.dumps({"pid": pid, "host": socket.gethostname()}))
    if is_taken:
        with pytest.raises(InputError, match="one process at a time"):
            OutputLock(tmp_path / "p.csv")
    else:
        OutputLock(tmp_path / "p.csv").release()


def test_lock_in_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableFileError, match=r"Cannot write .*p.csv.*its folder must take files"):
        OutputLock(tmp_path / "file" / "p.csv")
