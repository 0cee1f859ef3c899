"""A table that an interrupted run can resume: predictions are kept in a journal as they are made.

A run appends each prediction to ``<table>.part``, a file of JSON lines whose first line identifies the
model. At the end the table is written from it, whole or not at all. A lock file beside it keeps a second
run away from the same table.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from georgia.errors import InputError
from georgia.files import DAMAGE, OutputLock, naming_full_disk, write_text
from georgia.images.depth import DEPTH_VARIABLE, find_stated_bits
from georgia.labels import UNKNOWN, Labels
from georgia.model.engines import Computation
from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.predictor import Predictor
from georgia.predict.tables import JsonLinesWriter, check_table_path, write_table
from georgia.progress import QUIET, Progress
from georgia.records import Failure

# Predictions of so many seconds may be lost when the machine itself goes down.
SYNC_S = 5.0


def journal_path(target: Path) -> Path:
    """Return the journal of an unfinished table."""
    return target.with_name(target.name + ".part")


def predict_to_table(
    predictor: Predictor,
    paths: Iterable[Path],
    target: Path,
    resume: bool = False,
    progress: Progress = QUIET,
) -> Iterator[Outcome]:
    """Yield every outcome of the table; ``target`` is complete once the last one is consumed.

    With ``resume``, the outcomes of an interrupted run come first, as they were; their files, unreadable
    ones included, are not opened again. Without it, the journal of such a run is dropped.

    Raises:
        InputError: the suffix cannot be written, another run is writing the table, or the journal was made
            by another model or engine.
    """
    check_table_path(target)
    journal = journal_path(target)
    bundle, engine = predictor.bundle, predictor.engine
    metadata = describe_run(bundle.sha256, bundle.labels, engine.name, engine.precision)
    lock = OutputLock(target)
    try:
        if resume and journal.exists():
            check_same_run(str(journal), _read_metadata(journal), metadata)
            done = _repair(journal, bundle.labels)
            progress.say(f"resume: {len(done):,} files are done")
        else:
            done = np.empty(0, "S24")
            write_text(journal, json.dumps(metadata) + "\n")
    except BaseException:
        lock.release()
        raise
    return _iterate(predictor, paths, target, (done, lock), progress)


def _iterate(
    predictor: Predictor,
    paths: Iterable[Path],
    target: Path,
    begun: tuple[npt.NDArray[Any], OutputLock],
    progress: Progress,
) -> Iterator[Outcome]:
    journal, (done, lock), n_outcomes = journal_path(target), begun, 0
    try:
        for outcome in _read(journal):
            n_outcomes += 1
            yield outcome
        if len(done):
            paths = (path for path in paths if not _is_among(done, path))
        resumable = "Free some and run the same command with --resume."
        with (
            naming_full_disk(target, resumable),
            journal.open("a", encoding="utf-8", newline="\n") as stream,
        ):
            writer, synced = JsonLinesWriter(stream), time.monotonic()
            for outcome in predictor.iterate(paths, progress):
                writer.add(outcome)
                n_outcomes += 1
                if time.monotonic() - synced > SYNC_S:
                    _sync(stream)
                    synced = time.monotonic()
                yield outcome
        outcomes = _read_whole(journal, n_outcomes)
        used = Computation.of(predictor.engine)
        write_table(target, outcomes, predictor.bundle.labels, used, predictor.describe())
        journal.unlink()
    finally:
        lock.release()


def _read_whole(journal: Path, n_outcomes: int) -> Iterator[Outcome]:
    """Yield the outcomes of a journal, which must be so many.

    Raises:
        InputError: they are not, so something else wrote into the journal or removed it.
    """
    n_read = 0
    try:
        for outcome in _read(journal):
            n_read += 1
            yield outcome
        got = f"{n_read:,}"
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RuntimeError) as error:
        got = f"{n_read:,}, then {type(error).__name__}"
    if got != f"{n_outcomes:,}":
        raise InputError(
            f"Cannot finish the table of {str(journal)!r}",
            needs=f"the journal must hold the {n_outcomes:,} predictions that were made",
            got=got,
            hint="Another process wrote into it. The table is as it was; predict again.",
        )


def _sync(stream: IO[str]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def describe_run(model_sha256: str, labels: Labels, engine: str, precision: str) -> dict[str, Any]:
    """Return what all predictions of one table must have in common."""
    return {
        "model": model_sha256,
        "classes": list(labels.names),
        "engine": engine,
        "precision": precision,
        "sample_bits": find_stated_bits(),
    }


def check_same_run(where: str, before: Any, now: dict[str, Any]) -> None:
    """Reject to resume what was begun otherwise.

    Raises:
        InputError: names what differs.
    """
    known = before if isinstance(before, dict) else {}
    # Version 0.1 noted ONNX Runtime's float32 as "auto", and no depth of 16-bit files.
    same = {"float32": ("float32", "auto"), "0": (0, None)}
    differing = [name for name, value in now.items() if known.get(name) not in same.get(str(value), (value,))]
    if differing:
        raise InputError(
            f"Cannot resume {where!r}",
            needs=f"model, classes, engine, precision and {DEPTH_VARIABLE} must be those that it began with",
            got="; ".join(_tell_difference(name, known.get(name), now[name]) for name in differing)
            if known
            else "another first line",
            hint="Give the same ones, or start over without --resume.",
        )


def _tell_difference(name: str, before: Any, now: Any) -> str:
    """Return what differs, with both values where they are short enough to say anything."""
    if name in ("engine", "precision"):
        return f"another {name} ({now}, not {before})"
    if name == "sample_bits":
        return f"another {DEPTH_VARIABLE} ({now or 'none'}, not {before or 'none'})"
    return f"another {name}"


def _read_metadata(journal: Path) -> Any:
    with journal.open(encoding="utf-8", errors="replace") as stream:
        try:
            return json.loads(stream.readline())
        except ValueError:
            return None


def _repair(journal: Path, labels: Labels) -> npt.NDArray[np.bytes_]:
    """Cut off what follows the last whole line, if there is anything; return the sorted digests (N,).

    Each names a file that is done. A damaged line ends what is kept: the files behind it are predicted again.
    """
    digests: list[bytes] = []
    whole = 0
    with journal.open("rb") as stream:
        for number, line in enumerate(stream):
            if not line.endswith(b"\n"):
                break
            if number:
                try:
                    outcome = _parse_line(line.decode(), labels)
                except DAMAGE:
                    break
                digests.append(_digest(outcome.path if isinstance(outcome, Failure) else outcome.file))
            whole += len(line)
    with journal.open("rb+") as stream:
        stream.truncate(whole)
    return np.sort(np.array(digests, dtype="S24"))


def _parse_line(line: str, labels: Labels) -> Outcome:
    """Return the outcome in a line of a journal, whose types and ranges are those that a run writes.

    Raises:
        Exception: one of ``DAMAGE``; it is no such line.
    """
    values = json.loads(line)
    if not isinstance(values["file"], str):
        raise TypeError("a file without a name")
    if "error" in values:
        if not isinstance(values["error"], str) or len(values) != 2:
            raise ValueError("no failure")
        return Failure.from_json_dict(values)
    prediction = Prediction.from_json_dict(values)
    probabilities = [prediction.probability, *prediction.probabilities.values()]
    is_whole = (
        prediction.label in (*labels.names, UNKNOWN)
        and tuple(prediction.probabilities) == labels.names
        and all(isinstance(value, (int, float)) and 0 <= value <= 1.0001 for value in probabilities)
        and (prediction.unknown_score is None or math.isfinite(prediction.unknown_score))
        and set(prediction.set) <= set(labels.names)
    )
    if not is_whole:
        raise ValueError("no prediction of this model")
    return prediction


def _digest(file: Path) -> bytes:
    # Hexadecimal: numpy drops zero bytes at the end of a string.
    name = str(file).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(name, digest_size=12).hexdigest().encode()


def _is_among(done: npt.NDArray[Any], path: Path) -> bool:
    digest = np.bytes_(_digest(path))
    place = int(np.searchsorted(done, digest))
    return place < len(done) and done[place] == digest


def _read(journal: Path) -> Iterator[Outcome]:
    # Its first line may be damaged; the others have been read once.
    with journal.open(encoding="utf-8", errors="surrogateescape") as stream:
        next(stream)
        for line in stream:
            values = json.loads(line)
            yield (Failure if "error" in values else Prediction).from_json_dict(values)
