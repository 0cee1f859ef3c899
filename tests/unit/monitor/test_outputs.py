"""Alarms that are posted to a web address until it takes them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import make_event, make_result, wait_for

from georgia.monitor.outputs import Webhook
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.store import Store


class Receiver:
    """A web address that rejects so many times, with 503 or a status of choice, then takes.

    Status 302 and the like point to another path of it; status 0 is a line that is no HTTP.
    """

    def __init__(self, n_rejections: int) -> None:
        self.taken: list[dict[str, Any]] = []
        self.followed: list[str] = []
        self.n_rejections, self.status = n_rejections, 503
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver.followed.append(self.path)
                self.send_response(200)
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.n_rejections > 0:
                    receiver.n_rejections -= 1
                    if not receiver.status:
                        self.wfile.write(b"this is no HTTP\r\n\r\n")
                    elif receiver.status < 400:
                        self.send_response(receiver.status)
                        self.send_header("Location", "/elsewhere")
                        self.end_headers()
                    else:
                        self.send_error(receiver.status)
                    return
                receiver.taken.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/alarms"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(n_rejections=2)
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "store.db"))
    batch = store.begin_batch("probe", "B", "Ann", "PG", "ann").id
    store.record_frame(make_result(1, batch), "probe", "{}", AlarmChange(AlarmAction.RAISED, "EWMA over"))
    yield store
    store.close()


def test_alarm_is_posted_until_taken(receiver: Receiver, store: Store) -> None:
    store.mark_notified(1)
    webhook = Webhook(receiver.address, store, first_wait_s=0.02)
    started = time.monotonic()
    webhook(make_event())
    webhook(make_event("alarm", alarm=store.alarm(1), detail={"change": "raised"}))
    webhook(make_event("alarm", alarm=store.alarm(1), detail={"change": "cleared"}))
    assert time.monotonic() - started < 1
    wait_for(lambda: len(receiver.taken) == 2)
    webhook.close()
    assert [item["change"] for item in receiver.taken] == ["raised", "cleared"]
    assert receiver.taken[0]["alarm"]["reason"] == "EWMA over"


def test_untaken_alarm_is_sent_after_restart(receiver: Receiver, store: Store) -> None:
    lost = Webhook("http://127.0.0.1:1/", store, first_wait_s=0.02)
    wait_for(lambda: lost.error)
    lost.close()
    assert store.alarm(1).notified_at_s is None
    webhook = Webhook(receiver.address, store, first_wait_s=0.02)
    wait_for(lambda: store.alarm(1).notified_at_s is not None)
    webhook.close()
    assert len(receiver.taken) == 1
    Webhook(receiver.address, store).close()
    assert len(receiver.taken) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 503, 0])
def test_rejected_alarm_keeps_its_body(
    receiver: Receiver, store: Store, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status, receiver.n_rejections = status, 1
    with caplog.at_level(logging.WARNING):
        webhook = Webhook(receiver.address, store, first_wait_s=0.02)
        wait_for(lambda: store.alarm(1).notified_at_s is not None)
        webhook.close()
    assert [item["alarm"]["id"] for item in receiver.taken] == [1]
    assert receiver.followed == []
    assert "did not take an alarm" in caplog.text
    assert webhook.n_sent == 1


def test_redirecting_receiver_is_named_in_error(receiver: Receiver, store: Store) -> None:
    receiver.status, receiver.n_rejections = 302, 10**6
    webhook = Webhook(receiver.address, store, first_wait_s=0.02)
    wait_for(lambda: receiver.n_rejections < 10**6 - 2)
    webhook.close()
    assert "redirects to '/elsewhere' (302); name the final address in webhook" in webhook.error
    assert store.alarm(1).notified_at_s is None
    assert webhook.n_sent == 0
