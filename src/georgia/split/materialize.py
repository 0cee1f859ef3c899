"""The files of a split put into split and class folders: copied, linked or, on request, moved.

No file is ever overwritten, the sources of a copy or link are never changed, and a run that was killed
resumes where it stopped when it is started again. The manifest is written first, so an
unfinished move can be finished although its source is no longer whole: see ``finish_move``.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from georgia.catalog.read import relative_name
from georgia.errors import InputError, UnreadableImageError, UnwritableFileError, suggest
from georgia.files import (
    has_forbidden_sign,
    is_device_name,
    is_path_too_long,
    read_json,
    read_table,
    tell_reason,
    write_bytes,
    write_json,
)
from georgia.images.decode import read_image, read_info
from georgia.images.listing import is_system_name
from georgia.images.windows import FrameCache, name_crop
from georgia.labels import Labels
from georgia.progress import QUIET, Progress
from georgia.records import SPLITS, Record, split_window
from georgia.split.box_files import BOX_FORMS, write_boxes
from georgia.split.make import MANIFEST_CSV, Split
from georgia.text import count_noun, describe_many

Mode = Literal["copy", "link", "symlink", "move", "manifest", "coco", "yolo", "label-studio", "cvat"]
# The file name of version 0.1.
STATE_JSON = "placement.json"
# Source: NAME_MAX of ext4, XFS, NTFS (there in UTF-16 units) and others.
_MOST_NAME_BYTES = 255
# Source: learn.microsoft.com/windows/win32/debug/system-error-codes, ERROR_PRIVILEGE_NOT_HELD.
_NO_RIGHT_TO_LINK = 1314


@dataclass(frozen=True)
class FolderNames:
    """Folder of each split and of each class; what is not mentioned keeps its own name."""

    splits: dict[str, str]
    classes: dict[str, str]

    def folder(self, record: Record) -> str:
        """Return a record's folder below the destination, with a forward slash."""
        split = self.splits.get(record.split, record.split)
        return f"{split}/{self.classes.get(record.class_name, record.class_name)}"


PLAIN = FolderNames({}, {})


def study_names(labels: Labels, prefix: str = "GA") -> FolderNames:
    """Return the study's names: ``GAtrainBinary/0``, ``GAvalidBinary/1`` …

    >>> study_names(Labels(("CEX", "PG"))).folder(Record(Path("a.png"), "PG", split="valid"))
    'GAvalidBinary/1'
    """
    splits = {split: f"{prefix}{split}Binary" for split in SPLITS}
    return FolderNames(splits, {name: str(index) for index, name in enumerate(labels.names)})


@dataclass(frozen=True)
class MaterializedSplit:
    """Where the files lie now: how many this run placed, and how many were there before."""

    dest: Path
    mode: Mode
    n_placed: int
    n_already: int


def materialize_split(
    split: Split,
    dest: str | Path,
    mode: Mode = "copy",
    names: FolderNames | None = None,
    progress: Progress = QUIET,
) -> MaterializedSplit:
    """Write the manifest into ``dest`` and put every file into ``split/class`` there.

    "link" makes hard links, or symbolic ones where the destination is on another disk. "manifest" writes
    the manifest only; a labelling program's name writes its file too. "copy" writes each window of a frame
    as a PNG of its pixels. A file that is there already with the same content counts as done. Every check
    comes before the first change.

    Raises:
        InputError: the destination holds other files or another split, lies within the data, lacks the
            space, or the system rejects it; all faults in one line.
    """
    target = Path(dest)
    if mode not in get_args(Mode):
        raise InputError(
            "Cannot place files",
            needs=f"the mode must be one of {', '.join(get_args(Mode))}",
            got=repr(mode),
            hint=suggest(mode, get_args(Mode)).strip(),
        )
    folders = names or PLAIN
    if mode in _VERBS:
        _check_folder_names(split, target, folders)
        _check_windows(split, target, mode)
    plan = plan_targets(split, target, folders) if mode in _VERBS else []
    _check_destination(split, target, mode)
    remaining = _check_plan(plan, target, mode)
    try:
        split.save(target)
        if mode in BOX_FORMS:
            write_boxes(split, target, mode)
        _save_state(target, mode, folders, is_done=False)
        progress.start("Placing files", len(remaining))
        frames = FrameCache()
        for source, path in remaining:
            path.parent.mkdir(parents=True, exist_ok=True)
            if split_window(source)[1] is None:
                _VERBS[mode](source, path)
            else:
                _write_crop(source, path, frames)
            progress.advance()
        _save_state(target, mode, folders, is_done=True)
    except UnwritableFileError:
        raise
    except OSError as error:
        raise _explain(error, dest) from error
    return MaterializedSplit(target, mode, len(remaining), len(plan) - len(remaining))


