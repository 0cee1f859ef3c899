"""State, fraction and alarm as retained messages of an MQTT broker, with a last will.

Source of the protocol: MQTT 3.1.1, OASIS Standard 2014, sections 3.1.2.5 (will) and 3.3.1.3 (retain).
"""

from __future__ import annotations

import json
import logging
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from georgia.errors import MissingDependencyError
from georgia.monitor.columns import iso_time
from georgia.monitor.mail import read_password
from georgia.monitor.records import EventKind, MonitorEvent
from georgia.monitor.sender import OnFault, ignore_fault
from georgia.monitor.settings import MqttConfig

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_log = logging.getLogger(__name__)

_PORTS = {"mqtt": 1883, "mqtts": 8883}
# The broker says that the monitor is gone when it has been silent for one and a half times as long.
_KEEPALIVE_S = 10


class MqttOutput:
    """Listens to a monitor and publishes below one topic; who subscribes later gets the last values.

    ``TOPIC/online`` is "1", and "0" once the monitor has stopped or the broker has lost it. ``TOPIC/state``
    has the state with its reason, ``TOPIC/frame`` the last frame with its fraction and interval,
    ``TOPIC/alarm`` whether one is on, each with its time, as JSON.

    Raises:
        InputError: the file of the password cannot be read.
        MissingDependencyError: paho-mqtt is not installed.
    """

    def __init__(self, config: MqttConfig, on_fault: OnFault = ignore_fault) -> None:
        self._on_fault = on_fault
        self._topic = config.mqtt_topic.strip("/")
        # The last values by topic, without and with their time: a broker that starts anew has none of them.
        self._said: dict[str, tuple[str, str]] = {}
        self.error = ""
        parts = urlsplit(config.mqtt)
        self._client = _make_client()
        if parts.username:
            password = read_password(config.mqtt_password) if config.mqtt_password else None
            self._client.username_pw_set(unquote(parts.username), password)
        if parts.scheme == "mqtts":
            self._client.tls_set_context(ssl.create_default_context(cafile=config.mqtt_authority or None))
        self._client.will_set(f"{self._topic}/online", "0", qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_connect_fail = lambda *_: self._note("it cannot be reached")
        self._client.reconnect_delay_set(1, 60)
        self._client.connect_async(parts.hostname or "", parts.port or _PORTS[parts.scheme], _KEEPALIVE_S)
        self._client.loop_start()

    def __call__(self, event: MonitorEvent) -> None:
        """Publish what an event changed."""
        status = event.status
        at = iso_time(status.at_s)
        self._publish("state", {"state": str(status.state), "reason": status.reason}, at)
        self._publish("alarm", {"on": status.alarm, "batch": status.batch_name}, at)
        if event.kind == EventKind.FRAME and event.frame is not None:
            plain = event.frame.to_json_dict()
            names = ("file", "frame_time", "impurity", "fraction", "low", "high", "n_judged", "state")
            self._publish("frame", {name: plain[name] for name in names}, at)

    def close(self) -> None:
        """Say that the monitor has stopped, and go."""
        if self._client.is_connected():
            done = self._client.publish(f"{self._topic}/online", "0", qos=1, retain=True)
            with suppress(RuntimeError, ValueError):  # the connection went; then the broker says it
                done.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, name: str, values: dict[str, Any], at: str | None) -> None:
        topic, text = f"{self._topic}/{name}", json.dumps(values)
        if topic in self._said and self._said[topic][0] == text:
            return
        payload = json.dumps({**values, "at": at})
        self._said[topic] = text, payload
        if self._client.is_connected():
            self._client.publish(topic, payload, qos=1, retain=True)

    def _connected(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._note(f"it rejects: {reason}")
            return
        if self.error:
            _log.warning("the MQTT broker is back")
            self._on_fault("")
        self.error = ""
        for topic, (_text, payload) in list(self._said.items()):
            client.publish(topic, payload, qos=1, retain=True)
        client.publish(f"{self._topic}/online", "1", qos=1, retain=True)

    def _disconnected(self, _: Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            self._note(f"it is away: {reason}")

    def _note(self, reason: str) -> None:
        if reason != self.error:
            _log.warning("the MQTT broker does not take messages, tried again until it does: %s", reason)
            self._on_fault(f"does not take messages: {reason}")
        self.error = reason


def _make_client() -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingDependencyError(
            "Cannot publish by MQTT",
            needs="paho-mqtt is needed",
            got=error,
            hint="pip install 'georgia[plant]'.",
        ) from error
    return Client(CallbackAPIVersion.VERSION2)
