"""Alarms that are posted to a web address until it takes them."""

from __future__ import annotations

import json
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
    """A web address that responds with 503 so many times, then takes."""

    def __init__(self, n_rejections: int) -> None:
        self.taken: list[dict[str, Any]] = []
        self.n_rejections = n_rejections
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.n_rejections > 0:
                    receiver.n_rejections -= 1
                    self.send_error(503)
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
