"""Streams that are closed, full or not UTF-8: quiet, with the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_S
from tests.helpers.subsample import every

FULL = Path("/dev/full")
needs_shell = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def run(folder: Path, redirection: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``georgia ARGS`` in a shell with redirected streams."""
    program = "import sys; from georgia.cli import main; sys.exit(main())"
    command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-c", program, *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=folder, env={**os.environ, **env}
    )


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """A folder with one image, whose name is not ASCII."""
    Image.new("RGB", (64, 64), (9, 200, 30)).save(tmp_path / "größe.png")
    return tmp_path


@needs_shell
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--help",), 0),
        pytest.param(("predict", "größe.png"), 0, marks=pytest.mark.slow),
        (("predict", "none.png"), 2),
    ],
)
@pytest.mark.parametrize("closed", every(3, [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]))
def test_closed_streams_are_quiet(probe: Path, closed: str, args: tuple[str, ...], code: int) -> None:
    result = run(probe, closed, *args)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert "georgia: " not in result.stdout
    if ">&-" in closed.split():
        assert result.stdout == ""


@pytest.mark.slow
@needs_shell
@needs_full
@pytest.mark.parametrize(("file", "code"), [("größe.png", 0), ("none.png", 2)])
def test_full_stderr_changes_nothing(probe: Path, file: str, code: int) -> None:
    result = run(probe, "2>/dev/full", "predict", file, "--json")
    assert result.returncode == code
    assert (result.stdout == "") == (code == 2)
    if code == 0:
        assert json.loads(result.stdout)["predictions"]


@pytest.mark.slow
@needs_shell
@needs_full
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_full_stdout_is_one_line(probe: Path, options: tuple[str, ...]) -> None:
    result = run(probe, ">/dev/full", "predict", "größe.png", *options)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "Cannot print the result" in result.stderr.splitlines()[-1]


@needs_shell
def test_reader_that_leaves_ends_quietly(probe: Path) -> None:
    result = run(probe, "| head -c 1; exit 0", "--help")
    assert result.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_json_is_the_same_in_every_encoding(probe: Path, encoding: str) -> None:
    program = "import sys; from georgia.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", program, "predict", "größe.png", "--json"],
        capture_output=True,
        timeout=PATIENCE_S,
        cwd=probe,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.decode("ascii"))["predictions"][0]["file"] == "größe.png"


def test_closed_descriptors_are_not_given_to_files(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("needs a POSIX shell")
    program = (
        "import sys; from georgia.cli import console\n"
        "with console.usable_streams(): sys.exit(0 if open(sys.argv[1], 'w').fileno() > 2 else 1)"
    )
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program, str(tmp_path / "a")]
    assert subprocess.run(command, timeout=PATIENCE_S).returncode == 0
