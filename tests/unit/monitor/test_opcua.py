"""The OPC UA server, read by a real client."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.helpers.monitor import make_event, wait_for

from georgia.errors import InputError
from georgia.monitor.opcua import NAMESPACE, VARIABLES, OpcuaServer, open_opcua_server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[OpcuaServer]:
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia")
    yield server
    server.close()


def ask(server: OpcuaServer, question: Callable[[Any, dict[str, Any]], Any]) -> Any:
    """Connect as a control system does, and let ``question`` use the variables by name."""
    from asyncua import Client

    async def connect() -> Any:
        async with Client(server.address) as client:
            space = await client.get_namespace_index(NAMESPACE)
            path = [f"{space}:Probe"]
            probe = await client.nodes.objects.get_child(path)
            nodes = {name: await probe.get_child([f"{space}:{name}"]) for name in VARIABLES}
            return await question(client, nodes)

    return asyncio.run(connect())


def read_all(server: OpcuaServer) -> dict[str, Any]:
    async def read(_: Any, nodes: dict[str, Any]) -> dict[str, Any]:
        return {name: await node.read_data_value(raise_on_bad_status=False) for name, node in nodes.items()}

    return dict(ask(server, read))


def test_client_reads_last_frame(server: OpcuaServer) -> None:
    server(make_event())
    wait_for(lambda: server.n_shown > 0)
    found = read_all(server)
    values = {name: found[name].Value.Value for name in found}
    assert values["Fraction"] == 0.25
    assert (values["FractionLow"], values["FractionHigh"]) == (0.125, 0.5)
    assert (values["State"], values["Alarm"], values["Impurity"]) == ("alarm", True, "PG")
    assert values["FrameTime"].replace(tzinfo=UTC) == datetime.fromtimestamp(1003, UTC)
    assert (values["Smoothed"], values["Limit"], values["JudgedWindows"]) == (0.2, 0.1, 88)
    assert values["Heartbeat"] == 7
    assert all(value.StatusCode.is_good() for value in found.values())


def test_stale_fraction_has_uncertain_quality(server: OpcuaServer) -> None:
    before = server.n_shown
    server(make_event("heartbeat", "no frames", beat=8))
    wait_for(lambda: server.n_shown > before)
    found = read_all(server)
    assert found["State"].Value.Value == "no frames"
    assert found["Heartbeat"].Value.Value == 8
    assert found["Fraction"].StatusCode.name == "UncertainLastUsableValue"
    assert found["State"].StatusCode.is_good()


def test_client_subscribes_and_cannot_write(server: OpcuaServer) -> None:
    from asyncua import ua

    heard: list[Any] = []

    class Handler:
        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            heard.append(value)

    async def listen(client: Any, nodes: dict[str, Any]) -> None:
        subscription = await client.create_subscription(20, Handler())
        await subscription.subscribe_data_change(nodes["Heartbeat"])
        server(make_event("heartbeat", beat=41))
        for _ in range(200):
            if 41 in heard:
                break
            await asyncio.sleep(0.02)
        with pytest.raises(ua.UaStatusCodeError, match="does not have permission"):
            await nodes["Alarm"].write_value(False)
        await subscription.delete()

    ask(server, listen)
    assert 41 in heard


@pytest.mark.parametrize("address", ["opc.tcp://127.0.0.1", "http://127.0.0.1:4840", "opc.tcp://:4840/x"])
def test_malformed_address_is_rejected(address: str) -> None:
    with pytest.raises(InputError, match="opc.tcp://HOST:PORT/NAME is needed"):
        open_opcua_server(address)


@pytest.mark.slow
def test_taken_address_is_rejected(server: OpcuaServer) -> None:
    with pytest.raises(InputError, match="the address must be free"):
        open_opcua_server(server.address)


def test_nodes_keep_names_order_and_types() -> None:
    names = "Fraction FractionLow FractionHigh Impurity State Alarm FrameTime FrameFile JudgedWindows"
    assert list(VARIABLES) == [*names.split(), "Smoothed", "Limit", "Fault", "Heartbeat"]
    kinds = [float, float, float, str, str, bool, datetime, str, int, float, float, str, int]
    assert [type(value) for value in VARIABLES.values()] == kinds
    assert math.isnan(VARIABLES["Fraction"])
