"""The settings of detected moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from georgia.config import Config, at_least, between, build_config, read_toml_section


@dataclass(frozen=True)
class MomentsConfig(Config):
    """Everything that ``[moments]`` in a settings file may say; docs/moments.md explains each.

    ``temperature`` names the variable that is the solution's temperature; "" takes the only one that there
    is. ``least_impurity`` is the fraction, 0–1, up to which the model's errors alone may reach: less is never
    called an impurity. 0 takes what is measured: by windows that somebody named, else by the first frames
    with crystals, which are held to be without it.
    ``least_frames`` is the number of frames below which nothing is said.
    """

    temperature: str = ""
    least_impurity: Annotated[float, between(0, 1)] = 0.0
    least_frames: Annotated[int, at_least(8)] = 8


def read_moments_settings(path: Path | None) -> MomentsConfig:
    """Return what ``[moments]`` of a settings file says; the defaults without a file or that section.

    Raises:
        InputError: the settings cannot be used.
    """
    return make_moments_settings(read_toml_section(path, "moments") if path is not None else {})


def make_moments_settings(*layers: Mapping[str, Any], where: str = "moments") -> MomentsConfig:
    """Return the settings of sections of a settings file; what comes later wins."""
    return build_config(MomentsConfig, *layers, where=f"the settings of {where!r}")
