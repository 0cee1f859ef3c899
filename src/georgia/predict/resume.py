"""A table that a killed run leaves behind to go on with: answers are kept as they are made.

While it works, a run appends each answer to ``<table>.split``, a file of JSON lines whose first line
says which model answers. At the end the table is written from it, whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import write_text
from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.predictor import Predictor
from georgia.predict.tables import JsonLinesWriter, check_table_path, write_table
from georgia.progress import QUIET, Progress
from georgia.records import Failure

# Answers of so many seconds may have to be made again after the machine itself went down.
SYNC_S = 5.0


def journal_path(target: Path) -> Path:
    """Return where the answers of an unfinished table are kept."""
    return target.with_name(target.name + ".split")


def predict_to_table(
    predictor: Predictor,
    paths: Iterable[Path],
    target: Path,
    resume: bool = False,
    progress: Progress = QUIET,
) -> Iterator[Outcome]:
    """Yield every answer of the table; ``target`` stands, whole, once the last one is taken.

    With ``resume``, answers that an interrupted run left come first, as they were; their files, the
    unreadable among them, are not opened again. Without it, what such a run left is dropped.

    Raises:
        InputError: the suffix cannot be written, or what is left was made by another model or engine.
    """
    check_table_path(target)
    journal = journal_path(target)
    about = _describe(predictor)
    if resume and journal.exists():
        _check_same(journal, about)
        done = _repair(journal)
        progress.say(f"resume: {len(done):,} files are done")
    else:
        done = np.empty(0, "S24")
        write_text(journal, json.dumps(about) + "\n")
    return _iterate(predictor, paths, target, done, progress)


def _iterate(
    predictor: Predictor, paths: Iterable[Path], target: Path, done: npt.NDArray[Any], progress: Progress
) -> Iterator[Outcome]:
    journal = journal_path(target)
    yield from _read(journal)
    if len(done):
        paths = (path for path in paths if not _is_among(done, path))
    with journal.open("a", encoding="utf-8", newline="\n") as stream:
        writer, synced = JsonLinesWriter(stream), time.monotonic()
        for answer in predictor.iterate(paths, progress):
            writer.add(answer)
            if time.monotonic() - synced > SYNC_S:
                _sync(stream)
                synced = time.monotonic()
            yield answer
    write_table(target, _read(journal), predictor.bundle.labels, predictor.engine.name)
    journal.unlink()


def _sync(stream: IO[str]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _describe(predictor: Predictor) -> dict[str, Any]:
    """Return what all answers of one table must have in common."""
    digest = hashlib.sha256()
    with predictor.bundle.model_path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return {
        "model": digest.hexdigest(),
        "classes": list(predictor.bundle.labels.names),
        "engine": predictor.engine.name,
        "precision": predictor.engine.precision,
    }


def _check_same(journal: Path, about: dict[str, Any]) -> None:
    with journal.open(encoding="utf-8", errors="replace") as stream:
        try:
            before = json.loads(stream.readline())
            differing = [name for name, value in about.items() if before[name] != value]
        except (ValueError, KeyError, TypeError):
            differing = ["first line"]
    if differing:
        raise InputError(
            f"Cannot resume {str(journal)!r}",
            needs="model, classes, engine and precision must be those that it began with",
            got=f"another {', '.join(differing)}",
            hint="Give the same ones, or start over without --resume.",
        )


def _repair(journal: Path) -> npt.NDArray[np.bytes_]:
    """Cut off a line that was not finished; return a sorted digest (N,) of each file that is done."""
    digests: list[bytes] = []
    whole = 0
    with journal.open("rb") as stream:
        for number, line in enumerate(stream):
            if not line.endswith(b"\n"):
                break
            if number:
                try:
                    digests.append(_digest(json.loads(line)["file"]))
                except (ValueError, KeyError, TypeError):
                    break
            whole += len(line)
    with journal.open("rb+") as stream:
        stream.truncate(whole)
    return np.sort(np.array(digests, dtype="S24"))


def _digest(file: str) -> bytes:
    # Hexadecimal: numpy drops zero bytes at the end of a string.
    return hashlib.blake2b(file.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest().encode()


def _is_among(done: npt.NDArray[Any], path: Path) -> bool:
    digest = np.bytes_(_digest(str(path)))
    place = int(np.searchsorted(done, digest))
    return place < len(done) and done[place] == digest


def _read(journal: Path) -> Iterator[Outcome]:
    with journal.open(encoding="utf-8") as stream:
        next(stream)
        for line in stream:
            values = json.loads(line)
            if "error" in values:
                yield Failure.from_json_dict(values)
            else:
                yield Prediction.from_json_dict(values)
