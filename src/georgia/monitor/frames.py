"""The frames of a live probe as a table: CSV or Parquet, one row a frame, oldest first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError, suggest
from georgia.files import atomic_path
from georgia.monitor.columns import TABLE
from georgia.predict.tables import check_table_path
from georgia.text import defuse_cell

if TYPE_CHECKING:
    from georgia.monitor.records import Batch
    from georgia.monitor.result import FrameResult
    from georgia.monitor.store import Store

TABLE_SUFFIXES = (".csv", ".parquet")
COLUMNS = [column.public for column in TABLE]
# Rows of a Parquet file that are held at a time, and lines of CSV.
_ROWS_AT_ONCE = 5000
_LINES_AT_ONCE = 200


def export_frames(store: Store, target: Path, batch_id: int | None = None) -> int:
    """Write a table of all frames, or of one batch, by the suffix; return the number of rows.

    Times are ISO 8601 in UTC; ``classes`` holds each class's fraction as ``name=0.25`` with ``|`` between.
    A hundred thousand frames need no more memory than a few thousand.

    Raises:
        InputError: the suffix is neither .csv nor .parquet.
        MissingDependencyError: Parquet is requested and pyarrow is not installed.
        StoreAwayError: the store cannot be reached.
    """
    check_table_path(target, TABLE_SUFFIXES)
    with atomic_path(target) as temporary:
        write = _write_csv if target.suffix.lower() == ".csv" else _write_parquet
        return write(temporary, store.iter_frames(batch_id))


def frame_row(frame: FrameResult) -> dict[str, Any]:
    """Return a frame as one flat row."""
    row = {column.public: column.read_public(frame) for column in TABLE}
    return {**row, "classes": "|".join(f"{item.name}={item.fraction:.6f}" for item in frame.classes)}


def find_batch(store: Store, wanted: str) -> Batch:
    """Return a batch by its number or its name; of several with that name the newest.

    Raises:
        InputError: there is none.
    """
    batches = store.batches(limit=100_000)
    for batch in batches:
        if batch.name == wanted or str(batch.id) == wanted:
            return batch
    names = [batch.name for batch in batches]
    raise InputError(
        "Cannot find the batch",
        needs="its number or name must be in the store",
        got=repr(wanted),
        hint=suggest(wanted, names).strip(),
    )


def csv_pages(frames: Iterable[FrameResult]) -> Iterator[str]:
    """Yield a CSV table of frames, its header first, in pieces of up to 200 rows."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, frame in enumerate(frames, 1):
        row = frame_row(frame)
        writer.writerow(
            {key: f"{v:.6f}" if isinstance(v, float) else defuse_cell(v) for key, v in row.items()}
        )
        if number % _LINES_AT_ONCE == 0:
            yield stream.getvalue()
            stream.seek(0)
            stream.truncate()
    yield stream.getvalue()


def _write_csv(target: Path, frames: Iterator[FrameResult]) -> int:
    counted = count()
    with target.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(csv_pages(frame for frame, _ in zip(frames, counted, strict=False)))
    return next(counted)


def _write_parquet(target: Path, frames: Iterator[FrameResult]) -> int:
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(column.public, types[column.public_type]) for column in TABLE])
    n_rows = 0
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        while page := [frame_row(frame) for frame in islice(frames, _ROWS_AT_ONCE)]:
            writer.write_table(pyarrow.Table.from_pylist(page, schema=schema))
            n_rows += len(page)
        if not n_rows:
            writer.write_table(pyarrow.Table.from_pylist([], schema=schema))
    return n_rows
