"""Tells a service manager that a monitor is ready and lives, as systemd's protocol has it.

Source of the protocol: sd_notify(3), https://www.freedesktop.org/software/systemd/man/sd_notify.html.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from georgia.monitor.records import EventKind, MonitorEvent

_log = logging.getLogger(__name__)


class ServiceNotifier:
    """Listens to a monitor; every round of its loop, and nothing else, is a sign of life.

    A loop that hangs, a process that was stopped or that swaps all day gives none, and is started anew.

    Args:
        environ: holds NOTIFY_SOCKET, an address of the service manager; without it nothing is sent.
        now: seconds of a clock that never jumps.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # a name that is no file
            self._address = "\0" + self._address[1:]
        period = environ.get("WATCHDOG_USEC", "")
        is_own = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half of what is allowed, as the protocol advises.
        self._every_s = int(period) / 2e6 if period.isdigit() and is_own else 0.0
        self._now, self._beat_at, self._said = now, float("-inf"), ""

    @property
    def is_wanted(self) -> bool:
        """Tell whether a service manager listens."""
        return bool(self._address)

    def __call__(self, event: MonitorEvent) -> None:
        """Send what an event of the monitor means to a service manager."""
        if event.kind == EventKind.HEARTBEAT:
            self.tell(describe_status(event))

    def tell(self, said: str) -> None:
        """Give a sign of life where one is due, and say the state in one line where it is another."""
        lines = []
        if self._beat_at == float("-inf"):
            lines.append("READY=1")
        if said != self._said:
            lines.append(f"STATUS={said}")
        is_due = self._every_s > 0 and self._now() - self._beat_at >= self._every_s
        if is_due:
            lines.append("WATCHDOG=1")
        if lines and self._send(lines):
            self._said = said
            if is_due or self._beat_at == float("-inf"):
                self._beat_at = self._now()

    def say_ready(self) -> None:
        """Say that the program serves, where no monitor's loop will."""
        self._send(["READY=1"])

    def close(self) -> None:
        """Say that the service stops because it was asked to."""
        self._send(["STOPPING=1"])

    def _send(self, lines: list[str]) -> bool:
        if not self._address or not hasattr(socket, "AF_UNIX"):  # Windows has no such manager
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.warning("the service manager cannot be told that the monitor lives: %s", error)
            return False
        return True


def describe_status(event: MonitorEvent) -> str:
    """Return the state after an event, with its reason, in one line."""
    status = event.status
    return f"{status.state}{': ' if status.reason else ''}{status.reason}".replace("\n", " ")


class ProbesNotifier:
    """The same for several probes: a sign of life needs one of every loop that is not said to be dead.

    A loop that hangs gives none, so that the program is started anew. One whose store is away, or that is
    about to be started again, is said to be so instead: the others live.
    """

    def __init__(self, names: Iterable[str], notifier: ServiceNotifier) -> None:
        self._notifier, self._lock = notifier, threading.Lock()
        # What each said last; those that gave a sign since the last one was sent; those that are dead.
        self._said = dict.fromkeys(names, "starting")
        self._beaten: set[str] = set()
        self._dead: set[str] = set()

    def for_probe(self, name: str) -> Callable[[MonitorEvent], None]:
        """Return the listener of one probe's monitor."""

        def listen(event: MonitorEvent) -> None:
            if event.kind == EventKind.HEARTBEAT:
                self._take(name, describe_status(event), is_dead=False)

        return listen

    def say_dead(self, name: str, reason: str) -> None:
        """Say that a probe's loop does not run now, and why; call it about once a second meanwhile."""
        self._take(name, f"not running: {reason}".replace("\n", " "), is_dead=True)

    def _take(self, name: str, said: str, is_dead: bool) -> None:
        with self._lock:
            self._said[name] = said
            (self._dead.add if is_dead else self._dead.discard)(name)
            self._beaten.add(name)
            if self._said.keys() - self._beaten - self._dead:
                return
            self._beaten.clear()
            told = "; ".join(f"{name}: {text}" for name, text in self._said.items())
        self._notifier.tell(told)
