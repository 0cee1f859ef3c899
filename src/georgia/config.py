"""Settings: frozen dataclasses filled from defaults, a TOML section and ``key=value`` words.

All faults of one input are reported together, each with the nearest known name.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from georgia.errors import InputError, describe_fault, suggest

T = TypeVar("T")


def read_toml_section(path: Path, section: str) -> dict[str, Any]:
    """Return one section of a TOML file as a plain dict, empty if the section is absent.

    Raises:
        InputError: the file cannot be read, is no TOML, or holds no table of that name.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        rule = "a readable text file is needed"
        raise InputError(describe_fault(f"Cannot read settings {str(path)!r}", rule, error)) from error
    except tomllib.TOMLDecodeError as error:
        rule = "it must be TOML"
        raise InputError(describe_fault(f"Cannot read settings {str(path)!r}", rule, error)) from error
    table = document.get(section, {})
    if not isinstance(table, dict):
        do = f"Write it as [{section}] with one setting a line."
        raise InputError(
            describe_fault(f"Settings {str(path)!r}", f"'{section}' must be a table", repr(table), do)
        )
    return dict(table)


def format_toml(section: str, values: Mapping[str, Any]) -> str:
    """Return one TOML table of plain values (texts, numbers, booleans, flat lists).

    >>> print(format_toml("train", {"seed": 42, "dropout": [0.4, 0.3]}), end="")
    [train]
    seed = 42
    dropout = [0.4, 0.3]
    """
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if value is not None
    ]
    return f"[{section}]\n" + "".join(line + "\n" for line in lines)


def parse_assignments(words: Iterable[str]) -> dict[str, str]:
    """Turn ``["batch=32", "seed=1"]`` into a dict of strings.

    Raises:
        InputError: a word has no ``=``.
    """
    values: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key.strip():
            raise InputError(describe_fault("Cannot use a setting", "key=value is needed", repr(word)))
        values[key.strip()] = value.strip()
    return values


def build_config(cls: type[T], *layers: Mapping[str, Any], where: str = "settings") -> T:
    """Fill the dataclass ``cls`` from its defaults and the layers, the last one winning.

    Strings are turned into the field's type, so that the command line and TOML mean the same.

    Raises:
        InputError: unknown names, values of the wrong type, or values that the class refuses;
            all of them in one message.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name: hints[field.name] for field in dataclasses.fields(typing.cast(Any, cls))}
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update({key.replace("-", "_"): value for key, value in layer.items()})
    faults, values = [], {}
    for key, value in merged.items():
        if key not in known:
            faults.append(f"'{key}' is no setting.{suggest(key, known)}")
            continue
        try:
            values[key] = _convert(value, known[key])
        except ValueError as error:
            faults.append(f"'{key}' {error}; got {value!r}")
    if not faults:
        try:
            return cls(**values)
        except InputError as error:
            faults.append(str(error))
    raise InputError(f"Cannot use {where}: " + " · ".join(faults))


def _convert(value: Any, target: Any) -> Any:
    origin, arguments = typing.get_origin(target), typing.get_args(target)
    if origin in (types.UnionType, typing.Union):
        is_none = value is None or (isinstance(value, str) and value.lower() in ("none", ""))
        if is_none and type(None) in arguments:
            return None
        return _convert(value, next(part for part in arguments if part is not type(None)))
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError("must be one of " + ", ".join(map(str, arguments)))
        return value
    if origin is tuple:
        parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            raise ValueError("must be a list")
        return tuple(
            _convert(part.strip() if isinstance(part, str) else part, arguments[0]) for part in parts
        )
    return _convert_scalar(value, target)


def _convert_scalar(value: Any, target: Any) -> Any:
    if target is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise ValueError("must be true or false")
    if isinstance(value, bool) and target in (int, float):
        raise ValueError(f"must be {_NOUNS[target]}")
    if target is int and isinstance(value, float) and not value.is_integer():
        raise ValueError("must be a whole number")
    if target in _NOUNS:
        try:
            return target(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be {_NOUNS[target]}") from error
    return value


_NOUNS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}
