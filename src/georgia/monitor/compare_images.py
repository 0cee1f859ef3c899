"""The images of the frames, compared with the sha256 that each frame was recorded with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from georgia.errors import InputError
from georgia.images.containers import SUFFIXES
from georgia.monitor import tables
from georgia.monitor.connect import reading
from georgia.monitor.file_names import find_file, to_text

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.rederive import AddFault


def compare_images(
    store: StoreReader, folder: Path, add_fault: AddFault, add_note: Callable[[str], None]
) -> int:
    """Return how many frames have the image in a folder that they were analysed from.

    An image that is altered or missing is a fault. Where a file was written over by later frames of the same
    name, the earlier ones are counted in a note, as are images that the record does not hold.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"Cannot compare {str(folder)!r}", needs="a folder of images is needed", got="none")
    root, found = folder.resolve(), dict[str, str | None]()
    recorded = _recorded(store)
    n_same = n_over = 0
    for frame in store.iter_frames():
        name = frame.file
        if name not in found:
            found[name] = _hash(root, name)
        actual = found[name]
        if actual == frame.key.sha256:
            n_same += 1
        elif actual is None:
            add_fault("frames", frame.frame_id, f"its image {name!r} is missing")
        elif actual in recorded[name]:
            n_over += 1
        else:
            add_fault("frames", frame.frame_id, f"its image {name!r} is not the one that was analysed")
    if n_over:
        add_note(f"the images of {n_over:,} frames: later frames of the same name were written over them")
    with reading(store.engine) as connection:
        known = set(connection.execute(select(tables.ledger.c.file)).scalars())
    n_other = sum(
        path.suffix.lower() in SUFFIXES and to_text(path.relative_to(root).as_posix()) not in known
        for path in root.rglob("*")
        if path.is_file()
    )
    if n_other:
        add_note(f"{n_other:,} images in {str(folder)!r} that the record does not name")
    return n_same


def _recorded(store: StoreReader) -> dict[str, set[str]]:
    recorded: dict[str, set[str]] = {}
    for frame in store.iter_frames():
        recorded.setdefault(frame.file, set()).add(frame.key.sha256)
    return recorded


def _hash(root: Path, name: str) -> str | None:
    """Return the sha256 of a file below a folder, None where there is none."""
    try:
        path = find_file(root, name).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
