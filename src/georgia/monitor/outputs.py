"""Opens what a monitor tells besides its store: the plant's OPC UA server, a webhook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from georgia.monitor.settings import MonitorConfig
from georgia.monitor.webhook import Webhook

if TYPE_CHECKING:
    from georgia.monitor.run import Monitor
    from georgia.monitor.store import Store


@contextmanager
def open_outlets(config: MonitorConfig, store: Store, monitor: Monitor) -> Iterator[None]:
    """Serve OPC UA and send alarms, as the settings say, while the block runs.

    Raises:
        InputError: the OPC UA server's address cannot be used.
        MissingDependencyError: OPC UA is asked for and asyncua is not installed.
    """
    with ExitStack() as stack:
        if config.webhook:
            webhook = Webhook(config.webhook, store)
            stack.callback(webhook.close)
            monitor.add_listener(webhook)
        if config.opcua:
            from georgia.monitor.opcua import open_plant

            plant = open_plant(config.opcua)
            stack.callback(plant.close)
            monitor.add_listener(plant)
        yield
