"""Georgia: crystal-image classifiers that can be trusted.

>>> import georgia
>>> model = georgia.load()  # the bundled model; or a run folder, an .onnx, a Keras .h5
>>> model.classes
('CEX', 'PG')

``georgia.audit``, ``georgia.train`` and ``georgia.evaluate`` are packages and can be called: each runs its
step and returns the step's result. Nothing is imported before it is used. See docs/python.md.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from georgia._moved import MovedModules

__version__ = "0.1.0"

# Packages that can be called, by the function of their name in ``georgia.api``.
_STEPS = ("audit", "train", "evaluate")
_FUNCTIONS = ("load", "Model")

sys.meta_path.append(MovedModules())


class _Step(ModuleType):
    """A package of a step that runs the step when it is called."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        from georgia import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **settings)


class _Georgia(ModuleType):
    """This package: its steps' packages become callable as they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _STEPS and type(value) is ModuleType:
            value.__class__ = _Step
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        import importlib

        if name in _STEPS:
            return importlib.import_module(f"georgia.{name}")
        if name in _FUNCTIONS:
            return getattr(importlib.import_module("georgia.api"), name)
        raise AttributeError(f"module 'georgia' has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_STEPS, *_FUNCTIONS})


sys.modules[__name__].__class__ = _Georgia
