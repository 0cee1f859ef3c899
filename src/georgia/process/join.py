"""The frames of a batch with the process data of their time, as a table.

The rule: a frame has of each variable the last value at or before it, unless that is older than a limit; then
it has none. The age of each value stands beside it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georgia.files import atomic_path
from georgia.monitor.records import FrameFilter
from georgia.predict.tables import check_table_path
from georgia.process.queries import ProcessSeries, name_variables, read_batch_process
from georgia.text import RowWriter, round_cell

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.result import FrameResult

JOINED_SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")
# A value is too old for a frame after so many usual steps, unless the user says otherwise.
MAX_AGE_STEPS = 3.0
_FRAME = ("frame", "ordinal", "file", "frame_time", "state", "fraction", "low", "high", "n_judged")
# Behind a variable's column, that of the age of its values, s.
_AGE = " age_s"
# More points than any batch has: values are joined one by one, none is a mean.
_ALL = 2**31 - 1
Row = dict[str, Any]


@dataclass(frozen=True)
class _Values:
    """One variable: its column, times and values without gaps, and the limit of their age, s."""

    title: str
    times: np.ndarray
    values: np.ndarray
    max_age_s: float

    def find(self, at_s: float) -> tuple[float | None, float | None]:
        """Return the last value at or before a time, with its age in s; None where that is too old."""
        place = int(np.searchsorted(self.times, at_s, side="right")) - 1
        if place < 0:
            return None, None
        age = at_s - float(self.times[place])
        return (float(self.values[place]), round(age, 3)) if age <= self.max_age_s else (None, None)


def join_frames(store: StoreReader, batch_id: int, max_age_s: float = 0.0) -> tuple[list[str], Iterator[Row]]:
    """Return the columns, and the frames of a batch, oldest first, each with the values of its time.

    ``max_age_s`` is the limit of a value's age; 0 is three usual steps of its variable.

    Raises:
        InputError: there is no such batch.
        StoreAwayError: the store cannot be reached.
    """
    found = read_batch_process(store, batch_id, _ALL)
    names = name_variables([item.variable for item in found.series], _FRAME, _AGE)
    variables = [_make_values(item, names[item.variable.id], max_age_s) for item in found.series]
    columns = [*_FRAME, *(name for item in variables for name in (item.title, f"{item.title}{_AGE}"))]
    frames = store.iter_frames(batch_id, FrameFilter(batch_id))
    return columns, (_make_row(frame, variables) for frame in frames)


def _make_values(item: ProcessSeries, title: str, max_age_s: float) -> _Values:
    pairs = [(at, value) for at, value in zip(item.time_s, item.value, strict=True) if value is not None]
    times, values = np.array(pairs, np.float64).reshape(-1, 2).T
    limit = max_age_s or MAX_AGE_STEPS * (item.variable.step_s or 1.0)
    return _Values(title, times, values, limit)


def _make_row(frame: FrameResult, variables: list[_Values]) -> Row:
    plain = frame.to_json_dict()
    row = {name: plain[name] for name in _FRAME}
    for item in variables:
        row[item.title], row[f"{item.title}{_AGE}"] = item.find(frame.frame_time_s)
    return row


def csv_pages(columns: list[str], rows: Iterator[Row]) -> Iterator[bytes]:
    """Yield a CSV table in UTF-8, a piece a row, its header first."""
    stream = io.StringIO()
    writer = RowWriter(stream)
    writer.write_row(columns)
    for row in rows:
        yield _take(stream)
        writer.write_row(round_cell(row[name]) for name in columns)
    yield _take(stream)


def _take(stream: io.StringIO) -> bytes:
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return text.encode("utf-8", "backslashreplace")


def json_lines(columns: list[str], rows: Iterator[Row]) -> Iterator[bytes]:
    """Yield a JSON object for each row, each on a line."""
    for row in rows:
        yield (json.dumps(row) + "\n").encode()


def json_pages(columns: list[str], rows: Iterator[Row]) -> Iterator[bytes]:
    """Yield one JSON array of the rows."""
    opening = b"[\n"
    for line in json_lines(columns, rows):
        yield opening + line.rstrip(b"\n")
        opening = b",\n"
    yield b"\n]\n" if opening == b",\n" else b"[]\n"


def parquet_pages(
    columns: list[str],
    rows: Iterator[Row],
    texts: Sequence[str] = ("file", "frame_time", "state"),
    whole: Sequence[str] = ("frame", "ordinal", "n_judged"),
) -> Iterator[bytes]:
    """Yield a Parquet file in one piece; columns that are neither texts nor whole numbers are floats.

    Raises:
        MissingDependencyError: pyarrow is not installed; at once.
    """
    check_table_path(Path("frames.parquet"), JOINED_SUFFIXES)
    return _iter_parquet(columns, rows, texts, whole)


def _iter_parquet(
    columns: list[str], rows: Iterator[Row], texts: Sequence[str], whole: Sequence[str]
) -> Iterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    types = [
        (name, pyarrow.string() if name in texts else pyarrow.int64() if name in whole else pyarrow.float64())
        for name in columns
    ]
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=pyarrow.schema(types)), stream)
    yield stream.getvalue()


# The forms of a joined table by their names in REST, and by suffix.
PAGES: Mapping[str, Callable[[list[str], Iterator[Row]], Iterator[bytes]]] = {
    "csv": csv_pages,
    "json": json_pages,
    "jsonl": json_lines,
    "parquet": parquet_pages,
}


def export_joined(store: StoreReader, target: Path, batch_id: int, max_age_s: float = 0.0) -> int:
    """Write the frames of a batch with the values of their time, by the suffix; return how many.

    Raises:
        InputError: the suffix is none of .csv, .json, .jsonl and .parquet, or there is no such batch.
        MissingDependencyError: Parquet is requested and pyarrow is not installed.
    """
    check_table_path(target, JOINED_SUFFIXES)
    columns, rows = join_frames(store, batch_id, max_age_s)
    counted = 0

    def count() -> Iterator[Row]:
        nonlocal counted
        for row in rows:
            counted += 1
            yield row

    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        stream.writelines(PAGES[target.suffix.lower().lstrip(".")](columns, count()))
    return counted
