"""Settings: frozen dataclasses with their rules, filled from defaults, a TOML section and ``key=value``.

>>> @dataclasses.dataclass(frozen=True)
... class CutConfig(Config):
...     side_px: typing.Annotated[int, at_least(16)] = 64
...     overlap: typing.Annotated[float, between(0, 0.9)] = 0.25
>>> build_config(CutConfig, {"side_px": "32"})
CutConfig(side_px=32, overlap=0.25)
>>> CutConfig(side_px=8, overlap=2)
Traceback (most recent call last):
georgia.errors.InputError: side_px must be 16 or more; got 8 · overlap must be from 0 to 0.9; got 2

All faults of one input are reported together, each with the nearest known name.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import os
import tomllib
import types
import typing
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from georgia.errors import InputError, suggest
from georgia.files import read_plain_text

T = TypeVar("T")
_LONGEST_SHOWN, _LONGEST_TEXT = 120, 4096


@dataclass(frozen=True)
class Rule:
    """What a setting must be: ``text`` continues "must be", ``holds`` tests a value."""

    text: str
    holds: Callable[[Any], bool]


def at_least(low: float) -> Rule:
    """Return the rule of a value that is ``low`` or more."""
    return Rule(f"{low} or more", lambda value: value >= low)


def above(low: float, most: float = math.inf) -> Rule:
    """Return the rule of a value that is more than ``low``, and ``most`` at most."""
    upper = "" if most == math.inf else f" and at most {most}"
    return Rule(f"above {low}{upper}", lambda value: low < value <= most)


def between(low: float, high: float) -> Rule:
    """Return the rule of a value from ``low`` to ``high``, both allowed."""
    return Rule(f"from {low} to {high}", lambda value: low <= value <= high)


# Source: numpy's and scikit-learn's seeds are 32-bit numbers.
Seed = Annotated[int, between(0, 2**32 - 1)]
# More threads than any machine has; 0 lets the engine choose.
Threads = Annotated[int, between(0, 1024)]


class Config:
    """Base of all settings: a field's rule is in its annotation, ``Annotated[int, at_least(1)]``.

    A rule applies to every element of a tuple, and not to None. ``find_faults`` checks what several
    fields must be together. ``renamed`` maps names of version 0.1 to today's. A field
    that is a ``Config`` itself takes its settings from the same table, and has a default.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        faults = [*_broken_rules(self), *self.find_faults()]
        if faults:
            raise InputError(" · ".join(faults))

    def find_faults(self) -> Iterable[str]:
        """Return one line for each fault that no single field's rule finds."""
        return ()


@functools.cache
def _rules_of(cls: Hashable) -> dict[str, tuple[Rule, ...]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, cls))]
    return {
        name: tuple(item for item in getattr(hints[name], "__metadata__", ()) if isinstance(item, Rule))
        for name in names
    }


def _broken_rules(config: Any) -> Iterable[str]:
    for name, rules in _rules_of(typing.cast(Any, type(config))).items():
        value = getattr(config, name)
        items = value if isinstance(value, tuple) else () if value is None else (value,)
        if any(isinstance(item, float) and not math.isfinite(item) for item in items):
            yield f"{name} must be finite; got {value!r}"
            continue
        for rule in rules:
            if not all(_holds(rule, item) for item in items):
                shown = _show(list(value) if isinstance(value, tuple) else value)
                yield f"{name} must be {rule.text}; got {shown}"


def _holds(rule: Rule, value: Any) -> bool:
    try:
        return rule.holds(value)
    except (TypeError, AttributeError, ValueError):  # a value of another kind
        return False


def _show(value: Any) -> str:
    """Return a value as one short line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists without end
        text = type(value).__name__
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


@functools.cache
def _hints_of(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a class; their texts are read once."""
    return typing.get_type_hints(cls)


def _fields_of(cls: type) -> dict[str, Any]:
    """Return the settings of a class with their types; those of a ``Config`` within it among them."""
    hints, known = _hints_of(cls), {}
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        nested = isinstance(kind, type) and issubclass(kind, Config)
        known.update(_fields_of(kind) if nested else {field.name: kind})
    return known


def _make(cls: type[T], values: Mapping[str, Any]) -> T:
    hints, own, faults = _hints_of(typing.cast(type, cls)), {}, []
    for field in dataclasses.fields(typing.cast(Any, cls)):
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Config):
            try:
                own[field.name] = _make(kind, {k: values[k] for k in _fields_of(kind) if k in values})
            except InputError as error:
                faults.append(str(error))
        elif field.name in values:
            own[field.name] = values[field.name]
    try:
        made = cls(**own)
    except InputError as error:
        faults.insert(0, str(error))
    if faults:
        raise InputError(" · ".join(faults))
    return made


