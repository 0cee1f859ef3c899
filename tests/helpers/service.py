"""What the tests of the service have in common: a store with a batch in it, and the service over it."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import io
import json
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers import monitor as probe
from tests.helpers.patience import PATIENCE_S

from georgia.model.bundle import Bundle
from georgia.model.load import load_bundled_model
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.result import ChartPoint, ClassFraction, FileKey
from georgia.monitor.run import Monitor
from georgia.monitor.store import Store
from georgia.web.app import create_app
from georgia.web.config import ServeConfig
from georgia.web.event_stream import EventStream
from georgia.web.serve import open_service
from georgia.web.service import Service

TOKEN = "a-token-of-the-tests-0123456789"


def fill_store(path: Path, frames: Path, n: int = 30, alarm_at: int = 20, source: str = "probe") -> Store:
    """Return a store with one batch of ``n`` frames whose fraction rises, an alarm from one of them on."""
    store = Store(str(path))
    batch = store.begin_batch(source, "B-1", "A. Miller", "PG", "tests")
    for number in range(1, n + 1):
        fraction = 0.02 + 0.01 * max(0, number - 10)
        is_alarm = number >= alarm_at
        rest = ClassFraction("CEX", 1 - fraction, 1 - 2 * fraction, 1 - fraction / 2, 40)
        file = probe.write_frame(frames / f"f{number}.png", number % 16, number)
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        result = probe.make_result(
            number,
            batch.id,
            fraction,
            key=FileKey(file.name, 10 + number, 1_000 + number, content),
            state="alarm" if is_alarm else "in control",
            alarm=is_alarm,
            n_judged=40,
            classes=(rest, ClassFraction("PG", fraction, fraction / 2, 2 * fraction, 40)),
            chart=ChartPoint(ewma=fraction * 0.9, ewma_limit=0.1),
            map=probe.make_map(),
        )
        change = AlarmChange(AlarmAction.RAISED, "EWMA over its limit") if number == alarm_at else None
        store.record_frame(result, source, "{}", change)
    return store


@cache
def _template(n: int) -> Path:
    """Return a folder with a store and its frames, made once; tests copy it."""
    folder = Path(tempfile.mkdtemp(prefix="georgia-serve-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fill_store(folder / "m.db", folder / "frames", n).close()
    return folder


def make_service(tmp_path: Path, n: int = 30, **settings: Any) -> Service:
    """Return a service over a store of its own; frames lie in ``tmp_path/frames``."""
    shutil.copytree(_template(n), tmp_path, dirs_exist_ok=True)
    store = Store(str(tmp_path / "m.db"))
    config = ServeConfig(
        **{"token": TOKEN, "frames": tmp_path / "frames", "poll_interval_s": 0.05, **settings}
    )
    return Service(config, load_bundled_model(), store)


def make_app(tmp_path: Path, n: int = 30, **settings: Any) -> Any:
    """Return the application over such a service."""
    return create_app(make_service(tmp_path, n, **settings))


@contextmanager
def running_service(tmp_path: Path, n: int = 3, **settings: Any) -> Iterator[tuple[int, Service]]:
    """Run a real server over such a service on a free port of the loopback; yield port and service."""
    service = make_service(tmp_path, n, port=0, **settings)
    with closing(service), serving(service.config, service.bundle, service.store) as url:
        yield int(url.rstrip("/").rsplit(":", 1)[1]), service


@contextmanager
def serving(
    config: ServeConfig, bundle: Bundle, store: Store, monitor: Monitor | None = None
) -> Iterator[str]:
    """Run a real server; yield its URL, and close the store at the end."""
    started: queue.Queue[str] = queue.Queue()
    server = open_service(config, bundle, store, monitor, on_start=started.put)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield started.get(timeout=PATIENCE_S)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the server does not end"
        store.close()


def read_start(process: subprocess.Popen[str]) -> Any:
    """Return what a command with ``--json`` prints once it serves."""
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, "the service ended"
        text += line
    return json.loads(text)


def end_streams_early(patch: pytest.MonkeyPatch) -> None:
    """Let a stream of events, which never ends, end once nothing has come for a moment."""
    listen = EventStream.listen

    async def listen_briefly(self: EventStream, last_id: int | None = None) -> AsyncIterator[str]:
        events = listen(self, last_id)
        while True:
            try:
                yield await asyncio.wait_for(anext(events), 0.1)
            except (TimeoutError, StopAsyncIteration):
                return

    patch.setattr(EventStream, "listen", listen_briefly)


def noise_png(side: int = 40, seed: int = 0) -> bytes:
    """Return a small noise image as PNG bytes."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side), np.uint8)).save(stream, "PNG")
    return stream.getvalue()
