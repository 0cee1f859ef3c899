"""Import paths of version 0.1 are still found, and say where their contents are now."""

from __future__ import annotations

import importlib
import sys

import pytest

from georgia._moved import MOVED, RENAMED


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


@pytest.mark.parametrize(("package", "old"), [(name, old) for name in RENAMED for old in RENAMED[name]])
def test_renamed_function_is_found_with_notice(package: str, old: str) -> None:
    module = importlib.import_module(package)
    with pytest.warns(FutureWarning, match=f"{old} is called {RENAMED[package][old]}"):
        assert getattr(module, old) is getattr(module, RENAMED[package][old])


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'draw_nothing'"):
        importlib.import_module("georgia.synthetic").draw_nothing  # noqa: B018
