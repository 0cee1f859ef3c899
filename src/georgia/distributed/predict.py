"""Predict an archive of any size on a Ray cluster: complete, nothing twice, and to be gone on with."""

from __future__ import annotations

import hashlib
import importlib
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from georgia.distributed.cluster import MAX_CPUS, count_cpus, has_many_hosts, import_ray, open_cluster
from georgia.distributed.places import is_url, walk_images
from georgia.distributed.shards import ShardFolder
from georgia.distributed.worker import ShardPredictor, WorkerSetup
from georgia.errors import InputError
from georgia.images.listing import FoundImages, find_images
from georgia.labels import Labels
from georgia.model.bundle import Bundle
from georgia.model.engines import choose_precision, open_engine
from georgia.predict.prediction import Outcome
from georgia.predict.predictor import PredictConfig
from georgia.predict.tables import TABLE_SUFFIXES
from georgia.progress import QUIET, Progress
from georgia.records import Failure

# The engine's name on the command line.
RAY = "ray"


@dataclass(frozen=True)
class DistributedConfig:
    """Which cluster (see ``open_cluster``), whether to go on, and files a shard (0: chosen)."""

    address: str = "auto"
    resume: bool = False
    shard_files: int = 0


@dataclass(frozen=True)
class ArchiveResult:
    """A predicted archive: where its answers lie, how many there are, and how many files failed.

    ``n_reused`` files were answered by an earlier call that was stopped; ``workers`` names the processes
    that answered in this one. ``answers`` reads them all, in the order of the files.
    """

    folder: str
    labels: Labels
    engine: str
    n_files: int
    n_shards: int
    n_failed: int
    n_reused: int
    seconds: float
    workers: tuple[str, ...] = ()

    def answers(self) -> Iterator[Outcome]:
        """Yield every answer and failure, shard after shard."""
        shards = ShardFolder(self.folder)
        for shard in range(self.n_shards):
            yield from shards.read_answers(shard, self.labels)

    def find_failures(self, limit: int) -> list[Failure]:
        """Return the first files that could not be read; parts are only opened while there may be more."""
        failures: list[Failure] = []
        for answer in self.answers():
            if len(failures) >= min(limit, self.n_failed):
                break
            if isinstance(answer, Failure):
                failures.append(answer)
        return failures

    def remove(self) -> None:
        """Delete the parts, once their answers are elsewhere."""
        ShardFolder(self.folder).answers.remove()


def is_table(out: str) -> bool:
    """Tell whether an output is one table, by its suffix; anything else is a folder of Parquet parts."""
    return not is_url(out) and Path(out).suffix.lower() in TABLE_SUFFIXES


def predict_archive(
    bundle: Bundle,
    sources: Sequence[str | Path],
    folder: str,
    config: PredictConfig | None = None,
    scale: DistributedConfig = DistributedConfig(),
    progress: Progress = QUIET,
) -> ArchiveResult:
    """Answer for all images of the sources into Parquet parts in a folder, here or behind a URL.

    The files are listed once and cut into shards. Workers hold the model open and take shard after
    shard through Ray Data; a shard whose worker or node died is given to another.

    Args:
        bundle: the model; its file is put into the folder, where the workers read it.
        sources: files, folders, globs and URLs; local ones must be at the same place on every node.
        folder: takes the parts; all nodes must see it.
        config: as for a local run; ``engine`` "ray" stands for "auto".
        scale: which cluster, and whether to go on with what is in the folder.
        progress: hears of every shard.

    Raises:
        MissingDependencyError: Ray or pyarrow is not installed.
        InputError: model, sources, folder or cluster cannot be used, or what is in the folder was made
            with another model, engine or precision.
    """
    started = time.perf_counter()
    import_ray()
    config = _settle(bundle, config or PredictConfig())
    shards = ShardFolder(folder)
    plan = _open_plan(shards, bundle, sources, config, scale, progress)
    missing = shards.find_missing(plan["n_shards"])
    reused = set(range(plan["n_shards"])) - set(missing)
    n_failed = sum(shards.count_failures(shard) for shard in reused)
    n_answered, workers = 0, set()
    if missing:
        with open_cluster(scale.address) as ray:
            _check_folder(ray, folder)
            progress.start("predict", plan["n_files"])
            for row in _run_shards(ray, bundle, config, folder, missing):
                n_answered, n_failed = n_answered + int(row["n_files"]), n_failed + int(row["n_failed"])
                workers.add(str(row["process"]))
                pace = n_answered / max(1e-9, time.perf_counter() - started)
                progress.advance(int(row["n_files"]), f"{pace:,.0f} images/s")
    _close(shards, plan["n_shards"])
    return ArchiveResult(
        folder=folder,
        labels=bundle.labels,
        engine=plan["engine"],
        n_files=plan["n_files"],
        n_shards=plan["n_shards"],
        n_failed=n_failed,
        n_reused=plan["n_files"] - n_answered,
        seconds=time.perf_counter() - started,
        workers=tuple(sorted(workers)),
    )


