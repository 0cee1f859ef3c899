"""Fields of records that were read from documents hold what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from georgia.files import check_fields


@dataclass(frozen=True)
class Inner:
    name: str


@dataclass(frozen=True)
class Row:
    n: int = 1
    mean: float = 0.5
    name: str = "a"
    is_done: bool = True
    kind: Literal["one", "two"] = "one"
    interval: tuple[float, float] | None = None
    counts: tuple[int, ...] = ()
    by_class: Mapping[str, float] | None = None
    inner: Inner = Inner("b")
    settings: Any = None


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mean": 3, "interval": (0.1, 1), "counts": (1, 2, 3), "by_class": {"CEX": 1}},
        {"kind": "two", "settings": [{"a": float("nan")}]},
    ],
)
def test_sound_fields_are_taken(values: dict[str, Any]) -> None:
    assert check_fields(Row(**values)) == Row(**values)


@pytest.mark.parametrize(
    "values",
    [
        *({"n": 1.0}, {"n": True}, {"n": "1"}, {"mean": None}, {"mean": float("nan")}, {"mean": 10**400}),
        *({"name": 1}, {"is_done": 1}, {"kind": "three"}, {"kind": []}, {"interval": (0.1,)}),
        *({"interval": [0.1, 0.2]}, {"counts": (1, "2")}, {"by_class": {"CEX": "1"}}, {"by_class": {1: 1.0}}),
        *({"by_class": []}, {"inner": "b"}, {"inner": None}),
    ],
)
def test_other_values_are_rejected(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f" as {next(iter(values))}"):
        check_fields(Row(**values))
