"""A small pool on disk and an open labelling of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from georgia.label.even import EvenChooser
from georgia.label.journal import Journal
from georgia.label.records import Item, Pool, PoolKind
from georgia.label.session import LabelSession

CLASSES = ("CEX", "PG")


def write_crops(folder: Path, n: int = 6, seed: int = 0) -> Path:
    """Write noise crops of 24 px, each unlike the others."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(n):
        Image.fromarray(rng.integers(0, 255, (24, 24), np.uint8)).save(folder / f"c{number}.png")
    return folder


def make_pool(folder: Path, n: int = 6, duplicates: tuple[tuple[int, ...], ...] = ()) -> Pool:
    """Return a pool of crops, with these sets of duplicates."""
    write_crops(folder, n)
    items = [Item(f"c{number}.png", folder / f"c{number}.png") for number in range(n)]
    for number, members in enumerate(duplicates):
        for member in members:
            items[member] = replace(items[member], duplicates=number, group=f"c{members[0]}.png")
    return Pool(folder, tuple(items), PoolKind.CROPS)


@contextmanager
def open_session(
    pool: Pool, out: Path, classes: tuple[str, ...] = CLASSES, clock: list[float] | None = None
) -> Iterator[LabelSession]:
    """Yield a session on a journal beside ``out``; ``clock[0]`` is its time, s."""
    with Journal(out) as journal:
        journal.begin({"root": str(pool.root), "seed": 1})
        journal.set_classes(classes, "A. Miller")
        now = [0.0] if clock is None else clock
        session = LabelSession(pool, journal, EvenChooser(pool, 1), now=lambda: now[0])
        try:
            yield session
        finally:
            session.close()
