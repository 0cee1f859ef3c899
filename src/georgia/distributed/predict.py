"""Predict an archive of any size on a Ray cluster: every image once, resumable."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from georgia.config import Config, at_least
from georgia.distributed.places import Place, is_url, open_place
from georgia.distributed.ray_cluster import MAX_CPUS, count_cpus, has_many_hosts, import_ray, open_cluster
from georgia.distributed.shards import ShardFolder
from georgia.distributed.worker import ShardPredictor, WorkerSetup
from georgia.errors import InputError
from georgia.files import OutputLock
from georgia.images.depth import DEPTH_VARIABLE, DepthWatch
from georgia.images.listing import FoundImages
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.predict.prediction import Outcome
from georgia.predict.predictor import PredictConfig
from georgia.predict.rejudge import open_served_engine
from georgia.predict.resume import check_same_run, describe_run
from georgia.predict.tables import TABLE_SUFFIXES
from georgia.progress import QUIET, Progress
from georgia.records import Failure

# The engine's name on the command line.
RAY = "ray"


@dataclass(frozen=True)
class DistributedConfig(Config):
    """Which cluster (see ``open_cluster``), whether to resume, and files per shard (0: chosen)."""

    address: str = "auto"
    resume: bool = False
    shard_files: Annotated[int, at_least(0)] = 0


@dataclass(frozen=True)
class ArchiveResult:
    """A predicted archive: the folder of its parts, and the numbers of files and failures.

    ``n_reused`` files were predicted by an earlier call that was interrupted; ``workers`` names the
    processes of this one; ``notices`` are sentences about what the files leave in doubt.
    """

    folder: str
    labels: Labels
    engine: str
    precision: str
    n_files: int
    n_shards: int
    n_failed: int
    n_reused: int
    seconds: float
    workers: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield every prediction and failure, in the order of the files."""
        shards = ShardFolder(self.folder)
        for shard in range(self.n_shards):
            yield from shards.read_outcomes(shard, self.labels)

    def find_failures(self, limit: int) -> list[Failure]:
        """Return the first files that could not be read; parts are only opened while there may be more."""
        failures = (outcome for outcome in self.outcomes() if isinstance(outcome, Failure))
        return list(islice(failures, min(limit, self.n_failed)))

    def remove(self) -> None:
        """Delete the parts, once they are copied into a table."""
        ShardFolder(self.folder).parts.remove()


def is_table(out: str) -> bool:
    """Tell by the suffix whether an output is one table; anything else is a folder of Parquet parts."""
    return not is_url(out) and Path(out).suffix.lower() in TABLE_SUFFIXES


def predict_archive(
    bundle: Bundle,
    sources: Sequence[str | Path],
    folder: str,
    config: PredictConfig | None = None,
    scale: DistributedConfig = DistributedConfig(),
    progress: Progress = QUIET,
) -> ArchiveResult:
    """Predict all images of the sources into Parquet parts in a folder, local or behind a URL.

    The files are listed once and cut into shards. Workers open the model once and take shard after shard
    through Ray Data; a shard whose worker or node died is given to another.

    Args:
        bundle: the model; its file is copied into the folder, where the workers read it.
        sources: files, folders, globs and URLs; local ones must have the same path on every node.
        folder: takes the parts; all nodes must see it.
        config: as for a local run; ``engine`` "ray" stands for "auto".
        scale: which cluster, and whether to resume what is in the folder.
        progress: advances with every shard.

    Raises:
        MissingDependencyError: Ray or pyarrow is not installed.
        InputError: model, sources, folder or cluster cannot be used, another run writes into the folder, or
            what is in it was made with another model, engine or precision.
    """
    import_ray()
    # Behind a URL there are no locks.
    lock = None if is_url(folder) else OutputLock(Path(folder).absolute())
    try:
        return _predict_shards(bundle, sources, folder, config, scale, progress)
    finally:
        if lock is not None:
            lock.release()


def _predict_shards(
    bundle: Bundle,
    sources: Sequence[str | Path],
    folder: str,
    config: PredictConfig | None,
    scale: DistributedConfig,
    progress: Progress,
) -> ArchiveResult:
    started = time.perf_counter()
    config = _settle(bundle, config or PredictConfig())
    shards = ShardFolder(folder)
    plan = _open_plan(shards, bundle, sources, config, scale, progress)
    missing = shards.find_missing(plan["n_shards"])
    reused = set(range(plan["n_shards"])) - set(missing)
    depths = DepthWatch()
    n_failed = sum(shards.count_failures(shard, depths) for shard in reused)
    n_predicted, workers = 0, set()
    if missing:
        with open_cluster(scale.address) as ray:
            _check_folder(ray, folder)
            progress.start("predict", plan["n_files"])
            for row in _run_shards(ray, bundle, config, folder, missing):
                n_predicted, n_failed = n_predicted + int(row["n_files"]), n_failed + int(row["n_failed"])
                workers.add(str(row["process"]))
                depths.add(int(row["n_deep"]), int(row["largest"]))
                pace = n_predicted / max(1e-9, time.perf_counter() - started)
                progress.advance(int(row["n_files"]), f"{pace:,.0f} images/s")
    _close(shards, plan["n_shards"])
    return ArchiveResult(
        folder=folder,
        labels=bundle.labels,
        engine=plan["engine"],
        precision=plan["precision"],
        n_files=plan["n_files"],
        n_shards=plan["n_shards"],
        n_failed=n_failed,
        n_reused=plan["n_files"] - n_predicted,
        seconds=time.perf_counter() - started,
        workers=tuple(sorted(workers)),
        notices=tuple(filter(None, [depths.describe()])),
    )


