"""Answers for files: the label, *its* probability and every class's, one row an image.

Answers come as they are made: while the engine runs one batch, threads read and prepare the next,
and the caller writes the one before. No more than a few batches are in memory at a time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.images.decode import iter_images
from georgia.model.bundle import Bundle
from georgia.model.engines import (
    BATCH_SIZE,
    PRECISION_VARIABLE,
    Engine,
    Outputs,
    check_engine_name,
    check_precision_name,
    open_engine,
)
from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.predictions import Predictions
from georgia.progress import QUIET, Progress
from georgia.records import Failure
from georgia.uncertainty.decision import Limits

Image = npt.NDArray[Any]
# Up to so many files the start of the engine counts more than its pace.
FEW = 16
Alter = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class PredictConfig:
    """How to run: engine by name, images a call, decoding threads (0: one a core), precision by name.

    ``threads`` are the engine's own (0: it chooses).
    """

    engine: str = "auto"
    batch_size: int = BATCH_SIZE
    workers: int = 0
    precision: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        check_engine_name(self.engine)
        check_precision_name(self.precision)


def for_few(config: PredictConfig, paths: Iterable[Path]) -> PredictConfig:
    """Return the settings, for ``FEW`` files with the engine that starts sooner unless one was chosen.

    OpenVINO needs 0.6 s more than ONNX Runtime to be imported and to compile the bundled model (two cores
    at 2.45 GHz), which ``FEW`` images do not win back.
    """
    is_free = (config.engine, config.precision) == ("auto", "auto") and PRECISION_VARIABLE not in os.environ
    are_few = next(islice(paths, FEW, None), None) is None
    return replace(config, engine="onnxruntime") if is_free and are_few else config


class Predictor:
    """An opened model that answers for any number of files, again and again.

    Raises:
        InputError: the model or the engine cannot be opened.
    """

    def __init__(self, bundle: Bundle, config: PredictConfig = PredictConfig()) -> None:
        self.bundle, self.config = bundle, config
        self.engine = open_engine(
            bundle.model_path, bundle.preprocess, config.engine, config.threads, config.precision
        )

    def iterate(
        self, paths: Iterable[Path], progress: Progress = QUIET, change: Alter | None = None
    ) -> Iterator[Outcome]:
        """Yield one answer or failure a file, in the order of ``paths``, which may be without end.

        ``change`` alters each image, (H, W, 3) uint8, before the net sees it.
        """
        for entries, outputs in self.iterate_outputs(paths, progress, change):
            yield from _read_answers(entries, outputs, self.bundle.limits)

    def iterate_outputs(
        self, paths: Iterable[Path], progress: Progress = QUIET, change: Alter | None = None
    ) -> Iterator[tuple[list[Path | Failure], Outputs]]:
        """Yield files or failures with all outputs of the net: a row for each file that could be read."""
        progress.start("predict", len(paths) if isinstance(paths, Sized) else None)
        pace = _Pace()
        for entries, outputs in self.engine.stream(self._batches(paths, change)):
            progress.advance(len(entries), pace.note(len(entries)))
            yield entries, outputs

    def _batches(
        self, paths: Iterable[Path], change: Alter | None
    ) -> Iterator[tuple[list[Path | Failure], list[Image]]]:
        prepare = self.engine.prepare
        transform = prepare if change is None else lambda image: prepare(change(image))
        size = self.config.batch_size * _batches_at_once(self.engine)
        asked: deque[Path] = deque()
        entries: list[Path | Failure] = []
        prepared: list[Image] = []
        workers = self.config.workers or None
        for _, result in iter_images(_note(paths, asked), workers, transform=transform):
            path = asked.popleft()
            if isinstance(result, Failure):
                entries.append(result)
            else:
                entries.append(path)
                prepared.append(result)
            if len(prepared) == size or len(entries) == 4 * size:
                yield entries, prepared
                entries, prepared = [], []
        if entries:
            yield entries, prepared


def iter_predictions(
    bundle: Bundle,
    paths: Iterable[Path],
    config: PredictConfig = PredictConfig(),
    progress: Progress = QUIET,
) -> Iterator[Outcome]:
    """Yield one answer or failure a file as they are made, in the order of ``paths``, in constant memory.

    For many calls with one model, keep a ``Predictor``.

    Raises:
        InputError: the model or the engine cannot be opened.
    """
    return Predictor(bundle, config).iterate(paths, progress)


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
    predictor = Predictor(bundle, config)
    answers = list(predictor.iterate(paths, progress))
    items = tuple(answer for answer in answers if isinstance(answer, Prediction))
    failed = tuple(answer for answer in answers if isinstance(answer, Failure))
    seconds = time.perf_counter() - started
    return Predictions(bundle.labels, items, failed, predictor.engine.name, seconds)


def _read_answers(entries: Sequence[Path | Failure], outputs: Outputs, limits: Limits) -> Iterator[Outcome]:
    """Yield the answers of one batch; ``outputs`` has a row for each path among the entries."""
    if not outputs:
        yield from (entry for entry in entries if isinstance(entry, Failure))
        return
    decisions = iter(limits.decide(outputs))
    for entry in entries:
        yield entry if isinstance(entry, Failure) else Prediction(entry, **vars(next(decisions)))


def _batches_at_once(engine: Engine) -> int:
    # ONNX Runtime takes images of one size together: of more images, more have the same size.
    return 4 if engine.name == "onnxruntime" else 1


def _note(paths: Iterable[Path], asked: deque[Path]) -> Iterator[Path]:
    for path in paths:
        asked.append(path)
        yield path


class _Pace:
    """Images per second of the last seconds, for the progress line."""

    WINDOW_S = 10.0

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)])

    def note(self, count: int) -> str:
        """Count images as done and return the pace in words."""
        now, total = time.perf_counter(), self._marks[-1][1] + count
        self._marks.append((now, total))
        while len(self._marks) > 2 and now - self._marks[0][0] > self.WINDOW_S:
            self._marks.popleft()
        start, before = self._marks[0]
        return f"{(total - before) / max(now - start, 1e-9):,.0f} images/s"
