"""A Ray cluster: join one or start one on this machine, and run independent tasks on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from georgia.errors import InputError, MissingDependencyError

Item = TypeVar("Item")
Result = TypeVar("Result")
# Object store of a cluster started here: it holds models and lists of file names, no images.
OBJECT_STORE_BYTES = 512 * 2**20
# How long a cluster may take to accept a connection.
CONNECT_S = 10.0
# Most cores of one worker: a second worker gains more than more cores for one.
MAX_CPUS = 8
# How often a task is given to another worker after its own died.
MAX_RETRIES = 3


def import_ray() -> Any:
    """Return the ray package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Its native part writes to the terminal what belongs into its log files.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot use Ray",
            needs="it must be installed",
            got=error,
            hint="pip install 'georgia[ray]', or leave Ray out: one machine does the same.",
        ) from error
    return ray


@contextmanager
def open_cluster(address: str = "auto") -> Iterator[Any]:
    """Yield the ray package, connected to a cluster until the block ends.

    "auto" is the cluster that RAY_ADDRESS names or that runs on this machine; if there is none, one is
    started on this machine and stopped after the block. An existing connection of the caller is kept.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: no cluster is at the address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _join(ray, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def count_cpus(ray: Any) -> tuple[int, int]:
    """Return the processor cores of the whole cluster, and of its smallest node that has any."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    used = [count for count in nodes if count > 0]
    if not used:
        raise InputError(
            "Cannot use the cluster",
            needs="a node with a processor is needed",
            got="none",
            hint="Add a node: ray start --address=HEAD:6379.",
        )
    return sum(used), min(used)


def has_many_hosts(ray: Any) -> bool:
    """Tell whether the cluster is more than one machine."""
    return len({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}) > 1


def _join(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if named and named not in ("auto", "local"):
        _check_address(named)
    elif named != "local" and not _is_left_over():
        try:
            ray.init(address="auto", **quiet)
            return
        except ConnectionError:
            named = "local"
    if named in ("", "auto", "local"):
        own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        ray.init(address="local", **own, **quiet)
        return
    try:
        ray.init(address=named, **quiet)
    except ConnectionError as error:
        raise InputError(
            _WHAT.format(named), needs="it must be a Ray cluster", got=str(error).split("\n")[0], hint=_DO
        ) from error


_WHAT, _DO = (
    "Cannot join the Ray cluster at {!r}",
    "Start one: ray start --head --port=6379; then --ray HOST:6379.",
)


def _check_address(address: str) -> None:
    """Reject an address where nothing listens: Ray itself would try for minutes.

    Raises:
        InputError: nothing listens there.
    """
    fault = _try(address)
    if fault is not None:
        raise InputError(
            _WHAT.format(address), needs="HOST:PORT that responds is needed", got=fault, hint=_DO
        ) from fault


def _try(address: str) -> Exception | None:
    """Return why HOST:PORT cannot be reached, or None."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        return error
    return None


def _is_left_over() -> bool:
    """Tell whether the file that names a running cluster on this machine is out of date."""
    note = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        return _try(note.read_text(encoding="utf-8").strip()) is not None
    except OSError:
        return False


def run_tasks(
    function: Callable[[Item], Result], items: Sequence[Item], address: str = "auto", use_gpu: bool = False
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, result) as tasks end, in any order; a task whose worker or node dies is run again.

    ``function`` must be able to resume from what a dead worker has left. A task that fails is yielded with
    its error.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: no cluster is at the address.
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
    """Run a task on its worker, in the working folder of the caller."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(cpus)
    if Path(folder).is_dir():
        os.chdir(folder)
    return function(item)
