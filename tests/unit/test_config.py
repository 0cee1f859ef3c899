"""Settings: one meaning from TOML and from assignments, all faults at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from georgia.config import build_config, format_toml, parse_assignments, read_toml_section
from georgia.errors import InputError


@dataclass(frozen=True)
class Example:
    """Some of each kind."""

    name: str = "a"
    count: int = 1
    rate: float = 0.5
    on: bool = False
    rates: tuple[float, ...] = ()
    kind: Literal["x", "y"] = "x"
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError("count must be 0 or more")


def test_assignments_and_toml_agree(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[train]\nname = "b"\ncount = 3\nrate = 1\non = true\nrates = [0.4, 0.3]\nkind = "y"\n')
    from_toml = build_config(Example, read_toml_section(file, "train"))
    from_assignments = build_config(
        Example, parse_assignments(["name=b", "count=3", "rate=1", "on=yes", "rates=0.4,0.3", "kind=y"])
    )
    assert from_toml == from_assignments == Example("b", 3, 1.0, True, (0.4, 0.3), "y")


def test_toml_reads_back(tmp_path: Path) -> None:
    values = {"name": 'ü "quoted"', "count": 2, "on": True, "rates": [0.4]}
    file = tmp_path / "a.toml"
    file.write_text(format_toml("train", values), encoding="utf-8")
    assert read_toml_section(file, "train") == values


def test_build_config_takes_last_layer() -> None:
    assert build_config(Example, {"count": 1}, {"count": 2}).count == 2


def test_build_config_takes_number_as_list() -> None:
    assert build_config(Example, {"rates": 0.4}).rates == (0.4,)


def test_build_config_allows_none() -> None:
    assert build_config(Example, {"limit": "none"}).limit is None
    assert build_config(Example, {"limit": "0.5"}).limit == 0.5


def test_build_config_reports_all_faults() -> None:
    with pytest.raises(InputError) as caught:
        build_config(Example, {"coumt": 1, "rate": "fast", "kind": "z", "on": "perhaps"})
    text = str(caught.value)
    for part in ("Did you mean 'count'", "'rate' must be a number", "one of x, y", "must be true or false"):
        assert part in text


@pytest.mark.parametrize(("key", "value"), [("count", 1.5), ("count", True), ("rate", False), ("rates", {})])
def test_build_config_rejects_wrong_types(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"'{key}' must be"):
        build_config(Example, {key: value})


def test_build_config_applies_class_rules() -> None:
    with pytest.raises(InputError, match="count must be 0 or more"):
        build_config(Example, {"count": -1})


@pytest.mark.parametrize(("text", "rule"), [("[train\n", "must be TOML"), ("train = 3\n", "must be a table")])
def test_toml_fault_is_one_line(tmp_path: Path, text: str, rule: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=rule):
        read_toml_section(file, "train")


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a readable text file is needed"):
        read_toml_section(tmp_path / "none.toml", "train")
    with pytest.raises(InputError, match="key=value is needed; got 'seed'"):
        parse_assignments(["seed"])
