"""Images → pixels in a bounded number of processes, each image with limits in time, pixels and memory.

A file made to hang or to crash its decoder costs one process, which is replaced, and nobody else's time; the
process that serves the page never decodes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from georgia.errors import GeorgiaError, UnreadableImageError
from georgia.images.decode import Image

_START_S = 60.0
_STOPPING = "The service is being stopped."
_CODE = "import sys; sys.path[:] = {path!r}; from georgia.web.decode_worker import main; main()"


class BusyError(GeorgiaError):
    """Too many images wait, or one has waited too long."""


class DecodePool:
    """So many processes that decode, started when first needed; safe to use from many threads."""

    def __init__(self, n: int, max_pixels: int, pixels_in_flight: int, timeout_s: float) -> None:
        self._max_pixels, self._timeout_s = max_pixels, timeout_s
        self._pixels = _Budget(max(pixels_in_flight, max_pixels))
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(n):
            self._idle.put(None)
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._is_open = True

    @contextmanager
    def decode(self, data: bytes, patience_s: float) -> Iterator[Image]:
        """Yield the pixels (H, W, 3), uint8 RGB, of a file's content; they count as in flight for the block.

        Raises:
            UnreadableImageError: it cannot be read, or not in time.
            BusyError: no process or too few pixels are free for ``patience_s``.
        """
        with self._run({"kind": "pixels"}, data, patience_s) as (reply, content):
            yield np.frombuffer(content, np.uint8).reshape(reply["shape"])

    def preview(self, path: Path, patience_s: float) -> bytes:
        """Return a file's image as a small JPEG. Raises as ``decode`` does."""
        with self._run({"kind": "preview", "path": str(path)}, b"", patience_s) as (_, content):
            return bytes(content)

    def close(self) -> None:
        """End all processes; what they work on fails."""
        with self._lock:
            self._is_open = False
            processes, self._all = self._all, set()
        for process in processes:
            process.kill()

    @contextmanager
    def _run(
        self, task: Mapping[str, Any], data: bytes, patience_s: float
    ) -> Iterator[tuple[dict[str, Any], bytearray]]:
        until = time.monotonic() + patience_s
        n_pixels = 0
        try:
            with self._taken_process(patience_s) as process:
                line = {**task, "max_pixels": self._max_pixels, "n_bytes": len(data)}
                with self._watched(process):
                    process.send(json.dumps(line).encode() + b"\n", data)
                    size, _ = process.receive()
                if not self._pixels.take(size["pixels"], until - time.monotonic()):
                    process.send(b"no\n")
                    raise BusyError("Too many pixels are being decoded here.")
                n_pixels = size["pixels"]
                with self._watched(process):
                    process.send(b"go\n")
                    result = process.receive()
            # The process is free again; the pixels stay in flight until the caller is done with them.
            yield result
        finally:
            self._pixels.give_back(n_pixels)

    @contextmanager
    def _taken_process(self, patience_s: float) -> Iterator[_Process]:
        try:
            process = self._idle.get(timeout=patience_s)
        except queue.Empty:
            raise BusyError("Too many images wait here.") from None
        try:
            process = self._started(process)
            yield process
        except (UnreadableImageError, BusyError):
            raise
        except BaseException:
            # Nobody knows how far it is.
            if process is not None:
                process.kill()
            raise
        finally:
            self._idle.put(process if process is not None and process.is_usable else None)

    def _started(self, process: _Process | None) -> _Process:
        if process is not None and process.is_usable:
            return process
        with self._lock:
            if not self._is_open:
                raise BusyError(_STOPPING)
            self._all = {other for other in self._all if other.is_usable}
            process = _Process()
            self._all.add(process)
        with _killing_after(process, _START_S):
            try:
                process.receive()
            except (OSError, EOFError, ValueError) as error:
                process.kill()
                reason = "A process that decodes images cannot be started." if self._is_open else _STOPPING
                raise BusyError(reason) from error
        return process

    @contextmanager
    def _watched(self, process: _Process) -> Iterator[None]:
        with _killing_after(process, self._timeout_s) as has_run_out:
            try:
                yield
            except _BadImageError as error:
                raise UnreadableImageError(str(error)) from None
            except (OSError, EOFError, ValueError) as error:
                process.kill()
                if not self._is_open:
                    raise BusyError(_STOPPING) from error
                if has_run_out.is_set():
                    reason = f"it takes longer than {self._timeout_s:g} s to decode"
                else:
                    reason = "its decoder crashed or ran out of memory"
                raise UnreadableImageError(reason) from error


class _BadImageError(Exception):
    """What a process says of an image that it cannot read; the process itself is well."""


class _Process:
    """One process and its pipes."""

    def __init__(self) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._popen = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    @property
    def is_usable(self) -> bool:
        """Return whether it still runs."""
        return self._popen.poll() is None

    def send(self, *parts: bytes) -> None:
        """Write parts to it."""
        stream: Any = self._popen.stdin
        for part in parts:
            stream.write(part)
        stream.flush()

    def receive(self) -> tuple[dict[str, Any], bytearray]:
        """Return its next reply and the bytes with it.

        Raises:
            EOFError: it has ended.
            _BadImageError: the image cannot be read, it says.
        """
        stream: Any = self._popen.stdout
        line = stream.readline()
        if not line:
            raise EOFError
        reply = json.loads(line)
        content = bytearray(reply["n_bytes"])
        if stream.readinto(content) != len(content):
            raise EOFError
        if "error" in reply:
            raise _BadImageError(reply["error"])
        return reply, content

    def end(self) -> None:
        """End it; whoever waits for its reply learns so."""
        with suppress(OSError):
            self._popen.kill()

    def kill(self) -> None:
        """End it, and wait for its end."""
        self.end()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()


@contextmanager
def _killing_after(process: _Process, seconds: float) -> Iterator[threading.Event]:
    """Kill a process that is still at work after so many seconds; the event tells that it was."""
    has_run_out = threading.Event()

    def end() -> None:
        has_run_out.set()
        process.end()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield has_run_out
    finally:
        timer.cancel()


class _Budget:
    """An amount for all who take from it."""

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._changed = threading.Condition()

    def take(self, amount: int, patience_s: float) -> bool:
        """Take an amount, and return whether it became free in time."""
        with self._changed:
            wanted = min(amount, self._total)
            if not self._changed.wait_for(lambda: self._left >= wanted, max(0.0, patience_s)):
                return False
            self._left -= amount
            return True

    def give_back(self, amount: int) -> None:
        """Return what was taken."""
        with self._changed:
            self._left += amount
            self._changed.notify_all()
