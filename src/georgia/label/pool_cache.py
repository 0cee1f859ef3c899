"""A pool that was read before, as long as no file of it has changed: cutting many windows takes time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from georgia.catalog.sources import is_table
from georgia.files import DAMAGE, find_cache_folder, read_json, write_json
from georgia.images.containers import is_image_name
from georgia.images.depth import DEPTH_VARIABLE
from georgia.images.listing import walk_files
from georgia.label.records import Item, Pool, PoolKind
from georgia.label.settings import LabelConfig
from georgia.label.sources import describe_pool, read_pool
from georgia.monitor.tile import TILE_PX
from georgia.progress import QUIET, Progress
from georgia.records import Failure

# Raised when windows or duplicates of the same files would come out otherwise.
_VERSION = 1
_MOST_KEPT = 20
_CUT = ("cut", "overlap", "min_detail", "near", "time_pattern", "time_zone")


def read_known_pool(source: Path, config: LabelConfig, progress: Progress = QUIET, tile_px: int = 0) -> Pool:
    """Return ``read_pool``, from the cache where no file has another size or time of change since.

    Raises:
        InputError: the source cannot be read.
    """
    if not source.is_dir() or is_table(source):
        return read_pool(source, config, progress, tile_px)
    file = find_cache_folder() / "pools" / f"{_make_key(source, config, tile_px)}.json"
    with suppress(*DAMAGE):
        pool = _from_json(read_json(file), source)
        file.touch()
        progress.say(describe_pool(pool))
        return pool
    pool = read_pool(source, config, progress, tile_px)
    # A cache that cannot be written costs time, not the labelling. The next start asks for this kind.
    known = replace(config, cut="frames" if pool.kind is PoolKind.FRAMES else "crops")
    with suppress(OSError, ValueError):
        for key in {_make_key(source, each, tile_px) for each in (config, known)}:
            write_json(file.with_stem(key), _to_json(pool), indent=None)
        _drop_oldest(file.parent)
    return pool


def _make_key(source: Path, config: LabelConfig, tile_px: int) -> str:
    digest = hashlib.sha256()
    settings = {name: str(value) for name, value in asdict(config).items() if name in _CUT}
    side = config.tile_px or tile_px or TILE_PX
    head = [_VERSION, os.path.realpath(source), side, settings, os.environ.get(DEPTH_VARIABLE, "")]
    digest.update(json.dumps(head).encode())
    for path in walk_files(source, is_image_name):
        try:
            status = path.stat()
            mark = (status.st_size, status.st_mtime_ns)
        except OSError as error:
            mark = (error.errno or 0, -1)
        digest.update(json.dumps([str(path), *mark]).encode())
    return digest.hexdigest()[:32]


def _to_json(pool: Pool) -> dict[str, Any]:
    files = list(dict.fromkeys(item.file for item in pool.items))
    number_of = {file: at for at, file in enumerate(files)}
    groups = list(dict.fromkeys(item.group for item in pool.items))
    group_of = {group: at for at, group in enumerate(groups)}
    rows = [
        (item.path, number_of[item.file], item.box, group_of[item.group], item.duplicates, item.time_s)
        for item in pool.items
    ]
    return {
        "files": [file.relative_to(pool.root).as_posix() for file in files],
        "groups": groups,
        "items": rows,
        "kind": str(pool.kind),
        "n_empty": pool.n_empty,
        "failures": [
            (failure.path.relative_to(pool.root).as_posix(), failure.error) for failure in pool.failures
        ],
        "tile_px": pool.tile_px,
    }


def _from_json(content: Any, root: Path) -> Pool:
    files, groups = [root / file for file in content["files"]], content["groups"]
    items = tuple(_to_item(row, files, groups) for row in content["items"])
    failures = tuple(Failure(root / path, str(error)) for path, error in content["failures"])
    return Pool(
        root, items, PoolKind(content["kind"]), int(content["n_empty"]), failures, int(content["tile_px"])
    )


def _to_item(row: Sequence[Any], files: Sequence[Path], groups: Sequence[str]) -> Item:
    path, file, box, group, duplicates, time_s = row
    left_top = None if box is None else (int(box[0]), int(box[1]), int(box[2]), int(box[3]))
    return Item(path, files[file], left_top, groups[group], int(duplicates), time_s)


def _drop_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in kept[_MOST_KEPT:]:
        file.unlink(missing_ok=True)
