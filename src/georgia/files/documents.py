"""Texts, tables and JSON documents of ours that are read: what is wrong with one is one clear line."""

from __future__ import annotations

import csv
import json
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from georgia.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_LONGEST_REASON = 300
# What reading a damaged document raises, of JSON, CSV, TOML, npz or zip: bytes that lie make a reader fail in
# any of its parts, and one that says how much it needs may ask for more memory than there is.
DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
    *(OverflowError, MemoryError, SyntaxError),
    *(csv.Error, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_plain_text(path: Path) -> str:
    """Return a text file in UTF-8, or in UTF-16 where it begins with the mark of that.

    Windows editors and PowerShell begin a file with a byte order mark; it is no part of the text.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def read_table(path: Path) -> str:
    """Return the text of a CSV table that ``write_text`` wrote, line breaks in its cells as they are."""
    return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")


def read_json(path: Path) -> Any:
    """Return a JSON document; use it inside ``reading``, which says what is wrong with it."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def reading(what: str, needs: str, hint: str = "") -> Iterator[None]:
    """Turn what a missing or damaged document raises while it is read into one line.

    >>> with reading("Cannot read the run", "a run.json of ours is needed"):
    ...     {}["classes"]
    Traceback (most recent call last):
    georgia.errors.InputError: Cannot read the run: a run.json of ours is needed; got 'classes'.

    Raises:
        InputError: the file cannot be read, is no JSON, or holds something else.
    """
    try:
        yield
    except DAMAGE as error:
        raise InputError(what, needs=needs, got=_in_one_line(error), hint=hint) from error


def check_fields(record: T) -> T:
    """Return a dataclass whose fields hold what they say; a document's values may be anything.

    Whole numbers do for ``float``, which must be finite.

    Raises:
        TypeError: a field holds something else.
    """
    for name, hint in _list_hints(type(record)):
        value = getattr(record, name)
        if not _fits(value, hint):
            raise TypeError(f"{value!r:.80} as {name}")
    return record


@cache
def _list_hints(kind: type) -> list[tuple[str, Any]]:
    hints = get_type_hints(kind)
    return [(field.name, hints[field.name]) for field in fields(kind)]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if hint in (int, float):
        is_number = isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max
    return isinstance(value, origin or hint)


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:_LONGEST_REASON] + "…" if len(text) > _LONGEST_REASON else text or type(error).__name__
