"""What a spot check draws from: a table of predictions, or the windows of a batch in a monitor's store."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError, MissingDependencyError
from georgia.files import read_table, reading
from georgia.records import Box, format_window, hash_file, split_window
from georgia.text import restore_bytes, restore_cell

if TYPE_CHECKING:
    from georgia.monitor.records import Batch

_CLASS_PREFIX = "p_"
_NEEDS = "a table is needed that georgia predict wrote: .csv, .json, .jsonl or .parquet"


@dataclass(frozen=True)
class Window:
    """One image, or one window of a frame: ``box`` is left, top, width and height in px of the frame."""

    file: str
    box: Box | None = None

    def describe(self) -> str:
        """Return the path of the image, as ``records.format_window`` writes it.

        >>> Window("f.png", (10, 0, 64, 64)).describe()
        'f.png#xywh=10,0,64,64'
        """
        return format_window(self.file, self.box)


@dataclass(frozen=True, eq=False)
class Source:
    """All windows of a batch, each with the net's prediction.

    ``probabilities`` (N, C), 0–1, in the order of ``classes``. ``labels`` (N,): position of the predicted
    class in ``classes``, −1 for unknown. ``folder`` is where relative files lie. ``times_s`` (N,), seconds
    since 1970, is None where no times are known. ``contents`` (N,) is the sha256 (hex) of each window's file
    as it was analysed, empty where it is not known.
    """

    classes: tuple[str, ...]
    windows: tuple[Window, ...]
    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    folder: Path
    metadata: Mapping[str, Any]
    times_s: npt.NDArray[np.float64] | None = None
    contents: tuple[str, ...] = ()

    def find_class(self, name: str) -> int:
        """Return the position of a class; "" is the impurity of a monitor, or else the last class.

        Raises:
            InputError: there is no such class.
        """
        name = name or str(self.metadata.get("impurity") or self.classes[-1])
        if name not in self.classes:
            raise InputError(
                "Cannot check this class", needs=f"one of {', '.join(self.classes)} is needed", got=repr(name)
            )
        return self.classes.index(name)

    def cut(self, n: int) -> Source:
        """Return the first ``n`` windows: what a batch was before it grew."""
        times = None if self.times_s is None else self.times_s[:n]
        parts = (self.windows[:n], self.probabilities[:n], self.labels[:n])
        return Source(self.classes, *parts, self.folder, self.metadata, times, self.contents[:n])

    def measure_fraction(self, target: int) -> float | None:
        """Return the net's own fraction of a class among the windows that it gave a class."""
        named = self.labels >= 0
        return float((self.labels[named] == target).mean()) if named.any() else None

    def find_file(self, window: Window) -> Path:
        """Return where a window's image should be: as it was named, or below ``folder``."""
        if window.box is not None and "batch" in self.metadata:
            from georgia.monitor.file_names import find_file

            return find_file(self.folder, window.file)
        file = Path(window.file)
        is_here = os.path.isfile(split_window(file)[0])  # noqa: PTH113 - Path.is_file raises for a name too long
        return file if is_here else self.folder / file

    def find_folders(self) -> list[Path]:
        """Return the folders of images: those that hold one, and the one over these if it is theirs alone.

        An output there would be read as images, or as a class, the next time.
        """
        if "batch" in self.metadata:
            return [self.folder]
        holders = {self.find_file(window).absolute().parent for window in self.windows}
        root = Path(os.path.commonpath(holders))
        return sorted(holders | ({root} if not self.folder.absolute().is_relative_to(root) else set()))

    def fingerprint(self) -> str:
        """Return a sha256 (hex) over windows and predictions: a plan holds for these alone."""
        digest = hashlib.sha256(
            "\n".join(window.describe() for window in self.windows).encode("utf-8", "replace")
        )
        digest.update(np.round(self.probabilities, 4).tobytes())
        return digest.hexdigest()


def read_predictions(table: Path) -> Source:
    """Read a table that ``georgia predict --out`` wrote; files without a prediction are left out.

    Raises:
        InputError: it is no such table, or holds no prediction.
        MissingDependencyError: it is Parquet and pyarrow is not installed.
    """
    if not table.is_file():
        got = "a folder" if table.is_dir() else "no such file"
        raise InputError(f"Cannot read predictions from {str(table)!r}", needs=_NEEDS, got=got)
    with reading(f"Cannot read predictions from {str(table)!r}", _NEEDS):
        rows = [row for row in _read_rows(table) if row.get("label")]
        if not rows:
            raise InputError(
                f"Cannot check {str(table)!r}", needs="one prediction or more is needed", got="none"
            )
        classes = tuple(
            name.removeprefix(_CLASS_PREFIX) for name in rows[0] if str(name).startswith(_CLASS_PREFIX)
        )
        probabilities = np.array([[float(row[_CLASS_PREFIX + name]) for name in classes] for row in rows])
        labels = np.array([classes.index(row["label"]) if row["label"] in classes else -1 for row in rows])
        if not classes or not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError("no probabilities from 0 to 1")
        windows = tuple(_read_window(str(row["file"]), table.parent) for row in rows)
    metadata = {"predictions": str(table.absolute()), "sha256": hash_file(table)}
    return Source(classes, windows, probabilities, labels, table.parent, metadata)


