"""An archive cut into shards: lists of files, written once, and one Parquet part for each that is done.

``part-00000.parquet`` holds the answers to ``_georgia/files-00000.json``, in its order, and is written
whole or not at all: that it is there is the mark that the shard is done. A shard that is made twice,
because a worker died after writing it, gives the same file again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from georgia.distributed.places import Folder, join_place, name_path
from georgia.errors import InputError
from georgia.labels import Labels
from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.tables import ParquetWriter
from georgia.records import Failure

PLAN_FILE, MODEL_FILE, DONE_FILE = "plan.json", "model.onnx", "_SUCCESS"
# Files of one shard: some seconds of one worker's work, and what a lost worker has to make again. From
# the millionth file on shards are larger, so that a hundred million files make 26,000 of them.
SHARD_FILES, LARGE_SHARD_FILES, LARGE_FROM = 512, 4096, 1_000_000


class ShardFolder:
    """The shards of one archive, below the folder that takes the answers."""

    def __init__(self, where: str) -> None:
        self.answers = Folder(where)
        self._lists = Folder(join_place(where, "_georgia"))

    def load_plan(self) -> dict[str, Any] | None:
        """Return what was written down when the lists were whole, or None."""
        if PLAN_FILE not in self._lists.list_names():
            return None
        try:
            return dict(json.loads(self._lists.read(PLAN_FILE)))
        except (OSError, ValueError) as error:
            raise InputError(
                f"Cannot resume {self.answers.where!r}", needs=f"{PLAN_FILE} must be whole", got=error
            ) from error

    def write_plan(
        self, about: Mapping[str, Any], files: Iterable[str], shard_files: int = 0
    ) -> dict[str, Any]:
        """Write the lists, then the plan; return the plan. ``shard_files`` 0 chooses by itself."""
        counts: list[int] = []
        for names in _cut(files, shard_files):
            self._lists.write(_list_name(len(counts)), json.dumps(names).encode())
            counts.append(len(names))
        plan = {**about, "n_files": sum(counts), "n_shards": len(counts)}
        self._lists.write(PLAN_FILE, json.dumps(plan, indent=1).encode())
        return plan

    def write_model(self, data: bytes) -> None:
        """Put the model's file where the workers find it, in a day's time as well."""
        self._lists.write(MODEL_FILE, data)

    def read_model(self) -> bytes:
        """Return the model's file."""
        return self._lists.read(MODEL_FILE)

    def read_list(self, shard: int) -> list[str]:
        """Return the files of a shard, by the names that the caller gave them."""
        return list(json.loads(self._lists.read(_list_name(shard))))

    def find_missing(self, n_shards: int) -> list[int]:
        """Return the shards without answers."""
        there = set(self.answers.list_names())
        return [shard for shard in range(n_shards) if _part_name(shard) not in there]

    def write_answers(self, shard: int, answers: Iterable[Outcome], labels: Labels) -> tuple[int, int]:
        """Write the part of a shard; return how many answers and how many failures are in it."""
        stream, n_answers, n_failures = io.BytesIO(), 0, 0
        writer = ParquetWriter(stream, labels)
        for answer in answers:
            writer.add(_printable(answer))
            n_failures += isinstance(answer, Failure)
            n_answers += 1
        writer.close()
        self.answers.write(_part_name(shard), stream.getvalue())
        return n_answers, n_failures

    def count_failures(self, shard: int) -> int:
        """Return how many files of a shard that is done could not be read."""
        import pyarrow.parquet

        part = io.BytesIO(self.answers.read(_part_name(shard)))
        reasons = pyarrow.parquet.read_table(part, columns=["error"]).column("error").to_pylist()
        return sum(bool(reason) for reason in reasons)

    def read_answers(self, shard: int, labels: Labels) -> list[Outcome]:
        """Return the answers of a shard that is done, in the order of its files.

        Raises:
            InputError: the part does not hold one answer a file.
        """
        import pyarrow.parquet

        names = self.read_list(shard)
        table = pyarrow.parquet.read_table(io.BytesIO(self.answers.read(_part_name(shard))))
        if table.num_rows != len(names):
            raise InputError(
                f"Cannot use {_part_name(shard)!r}",
                needs=f"{len(names)} answers are needed",
                got=table.num_rows,
                hint="Delete it and give the same command with --resume.",
            )
        rows = table.to_pylist()
        return [_read_answer(name, row, labels) for name, row in zip(names, rows, strict=True)]

    def close(self) -> None:
        """Mark the whole archive as done."""
        self.answers.write(DONE_FILE, b"")


def _read_answer(name: str, row: Mapping[str, Any], labels: Labels) -> Outcome:
    if row["error"]:
        return Failure(name_path(name), row["error"])
    return Prediction(
        file=name_path(name),
        label=row["label"],
        probability=row["probability"],
        probabilities={one: row[f"p_{one}"] for one in labels.names},
        unknown_score=row["unknown_score"],
        set=tuple(row["set"].split("|")) if row["set"] else (),
    )


def _printable(answer: Outcome) -> Outcome:
    """Return an answer whose file name is text: Parquet takes no other."""
    path = answer.path if isinstance(answer, Failure) else answer.file
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text == str(path):
        return answer
    name = Path(text)
    return replace(answer, path=name) if isinstance(answer, Failure) else replace(answer, file=name)


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
