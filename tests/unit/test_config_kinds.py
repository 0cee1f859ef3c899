"""No value of any kind makes a setting end otherwise than in one line."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import georgia
from georgia.config import Config, build_config, flatten_config
from georgia.errors import InputError

# What a field without a default gets, so that the others can be tried.
NEEDED: dict[str, dict[str, Any]] = {"CropPlan": {"n_per_class": 2}}


def find_configs() -> list[type[Config]]:
    """Return every class of settings in the package."""
    package = Path(georgia.__file__).parent
    for file in package.rglob("*.py"):
        if "(Config):" in file.read_text(encoding="utf-8"):
            importlib.import_module(".".join(("georgia", *file.relative_to(package).with_suffix("").parts)))
    classes = [cls for cls in Config.__subclasses__() if cls.__module__.startswith("georgia.")]
    return sorted(classes, key=lambda cls: cls.__qualname__)


CONFIGS = find_configs()


def fields_of(cls: Any) -> Iterator[tuple[type[Config], str]]:
    for field in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[field.name]
        if not (isinstance(kind, type) and issubclass(kind, Config)):
            yield cls, field.name


FIELDS = [pair for cls in CONFIGS for pair in fields_of(cls)]
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([-1, 0, 2**31, 2**32, 2**63, 2**64, 10**400, 80_000, 20260131120000]),
    st.floats(),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, 5e-324]),
)
TEXTS = st.one_of(
    st.text(),
    st.sampled_from(["", " ", "~", "~/x", "~nobody/x", "a\0b", "nan", "inf", "1e999", "-0", "٣", "9" * 5000]),
    st.sampled_from(["[", "(", "opc.tcp://h:80000", "http://", "http://[", "postgresql://u:p@h/x", "\ud800"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.dictionaries(st.text(max_size=4), SCALARS, max_size=2),
    st.just([[[[]]]]),
)


def build_or_none(cls: type[Config], values: dict[str, Any]) -> Any:
    try:
        return build_config(cls, {**NEEDED.get(cls.__name__, {}), **values})
    except InputError as error:
        text = str(error)
        assert len(text) < 5000, text
        return None


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])
@given(value=VALUES)
@hypothesis_settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
def test_setting_of_any_kind_fits_or_is_rejected(cls: type[Config], name: str, value: Any) -> None:
    made = build_or_none(cls, {name: value})
    if made is not None:
        # What was accepted is accepted again: settings are written down and read back.
        assert build_config(cls, flatten_config(made)) == made


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_number_without_a_size_is_rejected(value: float) -> None:
    for cls, name in FIELDS:
        made = build_or_none(cls, {name: value})
        assert made is None or not isinstance(getattr(made, name), float), (cls, name)


@pytest.mark.parametrize(
    ("module", "cls", "values", "rule"),
    [
        ("predict.predictor", "PredictConfig", {"workers": -3}, "workers must be from 0 to 1024; got -3"),
        ("predict.predictor", "PredictConfig", {"threads": -1}, "threads must be from 0 to 1024"),
        ("predict.predictor", "PredictConfig", {"batch_size": 0}, "batch_size must be from 1"),
        ("evaluate.score", "EvaluateConfig", {"robustness_files": -1}, "robustness_files must be 1 or more"),
        (
            "monitor.settings",
            "MonitorConfig",
            {"threads": -2},
            "threads must be auto, or a number from 1 to 1024",
        ),
        ("monitor.settings", "MonitorConfig", {"opcua": "opc.tcp://h:80000"}, "opcua must be opc.tcp://"),
        ("monitor.settings", "MonitorConfig", {"webhook": "http://"}, "webhook must be http://"),
        ("web.config", "ServeConfig", {"port": 80_000}, "port must be 0 .* to 65535; got 80000"),
        ("train.recipes", "TrainConfig", {"seed": 20260131120000}, "seed must be from 0 to 4294967295"),
        ("train.recipes", "TrainConfig", {"size_px": 100_000}, "size_px must be from 32 to 2048"),
        ("train.recipes", "TrainConfig", {"learning_rate": "fast"}, "'learning_rate' must be a number"),
        ("train.recipes", "TrainConfig", {"dropout": float("nan")}, "dropout must be finite"),
        ("synthetic.simulate", "SimulateConfig", {"every_s": "inf"}, "every_s must be finite; got inf"),
        ("synthetic.simulate", "SimulateConfig", {"height_px": 10**9}, "height_px must be from 64"),
        ("cluster", "ClusterConfig", {"seed": 2**32}, "seed must be from 0 to 4294967295"),
        ("demo", "DemoConfig", {"changes": 3}, "'changes' must be a table"),
    ],
)
def test_impossible_setting_names_its_rule(module: str, cls: str, values: dict[str, Any], rule: str) -> None:
    config = getattr(importlib.import_module(f"georgia.{module}"), cls)
    with pytest.raises(InputError, match=rule):
        build_config(config, values)


def test_text_of_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from georgia.monitor.settings import MonitorConfig

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    made = build_config(MonitorConfig, {"watch": "~/probe", "db": "~/store.db", "note": "~ about 5"})
    assert (made.watch, made.db) == (tmp_path / "probe", str(tmp_path / "store.db"))
    assert made.note == "~ about 5"
