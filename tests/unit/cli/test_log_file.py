"""What a service prints, in a file that is rolled: whole lines, no secrets, and never a reason to stop."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from georgia.cli import console
from georgia.cli.app import main
from georgia.cli.log_file import LogConfig, logging_to, make_log_config
from georgia.errors import InputError

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ .*")


def lines_of(folder: Path) -> list[str]:
    """Return the lines of a log and of those before it, oldest first."""
    files = sorted(
        folder.glob("g.log*"), key=lambda file: -int(file.suffix[1:] if file.suffix != ".log" else 0)
    )
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_log_is_rolled_by_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = LogConfig(str(tmp_path / "g.log"), max_mb=0.002, files=3)
    with logging_to(config):
        threads = [
            threading.Thread(target=lambda: [console.show_note(f"note {number}.") for number in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        console.show_line("the last one, on stdout")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["g.log", "g.log.1", "g.log.2"]
    assert all(file.stat().st_size <= 2000 for file in files)
    found = lines_of(tmp_path)
    assert all(LINE.fullmatch(line) for line in found)
    assert found[-1].endswith("INFO the last one, on stdout")
    assert sum(line.endswith("georgia: note 49.") for line in found) >= 1
    shown = capsys.readouterr()
    assert shown.err.count("note 49.") == 4, "stderr has all as before"
    with logging_to(config):
        console.show_note("begun anew")
    assert lines_of(tmp_path)[-2].endswith("on stdout"), "a new start goes on in the same file"


def test_log_holds_warnings_faults_and_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = LogConfig(str(tmp_path / "g.log"))
    with pytest.raises(ValueError, match="a bug"), logging_to(config, has_stdout=False):
        logging.getLogger("asyncua").warning("a session was lost")
        console.show_line('{"token": "in JSON"}')
        console.show_note("page: http://127.0.0.1:8420/#token=a-secret, store postgresql://g:secret@db/plant")
        print("\x1b[2K bar", file=sys.stderr)
        raise ValueError("a bug")
    with pytest.raises(InputError), logging_to(config):
        raise InputError("Cannot open", needs="a store is needed", got="none")
    text = (tmp_path / "g.log").read_text(encoding="utf-8")
    assert "WARNING a session was lost" in text
    assert "Traceback" in text
    assert "ValueError: a bug" in text
    assert "ERROR Cannot open: a store is needed" in text
    assert "#token=…" in text
    assert not any(secret in text for secret in ("a-secret", ":secret@", "in JSON", " bar"))
    assert "a session was lost" in capsys.readouterr().err


def test_log_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="it must be a file"), logging_to(LogConfig(str(tmp_path))):
        pass
    told = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", told)
    full = tmp_path / "g.log"
    full.symlink_to("/dev/full")
    with logging_to(LogConfig(str(full))):
        for _ in range(3):
            console.show_note("still at work")
    assert told.getvalue().count("cannot be written") == 1
    assert "No space left" in told.getvalue()


@pytest.mark.parametrize(
    "content", [b"SQLite format 3\0", b"\x89PNG\r\n\x1a\n" + b"\0" * 60, b"[monitor]\nlimit = 0.1\n"]
)
def test_log_over_another_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "batch.db"
    other.write_bytes(content)
    with pytest.raises(InputError, match="holds something else"), logging_to(LogConfig(str(other))):
        console.show_note("would damage it")
    assert other.read_bytes() == content


def test_log_of_tiny_size_is_rolled(tmp_path: Path) -> None:
    for _ in range(2):
        with logging_to(LogConfig(str(tmp_path / "g.log"), max_mb=1e-9, files=2)):
            for _ in range(3):
                console.show_note("a line")
    assert len(lines_of(tmp_path)) == 2


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"log": {"files": 1}}, "from 2 to 1000"),
        ({"log": {"max_mb": 0}}, "above 0"),
        ({"log": {"x": 1}}, "'x'"),
        ({"log": "g.log"}, "a table is needed"),
    ],
)
def test_settings_of_log_are_checked(document: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        make_log_config(document, None)


def test_monitor_writes_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe, log = tmp_path / "probe", tmp_path / "g.log"
    probe.mkdir()
    (probe / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 60)
    settings = tmp_path / "plant.toml"
    settings.write_text("[monitor]\npoll_interval_s = 0.05\n[log]\nmax_mb = 1\n")
    options = ("--db", str(tmp_path / "m.db"), "--config", str(settings), "--log-file", str(log))
    code = main(["monitor", "--watch", str(probe), "--once", "--json", "--set", "grace_s=0.1", *options])
    shown = capsys.readouterr()
    assert code == 3
    assert all(json.loads(line) for line in shown.out.splitlines())
    kept = [line.partition(" INFO ")[2] for line in log.read_text(encoding="utf-8").splitlines()]
    assert kept == [line for line in shown.err.splitlines() if line.strip()]
    assert any("a.png" in line for line in kept)


@pytest.mark.parametrize(
    ("log", "arguments", "document"),
    [
        ("a.db", ["--db", "a.db"], ""),
        ("./a.db", ["--set", "db=a.db"], ""),
        ("a.db.head", ["--db", "sqlite:///a.db"], ""),
        ("georgia-monitor.db", [], ""),
        ("a.db", ["--config", "g.toml"], '[monitor]\ndb = "a.db"'),
        ("a.jsonl", ["--config", "g.toml", "--db", "a.db"], '[monitor]\nanchor = "a.jsonl"'),
        ("plant-r2.db", ["--config", "g.toml"], '[monitor]\ndb="plant.db"\n[probes.r2]\nwatch="x"'),
        ("own.db", ["--config", "g.toml"], '[probes.r2]\nwatch="x"\ndb="own.db"'),
    ],
)
def test_log_that_is_the_store_too_is_rejected_before_it_is_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log: str,
    arguments: list[str],
    document: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.toml").write_text(document, encoding="utf-8")
    assert main(["serve", "--log-file", log, *arguments]) == 2
    assert "Cannot write --log-file and" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["g.toml"]


def test_monitor_rejects_one_file_for_two_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "probe").mkdir()
    watch = ["monitor", "--watch", "probe", "--once"]
    assert main([*watch, "--log-file", "fresh.db", "--db", "fresh.db"]) == 2
    assert "each needs a file of its own; got 'fresh.db' for both" in capsys.readouterr().err
    assert not (tmp_path / "fresh.db").exists()
    for anchor in ("a.db", "a.db.head", str(tmp_path / "a.db-wal")):
        assert main([*watch, "--db", "a.db", "--set", f"anchor={anchor}"]) == 2
        assert "Cannot write db and anchor" in capsys.readouterr().err
    # The name of a store that is not in use is like any other.
    assert main([*watch, "--db", "a.db", "--log-file", "georgia-monitor.db"]) == 0