def _explain(error: OSError, dest: str | Path) -> InputError:
    reason = tell_reason(error, error.filename or dest)
    if is_path_too_long(error, error.filename or dest):
        return InputError(
            f"Cannot place files in '{dest}'",
            needs="its file system takes shorter names only",
            got=f"{str(error.filename)!r}",
            hint="Rename the file, or name a folder with a shorter path.",
        )
    if getattr(error, "winerror", None) == _NO_RIGHT_TO_LINK:
        return InputError(
            f"Cannot place files in '{dest}'",
            needs="Windows must allow this user symbolic links",
            got=reason,
            hint="Use --mode copy, or --mode link on the disk of the data; or turn Developer Mode on.",
        )
    return InputError(
        f"Cannot place files in '{dest}'",
        needs="it must be writable",
        got=reason,
        hint="Run the same command again to resume.",
    )


def plan_targets(split: Split, dest: Path, names: FolderNames = PLAIN) -> list[tuple[Path, Path]]:
    """Return (source, target) of every file. Files of one name from several folders get their path as name.

    Names that differ by case only count as one, for file systems that do not distinguish them.
    """
    folders = [names.folder(record) for record in split.records]
    keys = [
        (folder, name_crop(record.path).casefold())
        for folder, record in zip(folders, split.records, strict=True)
    ]
    n_alike = Counter(keys)
    taken: set[tuple[str, str]] = {key for key in keys if n_alike[key] == 1}
    plan = []
    for record, folder, key in zip(split.records, folders, keys, strict=True):
        name = name_crop(record.path)
        if n_alike[key] > 1:
            below = (
                relative_name(record.path.with_name(name), split.root)
                .strip("/")
                .replace("/", "_")
                .replace(":", "_")
            )
            name, number = _shorten(below), 1
            while (folder, name.casefold()) in taken:
                number += 1
                name = _shorten(f"{Path(below).stem}~{number}{Path(name).suffix}")
            taken.add((folder, name.casefold()))
        plan.append((record.path, dest / folder / name))
    return plan


def _check_windows(split: Split, dest: Path, mode: Mode) -> None:
    """Reject modes that have nothing to link or move for windows of frames.

    Raises:
        InputError: the data holds windows, and ``mode`` is another than "copy".
    """
    n_windows = sum(split_window(record.path)[1] is not None for record in split.records)
    if n_windows and mode != "copy":
        raise InputError(
            f"Cannot place files in '{dest}'",
            needs="files of their own are needed to link or move",
            got=f"{count_noun(n_windows, 'window')} of frames",
            hint="--mode copy writes them as PNG files, --mode manifest lists them.",
        )


def _shorten(name: str) -> str:
    """Return a name that a file system takes, and no other path's: a long one ends with its hash."""
    if len(os.fsencode(name)) <= _MOST_NAME_BYTES:
        return name
    suffix = Path(name).suffix
    mark = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}{suffix}"
    stem = os.fsencode(name)[: _MOST_NAME_BYTES - len(os.fsencode(mark))]
    return stem.decode("utf-8", errors="ignore") + mark


