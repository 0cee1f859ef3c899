"""The frames of a live probe as a table: CSV or Parquet, one row a frame, oldest first."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.atomic import atomic_path
from georgia.errors import InputError, MissingDependencyError, describe_fault, suggest

if TYPE_CHECKING:
    from georgia.monitor.records import Batch
    from georgia.monitor.result import FrameResult
    from georgia.monitor.store import Store

TABLE_SUFFIXES = (".csv", ".parquet")
_TEXT = [
    "file",
    "frame_time",
    "time_source",
    "status",
    "state",
    "impurity",
    "error",
    "classes",
    "sha256",
    "model_sha256",
    "settings_id",
    "judged_at",
]
_WHOLE = ["frame", "batch", "ordinal", "n_tiles", "n_judged", "n_unknown", "n_empty"]
_NUMBERS = [
    "fraction",
    "low",
    "high",
    "n_effective",
    "ewma",
    "ewma_limit",
    "cusum",
    "cusum_limit",
    "p_limit",
    "centre",
]
# The order of the columns.
COLUMNS = [
    "frame",
    "batch",
    "ordinal",
    "file",
    "frame_time",
    "time_source",
    "status",
    "state",
    "alarm",
    "impurity",
    "fraction",
    "low",
    "high",
    "n_tiles",
    "n_judged",
    "n_unknown",
    "n_empty",
    "n_effective",
    "ewma",
    "ewma_limit",
    "cusum",
    "cusum_limit",
    "p_limit",
    "centre",
    "classes",
    "error",
    "judged_at",
    "sha256",
    "model_sha256",
    "settings_id",
]
# Rows of a Parquet file that are held at a time.
_ROWS_AT_ONCE = 5000


def export_frames(store: Store, target: Path, batch_id: int | None = None) -> int:
    """Write a table of all frames, or of one batch, as its suffix says; return the number of rows.

    Times are ISO 8601 in UTC; ``classes`` holds each class's fraction as ``name=0.25`` with ``|`` between.
    A hundred thousand frames need no more memory than a few thousand.

    Raises:
        InputError: the suffix is neither .csv nor .parquet.
        MissingDependencyError: Parquet is asked for and pyarrow is not installed.
        StoreAwayError: the store cannot be reached.
    """
    check_target(target)
    with atomic_path(target) as temporary:
        rows = map(frame_row, store.iter_frames(batch_id))
        return (_write_csv if target.suffix.lower() == ".csv" else _write_parquet)(temporary, rows)


def check_target(target: Path) -> None:
    """Refuse a table that could not be written, before any work is done.

    Raises:
        InputError: the suffix is neither .csv nor .parquet.
        MissingDependencyError: Parquet is asked for and pyarrow is not installed.
    """
    suffix = target.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        rule = "the suffix must be one of " + ", ".join(TABLE_SUFFIXES)
        raise InputError(describe_fault(f"Cannot write {str(target)!r}", rule, repr(suffix)))
    if suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            do = "pip install 'georgia[parquet]', or write .csv."
            raise MissingDependencyError(
                describe_fault(f"Cannot write {str(target)!r}", "pyarrow is needed", error, do)
            ) from error


def frame_row(frame: FrameResult) -> dict[str, Any]:
    """Return a frame as one flat row."""
    plain = frame.to_json_dict()
    chart = plain.pop("chart")
    classes = "|".join(f"{item.name}={item.fraction:.6f}" for item in frame.classes)
    return {name: {**plain, **chart, "classes": classes}[name] for name in COLUMNS}


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
    rule = "its number or name must be in the store"
    raise InputError(
        describe_fault("Cannot find the batch", rule, repr(wanted), suggest(wanted, names).strip())
    )


def _write_csv(target: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{v:.6f}" if isinstance(v, float) else v for key, v in row.items()})
            count += 1
    return count


def _write_parquet(target: Path, rows: Iterator[dict[str, Any]]) -> int:
    import pyarrow
    import pyarrow.parquet

    kinds = {name: pyarrow.string() for name in _TEXT}
    kinds |= {name: pyarrow.int64() for name in _WHOLE} | {name: pyarrow.float64() for name in _NUMBERS}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.bool_())) for name in COLUMNS])
    count = 0
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        page: list[dict[str, Any]] = []
        for row in rows:
            page.append(row)
            count += 1
            if len(page) == _ROWS_AT_ONCE:
                writer.write_table(pyarrow.Table.from_pylist(page, schema=schema))
                page = []
        if page or not count:
            writer.write_table(pyarrow.Table.from_pylist(page, schema=schema))
    return count
