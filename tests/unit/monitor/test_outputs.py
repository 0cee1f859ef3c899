"""Alarms that are posted to a web address until it takes them."""

from __future__ import annotations

import hmac
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import BrightnessAnalyzer, make_event, make_result, running, wait_for, write_frame
from tests.helpers.patience import PATIENCE_S

from georgia.monitor.outputs import Webhook, open_outputs
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.store import Store


class Receiver:
    """A web address that rejects so many times, with 503 or a status of choice, then takes.

    Status 302 and the like point to another path of it; status 0 is a line that is no HTTP. It responds once
    ``lets`` is set.
    """

    def __init__(self, n_rejections: int) -> None:
        self.taken: list[dict[str, Any]] = []
        self.followed: list[str] = []
        self.signatures: list[tuple[bytes, str | None]] = []
        self.n_rejections, self.status = n_rejections, 503
        self.lets = threading.Event()
        self.lets.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver.followed.append(self.path)
                self.send_response(200)
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.lets.wait(PATIENCE_S)
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
                receiver.signatures.append((body, self.headers["X-Georgia-Signature"]))
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
    receiver.lets.clear()
    webhook = Webhook(receiver.address, store, first_wait_s=0.02)
    webhook(make_event())
    webhook(make_event("alarm", alarm=store.alarm(1), detail={"change": "raised"}))
    webhook(make_event("alarm", alarm=store.alarm(1), detail={"change": "cleared"}))
    assert receiver.taken == [], "nobody waits for the receiver"
    receiver.lets.set()
    wait_for(lambda: len(receiver.taken) == 2)
    webhook.close()
    assert [item["change"] for item in receiver.taken] == ["raised", "cleared"]
    assert receiver.taken[0]["alarm"]["reason"] == "EWMA over"


def test_message_names_batch_head_and_page(receiver: Receiver, store: Store) -> None:
    key = b"a key of the plant's own"
    webhook = Webhook(receiver.address, store, 0.02, key, "https://plant.example/probe")
    wait_for(lambda: receiver.taken)
    webhook.close()
    (message,), ((body, signature),) = receiver.taken, receiver.signatures
    assert (message["alarm"]["batch_name"], message["link"]) == ("B", "https://plant.example/probe")
    number, _, digest = message["head"].partition(":")
    assert int(number) > 0
    assert len(digest) == 64
    assert signature == "sha256=" + hmac.new(key, body, "sha256").hexdigest()


def test_message_without_key_is_unsigned(receiver: Receiver, store: Store) -> None:
    webhook = Webhook(receiver.address, store, first_wait_s=0.02)
    wait_for(lambda: receiver.signatures)
    webhook.close()
    assert receiver.signatures[0][1] is None


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


def test_receiver_that_fails_twice_is_told_until_it_takes(receiver: Receiver, store: Store) -> None:
    told: list[str] = []
    webhook = Webhook(receiver.address, store, first_wait_s=0.02, on_fault=told.append)
    wait_for(lambda: receiver.taken)
    webhook.close()
    assert [reason.partition(": ")[0] for reason in told] == ["does not take messages", ""]


def test_outage_is_posted(receiver: Receiver, store: Store) -> None:
    store.mark_notified(1)
    receiver.n_rejections = 0
    webhook = Webhook(receiver.address, store, first_wait_s=0.02)
    detail = {"outage": "folder away", "change": "began", "reason": "no such folder", "seconds": None}
    webhook(make_event("outage", detail=detail))
    wait_for(lambda: receiver.taken)
    webhook.close()
    assert receiver.taken[0]["change"] == "outage began"
    assert receiver.taken[0]["outage"]["reason"] == "no such folder"


def test_dead_receiver_is_an_outage_beside_the_frames(receiver: Receiver, tmp_path: Path) -> None:
    """The page's fault line, health and audit log say it; what the probe shows stays."""
    store = Store(str(tmp_path / "m.db"))
    write_frame(tmp_path / "probe" / "1.png", 1)
    receiver.n_rejections = 10**6
    config = MonitorConfig(watch=tmp_path / "probe", poll_interval_s=0.05, webhook=receiver.address)
    monitor = Monitor(BrightnessAnalyzer(), config, store)  # type: ignore[arg-type]
    with running(monitor), open_outputs(config, store, monitor):
        wait_for(lambda: monitor.status().n_frames == 1)
        before = monitor.status().state
        store.record_frame(
            make_result(9, 1), "probe", "{}", change := AlarmChange(AlarmAction.RAISED, "EWMA over")
        )
        for listener in list(monitor._listeners):
            listener(make_event("alarm", alarm=store.alarm(1), detail={"change": change.kind}))
        wait_for(lambda: "the webhook does not take messages" in monitor.status().fault)
        assert (monitor.status().state, monitor.health().is_ok) == (before, True)
        assert "receiver away" in [e.detail["outage"] for e in store.audit_log(action="outage began")]
        receiver.n_rejections = 0
        wait_for(lambda: not monitor.status().fault)
    store.close()
