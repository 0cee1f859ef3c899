"""An archive in shards: lists of files, written once, and one Parquet part for each shard that is done.

``part-000000.parquet`` holds the predictions for ``_georgia/files-000000.json``, in its order, and is
written whole or not at all: its presence marks the shard as done. A shard that is predicted twice, because
a worker died after writing it, gives the same file again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from georgia.distributed.places import Folder, join_place, name_path
from georgia.errors import InputError
from georgia.files import reading
from georgia.images.depth import DepthWatch
from georgia.labels import Labels
from georgia.predict.prediction import Outcome, read_prediction
from georgia.predict.tables import ParquetWriter
from georgia.records import Failure

PLAN_FILE, MODEL_FILE, DONE_FILE = "plan.json", "model.onnx", "_SUCCESS"
# Files of one shard: some seconds of one worker, and what is lost with a worker. From the millionth file on
# shards are larger, so that a hundred million files give 26,000 of them.
SHARD_FILES, LARGE_SHARD_FILES, LARGE_FROM = 512, 4096, 1_000_000

# Of a part's metadata: how many of its files have 16 bits, and their largest sample.
_DEPTHS = "depths"
_HINT = "Delete it and give the same command with --resume."


class ShardFolder:
    """The shards of one archive, in the folder that takes the parts."""

    def __init__(self, where: str) -> None:
        self.parts = Folder(where)
        self._lists = Folder(join_place(where, "_georgia"))

    def load_plan(self) -> dict[str, Any] | None:
        """Return the plan, which is written once all lists are, or None."""
        if PLAN_FILE not in self._lists.list_names():
            return None
        with reading(f"Cannot resume {self.parts.where!r}", f"{PLAN_FILE} must be whole"):
            return dict(json.loads(self._lists.read(PLAN_FILE)))

    def write_plan(
        self, metadata: Mapping[str, Any], files: Iterable[str], shard_files: int = 0
    ) -> dict[str, Any]:
        """Write the lists, then the plan; return it. ``shard_files`` 0: chosen by the number of files."""
        counts: list[int] = []
        for names in _cut(files, shard_files):
            self._lists.write(_list_name(len(counts)), json.dumps(names).encode())
            counts.append(len(names))
        plan = {**metadata, "n_files": sum(counts), "n_shards": len(counts)}
        self._lists.write(PLAN_FILE, json.dumps(plan, indent=1).encode())
        return plan

    def write_model(self, data: bytes) -> None:
        """Write the model file, which workers and later calls read."""
        self._lists.write(MODEL_FILE, data)

    def read_model(self) -> bytes:
        """Return the model file."""
        return self._lists.read(MODEL_FILE)

    def read_list(self, shard: int) -> list[str]:
        """Return the files of a shard, named as the caller named them."""
        with reading(f"Cannot read {_list_name(shard)!r}", "it must be a JSON list of files"):
            return list(map(str, json.loads(self._lists.read(_list_name(shard)))))

    def find_missing(self, n_shards: int) -> list[int]:
        """Return the shards without a part."""
        there = set(self.parts.list_names())
        return [shard for shard in range(n_shards) if _part_name(shard) not in there]

    def write_outcomes(
        self, shard: int, outcomes: Iterable[Outcome], labels: Labels, depths: DepthWatch | None = None
    ) -> tuple[int, int]:
        """Write the part of a shard; return its number of files and of failures.

        ``depths`` is what notes the files' depth while they are read: the part says it too.
        """
        stream, n_files, n_failures = io.BytesIO(), 0, 0
        rows = list(outcomes)
        noted = [depths.n_files, depths.largest] if depths is not None and depths.n_files else None
        writer = ParquetWriter(stream, labels, details={_DEPTHS: noted})
        for outcome in rows:
            writer.add(_printable(outcome))
            n_failures += isinstance(outcome, Failure)
            n_files += 1
        writer.close()
        self.parts.write(_part_name(shard), stream.getvalue())
        return n_files, n_failures

    def count_failures(self, shard: int, depths: DepthWatch | None = None) -> int:
        """Return how many files of a finished shard could not be read; ``depths`` takes what it says.

        Raises:
            InputError: the part is damaged.
        """
        import pyarrow.parquet

        with _reading_part(shard):
            part = io.BytesIO(self.parts.read(_part_name(shard)))
            table = pyarrow.parquet.read_table(part, columns=["error"])
            reasons = table.column("error").to_pylist()
            noted = (table.schema.metadata or {}).get(_DEPTHS.encode())
            if depths is not None and noted is not None:
                n_files, largest = map(int, json.loads(noted))
                depths.add(n_files, largest)
        return sum(bool(reason) for reason in reasons)

    def read_outcomes(self, shard: int, labels: Labels) -> list[Outcome]:
        """Return the outcomes of a finished shard, in the order of its files.

        Raises:
            InputError: the part is damaged, or does not hold one row per file.
        """
        import pyarrow.parquet

        names = self.read_list(shard)
        with _reading_part(shard):
            table = pyarrow.parquet.read_table(io.BytesIO(self.parts.read(_part_name(shard))))
        if table.num_rows != len(names):
            raise InputError(
                f"Cannot use {_part_name(shard)!r}",
                needs=f"{len(names)} rows are needed",
                got=table.num_rows,
                hint=_HINT,
            )
        with _reading_part(shard):
            rows = table.to_pylist()
            return [_read_outcome(name, row, labels) for name, row in zip(names, rows, strict=True)]

    def close(self) -> None:
        """Mark the whole archive as done."""
        self.parts.write(DONE_FILE, b"")


def _reading_part(shard: int) -> AbstractContextManager[None]:
    return reading(f"Cannot use {_part_name(shard)!r}", "a whole Parquet file of ours is needed", _HINT)


def _read_outcome(name: str, row: Mapping[str, Any], labels: Labels) -> Outcome:
    if row["error"]:
        return Failure(name_path(name), row["error"])
    return replace(read_prediction(row, labels), file=name_path(name))


def _printable(outcome: Outcome) -> Outcome:
    """Return an outcome whose file name is valid UTF-8: Parquet takes no other."""
    path = outcome.path if isinstance(outcome, Failure) else outcome.file
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return outcome if text == str(path) else rename_outcome(outcome, Path(text))


def rename_outcome(outcome: Outcome, name: Path) -> Outcome:
    """Return the outcome under another file name."""
    return replace(outcome, path=name) if isinstance(outcome, Failure) else replace(outcome, file=name)


def _cut(files: Iterable[str], shard_files: int) -> Iterator[list[str]]:
    names: list[str] = []
    n_before = 0
    for name in files:
        names.append(name)
        size = shard_files or (SHARD_FILES if n_before < LARGE_FROM else LARGE_SHARD_FILES)
        if len(names) == size:
            yield names
            n_before += len(names)
            names = []
    if names:
        yield names


def _list_name(shard: int) -> str:
    return f"files-{shard:06d}.json"


def _part_name(shard: int) -> str:
    return f"part-{shard:06d}.parquet"
