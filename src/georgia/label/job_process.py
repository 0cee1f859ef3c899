"""A process of its own for one long job, at low priority: nobody waits for it to name.

The first line of its stdin is the job, JSON; anything behind it, its end included, asks to stop. Each line of
its stdout is an event, JSON: ``start``, ``advance`` (so many in all), and what else the job sends. What
libraries print goes to stderr, whose last line tells why a process ended badly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TextIO

_CODE = "import sys; sys.path[:0] = {path!r}; from {module} import main; sys.exit(main())"
# Behind the page, and whatever else the machine has to do.
_NICE = 10
# Events of progress are sent this often at most, s.
_EVERY_S = 0.2


class JobProcess:
    """The process as its parent sees it; ``module`` has a ``main`` that opens its job with ``open_job``."""

    def __init__(self, module: str) -> None:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(path=sys.path, module=module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )
        self.code, self.last_line = 0, ""

    def follow(self, job: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Give the job and yield its events; when the process has ended, ``code`` and ``last_line`` hold."""
        process = self._process
        try:
            with suppress(OSError, ValueError):
                if process.stdin is not None:
                    process.stdin.write(json.dumps(job) + "\n")
                    process.stdin.flush()
            for line in process.stdout or ():
                with suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        yield event
            process.wait()
        finally:
            self.kill()
            self.code = process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError, ValueError):
                    if stream is not None:
                        stream.close()
            self._log.seek(0)
            lines = [line.strip() for line in self._log.read()[-4000:].splitlines() if line.strip()]
            self._log.close()
            self.last_line = lines[-1] if lines else ""

    def ask_to_stop(self) -> None:
        """Ask the job to stop at its next step."""
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once."""
        with suppress(OSError):
            self._process.kill()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()


class Events:
    """Writes events as lines; it is the listener that the steps of a job report their progress to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._count, self._sent = 0, 0.0

    def send(self, event: str, **values: Any) -> None:
        """Write one event."""
        with self._lock, suppress(BrokenPipeError):
            self._stream.write(json.dumps({"event": event, **values}) + "\n")
            self._stream.flush()

    def start(self, stage: str, total: int | None) -> None:
        """Tell of a new stage."""
        self._count, self._sent = 0, 0.0
        self.send("start", stage=stage, total=total or 0)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Tell how far it is, not too often."""
        self._count += count
        if time.monotonic() - self._sent > _EVERY_S:
            self._sent = time.monotonic()
            self.send("advance", count=self._count)

    def say(self, line: str) -> None:
        """Leave out what is only for a person who reads along."""


def open_job(stop: Callable[[], None]) -> tuple[dict[str, Any], Events]:
    """Return the job that this process was started for, and where its events go.

    ``stop`` is called, in a thread of its own, when the parent asks to stop or is gone.
    """
    events = Events(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    with suppress(OSError):
        getattr(os, "nice", lambda _: 0)(_NICE)  # none on Windows
    job: dict[str, Any] = json.loads(sys.stdin.readline())

    def wait_for_stop() -> None:
        sys.stdin.read(1)
        stop()

    threading.Thread(target=wait_for_stop, daemon=True).start()
    return job, events
