"""The OPC UA server, read by a real client."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.monitor import make_event, wait_for
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.opcua import NAMESPACE, STATE_NUMBERS, VARIABLES, OpcuaServer, open_opcua_server
from georgia.monitor.result import State
from georgia.monitor.settings import MonitorConfig, OpcuaConfig, OpcuaPolicy


@pytest.fixture(scope="module")
def server() -> Iterator[OpcuaServer]:
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia")
    yield server
    server.close()


def ask(server: OpcuaServer, question: Callable[[Any, dict[str, Any]], Any]) -> Any:
    """Connect as a control system does, and let ``question`` use the variables by name."""
    from asyncua import Client

    async def connect() -> Any:
        async with Client(server.address, timeout=PATIENCE_S) as client:
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


@pytest.mark.slow
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
    assert (values["StateNumber"], values["Batch"], values["Backlog"]) == (4, "B-1", 2)
    missing = {name for name, value in found.items() if not value.StatusCode.is_good()}
    own = {"Cusum", "CusumLimit", "PLimit", "Centre", "PlainLimit", "SmoothedLow", "SmoothedHigh"}
    checked = {"FractionChecked", "FractionCheckedLow", "FractionCheckedHigh"}
    assert missing == own | checked, "the frame has none, and nobody has checked the batch"
    assert values["LeadingLimit"] == "ewma"
    assert found["Fraction"].SourceTimestamp.replace(tzinfo=UTC) == datetime.fromtimestamp(1003, UTC)
    assert found["Heartbeat"].SourceTimestamp.year >= 2026


@pytest.mark.slow
def test_values_wait_for_first_frame() -> None:
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia")
    try:
        for expected in ("BadWaitingForInitialData", "Good"):
            found = read_all(server)
            assert {found[name].StatusCode.name for name in ("Fraction", "Smoothed", "FrameTime")} == {
                expected
            }
            assert found["State"].StatusCode.is_good()
            server(make_event())
            wait_for(lambda: server.n_shown > 0)
    finally:
        server.close()


def test_value_that_last_frame_lacks_is_uncertain(server: OpcuaServer) -> None:
    before = server.n_shown
    server(make_event())
    event = make_event(state="in control")
    frame = replace(event.frame, fraction=None, low=None, high=None)  # type: ignore[type-var]
    server(replace(event, status=replace(event.status, last=frame)))
    wait_for(lambda: server.n_shown > before + 1)
    found = read_all(server)
    assert (found["Fraction"].Value.Value, found["Fraction"].StatusCode.name) == (
        0.25,
        "UncertainLastUsableValue",
    )


def test_nodes_have_range_unit_and_names(server: OpcuaServer) -> None:
    async def read(client: Any, nodes: dict[str, Any]) -> list[Any]:
        names = [("Fraction", "EURange"), ("Smoothed", "EngineeringUnits"), ("StateNumber", "EnumStrings")]
        return [await (await nodes[node].get_child([f"0:{name}"])).read_value() for node, name in names]

    range_, unit, states = ask(server, read)
    assert (range_.Low, range_.High, unit.DisplayName.Text) == (0, 1, "1")
    assert [name.Text for name in states][:5] == [
        "not running",
        "warming up",
        "in control",
        "warning",
        "alarm",
    ]
    assert len(states) == len(State) == len(set(STATE_NUMBERS.values()))


def test_admin_by_name_cannot_write(server: OpcuaServer) -> None:
    from asyncua import Client, ua

    async def write() -> None:
        client = Client(server.address, timeout=PATIENCE_S)
        client.set_user("admin")
        with pytest.raises(ua.UaStatusCodeError):
            async with client:
                space = await client.get_namespace_index(NAMESPACE)
                node = await client.nodes.objects.get_child([f"{space}:Probe", f"{space}:Alarm"])
                await node.write_value(False)

    asyncio.run(write())


@pytest.mark.slow
def test_protected_server_asks_for_certificate_and_name(tmp_path: Path) -> None:
    from asyncua import Client, ua
    from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

    for name in ("server", "client", "stranger"):
        make_certificate(tmp_path, name)
    (tmp_path / "users").write_text("# readers\nscada:pass:word\n", encoding="utf-8")
    (tmp_path / "trusted").mkdir()
    shutil.copy(tmp_path / "client.der", tmp_path / "trusted")
    access = OpcuaConfig(
        opcua_policy=OpcuaPolicy.ENCRYPT,
        opcua_certificate=str(tmp_path / "server.der"),
        opcua_private_key=str(tmp_path / "server.pem"),
        opcua_trusted=str(tmp_path / "trusted"),
        opcua_users=str(tmp_path / "users"),
    )
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia", access)

    async def read(name: str, user: str, password: str, patience_s: float = 4.0) -> Any:
        client = Client(server.address, timeout=patience_s)
        client.application_uri = f"urn:test:{name}"
        if name:
            keys = (tmp_path / f"{name}.der", tmp_path / f"{name}.pem")
            await client.set_security(SecurityPolicyBasic256Sha256, *map(str, keys))
        if user:
            client.set_user(user)
            client.set_password(password)
        async with client:
            space = await client.get_namespace_index(NAMESPACE)
            state = await client.nodes.objects.get_child([f"{space}:Probe", f"{space}:State"])
            return await state.read_value()

    try:
        assert asyncio.run(read("client", "scada", "pass:word", PATIENCE_S)) == "warming up"
        rejected = [("client", "scada", "wrong"), ("client", "eve", ""), ("client", "", ""), ("", "", "")]
        for case in [*rejected, ("stranger", "scada", "pass:word")]:
            with pytest.raises((ua.UaError, TimeoutError, OSError)):
                asyncio.run(read(*case))
    finally:
        server.close()


def make_certificate(folder: Path, name: str) -> None:
    """Write an application's key (PEM) and self-signed certificate (DER)."""
    from asyncua.crypto.cert_gen import setup_self_signed_certificate
    from cryptography.x509.oid import ExtendedKeyUsageOID

    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    names = {"commonName": name}
    asyncio.run(
        setup_self_signed_certificate(
            folder / f"{name}.pem", folder / f"{name}.der", f"urn:test:{name}", "localhost", both, names
        )
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opcua_policy": "sign"}, "opcua_certificate and opcua_private_key are needed with it"),
        ({"opcua_users": "u"}, "sign or encrypt is needed with opcua_users"),
    ],
)
def test_policy_without_its_files_is_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_config(MonitorConfig, settings)


