"""Tables of predictions, written row by row: CSV, JSON, JSON lines, and Parquet in row groups."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from georgia import __version__
from georgia.errors import InputError, MissingDependencyError
from georgia.files import atomic_path, write_json
from georgia.labels import Labels
from georgia.model.engines import Computation
from georgia.predict.prediction import Outcome, flatten_outcome, list_columns
from georgia.records import Failure
from georgia.text import RowWriter, escape_bytes, is_utf8

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


def metadata_path(target: Path) -> Path:
    """Return the file beside a CSV or JSON lines table that says what made it.

    Source: the name is that of W3C's "Metadata Vocabulary for Tabular Data" (2015), section 5.3.

    >>> metadata_path(Path("out/predictions.csv")).name
    'predictions.csv-metadata.json'
    """
    return target.with_name(f"{target.name}-metadata.json")


def write_table(
    target: Path,
    outcomes: Iterable[Outcome],
    labels: Labels,
    computation: Computation,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write a table in the format of its suffix, whole or not at all, in constant memory.

    What made it (``computation`` and ``details``, as of ``Predictor.describe``) stands in a JSON object, in
    Parquet's metadata, and for CSV and JSON lines in ``metadata_path``, so that columns stay as they are.

    Raises:
        InputError: the suffix is none of ``TABLE_SUFFIXES``.
        MissingDependencyError: Parquet is asked for and pyarrow is not installed.
    """
    check_table_path(target)
    suffix, beside = target.suffix.lower(), metadata_path(target)
    with atomic_path(target) as temporary:
        if suffix == ".parquet":
            _fill(ParquetWriter(temporary, labels, computation, details), outcomes)
            return
        # A file name need not be valid UTF-8: CSV keeps its bytes.
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            if suffix == ".csv":
                _fill(CsvWriter(stream, labels), outcomes)
            elif suffix == ".json":
                _fill(JsonWriter(stream, labels, computation, details), outcomes)
            else:
                _fill(JsonLinesWriter(stream), outcomes)
        if suffix != ".json":
            beside.unlink(missing_ok=True)  # it speaks of the table that is replaced now
    if suffix != ".json":
        written = datetime.now(UTC).isoformat(timespec="seconds")
        made = {**computation.to_json_dict(), **(details or {}), "classes": list(labels.names)}
        write_json(beside, {"table": target.name, "georgia": __version__, "written": written, **made})


def _fill(writer: TableWriter, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        writer.add(outcome)
    writer.close()


def _dump(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # A lone surrogate, as in a file name that is not valid UTF-8, is written as an escape.
    return text if is_utf8(text) else json.dumps(value, indent=indent)


class CsvWriter:
    """One row per outcome; numbers with six decimals."""

    def __init__(self, stream: IO[str], labels: Labels) -> None:
        self._labels, self._columns = labels, list_columns(labels)
        self._writer = RowWriter(stream)
        self._writer.write_row(self._columns)

    def add(self, outcome: Outcome) -> None:
        """Write one more row."""
        row = flatten_outcome(outcome, self._labels)
        values = (row.get(name, "") for name in self._columns)
        self._writer.write_row(f"{value:.6f}" if isinstance(value, float) else value for value in values)

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

    def __init__(
        self,
        stream: IO[str],
        labels: Labels,
        computation: Computation,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._stream = stream
        self._details = {} if details is None else details
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
        """Write failures, engine, classes and the details as they are by now, and close the object."""
        rest = _dump({**self._rest, **self._details}, indent=2)
        self._stream.write(("]," if self._is_empty else "\n  ],") + rest[1:] + "\n")


class ParquetWriter:
    """A flat table in row groups of ``ROW_GROUP``; what computed it stands in the schema's metadata."""

    def __init__(
        self,
        target: Path | IO[bytes],
        labels: Labels,
        computation: Computation | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        import pyarrow
        import pyarrow.parquet

        self._labels = labels
        text = {"file", "label", "set", "error"}
        fields = [
            (name, pyarrow.string() if name in text else pyarrow.float64()) for name in list_columns(labels)
        ]
        values = {**(computation.to_json_dict() if computation else {}), **(details or {})}
        known = {name: v if isinstance(v, str) else json.dumps(v) for name, v in values.items() if v}
        self._schema = pyarrow.schema(fields, metadata=known or None)
        self._writer = pyarrow.parquet.ParquetWriter(target, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, outcome: Outcome) -> None:
        """Take one more row; a full group is written."""
        row = flatten_outcome(outcome, self._labels)
        self._rows.append(
            {name: escape_bytes(value) if isinstance(value, str) else value for name, value in row.items()}
        )
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
