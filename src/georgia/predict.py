"""Answers for files: the label, *its* probability and every class's, one row a picture."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.atomic import atomic_path
from georgia.bundle import Bundle
from georgia.engines import BATCH_SIZE, Engine, check_engine_name, open_engine
from georgia.errors import InputError, MissingDependencyError, describe_fault
from georgia.images import iter_images
from georgia.labels import Labels
from georgia.progress import QUIET, Progress
from georgia.records import Failure

TABLE_SUFFIXES = (".csv", ".json", ".parquet")


@dataclass(frozen=True)
class PredictConfig:
    """How to run: engine by name, pictures a call, decoding threads (0: one a core)."""

    engine: str = "auto"
    batch_size: int = BATCH_SIZE
    workers: int = 0

    def __post_init__(self) -> None:
        check_engine_name(self.engine)


@dataclass(frozen=True)
class Prediction:
    """One picture's answer; ``probability`` is that of ``label``.

    ``unknown_score`` and ``set`` are empty where the model holds no limits for them.
    """

    file: Path
    label: str
    probability: float
    probabilities: dict[str, float]
    unknown_score: float | None = None
    set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """All answers in the order of the files asked for, and the files that could not be read."""

    labels: Labels
    items: tuple[Prediction, ...]
    failed: tuple[Failure, ...]
    engine: str
    seconds: float = 0.0

    def probability_array(self) -> npt.NDArray[np.float64]:
        """Return probabilities (N, C), float64, columns in label order."""
        rows = [[item.probabilities[name] for name in self.labels.names] for item in self.items]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.labels))

    def to_json_dict(self) -> dict[str, Any]:
        """Return the public form of ``georgia predict --json``."""
        items = [{**asdict(item), "file": str(item.file), "set": list(item.set)} for item in self.items]
        failed = [{"file": str(failure.path), "error": failure.error} for failure in self.failed]
        return {
            "predictions": items,
            "failed": failed,
            "engine": self.engine,
            "classes": list(self.labels.names),
        }

    def save(self, target: Path) -> None:
        """Write a table as its suffix says: .csv, .json or .parquet.

        Raises:
            InputError: the suffix is another.
            MissingDependencyError: Parquet is asked for and pyarrow is not installed.
        """
        check_table_path(target)
        with atomic_path(target) as temporary:
            if target.suffix.lower() == ".json":
                temporary.write_text(
                    json.dumps(self.to_json_dict(), indent=2, ensure_ascii=False), encoding="utf-8"
                )
            elif target.suffix.lower() == ".csv":
                self._write_csv(temporary)
            else:
                self._write_parquet(temporary)

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for item in self.items:
            by_class = {f"p_{name}": item.probabilities[name] for name in self.labels.names}
            row = {"file": str(item.file), "label": item.label, "probability": item.probability, **by_class}
            rows.append({**row, "unknown_score": item.unknown_score, "set": "|".join(item.set), "error": ""})
        for failure in self.failed:
            row = dict.fromkeys(
                ["probability", *(f"p_{name}" for name in self.labels.names), "unknown_score"]
            )
            rows.append({"file": str(failure.path), "label": "", **row, "set": "", "error": failure.error})
        return rows

    def _columns(self) -> list[str]:
        by_class = [f"p_{name}" for name in self.labels.names]
        return ["file", "label", "probability", *by_class, "unknown_score", "set", "error"]

    def _write_csv(self, target: Path) -> None:
        with target.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, self._columns(), lineterminator="\n")
            writer.writeheader()
            for row in self._rows():
                writer.writerow({key: f"{v:.6f}" if isinstance(v, float) else v for key, v in row.items()})

    def _write_parquet(self, target: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        text = {"file", "label", "set", "error"}
        fields = [(name, pyarrow.string() if name in text else pyarrow.float64()) for name in self._columns()]
        table = pyarrow.Table.from_pylist(self._rows(), schema=pyarrow.schema(fields))
        pyarrow.parquet.write_table(table, target)


def check_table_path(target: Path) -> None:
    """Refuse a table that could not be written, before any work is done.

    Raises:
        InputError: the suffix is none of ``TABLE_SUFFIXES``.
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


def predict_files(
    bundle: Bundle,
    paths: Sequence[Path],
    config: PredictConfig = PredictConfig(),
    progress: Progress = QUIET,
) -> Predictions:
    """Answer for every file that can be read; the rest is listed with its reason.

    Raises:
        InputError: the model or the engine cannot be opened.
    """
    started = time.perf_counter()
    engine = open_engine(bundle.model_path, bundle.preprocess, config.engine)
    items: list[Prediction] = []
    failed: list[Failure] = []
    waiting: list[tuple[Path, npt.NDArray[Any]]] = []
    progress.start("predict", len(paths))
    for position, result in iter_images(paths, workers=config.workers or None, transform=engine.prepare):
        if isinstance(result, Failure):
            failed.append(result)
            progress.advance(1)
            continue
        waiting.append((paths[position], result))
        if len(waiting) == config.batch_size:
            items += _answer(engine, bundle.labels, waiting)
            progress.advance(len(waiting))
            waiting = []
    items += _answer(engine, bundle.labels, waiting)
    progress.advance(len(waiting))
    return Predictions(bundle.labels, tuple(items), tuple(failed), engine.name, time.perf_counter() - started)


def _answer(engine: Engine, labels: Labels, waiting: list[tuple[Path, npt.NDArray[Any]]]) -> list[Prediction]:
    if not waiting:
        return []
    probabilities = engine.run([prepared for _, prepared in waiting])["probabilities"]
    decisions = labels.decode(probabilities)
    return [
        Prediction(path, decision.label, decision.probability, decision.probabilities)
        for (path, _), decision in zip(waiting, decisions, strict=True)
    ]
