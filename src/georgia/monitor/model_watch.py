"""A model that takes the place of the one that a monitor runs with: found, checked and handed to the loop.

A thread looks after ``bundle.json``, opens what was promoted there and tries it. Nothing of that is in the
loop: a network folder that hangs, or a net that takes a minute to open, costs no frame. What cannot be used
is said, and the model before goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import GeorgiaError, InputError
from georgia.files import tell_reason
from georgia.model.bundle import BUNDLE_FILE, PROMOTION, Bundle
from georgia.model.load import load_bundle
from georgia.monitor.connect import StoreAwayError
from georgia.monitor.people.promotions import is_proved

if TYPE_CHECKING:
    from georgia.monitor.run import Monitor
    from georgia.monitor.tile import FrameAnalyzer

_log = logging.getLogger(__name__)

POLL_S = 2.0
# What could not be used is tried again so often, as long as it stays what it is.
_AGAIN_S = 120.0
# ``georgia promote --db`` writes into the store after the folder; so long its entry is waited for.
_PROOF_WAIT_S = 15.0
_NOT_TAKEN = "a model was put in this one's place and is not taken; {name} goes on: {reason}"


@dataclass(frozen=True)
class ModelPlace:
    """Where a monitor's model lies, and how another one there is opened and tried.

    ``try_out`` raises an ``InputError`` where a model does not compute here what it should.
    """

    folder: Path
    open_analyzer: Callable[[Bundle], FrameAnalyzer]
    try_out: Callable[[Bundle], None]


@contextmanager
def watching_model(place: ModelPlace | None, monitor: Monitor) -> Iterator[None]:
    """Let a monitor take what is promoted in its model's place, while the block runs; None: nothing is."""
    if place is None:
        yield
        return
    watch = ModelWatch(place, monitor)
    watch.start()
    try:
        yield
    finally:
        watch.close()


class ModelWatch:
    """Looks after the place of one monitor's model.

    Args:
        place: its folder, absolute.
        monitor: takes a model between two frames, and is told why one is not taken.
        poll_s: time between two polls.
    """

    def __init__(self, place: ModelPlace, monitor: Monitor, poll_s: float = POLL_S) -> None:
        self._place, self._monitor, self._poll_s = place, monitor, poll_s
        self._stop = threading.Event()
        # What the folder held at the last poll that led to something, and when that is read again.
        self._known: tuple[int, ...] | None = None
        self._again_at = float("inf")
        self._unproved_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="georgia-model-watch", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End; a folder that hangs is not waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except Exception:  # the old model goes on
                _log.exception("the model's folder could not be read")
            self._stop.wait(self._poll_s)

    def poll(self) -> None:
        """Poll once; open, try and hand over what was promoted since."""
        if self._monitor.is_swapping:  # what becomes of that tells what is to be done next
            return
        try:
            status = (self._place.folder / BUNDLE_FILE).stat()
        except OSError:  # a folder that is away: nothing was promoted
            return
        found = (status.st_mtime_ns, status.st_size, status.st_ino)
        if found == self._known and time.monotonic() < self._again_at:
            return
        self._known, self._again_at = found, float("inf")
        try:
            self._take(load_bundle(self._place.folder))
        except _NotYetError:
            self._again_at = time.monotonic()
        except StoreAwayError:  # whose promotion it is cannot be known now
            self._again_at = time.monotonic()
        except (GeorgiaError, OSError) as error:
            reason = tell_reason(error, self._place.folder) if isinstance(error, OSError) else str(error)
            self._reject(reason)
        except Exception as error:
            _log.exception("a promoted model could not be opened")
            self._reject(f"{type(error).__name__}: {error}")

    def _take(self, bundle: Bundle) -> None:
        if bundle.sha256 == self._monitor.analyzer.model_sha256:  # as at the start, taken, or brought back
            self._monitor.note_model("")
            return
        promotion = read_promotion(bundle)
        self._check_proof(bundle, promotion)
        self._place.try_out(bundle)
        analyzer = self._place.open_analyzer(bundle)
        if analyzer.model_sha256 != bundle.sha256:
            raise _NotYetError  # replaced while it was opened
        self._again_at = time.monotonic() + _AGAIN_S  # the monitor may reject it, and says so itself
        self._monitor.swap_model(self._monitor.who, analyzer)

    def _check_proof(self, bundle: Bundle, promotion: Mapping[str, Any]) -> None:
        """Reject a promotion that nobody proved, where the store says who may promote.

        Raises:
            InputError: the store has users, and its audit log does not hold this promotion.
            StoreAwayError: the store cannot be reached now.
        """
        if is_proved(self._monitor.store, bundle, promotion):
            self._unproved_since = None
            return
        now = time.monotonic()
        self._unproved_since = self._unproved_since or now
        if now - self._unproved_since < _PROOF_WAIT_S:
            raise _NotYetError
        raise InputError(
            f"Cannot take {bundle.name!r}",
            needs="this store has users, and one of them with the right to must promote it",
            got=f"{promotion.get('who')!r} without a proof",
            hint="Use georgia promote --db with this store.",
        )

    def _reject(self, reason: str) -> None:
        self._again_at = time.monotonic() + _AGAIN_S
        self._monitor.note_model(_NOT_TAKEN.format(name=self._monitor.bundle.name, reason=reason))


class _NotYetError(Exception):
    """Something else is still to come; the next poll tells."""


def read_promotion(bundle: Bundle) -> Mapping[str, Any]:
    """Return the record of the promotion by which a model lies where it does.

    Raises:
        InputError: nobody promoted it: it was trained or copied there.
    """
    promotion = bundle.metadata.get(PROMOTION)
    to = promotion.get("to") if isinstance(promotion, Mapping) else None
    named = to.get("model_sha256") if isinstance(to, Mapping) else None
    if not isinstance(promotion, Mapping) or named != bundle.sha256:
        raise InputError(
            f"Cannot take {bundle.name!r}",
            needs="a running monitor takes a promoted model only",
            got=f"one that was written there otherwise, sha256 {bundle.sha256[:12]}…",
            hint="Use georgia promote, or start the monitor anew if it is the right one.",
        )
    return promotion
