"""No test depends on which others ran before it in its process."""

from __future__ import annotations

import random
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(3)


@pytest.mark.parametrize("number", [1, 2])
def test_each_test_gets_the_same_random_numbers(number: int) -> None:
    assert RNG.random() == np.random.default_rng(3).random(), number
    assert random.random() == random.Random(0).random(), number


@pytest.fixture(scope="module")
def shared() -> float:
    return random.random() + RNG.random()


@pytest.mark.parametrize("number", [1, 2])
def test_shared_fixture_has_numbers_of_its_own(shared: float, number: int) -> None:
    seed = zlib.crc32(b"shared")
    assert shared == random.Random(seed).random() + np.random.default_rng(seed).random()
    assert RNG.random() == np.random.default_rng(3).random(), number
    assert random.random() == random.Random(0).random(), number


def test_generated_examples_are_the_same_in_each_run() -> None:
    for file in (ROOT / "tests").rglob("test_*.py"):
        text = file.read_text(encoding="utf-8")
        if re.search("^(from|import) hypothesis", text, re.MULTILINE):
            n = text.count("max_examples=")
            assert n == len(re.findall(r"\bderandomize=True", text)) > 0, file
            assert n == text.count("suppress_health_check="), f"{file}: a slow machine is no fault"
