"""Outputs of a monitor beside its store: OPC UA, MQTT, and alarms that are posted or mailed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.monitor.anchors import open_anchor, read_key
from georgia.monitor.check_watch import CheckWatch
from georgia.monitor.notify import ServiceNotifier
from georgia.monitor.records import Listener
from georgia.monitor.sender import Receipts
from georgia.monitor.settings import MonitorConfig
from georgia.monitor.webhook import SIGNATURE_HEADER, Webhook

if TYPE_CHECKING:
    from georgia.monitor.opcua import OpcuaServer
    from georgia.monitor.opcua_probe import OpcuaProbe
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store

__all__ = ["SIGNATURE_HEADER", "ProbeOutputs", "Webhook", "open_outputs"]


@dataclass(frozen=True)
class ProbeOutputs:
    """What a probe has of the outputs of all probes of one service: its name, and its place in each."""

    name: str
    notify: Listener
    opcua: OpcuaProbe | None = None


@contextmanager
def open_outputs(
    config: MonitorConfig, store: Store, monitor: Monitor, shared: ProbeOutputs | None = None
) -> Iterator[None]:
    """Tell others what the monitor finds, as far as the settings name an address, while the block runs.

    ``shared``: where several probes run in one service, whose OPC UA server and notifier are open already.

    Raises:
        InputError: the OPC UA server's address, or a file of a key or password, cannot be used.
        MissingDependencyError: OPC UA or MQTT is requested, and asyncua or paho-mqtt is not installed.
    """
    store.anchor = open_anchor(config.anchor, config.anchor_key, config.db) if config.anchor else None
    with ExitStack() as stack:
        _open_senders(config, store, monitor, stack, shared.name if shared else "")
        if config.mqtt.mqtt:
            from georgia.monitor.mqtt import MqttOutput

            output = MqttOutput(config.mqtt, partial(monitor.note_receiver, "MQTT broker"))
            stack.callback(output.close)
            monitor.add_listener(output)
        if shared is not None:
            monitor.add_listener(shared.notify)
            opcua: OpcuaServer | OpcuaProbe | None = shared.opcua
        else:
            opcua = _open_own(config, monitor, stack)
        if opcua is not None:
            monitor.add_listener(opcua)
            stack.callback(CheckWatch(store, lambda: monitor.status().batch_id, opcua.show_checked).close)
        yield


def _open_own(config: MonitorConfig, monitor: Monitor, stack: ExitStack) -> OpcuaServer | None:
    """Tell the service manager, and return an OPC UA server, for a monitor that has both for itself."""
    notifier = ServiceNotifier()
    if notifier.is_wanted:
        stack.callback(notifier.close)
        monitor.add_listener(notifier)
    if not config.opcua:
        return None
    from georgia.monitor.opcua import open_opcua_server

    server = open_opcua_server(config.opcua, config.opcua_access)
    stack.callback(server.close)
    return server


def _open_senders(
    config: MonitorConfig, store: Store, monitor: Monitor, stack: ExitStack, probe: str
) -> None:
    receipts = Receipts(store, bool(config.webhook) + bool(config.mail.mail_server))
    if config.webhook:
        key = read_key(Path(config.webhook_key)) if config.webhook_key else b""
        on_fault = partial(monitor.note_receiver, "webhook")
        told: dict[str, Any] = {"link": config.webhook_link, "receipts": receipts, "probe": probe}
        webhook = Webhook(config.webhook, store, key=key, on_fault=on_fault, **told)
        stack.callback(webhook.close)
        monitor.add_listener(webhook)
    if config.mail.mail_server:
        from georgia.monitor.mail import Mailer

        on_fault = partial(monitor.note_receiver, "mail server")
        mailer = Mailer(config.mail, store, config.webhook_link, receipts, on_fault=on_fault, probe=probe)
        stack.callback(mailer.close)
        monitor.add_listener(mailer)
