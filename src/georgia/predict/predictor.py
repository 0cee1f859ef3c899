"""Predictions for image files: the label, its probability and that of every class.

Predictions stream: while the engine runs one batch, threads read and prepare the next, and the caller
writes the one before. Only a few batches are in memory at a time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from georgia.config import Config, Threads, between
from georgia.images.decode import iter_images
from georgia.images.depth import DepthWatch, find_stated_bits
from georgia.model.bundle import Bundle
from georgia.model.engines import (
    BATCH_SIZE,
    PRECISION_VARIABLE,
    Computation,
    Engine,
    EngineName,
    Outputs,
    PrecisionName,
)
from georgia.predict.prediction import Outcome, Prediction
from georgia.predict.predictions import Predictions
from georgia.predict.rejudge import open_served_engine
from georgia.progress import QUIET, Progress
from georgia.records import Failure
from georgia.uncertainty.decision import DecisionThresholds

Image = npt.NDArray[Any]
# Up to so many files the start of the engine takes longer than the predictions.
FEW = 16
Alter = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class PredictConfig(Config):
    """Engine and precision by name, images per call, and threads.

    ``workers`` are the threads that read images (0: one per core); ``threads`` are those of the engine
    (0: it chooses).
    """

    engine: EngineName = "auto"
    batch_size: Annotated[int, between(1, 65_536)] = BATCH_SIZE
    workers: Threads = 0
    precision: PrecisionName = "auto"
    threads: Threads = 0


def for_few(config: PredictConfig, paths: Iterable[Path]) -> PredictConfig:
    """Return the settings, with the engine that starts faster for up to ``FEW`` files if none was chosen.

    OpenVINO needs 0.6 s more than ONNX Runtime to be imported and to compile the bundled model (two cores
    at 2.45 GHz), more than it saves on ``FEW`` images.
    """
    is_free = (config.engine, config.precision) == ("auto", "auto") and PRECISION_VARIABLE not in os.environ
    are_few = next(islice(paths, FEW, None), None) is None
    return replace(config, engine="onnxruntime") if is_free and are_few else config


def describe_model(bundle: Bundle) -> dict[str, Any]:
    """Return which model makes predictions, and the depth stated for 16-bit files (0: none)."""
    return {"model": bundle.name, "model_sha256": bundle.sha256, "sample_bits": find_stated_bits()}


class Predictor:
    """A loaded model that predicts any number of files, call after call.

    Raises:
        InputError: the model or the engine cannot be opened.
    """

    def __init__(self, bundle: Bundle, config: PredictConfig = PredictConfig()) -> None:
        self.bundle, self.config = bundle, config
        self.engine = open_served_engine(bundle, config.engine, config.threads, config.precision)
        self._depths = DepthWatch()

    def describe(self) -> dict[str, Any]:
        """Return what a table says of its predictions, beside engine and precision.

        ``notices`` are sentences about what the files read so far leave in doubt.
        """
        notice = self._depths.describe()
        return {**describe_model(self.bundle), "notices": [notice] if notice else []}

    def watch_anew(self) -> DepthWatch:
        """Return what notes the depth of the files that are read from now on, and of no others."""
        self._depths = DepthWatch()
        return self._depths

    def iterate(
        self, paths: Iterable[Path], progress: Progress = QUIET, change: Alter | None = None
    ) -> Iterator[Outcome]:
        """Yield one prediction or failure per file, in the order of ``paths``, which may be endless.

        ``change`` is applied to each image, (H, W, 3) uint8, before the preprocessing.
        """
        for entries, outputs in self.iterate_outputs(paths, progress, change):
            yield from _decide(entries, outputs, self.bundle.thresholds)

    def iterate_outputs(
        self, paths: Iterable[Path], progress: Progress = QUIET, change: Alter | None = None
    ) -> Iterator[tuple[list[Path | Failure], Outputs]]:
        """Yield batches of files or failures with the outputs of the net: a row per file that was read."""
        progress.start("predict", len(paths) if isinstance(paths, Sized) else None)
        pace = _Pace()
        for entries, outputs in self.engine.stream(self._batches(paths, change)):
            progress.advance(len(entries), pace.note(len(entries)))
            yield entries, outputs

    def predict(self, paths: Iterable[Path], progress: Progress = QUIET) -> Predictions:
        """Return the predictions of all files; those that cannot be read are in ``failed``."""
        started = time.perf_counter()
        outcomes = list(self.iterate(paths, progress))
        items = tuple(outcome for outcome in outcomes if isinstance(outcome, Prediction))
        failed = tuple(outcome for outcome in outcomes if isinstance(outcome, Failure))
        seconds = time.perf_counter() - started
        return self._gather(items, failed, seconds)

    def predict_arrays(self, arrays: Iterable[Image], progress: Progress = QUIET) -> Predictions:
        """Return the predictions of images (H, W, 3), uint8 RGB; ``file`` names the first ``array 0``."""
        started = time.perf_counter()
        progress.start("predict", len(arrays) if isinstance(arrays, Sized) else None)
        numbered = ((Path(f"array {number}"), array) for number, array in enumerate(arrays))
        batches = iter(lambda: list(islice(numbered, self.config.batch_size)), [])
        prepared = (
            ([name for name, _ in batch], [self.engine.prepare(array) for _, array in batch])
            for batch in batches
        )
        items: list[Prediction] = []
        for names, outputs in self.engine.stream(prepared):
            decisions = self.bundle.thresholds.decide(outputs)
            items += [
                Prediction(name, **vars(decision)) for name, decision in zip(names, decisions, strict=True)
            ]
            progress.advance(len(names))
        seconds = time.perf_counter() - started
        return self._gather(tuple(items), (), seconds)

    def _gather(
        self, items: tuple[Prediction, ...], failed: tuple[Failure, ...], seconds: float
    ) -> Predictions:
        used = Computation.of(self.engine)
        return Predictions(
            self.bundle.labels,
            items,
            failed,
            used.engine,
            seconds,
            used.precision,
            used.processor,
            self.describe(),
        )

    def _batches(
        self, paths: Iterable[Path], change: Alter | None
    ) -> Iterator[tuple[list[Path | Failure], list[Image]]]:
        prepare = self.engine.prepare
        transform = prepare if change is None else lambda image: prepare(change(image))
        size = self.config.batch_size * _batches_at_once(self.engine)
        queued: deque[Path] = deque()
        entries: list[Path | Failure] = []
        prepared: list[Image] = []
        workers = self.config.workers or None
        for _, result in iter_images(_note(paths, queued), workers, transform=transform, watch=self._depths):
            path = queued.popleft()
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
    """Yield one prediction or failure per file, in the order of ``paths``, in constant memory.

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
    """Return the predictions of all files; those that cannot be read are in ``failed`` with the reason.

    Raises:
        InputError: the model or the engine cannot be opened.
    """
    return Predictor(bundle, config).predict(paths, progress)


