"""Independent tasks on a Ray cluster: each is made once and comes back, or its failure does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from georgia.distributed.cluster import MAX_CPUS, count_cpus, open_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")
# How often a task is given to another worker after its own died.
MAX_RETRIES = 3


def run_tasks(
    function: Callable[[Item], Result], items: Sequence[Item], address: str = "auto", use_gpu: bool = False
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, result) as tasks end, in any order; a task whose worker or node dies is made again.

    ``function`` must be able to go on with what a worker that died has left. A task that cannot be made
    comes back with its error.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: no cluster answers at the address.
    """
    if not items:
        return
    with open_cluster(address) as ray:
        n_cpus, smallest = count_cpus(ray)
        cpus = max(1, min(n_cpus // len(items), smallest, MAX_CPUS))
        has_gpu = use_gpu and bool(ray.cluster_resources().get("GPU"))
        options = {"num_cpus": cpus, "num_gpus": int(has_gpu), "max_retries": MAX_RETRIES}
        remote = ray.remote(**options)(_run_there)
        there = (str(Path.cwd()), cpus)
        waiting = {remote.remote(function, item, *there): item for item in items}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            for reference in done:
                item = waiting.pop(reference)
                try:
                    yield item, ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield item, error


def _run_there(function: Callable[[Item], Result], item: Item, folder: str, cpus: int) -> Result:
    """Run a task on its worker, where relative paths mean what they mean to the caller."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(cpus)
    if Path(folder).is_dir():
        os.chdir(folder)
    return function(item)
