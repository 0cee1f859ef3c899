"""Features of a pool, and a model's probabilities, by a process of its own: nobody waits for them to name.

What it found is a file. Features are kept in the cache by their pixels, so that what a process that was
stopped had computed is not computed again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georgia.errors import GeorgiaError, InputError
from georgia.files import DAMAGE
from georgia.label.choose import FeatureChooser
from georgia.label.even import find_parts, order_pool
from georgia.label.job_process import Events, JobProcess, open_job
from georgia.label.records import Pool
from georgia.label.session import LabelSession
from georgia.label.settings import LabelConfig
from georgia.progress import QUIET, Progress

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Measured:
    """Features (N, F) and, of a model, probabilities (N, C) of all items of a pool; NaN where not known."""

    features: Floats
    classes: tuple[str, ...] = ()
    probabilities: Floats | None = None


class MeasuringProcess:
    """Measures the items of a pool; one ``run`` each, which ``stop`` ends from any thread."""

    def __init__(self, pool: Pool, config: LabelConfig, model: Path | None = None) -> None:
        self._pool, self._config, self._model = pool, config, model
        self._process: JobProcess | None = None
        self._lock, self._is_stopped = threading.Lock(), False

    def run(self, named: Sequence[int] = (), progress: Progress = QUIET) -> Measured | None:
        """Return what was measured; None where it was stopped, or there is nothing to measure.

        Of a large pool a random part is measured, and the items in ``named``.

        Raises:
            InputError: the process ended otherwise; the reason in one line.
        """
        wanted = _choose_part(self._pool, self._config, named)
        if not len(wanted):
            return None
        with tempfile.TemporaryDirectory(prefix="georgia-label-") as folder:
            target = Path(folder) / "measured.npz"
            job = {
                "paths": [os.fspath(self._pool.items[at].image_path) for at in wanted],
                "model": None if self._model is None else os.fspath(self._model),
                "target": os.fspath(target),
            }
            code, said = self._follow(job, progress)
            if self._is_stopped:
                return None
            if code:
                needs, got = "their features are needed", said or f"exit {code}"
                raise InputError("Cannot measure the images", needs=needs, got=got)
            with np.load(target) as found:
                return self._spread(wanted, found)

    def stop(self) -> None:
        """End the process, if one is at work."""
        with self._lock:
            self._is_stopped = True
            process = self._process
        if process is not None:
            process.kill()

    def _follow(self, job: Mapping[str, Any], progress: Progress) -> tuple[int, str]:
        """Return how the process ended, and the last line that it said."""
        with self._lock:
            if self._is_stopped:
                return 0, ""
            process = self._process = JobProcess("georgia.label.background")
        n_done = 0
        for event in process.follow(job):
            with suppress(*DAMAGE):
                if event["event"] == "start":
                    progress.start(str(event["stage"]), int(event["total"]))
                    n_done = 0
                elif event["event"] == "advance":
                    progress.advance(int(event["count"]) - n_done)
                    n_done = int(event["count"])
        return process.code, process.last_line

    def _spread(self, wanted: npt.NDArray[np.int64], found: Mapping[str, Any]) -> Measured:
        """Return what was measured at the places of its items."""
        classes = tuple(map(str, found["classes"]))

        def place(values: Floats) -> Floats:
            whole = np.full((len(self._pool.items), values.shape[1]), np.nan, np.float32)
            whole[wanted] = values
            return whole

        return Measured(place(found["features"]), classes, place(found["probabilities"]) if classes else None)


def _choose_part(pool: Pool, config: LabelConfig, named: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the positions to be measured: the first in the random order of the even fraction, and others."""
    order = _order(pool, config)
    chosen = {*order[: config.features].tolist(), *(named if config.features else ())}
    return np.array(sorted(chosen), np.int64)


def _order(pool: Pool, config: LabelConfig) -> npt.NDArray[np.int64]:
    return order_pool(pool, config.choice.seed)


def make_chooser(pool: Pool, measured: Measured, config: LabelConfig) -> FeatureChooser:
    """Return what says by features which items come next.

    Raises:
        InputError: no item could be read.
    """
    times = np.array([np.nan if item.time_s is None else item.time_s for item in pool.items])
    duplicates = np.array([item.duplicates for item in pool.items], np.int64)
    order, parts = _order(pool, config), find_parts(pool)
    return FeatureChooser(measured.features, config.choice, times, duplicates, order, parts)


def use_features(
    session: LabelSession, process: MeasuringProcess, config: LabelConfig, progress: Progress = QUIET
) -> bool:
    """Measure the pool of a session and have what comes next chosen by that; False where it was stopped.

    Raises:
        InputError: it cannot be measured; the session goes on as before.
    """
    positions = session.pool.find_positions()
    measured = process.run([positions[item.path] for item, _ in session.list_named()], progress)
    if measured is None:
        return False
    chooser = make_chooser(session.pool, measured, config)
    # The first choice finds the directions of the features: here nobody waits for it.
    chooser.next(1, {})
    session.use_chooser(chooser)
    if measured.probabilities is not None:
        session.update_probabilities(measured.classes, measured.probabilities)
    return True


def _measure(job: Mapping[str, Any], events: Events) -> None:
    from georgia.label.features import FeatureReader

    paths = [Path(path) for path in job["paths"]]
    features = FeatureReader().read(paths, progress=events).as_is
    found: dict[str, Any] = {"features": features, "classes": np.array([], np.str_)}
    if job["model"] is not None:
        from georgia.model.load import load_bundle
        from georgia.predict.predictor import Predictor

        predictor = Predictor(load_bundle(job["model"]))
        classes = predictor.bundle.labels.names
        probabilities = np.full((len(paths), len(classes)), np.nan, np.float32)
        for position, row in _predict(predictor, paths, events):
            probabilities[position] = row
        found |= {"classes": np.array(classes), "probabilities": probabilities}
    np.savez(job["target"], **found)


def _predict(predictor: Any, paths: Sequence[Path], events: Events) -> Iterator[tuple[int, list[float]]]:
    events.start("predictions", len(paths))
    for position, outcome in enumerate(predictor.iterate(paths)):
        events.advance()
        values = getattr(outcome, "probabilities", None)
        if values is not None:
            yield position, list(values.values())


def main() -> int:
    """Do the job of this process; return an exit code."""
    job, events = open_job(lambda: os._exit(1))
    try:
        _measure(job, events)
    except GeorgiaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
