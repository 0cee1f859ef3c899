"""What the tests of stored spot checks have in common: a batch with windows, a check of it, and edits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.helpers.monitor import make_result

from georgia.monitor.result import FileKey, TileMap
from georgia.monitor.store import Store
from georgia.records import hash_file

SIDE = 32
# The smallest plan that a store takes.
PLAN: dict[str, Any] = {
    "class": "PG",
    "names": ["CEX", "PG", "neither", "unclear"],
    "settings": {"seed": 7, "n": 4},
    "through": {"frame": 2},
    "n_windows": 8,
    "draws": [{"frame": 1, "window": at, "probability": 0.125} for at in range(4)],
}


def write_window_frame(folder: Path, number: int, kinds: str) -> Path:
    """Write a frame of 2 × 2 windows: P bright, C dark, as ``kinds`` says, each with a texture of its own."""
    rng = np.random.default_rng(number)
    pixels = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
    for at, kind in enumerate(kinds):
        top, left = SIDE * (at // 2), SIDE * (at % 2)
        low = 180 if kind == "P" else 40
        pixels[top : top + SIDE, left : left + SIDE] = rng.integers(low, low + 40, (SIDE, SIDE))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"f{number}.png"
    Image.fromarray(pixels).save(path)
    return path


def add_frame(store: Store, batch_id: int, folder: Path, number: int, kinds: str, net: list[float]) -> int:
    """Store a frame of four windows with the net's probabilities of PG; return its number."""
    path = write_window_frame(folder, number, kinds)
    boxes = np.array([[x, y, SIDE, SIDE] for y in (0, SIDE) for x in (0, SIDE)], np.int32)
    values = np.array(net, np.float16)
    codes = (values > 0.5).astype(np.int8)
    tiles = TileMap(2 * SIDE, 2 * SIDE, ("CEX", "PG"), boxes, codes, np.stack([1 - values, values], axis=1))
    key = FileKey(path.name, path.stat().st_size, number, hash_file(path))
    result = make_result(number, batch_id, float(codes.mean()), map=tiles, key=key)
    return store.record_frame(result, str(folder), "{}").frame_id


def fill_batch(
    db: str, folder: Path, n_frames: int = 20, name: str = "B-1", seed: int = 1
) -> tuple[Store, int, dict[str, str]]:
    """Return a store, its batch, and what each window shows, by ``file#position``; the net misses some PG."""
    rng = np.random.default_rng(seed)
    store = Store(db)
    batch = store.begin_batch(str(folder), name, "A. Miller", "PG", "tests").id
    truth: dict[str, str] = {}
    for number in range(1, n_frames + 1):
        kinds = "".join("P" if rng.random() < 0.25 else "C" for _ in range(4))
        net = [float(np.clip(rng.normal(0.7 if kind == "P" else 0.1, 0.2), 0, 1)) for kind in kinds]
        add_frame(store, batch, folder, number, kinds, net)
        truth |= {f"f{number}.png#{at}": "PG" if kind == "P" else "CEX" for at, kind in enumerate(kinds)}
    return store, batch, truth


def copy_batch(kept: Path, folder: Path) -> Store:
    """Return a store with ``fill_batch``'s batch, its ``frames`` beside it; made once, in ``kept``."""
    if not (kept / "m.db").exists():
        fill_batch(str(kept / "m.db"), kept / "frames")[0].close()
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return Store(str(folder / "m.db"))


def fill_checks(store: Store) -> None:
    """Write two batches, each with a spot check of four windows: one complete, with a name taken back."""
    for number, name in enumerate(("B1", "B2")):
        batch = store.begin_batch("probe", name, "Ann", "PG", "ann@host").id
        for frame in range(2):
            store.record_frame(make_result(10 * batch + frame, batch), "probe", "{}")
        check = store.plan_spotcheck(batch, PLAN, "Ann")
        store.name_window(check, 1, "PG", "Ann")
        store.name_window(check, 2, "CEX", "Ann")
        store.withdraw_name(check, 2, "Ann")
        for position in range(2, 5 - number):
            store.name_window(check, position, "unclear" if position == 3 else "CEX", "Bob")


