"""requirements.floors names the lowest versions allowed; scripts/test-floors runs on them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("train", "fetch", "parquet", "int8", "monitor", "postgres", "plant", "web")
PINNED = dict(
    re.findall(r"^([a-z0-9-]+)==([0-9.]+)", (ROOT / "requirements.floors").read_text(encoding="utf-8"), re.M)
)
DECLARED = PROJECT["dependencies"] + [
    text for name in EXTRAS for text in PROJECT["optional-dependencies"][name] if "georgia[" not in text
]


def release(version: str) -> tuple[int, ...]:
    parts = tuple(map(int, version.split(".")))
    return parts + (0,) * (4 - len(parts))


@pytest.mark.parametrize("text", [text for text in DECLARED if not text.startswith("tensorflow>")])
def test_lowest_version_is_one_that_is_tested(text: str) -> None:
    name, floor = re.fullmatch(
        r"([A-Za-z0-9_.-]+)(?:\[.*\])?>=([0-9.]+)(?:;.*)?", text.replace(" ", "")
    ).groups()
    pinned = PINNED[re.sub("[_.]", "-", name.lower())]
    assert release(pinned) == release(floor), f"{name}: run scripts/lock, or declare {pinned}"
