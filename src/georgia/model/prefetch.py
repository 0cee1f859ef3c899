"""Items made ahead of use, by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the items while a thread prepares the next ``depth`` of them.

    An error in the thread is raised here; leaving the loop early ends the thread.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(maxsize=depth)
    left = threading.Event()

    def put(entry: tuple[str, T | BaseException | None]) -> None:
        while not left.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(("item", item))
                if left.is_set():
                    return
            put(("end", None))
        except BaseException as error:  # handed over to the reader, which raises it
            put(("error", error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:  # a generator left early ends its own threads
                close()

    thread = threading.Thread(target=work, name="georgia-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if isinstance(value, BaseException):
                raise value
            yield value  # type: ignore[misc]
    finally:
        left.set()
        thread.join(timeout=10)
