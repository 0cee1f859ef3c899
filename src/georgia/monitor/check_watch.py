"""Watches the store for what people find of the running batch, in a thread of its own; tells an output."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from georgia.errors import GeorgiaError
from georgia.spotcheck.checked import CheckedFractions

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader

_log = logging.getLogger(__name__)

_POLL_S = 2.0
Limits = tuple[float, float, float]
Show = Callable[[Limits | None, float, bool], None]


class CheckWatch:
    """Tells fraction, low and high, when the last window was named, and whether that is of all of the batch.

    Windows are named on the page or by the command, in this process or another: the store is polled. It tells
    None where nobody has named a window of the batch ``find_batch`` returns, 0 for none. While the store is
    away, what was told last is told once more as not current.
    """

    def __init__(
        self, reader: StoreReader, find_batch: Callable[[], int], show: Show, poll_s: float = _POLL_S
    ) -> None:
        self._reader, self._find_batch, self._show, self._poll_s = reader, find_batch, show, poll_s
        self._checks = CheckedFractions(reader)
        self._told: tuple[Limits | None, float, bool] = (None, 0.0, True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="georgia-check-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(timeout=10.0)

    def _work(self) -> None:
        fault = ""
        while not self._stop.is_set():
            try:
                self._tell(self._read())
                fault = ""
            except Exception as error:  # an output says that it does not know, and the next poll tries again
                if not isinstance(error, GeorgiaError) and str(error) != fault:
                    _log.warning("the spot check could not be read: %s: %s", type(error).__name__, error)
                fault = str(error)
                values, at_s, _ = self._told
                self._tell((values, at_s, values is None))
            self._stop.wait(self._poll_s)

    def _read(self) -> tuple[Limits | None, float, bool]:
        number = self._find_batch()
        found = self._checks.counting(self._reader.batch(number)) if number else None
        if found is None or found.result.interval is None:
            return None, 0.0, True
        interval = found.result.interval
        limits = (float(interval.fraction), float(interval.low), float(interval.high))
        return limits, found.names[-1].at_s, not found.is_part

    def _tell(self, now: tuple[Limits | None, float, bool]) -> None:
        if now != self._told:
            self._told = now
            self._show(*now)