def _decide(
    entries: Sequence[Path | Failure], outputs: Outputs, thresholds: DecisionThresholds
) -> Iterator[Outcome]:
    """Yield the outcomes of one batch; ``outputs`` has a row for each path among the entries."""
    if not outputs:
        yield from (entry for entry in entries if isinstance(entry, Failure))
        return
    decisions = iter(thresholds.decide(outputs))
    for entry in entries:
        yield entry if isinstance(entry, Failure) else Prediction(entry, **vars(next(decisions)))


def _batches_at_once(engine: Engine) -> int:
    # ONNX Runtime runs images of one size together: the more images, the more of one size.
    at_once = 4 if engine.name == "onnxruntime" else 1
    return 4 * at_once if engine.device == "GPU" else at_once


def _note(paths: Iterable[Path], queued: deque[Path]) -> Iterator[Path]:
    for path in paths:
        queued.append(path)
        yield path


class _Pace:
    """Images per second over the last seconds, for the progress line."""

    WINDOW_S = 10.0

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)])

    def note(self, count: int) -> str:
        """Count images as done and return the speed as text."""
        now, total = time.perf_counter(), self._marks[-1][1] + count
        self._marks.append((now, total))
        while len(self._marks) > 2 and now - self._marks[0][0] > self.WINDOW_S:
            self._marks.popleft()
        start, before = self._marks[0]
        return f"{(total - before) / max(now - start, 1e-9):,.0f} images/s"