def _close(shards: ShardFolder, n_shards: int) -> None:
    """Mark the archive as done.

    Raises:
        InputError: a shard has no part.
    """
    left = shards.find_missing(n_shards)
    if left:
        raise InputError(
            f"Cannot finish {shards.parts.where!r}",
            needs="every shard needs its part",
            got=f"{len(left)} without",
            hint="Give the same command with --resume.",
        )
    shards.close()


def list_sources(sources: Sequence[str | Path]) -> Iterator[str]:
    """Yield the names of all images of files, folders, globs and URLs, each once, in their order.

    Raises:
        InputError: a source names nothing.
    """
    local: list[str | Path] = [source for source in sources if not is_url(str(source))]
    if len(local) == len(sources):
        yield from map(str, FoundImages(local))
        return
    known: set[str] = set()
    places: list[Place] = []
    for source in sources:
        found = False
        if is_url(str(source)):
            place = open_place(str(source))
            for path in place.walk():
                found = True
                if not any(earlier.holds(place, path) for earlier in places):
                    yield str(source) if path == place.path else place.url_of(path)
            places.append(place)
        else:
            for name in map(str, FoundImages([source])):
                found = True
                if os.path.abspath(name) not in known:  # noqa: PTH100 - links stay apart
                    yield name
                known.add(os.path.abspath(name))  # noqa: PTH100
        if not found:
            raise InputError(
                "Found no images",
                needs="an image file or a folder with images is needed",
                got=repr(str(source)),
            )


def _settle(bundle: Bundle, config: PredictConfig) -> PredictConfig:
    """Return the settings with engine and precision as chosen on this machine, for all workers.

    Raises:
        InputError: the model cannot be opened, or serves in 8-bit integers, whose file no worker has.
    """
    name = "auto" if config.engine == RAY else config.engine
    engine = open_served_engine(bundle, name, precision=config.precision)
    if engine.precision == "int8":
        raise InputError(
            "Cannot predict on Ray in int8",
            needs="a precision of the model's own file is needed there",
            got="int8, which has a file beside it",
            hint="Take --precision float32, bfloat16, rotations or views.",
        )
    return replace(config, engine=engine.name, precision=engine.precision)


def _open_plan(
    shards: ShardFolder,
    bundle: Bundle,
    sources: Sequence[str | Path],
    config: PredictConfig,
    scale: DistributedConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Return the plan that the folder holds, or list the files and write one.

    Raises:
        InputError: the folder holds other files, or was made with another model; a source names nothing.
    """
    model = bundle.model_path.read_bytes()
    model_sha256 = hashlib.sha256(model).hexdigest()
    metadata = describe_run(model_sha256, bundle.labels, config.engine, config.precision)
    before = shards.load_plan()
    if before is not None and scale.resume:
        check_same_run(shards.parts.where, before, metadata)
        n_left = len(shards.find_missing(before["n_shards"]))
        progress.say(f"resume: {before['n_shards'] - n_left:,} of {before['n_shards']:,} shards are done")
        return before
    if before is None and set(shards.parts.list_names()) - {"_georgia"}:
        raise InputError(
            f"Cannot write predictions into {shards.parts.where!r}",
            needs="a new folder is needed",
            got="one with other files",
            hint="Choose another --out.",
        )
    shards.parts.remove()
    shards.write_model(model)
    progress.start("list files", None)
    return shards.write_plan(metadata, _counted(list_sources(sources), progress), scale.shard_files)


def _counted(names: Iterable[str], progress: Progress) -> Iterator[str]:
    for name in names:
        progress.advance()
        yield name


def _run_shards(
    ray: Any, bundle: Bundle, config: PredictConfig, folder: str, missing: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield one row per shard as they are done, in any order.

    Raises:
        InputError: a worker cannot use the model, or computes in another precision.
    """
    data = importlib.import_module("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    n_cpus, smallest = count_cpus(ray)
    cpus = min(smallest, MAX_CPUS)
    n_workers = max(1, min(n_cpus // cpus, len(missing)))
    setup = WorkerSetup(
        # The path on this machine is not valid on others: workers read the model in the folder.
        replace(bundle, model_path=Path(bundle.model_path.name)),
        replace(config, threads=cpus, workers=config.workers or cpus),
        folder if is_url(folder) else str(Path(folder).absolute()),
        str(Path.cwd()),
        os.environ.get(DEPTH_VARIABLE, ""),
    )
    rows = data.from_items([{"shard": shard} for shard in missing], override_num_blocks=len(missing))
    done = rows.map_batches(
        ShardPredictor,
        fn_constructor_args=(setup,),
        batch_size=1,
        num_cpus=cpus,
        # All start at once; the pool may shrink, so that a lost node's worker is replaced by an idle one.
        compute=data.ActorPoolStrategy(min_size=1, max_size=n_workers, initial_size=n_workers),
    )
    for row in done.iter_rows():
        if row["fault"]:
            raise InputError(str(row["fault"]))
        yield row


def _check_folder(ray: Any, folder: str) -> None:
    is_private = not is_url(folder) and Path(folder).absolute().is_relative_to(tempfile.gettempdir())
    if is_private and has_many_hosts(ray):
        raise InputError(
            f"Cannot write predictions to {folder!r}",
            needs="all machines of the cluster must see it",
            got="a temporary folder of this one",
            hint="Give --out in a folder that all machines see, or a URL.",
        )
