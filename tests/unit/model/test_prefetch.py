"""Items made ahead come in order, and what fails in the thread is raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from georgia.model.prefetch import prefetch


def test_prefetch_keeps_order_and_raises() -> None:
    assert list(prefetch(iter(range(50)))) == list(range(50))

    def broken() -> Any:
        yield 1
        raise ValueError("from the thread")

    with pytest.raises(ValueError, match="from the thread"):
        list(prefetch(broken()))
    for item in prefetch(iter(range(10**9))):
        if item == 3:
            break


def test_thread_left_early_closes_its_items() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in prefetch(items()):
        break
    assert closed.wait(60)
