"""What a subscribed OPC UA client is told while a monitor stops, starts again, and reads its next frame."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import BrightnessAnalyzer, make_event, wait_for, write_frame
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port
from tests.unit.monitor.test_opcua import read_all

from georgia.monitor.opcua import NAMESPACE, OpcuaServer, open_opcua_server
from georgia.monitor.result import State
from georgia.monitor.run import Monitor
from georgia.monitor.settings import MonitorConfig, TileConfig
from georgia.monitor.store import Store

NAMES = ("Fraction", "FrameFile", "State", "Alarm", "Batch")
Told = tuple[str, Any, str, float]


class Panel:
    """A control system: subscribes, notes each change, and connects again once the connection is lost."""

    def __init__(self, address: str) -> None:
        self.told: list[Told] = []
        self._address, self._stop = address, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def has(self, name: str, quality: str, is_so: Callable[[Any], bool] = lambda _: True) -> bool:
        return any(told[0] == name and told[2] == quality and is_so(told[1]) for told in list(self.told))

    def last(self, name: str) -> Told:
        return [told for told in list(self.told) if told[0] == name][-1]

    def datachange_notification(self, node: Any, _: Any, data: Any) -> None:
        found = data.monitored_item.Value
        at = found.SourceTimestamp.replace(tzinfo=UTC).timestamp()
        self.told.append((self._names[node], found.Value.Value, found.StatusCode.name, at))

    async def _work(self) -> None:
        while not self._stop.is_set():
            with suppress(Exception):  # the connection is away: that is told below
                await self._listen()
            if not self.told or self.told[-1][2] != "no connection":
                self.told.append(("connection", None, "no connection", time.time()))
            await asyncio.sleep(0.05)

    async def _listen(self) -> None:
        from asyncua import Client

        async with Client(self._address, timeout=PATIENCE_S) as client:
            space = await client.get_namespace_index(NAMESPACE)
            probe = await client.nodes.objects.get_child([f"{space}:Probe"])
            nodes = [await probe.get_child([f"{space}:{name}"]) for name in NAMES]
            self._names = dict(zip(nodes, NAMES, strict=True))
            subscription = await client.create_subscription(20, self)
            await subscription.subscribe_data_change(nodes)
            while not self._stop.is_set():
                await client.check_connection()
                await asyncio.sleep(0.05)


@contextmanager
def service(folder: Path, db: Path, address: str) -> Iterator[OpcuaServer]:
    """Run a monitor with its OPC UA server as a service does."""
    store, server, stop = Store(str(db)), open_opcua_server(address), threading.Event()
    config = MonitorConfig(
        watch=folder, poll_interval_s=0.05, source="probe", batch="B-1", tiles=TileConfig(min_judged=1)
    )
    monitor = Monitor(BrightnessAnalyzer(), config, store, [server])
    thread = threading.Thread(target=monitor.run, args=(stop,))
    thread.start()
    yield server
    stop.set()
    thread.join(PATIENCE_S)
    server.close()
    store.close()


@pytest.mark.slow
def test_client_is_told_good_with_the_first_new_frame_only(tmp_path: Path) -> None:
    folder, address = tmp_path / "probe", f"opc.tcp://127.0.0.1:{free_port()}/georgia"
    os.utime(write_frame(folder / "a.png", 4), (1_790_000_000, 1_790_000_000))
    panel = Panel(address)
    try:
        with service(folder, tmp_path / "m.db", address):
            wait_for(lambda: panel.has("Fraction", "Good"))
            assert panel.last("Fraction")[3] == 1_790_000_000
        wait_for(lambda: panel.told[-1][2] == "no connection")
        n_before, stopped_at = len(panel.told), time.time()
        with service(folder, tmp_path / "m.db", address):
            wait_for(lambda: panel.last("Fraction")[2] == "UncertainLastUsableValue")
            wait_for(lambda: panel.last("State")[2] == "UncertainLastUsableValue")
            since = list(panel.told[n_before:])
            assert not [told for told in since if told[2] == "Good" and told[0] in ("Fraction", "FrameFile")]
            assert not [told for told in since if told[2] == "Good" and told[0] == "Alarm"], since
            assert panel.last("Fraction")[3] >= stopped_at, "it is uncertain from the start on"
            os.utime(write_frame(folder / "b.png", 5), (1_790_000_060, 1_790_000_060))
            wait_for(lambda: panel.last("Fraction")[2] == "Good" and panel.last("FrameFile")[1] == "b.png")
            wait_for(lambda: all(panel.last(name)[2] == "Good" for name in NAMES))
            assert panel.last("Fraction")[3] == 1_790_000_060
            assert panel.last("Alarm")[3] >= stopped_at, "the monitor's own has the time of now"
    finally:
        panel.close()


def test_standing_alarm_is_unknown_before_the_monitor_speaks_and_uncertain_until_a_frame() -> None:
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia")
    try:
        found = read_all(server)
        names = ("Alarm", "Batch", "BatchNumber", "Backlog")
        assert {found[name].StatusCode.name for name in names} == {"BadWaitingForInitialData"}
        event = make_event("state")
        assert event.status.last is not None
        last = replace(event.status.last, state=State.ALARM)
        event = replace(event, status=replace(event.status, last=last))
        for n_frames, quality in ((0, "UncertainLastUsableValue"), (1, "Good")):
            shown = server.n_shown
            server(replace(event, status=replace(event.status, n_frames=n_frames)))
            wait_for(lambda shown=shown: server.n_shown > shown)
            found = read_all(server)
            assert (found["Alarm"].Value.Value, found["Alarm"].StatusCode.name) == (True, quality)
            assert {found[name].StatusCode.name for name in ("Fraction", "State", "Impurity")} == {quality}
            assert {found[name].StatusCode.name for name in ("Batch", "Backlog")} == {"Good"}
        # An outage is known now, whatever frame was last.
        away = replace(event.status, n_frames=0, state="folder away")
        shown = server.n_shown
        server(replace(event, status=away))
        wait_for(lambda: server.n_shown > shown)
        found = read_all(server)
        assert (found["State"].Value.Value, found["State"].StatusCode.name) == ("folder away", "Good")
        assert found["Alarm"].StatusCode.name == "UncertainLastUsableValue"
    finally:
        server.close()
