"""A folder of crops or of whole frames, or a table of either → the pool that is to be labelled.

Frames are cut into windows as the monitor cuts them, empty ones set aside. One pass decodes each file once:
it gives the windows, and what is needed to find duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from georgia.audit.groups import connect
from georgia.audit.near_duplicates.descriptors import Description, describe_image
from georgia.catalog.read import relative_name
from georgia.catalog.sources import expand_tables, is_table
from georgia.errors import InputError, UnreadableImageError
from georgia.images.decode import Image, iter_images, read_frame_info
from georgia.images.listing import natural_key, walk_files
from georgia.images.other_files import OtherFiles
from georgia.images.windows import crop
from georgia.label.duplicates import find_duplicate_sets
from georgia.label.records import Item, Pool, PoolKind
from georgia.label.settings import LabelConfig
from georgia.monitor.tile import TILE_PX, measure_detail, place_windows
from georgia.monitor.visibility import View, find_view, to_grey
from georgia.progress import QUIET, Progress
from georgia.records import Box, Failure, format_window, split_window
from georgia.text import count_noun

# Views in which no window of a frame can show a crystal, as the monitor has it.
_BLIND = (View.DARK, View.SATURATED, View.NOISE)
# Images whose shorter side is so many windows are whole frames. Source: chosen; crops of crystals have 0.9 to
# 1.1, photographs of single grains to 2.3 (380 px), the smallest frames of probes 2.9 (480 px).
_FRAME_FROM = 2.5
# Files whose sizes decide what a folder holds, and the fraction of them that must agree.
_N_ASKED, _AGREE = 200, 0.9


@dataclass(frozen=True)
class _Piece:
    """A window that is not empty (None: the whole image), and what tells its duplicates."""

    box: Box | None
    description: Description


@dataclass(frozen=True)
class _Cut:
    """One decoded file: its pieces, and the number of windows that show nothing."""

    pieces: tuple[_Piece, ...]
    n_empty: int


def read_pool(source: str | Path, config: LabelConfig, progress: Progress = QUIET, tile_px: int = 0) -> Pool:
    """Return the items of a source, in natural order; ``tile_px`` is the model's scale, 0 for none.

    Raises:
        InputError: there is no such source, it holds no image that can be read, or crops and frames together.
    """
    path = Path(source)
    side = config.tile_px or tile_px or TILE_PX
    if is_table(path):
        root = path.parent
        paths = [Path(entry) for entry in expand_tables([path])]
        kind = PoolKind.TABLE
    elif path.is_dir():
        others = OtherFiles()
        root, paths = path, list(walk_files(path, others.is_image))
        if len(others):
            progress.say(f"note: {others.tell()}")
        kind = _find_kind(path, paths, config, side)
    else:
        raise InputError(
            f"Cannot label {str(source)!r}",
            needs="a folder of crops or frames, or a table of them, is needed",
            got="a file of another kind" if path.exists() else "nothing",
        )
    pool = _scan(root, paths, replace(config, tile_px=side), kind, progress)
    if not pool.items:
        raise _reject_empty(source, pool)
    progress.say(describe_pool(pool))
    return pool


def describe_pool(pool: Pool) -> str:
    """Return in one line what was understood of a source."""
    n_shown = len(pool.items) - sum(len(members) - 1 for members in pool.find_duplicates().values())
    n_files = len({item.file for item in pool.items})
    if pool.kind is PoolKind.FRAMES:
        what = f"{count_noun(len(pool.items), 'window')} of {count_noun(n_files, 'frame')}"
        what += f", {pool.tile_px} px, {count_noun(pool.n_empty, 'empty one')} set aside"
    else:
        what = count_noun(len(pool.items), "image")
    n_more = len(pool.items) - n_shown
    twins = f"; {count_noun(n_more, 'duplicate')} labelled with others" if n_more else ""
    return f"pool: {what}{twins}: {n_shown:,} to name"


def _reject_empty(source: str | Path, pool: Pool) -> InputError:
    if pool.failures:
        first = pool.failures[0]
        got = f"{count_noun(len(pool.failures), 'file')} that cannot be read, such as {first.path.name!r}: "
        return InputError(f"Cannot label {str(source)!r}", needs="images are needed", got=got + first.error)
    got = f"{count_noun(pool.n_empty, 'empty window')}" if pool.n_empty else "none"
    hint = "A lower min_detail takes windows with less in them; docs/label.md." if pool.n_empty else ""
    return InputError(
        f"Cannot label {str(source)!r}", needs="images that show something are needed", got=got, hint=hint
    )


def _find_kind(folder: Path, paths: Sequence[Path], config: LabelConfig, side: int) -> PoolKind:
    """Return whether a folder holds crops or whole frames, by the sizes of some of them.

    Raises:
        InputError: it holds both.
    """
    if config.cut != "auto":
        return PoolKind(config.cut)
    sizes = []
    for path in paths[:: max(1, len(paths) // _N_ASKED)]:
        try:
            info = read_frame_info(path)
        except UnreadableImageError:
            continue
        sizes.append(min(info.width_px, info.height_px))
    n_large = sum(size >= _FRAME_FROM * side for size in sizes)
    if not n_large or n_large <= (1 - _AGREE) * len(sizes):
        return PoolKind.CROPS
    if n_large >= _AGREE * len(sizes):
        return PoolKind.FRAMES
    raise InputError(
        f"Cannot tell what {str(folder)!r} holds",
        needs="crops alone or whole frames alone are needed",
        got=f"{n_large} of {len(sizes)} images with a shorter side of {_FRAME_FROM * side:.0f} px and more",
        hint="Say it: --set cut=crops or --set cut=frames.",
    )


def find_windows(image: Image, tile_px: int, config: LabelConfig) -> tuple[list[Box], int]:
    """Return the boxes of a frame (H, W, 3), uint8, that show something, and the number of empty ones.

    They are those that a monitor gives to its net, but for fouling, which takes the frames before to see.
    """
    boxes = place_windows(image.shape[0], image.shape[1], tile_px, config.overlap)
    is_full = measure_detail(image, boxes) >= config.min_detail
    if find_view(to_grey(image)) in _BLIND:
        is_full = np.zeros(len(boxes), np.bool_)
    kept = [cast(Box, tuple(map(int, box))) for box in boxes[is_full]]
    return kept, len(boxes) - len(kept)


def _scan(root: Path, paths: Sequence[Path], config: LabelConfig, kind: PoolKind, progress: Progress) -> Pool:
    def cut(image: Image) -> _Cut:
        if kind is not PoolKind.FRAMES:
            return _Cut((_Piece(None, describe_image(image)),), 0)
        boxes, n_empty = find_windows(image, config.tile_px, config)
        return _Cut(tuple(_Piece(box, describe_image(crop(image, box))) for box in boxes), n_empty)

    paths = sorted(paths, key=lambda path: natural_key(relative_name(path, root)))
    items: list[Item] = []
    descriptions: list[Description] = []
    failures: list[Failure] = []
    n_empty = 0
    progress.start("Cutting frames" if kind is PoolKind.FRAMES else "Reading images", len(paths))
    for position, result in iter_images(paths, transform=cast(Any, cut)):
        progress.advance()
        if isinstance(result, Failure):
            failures.append(result)
            continue
        found = cast(_Cut, result)
        n_empty += found.n_empty
        file, own = split_window(paths[position])
        name, time_s = relative_name(file, root), _read_time(file, root, config)
        for piece in found.pieces:
            box = own if piece.box is None else piece.box
            group = "" if box is None else name
            items.append(Item(format_window(name, box), file, box, group, time_s=time_s))
            descriptions.append(piece.description)
    sets = find_duplicate_sets(descriptions, config.near, progress)
    grouped = group_items(items, sets)
    tile_px = config.tile_px if kind is PoolKind.FRAMES else 0
    return Pool(root, tuple(grouped), kind, n_empty, tuple(failures), tile_px)


def _read_time(file: Path, root: Path, config: LabelConfig) -> float | None:
    try:
        return config.clock.read(relative_name(file, root), file.stat().st_mtime_ns)[0]
    except OSError:
        return None


def add_items(pool: Pool, paths: Iterable[str]) -> Pool:
    """Return the pool with items of other paths too, as imported boxes are, where there is a file."""
    known = pool.find_positions()
    group_of = {item.file: item.group for item in pool.items if item.box is not None}
    added = []
    for path in dict.fromkeys(paths):
        if path in known:
            continue
        file, box = split_window(pool.root / path)
        if file.is_file():
            name = relative_name(file, pool.root)
            group = "" if box is None else group_of.get(file, name)
            added.append(Item(format_window(name, box), file, box, group))
    items = sorted([*pool.items, *added], key=lambda item: natural_key(item.path))
    return replace(pool, items=tuple(items)) if added else pool


def group_items(items: Sequence[Item], sets: Sequence[Sequence[int]]) -> list[Item]:
    """Return the items with the number of their set of duplicates and their group.

    One group are all windows of a frame, the duplicates of any of them, and all windows of their frames.
    """
    grouped = list(items)
    frames: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        if item.group:
            frames.setdefault(item.group, []).append(position)
    for number, members in enumerate(sets):
        for member in members:
            grouped[member] = replace(grouped[member], duplicates=number)
    for members in connect(len(items), [*frames.values(), *sets]):
        names = sorted({items[member].group or items[member].path for member in members}, key=natural_key)
        for member in members:
            grouped[member] = replace(grouped[member], group=names[0])
    return grouped
