"""A signal to stop that comes while a service starts is not lost."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from georgia.cli.serve import serve_probe
from georgia.monitor.records import AuditAction
from georgia.monitor.store import Store
from georgia.web import serve
from georgia.web.config import ServeConfig


@pytest.mark.timeout(600)  # a signal that is lost leaves a service that serves for ever
def test_signal_during_start_ends_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_service = serve.open_service

    def open_and_be_stopped(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return open_service(*args)

    monkeypatch.setattr(serve, "open_service", open_and_be_stopped)
    settings = ServeConfig(db=str(tmp_path / "m.db"), port=0, token="t" * 32)
    assert serve_probe(None, settings, None, as_json=True) == 0
    store = Store(str(tmp_path / "m.db"))
    assert store.audit_log()[0].action == AuditAction.SERVICE_STOPPED
    store.close()


def test_service_leaves_the_logs_of_others_open(tmp_path: Path) -> None:
    log = logging.FileHandler(tmp_path / "mine.log", encoding="utf-8")
    stream = log.stream
    serve.make_server(None, ServeConfig(port=0, token="t" * 32), [], print, lambda: None)
    assert not stream.closed
    log.close()
