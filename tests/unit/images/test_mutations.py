"""Damaged files of every format: read or refused, in little memory, without a crash or a hang."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.helpers import mutate_images


@pytest.mark.parametrize("n_files", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_files_end_no_process(n_files):
    command = [sys.executable, mutate_images.__file__, str(n_files), "14"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    counts = json.loads(result.stdout.splitlines()[-1])
    assert sum(counts.values()) == n_files
    assert min(counts["read"], counts["the file is damaged"], counts["the file is truncated"]) > n_files / 10
