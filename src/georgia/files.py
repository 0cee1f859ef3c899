"""Files of ours: written whole or not at all, read with one clear line, kept in one cache folder."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from georgia.errors import InputError, UnwritableFileError

CACHE_VARIABLE = "GEORGIA_CACHE"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` (same suffix); rename it into place on success.

    Raises:
        UnwritableFileError: the folder cannot be made or written to; the old file stays as it was.
        OSError: the disk is full, say; the old file stays as it was.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise UnwritableFileError(
            f"Cannot write {str(target)!r}",
            needs="its folder must take files",
            got=error.strerror or error,
            hint="Name another.",
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for the owner only; give the usual mode instead.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(target: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_json(target: Path, document: Any, indent: int | None = 2) -> None:
    """Write a JSON document whole or not at all, in UTF-8, one line break at its end."""
    write_text(target, json.dumps(document, indent=indent, ensure_ascii=False) + "\n")


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(what, needs=needs, got=error, hint=hint) from error


def find_cache_folder() -> Path:
    """Return the folder for what can be made again: GEORGIA_CACHE, else the system's place for a user."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "georgia"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "georgia"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "georgia"
