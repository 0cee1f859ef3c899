"""Outputs of a monitor beside its store: an OPC UA server, and alarms that are posted to an address."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from georgia.monitor.connect import StoreAwayError
from georgia.monitor.records import AlarmAction, EventKind, MonitorEvent
from georgia.monitor.settings import MonitorConfig

if TYPE_CHECKING:
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0


@contextmanager
def open_outputs(config: MonitorConfig, store: Store, monitor: Monitor) -> Iterator[None]:
    """Serve OPC UA and post alarms, if the settings name an address, while the block runs.

    Raises:
        InputError: the OPC UA server's address cannot be used.
        MissingDependencyError: OPC UA is requested and asyncua is not installed.
    """
    with ExitStack() as stack:
        if config.webhook:
            webhook = Webhook(config.webhook, store)
            stack.callback(webhook.close)
            monitor.add_listener(webhook)
        if config.opcua:
            from georgia.monitor.opcua import open_opcua_server

            server = open_opcua_server(config.opcua)
            stack.callback(server.close)
            monitor.add_listener(server)
        yield


class Webhook:
    """Listens to a monitor and posts ``{"change", "alarm"}`` for each change of an alarm.

    It works in a thread of its own and tries again until the receiver takes a message, that is, responds with
    2xx. A redirect is not followed: it would turn the message into a request without a body. An alarm whose
    raising was never taken is sent again after a restart, so a receiver may get it twice but never misses it;
    ``alarm.id`` identifies it. ``error`` says why the last attempt failed; each new reason is logged.
    """

    def __init__(self, address: str, store: Store, first_wait_s: float = _FIRST_WAIT_S) -> None:
        self.address, self._store, self._first_wait_s = address, store, first_wait_s
        self._waiting: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._is_open = True
        self._reason = ""
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.n_sent = 0
        self.error = ""
        with suppress(StoreAwayError):
            for alarm in reversed(store.alarms(limit=1000)):
                if alarm.notified_at_s is None and alarm.cleared_at_s is None:
                    self._waiting.append({"change": AlarmAction.RAISED, "alarm": alarm.to_json_dict()})
        self._thread = threading.Thread(target=self._work, name="georgia-webhook", daemon=True)
        self._thread.start()

    def __call__(self, event: MonitorEvent) -> None:
        """Take an event; only alarms are sent."""
        if event.kind != EventKind.ALARM or event.alarm is None:
            return
        with self._changed:
            self._waiting.append({"change": event.detail.get("change"), "alarm": event.alarm.to_json_dict()})
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
                message = self._waiting[0]
            if self._send(message):
                wait_s = self._first_wait_s
                with self._changed:
                    self._waiting.pop(0)
                continue
            with self._changed:
                if not self._is_open:
                    return
                self._changed.wait_for(lambda: not self._is_open, timeout=wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _send(self, message: dict[str, Any]) -> bool:
        request = urllib.request.Request(
            self.address,
            json.dumps(message).encode(),
            {"Content-Type": "application/json", "User-Agent": "georgia"},
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S):
                pass
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._note_failure(_describe_failure(error))
            return False
        if self._reason:
            _log.warning("the webhook takes messages again")
        self._reason = ""
        self.n_sent += 1
        self.error = ""
        if message["change"] == AlarmAction.RAISED:
            with suppress(StoreAwayError):
                self._store.mark_notified(message["alarm"]["id"])
        return True

    def _note_failure(self, reason: str) -> None:
        """Keep a reason, and log it where it is another than before."""
        self.error = f"{time.strftime('%H:%M:%S')} {reason}"
        if reason != self._reason:
            n = len(self._waiting)
            _log.warning("the webhook did not take an alarm (%d wait, sent again until taken): %s", n, reason)
        self._reason = reason


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes every redirect the failure that it is for a message with a body."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


def _describe_failure(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        target = error.headers.get("Location", "") if error.headers else ""
        if 300 <= error.code < 400:
            to = f" to {target!r}" if target else ""
            return f"the receiver redirects{to} ({error.code}); name the final address in webhook"
        return f"the receiver responded with {error.code} {error.reason}"
    return str(error) or type(error).__name__