def _check_folder_names(split: Split, dest: Path, names: FolderNames) -> None:
    """Reject class names that, as folders, would lie elsewhere or not be read again as these classes.

    Raises:
        InputError: a CSV file gives such names.
    """
    folders = {name: names.classes.get(name, name) for name in split.labels.names}
    faults = [
        f"{name!r} {fault}" for name, folder in folders.items() for fault in [_find_fault(folder)] if fault
    ]
    if faults:
        raise InputError(
            f"Cannot place files in '{dest}'",
            needs="each class needs a name that can be a folder's",
            got=describe_many(faults),
            hint="Name them by --class-names, or use --naming study, or --mode manifest.",
        )


def _find_fault(folder: str) -> str:
    if any(sign in folder for sign in "/\\\0"):
        return "holds a separator of folders"
    if folder in (".", "..") or is_system_name(folder):
        return "is a name that is passed over when folders are read"
    if os.name == "nt" and (folder != folder.rstrip(" .") or is_device_name(folder)):
        return "is a name that Windows changes or keeps for itself"
    if os.name == "nt" and has_forbidden_sign(folder):
        return "holds a sign that Windows allows in no name"
    if len(os.fsencode(folder)) > _MOST_NAME_BYTES:
        return f"is longer than {_MOST_NAME_BYTES} bytes"
    return ""


def find_unfinished_move(dest: str | Path) -> bool:
    """Return whether a move into ``dest`` was begun and not finished."""
    state = _load_state(Path(dest))
    return state is not None and state["mode"] == "move" and not state["is_done"]


def finish_move(dest: str | Path, progress: Progress = QUIET) -> tuple[Split, MaterializedSplit]:
    """Finish a move that was killed, by its own manifest; its source cannot be read as a set any more.

    Raises:
        InputError: there is no unfinished move, or its files are neither here nor there.
    """
    target = Path(dest)
    state = _load_state(target)
    if state is None or not find_unfinished_move(target):
        raise InputError(f"Cannot finish a move into '{dest}'", needs="one must have begun", got="none")
    split = Split.load(target)
    names = FolderNames(state["parts"], state["classes"])
    return split, materialize_split(split, target, "move", names, progress)


def _save_state(dest: Path, mode: Mode, names: FolderNames, is_done: bool) -> None:
    state = {"mode": mode, "parts": names.splits, "classes": names.classes, "is_done": is_done}
    write_json(dest / STATE_JSON, state)


def _load_state(dest: Path) -> dict[str, Any] | None:
    try:
        state = read_json(dest / STATE_JSON)
    except (OSError, ValueError):
        return None
    is_whole = isinstance(state, dict) and {"mode", "parts", "classes", "is_done"} <= set(state)
    return state if is_whole else None


def _check_destination(split: Split, dest: Path, mode: Mode) -> None:
    what = f"Cannot place files in '{dest}'"
    if dest.exists() and not dest.is_dir():
        raise InputError(what, needs="a folder is needed", got="a file")
    here, root = dest.resolve(), split.root.resolve()
    if mode in (*_VERBS, "yolo") and (here.is_relative_to(root) or root.is_relative_to(here)):
        raise InputError(
            what,
            needs=f"it must not lie in the data folder '{root}' nor hold it",
            got=here,
            hint="Name a folder beside it.",
        )
    manifest = dest / MANIFEST_CSV
    if manifest.exists() and read_table(manifest) != split.to_csv():
        raise InputError(
            what,
            needs="it must be new or hold the same split",
            got="another split",
            hint="Name another folder.",
        )


