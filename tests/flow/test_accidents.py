"""Everyday accidents at the command line: one line, the right exit code, nothing begun."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_S

from georgia.cli import main
from georgia.cli.options import make_config
from georgia.cli.serve import check_port
from georgia.errors import InputError, UnwritableFileError, mask_credentials
from georgia.files import check_target, is_device_name, write_text
from georgia.predict.predictor import PredictConfig


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: one image, one folder that is no store."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), (9, 200, 30)).save(tmp_path / "a.png")
    (tmp_path / "probe").mkdir()
    return tmp_path


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize(
    "args",
    [
        ("predict", ""),
        ("predict", "a.png", "--out", ""),
        ("predict", "a.png", "--out="),
        ("audit", ""),
        ("train", "", "--out", "run"),
        ("monitor", "--watch", ""),
        ("monitor", "--watch", "probe", "--db", ""),
        ("frames", ""),
    ],
)
def test_empty_word_is_rejected(
    args: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert "a name is needed; got an empty one. Is a variable unset?" in last_line(capsys)
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "probe"]


def test_home_folder_is_expanded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = here / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert main(["predict", "a.png", "--out=~/table.csv"]) == 0
    assert {path.name for path in home.iterdir()} == {"table.csv", "table.csv-metadata.json"}
    assert not (here / "~").exists()


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_port_in_use_is_one_line(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        args = ["--db", "q.db"] if command == "serve" else ["--live", "--out", "live"]
        assert main([command, *args, "--port", port]) == 2
    line = last_line(capsys)
    assert f"port {port}: a free port of this machine is needed; got one that another program" in line
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "probe"]


def test_host_of_another_machine_is_rejected() -> None:
    with pytest.raises(InputError, match="Look at --host and --port"):
        check_port("192.0.2.1", 0)
    check_port("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("monitor", "--watch", "probe", "--once", "--db", "probe"), "Cannot open the store 'probe'"),
        (("frames", "a.png"), "Cannot open the store 'a.png'"),
        (("frames", "postgresql://u:secret@127.0.0.1:1/x"), "u:***@127.0.0.1:1/x'"),
        (("verify", "postgresql://u:secret@127.0.0.1:1/x"), "a database that can be reached"),
        (("serve", "--port", "0", "--db", "postgresql://u:secret@127.0.0.1:1/x"), "u:***@127.0.0.1:1/x'"),
        (("frames", "mysql://u:secret@h/x"), "u:***@h/x'"),
        (("predict", "a.png", "--out", "probe.csv/t.csv"), "Cannot write"),
    ],
)
def test_place_that_cannot_be_used_is_named(
    args: tuple[str, ...], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "postgresql" in " ".join(args):
        pytest.importorskip("psycopg")
    (here / "probe.csv").touch()
    assert main(args) == 2
    line = last_line(capsys)
    assert message in line
    assert "secret" not in line


def test_folder_as_table_is_rejected_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "t.csv").mkdir()
    assert main(["predict", "a.png", "--out", "t.csv"]) == 2
    expected = "georgia: Cannot write 't.csv': it must be a file; got a folder. Name another."
    assert last_line(capsys) == expected


def test_model_behind_images_is_rejected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "run").mkdir()
    (here / "run" / "bundle.json").write_text("{}", encoding="utf-8")
    assert main(["predict", "probe", "run"]) == 2
    assert "the model comes first, then the images; got the model 'run'" in last_line(capsys)


@pytest.mark.parametrize("command", ["train", "study"])
@pytest.mark.parametrize("name", ["nonsense", ""])
def test_recipe_among_changes_is_used(
    command: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("keras")
    assert main([command, "probe", "--out", "run", "--set", f"recipe={name}"]) == 2
    line = last_line(capsys)
    assert "recipe: it must be one of fast" in line or "is no variant" in line


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
def test_settings_of_windows_editors_are_read(encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    file = tmp_path / "s.toml"
    file.write_bytes(f"{mark}[predict]\r\nbatch_size = 4\r\n".encode(encoding))
    assert make_config(PredictConfig, file, "predict", {}).batch_size == 4


def test_settings_nested_without_end_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("[predict]\nbatch_size = " + "[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match="it must be TOML"):
        make_config(PredictConfig, file, "predict", {})


def test_file_that_cannot_be_read_makes_code_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "probe" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 60)
    options = ["--set", "poll_interval_s=0.05", "--set", "grace_s=0.1"]
    assert main(["monitor", "--watch", "probe", "--once", "--db", "m.db", *options]) == 3
    assert "left out 'bad.png'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_stopped_monitor_has_its_code(number: signal.Signals, code: int, here: Path) -> None:
    command = [sys.executable, "-m", "georgia", "monitor", "--watch", "probe", "--db", "m.db"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "watching" in line:
                break
        process.send_signal(number)
        err = process.stderr.read()
        assert process.wait(PATIENCE_S) == code
    assert "Traceback" not in err


def test_library_that_exits_is_no_closed_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from georgia.cli import app

    def leave(**_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(app, "app", leave)
    assert main([]) == 1
    assert "stopped by a library" in last_line(capsys)


def test_memory_that_is_short_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from georgia.cli import app

    def fill(**_: object) -> None:
        raise MemoryError("Unable to allocate 9.31 TiB")

    monkeypatch.setattr(app, "app", fill)
    assert main([]) == 2
    assert "Not enough memory: Unable to allocate 9.31 TiB." in last_line(capsys)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:p@ss/w@h:5432/x?password=abc", "postgresql://u:***@h:5432/x?password=***"),
        ("'https://u:p@h/hook?token=xyz' failed", "'https://u:***@h/hook?token=***' failed"),
        ("http://localhost:8420/a@b", "http://localhost:8420/a@b"),
        ("opc.tcp://0.0.0.0:4840/georgia", "opc.tcp://0.0.0.0:4840/georgia"),
    ],
)
def test_passwords_of_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
    assert str(InputError("Cannot open", needs=text, got=text)) == f"Cannot open: {masked}; got {masked}."


def test_fault_within_fault_ends_with_one_point() -> None:
    inner = InputError("Cannot write 'a'", needs="x is needed", got="y", hint="Name another.")
    assert ".." not in str(InputError("Cannot place files", needs="z is needed", got=inner, hint="Go."))


def test_device_names_of_windows_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CON", "nul.csv", "Aux.tar.gz", "COM1", "lpt9.txt", "PRN ", r"C:\data\con.csv"]
    assert [name for name in names if not is_device_name(name)] == []
    assert not any(map(is_device_name, ["console.csv", "COM10", "null", r"C:\con\table.csv"]))
    device, stream = tmp_path / "NUL.csv", tmp_path / "run:1.csv"
    check_target(stream)
    monkeypatch.setattr("georgia.files.targets.os.name", "nt")
    for target, fault in ((device, "got the name of a device"), (stream, r"is needed; got 'run:1\.csv'")):
        with pytest.raises(UnwritableFileError, match=fault):
            check_target(target)


def test_long_name_can_still_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 250 + ".csv")
    write_text(target, "a")
    assert target.read_text() == "a"
