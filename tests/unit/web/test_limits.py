"""What one client may cost the others: connections, slow requests, event streams, images that hang.

Every load here goes to a server of the test's own on the loopback, is counted, and ends with its test.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers import service as helpers
from tests.helpers.monitor import wait_for
from tests.helpers.patience import PATIENCE_S

from georgia.errors import InputError, UnreadableImageError
from georgia.web import decode_pool
from georgia.web.addresses import Proxies, Slots, group_address
from georgia.web.config import ServeConfig
from georgia.web.connections import BoundedProtocol
from georgia.web.decode_pool import BusyError, DecodePool
from georgia.web.serve import open_listeners

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
HOST = b"Host: 127.0.0.1\r\n"


def ask(port: int, path: str = "/api/health", body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST" if body else "GET", path, body, FORM if body else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def upload(port: int, data: bytes) -> tuple[int, dict[str, Any]]:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return ask(port, "/api/predict", head + data + b"\r\n--b--\r\n")


@contextmanager
def holding(port: int, n: int, start: bytes = b"", address: str = "127.0.0.1") -> Iterator[list[Any]]:
    """Hold ``n`` connections that sent ``start`` and no more."""
    with ExitStack() as stack:
        made = []
        for _ in range(n):
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (address, 0))
            made.append(stack.enter_context(connection))
            if start:
                connection.sendall(start)
        yield made


def first_line(connection: socket.socket) -> bytes:
    """Return the first line of what a connection gets, b"" where it was closed without."""
    connection.settimeout(PATIENCE_S)
    try:
        return connection.makefile("rb").readline()
    except ConnectionError:
        return b""


def find_readable(connections: list[Any]) -> list[Any]:
    """Return those that something has come on."""
    return select.select(connections, [], [], 0)[0]


def endless_tiff() -> bytes:
    """Return a TIFF whose list of pages points back to itself."""
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 8), (279, 4, 64)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", 9) + entries + struct.pack("<I", 72)
    )


def plain_png(side: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side), 99, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(1, 10**6, 10**6, 120.0)
    yield pool
    pool.close()


# Connections


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nX: "], ids=["silent", "half a head"])
def test_held_connections_lock_nobody_out(tmp_path: Path, start: bytes) -> None:
    with (
        helpers.running_service(tmp_path, connections=12, connections_per_address=8) as (port, _),
        holding(port, 30, start),
        holding(port, 30, start, "127.0.0.2"),
    ):
        assert [ask(port)[0] for _ in range(5)] == [200] * 5


def test_slow_bodies_lock_nobody_out(tmp_path: Path) -> None:
    start = b"POST /api/limits HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\n{"
    with (
        helpers.running_service(tmp_path, connections=12, connections_per_address=8) as (port, _),
        holding(port, 30, start),
    ):
        assert [ask(port)[0] for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nX: ", b"POST /api/limits HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\n{"],
    ids=["head", "body"],
)
def test_unfinished_request_ends_with_408(tmp_path: Path, start: bytes) -> None:
    with (
        helpers.running_service(tmp_path, head_timeout_s=0.2, body_timeout_s=0.2) as (port, _),
        holding(port, 1, start) as made,
    ):
        assert first_line(made[0]) == b"HTTP/1.1 408 Request Timeout\r\n"


def test_silent_connection_is_closed(tmp_path: Path) -> None:
    with helpers.running_service(tmp_path, head_timeout_s=0.2) as (port, _), holding(port, 1) as made:
        assert first_line(made[0]) == b""


@pytest.mark.slow
def test_untaken_response_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    real = BoundedProtocol.end
    monkeypatch.setattr(
        BoundedProtocol, "end", lambda self, status, *rest: (ended.append(status), real(self, status, *rest))
    )
    settings = {"body_timeout_s": 0.3, "requests_per_minute": 5000}
    ask_much = b"GET /static/vendor/uPlot.iife.min.js HTTP/1.1\r\n" + HOST + b"\r\n"
    with helpers.running_service(tmp_path, **settings) as (port, _), holding(port, 1) as made:
        # Pipelined, more than all buffers on the way hold.
        made[0].sendall(ask_much * 400)
        wait_for(lambda: ended)


# Event streams

EVENTS = b"GET /api/events HTTP/1.1\r\n" + HOST + b"\r\n"


def test_listeners_are_limited_in_all(tmp_path: Path) -> None:
    settings = {"listeners": 3, "listeners_per_address": 3}
    with (
        helpers.running_service(tmp_path, **settings) as (port, _),
        holding(port, 8, EVENTS, "127.0.0.2") as first,
    ):
        lines = [first_line(connection) for connection in first]
        assert lines.count(b"HTTP/1.1 200 OK\r\n") == 3
        with holding(port, 1, EVENTS, "127.0.0.3") as later:  # only now: the first three have their places
            assert first_line(later[0]) == b"HTTP/1.1 503 Service Unavailable\r\n"


def test_one_address_leaves_places_to_others(tmp_path: Path) -> None:
    settings = {"listeners": 6, "listeners_per_address": 2}
    with helpers.running_service(tmp_path, **settings) as (port, _):
        with holding(port, 6, EVENTS, "127.0.0.2") as greedy:
            lines = [first_line(connection) for connection in greedy]
            assert lines.count(b"HTTP/1.1 200 OK\r\n") == 2
            assert lines.count(b"HTTP/1.1 429 Too Many Requests\r\n") == 4
            with holding(port, 1, EVENTS) as other:
                assert first_line(other[0]) == b"HTTP/1.1 200 OK\r\n"
        # The places of pages that have gone are free again.
        wait_for(lambda: gets_place(port, "127.0.0.2"))


def gets_place(port: int, address: str) -> bool:
    with holding(port, 1, EVENTS, address) as made:
        return first_line(made[0]).startswith(b"HTTP/1.1 200")


# Images


@pytest.mark.slow
def test_uploads_of_one_address_wait_few(tmp_path: Path) -> None:
    head = b"POST /api/predict HTTP/1.1\r\n" + HOST
    head += b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b"
    with (
        helpers.running_service(tmp_path, n_waiting=4, waiting_per_address=2) as (port, _),
        holding(port, 4, head, "127.0.0.2") as greedy,
    ):
        wait_for(lambda: len(find_readable(greedy)) == 2)
        made = [first_line(connection) for connection in find_readable(greedy)]
        assert made == [b"HTTP/1.1 429 Too Many Requests\r\n"] * 2
        assert upload(port, helpers.noise_png())[0] == 200


@pytest.mark.slow
def test_hanging_decoder_blocks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first image of each process hangs: its decoder waits for a file that never comes.
    code = "import time, georgia.images.decode as d\n"
    code += "real = d.decode_image\n"
    code += "d.decode_image = lambda data, most: time.sleep(600) if len(data) == 13 else real(data, most)\n"
    code += "d.describe_image = lambda data, most: d.ImageInfo(9, 9, 'grey', 8, 'PNG', len(data))\n"
    monkeypatch.setattr(decode_pool, "_CODE", code + decode_pool._CODE)
    settings = {"decode_timeout_s": 3.0, "waiting_per_address": 8}
    with (
        helpers.running_service(tmp_path, **settings) as (port, _),
        ThreadPoolExecutor(8) as threads,
    ):
        hanging = [threads.submit(upload, port, b"\x89PNG\r\n\x1a\n12345") for _ in range(4)]
        sound = threads.submit(upload, port, helpers.noise_png())
        assert ask(port)[0] == 200
        for waiting in hanging:
            status, body = waiting.result(PATIENCE_S)
            assert status == 415
            assert "takes longer than 3 s to decode" in body["error"]["message"]
        assert sound.result(PATIENCE_S)[0] == 200


def test_hanging_upload_does_not_outlast_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time, georgia.images.decode as d\nd.describe_image = lambda *_: time.sleep(600)\n"
    monkeypatch.setattr(decode_pool, "_CODE", code + decode_pool._CODE)
    made: list[Any] = []
    process = decode_pool._Process
    monkeypatch.setattr(decode_pool, "_Process", lambda: made.append(process()) or made[-1])
    with ThreadPoolExecutor(1) as threads:
        with helpers.running_service(tmp_path, decode_timeout_s=600.0) as (port, _):
            waiting = threads.submit(upload, port, b"\x89PNG\r\n\x1a\n12345")
            wait_for(lambda: made)
        assert not made[0].is_usable
        status, body = waiting.result(PATIENCE_S)
    assert (status, body["error"]["message"]) == (503, "The service is being stopped.")


def test_decoder_that_cannot_start_is_told(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_CODE", "raise SystemExit(3)")
    with pytest.raises(BusyError, match="cannot be started"), pool.decode(plain_png(9), 30):
        pass
    monkeypatch.undo()
    with pool.decode(plain_png(9), 30) as image:
        assert image.shape == (9, 9, 3)


@pytest.mark.slow
def test_endless_page_list_is_rejected(tmp_path: Path) -> None:
    with helpers.running_service(tmp_path, decode_timeout_s=3.0) as (port, _):
        assert upload(port, endless_tiff())[0] == 415
        assert upload(port, helpers.noise_png())[0] == 200


def test_pixels_in_flight_are_limited() -> None:
    pool = DecodePool(2, 10_000, 15_000, 20.0)
    try:
        with pool.decode(plain_png(100), 30) as image:
            assert image.shape == (100, 100, 3)
            with pytest.raises(BusyError, match="Too many pixels"), pool.decode(plain_png(90), 0.5):
                pass
            with pool.decode(plain_png(50), 30) as other:
                assert other.shape == (50, 50, 3)
        with pool.decode(plain_png(90), 30) as image:
            assert image.shape == (90, 90, 3)
    finally:
        pool.close()


def test_too_large_image_is_never_decoded(pool: DecodePool) -> None:
    with (
        pytest.raises(UnreadableImageError, match="at most 1000000 pixels"),
        pool.decode(plain_png(1001), 30),
    ):
        pass


def test_pool_decodes_as_reader_does(pool: DecodePool, tmp_path: Path) -> None:
    from georgia.images.decode import read_image

    path = tmp_path / "a.png"
    path.write_bytes(helpers.noise_png(60))
    with pool.decode(path.read_bytes(), 30) as image:
        assert np.array_equal(image, read_image(path))
    assert pool.preview(path, 30).startswith(b"\xff\xd8")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_crashed_decoder_is_replaced(pool: DecodePool) -> None:
    with pool.decode(plain_png(9), 30):
        pass
    (process,) = pool._all
    os.kill(process._popen.pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (process._popen.pid, signal.SIGKILL)).start()
    with pytest.raises(UnreadableImageError, match="its decoder crashed"), pool.decode(plain_png(9), 30):
        pass
    with pool.decode(plain_png(9), 30) as image:
        assert image.shape == (9, 9, 3)


def test_caller_fault_leaves_pool_usable(pool: DecodePool) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), pool.decode(plain_png(1000), 30):
            raise ZeroDivisionError
    with pool.decode(plain_png(1000), 30) as image:
        assert image.shape == (1000, 1000, 3)


def test_closed_pool_ends_its_processes(pool: DecodePool) -> None:
    with pool.decode(plain_png(9), 30):
        pass
    processes = set(pool._all)
    pool.close()
    assert not any(process.is_usable for process in processes)
    with pytest.raises(BusyError, match="being stopped"), pool.decode(plain_png(9), 30):
        pass


# Addresses


def test_only_trusted_hops_are_believed() -> None:
    proxies = Proxies(["10.0.0.0/8", "2001:db8::/32"])
    assert proxies.find_client("10.0.0.1", ["6.6.6.6, 192.0.2.7:99", "10.0.0.2"]) == "192.0.2.7"
    assert proxies.find_client("2001:db8::1", ["[2001:4860::5]:443"]) == "2001:4860::5"
    assert proxies.find_client("10.0.0.1", ["not an address"]) == "10.0.0.1"
    assert proxies.find_client("10.0.0.1", []) == "10.0.0.1"
    assert proxies.find_client("::ffff:10.0.0.1", ["192.0.2.7"]) == "192.0.2.7"


@pytest.mark.parametrize(
    ("address", "group"),
    [("fe80::1%eth0", "fe80::/64"), ("::1", "::1"), ("testclient", "testclient"), ("", "")],
)
def test_addresses_are_grouped_by_network(address: str, group: str) -> None:
    assert group_address(address) == group


def test_slots_forget_addresses_that_left() -> None:
    slots = Slots(2, 1)
    assert [slots.take("a"), slots.take("b"), slots.take("c")] == ["", "", "total"]
    slots.give_back("a")
    assert slots.take("c") == ""
    assert set(slots._taken) == {"b", "c"}


# The port


def test_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"Cannot listen on 127.0.0.1:{port}: a free port .* --port 0"):
            open_listeners(ServeConfig(port=port))


def test_foreign_address_is_one_line() -> None:
    with pytest.raises(InputError, match="an address of this machine is needed"):
        open_listeners(ServeConfig(host="192.0.2.1", token="x" * 20, port=0))


def test_port_zero_takes_free_ones() -> None:
    first, second = (open_listeners(ServeConfig(port=0)) for _ in range(2))
    ports = {listener.getsockname()[1] for listener in (*first, *second)}
    for listener in (*first, *second):
        listener.close()
    assert len(ports) == 2
    assert 0 not in ports


def test_localhost_has_one_port() -> None:
    listeners = open_listeners(ServeConfig(host="localhost", port=0))
    ports = {listener.getsockname()[1] for listener in listeners}
    for listener in listeners:
        listener.close()
    assert len(ports) == 1
