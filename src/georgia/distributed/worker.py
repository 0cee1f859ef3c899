"""A worker: it opens the model once and predicts shard after shard."""

from __future__ import annotations

import os
import platform
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.distributed.places import is_url, name_path, read_bytes
from georgia.distributed.shards import ShardFolder, rename_outcome
from georgia.errors import GeorgiaError, InputError
from georgia.images.depth import DEPTH_VARIABLE, DepthWatch
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Outcome
from georgia.predict.predictor import PredictConfig, Predictor
from georgia.records import Failure

# Files that are prefetched from a store, each by its own thread.
N_FETCH = 16


@dataclass(frozen=True)
class WorkerSetup:
    """Everything that a worker needs: ``folder`` holds the model and takes the parts.

    Relative file names are below ``base``. ``stated_depth`` is the caller's GEORGIA_DEPTH.
    """

    bundle: Bundle
    config: PredictConfig
    folder: str
    base: str
    stated_depth: str = ""


class ShardPredictor:
    """Predicts shards with one model in one process: Ray Data creates one per worker."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup, self._fault = setup, ""
        self._shards = ShardFolder(setup.folder)
        # A machine of the cluster may have another one, or none: 16-bit images would come out darker there.
        os.environ[DEPTH_VARIABLE] = setup.stated_depth
        try:
            self._open(setup)
        except GeorgiaError as error:
            # Of an actor that does not start Ray tells its own story, and starts it again.
            self._fault = str(error)

    def _open(self, setup: WorkerSetup) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / setup.bundle.model_path.name
            path.write_bytes(self._shards.read_model())
            self._predictor = Predictor(replace(setup.bundle, model_path=path), setup.config)
        if (precision := self._predictor.engine.precision) != setup.config.precision != "auto":
            raise InputError(
                f"Cannot predict on {platform.node()}",
                needs=f"every machine must compute in {setup.config.precision}",
                got=precision,
                hint="Set the same variables on all machines, or leave the precision out.",
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Predict the shards numbered in a batch; return counts, or in ``fault`` why there are none."""
        none = (0, 0, DepthWatch())
        counts = [none if self._fault else self.predict_shard(int(shard)) for shard in batch["shard"]]
        return {
            "shard": batch["shard"],
            "n_files": [n_files for n_files, _, _ in counts],
            "n_failed": [n_failed for _, n_failed, _ in counts],
            "n_deep": [depths.n_files for *_, depths in counts],
            "largest": [depths.largest for *_, depths in counts],
            "fault": [self._fault] * len(counts),
            "process": [f"{platform.node()}-{os.getpid()}"] * len(counts),
        }

    def predict_shard(self, shard: int) -> tuple[int, int, DepthWatch]:
        """Write the part of a shard; return its number of files, of failures, and the depth of its files."""
        names, labels = self._shards.read_list(shard), self._setup.bundle.labels
        depths = self._predictor.watch_anew()
        return *self._shards.write_outcomes(shard, self._predict(names), labels, depths), depths

    def _predict(self, names: list[str]) -> Iterator[Outcome]:
        with tempfile.TemporaryDirectory(prefix="georgia-") as folder:
            reader = _Reader(names, self._setup.base, Path(folder))
            for name, outcome in zip(names, self._predictor.iterate(reader), strict=True):
                yield reader.give_name(name, outcome)


class _Reader:
    """The files of a shard as local paths; those behind URLs are prefetched."""

    def __init__(self, names: list[str], base: str, folder: Path) -> None:
        self._names, self._base, self._folder = names, base, folder
        self._reasons: dict[str, str] = {}

    def __iter__(self) -> Iterator[Path]:
        with ThreadPoolExecutor(N_FETCH, thread_name_prefix="georgia-fetch") as pool:
            waiting: deque[Future[Path]] = deque()
            for number, name in enumerate(self._names):
                if not is_url(name):
                    yield from _take_all(waiting)
                    yield Path(self._base) / name
                    continue
                waiting.append(pool.submit(self._fetch, number, name))
                if len(waiting) == 2 * N_FETCH:
                    yield waiting.popleft().result()
            yield from _take_all(waiting)

    def give_name(self, name: str, outcome: Outcome) -> Outcome:
        """Return an outcome under the name that the caller knows, and delete what was fetched for it."""
        if is_url(name):
            path = outcome.path if isinstance(outcome, Failure) else outcome.file
            path.unlink(missing_ok=True)
        if isinstance(outcome, Failure):
            return Failure(name_path(name), self._reasons.get(name, outcome.error))
        return rename_outcome(outcome, name_path(name))

    def _fetch(self, number: int, name: str) -> Path:
        path = self._folder / f"{number}{Path(name).suffix}"
        try:
            path.write_bytes(read_bytes(name))
        except (OSError, ValueError) as error:
            self._reasons[name] = f"the store cannot give it ({str(error).splitlines()[0]})"
        return path


def _take_all(waiting: deque[Future[Path]]) -> Iterator[Path]:
    while waiting:
        yield waiting.popleft().result()
