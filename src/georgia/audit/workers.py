"""Work on all cores: our own threads, each with one core for its products."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_core_each() -> AbstractContextManager[object]:
    """Keep each of numpy's products to one core while it is entered.

    For products of a few hundred rows numpy's own threads cost four times what they bring, and more
    where other programs run.
    """
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function`` of each item, in order, computed by as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="georgia-audit") as pool:
        yield from pool.map(function, items)
