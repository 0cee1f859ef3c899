"""Join a Ray cluster, or start one on this machine; quietly, and without telling anybody."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from georgia.errors import InputError, MissingDependencyError

# What a cluster of our own keeps objects in: models and lists of file names, no images.
OBJECT_STORE_BYTES = 512 * 2**20
# How long a cluster may take to pick up.
CONNECT_S = 10.0
# Cores of one worker at most: nets of this size gain little from more, and two workers gain it all.
MAX_CPUS = 8


def import_ray() -> Any:
    """Return the ray package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Its native part writes to the user's screen what belongs into its log files.
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
    """Give the ray package, joined to a cluster, which is left at the end.

    "auto" is the cluster that RAY_ADDRESS names or that runs on this machine; where there is none, one
    is started on this machine and ended with the block. A caller who has joined one already stays in it.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: no cluster answers at the address.
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
    """Return the processor cores of the whole cluster, and those of its smallest node that has some."""
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
        _check_answers(named)
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


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes.

    Raises:
        InputError: nobody does.
    """
    fault = _try(address)
    if fault is not None:
        raise InputError(
            _WHAT.format(address), needs="HOST:PORT that answers is needed", got=fault, hint=_DO
        ) from fault


def _try(address: str) -> Exception | None:
    """Return why nobody can be reached at HOST:PORT, or None."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        return error
    return None


def _is_left_over() -> bool:
    """Tell whether this machine's note of a running cluster is that of one which is gone."""
    note = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        return _try(note.read_text(encoding="utf-8").strip()) is not None
    except OSError:
        return False