def _check_plan(plan: list[tuple[Path, Path]], dest: Path, mode: Mode) -> list[tuple[Path, Path]]:
    """Return the files that are still to be placed.

    Raises:
        InputError: a source is gone, a target is something else, or the disk is too full.
    """
    remaining, faults, n_bytes = [], [], 0
    frames = FrameCache()
    for source, target in plan:
        file, box = split_window(source)
        has_source = file.is_file()
        if os.path.lexists(target):
            if mode == "move" and not has_source:
                continue
            is_same = has_source and _is_same(source, target, frames)
            if not is_same or (mode == "move" and target.is_symlink() and not _is_moved(source, target)):
                faults.append(f"'{target}' is there already and is something else than '{source}'")
            elif mode == "move":
                remaining.append((source, target))
        elif has_source:
            remaining.append((source, target))
            # Three bytes a pixel are more than a PNG takes.
            n_bytes += file.stat().st_size if box is None else 3 * box[2] * box[3]
        else:
            faults.append(f"'{source}' is gone")
    if mode == "move":
        # Else some would be moved, and others stay where they are.
        closed = {source.parent for source, _ in remaining if not os.access(source.parent, os.W_OK)}
        faults += [
            f"'{folder}' is protected, so no file can be moved out of it; --mode copy leaves them"
            for folder in sorted(closed)
        ]
    if mode == "copy":
        above = next(folder for folder in (dest, *dest.absolute().parents) if folder.exists())
        free = shutil.disk_usage(above).free
        if n_bytes > free:
            faults.append(f"{n_bytes} bytes are needed and {free} are free; --mode link needs none")
    if faults:
        raise InputError(f"Cannot place files in '{dest}', so nothing was touched: {describe_many(faults)}.")
    return remaining


def _is_same(source: Path, target: Path, frames: FrameCache | None = None) -> bool:
    if split_window(source)[1] is not None:
        try:
            return np.array_equal(read_image(source, frames=frames), read_image(target))
        except UnreadableImageError:
            return False
    return target.is_file() and (source.samefile(target) or filecmp.cmp(source, target, shallow=False))


def _is_moved(source: Path, target: Path) -> bool:
    """Tell whether a link was moved by a run that was killed before it took the source away."""
    return source.is_symlink() and target.readlink() == source.resolve()


def _copy(source: Path, target: Path) -> None:
    """Copy whole or not at all; a leftover of a killed run is hidden and overwritten by the next."""
    # A name of its own length could be too long.
    work = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:24]}.split")
    shutil.copyfile(source, work)
    with contextlib.suppress(OSError):
        shutil.copystat(source, work)
    with work.open("rb") as stream:
        os.fsync(stream.fileno())
    _rename(work, target)


def _write_crop(window: Path, target: Path, frames: FrameCache) -> None:
    """Write a window as a PNG with its pixels as they are read; of a grey frame it is grey."""
    from PIL import Image

    try:
        pixels, mode = read_image(window, frames=frames), read_info(window).mode
    except UnreadableImageError as error:
        raise InputError(f"Cannot cut '{window}'", needs="its frame must be readable", got=error) from error
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, f"'{target}' has appeared meanwhile")
    is_grey = mode.startswith("grey")
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, 0]) if is_grey else pixels).save(stream, "PNG")
    write_bytes(target, stream.getvalue())


def _rename(source: Path, target: Path) -> None:
    # rename() overwrites silently on POSIX systems, and the check before may be minutes old.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, f"'{target}' has appeared meanwhile")
    source.rename(target)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        _symlink(source, target)


def _symlink(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _move(source: Path, target: Path) -> None:
    if source.is_symlink() and not os.path.lexists(target):
        # A relative link would point nowhere from its new place.
        _symlink(source, target)
        source.unlink()
        return
    if not os.path.lexists(target):
        try:
            _rename(source, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        _copy(source, target)
    # Copied to another disk, by this run or one that was killed: the source goes when both agree.
    if not _is_same(source, target):
        raise OSError(errno.EIO, f"'{target}' is not what '{source}' is")
    source.unlink()


_VERBS: dict[Mode, Callable[[Path, Path], None]] = {
    "copy": _copy,
    "link": _link,
    "symlink": _symlink,
    "move": _move,
}
