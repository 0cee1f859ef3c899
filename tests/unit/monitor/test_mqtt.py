"""A real MQTT broker keeps the monitor's last values, and says when the monitor is gone."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from tests.helpers.monitor import BrightnessAnalyzer, make_event, wait_for, write_frame
from tests.helpers.ports import free_port

from georgia.errors import InputError
from georgia.monitor.mqtt import MqttOutput
from georgia.monitor.outputs import ProbeOutputs
from georgia.monitor.probe_runner import ProbeRunner
from georgia.monitor.probes import make_probes
from georgia.monitor.settings import MqttConfig

BROKER = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""
needs_broker = pytest.mark.skipif(not BROKER, reason="needs a broker (Debian: mosquitto)")


class Broker:
    """A broker of its own, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "broker.conf"
        self._file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([BROKER, "-c", str(self._file)], stderr=subprocess.DEVNULL)
        wait_for(self._is_open)

    def _is_open(self) -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Subscriber:
    """A client that holds the last value of each topic."""

    def __init__(self, port: int) -> None:
        self.values: dict[str, str] = {}
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _, __, message: self.values.update(
            {message.topic: message.payload.decode()}
        )
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#", qos=1)
        self.client.loop_start()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


def test_broker_that_was_never_there_is_told() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        told: list[str] = []
        output = MqttOutput(MqttConfig(mqtt=f"mqtt://127.0.0.1:{closed.getsockname()[1]}"), told.append)
        wait_for(lambda: told)
        output.close()
    assert told[0] == "does not take messages: it cannot be reached"


@needs_broker
def test_late_subscriber_gets_last_values_and_the_end(broker: Broker) -> None:
    output = MqttOutput(MqttConfig(mqtt=f"mqtt://127.0.0.1:{broker.port}", mqtt_topic="plant/probe1/"))
    output(make_event("frame"))
    subscriber = Subscriber(broker.port)
    try:
        wait_for(lambda: len(subscriber.values) == 4)
        assert subscriber.values["plant/probe1/online"] == "1"
        frame = json.loads(subscriber.values["plant/probe1/frame"])
        assert frame["fraction"] == 0.25
        assert frame["low"] < 0.25 < frame["high"]
        assert json.loads(subscriber.values["plant/probe1/alarm"])["on"] is True
        output.close()
        wait_for(lambda: subscriber.values["plant/probe1/online"] == "0")
    finally:
        subscriber.close()


@needs_broker
def test_probes_have_topics_of_their_own(tmp_path: Path, broker: Broker) -> None:
    common = {
        "db": str(tmp_path / "p.db"),
        "mqtt": f"mqtt://127.0.0.1:{broker.port}",
        "poll_interval_s": 0.05,
    }
    tables = {name: {"watch": str(tmp_path / name)} for name in ("one", "two")}
    runners = [
        ProbeRunner(each, BrightnessAnalyzer(), ProbeOutputs(each.name, lambda _: None), "tests")  # type: ignore[arg-type]
        for each in make_probes({"monitor": common, "probes": tables}, {})
    ]
    for number, name in enumerate(tables, 1):
        write_frame(tmp_path / name / f"{name}.png", number)
    subscriber = Subscriber(broker.port)
    try:
        for runner in runners:
            runner.start()
        wait_for(lambda: {f"georgia/{name}/frame" for name in tables} <= set(subscriber.values))
        files = [json.loads(subscriber.values[f"georgia/{name}/frame"])["file"] for name in tables]
        assert files == ["one.png", "two.png"]
        runners[0].stop()
        wait_for(lambda: subscriber.values["georgia/one/online"] == "0")
        assert subscriber.values["georgia/two/online"] == "1"
    finally:
        for runner in runners:
            runner.stop()
        subscriber.close()


@needs_broker
def test_lost_monitor_leaves_its_last_will(broker: Broker) -> None:
    output = MqttOutput(MqttConfig(mqtt=f"mqtt://127.0.0.1:{broker.port}"))
    subscriber = Subscriber(broker.port)
    try:
        wait_for(lambda: subscriber.values.get("georgia/online") == "1")
        output._client.loop_stop()
        connection = output._client.socket()
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)  # as a process that was killed leaves it
        wait_for(lambda: subscriber.values["georgia/online"] == "0")
    finally:
        subscriber.close()
        output.close()


@pytest.mark.slow
@needs_broker
def test_broker_that_comes_back_gets_the_last_values(broker: Broker) -> None:
    broker.stop()
    output = MqttOutput(MqttConfig(mqtt=f"mqtt://127.0.0.1:{broker.port}"))
    output(make_event())
    broker.start()
    subscriber = Subscriber(broker.port)
    try:
        wait_for(lambda: {"georgia/online", "georgia/state"} <= set(subscriber.values))
        broker.stop()
        wait_for(lambda: output.error)
        broker.start()
        wait_for(lambda: not output.error)
        late = Subscriber(broker.port)
        try:
            wait_for(lambda: {"georgia/online", "georgia/state"} <= set(late.values))
        finally:
            late.close()
    finally:
        subscriber.close()
        output.close()


@pytest.mark.parametrize(
    "changes", [{"mqtt": "http://h"}, {"mqtt": "mqtt://"}, {"mqtt_topic": "a/#"}, {"mqtt_topic": "/"}]
)
def test_wrong_settings_are_told(changes: dict[str, str]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        MqttConfig(**changes)
