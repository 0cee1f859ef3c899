"""What the live page gets while somebody else misuses the service; loopback only, bounded in count and time.

A service with a probe that writes four frames a second runs in a process of its own. A client reads the state
ten times a second on new connections and follows the live events, first alone, then beside each misuse.
Printed for each: how long responses and new frames take, what failed, and the most memory of all processes.

    python benchmarks/serve_load.py
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

# Every misuse ends by itself after so many seconds, and is made of so many connections at most.
SECONDS, MOST = 8.0, 205
FRAMES_PER_S = 4


def serve() -> None:
    """Serve a store that grows, until stdin ends."""
    from tests.helpers import monitor as probe
    from tests.helpers import service as helpers

    from georgia.web.serve import open_service

    with tempfile.TemporaryDirectory() as folder:
        service = helpers.make_service(Path(folder), 30, port=0, poll_interval_s=0.1)
        server = open_service(
            service.config, service.bundle, service.store, on_start=lambda url: print(url, flush=True)
        )

        def write() -> None:
            number = 30
            while not server.should_exit:
                number += 1
                result = probe.make_result(number, 1)
                service.store.record_frame(result, "probe", "{}")
                time.sleep(1 / FRAMES_PER_S)

        def wait_for_end() -> None:
            sys.stdin.read()
            server.should_exit = True

        for work in (write, wait_for_end):
            threading.Thread(target=work, daemon=True).start()
        server.run()


def large_png(side: int = 7000) -> bytes:
    """Return a plain image of 49 million pixels in 190 kB."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 4), np.uint8) + 255).save(stream, "PNG")
    return stream.getvalue()


def endless_tiff() -> bytes:
    """Return a TIFF whose list of pages points back to itself."""
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 8), (279, 4, 64)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", 9) + entries + struct.pack("<I", 72)
    )


class Client:
    """Reads the state and follows the live events while the block runs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.times: list[float] = []
        self.faults: list[str] = []
        self.frames: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._follow)]

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        while not self._stop.is_set():
            started = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/api/status")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.faults.append(str(response.status))
            except OSError as error:
                self.faults.append(type(error).__name__)
            finally:
                connection.close()
            self.times.append(time.perf_counter() - started)
            self._stop.wait(0.1)

    def _follow(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/api/events")
                response = connection.getresponse()
                if response.status != 200:
                    self.faults.append(f"events {response.status}")
                    self._stop.wait(0.5)
                while response.status == 200 and not self._stop.is_set():
                    line = response.readline()
                    if line.startswith(b"id: "):
                        self.frames.append((time.perf_counter(), int(line[4:])))
                    if not line:
                        break
            connection.close()


def open_idle(port: int, n: int, start: bytes, address: str) -> list[socket.socket]:
    """Return connections that have sent ``start`` and no more."""
    made = []
    for _ in range(n):
        with suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", port), 2, source_address=(address, 0))
            if start:
                connection.sendall(start)
            made.append(connection)
    return made


@contextmanager
def holding(port: int, n: int, start: bytes = b"", address: str = "127.0.0.1") -> Iterator[None]:
    """Hold such connections while the block runs."""
    made = open_idle(port, n, start, address)
    try:
        yield
    finally:
        for connection in made:
            connection.close()


@contextmanager
def uploading(port: int, data: bytes, n: int) -> Iterator[None]:
    """Upload one image from ``n`` threads at once, each once."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    body = head + data + b"\r\n--b--\r\n"

    def upload() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS + 30)
        with suppress(OSError, http.client.HTTPException):
            connection.request(
                "POST", "/api/predict", body, {"Content-Type": "multipart/form-data; boundary=b"}
            )
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=upload, daemon=True) for _ in range(n)]
    for thread in threads:
        thread.start()
    yield


def misuses(port: int) -> dict[str, Callable[[], Any]]:
    """Return each misuse as a context manager."""
    host = b"Host: 127.0.0.1\r\n"
    body = b"POST /api/predict HTTP/1.1\r\n" + host + b"Content-Length: 30000000\r\n"
    body += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b"
    events = b"GET /api/events HTTP/1.1\r\n" + host + b"\r\n"
    return {
        "alone": lambda: ExitStack(),
        f"{MOST} idle connections": lambda: holding(port, MOST),
        f"{MOST} unfinished heads": lambda: holding(port, MOST, b"GET / HTTP/1.1\r\nX: "),
        "100 unfinished bodies": lambda: holding(port, 100, body),
        "120 event streams of another address": lambda: holding(port, 120, events, "127.0.0.2"),
        "ten images of 49 Mpx": lambda: uploading(port, large_png(), 10),
        "six endless TIFFs": lambda: uploading(port, endless_tiff(), 6),
    }


def most_memory(pid: int) -> float:
    """Return the resident memory of a process and its children now, MB; 0 where /proc is missing."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if int(folder.name) == pid or parent == pid:
                total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def measure(name: str, make: Callable[[], Any], client: Client, pid: int) -> dict[str, Any]:
    """Return what a client saw beside one misuse."""
    memory = 0.0
    with make(), client:
        until = time.perf_counter() + SECONDS
        while time.perf_counter() < until:
            memory = max(memory, most_memory(pid))
            time.sleep(0.2)
    steps = np.diff([at for at, _ in client.frames]) if len(client.frames) > 1 else np.array([np.nan])
    return {
        "misuse": name,
        "responses": len(client.times),
        "failed": len(client.faults),
        "kinds": sorted(set(client.faults)),
        "median_ms": round(1000 * float(np.median(client.times)), 1),
        "max_ms": round(1000 * max(client.times), 1),
        "live_frames": len(client.frames),
        "longest_step_ms": round(1000 * float(np.max(steps)), 1),
        "memory_mb": round(memory),
    }


def main() -> None:
    """Measure all misuses, each against a service of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    for name in misuses(0):
        if options.only not in name:
            continue
        command = [sys.executable, __file__, "--serve"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            port = int(process.stdout.readline().rsplit(":", 1)[1].strip("/\n"))
            print(json.dumps(measure(name, misuses(port)[name], Client(port), process.pid)), flush=True)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