def _read_window(text: str, folder: Path) -> Window:
    """Return the image that a table names, relative to the working folder or else to its own."""
    # A real file that is called like a window may lie in either.
    if os.path.exists(folder / text):  # noqa: PTH110 - Path.exists raises for a name too long
        return Window(text)
    file, box = split_window(text)
    return Window(text) if box is None else Window(str(file), box)


def _read_rows(table: Path) -> Iterable[dict[str, Any]]:
    suffix = table.suffix.lower()
    if suffix == ".csv":
        for row in csv.DictReader(io.StringIO(read_table(table), newline="")):
            yield {
                name: restore_cell(value) if name in ("file", "label") else value
                for name, value in row.items()
            }
    elif suffix == ".parquet":
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise MissingDependencyError(
                f"Cannot read {str(table)!r}",
                needs="pyarrow is needed",
                got=error,
                hint="pip install 'georgia[parquet]', or predict into a .csv.",
            ) from error
        for row in parquet.read_table(table).to_pylist():
            yield {**row, "file": restore_bytes(row["file"])}
    elif suffix in (".json", ".jsonl"):
        text = table.read_text(encoding="utf-8")
        lines = (
            map(json.loads, filter(None, text.split("\n")))
            if suffix == ".jsonl"
            else json.loads(text)["predictions"]
        )
        for line in lines:
            values = {_CLASS_PREFIX + name: value for name, value in line.get("probabilities", {}).items()}
            yield {"file": line["file"], "label": line.get("label"), **values}
    else:
        raise InputError(f"Cannot read predictions from {str(table)!r}", needs=_NEEDS, got=repr(suffix))


def read_batch(
    db: str, batch: str, frames: Path | None, through: int | None = None, after: int = 0
) -> Source:
    """Read the windows of a batch, empty ones left out, from a monitor's store.

    ``frames`` is the folder with the batch's frames, by default the one that the monitor watched.
    ``through`` is the number of the last frame, None for all; those up to number ``after`` are left out.

    Raises:
        InputError: there is no such store or batch, or it holds no window.
    """
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.result import EMPTY_CODE

    reader = StoreReader.open(db)
    try:
        found = choose_batch(reader.batches(limit=100_000), batch)
        windows: list[Window] = []
        rows, codes, times, contents = [], [], [], []
        classes: tuple[str, ...] = ()
        for frame in reader.iter_frames(found.id):
            if through is not None and frame.frame_id > through:
                break
            tiles = reader.frame_map(frame.frame_id) if frame.frame_id > after else None
            if tiles is None:
                continue
            classes = tiles.names
            shown = np.flatnonzero(tiles.codes != EMPTY_CODE)
            windows += [Window(frame.file, tuple(map(int, tiles.boxes[at]))) for at in shown]  # type: ignore[arg-type]
            rows.append(tiles.probabilities[shown].astype(np.float64))
            codes.append(tiles.codes[shown].astype(np.int64))
            times.append(np.full(len(shown), frame.frame_time_s))
            contents += [frame.key.sha256] * len(shown)
    finally:
        reader.close()
    if not windows:
        raise InputError(
            f"Cannot check batch {found.name!r}",
            needs="one window or more that is not empty is needed",
            got="none",
            hint="Are its maps kept? See keep_maps_days in docs/monitor.md.",
        )
    folder = frames or Path(found.source)
    metadata = {"batch": found.name, "batch_id": found.id, "impurity": found.impurity, "source": found.source}
    probabilities = np.clip(np.concatenate(rows), 0.0, 1.0)
    labels = np.maximum(np.concatenate(codes), -1)
    known = (np.concatenate(times), tuple(contents))
    return Source(classes, tuple(windows), probabilities, labels, folder, metadata, *known)


def choose_batch(batches: list[Batch], wanted: str, verb: str = "check") -> Batch:
    """Return the batch of a name or number, of all; "" is the newest. ``verb`` is what is done with it.

    Raises:
        InputError: there is none, or more than one of that name.
    """
    if not batches:
        raise InputError(
            f"Cannot {verb} batch {wanted!r}" if wanted else f"Cannot {verb} a batch",
            needs="a batch is needed",
            got="a store without any",
        )
    from georgia.monitor.records import find_meant, tell_batches

    found = find_meant(batches, wanted) if wanted else batches
    if not found or (len(found) > 1 and wanted):
        raise InputError(
            f"Cannot {verb} batch {wanted!r}",
            needs="the name or number of one batch is needed",
            got=f"{len(found)} of it: {tell_batches(found)}" if found else "none of it",
            hint=f"Say {' or '.join(f'#{batch.id}' for batch in found[:5])}."
            if found
            else f"Those there are: {tell_batches(batches[:10])}.",
        )
    return found[0]
