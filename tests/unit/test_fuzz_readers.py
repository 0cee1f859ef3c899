"""Mutated files of every reader are read or rejected in one line, in bounded memory, without a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.helpers.fuzz_readers import READERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc"),
]
# More by hand: python -m tests.helpers.fuzz_readers READER COUNT SEED FOLDER.
N_FILES = 100
# A whole record is verified for each of these.
FEW_FILES = {"store": 30, "old store": 30}


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_are_read_or_rejected(reader: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.fuzz_readers", reader]
    command += [str(FEW_FILES.get(reader, N_FILES)), "7", str(tmp_path)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=root, timeout=280
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    assert "rejected" in done.stdout
