"""Writes into a store that may be away: done now or later; one that fails otherwise is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from georgia.monitor.connect import StoreAwayError, WriteQueue

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failed:
    """What a write returns that failed for another reason than a store that is away."""

    error: Exception


class DeferredWrites:
    """Writes in order; ``fault`` says why the store does not take them now."""

    def __init__(self) -> None:
        self._queue = WriteQueue()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def fault(self) -> str:
        """Return why the store cannot be written to, "" where it can."""
        return self._queue.fault

    @property
    def is_full(self) -> bool:
        """Tell whether no more should be analysed before the store is back."""
        return self._queue.is_full

    def put(
        self,
        write: Callable[[], Any],
        done: Callable[[Any], None] = lambda _: None,
        failed: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """Write, now or once the store is back; then call ``done`` with the result, or ``failed``."""

        def attempt() -> Any:
            try:
                return write()
            except StoreAwayError:
                raise
            except Exception as error:
                _log.warning("something could not be written into the store: %s", error)
                return _Failed(error)

        def follow(result: Any) -> None:
            try:
                if isinstance(result, _Failed):
                    failed(result.error)
                else:
                    done(result)
            except Exception:
                _log.exception("what follows a write failed")

        self._queue.put(attempt, follow)
        self._queue.flush()

    def flush(self, at_once: bool = False) -> None:
        """Write what waits."""
        self._queue.flush(at_once)