_COLUMNS = "spotcheck_id, number, position, name, who, at_s"
_OTHER_PLAN = json.dumps({**PLAN, "settings": {"seed": 8, "n": 4}})
# What was done → the statements → the table that a fault must name.
EDITS: dict[str, tuple[str, str]] = {
    "name altered": (
        "UPDATE spotcheck_names SET name = 'CEX' WHERE spotcheck_id = 1 AND number = 1",
        "spotcheck_names",
    ),
    "other person": (
        "UPDATE spotcheck_names SET who = 'Eve' WHERE spotcheck_id = 1 AND number = 4",
        "spotcheck_names",
    ),
    "time moved": ("UPDATE spotcheck_names SET at_s = at_s - 60 WHERE number = 1", "spotcheck_names"),
    "position altered": (
        "UPDATE spotcheck_names SET position = 3 WHERE spotcheck_id = 1 AND number = 4",
        "spotcheck_names",
    ),
    "name removed": ("DELETE FROM spotcheck_names WHERE spotcheck_id = 1 AND number = 4", "spotcheck_names"),
    "last name removed": (
        "DELETE FROM spotcheck_names WHERE spotcheck_id = 2 AND number = 5",
        "spotcheck_names",
    ),
    "last name removed and not counted": (
        "DELETE FROM spotcheck_names WHERE spotcheck_id = 2 AND number = 5;"
        "UPDATE spotchecks SET n_entries = 4 WHERE id = 2",
        "spotcheck_names",
    ),
    "all names removed": ("DELETE FROM spotcheck_names", "spotcheck_names"),
    "name put in": (
        f"INSERT INTO spotcheck_names ({_COLUMNS}) VALUES (2, 6, 4, 'CEX', 'Bob', 5);"
        "UPDATE spotchecks SET n_entries = 6 WHERE id = 2",
        "spotcheck_names",
    ),
    "names exchanged": (
        "UPDATE spotcheck_names SET number = 99 WHERE spotcheck_id = 1 AND number = 4;"
        "UPDATE spotcheck_names SET number = 4 WHERE spotcheck_id = 1 AND number = 5;"
        "UPDATE spotcheck_names SET number = 5 WHERE number = 99",
        "spotcheck_names",
    ),
    "taking back removed": (
        "DELETE FROM spotcheck_names WHERE name = '' AND spotcheck_id = 1",
        "spotcheck_names",
    ),
    "names moved to another check": (
        "UPDATE spotcheck_names SET number = number + 50, spotcheck_id = 2 WHERE spotcheck_id = 1",
        "spotcheck_names",
    ),
    "plan altered": (f"UPDATE spotchecks SET plan = '{_OTHER_PLAN}' WHERE id = 1", "spotchecks"),
    "probability altered": (
        "UPDATE spotchecks SET plan = replace(plan, '0.125', '0.25') WHERE id = 2",
        "spotchecks",
    ),
    "seed altered": ("UPDATE spotchecks SET seed = 8 WHERE id = 1", "spotchecks"),
    "author of a plan altered": ("UPDATE spotchecks SET planned_by = 'Eve' WHERE id = 1", "spotchecks"),
    "time of a plan moved": (
        "UPDATE spotchecks SET planned_at_s = planned_at_s + 1 WHERE id = 2",
        "spotchecks",
    ),
    "plan given to another batch": ("UPDATE spotchecks SET batch_id = 1 WHERE id = 2", "spotchecks"),
    "last frame of a plan altered": ("UPDATE spotchecks SET through_frame = 1 WHERE id = 2", "spotchecks"),
    "plan removed": (
        "DELETE FROM spotcheck_names WHERE spotcheck_id = 1; DELETE FROM spotchecks WHERE id = 1",
        "spotchecks",
    ),
    "plan put in": (
        "INSERT INTO spotchecks SELECT 9, batch_id, planned_at_s, planned_by, reason, target, n_sampled,"
        " seed, through_frame, plan, 0 FROM spotchecks WHERE id = 1",
        "spotchecks",
    ),
    "count altered": ("UPDATE spotchecks SET n_entries = 4 WHERE id = 2", "spotchecks"),
    "tables dropped": ("DROP TABLE spotcheck_names; DROP TABLE spotchecks", "spotchecks"),
    "event of a plan altered": (
        "UPDATE trail SET who = 'Eve' WHERE action = 'spot check planned' AND batch_id = 1",
        "trail",
    ),
}