def _close(shards: ShardFolder, n_shards: int) -> None:
    """Mark the archive as done.

    Raises:
        InputError: a shard has no answers.
    """
    left = shards.find_missing(n_shards)
    if left:
        raise InputError(
            f"Cannot finish {shards.answers.where!r}",
            needs="every shard needs its answers",
            got=f"{len(left)} without",
            hint="Give the same command with --resume.",
        )
    shards.close()


def list_sources(sources: Sequence[str | Path]) -> Iterator[str]:
    """Yield the names of all images that files, folders, globs and URLs stand for, in their order.

    Raises:
        InputError: a source names nothing.
    """
    local: list[str | Path] = [source for source in sources if not is_url(str(source))]
    if len(local) == len(sources):
        yield from map(str, FoundImages(local))
        return
    seen: set[str] = set()
    for source in sources:
        names: Iterable[str]
        names = walk_images(str(source)) if is_url(str(source)) else map(str, find_images([source]))
        found = False
        for name in names:
            found = True
            if name not in seen:
                yield name
        if not found:
            raise InputError(
                "Found no images",
                needs="an image file or a folder with images is needed",
                got=repr(str(source)),
            )
        seen.update([str(source)])


def _settle(bundle: Bundle, config: PredictConfig) -> PredictConfig:
    """Return the settings with engine and precision as this machine chooses them: workers do the same.

    Raises:
        InputError: the model cannot be opened.
    """
    name = "auto" if config.engine == RAY else config.engine
    engine = open_engine(bundle.model_path, bundle.preprocess, name, precision=config.precision)
    precision = choose_precision(config.precision) if engine.name == "openvino" else "auto"
    return replace(config, engine=engine.name, precision=precision)


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
    about = {
        "model": hashlib.sha256(model).hexdigest(),
        "classes": list(bundle.labels.names),
        "engine": config.engine,
        "precision": config.precision,
    }
    before = shards.load_plan()
    if before is not None and scale.resume:
        differing = [name for name, value in about.items() if before.get(name) != value]
        if differing:
            raise InputError(
                f"Cannot resume {shards.answers.where!r}",
                needs="model, classes, engine and precision must be those that it began with",
                got=f"another {', '.join(differing)}",
                hint="Give the same ones, or start over without --resume.",
            )
        n_left = len(shards.find_missing(before["n_shards"]))
        progress.say(f"resume: {before['n_shards'] - n_left:,} of {before['n_shards']:,} shards are done")
        return before
    if before is None and set(shards.answers.list_names()) - {"_georgia"}:
        raise InputError(
            f"Cannot write answers into {shards.answers.where!r}",
            needs="a new folder is needed",
            got="one with other files",
            hint="Choose another --out.",
        )
    shards.answers.remove()
    shards.write_model(model)
    progress.start("list files", None)
    return shards.write_plan(about, _counted(list_sources(sources), progress), scale.shard_files)


def _counted(names: Iterable[str], progress: Progress) -> Iterator[str]:
    for name in names:
        progress.advance()
        yield name


def _run_shards(
    ray: Any, bundle: Bundle, config: PredictConfig, folder: str, missing: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield one row a shard as they are done, in any order."""
    data = importlib.import_module("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    n_cpus, smallest = count_cpus(ray)
    cpus = min(smallest, MAX_CPUS)
    n_workers = max(1, min(n_cpus // cpus, len(missing)))
    setup = WorkerSetup(
        # Where the model lies on this machine means nothing to the others: they read it in the folder.
        replace(bundle, model_path=Path(bundle.model_path.name)),
        replace(config, threads=cpus, workers=config.workers or cpus),
        folder if is_url(folder) else str(Path(folder).absolute()),
        str(Path.cwd()),
    )
    rows = data.from_items([{"shard": shard} for shard in missing], override_num_blocks=len(missing))
    done = rows.map_batches(
        ShardPredictor,
        fn_constructor_args=(setup,),
        batch_size=1,
        num_cpus=cpus,
        # All start at once. It may shrink: what waits for a lost node's worker gets an idle one's place.
        compute=data.ActorPoolStrategy(min_size=1, max_size=n_workers, initial_size=n_workers),
    )
    yield from done.iter_rows()


def _check_folder(ray: Any, folder: str) -> None:
    is_private = not is_url(folder) and Path(folder).absolute().is_relative_to(tempfile.gettempdir())
    if is_private and has_many_hosts(ray):
        raise InputError(
            f"Cannot write answers to {folder!r}",
            needs="all machines of the cluster must see it",
            got="a temporary folder of this one",
            hint="Give --out in a folder that all machines share, or a URL.",
        )
