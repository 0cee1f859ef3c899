"""Sends what happens to alarms and outages to others, in a thread of its own, until they take it."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from georgia.monitor.connect import StoreAwayError
from georgia.monitor.records import AlarmAction, EventKind, MonitorEvent

if TYPE_CHECKING:
    from georgia.monitor.store import Store

_log = logging.getLogger(__name__)

OnFault = Callable[[str], None]

FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 300.0


def ignore_fault(_: str) -> None:
    """Tell nobody."""


class NotTakenError(Exception):
    """A receiver did not take a message; the text says why."""


class Receipts:
    """Notes an alarm as told once every one of so many senders has got rid of it."""

    def __init__(self, store: Store, n_senders: int = 1) -> None:
        self._store, self._n = store, n_senders
        self._lock = threading.Lock()
        self._taken: dict[int, int] = {}

    def note(self, alarm_id: int) -> None:
        """Note that one sender's receiver has taken the raising of an alarm."""
        with self._lock:
            self._taken[alarm_id] = self._taken.get(alarm_id, 0) + 1
            is_told = self._taken[alarm_id] >= self._n
        if is_told:
            with suppress(StoreAwayError):
                self._store.mark_notified(alarm_id)


class Sender(ABC):
    """Listens to a monitor and hands on each change of an alarm, and the beginning and end of each outage.

    A message is ``{"change", "alarm"}``, or for an outage ``{"change": "outage began", "alarm": None,
    "outage": {"outage", "reason", "since", "seconds"}}``; with ``head``, the end of the record's chain when
    it was sent, and ``link``, the page's address from the settings. It is sent again until it is taken. An
    alarm whose raising was never taken is sent again after a restart, so a receiver may get it twice but
    never misses it; ``alarm.id`` identifies it, and ``alarm.batch_name`` names its batch. ``error`` says why
    the last attempt failed; each new reason is logged.

    Args:
        name: of the receiver, as the log has it.
        store: holds the alarms.
        link: address of the page.
        receipts: shared by all senders of a monitor.
        first_wait_s: before the second attempt; later waits double.
        on_fault: called with the reason once a message was not taken twice in a row, and with "" once one is.
        probe: the probe's name, which each message has as ``probe`` where several run in one service.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        link: str = "",
        receipts: Receipts | None = None,
        first_wait_s: float = FIRST_WAIT_S,
        on_fault: OnFault = ignore_fault,
        probe: str = "",
    ) -> None:
        self._on_fault, self._n_failed = on_fault, 0
        self._named = {"probe": probe} if probe else {}
        self._name, self._store, self._link, self._first_wait_s = name, store, link, first_wait_s
        self._receipts = receipts or Receipts(store)
        self._waiting: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._is_open = True
        self._reason = ""
        self.n_sent = 0
        self.error = ""
        with suppress(StoreAwayError):
            for alarm in reversed(store.alarms(limit=1000)):
                if alarm.notified_at_s is None and alarm.cleared_at_s is None:
                    self._waiting.append({"change": AlarmAction.RAISED, "alarm": alarm.to_json_dict()})
        self._thread = threading.Thread(target=self._work, name=f"georgia-{name}", daemon=True)

    def start(self) -> None:
        """Begin to send; what a subclass needs must be there."""
        self._thread.start()

    @abstractmethod
    def hand_on(self, messages: Sequence[dict[str, Any]]) -> int:
        """Hand on the first, or several, of the messages that wait; return how many were taken.

        Raises:
            NotTakenError: none was.
        """

    def __call__(self, event: MonitorEvent) -> None:
        """Take an event; only alarms and outages are sent."""
        change = event.detail.get("change")
        if event.kind == EventKind.OUTAGE:
            outage = {name: value for name, value in event.detail.items() if name != "change"}
            message = {"change": f"outage {change}", "alarm": None, "outage": outage}
        elif event.kind == EventKind.ALARM and event.alarm is not None:
            message = {"change": change, "alarm": event.alarm.to_json_dict()}
        else:
            return
        with self._changed:
            self._waiting.append(message)
            self._changed.notify()

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop sending; what waits is sent after the next start."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        wait_s = self._first_wait_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                if not self._waiting:
                    return
                messages = list(self._waiting)
            n = self._try(messages)
            if n:
                wait_s = self._first_wait_s
                with self._changed:
                    del self._waiting[:n]
                continue
            with self._changed:
                if not self._is_open:
                    return
                self._changed.wait_for(lambda: not self._is_open, timeout=wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _try(self, messages: Sequence[dict[str, Any]]) -> int:
        """Return how many messages were taken now."""
        end = {"head": self._store.head(), "link": self._link, **self._named}
        with_end = [message | end for message in messages]
        try:
            n = self.hand_on(with_end)
        except NotTakenError as error:
            self._note_failure(str(error))
            return 0
        except Exception as error:  # a bug must not look like alarms that were sent
            _log.exception("the %s failed", self._name)
            self._note_failure(f"{type(error).__name__}: {error}")
            return 0
        if self._reason:
            _log.warning("the %s takes messages again", self._name)
            self._on_fault("")
        self._n_failed = 0
        self._reason, self.error = "", ""
        self.n_sent += n
        for message in messages[:n]:
            if message["change"] == AlarmAction.RAISED:
                self._receipts.note(message["alarm"]["id"])
        return n

    def _note_failure(self, reason: str) -> None:
        """Keep a reason, and log it where it is another than before."""
        self.error = f"{time.strftime('%H:%M:%S')} {reason}"
        if reason != self._reason:
            n = len(self._waiting)
            text = "the %s did not take an alarm (%d wait, sent again until taken): %s"
            _log.warning(text, self._name, n, reason)
        self._reason = reason
        self._n_failed += 1
        if self._n_failed > 1:  # one attempt may fail by chance
            self._on_fault(f"does not take messages: {reason}")