def flatten_config(config: Any) -> dict[str, Any]:
    """Return all settings as one table, those of a ``Config`` within it beside them."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        flat.update(flatten_config(value) if isinstance(value, Config) else {field.name: value})
    return flat


def read_toml_section(path: Path, section: str) -> dict[str, Any]:
    """Return one section of a TOML file as a plain dict, empty if the section is absent; "" is all of it.

    Raises:
        InputError: the file cannot be read, is no TOML, or holds no table of that name.
    """
    try:
        text = read_plain_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Cannot read settings {str(path)!r}", needs="a readable text file is needed", got=error
        ) from error
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Cannot read settings {str(path)!r}", needs="it must be TOML", got=error) from error
    table = document.get(section, {} if section else document)
    if not isinstance(table, dict):
        raise InputError(
            f"Settings {str(path)!r}",
            needs=f"'{section}' must be a table",
            got=_show(table),
            hint=f"Write it as [{section}] with one setting a line.",
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


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Turn ``["batch=32", "seed=1"]`` into a dict of strings.

    Raises:
        InputError: an assignment has no ``=``.
    """
    values: dict[str, str] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key.strip():
            raise InputError("Cannot use a setting", needs="key=value is needed", got=repr(assignment))
        values[key.strip()] = value.strip()
    return values


def build_config(cls: type[T], *layers: Mapping[str, Any], where: str = "settings") -> T:
    """Fill the dataclass ``cls`` from its defaults and the layers, the last one winning.

    Strings are converted to the field's type, so that the command line and TOML mean the same.

    Raises:
        InputError: unknown names, values of the wrong type, or values that the class rejects;
            all of them in one message.
    """
    known = _fields_of(cls)
    renamed: Mapping[str, str] = getattr(cls, "renamed", {})
    merged: dict[str, Any] = {}
    for layer in layers:
        for given, value in layer.items():
            key = given.replace("-", "_")
            if key in renamed:
                notice = f"'{key}' is now called '{renamed[key]}'; the old name goes with version 0.3."
                warnings.warn(notice, FutureWarning, stacklevel=2)
            merged[renamed.get(key, key)] = value
    faults, values = [], {}
    for key, value in merged.items():
        if key not in known:
            faults.append(f"'{key}' is no setting.{suggest(key, known)}")
            continue
        try:
            values[key] = _convert(value, known[key])
        except ValueError as error:
            faults.append(f"'{key}' {error}; got {_show(value)}")
    if not faults:
        try:
            return _make(cls, values)
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
    if isinstance(target, type) and issubclass(target, enum.Enum):
        if value not in [choice.value for choice in target]:
            raise ValueError("must be one of " + ", ".join(choice.value for choice in target))
        return target(value)
    if origin is tuple:
        parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        parts = [parts] if isinstance(parts, (int, float)) else parts
        if not isinstance(parts, (list, tuple)):
            raise ValueError("must be a list")
        return tuple(
            _convert(part.strip() if isinstance(part, str) else part, arguments[0]) for part in parts
        )
    return _convert_scalar(value, target)


def _convert_scalar(value: Any, target: Any) -> Any:
    if target is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _BOOLEANS:
            return _BOOLEANS[value.lower()]
        raise ValueError("must be true or false")
    if typing.get_origin(target) is Mapping:
        if isinstance(value, Mapping):
            return value
        raise ValueError("must be a table")
    if target not in _NOUNS:
        return value
    noun = f"must be {_NOUNS[target]}"
    if isinstance(value, bool) or (target is int and isinstance(value, float) and not value.is_integer()):
        raise ValueError(noun)
    if target in (str, Path):
        return target(_expand_text(value, target))
    try:
        return target(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(noun) from error


def _expand_text(value: Any, target: Any) -> str:
    """Return a text; one that begins with ``~/`` is a path below the home folder, in a file too."""
    kinds = (str, Path, int, float) if target is str else (str, Path)
    if not isinstance(value, kinds) or "\0" in str(value) or (target is Path and value == ""):
        raise ValueError(f"must be {_NOUNS[target]}")
    if len(str(value)) > _LONGEST_TEXT:
        raise ValueError(f"must be {_NOUNS[target]} of {_LONGEST_TEXT:,} letters at most")
    return expand_home(str(value))


def expand_home(text: str) -> str:
    """Return a path whose leading ``~`` is the home folder, which no shell expands behind ``--out=``.

    >>> expand_home("~/a") == str(Path.home() / "a"), expand_home("a/~"), expand_home("~x")
    (True, 'a/~', '~x')
    """
    if text != "~" and not text.startswith(("~/", "~\\" if os.name == "nt" else "~/")):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # an account without a home
        return text


_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_NOUNS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}
