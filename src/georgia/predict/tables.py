"""Tables of predictions, written row by row: CSV, JSON, JSON lines, and Parquet in row groups."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from georgia.errors import InputError, MissingDependencyError
from georgia.files import atomic_path
from georgia.labels import Labels
from georgia.model.engines import Computation
from georgia.predict.prediction import Outcome, flatten_outcome, list_columns
from georgia.records import Failure
from georgia.text import defuse_cell

TABLE_SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")
# Rows of one Parquet row group, which are in memory at a time.
ROW_GROUP = 10_000


class TableWriter(Protocol):
    """Takes outcomes one by one."""

    def add(self, outcome: Outcome) -> None:
        """Write one more row."""

    def close(self) -> None:
        """Write what is still held back; the stream stays open."""


def check_table_path(target: Path, suffixes: Sequence[str] = TABLE_SUFFIXES) -> None:
    """Reject a table that could not be written, before any work is done.

    Raises:
        InputError: the suffix is none of those.
        MissingDependencyError: Parquet is asked for and pyarrow is not installed.
    """
    suffix = target.suffix.lower()
    if suffix not in suffixes:
        raise InputError(
            f"Cannot write {str(target)!r}",
            needs="the suffix must be one of " + ", ".join(suffixes),
            got=repr(suffix),
        )
    if suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                f"Cannot write {str(target)!r}",
                needs="pyarrow is needed",
                got=error,
                hint="pip install 'georgia[parquet]', or write .csv.",
            ) from error


def write_table(target: Path, outcomes: Iterable[Outcome], labels: Labels, computation: Computation) -> None:
    """Write a table in the format of its suffix, whole or not at all, in constant memory.

    Raises:
        InputError: the suffix is none of ``TABLE_SUFFIXES``.
        MissingDependencyError: Parquet is asked for and pyarrow is not installed.
    """
    check_table_path(target)
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".parquet":
            _fill(ParquetWriter(temporary, labels, computation), outcomes)
            return
        # A file name need not be valid UTF-8: CSV keeps its bytes.
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            if target.suffix.lower() == ".csv":
                _fill(CsvWriter(stream, labels), outcomes)
            elif target.suffix.lower() == ".json":
                _fill(JsonWriter(stream, labels, computation), outcomes)
            else:
                _fill(JsonLinesWriter(stream), outcomes)


def _fill(writer: TableWriter, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        writer.add(outcome)
    writer.close()


def _dump(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # A lone surrogate, as in a file name that is not valid UTF-8, is written as an escape.
    return text if _is_text(text) else json.dumps(value, indent=indent)


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class CsvWriter:
    """One row per outcome; numbers with six decimals."""

    def __init__(self, stream: IO[str], labels: Labels) -> None:
        self._labels = labels
        self._writer = csv.DictWriter(stream, list_columns(labels), lineterminator="\n")
        self._writer.writeheader()

    def add(self, outcome: Outcome) -> None:
        """Write one more row."""
        row = flatten_outcome(outcome, self._labels)
        self._writer.writerow(
            {key: f"{v:.6f}" if isinstance(v, float) else defuse_cell(v) for key, v in row.items()}
        )

    def close(self) -> None:
        """Every row is written already."""


class JsonLinesWriter:
    """One JSON object a line; a failure has ``file`` and ``error``."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def add(self, outcome: Outcome) -> None:
        """Write one more line."""
        self._stream.write(_dump(outcome.to_json_dict()) + "\n")

    def close(self) -> None:
        """Every line is written already."""


class JsonWriter:
    """The object of ``georgia predict --json``, prediction by prediction; failures follow at the end."""

    def __init__(self, stream: IO[str], labels: Labels, computation: Computation) -> None:
        self._stream = stream
        self._rest: dict[str, Any] = {"failed": [], **computation.to_json_dict()}
        self._rest["classes"] = list(labels.names)
        self._is_empty = True
        stream.write('{\n  "predictions": [')

    def add(self, outcome: Outcome) -> None:
        """Write a prediction, or keep a failure for the end."""
        if isinstance(outcome, Failure):
            self._rest["failed"].append(outcome.to_json_dict())
            return
        text = _dump(outcome.to_json_dict())
        self._stream.write(("\n    " if self._is_empty else ",\n    ") + text)
        self._is_empty = False

    def close(self) -> None:
        """Write failures, engine and classes, and close the object."""
        rest = _dump(self._rest, indent=2)
        self._stream.write(("]," if self._is_empty else "\n  ],") + rest[1:] + "\n")


class ParquetWriter:
    """A flat table in row groups of ``ROW_GROUP``; what computed it stands in the schema's metadata."""

    def __init__(
        self, target: Path | IO[bytes], labels: Labels, computation: Computation | None = None
    ) -> None:
        import pyarrow
        import pyarrow.parquet

        self._labels = labels
        text = {"file", "label", "set", "error"}
        fields = [
            (name, pyarrow.string() if name in text else pyarrow.float64()) for name in list_columns(labels)
        ]
        values = computation.to_json_dict() if computation else {}
        known = {name: value for name, value in values.items() if value}
        self._schema = pyarrow.schema(fields, metadata=known or None)
        self._writer = pyarrow.parquet.ParquetWriter(target, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, outcome: Outcome) -> None:
        """Take one more row; a full group is written."""
        self._rows.append(flatten_outcome(outcome, self._labels))
        if len(self._rows) == ROW_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write the last group and the file's end."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
