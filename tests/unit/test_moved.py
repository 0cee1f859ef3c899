"""Import paths of version 0.1 are still found, and say where their contents are now."""

from __future__ import annotations

import importlib
import sys

import pytest

from georgia._moved import MOVED


@pytest.mark.parametrize("name", sorted(MOVED))
def test_old_path_gives_new_contents(name: str) -> None:
    sys.modules.pop(f"georgia.{name}", None)
    with pytest.warns(FutureWarning, match=f"georgia.{name} has moved to georgia"):
        old = importlib.import_module(f"georgia.{name}")
    for place in MOVED[name]:
        new = vars(importlib.import_module(f"georgia.{place}"))
        assert {key for key in new if not key.startswith("_")} <= set(vars(old))


def test_unknown_old_path_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"georgia\.nothing"):
        importlib.import_module("georgia.nothing")
