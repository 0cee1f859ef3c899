"""scripts/setup on a disk that is too small, or that becomes full: the disk is named, not the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.helpers.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
# A Python that is usable; it makes a virtual environment whose pip prints $PIP_SAYS and fails.
PYTHON = """#!/bin/sh
case "$1 $2" in
  "-m venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip") echo "$PIP_SAYS"; exit 1 ;;
  --version*) echo "Python 3.12.1" ;;
esac
"""
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the script, and programs that stand before the system's."""
    if os.name != "posix" or not shutil.which("bash"):
        pytest.skip("needs a POSIX shell")
    folder = tmp_path / "a checkout"
    for name in ("scripts/setup", "pyproject.toml", "requirements.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    write_program(tmp_path / "bin" / "python", PYTHON)
    return folder


def run_setup(checkout: Path, free_gb: dict[str, float], says: str = "") -> subprocess.CompletedProcess[str]:
    """Run it where ``df`` tells so much room on one disk after the other: checkout, TMPDIR, pip's cache."""
    rows = "".join(
        f"/dev/x 1 1 {int(gb * 1000 * 1024)} 1% {disk}\n"
        for disk, gb in zip(free_gb, free_gb.values(), strict=True)
    )
    disks = checkout.parent / "disks"
    disks.write_text("Filesystem 1024-blocks Used Available Capacity Mounted on\n" + rows, encoding="utf-8")
    write_program(checkout.parent / "bin" / "df", f'#!/bin/sh\ncat "{disks}"\n')
    env = {
        **os.environ,
        "PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}",
        "PYTHON": str(checkout.parent / "bin" / "python"),
        "TMPDIR": str(checkout.parent),
        "PIP_SAYS": says,
    }
    command = ["bash", "scripts/setup", "dev"]
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("free_gb", "disk", "place"),
    [
        ({"/home": 3.0, "/tmp": 9.0, "/cache": 0.0}, "/home", "the packages in "),
        ({"/home": 9.0, "/a disk": 0.5, "/cache": 0.0}, "/a disk", "downloads in TMPDIR="),
        (
            {"/home": 3.0, "/tmp": 0.1, "/cache": 0.0},
            "/home",
            " GB free, and 0.8 GB are needed on the disk at /tmp ",
        ),
        # One disk for all of it: the sum counts. (awk ends names at a space.)
        ({"/": 4.0, "/ ": 4.0, "/  ": 4.0}, "/", " and downloads in TMPDIR="),
    ],
)
def test_small_disk_ends_before_anything_is_written(
    checkout: Path, free_gb: dict[str, float], disk: str, place: str
) -> None:
    done = run_setup(checkout, free_gb)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Cannot set up: ")
    assert f" GB are needed on the disk at {disk} for " in done.stderr
    assert place in done.stderr
    assert f"got {next(gb for name, gb in free_gb.items() if name == disk):.1f} GB free" in done.stderr
    assert not (checkout / ".venv").exists()


def test_packages_that_are_there_count_as_room(checkout: Path) -> None:
    """A second set-up for a new lock needs little; 40 MB stand for it, as blocks that are really there."""
    ample = {"/home": 3.72, "/tmp": 9.0, "/cache": 0.0}
    assert "Make room" not in run_setup(checkout, ample).stderr
    short = {**ample, "/home": 3.68}
    assert "Make room" in run_setup(checkout, short).stderr
    (checkout / ".venv" / "lib").mkdir(parents=True, exist_ok=True)
    with (checkout / ".venv" / "lib" / "package").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, 40 << 20)
    assert "Make room" not in run_setup(checkout, short).stderr


@pytest.mark.parametrize(
    "says",
    [FULL, "OSError: [Errno 122] Disk quota exceeded: '/home/x/.venv/lib/a.so'"],
    ids=["full", "quota"],
)
def test_disk_full_while_pip_installs_is_named(checkout: Path, says: str) -> None:
    done = run_setup(checkout, {"/home": 9.0, "/tmp": 9.0, "/cache": 0.0}, says)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Cannot set up: a disk became full while pip installed (above)")
    assert "at /home" in last
    assert "registry" not in last
    assert says in done.stderr


def test_other_failure_of_pip_hints_at_registry(checkout: Path) -> None:
    done = run_setup(checkout, {"/home": 9.0, "/tmp": 9.0, "/cache": 0.0}, "ERROR: No matching distribution")
    assert done.returncode == 2
    assert "Is a package registry within reach?" in done.stderr.splitlines()[-1]
    assert "disk" not in done.stderr.splitlines()[-1]
