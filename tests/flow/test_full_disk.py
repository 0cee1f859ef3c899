"""A full disk: one line that names the file, exit 2, no temporary file, and what was there stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from georgia.cli import main
from georgia.errors import UnwritableFileError
from georgia.files import allocate, atomic_path, naming_full_disk, write_text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def check_one_line(capsys: pytest.CaptureFixture[str], code: int, folder: Path) -> None:
    err = capsys.readouterr().err
    assert code == 2, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("georgia: Cannot write '"), err
    assert "more room on its disk is needed; got " in last
    assert [path.name for path in folder.rglob(".*")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("predict", "{model}", "{many}", "--out", "{disk}/p.csv"),
        ("predict", "{model}", "{many}", "--out", "{disk}/p.json"),
        ("predict", "{model}", "{many}", "--out", "{disk}/p.jsonl"),
        ("predict", "{model}", "{many}", "--out", "{disk}/p.parquet"),
        ("predict", "{model}", "{crops}", "--sheet", "{disk}/s.png"),
        ("audit", "{crops}", "--out", "{disk}/audit"),
        ("simulate", "--out", "{disk}/s", "--frames", "3", "--every", "0"),
        ("simulate", "--out", "{disk}/s", "--frames", "3", "--every", "0", "--set", "write=pieces"),
    ],
    ids=lambda command: "-".join(command).replace("{", "").replace("}", "").replace("/", "-"),
)
def test_command_on_full_disk_ends_in_one_line(
    command: tuple[str, ...],
    small_disk: Path,
    synthetic_crops: Path,
    brightness_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = tmp_path / "many"
    if "{many}" in command:
        many.mkdir()
        image = next((synthetic_crops / "CEX").glob("*.png"))
        for number in range(600):
            (many / f"{number}.png").symlink_to(image)
    places = {"model": brightness_model, "many": many, "disk": small_disk, "crops": synthetic_crops}
    check_one_line(capsys, main([word.format(**places) for word in command]), small_disk)


@pytest.mark.slow
def test_predictions_on_full_disk_are_resumed(
    small_disk: Path, synthetic_crops: Path, brightness_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(56 * 1024))
    table = small_disk / "p.csv"
    command = ["predict", str(brightness_model), str(synthetic_crops), "--out", str(table)]
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]
    ballast.unlink()
    assert main([*command, "--resume"]) == 0
    assert len(table.read_text(encoding="utf-8").splitlines()) == 81
    assert {path.name for path in small_disk.iterdir()} == {"p.csv", "p.csv-metadata.json"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_leaves_old_file(number: int, tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    rule = r"a\.txt': more room on its disk is needed; got [\d,]+ bytes"
    with pytest.raises(UnwritableFileError, match=rule), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_hidden_by_libraries_is_found(tmp_path: Path) -> None:
    hidden = f"Unable to write (errno = 28, error message = '{os.strerror(errno.ENOSPC)}')"
    with pytest.raises(UnwritableFileError, match="more room"), naming_full_disk(tmp_path / "a.h5"):
        raise RuntimeError(hidden)
    with pytest.raises(RuntimeError, match="something else"), naming_full_disk(tmp_path / "a.h5"):
        raise RuntimeError("something else")


def test_features_need_their_room_at_once(small_disk: Path) -> None:
    import numpy as np

    file = small_disk / "features.npy"
    np.lib.format.open_memmap(file, "w+", np.uint8, (2**20,))
    with pytest.raises(UnwritableFileError, match="more room"):
        allocate(file)
    assert not file.exists()


def test_unnamed_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from georgia.cli import app

    def fail(**_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(app, "app", fail)
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("georgia: Cannot write: the disk is full.")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "{model}", "{crops}", "--out", "{disk}/e"),
        ("explain", "{model}", "{image}", "--out", "{disk}/x"),
        ("cluster", "{model}", "{crops}", "--out", "{disk}/c"),
        ("audit", "{crops}", "--out", "{disk}/a"),
        ("predict", "{crops}", "--out", "{disk}/p.csv"),
        ("predict", "{model}", "{crops}", "--sheet", "{disk}/s.png"),
        ("simulate", "--out", "{disk}/s", "--frames", "1", "--every", "0"),
        ("split", "{crops}", "--out", "{disk}/split", "--mode", "link"),
    ],
    ids=lambda command: command[0] + command[-2],
)
def test_failed_sync_of_command_is_one_line(
    command: tuple[str, ...],
    synthetic_crops: Path,
    brightness_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("georgia.files.writing.os.fsync", fail)
    image = next((synthetic_crops / "CEX").glob("*.png"))
    values = {"model": brightness_model, "crops": synthetic_crops, "disk": tmp_path, "image": image}
    check_one_line(capsys, main([word.format(**values) for word in command]), tmp_path)
