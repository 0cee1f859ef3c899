"""Faults around a probe lose no frame and double none: those of the benchmark, fewer of each."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    spec = importlib.util.spec_from_file_location("faults", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["faults"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scenario", ["folder_away", "half_written", "garbage", "disk_full"])
def test_fault_loses_no_frame(faults: ModuleType, scenario: str, tmp_path: Path) -> None:
    row = faults.SCENARIOS[scenario](tmp_path)
    assert (row.lost, row.doubled, row.whole) == (0, 0, True), row
    assert row.stored == row.written > 20


def test_kills_lose_no_frame(faults: ModuleType, tmp_path: Path) -> None:
    row = faults.kill(tmp_path, 4, seed=9)
    assert (row.lost, row.doubled, row.whole) == (0, 0, True), row
    assert row.n_faults == 4