@pytest.mark.slow
def test_unusable_files_are_named(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("opcua_certificate", "opcua_private_key")}
    for path in files.values():
        Path(path).write_text("nothing of use")
    address = f"opc.tcp://127.0.0.1:{free_port()}/georgia"
    access = OpcuaConfig(opcua_policy=OpcuaPolicy.SIGN, **files)
    with pytest.raises(InputError, match="Cannot serve OPC UA with opcua_certificate"):
        open_opcua_server(address, access)
    with pytest.raises(InputError, match="something else in line 1"):
        open_opcua_server(address, replace(access, opcua_users=files["opcua_certificate"]))


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

    heard = asyncio.Queue[Any]()

    class Handler:
        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            heard.put_nowait(value)

    async def listen(client: Any, nodes: dict[str, Any]) -> None:
        subscription = await client.create_subscription(20, Handler())
        await subscription.subscribe_data_change(nodes["Heartbeat"])
        server(make_event("heartbeat", beat=41))
        while await asyncio.wait_for(heard.get(), PATIENCE_S) != 41:
            pass
        with pytest.raises(ua.UaStatusCodeError, match="does not have permission"):
            await nodes["Alarm"].write_value(False)
        await subscription.delete()

    ask(server, listen)


@pytest.mark.parametrize("address", ["opc.tcp://127.0.0.1", "http://127.0.0.1:4840", "opc.tcp://:4840/x"])
def test_malformed_address_is_rejected(address: str) -> None:
    with pytest.raises(InputError, match="opc.tcp://HOST:PORT/NAME is needed"):
        open_opcua_server(address)


def test_taken_address_is_rejected(server: OpcuaServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        InputError, match="the address must be free on this computer; got Address already in use"
    ):
        open_opcua_server(server.address)
    assert caplog.text == "", "one line, no traceback"


def test_nodes_keep_names_order_and_types() -> None:
    names = "Fraction FractionLow FractionHigh Impurity State Alarm FrameTime FrameFile JudgedWindows"
    old = [*names.split(), "Smoothed", "Limit", "Fault", "Heartbeat"]
    more = "Batch BatchNumber StateNumber Backlog Cusum CusumLimit PLimit Centre PlainLimit LeadingLimit"
    checked = ["FractionChecked", "FractionCheckedLow", "FractionCheckedHigh"]
    assert list(VARIABLES) == [*old, *more.split(), "SmoothedLow", "SmoothedHigh", *checked]
    kinds = [float, float, float, str, str, bool, datetime, str, int, float, float, str, int]
    kinds += [str, int, int, int, *[float] * 5, str, *[float] * 5]
    assert [type(value) for value in VARIABLES.values()] == kinds
    assert math.isnan(VARIABLES["Fraction"])


def test_each_probe_has_its_object_and_identifiers() -> None:
    server = open_opcua_server(f"opc.tcp://127.0.0.1:{free_port()}/georgia", probes=("r-2", "Probes"))
    try:
        server.for_probe("r-2")(make_event(beat=9))
        wait_for(lambda: server.n_shown == 1)

        async def read() -> list[Any]:
            from asyncua import Client

            async with Client(server.address, timeout=PATIENCE_S) as client:
                space = await client.get_namespace_index(NAMESPACE)
                nodes = [f"ns={space};s={name}" for name in ("r-2.Fraction", "r-2.Heartbeat", "Probes.State")]
                values = [await client.get_node(node).read_data_value(False) for node in nodes]
                folder = await client.nodes.objects.get_child(f"{space}:Probes")
                names = [(await child.read_browse_name()).Name for child in await folder.get_children()]
                other = await client.get_node(f"ns={space};s=Probes.Fraction").read_data_value(False)
                return [value.Value.Value for value in values] + [names, other.StatusCode.is_good()]

        assert asyncio.run(read()) == [0.25, 9, "warming up", ["r-2", "Probes"], False]
    finally:
        server.close()
